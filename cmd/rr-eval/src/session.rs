//! A contestant whose functions run: asked for one transfer at a time, idle in between. Whatever it has started is gone when it is dropped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cgroup::{Cpu, Groups, Made};
use crate::contestant::{self, Contestant, Placement, Recipe, Workshop};
use crate::interrupt::Interrupt;
use crate::launch;
use crate::pace::{self, Pace};
use crate::process::{Heard, Program, now};
use crate::protocol::{Got, Line, Order, Sent};
use crate::referee::{Claim, Times, judge};

/// How long functions may take to appear.
const APPEARANCE: Duration = Duration::from_secs(60);

/// How often an interrupt is looked for while waiting.
const GLANCE: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Session {
    programs: Vec<Program>,
    containers: Vec<Container>,
    /// Groups of programs in no container.
    made: Vec<Made>,
    /// Those of all programs.
    groups: Vec<Groups>,
    heard: Receiver<Heard>,
    folders: Vec<PathBuf>,
    receivers: usize,
    interrupt: Interrupt,
    /// What all its programs had before the first transfer, in bytes.
    at_rest: Option<u64>,
}

struct Container {
    /// The runtime's words before its verb.
    runtime: Vec<String>,
    id: String,
}

/// One transfer: times, and what both sides together took for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) times: Times,
    pub(crate) cpu: Option<Cpu>,
    /// The peaks of all containers together, less what they had at rest, in bytes.
    pub(crate) peak: Option<u64>,
    /// Proportional share of memory afterwards, in bytes.
    pub(crate) share: Option<u64>,
}

/// What a workflow's functions say of a picture.
#[derive(Debug)]
pub(crate) struct Shown {
    /// When the camera was told, and when its answer was heard.
    pub(crate) told: u64,
    pub(crate) heard: u64,
    /// The camera's answer: the picture was decoded when it was `serialized`.
    pub(crate) sent: Sent,
    /// What the others say.
    pub(crate) said: Vec<Got>,
    /// What all took for it.
    pub(crate) cpu: Option<Cpu>,
}

impl Session {
    /// Starts a contestant's functions, and waits until they are there.
    pub(crate) fn start(
        contestant: &Contestant,
        workshop: &Workshop,
        placement: &Placement,
        fan_out: usize,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let tag = tag();
        let line = contestant.line(workshop, placement, fan_out, &tag)?;
        Self::start_line(&line, fan_out, &tag, workshop, interrupt)
    }

    /// Starts functions of so many receivers, whose containers and files bear the tag's name, and waits until they are there.
    pub(crate) fn start_line(
        line: &contestant::Line,
        receivers: usize,
        tag: &str,
        workshop: &Workshop,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let (to, heard) = channel();
        let mut session = Self {
            programs: Vec::new(),
            containers: Vec::new(),
            made: Vec::new(),
            groups: Vec::new(),
            heard,
            folders: vec![workshop.folder.join(format!("shared-{tag}"))],
            receivers,
            interrupt: interrupt.clone(),
            at_rest: None,
        };
        let last = line.programs.len() - 1;
        for (index, recipe) in line.programs.iter().enumerate() {
            let id = format!("{tag}-{index}");
            let errors = workshop.folder.join(format!("{id}.err"));
            session.folders.push(errors.clone());
            let mut command = match recipe {
                Recipe::Bare(words) => {
                    let made = Made::make(&id);
                    let command = made.command(words);
                    session.made.push(made);
                    command
                }
                Recipe::Container { runtime, bundle } => {
                    let folder = workshop.folder.join(&id);
                    bundle.write(&folder)?;
                    let mut command = Command::new(&runtime[0]);
                    command.args(&runtime[1..]).args(["run", "--pid-file"]).arg(folder.join("pid"));
                    command.arg("--bundle").arg(&folder).arg(&id);
                    session.folders.push(folder);
                    command
                }
            };
            session.programs.push(Program::start(&mut command, index, to.clone(), &errors)?);
            if let Recipe::Container { runtime, .. } = recipe {
                session.await_container(runtime, &id, &workshop.folder.join(&id))?;
            }
            let says_ready = index < line.say_ready || index == last;
            if says_ready {
                session
                    .hear(APPEARANCE, |from, line| (from == index && *line == Line::Ready).then_some(()))?;
            }
        }
        for (program, recipe) in session.programs.iter().zip(&line.programs) {
            // It is in its group: it said that it is ready.
            if let Recipe::Bare(_) = recipe {
                session.groups.push(Groups::of(program.pid())?);
            }
        }
        // What no group was made for stands in a group with others.
        if session.made.iter().any(Made::is_empty) {
            session.groups.clear();
        }
        session.at_rest = session.groups.iter().map(Groups::memory).sum();
        Ok(session)
    }

    /// Waits for init's pid, which its runtime writes down.
    fn await_container(&mut self, runtime: &[String], id: &str, folder: &std::path::Path) -> Result<()> {
        // From now on there may be something to delete, whatever becomes of it.
        self.containers.push(Container { runtime: runtime.to_vec(), id: id.to_owned() });
        let deadline = Instant::now() + APPEARANCE;
        loop {
            let text = fs::read_to_string(folder.join("pid")).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                self.groups.push(Groups::of(pid)?);
                return Ok(());
            }
            self.interrupt.check()?;
            if Instant::now() > deadline || self.programs.last_mut().is_some_and(Program::has_ended) {
                bail!("its container did not start: {}", self.complaints());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has a payload made ready.
    pub(crate) fn fill(&mut self, order: &Order, patience: Duration) -> Result<()> {
        self.groups.iter().for_each(Groups::forget_peak);
        self.tell(&order.line())?;
        self.hear(patience, |_, line| (*line == Line::Filled).then_some(()))
    }

    /// Asks for its transfer, whose receipt has to be this.
    pub(crate) fn send(&mut self, order: &Order, receipt: u128, patience: Duration) -> Result<Measured> {
        let before = self.cpu();
        let told = now();
        self.tell("send")?;
        let mut got: Vec<Got> = Vec::new();
        let mut sent: Option<(Sent, u64)> = None;
        let receivers = self.receivers;
        self.hear_all(patience, |heard, line| {
            match line {
                Line::Sent(line) => sent = Some((line, heard)),
                Line::Got(line) => got.push(line),
                _ => {}
            }
            (sent.is_some() && got.len() >= receivers).then_some(())
        })?;
        let after = self.cpu();
        let (sent, heard) = sent.context("it says nothing")?;
        ensure!(got.len() == receivers, "{} receipts of {receivers} receivers", got.len());
        let times = judge(&Claim { order, told, heard, sent: &sent, got: &got, receipt })?;
        Ok(Measured {
            times,
            cpu: before.zip(after).map(|(before, after)| after.since(&before)),
            peak: self.peak(),
            share: self.sum(Groups::share),
        })
    }

    /// Asks for a picture, with which so many functions have something to say.
    pub(crate) fn show(&mut self, order: &str, functions: usize, patience: Duration) -> Result<Shown> {
        let before = self.cpu();
        let told = now();
        self.tell(order)?;
        let (mut said, mut sent) = (Vec::new(), None);
        self.hear_all(patience, |heard, line| {
            match line {
                Line::Sent(line) => sent = Some((line, heard)),
                Line::Got(line) | Line::Passed(line) => said.push(line),
                _ => {}
            }
            (sent.is_some() && said.len() >= functions).then_some(())
        })?;
        let cpu = before.zip(self.cpu()).map(|(before, after)| after.since(&before));
        let (sent, heard) = sent.context("it says nothing")?;
        Ok(Shown { told, heard, sent, said, cpu })
    }

    /// Asks for calls at a fixed rate, whose receipt has to be this; gives how long after each was due its answer was there, in nanoseconds.
    pub(crate) fn pace(&mut self, pace: &Pace, receipt: u128, patience: Duration) -> Result<Vec<u64>> {
        let told = now();
        self.tell(&pace.line())?;
        let (mut paced, mut kept) = (None, None);
        self.hear_all(patience, |heard, line| {
            match line {
                Line::Paced(line) => paced = Some((line, heard)),
                Line::Kept(line) => kept = Some(line),
                _ => {}
            }
            (paced.is_some() && kept.is_some()).then_some(())
        })?;
        let ((paced, heard), kept) = paced.zip(kept).context("it says nothing")?;
        pace::judge(&pace::Claim { pace, told, heard, paced: &paced, kept: &kept, receipt })?;
        Ok(paced.late)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let source = self.programs.last_mut().context("no sender")?;
        let told = source.tell(line);
        told.with_context(|| format!("the sender has ended: {}", self.complaints()))
    }

    /// Waits for a line.
    fn hear<T>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(usize, &Line) -> Option<T>,
    ) -> Result<T> {
        self.listen(patience, |heard, line| wanted(heard.from, &line))
    }

    /// Waits until there are enough lines; gives each with when it was heard.
    fn hear_all<T>(
        &mut self,
        patience: Duration,
        mut enough: impl FnMut(u64, Line) -> Option<T>,
    ) -> Result<T> {
        self.listen(patience, |heard, line| enough(heard.at, line))
    }

    fn listen<T>(
        &mut self,
        patience: Duration,
        mut visit: impl FnMut(&Heard, Line) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            match self.heard.recv_timeout(GLANCE) {
                Ok(heard) => {
                    let Some(text) = &heard.line else {
                        bail!("a function has ended: {}", self.complaints())
                    };
                    let line = text.parse()?;
                    if let Some(found) = visit(&heard, line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("all functions have ended: {}", self.complaints())
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.interrupt.check()?;
                    if Instant::now() > deadline {
                        bail!("nothing came within {} s: {}", patience.as_secs(), self.complaints());
                    }
                }
            }
        }
    }

    fn complaints(&self) -> String {
        let said: Vec<String> =
            self.programs.iter().map(Program::complaint).filter(|text| !text.is_empty()).collect();
        if said.is_empty() { "without a word".to_owned() } else { said.join("; ") }
    }

    fn sum(&self, of: impl Fn(&Groups) -> Option<u64>) -> Option<u64> {
        if self.groups.is_empty() {
            return None;
        }
        self.groups.iter().map(of).sum()
    }

    fn peak(&self) -> Option<u64> {
        Some(self.sum(Groups::peak)?.saturating_sub(self.at_rest?))
    }

    fn cpu(&self) -> Option<Cpu> {
        if self.groups.is_empty() {
            return None;
        }
        self.groups.iter().try_fold(Cpu::default(), |sum, groups| {
            let cpu = groups.cpu()?;
            Some(Cpu { all: sum.all + cpu.all, user: sum.user + cpu.user, system: sum.system + cpu.system })
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The sender ends at the end of its input, and the receivers with it.
        for program in self.programs.iter_mut().rev() {
            program.dismiss();
        }
        for program in self.programs.iter_mut().rev() {
            program.await_end();
        }
        for container in &self.containers {
            // One that has ended by itself is gone already.
            let _ = launch::delete(&container.runtime, &container.id);
        }
        self.programs.clear();
        self.made.clear();
        for path in &self.folders {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// A name of its own for each session: of its containers and its workflow.
pub(crate) fn tag() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rr-eval-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
