//! `payload-sink [COUNT]`: receives COUNT payloads (default: 1), checks each against its header, and says how long it was
//! under way.

use std::process::ExitCode;

fn main() -> ExitCode {
    functions::run(|| {
        let count: usize = functions::argument_or(1, "how many", 1)?;
        for _ in 0..count {
            let message = roadrunner::recv()?;
            let now = pictures::unix_nanoseconds();
            let (header, _) = pictures::Header::check(&message)?;
            println!(
                "received {} bytes from {}, checksum {:016x}, in {}",
                message.len(),
                message.sender(),
                header.checksum(),
                pictures::rate(message.len(), header.milliseconds_until(now)),
            );
            message.done()?;
        }
        Ok(())
    })
}
