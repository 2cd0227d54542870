//! Many at once, and again and again: nothing is left, and nothing gets slower. `RR_CROWD=1000` and `RR_CYCLES=10000` make of them what they were meant to be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use serde_json::Value;
use tests::command::eventually;
use tests::{Bundle, Case};

/// How many, when nobody says so.
fn many(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn sleeper(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    bundle
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn two_hundred_run_at_once() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/echo", "ran"]);
    let function = case.wasm("(module (func (export \"_start\")))");
    let all: Vec<_> = (0..200)
        .map(|number| {
            let (bundle, said) = if number % 4 == 0 { (&function, "") } else { (&bundle, "ran\n") };
            (case.run(bundle, &case.id()).timeout(Duration::from_secs(120)).spawn(), said)
        })
        .collect();
    for (running, said) in all {
        assert_eq!(running.wait().success().stdout, said);
    }
    case.nothing_left();
}

/// All turns are taken, by one that is through with nothing: as a command that is stopped in the midst of a start.
#[test]
fn one_that_is_stuck_keeps_nobody_from_starting() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/true"]);
    let run = || {
        let began = Instant::now();
        let run = case.cmd(["--rootless", "true", "run", "--bundle"]).arg(bundle.dir()).arg(case.id());
        run.env("XDG_RUNTIME_DIR", case.dir()).output().success();
        began.elapsed()
    };
    let free = run();
    let turns = File::options().write(true).open(case.dir().join("rr-runtime/@turns")).expect("the turns");
    fcntl_lock(&turns, FlockOperation::NonBlockingLockExclusive).expect("nobody has one");
    let taken = run();
    assert!(taken > free && taken > Duration::from_secs(1), "{taken:?}, and {free:?} before");
    case.nothing_left();
}

/// Compiling takes as long as it takes: nobody else waits for that.
#[test]
fn who_waits_for_compiled_code_has_given_back_the_turn() {
    let case = Case::ours();
    let cache = case.folder();
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).expect("chmod");
    let config = case.dir().join("config.toml");
    fs::write(&config, format!("[cache]\ndirectory = \"{}\"\n", cache.display())).expect("write");
    let lock = File::create(cache.join("lock")).expect("the cache's lock");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("nobody has it");

    let bundle = case.wasm("(module (func (export \"_start\")))");
    bundle.annotation("io.roadrunner.wasm/aot", "wait");
    let run = case.cmd(["--rootless", "true", "--config"]).arg(&config).args(["run", "--bundle"]);
    let run = run.arg(bundle.dir()).arg(case.id()).env("XDG_RUNTIME_DIR", case.dir()).spawn();
    let inode = format!(":{} ", lock.metadata().expect("its inode").ino());
    let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
    eventually("its code is to be stored", || {
        fs::read_to_string("/proc/locks").expect("procfs").lines().any(waits)
    });
    let turns = File::options().write(true).open(case.dir().join("rr-runtime/@turns")).expect("the turns");
    fcntl_lock(&turns, FlockOperation::NonBlockingLockExclusive).expect("nobody has one");
    drop((turns, lock));
    run.wait().success();
    case.nothing_left();
}

#[test]
fn cycles_leave_nothing_and_get_no_slower() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/true"]);
    let count = many("RR_CYCLES", 300);
    let mut times = Vec::new();
    for _ in 0..count {
        let id = case.id();
        let began = Instant::now();
        let pid = case.create(&bundle, &id);
        case.cmd(["start", &id]).ok();
        let _ = case.exit_status(pid);
        case.delete(&id);
        times.push(began.elapsed());
    }
    case.nothing_left();
    let tenth = (count / 10).max(10);
    let [first, last] = [times[..tenth].to_vec(), times[count - tenth..].to_vec()].map(median);
    assert!(last < first * 2, "{first:?} at first, {last:?} in the end");
}

#[test]
fn a_crowd_is_listed_whole() {
    let case = Case::ours();
    let bundle = sleeper(&case);
    let count = many("RR_CROWD", 150);
    let listed = |ids: &[String]| {
        let times = (0..5).map(|_| {
            let began = Instant::now();
            let text = case.cmd(["list", "--format", "json"]).ok();
            let took = began.elapsed();
            let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
            assert_eq!(all.len(), ids.len());
            assert!(all.iter().all(|container| container["status"] == "created"), "{text}");
            took
        });
        median(times.collect())
    };
    let mut ids = Vec::new();
    let mut few = Duration::ZERO;
    for number in 1..=count {
        let id = case.id();
        case.create(&bundle, &id);
        ids.push(id);
        if number == count / 10 {
            few = listed(&ids);
        }
    }
    let all = listed(&ids);
    assert!(all < few * 20, "ten times as many take {all:?}, not {few:?}");
    for id in &ids {
        case.force_delete(id);
    }
    case.nothing_left();
}
