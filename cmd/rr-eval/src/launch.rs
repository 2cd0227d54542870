//! A container that is started from nothing, until it has said its word and is gone. Whatever is left of it is taken away when it is dropped.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::apart::Apart;
use crate::child::Started;
use crate::interrupt::Interrupt;
use crate::process::now;
use crate::session::tag;

/// How long a start may take until its container is gone again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often an interrupt is looked for while waiting.
const GLANCE: Duration = Duration::from_millis(100);

/// A runtime, and the bundle that it starts. All containers of a bundle share its root.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// The runtime's words before its verb.
    pub(crate) runtime: Vec<String>,
    pub(crate) bundle: PathBuf,
    /// Where standard error goes.
    pub(crate) folder: PathBuf,
    /// What has to be heard first.
    pub(crate) word: &'static str,
    /// Where its containers are started, if not here.
    pub(crate) apart: Option<Arc<Apart>>,
}

/// How one start went; times are in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Of CLOCK_MONOTONIC: before the runtime was started.
    pub(crate) begun: u64,
    /// From then until the first byte.
    pub(crate) first: Option<u64>,
    /// From then until the runtime had ended.
    pub(crate) ended: u64,
    /// Why it failed, where it did.
    pub(crate) failure: Option<String>,
}

/// What one of several said, until the end.
struct Said {
    index: usize,
    /// Both of [`now`].
    first: Option<u64>,
    ended: u64,
    text: Vec<u8>,
}

struct Launch<'a> {
    launcher: &'a Launcher,
    started: Started,
    id: String,
    begun: u64,
    gone: bool,
}

impl Launcher {
    /// Starts so many at once, and waits until all are gone.
    pub(crate) fn burst(&self, count: usize, interrupt: &Interrupt) -> Result<Vec<Outcome>> {
        match &self.apart {
            Some(apart) => apart.run(|| self.burst_here(count, interrupt))?,
            None => self.burst_here(count, interrupt),
        }
    }

    fn burst_here(&self, count: usize, interrupt: &Interrupt) -> Result<Vec<Outcome>> {
        let (to, heard) = channel();
        let mut launches = Vec::with_capacity(count);
        for index in 0..count {
            launches.push(self.start(index, to.clone())?);
        }
        drop(to);
        let deadline = Instant::now() + PATIENCE;
        let mut all: Vec<Option<Said>> = (0..count).map(|_| None).collect();
        while all.iter().any(Option::is_none) && Instant::now() < deadline {
            match heard.recv_timeout(GLANCE) {
                Ok(said) => {
                    let index = said.index;
                    all[index] = Some(said);
                }
                Err(RecvTimeoutError::Timeout) => interrupt.check()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        interrupt.check()?;
        Ok(launches.into_iter().zip(all).map(|(launch, said)| launch.outcome(said)).collect())
    }

    fn start(&self, index: usize, to: Sender<Said>) -> Result<Launch<'_>> {
        let id = tag();
        let errors = self.folder.join(format!("{id}.err"));
        let mut command = Command::new(&self.runtime[0]);
        command.args(&self.runtime[1..]).args(["run", "--bundle"]).arg(&self.bundle).arg(&id);
        let begun = now();
        let (started, output) = Started::spawn(command.stdin(Stdio::null()), &errors)?;
        std::thread::spawn(move || {
            // Nobody listens after an interrupt.
            let _ = to.send(listen(index, output));
        });
        Ok(Launch { launcher: self, started, id, begun, gone: false })
    }
}

/// Reads to the end, and notes when the first byte came.
fn listen(index: usize, mut output: ChildStdout) -> Said {
    let mut text = vec![0; 1];
    let first = match output.read(&mut text) {
        Ok(1) => Some(now()),
        _ => None,
    };
    // What was read until an error is compared with what had to come.
    let _ = output.read_to_end(&mut text);
    Said { index, first, ended: now(), text }
}

impl Launch<'_> {
    fn outcome(mut self, said: Option<Said>) -> Outcome {
        let begun = self.begun;
        let Some(said) = said else {
            let failure = Some(format!("it did not end within {} s", PATIENCE.as_secs()));
            return Outcome { begun, first: None, ended: now() - begun, failure };
        };
        let status = self.started.await_end();
        // A runtime that has ended well has deleted its container.
        self.gone = status == Some(true);
        let failure = if !self.gone {
            let complaint = self.started.complaint(1);
            Some(if complaint.is_empty() { "it failed without a word".to_owned() } else { complaint })
        } else if !said.text.starts_with(self.launcher.word.as_bytes()) {
            Some(format!("it said {:?}", String::from_utf8_lossy(&said.text)))
        } else {
            None
        };
        Outcome { begun, first: said.first.map(|at| at - begun), ended: said.ended - begun, failure }
    }
}

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        if !self.gone {
            self.started.await_end();
            // One that failed has often no container to delete.
            let _ = delete(&self.launcher.runtime, &self.id);
        }
    }
}

/// Ends a container, and deletes it.
pub(crate) fn delete(runtime: &[String], id: &str) -> Result<()> {
    let mut command = Command::new(&runtime[0]);
    command.args(&runtime[1..]).args(["delete", "--force", id]).stdin(Stdio::null()).process_group(0);
    let output = command.output().with_context(|| format!("start {}", runtime[0]))?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "delete {id}: {}", text.trim());
    Ok(())
}

/// Where a program is installed.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;

    fn launcher(script: &str, folder: &Path) -> Launcher {
        // The verb and the bundle become the script's arguments.
        let runtime = ["/bin/sh", "-c", script, "sh"].map(String::from).to_vec();
        Launcher {
            runtime,
            bundle: folder.to_owned(),
            folder: folder.to_owned(),
            word: "hello\n",
            apart: None,
        }
    }

    #[test]
    fn each_start_of_several_has_its_times() {
        let folder = tempfile::tempdir().unwrap();
        let launcher = launcher("echo hello", folder.path());
        let outcomes = launcher.burst(3, &Interrupt::default()).unwrap();
        assert_eq!(outcomes.len(), 3);
        assert!(
            outcomes.iter().all(|it| it.failure.is_none() && it.first.unwrap() <= it.ended),
            "{outcomes:?}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_start_is_told_with_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        for (script, told) in [("echo no >&2; exit 1", "no"), ("echo other", "it said \"other\\n\"")] {
            let outcomes = launcher(script, folder.path()).burst(1, &Interrupt::default()).unwrap();
            assert_eq!(outcomes[0].failure.as_deref(), Some(told));
        }
    }
}
