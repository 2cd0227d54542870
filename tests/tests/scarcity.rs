//! Too little of something on the host: descriptors, processes, memory. A command works or fails; when it has failed it has said why, nothing of its container is
//! left, and none runs without its limits.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tests::{Bundle, Case, Invocation, skip};

fn program(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.args(["/bin/echo", "ran"]);
    bundle
}

fn function(case: &Case) -> Bundle {
    case.wasm("(module (func (export \"_start\")))")
}

/// Runs a bundle with less and less, by a shell that begins with `limit`; gives how often it worked.
fn with_less(
    make: fn(&Case) -> Bundle,
    limits: impl Iterator<Item = String>,
    killed_is_said: bool,
) -> [usize; 2] {
    let case = Case::ours();
    let bundle = make(&case);
    // The container's own limit is the caller's then.
    bundle.edit(|config| {
        config["process"].as_object_mut().expect("a map").remove("rlimits");
    });
    let mut counts = [0, 0];
    for limit in limits {
        let id = case.id();
        let run = case.run(&bundle, &id);
        let out = run.wrapped(["sh", "-c", &format!("{limit} && exec \"$@\""), "sh"]).output();
        if out.code == 0 {
            counts[0] += 1;
        } else {
            counts[1] += 1;
            let said = !out.stderr.trim().is_empty() || (!killed_is_said && out.code > 128);
            assert!(said, "under {limit} it failed with {} and said nothing", out.code);
        }
        // A runtime that was killed could take nothing back.
        if out.code > 128 {
            assert_eq!(case.cmd(["delete", "--force", &id]).output().code, 0, "under {limit}");
        }
        if !case.left().is_empty() {
            case.nothing_left();
        }
    }
    counts
}

#[test]
fn descriptors() {
    for make in [program, function] {
        let counts = with_less(make, (3..64).map(|count| format!("ulimit -n {count}")), true);
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    }
}

#[test]
fn a_limit_that_cannot_be_raised() {
    let case = Case::ours();
    let bundle = program(&case);
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }]);
    });
    // Without CAP_SYS_RESOURCE, which some roots have not anyway.
    let script = "ulimit -n 100 && exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \"$@\"";
    if tests::runtime::program("setpriv").is_none() {
        skip!("setpriv is not installed");
    }
    let out = case.run(&bundle, &case.id()).wrapped(["sh", "-c", script, "sh"]).output();
    assert!(out.code == 1 && out.stderr.contains("RLIMIT_NOFILE"), "{out:?}");
    case.nothing_left();
}

/// A cgroup of version 1 for the runtime itself.
struct Group(PathBuf);

impl Group {
    fn new(case: &Case, controller: &str) -> Option<Self> {
        let base = Path::new("/sys/fs/cgroup").join(controller);
        if !base.join("cgroup.procs").exists() {
            return None;
        }
        let own = fs::read_to_string("/proc/self/cgroup").expect("a cgroup file");
        let own = own.lines().find_map(|line| line.split_once(&format!(":{controller}:")))?.1.to_owned();
        let folder = base.join(own.trim_start_matches('/')).join(format!("{}callers", case.name()));
        fs::create_dir(&folder).expect("a cgroup");
        Some(Self(folder))
    }

    fn set(&self, file: &str, value: u64) {
        fs::write(self.0.join(file), value.to_string()).expect("a limit");
    }

    /// A command that begins in it.
    fn enter(&self, invocation: Invocation) -> Invocation {
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.0.display());
        invocation.wrapped(["sh", "-c", &script, "sh"])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn processes() {
    let case = Case::ours();
    let Some(group) = Group::new(&case, "pids") else {
        skip!("no cgroup of version 1 counts processes here")
    };
    for make in [program, function] {
        let bundle = make(&case);
        let mut worked = 0;
        for most in 1..8 {
            group.set("pids.max", most);
            let id = case.id();
            // Its container is in a cgroup of its own, which no limit of the caller's reaches.
            bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{id}")));
            let out = group.enter(case.run(&bundle, &id)).output();
            worked += usize::from(out.code == 0);
            assert!(out.code == 0 || !out.stderr.trim().is_empty(), "{most} processes: {out:?}");
            assert_eq!(case.cmd(["delete", "--force", &id]).output().code, 0, "{most} processes");
            let left: Vec<_> = case.left().into_iter().filter(|thing| !thing.contains("callers")).collect();
            assert!(left.is_empty(), "{most} processes: {left:?}");
        }
        assert!(worked > 0, "it never worked");
    }
}

#[test]
fn memory() {
    let case = Case::ours();
    for make in [program, function] {
        let bundle = make(&case);
        let mut counts = [0, 0];
        for kilobytes in [256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 65_536] {
            // A group for each: what the last caller was charged with is not always taken back by now, and a limit below it is EBUSY.
            let Some(group) = Group::new(&case, "memory") else {
                skip!("no cgroup of version 1 bounds memory here")
            };
            group.set("memory.limit_in_bytes", kilobytes * 1024);
            let id = case.id();
            bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{id}")));
            let out = group.enter(case.run(&bundle, &id)).output();
            counts[usize::from(out.code != 0)] += 1;
            // Who is killed for it says nothing.
            assert_eq!(case.cmd(["delete", "--force", &id]).output().code, 0, "{kilobytes} kB");
            let left: Vec<_> = case.left().into_iter().filter(|thing| !thing.contains("callers")).collect();
            assert!(left.is_empty(), "{kilobytes} kB: {left:?}");
        }
        assert!(counts[0] > 0, "it never worked");
    }
}
