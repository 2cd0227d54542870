//! `payload-source SIZE [COUNT]`: sends a payload of SIZE pseudo-random bytes (32 at least, of which the first 32 are a
//! header) COUNT times (default: 1), each in a buffer of its own that is given away, and says how long each took until it was
//! handled.

use std::process::ExitCode;
use std::time::Instant;

use pictures::{HEADER_LEN, Header};
use roadrunner::Buffer;

fn main() -> ExitCode {
    functions::run(|| {
        let size: usize = functions::argument(1, "the size in bytes")?;
        let count: usize = functions::argument_or(2, "how often", 1)?;
        if size < HEADER_LEN {
            return Err(format!("the size must be {HEADER_LEN} bytes at least").into());
        }
        let mut payload = vec![0; size];
        pictures::fill(&mut payload[HEADER_LEN..]);
        let header = Header::new(&payload[HEADER_LEN..], 0, 0);
        for _ in 0..count {
            let mut buffer = Buffer::with_capacity(size);
            buffer.push(&payload);
            let started = Instant::now();
            header.stamp(&mut buffer);
            buffer.send()?;
            let handled = started.elapsed().as_secs_f64() * 1e3;
            println!(
                "sent {size} bytes, checksum {:016x}, handled after {}",
                header.checksum(),
                pictures::rate(size, handled)
            );
        }
        Ok(())
    })
}
