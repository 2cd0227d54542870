//! `source ADDRESS photo FILE` and `source ADDRESS payload SIZE [COUNT]`: the native twins of `photo-source` and
//! `payload-source`. They print what those print.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use pictures::{HEADER_LEN, Header};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [to, "photo", file] => photo(to, Path::new(file)),
        [to, "payload", size] => payloads(to, size, "1"),
        [to, "payload", size, count] => payloads(to, size, count),
        _ => bail!("usage: source ADDRESS photo FILE | payload SIZE [COUNT]"),
    }
}

fn photo(to: &str, file: &Path) -> Result<()> {
    let started = Instant::now();
    let (header, payload) = pictures::decode(file)?;
    let decoded = started.elapsed().as_secs_f64() * 1e3;
    println!(
        "decoded {}: {}x{} pixels, {} bytes, checksum {:016x}, in {decoded:.3} ms",
        file.display(),
        header.width(),
        header.height(),
        payload.len(),
        header.checksum(),
    );
    let size = payload.len();
    for handled in twins::send(to.parse()?, payload, 1, |payload| header.stamp(payload))? {
        println!("sent {size} bytes, handled after {:.3} ms", handled.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn payloads(to: &str, size: &str, count: &str) -> Result<()> {
    let size: usize = size.parse().context("SIZE")?;
    ensure!(size >= HEADER_LEN, "SIZE must be {HEADER_LEN} at least");
    let mut payload = vec![0; size];
    pictures::fill(&mut payload[HEADER_LEN..]);
    let header = Header::new(&payload[HEADER_LEN..], 0, 0);
    for handled in
        twins::send(to.parse()?, payload, count.parse().context("COUNT")?, |payload| header.stamp(payload))?
    {
        let rate = pictures::rate(size, handled.as_secs_f64() * 1e3);
        println!("sent {size} bytes, checksum {:016x}, handled after {rate}", header.checksum());
    }
    Ok(())
}
