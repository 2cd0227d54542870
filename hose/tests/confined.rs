//! Two ends that are confined as the inits of two containers are: processes of their own under an unprivileged uid, with
//! a root that has nothing in it (no procfs, no device), and with two descriptors of the host's, which come to them
//! as standard input and output.
//!
//! The children are this program again. It has no harness, because libtest writes to standard output. Needs root, and
//! says so where it is not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hose::rendezvous::Folder;
use hose::{
    Config, Delivery, ErrorKind, Fate, Limits, Local, Name, Receiver, Secret, Sender, Status, Transfer,
};

const TIMEOUT: Duration = Duration::from_secs(20);
const UID: u32 = 54_321;

/// More than any socket buffer holds.
fn payload() -> Vec<u8> {
    (0..20_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn config(me: &str) -> Config {
    let targets = if me == "a" { vec![Name::try_from("b").unwrap()] } else { vec![] };
    let limits = Limits::new(TIMEOUT, TIMEOUT, 1 << 30).unwrap();
    Config::new(me.try_into().unwrap(), "w".try_into().unwrap(), targets, limits).unwrap()
}

/// A child with its end published, which will play `role` confined to `root`.
fn spawn(base: &Path, root: &Path, me: &str, role: &str) -> Child {
    let folder = Folder::open(&base.join("hose"), &"t".try_into().unwrap()).unwrap();
    let secret = Secret::generate().unwrap();
    let published = folder.publish(&config(me), &secret, me).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .env_clear()
        .env("HOSE_ROLE", role)
        .env("HOSE_ROOT", root)
        .env("HOSE_SECRET", secret.to_hex().as_str())
        .stdin(Stdio::from(published.mount))
        .stdout(Stdio::from(published.listener))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn main() {
    if let Ok(role) = std::env::var("HOSE_ROLE") {
        return play(&role);
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: confining a process needs root");
        return;
    }
    a_payload_goes_from_one_confined_process_to_another();
    println!("test a_payload_goes_from_one_confined_process_to_another ... ok");
    a_receiver_that_is_killed_in_mid_transfer_is_an_error_to_its_sender();
    println!("test a_receiver_that_is_killed_in_mid_transfer_is_an_error_to_its_sender ... ok");
}

/// What a child does.
fn play(role: &str) {
    let secret = Secret::from_hex(&std::env::var("HOSE_SECRET").unwrap()).unwrap();
    let mount = rustix::io::dup(std::io::stdin().as_fd()).unwrap();
    let listener = rustix::io::dup(std::io::stdout().as_fd()).unwrap();
    confine(Path::new(&std::env::var_os("HOSE_ROOT").unwrap()));
    assert!(std::fs::read_dir("/").unwrap().next().is_none(), "the root is not empty");
    match role {
        "send" => send(config("a"), mount, secret, |result| assert_eq!(result.unwrap().status, Status(42))),
        "send to the dying" => send(config("a").with_transfer(Transfer::Copy), mount, secret, |result| {
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Lost, Fate::NotHandled), "{error}");
        }),
        "receive" => receive(mount, secret, listener),
        "announce and hang" => {
            let local = Local::new(config("b"), secret, mount);
            let incoming = Receiver::new(&local, listener).unwrap().next(Some(TIMEOUT)).unwrap();
            eprintln!("announced {}", incoming.unwrap().len());
            std::thread::sleep(TIMEOUT);
        }
        _ => panic!("role {role}"),
    }
}

fn confine(root: &Path) {
    rustix::process::chroot(root).unwrap();
    rustix::process::chdir("/").unwrap();
    // Of this thread, the only one that does anything from here on.
    let id = rustix::process::Gid::from_raw(UID);
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_res_gid(id, id, id).unwrap();
    let id = rustix::process::Uid::from_raw(UID);
    rustix::thread::set_thread_res_uid(id, id, id).unwrap();
}

fn send(config: Config, mount: OwnedFd, secret: Secret, check: impl FnOnce(hose::Result<Delivery>)) {
    let before = std::env::current_dir().unwrap();
    let mut sender = Sender::new(&Local::new(config, secret, mount));
    check(sender.send(&"b".try_into().unwrap(), &payload()));
    assert_eq!(std::env::current_dir().unwrap(), before);
}

fn receive(mount: OwnedFd, secret: Secret, listener: OwnedFd) {
    let mut receiver = Receiver::new(&Local::new(config("b"), secret, mount), listener).unwrap();
    let incoming = receiver.next(Some(TIMEOUT)).unwrap().expect("a frame");
    let mut region = vec![0; incoming.len()];
    let held = receiver.read_into(incoming, &mut region).unwrap();
    assert!(region == payload(), "the payload is harmed");
    receiver.handled(held, Status(42), None).unwrap();
}

fn ends_well(mut child: Child) {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    let status: ExitStatus = child.wait().unwrap();
    assert!(status.success(), "{status}: {text}");
}

fn a_payload_goes_from_one_confined_process_to_another() {
    let (base, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::chown(root.path(), Some(UID), None).unwrap();
    let sender = spawn(base.path(), root.path(), "a", "send");
    let receiver = spawn(base.path(), root.path(), "b", "receive");
    ends_well(receiver);
    ends_well(sender);
}

fn a_receiver_that_is_killed_in_mid_transfer_is_an_error_to_its_sender() {
    let (base, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::chown(root.path(), Some(UID), None).unwrap();
    let sender = spawn(base.path(), root.path(), "a", "send to the dying");
    let mut receiver = spawn(base.path(), root.path(), "b", "announce and hang");
    let mut lines = BufReader::new(receiver.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "announced 20000000");
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    ends_well(sender);
}
