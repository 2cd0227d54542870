//! `pattern-reply [COUNT]`: receives COUNT payloads, or until none will come any more, and answers each with a copy of it. Prints what
//! `pattern-sink` prints, and rejects a text that begins with `!` with code 33.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use functions::pattern;
use roadrunner::{Buffer, Message, Status};

fn main() -> ExitCode {
    functions::run(|| {
        let mut left: i64 = functions::argument_or(1, "how many", -1)?;
        while left != 0 {
            match roadrunner::recv_timeout(Duration::from_millis(100)) {
                Ok(None) => continue,
                Err(error) if error.status() == Status::CLOSED => {
                    println!("closed");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
                Ok(Some(message)) => reply(message)?,
            }
            left -= 1;
        }
        Ok(())
    })
}

fn reply(message: Message) -> roadrunner::Result<()> {
    println!("received {} {:08x} from {}", message.len(), pattern::checksum(&message), message.sender());
    if message.first() == Some(&b'!') {
        return message.reject(NonZeroU32::MIN.saturating_add(32));
    }
    let answer = Buffer::from(&*message);
    message.answer(answer)
}
