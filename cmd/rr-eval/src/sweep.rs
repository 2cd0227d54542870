//! What earlier runs have left that were killed (SIGKILL, out of memory) and could not take it away themselves. A run's folder and its nodes
//! bear its pid: what belongs to a pid that runs no rr-eval any more belongs to nobody.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::apart::Apart;
use crate::cgroup::Made;
use crate::{launch, nodes};

/// What names of a run's folder and nodes begin with; its pid follows.
pub(crate) const PREFIX: &str = "rr-eval-";

/// Takes away what dead runs have left below `home`, their nodes below `netns`, and their groups of processes in `hierarchies`; gives what it was. A root is the name of a folder of states in
/// a run's folder, with the runtime that made them.
pub(crate) fn take_away(
    home: &Path,
    netns: &Path,
    hierarchies: &[PathBuf],
    roots: &[(&str, PathBuf)],
) -> Vec<PathBuf> {
    let mut swept = Vec::new();
    for folder in orphans(home) {
        for (root, runtime) in roots {
            delete_containers(runtime, &folder.join(root));
        }
        if fs::remove_dir_all(&folder).is_ok() {
            swept.push(folder);
        }
    }
    for group in hierarchies.iter().flat_map(|hierarchy| orphans(hierarchy)) {
        drop(Made::found(group.clone()));
        swept.push(group);
    }
    for node in orphans(netns) {
        let name = node.file_name().unwrap_or_default().to_string_lossy();
        if nodes::delete(&name).is_ok() {
            swept.push(node);
        }
    }
    swept
}

fn delete_containers(runtime: &Path, root: &Path) {
    let words = [runtime.display().to_string(), "--root".into(), root.display().to_string()];
    let delete_all = || {
        for state in fs::read_dir(root).into_iter().flatten().flatten() {
            // One that its runtime cannot delete goes with its folder.
            let _ = launch::delete(&words, &state.file_name().to_string_lossy());
        }
    };
    match Apart::needed(runtime) {
        Ok(Some(apart)) if root.is_dir() => drop(apart.run(delete_all)),
        _ => delete_all(),
    }
}

/// What bears the name of a run that is dead.
fn orphans(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let dead = |name: &OsStr| name.to_str().and_then(owner).is_some_and(|pid| !runs(pid));
    entries.filter(|entry| dead(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// The pid in a name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Whether a pid is an rr-eval: another program may have got the number since.
fn runs(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().starts_with("rr-eval") || name.trim_end().starts_with("rr_eval")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_run() {
        assert_eq!(owner("rr-eval-17-a"), Some(17));
        assert_eq!(owner("rr-eval-17-xYz"), Some(17));
        assert_eq!(["rr-eval-", "rr-eval-x-1", "other-17"].map(owner), [None, None, None]);
    }

    #[test]
    fn what_a_dead_run_left_is_taken_away_and_a_living_ones_stays() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let none = home.path().join("none");
        // Above what the kernel gives (proc_pid_max(5)): nobody has it.
        let dead = home.path().join(format!("{PREFIX}4194305-x"));
        let mine = home.path().join(format!("{PREFIX}{}-x", std::process::id()));
        for folder in [&dead, &mine] {
            fs::create_dir_all(folder.join("ours/container")).expect("mkdir");
        }
        let hierarchy = home.path().join("hierarchy");
        let group = hierarchy.join(format!("{PREFIX}4194305-0-1"));
        fs::create_dir_all(&group).expect("mkdir");
        let mut swept = take_away(home.path(), &none, &[hierarchy], &[]);
        assert!(!group.exists() && swept.pop() == Some(group), "{swept:?}");
        assert!(swept.len() == 1 && swept[0] == dead && !dead.exists(), "{swept:?}");
        let living = runs(std::process::id());
        assert_eq!(mine.exists(), living);
        assert!(living, "a test of rr-eval bears its name");
    }
}
