//! A program that was started, in a process group of its own, which a terminal's Ctrl-C does not reach. What it complains of is kept in a file. It is
//! killed, and waited for, when it is dropped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long what is not waited for any more may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often it is looked whether it has ended.
const GLANCE: Duration = Duration::from_micros(100);

/// See the module.
pub(crate) struct Started {
    child: Child,
    errors: PathBuf,
}

impl Started {
    /// Starts a command, whose standard input is set. Gives its standard output, too; standard error goes to the file `errors`.
    pub(crate) fn spawn(command: &mut Command, errors: &Path) -> Result<(Self, ChildStdout)> {
        let file = File::create(errors).with_context(|| format!("create {}", errors.display()))?;
        command.stdout(Stdio::piped()).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        let mut started = Self { child, errors: errors.to_owned() };
        let output = started.child.stdout.take().context("a pipe")?;
        Ok((started, output))
    }

    /// Its standard input, if that is a pipe, and was not taken yet.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether it has ended well, if it ends soon.
    pub(crate) fn await_end(&mut self) -> Option<bool> {
        let deadline = Instant::now() + FAREWELL;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.success()),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(GLANCE),
                _ => return None,
            }
        }
    }

    /// What it has written to standard error, its last lines; nothing, if it did not.
    pub(crate) fn complaint(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("; ")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // All fail only for what is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.errors);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_complaint_are_kept_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let errors = folder.path().join("errors");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo a >&2; echo b >&2; echo c >&2; exit 3"]).stdin(Stdio::null());
        let (mut started, _) = Started::spawn(&mut command, &errors).unwrap();
        assert_eq!((started.await_end(), started.has_ended()), (Some(false), true));
        assert_eq!((started.complaint(2).as_str(), started.complaint(9).as_str()), ("b; c", "a; b; c"));
        drop(started);
        assert!(!errors.exists());
    }
}
