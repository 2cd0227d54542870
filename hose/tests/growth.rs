//! What does not grow with the number of payloads: descriptors, mappings and resident memory of a process that sends and receives, over both
//! transports, in every form, and with answers. A program of its own, so that nobody else's are counted.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a range of memory to map payloads into")]

use std::fs;
use std::time::Duration;

use hose::rendezvous::Folder;
use hose::sealed::{Buffer, Range};
use hose::tcp::Network;
use hose::{Config, Limits, Local, Name, Payload, Receiver, Secret, Sender, Status, Transfer, Way, unix};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

const TIMEOUT: Duration = Duration::from_secs(30);
const SIZE: usize = 600_000;

fn config(me: &str, targets: &[&str], transfer: Transfer) -> Config {
    let targets = targets.iter().map(|t| Name::try_from(*t).unwrap()).collect();
    let limits = Limits::new(TIMEOUT, TIMEOUT, 1 << 24).unwrap();
    Config::new(me.try_into().unwrap(), "w".try_into().unwrap(), targets, limits)
        .unwrap()
        .with_transfer(transfer)
}

/// Descriptors, mappings, and kilobytes of memory.
fn held() -> [usize; 3] {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
    let mappings = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    [fs::read_dir("/proc/self/fd").unwrap().count(), mappings, resident]
}

#[test]
fn nothing_grows_with_the_number_of_payloads() {
    let base = tempfile::tempdir().unwrap();
    let folder = Folder::open(&base.path().join("hose"), &"t".try_into().unwrap()).unwrap();
    let secrets = [Secret::generate().unwrap(), Secret::generate().unwrap()];
    let receiving = config("b", &[], Transfer::Auto);
    let published = folder.publish(&receiving, &secrets[1], "b").unwrap();
    let a = folder.publish(&config("a", &["b"], Transfer::Memfd), &secrets[0], "a").unwrap();
    let listener = Network::new().listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let network = Network::new().with_target("b".try_into().unwrap(), listener.local_addr().unwrap());
    let [secret_a, secret_b] = secrets;
    std::thread::spawn(move || {
        let ways = [Way::Unix(unix::Host::new(secret_b, published.mount)), Way::Tcp(Network::new())];
        let mut receiver = Receiver::new(&Local::with(receiving, ways), published.listener).unwrap();
        receiver.listen(listener).unwrap();
        // SAFETY: a new mapping at an address of the kernel's choice, which is never unmapped.
        let memory = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                1 << 20,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let memory = memory.unwrap().cast::<u8>();
        while let Some(incoming) = receiver.next(None).unwrap() {
            let len = incoming.len();
            // SAFETY: the mapping above; nothing refers to its bytes.
            let range = unsafe { Range::new(memory, len) }.unwrap();
            let (held, mapped) = receiver.map_into(incoming, range).unwrap();
            // Every other one is given back only afterwards.
            let kept = (len % 2 == 0).then_some(mapped);
            receiver.handled(held, Status::OK, Some(Payload::Bytes(b"answer"))).unwrap();
            drop(kept);
        }
    });
    let mut unix = Sender::new(&Local::new(config("a", &["b"], Transfer::Memfd), secret_a, a.mount));
    let mut splice =
        Sender::new(&Local::with(config("a", &["b"], Transfer::Splice), [Way::Tcp(network.clone())]));
    let mut plain = Sender::new(&Local::with(config("a", &["b"], Transfer::Copy), [Way::Tcp(network)]));
    let payload = vec![1; SIZE];
    let target = Name::try_from("b").unwrap();
    let mut round = |n: usize| {
        for i in 0..n {
            let mut buffer = Buffer::new(SIZE).unwrap();
            buffer.bytes_mut()[0] = 1;
            let frozen = buffer.freeze(SIZE - i % 2).unwrap();
            for delivery in [
                unix.send(&target, &frozen).unwrap(),
                unix.send(&target, &payload).unwrap(),
                splice.send(&target, &payload).unwrap(),
                plain.send(&target, &payload[..1000]).unwrap(),
            ] {
                delivery.answer.unwrap().read_into(&mut [0; 6]).unwrap();
            }
        }
    };
    round(50);
    let before = held();
    round(1000);
    let after = held();
    assert!(after[0] <= before[0] + 2, "descriptors: {before:?} became {after:?}");
    assert!(after[1] <= before[1] + 4, "mappings: {before:?} became {after:?}");
    assert!(after[2] <= before[2] + 4096, "memory: {before:?} became {after:?}");
}
