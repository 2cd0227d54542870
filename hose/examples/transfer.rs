//! Times the stream transports between two processes, each against its bare baseline in the same run: `transfer [unix|tcp [MAX_BYTES]]`.
//!
//! For others to compare with, in nanoseconds, one a line: the baseline by itself, `transfer bare-unix BYTES touch|all COUNT [CPU CPU]` (the
//! processors are this process's and the other's), and over TCP baseline and hose, `transfer bare-tcp|hose-tcp ADDRESS plain|keyed BYTES COUNT`, to
//! what `transfer tcp-bare ADDRESS BYTES plain|keyed` or `transfer tcp-receive ADDRESS plain|keyed` has said that it listens at.
//!
//! TCP runs over loopback, or into another network namespace: `HOSE_PEER=NAMESPACE:ADDRESS`, as `ip netns` knows it.
//!
//! A time is from the call until it is known that the other process has the payload and has touched every page of it, or has read every
//! byte. The child receives into one region again and again, as a function that frees its input would. Medians; the rows that a
//! constant in the source refers to are `frozen` and `bytes` of the first table.

#![expect(unsafe_code, reason = "a range of memory to map payloads into")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hose::rendezvous::Folder;
use hose::sealed::{Buffer, Frozen, Range};
use hose::tcp::{Keys, Network};
use hose::{Config, Limits, Local, Name, Receiver, Secret, Sender, Status, Transfer, Way};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::thread::{CpuSet, sched_setaffinity};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Between the bytes of which each page has one, each on another cache line: else all would be in one set of the cache.
const STRIDE: usize = 4096 - 64;
const HUGE: usize = 2 << 20;
const SIZES: [usize; 15] = [
    1,
    64,
    1_000,
    4_096,
    16_384,
    65_536,
    131_072,
    262_144,
    1_000_000,
    2_097_152,
    4_194_304,
    10_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
];

fn main() -> Result {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "receive", base, name, how] => receive(Path::new(base), name, how),
        [_, "bare", size, how] => bare_receiver(size.parse()?, how == "all"),
        [_, "bare", size, how, cpu] => {
            stay_on(cpu)?;
            bare_receiver(size.parse()?, how == "all")
        }
        [_, "bare-unix", size, how, count] => bare_times(size.parse()?, how, count.parse()?, None),
        [_, "bare-unix", size, how, count, ours, theirs] => {
            stay_on(ours)?;
            bare_times(size.parse()?, how, count.parse()?, Some(theirs))
        }
        [_, "bare-tcp", address, how, size, count] => {
            tcp_bare_times(address.parse()?, how, size.parse()?, count.parse()?)
        }
        [_, "hose-tcp", address, how, size, count] => {
            tcp_times(address.parse()?, how, size.parse()?, count.parse()?)
        }
        [_, "tcp-receive", address, how] => tcp_receive(address, how),
        [_, "tcp-bare", address, size, how] => tcp_bare_receiver(address, size.parse()?, how == "keyed"),
        [_] => unix(1_000_000_000).and_then(|()| tcp(1_000_000_000)),
        [_, "unix"] => unix(1_000_000_000),
        [_, "unix", max] => unix(max.parse()?),
        [_, "tcp"] => tcp(1_000_000_000),
        [_, "tcp", max] => tcp(max.parse()?),
        _ => Err("transfer [unix|tcp [MAX_BYTES]]".into()),
    }
}

fn unix(max: usize) -> Result {
    let base = tempfile::tempdir()?;
    unix_sizes(base.path(), max)?;
    filling();
    fan_out(base.path())
}

/// Memory that begins with a huge page.
fn region(len: usize) -> &'static mut [u8] {
    let total = len + 2 * HUGE;
    // SAFETY: a new mapping at an address of the kernel's choice, which is never unmapped.
    let start = unsafe {
        mmap_anonymous(std::ptr::null_mut(), total, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    let start = start.expect("memory").cast::<u8>();
    let address = start.wrapping_add(start.addr().next_multiple_of(HUGE) - start.addr());
    // SAFETY: within the mapping; nothing else refers to it.
    unsafe { std::slice::from_raw_parts_mut(address, len) }
}

fn fresh(len: usize, advice: Advice) -> &'static mut [u8] {
    let region = region(len);
    // SAFETY: advice about the mapping that `region` made.
    unsafe { madvise(region.as_mut_ptr().cast(), len, advice) }.expect("advice");
    region
}

fn spawn(args: &[&str], stdin: Option<OwnedFd>) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    Ok(command.spawn()?)
}

fn end(
    base: &Path,
    name: &str,
    targets: &[String],
    transfer: Transfer,
) -> Result<(std::rc::Rc<Local>, OwnedFd)> {
    let targets = targets.iter().map(|t| Name::try_from(t.as_str())).collect::<hose::Result<_>>()?;
    let limits = Limits::new(Duration::from_secs(10), Duration::from_secs(60), 2_000_000_000)?;
    let config = Config::new(name.try_into()?, "w".try_into()?, targets, limits)?.with_transfer(transfer);
    let secret = Secret::generate()?;
    let folder = Folder::open(&base.join("hose"), &"t".try_into()?)?;
    let published = folder.publish(&config, &secret, name)?;
    Ok((Local::new(config, secret, published.mount), published.listener))
}

fn sender(base: &Path, name: &str, targets: &[String], transfer: Transfer) -> Result<Sender> {
    Ok(Sender::new(&end(base, name, targets, transfer)?.0))
}

/// `touch` maps and touches every page, `all` maps and reads every byte, `copy` reads into the region.
fn receive(base: &Path, name: &str, how: &str) -> Result {
    let (local, listener) = end(base, name, &[], Transfer::Auto)?;
    let mut receiver = Receiver::new(&local, listener)?;
    // Room for the largest, of which only what is used costs anything.
    let region = region(1_000_000_000);
    while let Some(incoming) = receiver.next(None)? {
        let len = incoming.len();
        let (held, mapped) = match how {
            "copy" => (receiver.read_into(incoming, &mut region[..len])?, None),
            _ if len == 0 => (receiver.read_into(incoming, &mut [])?, None),
            _ => {
                // SAFETY: the mapping that `region` made; its bytes are looked at only between two calls.
                let range = unsafe { Range::new(region.as_mut_ptr(), len) }.ok_or("a range")?;
                let (held, mapped) = receiver.map_into(incoming, range)?;
                (held, Some(mapped))
            }
        };
        let sum = match how {
            "all" => every_byte(&region[..len]),
            _ => region[..len]
                .iter()
                .step_by(STRIDE)
                .fold(0, |sum: u64, byte| sum.wrapping_add(u64::from(*byte))),
        };
        std::hint::black_box(sum);
        receiver.handled(held, Status::OK, None)?;
        drop(mapped);
    }
    Ok(())
}

fn every_byte(region: &[u8]) -> u64 {
    let (words, rest) = region.as_chunks::<8>();
    let words = words.iter().fold(0, |sum: u64, word| sum ^ u64::from_ne_bytes(*word));
    rest.iter().fold(words, |sum, byte| sum ^ u64::from(*byte))
}

/// Reads payloads of `size` from standard input, and answers each with a byte.
fn bare_receiver(size: usize, all: bool) -> Result {
    let mut socket = UnixStream::from(rustix::io::dup(std::io::stdin().as_fd())?);
    let region = region(size);
    while socket.read_exact(region).is_ok() {
        if all {
            std::hint::black_box(every_byte(region));
        }
        socket.write_all(b"k")?;
    }
    Ok(())
}

/// The other process of the baseline, and the socket to it.
fn bare_peer(size: usize, how: &str, cpu: Option<&str>) -> Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let size = size.to_string();
    let args: Vec<&str> = ["bare", &size, how].into_iter().chain(cpu).collect();
    Ok((ours, spawn(&args, Some(theirs.into()))?))
}

fn bare(payload: &[u8], how: &str) -> Result<Duration> {
    let (mut ours, mut child) = bare_peer(payload.len(), how, None)?;
    let time = median(payload.len(), || {
        ours.write_all(payload).and_then(|()| ours.read_exact(&mut [0])).expect("the child receives");
    });
    drop(ours);
    child.wait()?;
    Ok(time)
}

fn bare_times(size: usize, how: &str, count: usize, cpu: Option<&str>) -> Result {
    let payload = region(size);
    payload.fill(7);
    let (mut ours, mut child) = bare_peer(size, how, cpu)?;
    print_times(count, || Ok(ours.write_all(payload).and_then(|()| ours.read_exact(&mut [0]))?))?;
    drop(ours);
    child.wait()?;
    Ok(())
}

fn stay_on(cpu: &str) -> Result {
    let mut set = CpuSet::new();
    set.set(cpu.parse()?);
    Ok(sched_setaffinity(None, &set)?)
}

fn rounds(size: usize) -> usize {
    match size {
        0..200_000 => 301,
        200_000..5_000_000 => 61,
        5_000_000..200_000_000 => 15,
        _ => 5,
    }
}

fn median(size: usize, mut send: impl FnMut()) -> Duration {
    median_of(size, || {
        let start = Instant::now();
        send();
        start.elapsed()
    })
}

/// Of times that `send` takes itself; the first does not count.
fn median_of(size: usize, mut send: impl FnMut() -> Duration) -> Duration {
    send();
    let mut times: Vec<Duration> = (0..rounds(size)).map(|_| send()).collect();
    times.sort();
    times[times.len() / 2]
}

fn filled(size: usize) -> hose::Result<Buffer> {
    let mut buffer = Buffer::new(size)?;
    buffer.bytes_mut()[..size].fill(7);
    Ok(buffer)
}

fn unix_sizes(base: &Path, max: usize) -> Result {
    println!("unix, microseconds until every page is touched (all: until every byte is read)");
    println!(
        "{:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  pages",
        "bytes", "bare", "inline", "frozen", "cold", "warm", "auto", "copied", "bare all", "all"
    );
    let names = ["touch".to_owned(), "all".to_owned(), "copy".to_owned()];
    let mut children = Vec::new();
    for name in &names {
        children.push(spawn(&["receive", base.to_str().ok_or("a path")?, name, name], None)?);
    }
    let [touch, all, copy] = names.each_ref().map(|n| Name::try_from(n.as_str()));
    let (touch, all, copy) = (touch?, all?, copy?);
    let mut memfd = sender(base, "memfd", &names, Transfer::Memfd)?;
    let mut inline = sender(base, "inline", &names, Transfer::Copy)?;
    let mut auto = sender(base, "auto", &names, Transfer::Auto)?;
    for size in SIZES.into_iter().filter(|size| *size <= max) {
        let payload = region(size);
        payload.fill(7);
        let mut pages = None;
        let mut frozen = |to: &Name| {
            median_of(size, || {
                let buffer = filled(size).expect("memory");
                let start = Instant::now();
                let frozen: Frozen = buffer.freeze(size).expect("seals");
                memfd.send(to, &frozen).expect("delivery");
                pages = Some(frozen.pages());
                start.elapsed()
            })
        };
        let (f, a, m) = (frozen(&touch), frozen(&all), frozen(&copy));
        let i = median(size, || drop(inline.send(&copy, &*payload).expect("delivery")));
        let cold = median(size, || drop(memfd.send(&touch, &*payload).expect("delivery")));
        let chosen = median(size, || drop(auto.send(&touch, &*payload).expect("delivery")));
        let warm = median_of(size, || {
            memfd.prepare(size).expect("memory");
            let start = Instant::now();
            memfd.send(&touch, &*payload).expect("delivery");
            start.elapsed()
        });
        let (b, r) = (bare(payload, "touch")?, bare(payload, "all")?);
        print!("{size:>11}");
        for time in [b, i, f, cold, warm, chosen, m, r, a] {
            print!(" {:>9.1}", time.as_secs_f64() * 1e6);
        }
        println!("  {:?}", pages.expect("a payload"));
    }
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

fn filling() {
    let size = 100_000_000;
    let ordinary = median_of(size, || {
        let region = fresh(size, Advice::Normal);
        let start = Instant::now();
        region.fill(7);
        let time = start.elapsed();
        // SAFETY: the mapping that `region` made; its bytes are not looked at again.
        unsafe { madvise(region.as_mut_ptr().cast(), size, Advice::LinuxDontNeed) }.expect("advice");
        time
    });
    let mut make = Vec::new();
    let buffer = median_of(size, || {
        let start = Instant::now();
        let mut buffer = Buffer::new(size).expect("memory");
        make.push(start.elapsed());
        let start = Instant::now();
        buffer.bytes_mut()[..size].fill(7);
        start.elapsed()
    });
    make.sort();
    let made = make[make.len() / 2];
    println!("filling 100 MB: fresh memory {ordinary:?}, a buffer {buffer:?} and {made:?} to make it");
}

fn fan_out(base: &Path) -> Result {
    let names: Vec<String> = (0..100).map(|i| format!("fan{i}")).collect();
    let mut children = Vec::new();
    for name in &names {
        children.push(spawn(&["receive", base.to_str().ok_or("a path")?, name, "touch"], None)?);
    }
    let mut sender = sender(base, "fan", &names, Transfer::Auto)?;
    let target = Name::try_from(names[0].as_str())?;
    for size in [1_000, 1_000_000, 100_000_000] {
        let frozen = filled(size)?.freeze(size)?;
        sender.send_to_all(&frozen);
        let one = median(size, || drop(sender.send(&target, &frozen).expect("delivery")));
        let all = median(size, || {
            sender.send_to_all(&frozen).into_iter().for_each(|(_, r)| drop(r.expect("delivery")))
        });
        println!("fan-out of {size} bytes to 100: {all:?}, {:?} each; to one: {one:?}", all / 100);
    }
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Where the receivers of TCP run, and how to start something there.
fn peer() -> (String, Vec<String>) {
    match std::env::var("HOSE_PEER").ok().as_deref().and_then(|peer| peer.split_once(':')) {
        Some((namespace, address)) => {
            (address.to_owned(), ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec())
        }
        None => ("127.0.0.1".to_owned(), Vec::new()),
    }
}

/// Starts a receiver, which says on its standard output where it listens.
fn spawn_there(args: &[&str]) -> Result<(Child, SocketAddr)> {
    let (address, mut words) = peer();
    words.push(std::env::current_exe()?.to_str().ok_or("a path")?.to_owned());
    words.extend([args[0].to_owned(), format!("{address}:0")]);
    words.extend(args[1..].iter().map(|arg| (*arg).to_owned()));
    let mut child = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
    Ok((child, line.trim().parse()?))
}

fn network(how: &str) -> Result<Network> {
    let network = Network::new().with_trusted("10.0.0.0/8".parse()?);
    Ok(match how {
        "keyed" => {
            network.with_keys(Keys::new().with("a".try_into()?, &[1; 32])?.with("b".try_into()?, &[2; 32])?)
        }
        _ => network,
    })
}

fn tcp_end(
    name: &str,
    targets: Vec<Name>,
    transfer: Transfer,
    network: Network,
) -> Result<std::rc::Rc<Local>> {
    let limits = Limits::new(Duration::from_secs(10), Duration::from_secs(600), 2_000_000_000)?;
    let config = Config::new(name.try_into()?, "w".try_into()?, targets, limits)?.with_transfer(transfer);
    Ok(Local::with(config, [Way::Tcp(network)]))
}

fn tcp_receive(address: &str, how: &str) -> Result {
    let network = network(how)?;
    let listener = network.listen(address.parse()?)?;
    println!("{}", listener.local_addr()?);
    let mut receiver = Receiver::new(&tcp_end("b", vec![], Transfer::Auto, network)?, listener)?;
    let region = region(1_000_000_000);
    while let Some(incoming) = receiver.next(None)? {
        let len = incoming.len();
        let held = receiver.read_into(incoming, &mut region[..len])?;
        receiver.handled(held, Status::OK, None)?;
    }
    Ok(())
}

/// A plain program: it reads payloads of `size` and answers each with a byte, or with the tag that it computed while it read.
fn tcp_bare_receiver(address: &str, size: usize, keyed: bool) -> Result {
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let region = region(size);
    loop {
        if keyed {
            let mut hasher = blake3::Hasher::new_keyed(&[3; 32]);
            for chunk in region.chunks_mut(CHUNK) {
                if socket.read_exact(chunk).is_err() {
                    return Ok(());
                }
                hasher.update(chunk);
            }
            let mut tag = [0; 32];
            socket.read_exact(&mut tag)?;
            assert_eq!(hasher.finalize().as_bytes(), &tag, "the tag");
        } else if socket.read_exact(region).is_err() {
            return Ok(());
        }
        socket.write_all(b"k")?;
    }
}

/// Bytes at a time of the plain program that computes the same authentication.
const CHUNK: usize = 256 << 10;

fn tcp_bare(payload: &[u8], how: &str) -> Result<Duration> {
    let (mut child, address) = spawn_there(&["tcp-bare", &payload.len().to_string(), how])?;
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let time = median(payload.len(), || tcp_bare_send(&mut socket, payload, how).expect("the child reads"));
    drop(socket);
    child.wait()?;
    Ok(time)
}

/// Sends a payload, with its tag or without, until it is answered.
fn tcp_bare_send(socket: &mut TcpStream, payload: &[u8], how: &str) -> std::io::Result<()> {
    if how == "keyed" {
        let mut hasher = blake3::Hasher::new_keyed(&[3; 32]);
        for chunk in payload.chunks(CHUNK) {
            hasher.update(chunk);
            socket.write_all(chunk)?;
        }
        socket.write_all(hasher.finalize().as_bytes())?;
    } else {
        socket.write_all(payload)?;
    }
    socket.read_exact(&mut [0])
}

fn tcp_bare_times(address: SocketAddr, how: &str, size: usize, count: usize) -> Result {
    let payload = region(size);
    payload.fill(7);
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    print_times(count, || Ok(tcp_bare_send(&mut socket, payload, how)?))
}

fn tcp_times(address: SocketAddr, how: &str, size: usize, count: usize) -> Result {
    let payload = region(size);
    payload.fill(7);
    let target = Name::try_from("b")?;
    let network = network(how)?.with_target(target.clone(), address);
    let mut sender = Sender::new(&tcp_end("a", vec![target.clone()], Transfer::Auto, network)?);
    print_times(count, || {
        sender.send(&target, &*payload)?;
        Ok(())
    })
}

/// The first is not counted: it connects.
fn print_times(count: usize, mut send: impl FnMut() -> Result) -> Result {
    send()?;
    for _ in 0..count {
        let start = Instant::now();
        send()?;
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}

fn tcp(max: usize) -> Result {
    println!("tcp to {}, microseconds until the payload is handled", peer().0);
    let header = ["bytes", "bare", "plain", "spliced", "auto", "bare key", "plain", "spliced", "auto"];
    println!(
        "{:>11} {}",
        header[0],
        header[1..].iter().map(|h| format!("{h:>9}")).collect::<Vec<_>>().join(" ")
    );
    let mut children = Vec::new();
    let mut senders = Vec::new();
    let target = Name::try_from("b")?;
    for how in ["plain", "keyed"] {
        let (child, address) = spawn_there(&["tcp-receive", how])?;
        children.push(child);
        for transfer in [Transfer::Copy, Transfer::Splice, Transfer::Auto] {
            let network = network(how)?.with_target(target.clone(), address);
            senders.push(Sender::new(&tcp_end("a", vec![target.clone()], transfer, network)?));
        }
    }
    for size in SIZES.into_iter().filter(|size| *size <= max) {
        let payload = region(size);
        payload.fill(7);
        print!("{size:>11}");
        for (i, sender) in senders.iter_mut().enumerate() {
            if i % 3 == 0 {
                let how = if i == 0 { "plain" } else { "keyed" };
                print!(" {:>9.1}", tcp_bare(payload, how)?.as_secs_f64() * 1e6);
            }
            let time = median(size, || drop(sender.send(&target, &*payload).expect("delivery")));
            print!(" {:>9.1}", time.as_secs_f64() * 1e6);
        }
        println!();
    }
    for i in [2, 5] {
        let statistics = senders[i].statistics(&target);
        println!("auto wrote {} payloads plainly and {} spliced", statistics.inline, statistics.spliced);
    }
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
