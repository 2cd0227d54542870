//! What a run has left behind: folders, namespaces, control groups and processes bear its pid.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// Where folders of a run are, and its namespaces.
const HOMES: [&str; 3] = ["/dev/shm", "/tmp", "/run/netns"];

const GROUPS: &str = "/sys/fs/cgroup";

/// How deep below [`GROUPS`] a run's groups may be.
const DEPTH: usize = 4;

/// Says that the running test is skipped and why; not by `eprintln!`, which libtest captures.
pub(crate) fn announce_skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// All that bears this pid.
pub(crate) fn of(pid: u32) -> Vec<PathBuf> {
    let name = format!("rr-eval-{pid}-");
    let mut left: Vec<PathBuf> = HOMES.iter().flat_map(|home| named(Path::new(home), &name, 1)).collect();
    left.extend(named(Path::new(GROUPS), &name, DEPTH));
    left.extend(processes(&name));
    left
}

/// Processes that have an argument with this in it.
pub(crate) fn processes(part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let has = |path: &PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| String::from_utf8_lossy(word).contains(part))
    };
    entries.filter(has).collect()
}

/// Sends a signal to a run.
pub(crate) fn send(run: &Child, signal: Signal) {
    let pid = Pid::from_raw(run.id().cast_signed()).expect("a pid");
    kill_process(pid, signal).expect("kill");
}

fn named(folder: &Path, start: &str, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(start) {
            found.push(entry.path());
        } else if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(named(&entry.path(), start, depth - 1));
        }
    }
    found
}
