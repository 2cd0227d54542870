//! Control groups of our own making, for programs in no container: a folder of one name in each hierarchy that counts. Gone when it is dropped, with
//! whatever is left in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::MOUNT;

/// Of cgroup v1, which may have several controllers mounted as one.
const CONTROLLERS: [&str; 2] = ["cpuacct", "memory"];

/// Enters all groups, and becomes the program. What cannot be entered is not counted.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@""#;

/// How often a group is looked at until those that were killed have left it.
const LOOKS: usize = 500;
const BETWEEN: Duration = Duration::from_millis(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Made {
    folders: Vec<PathBuf>,
}

/// The folders in which groups are made: of cgroup v1 those that count, of v2 its root, if what is below it is counted.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    below(Path::new(MOUNT))
}

fn below(mount: &Path) -> Vec<PathBuf> {
    let counted = fs::read_to_string(mount.join("cgroup.subtree_control")).unwrap_or_default();
    if counted.split_whitespace().any(|controller| controller == "memory") {
        return vec![mount.to_owned()];
    }
    let folders = CONTROLLERS.map(|name| mount.join(name)).into_iter();
    let mut all: Vec<PathBuf> = folders.filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    all.dedup();
    all
}

impl Made {
    /// Makes groups of this name; none where one of them is not allowed.
    pub(crate) fn make(name: &str) -> Self {
        let mut made = Self { folders: Vec::new() };
        for folder in hierarchies().into_iter().map(|hierarchy| hierarchy.join(name)) {
            if fs::create_dir(&folder).is_err() {
                return Self { folders: Vec::new() };
            }
            made.folders.push(folder);
        }
        made
    }

    /// Groups that a run has left.
    pub(crate) fn found(folder: PathBuf) -> Self {
        Self { folders: vec![folder] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// Runs a program in it, from its first instruction on.
    pub(crate) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ENTER, "sh"]).args(&self.folders).arg("--").args(words);
        command
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in &self.folders {
            for _ in 0..LOOKS {
                // Whoever is in a group that we have made was started by us.
                let left = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                for pid in left.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
                    // One that has ended meanwhile is what is wanted.
                    let _ = kill_process(pid, Signal::KILL);
                }
                if fs::remove_dir(folder).is_ok() || !folder.exists() {
                    break;
                }
                std::thread::sleep(BETWEEN);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::cgroup::Groups;

    #[test]
    fn what_counts_is_found_in_either_version() {
        let mount = tempfile::tempdir().unwrap();
        assert!(below(mount.path()).is_empty());
        fs::create_dir(mount.path().join("memory")).unwrap();
        assert_eq!(below(mount.path()), [fs::canonicalize(mount.path()).unwrap().join("memory")]);
        fs::write(mount.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        assert_eq!(below(mount.path()), [mount.path()]);
    }

    #[test]
    fn a_program_is_counted_and_whatever_it_leaves_is_taken_away() {
        let made = Made::make(&format!("{}{}-made", crate::sweep::PREFIX, std::process::id()));
        if made.is_empty() {
            return crate::announce_skip("no control group can be made");
        }
        let folders = made.folders.clone();
        // It leaves a process behind.
        let script = "sleep 100 & i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; read line";
        let words = ["/bin/sh", "-c", script].map(String::from);
        let pipe = std::process::Stdio::piped;
        let mut child = made.command(&words).stdin(pipe()).stdout(pipe()).spawn().unwrap();
        let mut said = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut said).unwrap();
        let groups = Groups::of(child.id()).unwrap();
        assert!(said == "done\n" && groups.cpu().unwrap().all > 1_000_000, "{groups:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        drop(made);
        assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
    }
}
