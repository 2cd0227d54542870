//! The other end in another language: `peer.py`, which knows docs/PROTOCOL.md and no more, sends to and receives from this crate, over Unix sockets with
//! signatures and sealed memory, over TCP with keys and tags, and over TCP without.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use hose::rendezvous::{Folder, Published};
use hose::sealed::Buffer;
use hose::tcp::{Keys, Network};
use hose::{
    Config, Limits, Local, Name, Outgoing, Payload, Receiver, Secret, Sender, Status, TraceContext, Transfer,
    Way,
};

const TIMEOUT: Duration = Duration::from_secs(30);
const KEYS: [(&str, [u8; 32]); 2] = [("py", [0x11; 32]), ("rust", [0x22; 32])];

fn trace() -> TraceContext {
    "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01".parse().unwrap()
}

fn name(s: &str) -> Name {
    s.try_into().unwrap()
}

fn config(me: &str, targets: &[&str]) -> Config {
    let targets = targets.iter().map(|t| name(t)).collect();
    Config::new(name(me), "w".try_into().unwrap(), targets, Limits::new(TIMEOUT, TIMEOUT, 1 << 24).unwrap())
        .unwrap()
}

/// Whether there is a Python that can do it, with a word when there is none.
fn python(test: &str) -> bool {
    let check = "import sys, socket, os, fcntl; assert sys.version_info >= (3, 9) and socket.recv_fds and os.memfd_create";
    let found = Command::new("python3").args(["-c", check]).stderr(Stdio::null()).status();
    let able = found.is_ok_and(|status| status.success());
    if !able {
        println!("SKIPPED: {test}: there is no python3 of version 3.9 or newer");
    }
    able
}

fn peer(args: &[&str], stdin: Option<OwnedFd>) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer.py");
    Command::new("python3")
        .arg(script)
        .args(args)
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ends_well(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// Answers five frames as `peer.py` expects, and says what it got.
fn receive(mut receiver: Receiver) -> Vec<(bool, usize)> {
    let mut seen = Vec::new();
    for i in 0..5 {
        let incoming = receiver.next(Some(TIMEOUT)).unwrap().expect("a frame");
        assert_eq!(incoming.sender(), &name("py"));
        assert_eq!(incoming.trace(), (i == 0).then(trace));
        let (sealed, mut region) = (incoming.is_sealed(), vec![0; incoming.len()]);
        let held = receiver.read_into(incoming, &mut region).unwrap();
        seen.push((sealed, region.len()));
        region.reverse();
        receiver.handled(held, Status(7), Some(Payload::Bytes(&region))).unwrap();
    }
    seen
}

/// Sends to `peer.py`, in every form that the transport has.
fn send(mut sender: Sender) {
    let long: Vec<u8> = (0..70_000_u32).map(|i| (i % 241) as u8).collect();
    let mut buffer = Buffer::new(600_000).unwrap();
    buffer.bytes_mut()[..4].copy_from_slice(b"seal");
    let frozen = buffer.freeze(600_000).unwrap();
    let view = frozen.view().unwrap();
    let sends: [(Outgoing<'_>, &[u8]); 4] = [
        (Outgoing::from(b"first").traced(trace()), b"first"),
        (Outgoing::from(&[]), b""),
        (Outgoing::from(&long), &long),
        (Outgoing::from(&frozen), &view),
    ];
    for (outgoing, payload) in sends {
        let delivery = sender.send(&name("py"), outgoing).unwrap();
        assert_eq!(delivery.status, Status(7));
        let answer = delivery.answer.unwrap();
        let mut region = vec![0; answer.len()];
        answer.read_into(&mut region).unwrap();
        region.reverse();
        assert!(region == payload, "another answer");
    }
}

struct Host {
    base: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { base: tempfile::tempdir().unwrap() }
    }

    fn publish(&self, config: &Config) -> (Secret, Published) {
        let folder = Folder::open(&self.base.path().join("hose"), &"t".try_into().unwrap()).unwrap();
        let secret = Secret::generate().unwrap();
        let published = folder.publish(config, &secret, "test").unwrap();
        (secret, published)
    }

    fn folder(&self) -> PathBuf {
        self.base.path().join("hose/t")
    }
}

#[test]
fn python_sends_over_a_unix_socket() {
    if !python("python_sends_over_a_unix_socket") {
        return;
    }
    let host = Host::new();
    let (secret, published) = host.publish(&config("rust", &[]));
    let (pythons, _published) = host.publish(&config("py", &["rust"]));
    let child =
        peer(&["send", "unix", host.folder().to_str().unwrap(), "py", &pythons.to_hex(), "rust"], None);
    let local = Local::new(config("rust", &[]), secret, published.mount);
    let seen = receive(Receiver::new(&local, published.listener).unwrap());
    assert_eq!(seen, [(false, 5), (false, 0), (false, 70_000), (true, 70_000), (true, 18)]);
    ends_well(child);
}

#[test]
fn python_receives_over_a_unix_socket() {
    if !python("python_receives_over_a_unix_socket") {
        return;
    }
    let host = Host::new();
    let (secret, published) = host.publish(&config("rust", &["py"]));
    let (pythons, pythons_end) = host.publish(&config("py", &[]));
    let folder = host.folder();
    let seed = pythons.to_hex();
    let args = ["receive", "unix", folder.to_str().unwrap(), "py", &seed];
    let child = peer(&args, Some(pythons_end.listener));
    let sender = Sender::new(&Local::new(config("rust", &["py"]), secret, published.mount));
    send(sender);
    ends_well(child);
}

fn network(keyed: bool) -> Network {
    let keys = KEYS.iter().fold(Keys::new(), |keys, (n, key)| keys.with(name(n), key).unwrap());
    if keyed { Network::new().with_keys(keys) } else { Network::new() }
}

fn hex(keyed: bool, of: usize) -> String {
    if keyed { format!("{:02x}", KEYS[of].1[0]).repeat(32) } else { "-".to_owned() }
}

#[test]
fn python_sends_over_tcp_with_keys_and_without() {
    if !python("python_sends_over_tcp_with_keys_and_without") {
        return;
    }
    for keyed in [true, false] {
        let network = network(keyed);
        let listener = network.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let child = peer(&["send", "tcp", &address, "py", &hex(keyed, 0), "rust", &hex(keyed, 1)], None);
        let local = Local::with(config("rust", &[]), [Way::Tcp(network)]);
        let seen = receive(Receiver::new(&local, listener).unwrap());
        assert_eq!(seen, [(false, 5), (false, 0), (false, 70_000), (false, 70_000), (false, 18)]);
        ends_well(child);
    }
}

#[test]
fn python_receives_over_tcp_with_keys_and_without_written_and_spliced() {
    if !python("python_receives_over_tcp_with_keys_and_without_written_and_spliced") {
        return;
    }
    for keyed in [true, false] {
        for transfer in [Transfer::Copy, Transfer::Splice] {
            let mut child =
                peer(&["receive", "tcp", "127.0.0.1:0", "py", &hex(keyed, 0), "rust", &hex(keyed, 1)], None);
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let address: SocketAddr = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
            let network = network(keyed).with_target(name("py"), address);
            let local: Rc<Local> =
                Local::with(config("rust", &["py"]).with_transfer(transfer), [Way::Tcp(network)]);
            send(Sender::new(&local));
            ends_well(child);
        }
    }
}
