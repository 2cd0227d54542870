//! A program of a contestant: it is told lines, and what it says is heard by a thread of its own, which notes when.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

use crate::child::Started;

/// How many lines of a complaint are told.
const LINES: usize = 4;

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
    started: Started,
    input: Option<ChildStdin>,
}

impl Program {
    /// Starts a command. Standard error goes to the file `errors`.
    pub(crate) fn start(
        command: &mut Command,
        from: usize,
        to: Sender<Heard>,
        errors: &Path,
    ) -> Result<Self> {
        let (mut started, output) = Started::spawn(command.stdin(Stdio::piped()), errors)?;
        let input = started.input();
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
        Ok(Self { started, input })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.started.pid()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.started.has_ended()
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.input else { bail!("it was told to end") };
        input.write_all(format!("{line}\n").as_bytes()).context("its standard input")
    }

    /// What it has written to standard error, its last lines.
    pub(crate) fn complaint(&self) -> String {
        self.started.complaint(LINES)
    }

    /// Lets it end by itself; one that does not is killed when it is dropped.
    pub(crate) fn dismiss(&mut self) {
        self.input = None;
    }

    /// Waits until it has ended, not for ever.
    pub(crate) fn await_end(&mut self) {
        self.started.await_end();
    }
}
