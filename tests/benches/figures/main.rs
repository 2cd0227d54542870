//! The figures of docs/benchmarks.md: `make bench`.
//!
//! Each figure compares two things in one run, turn by turn where they are short, and its value is the ratio of their medians, so
//! that a machine whose speed drifts drifts for both. Absolute times are printed for orientation only.
//!
//! Needs root, `runc`, the examples' guests (`scripts/build-guests`) and the examples `engine-alone`, `bare-call`, `pages` and
//! `transfer` beside the runtime (`scripts/bench`), and for TCP `unshare`, `nsenter`, `ip` and `tc`. `crun` is compared where it runs: it refuses a hybrid cgroup hierarchy, so its
//! processes are given a mount namespace in which the unified one is covered.

mod commands;
mod curves;
mod memory;
mod report;
mod starting;
mod tcp;
mod unix;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use tests::{Bundle, Case, Runtime};

use report::{Report, workspace};

fn main() {
    // `cargo bench` passes flags of its own, `cargo test --benches` asks for a list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let ours = Runtime::under_test();
    let peer = Runtime::peer().expect("runc is needed to compare with: apt-get install runc");
    let only = std::env::var("RR_FIGURES").unwrap_or_default();
    let asked = |part: &str| only.is_empty() || only.split(',').any(|name| name == part);
    let mut report = Report::default();
    if asked("starting") {
        starting::measure(&mut report, &ours, &peer);
    }
    if asked("commands") {
        commands::measure(&mut report, &ours, &peer);
    }
    if asked("memory") {
        memory::measure(&mut report, &ours);
    }
    if asked("unix") {
        unix::measure(&mut report, &ours);
    }
    if asked("tcp") {
        tcp::measure(&mut report);
    }
    if asked("curves") {
        curves::measure(&ours);
    }
    report.write();
}

/// A bundle that runs one of the examples' guests.
fn guest(case: &Case, name: &str, aot: &str) -> Bundle {
    let bundle = Bundle::empty(case);
    let module = fs::read(example_guest(name)).expect("the guest can be read");
    bundle.file(&format!("{name}.wasm"), module);
    bundle.args([format!("/{name}.wasm")]);
    bundle.annotation("io.roadrunner.wasm/aot", aot);
    bundle
}

fn example_guest(name: &str) -> PathBuf {
    let path = workspace().join(format!("guest/examples/target/wasm32-wasip1/release/{name}.wasm"));
    assert!(path.is_file(), "{} is missing: scripts/build-guests makes it", path.display());
    path
}

/// An example program of the workspace, beside the runtime under test.
fn example(name: &str) -> PathBuf {
    let runtime = Runtime::under_test();
    let path = runtime.path().parent().expect("a folder").join("examples").join(name);
    assert!(path.is_file(), "{} is missing: make bench builds it", path.display());
    path
}

fn run(case: &Case, bundle: &Bundle) -> Duration {
    let bundle = bundle.dir().display().to_string();
    time(command(case, &["run", "--bundle", &bundle, &case.id()]))
}

/// A bare command: the harness's own watching and capturing would be timed with it.
fn command(case: &Case, arguments: &[&str]) -> Command {
    let mut command = Command::new(case.runtime().path());
    command.arg("--root").arg(case.root()).args(arguments);
    command
}

/// A command line that covers the unified hierarchy for what follows it.
fn covered() -> Vec<String> {
    let script = "mount -t tmpfs none /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"].map(String::from).to_vec()
}

fn time(mut command: Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let start = Instant::now();
    let status = tests::command::bare_status(&mut command).expect("the contestant starts");
    let elapsed = start.elapsed();
    assert!(status.success(), "{command:?} failed: {status}");
    elapsed
}

/// What a workflow prints that ends well.
fn workflow_output(case: &Case, flow: &tests::Flow) -> String {
    let out = case.run(flow.bundle(), &case.id()).timeout(Duration::from_secs(300)).output();
    assert_eq!(out.code, 0, "{}", out.stderr);
    out.stdout
}
