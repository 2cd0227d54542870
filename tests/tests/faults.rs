//! kill -9 of each command at each of its steps: a step is a system call that changes something, at which strace kills the runtime.
//!
//! Whatever the step: the state does not lie, no program of a container runs without the container's limits, and `delete --force` leaves
//! nothing. And of what a command has forked: then the command fails by itself, and leaves nothing either (every third step, or each with
//! `RR_EVERY_STEP=1`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::json;
use tests::{Bundle, Case, Invocation, proc, skip};

/// System calls that change something which others see.
const CALLS: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,clone,clone3,fork,vfork,write,writev,pwrite64,\
    mount,umount2,move_mount,open_tree,setns,unshare,pivot_root,sendmsg,sendto,connect,bind,symlinkat,mknodat,kill,\
    pidfd_send_signal,execve,execveat,flock,ftruncate,fchmod,fchmodat,fchown,fchownat,prctl";

/// A bundle whose program sleeps, within a limit.
fn sleeper(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    bundle.edit(|config| config["linux"]["resources"]["pids"] = json!({ "limit": 20 }));
    bundle
}

/// A function that waits, as a container that shares a hose.
fn function(case: &Case) -> Bundle {
    let bundle = case.wasm(
        r#"(module (memory (export "memory") 1)
            (func (export "_start") (loop (br 0)))
            (func (export "allocate_memory") (param i32) (result i32) (i32.const 0))
            (func (export "deallocate_memory") (param i32))
            (func (export "read_memory_wasm") (param i32 i32)))"#,
    );
    bundle.annotation("io.roadrunner.hose/mode", "kernel");
    bundle.annotation("io.roadrunner.hose/name", &format!("{}f", case.name()));
    bundle.annotation("io.roadrunner.hose/workflow", case.name().trim_end_matches('-'));
    bundle.edit(|config| config["linux"]["resources"]["pids"] = json!({ "limit": 20 }));
    bundle
}

/// What a command does, on the container of a name.
type Step<'a> = dyn Fn(&Case, &Bundle, &str) -> Invocation + 'a;

/// The command under strace, which is told `what`.
fn traced(invocation: Invocation, what: &str, log: &str) -> Invocation {
    invocation.wrapped(["strace", "-qq", "-o", log, "-e", what])
}

/// Tries a command at its steps; each time `prepare` makes what it needs.
fn tried(make: fn(&Case) -> Bundle, prepare: &dyn Fn(&Case, &Bundle, &str), command: &Step<'_>) {
    let case = Case::ours();
    if tests::runtime::program("strace").is_none() {
        skip!("strace is not installed");
    }
    let log = case.dir().join("log").display().to_string();
    let bundle = make(&case);
    let id = case.id();
    prepare(&case, &bundle, &id);
    let out = traced(command(&case, &bundle, &id), &format!("trace={CALLS}"), &log).output();
    assert_eq!(out.code, 0, "{}", out.stderr);
    let steps = steps(&fs::read_to_string(&log).expect("a log"));
    assert!(!steps.is_empty(), "it does nothing that could be seen");
    case.force_delete(&id);
    let mut killed = 0;
    for (call, number) in &steps {
        let id = case.id();
        prepare(&case, &bundle, &id);
        let inject = format!("inject={call}:signal=KILL:when={number}");
        let out = traced(command(&case, &bundle, &id), &inject, &log).output();
        killed += usize::from(out.code == 137);
        let at = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.lines().rev().find(|line| !line.starts_with("+++")).unwrap_or_default().to_owned()
        };
        held_to_its_limits(&case, &at);
        tells_the_truth(&case, &id, &at);
        let deleted = case.cmd(["delete", "--force", &id]).output();
        assert_eq!(deleted.code, 0, "after {}: {}", at(), deleted.stderr);
        let left = case.left();
        if !left.is_empty() {
            // What was killed a moment ago may take one.
            case.nothing_left();
        }
    }
    let tried = steps.len();
    assert!(killed * 10 >= tried * 9, "it was killed {killed} times in {tried} tries");
}

/// Tries `run` of a bundle that ends, and kills whatever process of its own comes to a step first.
fn tried_below(make: fn(&Case) -> Bundle) {
    let case = Case::ours();
    if tests::runtime::program("strace").is_none() {
        skip!("strace is not installed");
    }
    let log = case.dir().join("log").display().to_string();
    let bundle = make(&case);
    let run = |id: &str, what: &str| {
        let invocation = case.run(&bundle, id);
        invocation.wrapped(["strace", "-f", "-qq", "-o", &log, "-e", what]).output()
    };
    let out = run(&case.id(), &format!("trace={CALLS}"));
    assert_eq!(out.code, 0, "{}", out.stderr);
    let text = fs::read_to_string(&log).expect("a log");
    let mut processes: BTreeMap<&str, String> = BTreeMap::new();
    for (pid, call) in text.lines().filter_map(|line| line.split_once(' ')) {
        let calls = processes.entry(pid).or_default();
        calls.push_str(call.trim());
        calls.push('\n');
    }
    assert!(processes.len() >= 3, "it has forked nothing: {text}");
    let mut all: BTreeSet<(String, usize)> = processes.values().flat_map(|calls| steps(calls)).collect();
    // Steps that the command itself comes to are the other tests': what it leaves would keep strace waiting.
    let first = text.split(' ').next().and_then(|pid| processes.get(pid)).expect("the command");
    for step in steps(first) {
        all.remove(&step);
    }
    // Some hundred, most of them writes and mounts like the one before.
    let every = std::env::var_os("RR_EVERY_STEP").is_some();
    let all: Vec<_> = all.into_iter().step_by(if every { 1 } else { 3 }).collect();
    let mut failed = 0;
    for (call, number) in &all {
        let id = case.id();
        let out = run(&id, &format!("inject={call}:signal=KILL:when={number}"));
        let at = || format!("{call} {number}");
        failed += usize::from(out.code != 0);
        let killed = out.code == 137;
        if !killed {
            let state = case.cmd(["state", &id]).output();
            assert!(state.code != 0, "after {}: exit code {}, and {}", at(), out.code, state.stdout);
        }
        tells_the_truth(&case, &id, &at);
        assert_eq!(case.cmd(["delete", "--force", &id]).output().code, 0, "after {}", at());
        if !case.left().is_empty() {
            case.nothing_left();
        }
    }
    assert!(failed * 2 > all.len(), "{failed} of {} failed", all.len());
}

/// Each call of a log, and how many of its name there were until then, by which strace counts.
fn steps(log: &str) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    let names = log.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.trim());
    // The first one makes strace's child the runtime.
    names
        .skip_while(|name| *name == "execve")
        .filter(|name| CALLS.split(',').any(|call| call.trim() == *name))
        .map(|name| {
            let count = counts.entry(name.to_owned()).or_insert(0);
            *count += 1;
            (name.to_owned(), *count)
        })
        .collect()
}

/// Programs of the case's containers are in cgroups that limit them.
fn held_to_its_limits(case: &Case, at: &dyn Fn() -> String) {
    for pid in proc::all() {
        if !proc::cmdline(pid).iter().any(|word| word == "600")
            || !proc::environ(pid).iter().any(|pair| pair.contains(case.name()))
        {
            continue;
        }
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let path =
            groups.lines().find_map(|line| line.split_once(":pids:").or_else(|| line.split_once("0::")));
        let Some((_, path)) = path else { continue };
        let limit = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .iter()
            .find_map(|base| fs::read_to_string(format!("{base}{path}/pids.max")).ok());
        assert!(
            limit.as_deref().is_some_and(|limit| limit.trim() != "max"),
            "after {}: {pid} has no limit",
            at()
        );
    }
}

/// What `state` says is so, or the container is not there.
fn tells_the_truth(case: &Case, id: &str, at: &dyn Fn() -> String) {
    let out = case.cmd(["state", id]).output();
    if out.code != 0 {
        assert!(out.stderr.contains("does not exist"), "after {}: {}", at(), out.stderr);
        return;
    }
    let state: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let status = state["status"].as_str().expect("a status");
    let pid = u32::try_from(state["pid"].as_u64().unwrap_or(0)).expect("a pid");
    match status {
        "created" | "running" | "paused" => {
            assert!(proc::alive(pid), "after {}: {status}, but {pid} is not", at())
        }
        "stopped" | "creating" => {}
        other => panic!("after {}: {other}", at()),
    }
}

fn nothing(_: &Case, _: &Bundle, _: &str) {}

fn create(case: &Case, bundle: &Bundle, id: &str) -> Invocation {
    case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(id)
}

fn run(case: &Case, bundle: &Bundle, id: &str) -> Invocation {
    case.cmd(["run", "--detach", "--bundle"]).arg(bundle.dir()).arg(id)
}

fn created(case: &Case, bundle: &Bundle, id: &str) {
    create(case, bundle, id).ok();
}

fn running(case: &Case, bundle: &Bundle, id: &str) {
    run(case, bundle, id).ok();
}

fn paused(case: &Case, bundle: &Bundle, id: &str) {
    running(case, bundle, id);
    case.cmd(["pause", id]).ok();
}

#[test]
fn create_of_a_program() {
    tried(sleeper, &nothing, &create);
}

#[test]
fn create_of_a_function() {
    tried(function, &nothing, &create);
}

#[test]
fn run_of_a_program() {
    tried(sleeper, &nothing, &run);
}

#[test]
fn run_of_a_function() {
    tried(function, &nothing, &run);
}

#[test]
fn what_runs_a_program_forks() {
    tried_below(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        bundle
    });
}

#[test]
fn what_runs_a_function_forks() {
    tried_below(|case| case.wasm("(module (func (export \"_start\")))"));
}

#[test]
fn start() {
    tried(sleeper, &created, &|case, _, id| case.cmd(["start", id]));
}

#[test]
fn exec() {
    tried(sleeper, &running, &|case, _, id| case.cmd(["exec", "--detach", id, "/bin/sleep", "600"]));
}

#[test]
fn pause_and_resume() {
    tried(sleeper, &running, &|case, _, id| case.cmd(["pause", id]));
    tried(sleeper, &paused, &|case, _, id| case.cmd(["resume", id]));
}

#[test]
fn update() {
    tried(sleeper, &running, &|case, _, id| {
        case.cmd(["update", "--pids-limit", "30", "--memory", "64M", id])
    });
}

#[test]
fn kill() {
    tried(sleeper, &running, &|case, _, id| case.cmd(["kill", "--all", id, "KILL"]));
}

#[test]
fn delete() {
    tried(sleeper, &running, &|case, _, id| case.cmd(["delete", "--force", id]));
    tried(function, &paused, &|case, _, id| case.cmd(["delete", "--force", id]));
    tried(sleeper, &created, &|case, _, id| case.cmd(["delete", id]));
}
