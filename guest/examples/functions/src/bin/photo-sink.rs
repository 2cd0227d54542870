//! `photo-sink [FOLDER]`: receives a photograph's pixels, and writes a thumbnail and a picture of its edges to a folder
//! (default: /out).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    functions::run(|| {
        let folder = functions::argument_or(1, "the folder", PathBuf::from("/out"))?;
        let message = roadrunner::recv()?;
        let now = pictures::unix_nanoseconds();
        let (header, picture) = pictures::open(&message)?;
        println!(
            "received {} bytes from {}: {}x{} pixels, checksum {:016x}, in {}",
            message.len(),
            message.sender(),
            header.width(),
            header.height(),
            header.checksum(),
            pictures::rate(message.len(), header.milliseconds_until(now)),
        );
        let started = Instant::now();
        pictures::write(&folder, &picture)?;
        let made = started.elapsed().as_secs_f64() * 1e3;
        println!("wrote thumbnail.png and edges.png to {} in {made:.3} ms", folder.display());
        message.done()?;
        Ok(())
    })
}
