//! `thumbnail FILE`: decodes a photograph (JPEG or PNG), makes it smaller, and prints the sizes of both.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    functions::run(|| {
        let path: PathBuf = functions::argument(1, "the photograph")?;
        let (_, payload) = pictures::decode(&path)?;
        let (header, picture) = pictures::open(&payload)?;
        let small = pictures::thumbnail(&picture);
        let checksum = pictures::checksum(small.as_raw());
        let (width, height) = small.dimensions();
        println!("{}x{} to {width}x{height}, checksum {checksum:016x}", header.width(), header.height());
        Ok(())
    })
}
