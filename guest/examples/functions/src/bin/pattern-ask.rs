//! `pattern-ask VERB PAYLOAD...`: what a sender can do beside sending. A payload that is a number is the pattern of that length, else
//! the text itself.
//!
//! | verb | does |
//! | --- | --- |
//! | `call` | asks each target, and prints what it answers, or the status that it says instead |
//! | `each` | sends to all targets at once, and prints each one's status |
//! | `give` | gives a buffer away to all targets, once it has seen that a target that does not exist leaves it as it was |

use std::error::Error;
use std::process::ExitCode;

use functions::pattern;
use roadrunner::{Buffer, Status};

fn main() -> ExitCode {
    functions::run(|| {
        let verb: String = functions::argument(1, "call, each or give")?;
        for argument in std::env::args().skip(2) {
            let payload = argument.parse().map_or_else(|_| argument.clone().into_bytes(), pattern::payload);
            match verb.as_str() {
                "call" => call(&payload)?,
                "each" => each(&payload),
                _ => give(&payload)?,
            }
        }
        Ok(())
    })
}

fn call(payload: &[u8]) -> Result<(), Box<dyn Error>> {
    for target in roadrunner::targets() {
        match roadrunner::call(&target, payload) {
            Err(error) => println!("{target} said {}", error.status().0),
            Ok(answer) => {
                println!("{target} answered {} {:08x}", answer.len(), pattern::checksum(&answer));
                answer.done()?;
            }
        }
    }
    Ok(())
}

fn each(payload: &[u8]) {
    for (target, sent) in roadrunner::send_to_each(payload) {
        println!("{target} said {}", sent.map_or_else(|error| error.status().0, |()| 0));
    }
}

fn give(payload: &[u8]) -> Result<(), Box<dyn Error>> {
    let unsent = Buffer::from(payload).send_to("nobody").err().ok_or("nobody was given the buffer")?;
    let buffer = unsent.buffer.filter(|_| unsent.error.status() == Status::NO_TARGET);
    let buffer = buffer.ok_or("nobody was given the buffer")?;
    let (len, sum) = (buffer.len(), pattern::checksum(&buffer));
    buffer.send()?;
    println!("gave {len} {sum:08x}");
    Ok(())
}
