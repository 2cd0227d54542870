//! A program of a contestant: it is told lines, and what it says is heard by a thread of its own, which notes when.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// How long a program may take to end when it is told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// Of CLOCK_MONOTONIC, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// What a program said, or that it says no more.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Which of a contestant's programs.
    pub(crate) from: usize,
    /// Of [`now`].
    pub(crate) at: u64,
    pub(crate) line: Option<String>,
}

/// Killed, and waited for, when it is dropped.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    errors: PathBuf,
}

impl Program {
    /// Starts a command in a process group of its own, which a terminal's Ctrl-C does not reach. Standard error goes to the file `errors`.
    pub(crate) fn start(
        command: &mut Command,
        from: usize,
        to: Sender<Heard>,
        errors: &Path,
    ) -> Result<Self> {
        let file = File::create(errors).with_context(|| format!("create {}", errors.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).process_group(0);
        let mut child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("a pipe")?);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                // Nobody listens any more: the session is over.
                if to.send(Heard { from, at: now(), line: Some(line) }).is_err() {
                    return;
                }
            }
            let _ = to.send(Heard { from, at: now(), line: None });
        });
        Ok(Self { child, input, errors: errors.to_owned() })
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.input else { bail!("it was told to end") };
        input.write_all(format!("{line}\n").as_bytes()).context("its standard input")
    }

    /// What it has written to standard error, its last lines.
    pub(crate) fn complaint(&self) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(4)..].join("; ")
    }

    /// Lets it end by itself; one that does not is killed when it is dropped.
    pub(crate) fn dismiss(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended, not for ever.
    pub(crate) fn await_end(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline && !self.has_ended() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
