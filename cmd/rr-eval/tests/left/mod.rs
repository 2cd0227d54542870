//! What a run has left behind: folders, namespaces, control groups and processes bear its pid.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// Where folders of a run are, and its namespaces.
const HOMES: [&str; 3] = ["/dev/shm", "/tmp", "/run/netns"];

const GROUPS: &str = "/sys/fs/cgroup";

/// How deep below [`GROUPS`] a run's groups may be.
const DEPTH: usize = 4;

/// All that bears this pid.
pub(crate) fn of(pid: u32) -> Vec<PathBuf> {
    let name = format!("rr-eval-{pid}-");
    let mut left: Vec<PathBuf> = HOMES.iter().flat_map(|home| named(Path::new(home), &name, 1)).collect();
    left.extend(named(Path::new(GROUPS), &name, DEPTH));
    left.extend(processes(|word| word.contains(&name)));
    left
}

/// Whether a process has this among its arguments.
pub(crate) fn is_running(argument: &str) -> bool {
    !processes(|word| word == argument).is_empty()
}

/// Whether groups can be made for programs in no container.
pub(crate) fn can_make_groups() -> bool {
    let folder = Path::new(GROUPS).join("memory").join(format!("rr-eval-test-{}", std::process::id()));
    let made = fs::create_dir(&folder).is_ok();
    made && fs::remove_dir(&folder).is_ok()
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

fn processes(mut wanted: impl FnMut(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let mut has = |path: &PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| wanted(&String::from_utf8_lossy(word)))
    };
    entries.filter(|path| has(path)).collect()
}
