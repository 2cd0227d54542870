//! `payload-sink [COUNT]`: receives COUNT payloads (default: until no function of its process can send any more), checks each
//! against its header, and says how long it was under way.

use std::process::ExitCode;

use roadrunner::Status;

fn main() -> ExitCode {
    functions::run(|| {
        let count: usize = functions::argument_or(1, "how many", usize::MAX)?;
        for _ in 0..count {
            let message = match roadrunner::recv() {
                Err(error) if error.status() == Status::CLOSED => break,
                received => received?,
            };
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
