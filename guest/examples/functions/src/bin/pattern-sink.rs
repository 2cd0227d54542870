//! `pattern-sink [COUNT]`: receives COUNT payloads (default: 1), and prints the length, checksum and sender of each.

use std::process::ExitCode;

use functions::pattern;

fn main() -> ExitCode {
    functions::run(|| {
        let count: usize = functions::argument_or(1, "how many", 1)?;
        for _ in 0..count {
            let message = roadrunner::recv()?;
            println!(
                "received {} {:08x} from {}",
                message.len(),
                pattern::checksum(&message),
                message.sender()
            );
            message.done()?;
        }
        Ok(())
    })
}
