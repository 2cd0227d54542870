//! Density: many functions that serve, and do nothing. What memory each takes, and how long a call into one of them takes, against the same
//! with one alone. All of them are gone when this ends, however it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::contestant::Workshop;
use crate::interrupt::Interrupt;
use crate::payload::splitmix64;
use crate::plan::Effort;
use crate::process::now;
use crate::progress::Progress;
use crate::session::tag;
use crate::store::Table;
use crate::{cgroup, launch, machine};

/// The file of samples in an output folder. It has those of one run to its end; a run that is interrupted begins anew.
pub(crate) const FILE: &str = "idle.csv";

/// No more functions are started with less memory available, in bytes.
const RESERVE: u64 = 1_000_000_000;

/// How long the last ones may take until they do nothing.
const SETTLING: Duration = Duration::from_secs(1);

/// One look at a function, or one call into it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Look {
    /// How many run.
    pub(crate) running: usize,
    /// Which of them, from 0.
    pub(crate) function: usize,
    /// Whether calls were made already.
    pub(crate) called: bool,
    /// Its init's proportional share of memory.
    pub(crate) pss_bytes: Option<u64>,
    /// How long `rr-runtime invoke` took, from its start to its end.
    pub(crate) invoke_ns: Option<u64>,
}

/// Functions that run: each one's name, and its init.
struct Crowd<'a> {
    workshop: &'a Workshop,
    interrupt: &'a Interrupt,
    tag: String,
    functions: Vec<(String, Option<u32>)>,
}

/// Measures with so many functions, and writes the samples.
pub(crate) fn measure(
    workshop: &Workshop,
    effort: Effort,
    count: usize,
    out: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    ensure!(count > 0, "--count has to be at least 1");
    let calls = match effort {
        Effort::Quick => 300,
        Effort::Full => 1000,
    };
    let (mut table, known) = Table::open_with(&out.join(FILE), |rows| whole(rows, count, calls))?;
    if !known.is_empty() {
        return Ok(());
    }
    let progress = Progress::of((count + 2 * calls) as u64);
    let mut crowd = Crowd { workshop, interrupt, tag: tag(), functions: Vec::new() };
    crowd.start()?;
    progress.at("calls into one function alone");
    crowd.call(calls, &mut table, &progress)?;
    progress.at(&format!("starting {count} functions"));
    while crowd.functions.len() < count {
        crowd.start()?;
        progress.done(1);
    }
    // The last ones are still on their way to where they wait.
    std::thread::sleep(SETTLING);
    interrupt.check()?;
    crowd.look(false, &mut table)?;
    progress.at(&format!("calls into {count} functions"));
    crowd.call(calls, &mut table, &progress)?;
    crowd.look(true, &mut table)?;
    progress.at("taking the functions away");
    drop(crowd);
    progress.finish();
    Ok(())
}

/// The rows of a run with so many functions and calls, if it came to its end.
fn whole(mut rows: Vec<Look>, count: usize, calls: usize) -> Vec<Look> {
    rows.retain(|row| row.running == 1 || row.running == count);
    if rows.len() >= 2 * (count + calls) { rows } else { Vec::new() }
}

impl Crowd<'_> {
    /// Starts one more.
    fn start(&mut self) -> Result<()> {
        self.interrupt.check()?;
        let available = machine::memory("MemAvailable:");
        if available < RESERVE {
            bail!(
                "stopped at {} idle functions: only {} MB of memory are available; ask for fewer (--count)",
                self.functions.len(),
                available / 1_000_000
            );
        }
        let number = self.functions.len();
        let id = format!("{}-{number}", self.tag);
        let folder = self.workshop.folder.join(&id);
        self.bundle(number).write(&folder)?;
        let errors = folder.join("errors");
        let file = File::create(&errors).with_context(|| format!("create {}", errors.display()))?;
        let words = self.workshop.ours();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "--detach", "--pid-file"]).arg(folder.join("pid"));
        command.arg("--bundle").arg(&folder).arg(&id);
        // Of a group of its own: it ends before an interrupt is looked at.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).process_group(0);
        self.functions.push((id.clone(), None));
        let status = command.status().with_context(|| format!("start {}", words[0]))?;
        let said = || fs::read_to_string(&errors).unwrap_or_default().trim().to_owned();
        ensure!(status.success(), "{id} did not start: {}", said());
        let pid = fs::read_to_string(folder.join("pid")).with_context(|| format!("pid of {id}"))?;
        self.functions[number].1 = Some(pid.trim().parse().with_context(|| format!("pid of {id}"))?);
        Ok(())
    }

    fn bundle(&self, number: usize) -> Bundle {
        let name = format!("f{number}");
        let annotations = [
            ("wasm/aot", "wait"),
            ("hose/mode", "kernel"),
            ("hose/name", &name),
            ("hose/workflow", &self.tag),
            ("hose/lifecycle", "serve"),
        ];
        let annotation = |(key, value): (&str, &str)| (format!("io.roadrunner.{key}"), value.to_owned());
        Bundle {
            files: vec![(self.workshop.modules.join("handler.wasm"), "handler.wasm")],
            args: vec!["/handler.wasm".to_owned()],
            annotations: annotations.into_iter().map(annotation).collect::<BTreeMap<_, _>>(),
            ..Bundle::default()
        }
    }

    /// Calls functions that are chosen at random, one call after the other.
    fn call(&self, calls: usize, table: &mut Table<Look>, progress: &Progress) -> Result<()> {
        let running = self.functions.len();
        let mut dice = Dice(running as u64);
        let words = self.workshop.ours();
        // The first call after a start waits for the function to come up.
        self.invoke(&words, running - 1)?;
        for _ in 0..calls {
            self.interrupt.check()?;
            let function = dice.below(running);
            let took = self.invoke(&words, function)?;
            let look = Look { running, function, called: true, pss_bytes: None, invoke_ns: Some(took) };
            table.add(&look)?;
            progress.done(1);
        }
        Ok(())
    }

    /// In nanoseconds.
    fn invoke(&self, words: &[String], function: usize) -> Result<u64> {
        let id = &self.functions[function].0;
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["invoke", id, "--data", "hello"])
            .stdin(Stdio::null())
            .process_group(0);
        let begun = now();
        let output = command.output().with_context(|| format!("start {}", words[0]))?;
        let took = now() - begun;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "invoke {id}: {}", text.trim());
        Ok(took)
    }

    /// Looks at the memory of all.
    fn look(&self, called: bool, table: &mut Table<Look>) -> Result<()> {
        let running = self.functions.len();
        for (function, (id, pid)) in self.functions.iter().enumerate() {
            let share = pid.and_then(cgroup::share);
            ensure!(share.is_some(), "{id} has ended, or its memory cannot be seen");
            let look = Look { running, function, called, pss_bytes: share, invoke_ns: None };
            table.add(&look)?;
        }
        Ok(())
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        let words = self.workshop.ours();
        for (id, pid) in &self.functions {
            // One that did not start has often no container to delete.
            if let (Err(error), Some(_)) = (launch::delete(&words, id), pid) {
                eprintln!("rr-eval: {error:#}");
            }
            let _ = fs::remove_dir_all(self.workshop.folder.join(id));
        }
    }
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        (splitmix64(&mut self.0) % count as u64) as usize
    }
}

/// The samples of an output folder, if it has any.
pub(crate) fn read(out: &Path) -> Result<Vec<Look>> {
    crate::store::rows(&out.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_interrupted_begins_anew() {
        let look = |running| Look { running, function: 0, called: true, pss_bytes: None, invoke_ns: Some(1) };
        let rows: Vec<Look> = [1, 1, 3, 3, 3, 3, 3, 3, 3, 3].map(look).into();
        assert_eq!(whole(rows.clone(), 3, 2).len(), 10);
        assert!(whole(rows[..9].to_vec(), 3, 2).is_empty() && whole(rows, 4, 2).is_empty());
    }

    #[test]
    fn dice_reach_every_function() {
        let mut dice = Dice(10);
        let hit: std::collections::BTreeSet<usize> = (0..200).map(|_| dice.below(10)).collect();
        assert_eq!(hit.len(), 10);
    }
}
