//! `pattern-source LEN...`: sends a payload of each length to the function's targets.

use std::process::ExitCode;

use functions::pattern;

fn main() -> ExitCode {
    functions::run(|| {
        for index in 1..std::env::args().len() {
            let payload = pattern::payload(functions::argument(index, "a length in bytes")?);
            roadrunner::send(&payload)?;
            println!("sent {} {:08x}", payload.len(), pattern::checksum(&payload));
        }
        Ok(())
    })
}
