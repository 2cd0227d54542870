//! `photo-source FILE`: decodes a photograph (JPEG or PNG) and sends its pixels to the function's targets.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    functions::run(|| {
        let path: PathBuf = functions::argument(1, "the photograph")?;
        let started = Instant::now();
        let (header, mut payload) = pictures::decode(&path)?;
        let decoded = started.elapsed().as_secs_f64() * 1e3;
        println!(
            "decoded {}: {}x{} pixels, {} bytes, checksum {:016x}, in {decoded:.3} ms",
            path.display(),
            header.width(),
            header.height(),
            payload.len(),
            header.checksum(),
        );
        let started = Instant::now();
        header.stamp(&mut payload);
        roadrunner::send(&payload)?;
        let handled = started.elapsed().as_secs_f64() * 1e3;
        println!("sent {} bytes, handled after {handled:.3} ms", payload.len());
        Ok(())
    })
}
