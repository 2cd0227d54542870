//! `sink ADDRESS photo [FOLDER]` and `sink ADDRESS payload`: the native twins of `photo-sink` and `payload-sink`, until
//! the sender closes. They print what those print.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [at, "photo", folder] => twins::serve(at.parse()?, |payload| photo(Path::new(folder), payload)),
        [at, "photo"] => twins::serve(at.parse()?, |payload| photo(Path::new("/out"), payload)),
        [at, "payload"] => twins::serve(at.parse()?, payload),
        _ => bail!("usage: sink ADDRESS photo [FOLDER] | payload"),
    }
}

fn photo(folder: &Path, payload: &[u8]) -> Result<()> {
    let now = pictures::unix_nanoseconds();
    let (header, picture) = pictures::open(payload)?;
    println!(
        "received {} bytes: {}x{} pixels, checksum {:016x}, in {}",
        payload.len(),
        header.width(),
        header.height(),
        header.checksum(),
        pictures::rate(payload.len(), header.milliseconds_until(now)),
    );
    let started = Instant::now();
    pictures::write(folder, &picture)?;
    let made = started.elapsed().as_secs_f64() * 1e3;
    println!("wrote thumbnail.png and edges.png to {} in {made:.3} ms", folder.display());
    Ok(())
}

fn payload(payload: &[u8]) -> Result<()> {
    let now = pictures::unix_nanoseconds();
    let (header, _) = pictures::Header::check(payload)?;
    println!(
        "received {} bytes, checksum {:016x}, in {}",
        payload.len(),
        header.checksum(),
        pictures::rate(payload.len(), header.milliseconds_until(now)),
    );
    Ok(())
}
