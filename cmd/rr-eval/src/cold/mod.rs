//! Cold starts: from `run` to the first byte of the answer, of functions, against native programs that do the same under other runtimes. The functions'
//! compiled code is in the cache already.

mod plan;
mod workload;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::contestant::{PEERS, Workshop};
use crate::interrupt::Interrupt;
use crate::launch::{Launcher, Outcome, installed};
use crate::progress::Progress;
use crate::store::Table;

pub(crate) use plan::Wanted;
pub(crate) use workload::Workload;

use plan::Burst;

/// The file of samples in an output folder.
pub(crate) const FILE: &str = "cold.csv";

/// The contestant of this project.
pub(crate) const OURS: &str = "rr";

/// What a start belongs to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Series {
    AtOnce,
    InARow,
}

/// One start. Times are in nanoseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Start {
    pub(crate) workload: Workload,
    pub(crate) contestant: String,
    pub(crate) series: Series,
    pub(crate) at_once: usize,
    /// From 0.
    pub(crate) repetition: usize,
    /// Of CLOCK_MONOTONIC.
    pub(crate) begun_ns: u64,
    /// From then until the first byte of the answer.
    pub(crate) first_ns: Option<u64>,
    /// From then until the runtime had ended, its container deleted.
    pub(crate) ended_ns: u64,
    /// Why it failed; nothing, if it did not.
    pub(crate) failure: String,
}

impl Start {
    fn of(burst: &Burst, outcome: Outcome) -> Self {
        Self {
            workload: burst.workload,
            contestant: burst.contestant.to_owned(),
            series: burst.series,
            at_once: burst.at_once,
            repetition: burst.repetition,
            begun_ns: outcome.begun,
            first_ns: outcome.first,
            ended_ns: outcome.ended,
            failure: outcome.failure.unwrap_or_default(),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failure.is_empty()
    }

    /// What all starts of one burst have in common.
    fn key(&self) -> (Workload, Series, usize, usize, &str) {
        (self.workload, self.series, self.at_once, self.repetition, &self.contestant)
    }
}

/// Measures what is not in the file yet.
pub(crate) fn measure(workshop: &Workshop, wanted: &Wanted, out: &Path, interrupt: &Interrupt) -> Result<()> {
    let path = out.join(FILE);
    let (mut table, known) = Table::open_with(&path, |rows| wanted.keep(rows))?;
    let known: BTreeSet<_> = known.iter().map(Start::key).collect();
    let runtimes = runtimes(workshop);
    let names: Vec<&str> = runtimes.iter().map(|(name, _)| *name).collect();
    let missing: Vec<(Workload, Vec<Burst>)> = wanted
        .workloads
        .iter()
        .map(|&workload| (workload, wanted.bursts(workload, &names)))
        .map(|(workload, bursts)| {
            (workload, bursts.into_iter().filter(|burst| !known.contains(&burst.key())).collect())
        })
        .collect();
    let all = missing.iter().flat_map(|(_, bursts)| bursts).map(|burst| burst.at_once as u64).sum();
    let progress = Progress::of(all);
    let mut failures = 0;
    for (workload, bursts) in missing.into_iter().filter(|(_, bursts)| !bursts.is_empty()) {
        let there = contestants(workload, workshop, &runtimes, &progress, interrupt)?;
        let mut said = None;
        for burst in bursts {
            let launcher = there.iter().find(|(name, _)| *name == burst.contestant);
            if let Some((name, launcher)) = launcher {
                if said != Some((burst.series, burst.at_once)) {
                    said = Some((burst.series, burst.at_once));
                    progress.at(&burst.to_string());
                }
                for outcome in launcher.burst(burst.at_once, interrupt)? {
                    let start = Start::of(&burst, outcome);
                    if start.failed() {
                        failures += 1;
                        progress.say(&format!("{name}, {burst}: a start failed: {}", start.failure));
                    }
                    table.add(&start)?;
                }
            }
            progress.done(burst.at_once as u64);
        }
    }
    progress.finish();
    if failures > 0 {
        eprintln!("rr-eval: {failures} starts failed: see above and {}", path.display());
    }
    Ok(())
}

/// Ours, those that are installed, and the one that was built for this.
fn runtimes(workshop: &Workshop) -> Vec<(&'static str, PathBuf)> {
    let mut all = vec![(OURS, workshop.runtime.clone())];
    for name in PEERS {
        match installed(name) {
            Some(program) => all.push((name, program)),
            None => eprintln!("rr-eval: {name} is left out: it is not installed"),
        }
    }
    all.extend(workshop.engine_peers.clone());
    all
}

/// Those that can take part, each warmed up; the others are left out with a line.
fn contestants(
    workload: Workload,
    workshop: &Workshop,
    runtimes: &[(&'static str, PathBuf)],
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Vec<(&'static str, Launcher)>> {
    let mut there = Vec::new();
    for (name, runtime) in runtimes {
        let launcher = match workload.launcher(workshop, name, runtime) {
            Ok(launcher) => launcher,
            Err(why) => {
                progress.say(&format!("{name} is left out of {}: {why:#}", workload.name()));
                continue;
            }
        };
        if *name == OURS {
            progress.at(&format!("compiling {}", workload.name()));
            workload.compile(workshop)?;
        }
        let outcomes = launcher.burst(1, interrupt)?;
        match outcomes.into_iter().find_map(|outcome| outcome.failure) {
            None => there.push((*name, launcher)),
            Some(why) if *name == OURS => bail!("{name} does not start {}: {why}", workload.name()),
            Some(why) => {
                progress.say(&format!("{name} is left out of {}: it does not start: {why}", workload.name()));
            }
        }
    }
    Ok(there)
}

/// The samples of an output folder, if it has any.
pub(crate) fn read(out: &Path) -> Result<Vec<Start>> {
    crate::store::rows(&out.join(FILE))
}
