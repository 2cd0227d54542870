//! Ends of the hose that a test publishes: for the function that it runs, and for itself.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use executor_abi::request::{Endpoint, Hose, Lifecycle};
use hose::rendezvous::{Folder, Published};
use hose::{Config, Limits, Local, Secret, Sender};

use super::Case;

fn publish(base: &Path, name: &str, targets: &[&str], connect: Duration) -> (Config, Secret, Published) {
    let names = |list: &[&str]| list.iter().map(|&name| name.try_into().expect("a name")).collect();
    let limits = Limits::new(connect, Duration::from_secs(20), 1 << 30);
    let config = Config::new(
        name.try_into().expect("a name"),
        "flow".try_into().expect("a workflow"),
        names(targets),
        limits.expect("limits"),
    );
    let config = config.expect("a config");
    let secret = Secret::generate().expect("a secret");
    let folder = Folder::open(&base.join("hose"), &"tenant".try_into().expect("a tenant")).expect("a folder");
    let owner = format!("{name}-{}", std::process::id());
    let published = folder.publish(&config, &secret, &owner).expect("an end");
    (config, secret, published)
}

/// Publishes an end for `case`; the descriptors are inherited by what it spawns.
pub fn join(
    case: &mut Case,
    base: &Path,
    name: &str,
    targets: &[&str],
    connect_timeout_ms: u64,
) -> [OwnedFd; 2] {
    let (_, secret, published) = publish(base, name, targets, Duration::from_millis(connect_timeout_ms));
    for fd in [published.listener.as_fd(), published.mount.as_fd()] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).expect("fcntl");
    }
    case.request.hose = Some(Hose {
        name: name.to_owned(),
        workflow: "flow".to_owned(),
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
        endpoint: Some(Endpoint {
            listener_fd: Some(published.listener.as_raw_fd()),
            rendezvous_fd: published.mount.as_raw_fd(),
            secret: secret.to_hex().to_string(),
        }),
        network: None,
        functions: Vec::new(),
        control_fd: None,
        stdin: None,
        stdout: None,
        transfer: "auto".to_owned(),
        connect_timeout_ms,
        io_timeout_ms: 20_000,
        max_size: 1 << 30,
        max_inflight: 256,
        lifecycle: Lifecycle::Oneshot,
        statistics: None,
    });
    [published.listener, published.mount]
}

/// A sender of this process's own.
pub fn sender(base: &Path, name: &str, target: &str) -> Sender {
    let (config, secret, published) = publish(base, name, &[target], Duration::from_secs(10));
    Sender::new(&Local::new(config, secret, published.mount))
}

/// The seven functions, nothing else: a bump allocator whose region 0 is never handed out.
pub const SEVEN: &str = r#"
    (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 1024))
    (func $allocate (export "allocate_memory") (param i32) (result i32) (local i32)
        (local.set 1 (global.get $next))
        (global.set $next (i32.add (global.get $next) (i32.add (local.get 0) (i32.const 8))))
        (local.get 1))
    (func (export "deallocate_memory") (param i32))"#;
