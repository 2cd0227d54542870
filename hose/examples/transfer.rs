//! Times the unix transport between two processes: `transfer [SIZE [COUNT]]`, in bytes.
//!
//! The child receives into one region again and again, as a function that frees its input would; both lie in touched
//! memory. What is printed is the time until the payload is handled, and what `write` and `read` of the same bytes on a
//! bare socket pair take.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hose::rendezvous::Folder;
use hose::{Config, Limits, Local, Name, Receiver, Result, Secret, Sender, Status};

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, "receive", base] = args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return receive(Path::new(base));
    }
    let size: usize = args.get(1).map_or(Ok(100_000_000), |s| s.parse())?;
    let count: usize = args.get(2).map_or(Ok(15), |s| s.parse())?;
    let base = tempfile::tempdir()?;
    let mut child = Command::new(&args[0]).arg("receive").arg(base.path()).spawn()?;
    let payload = vec![7; size];

    let (config, secret) = end("a", &["b"])?;
    let published = folder(base.path())?.publish(&config, &secret, "a")?;
    let mut sender = Sender::new(&Local::new(config, secret, published.mount));
    let target = Name::try_from("b")?;
    let first = Instant::now();
    sender.send(&target, b"")?;
    println!("first contact, child's start included: {:?}", first.elapsed());
    report("hose", size, count, || {
        sender.send(&target, &payload).expect("the child receives");
    });
    child.kill()?;
    child.wait()?;

    let (mut ours, mut theirs) = UnixStream::pair()?;
    std::thread::scope(|s| {
        s.spawn(move || {
            let mut region = vec![0; size.max(1)];
            while theirs.read_exact(&mut region).is_ok() && theirs.write_all(b"k").is_ok() {}
        });
        report("bare socket pair", size, count, || {
            ours.write_all(&payload).and_then(|()| ours.read_exact(&mut [0])).expect("the thread receives");
        });
        drop(ours);
    });
    Ok(())
}

fn folder(base: &Path) -> Result<Folder> {
    Folder::open(&base.join("hose"), &"t".try_into()?)
}

fn end(name: &str, targets: &[&str]) -> Result<(Config, Secret)> {
    let targets = targets.iter().map(|t| Name::try_from(*t)).collect::<Result<_>>()?;
    let limits = Limits::new(Duration::from_secs(10), Duration::from_secs(60), 4_000_000_000)?;
    Ok((Config::new(name.try_into()?, "w".try_into()?, targets, limits)?, Secret::generate()?))
}

fn receive(base: &Path) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (config, secret) = end("b", &[])?;
    let published = folder(base)?.publish(&config, &secret, "b")?;
    let mut receiver = Receiver::new(&Local::new(config, secret, published.mount), published.listener)?;
    let mut region = vec![];
    while let Some(incoming) = receiver.next(None)? {
        region.resize(incoming.len(), 0);
        let held = receiver.read_into(incoming, &mut region)?;
        receiver.handled(held, Status::OK, None)?;
    }
    Ok(())
}

fn report(what: &str, size: usize, count: usize, mut send: impl FnMut()) {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let start = Instant::now();
            send();
            start.elapsed()
        })
        .collect();
    times.sort();
    let median = times[count / 2];
    let rate = size as f64 / 1e6 / median.as_secs_f64();
    println!("{what}: {size} bytes, median of {count} {median:?} ({rate:.0} MB/s), best {:?}", times[0]);
}
