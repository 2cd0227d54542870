//! The way of a further process into a cgroup that is there: opened on the host, gone through inside the container, by a process of one thread.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A cgroup's `cgroup.procs`, or in version 1 `tasks`: to move a whole process stops every fork of the host for a while.
#[derive(Debug)]
pub(crate) struct Door {
    file: File,
    path: PathBuf,
}

impl Door {
    /// # Errors
    ///
    /// In runc's words, when there is no such cgroup.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        let path = folder.join("cgroup.procs");
        let open = |path: &Path| OpenOptions::new().write(true).open(path);
        let file = open(&folder.join("tasks")).or_else(|_| open(&path)).map_err(|error| {
            format!("error adding pid to cgroups: open {}: {}", path.display(), reason(&error))
        })?;
        Ok(Self { file, path })
    }

    /// Takes the caller there.
    ///
    /// # Errors
    ///
    /// In runc's words, when the kernel refuses it.
    pub(crate) fn enter(&self) -> Result<(), String> {
        // Itself, whatever its number is here; see cgroups(7).
        (&self.file).write_all(b"0").map_err(|error| {
            let (pid, path) = (std::process::id(), self.path.display());
            format!(
                "error adding pid {pid} to cgroups: failed to write {pid}: write {path}: {}",
                reason(&error)
            )
        })
    }
}

/// What an error means, as Go puts it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_takes_no_process_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Door::open(folder.path()).unwrap_err();
        assert!(error.ends_with("/cgroup.procs: no such file or directory"), "{error}");
        std::os::unix::fs::symlink("/dev/full", folder.path().join("cgroup.procs")).unwrap();
        let error = Door::open(folder.path()).unwrap().enter().unwrap_err();
        assert!(
            error.contains(" adding pid ") && error.ends_with("/cgroup.procs: no space left on device"),
            "{error}"
        );
    }
}
