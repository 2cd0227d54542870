//! Cold starts: from `run` to the first byte of the answer, of a function that says hello, against a native program of the same source under
//! other runtimes. Its compiled code is in the cache already.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, Network};
use crate::contestant::{PEERS, Workshop};
use crate::interrupt::Interrupt;
use crate::launch::{Launcher, Outcome, installed};
use crate::plan::Effort;
use crate::progress::Progress;

/// The file of samples in an output folder, written anew by each run.
pub(crate) const FILE: &str = "cold.csv";

/// What the function says.
const WORD: &str = "hello\n";

/// How many starts make a series in a row.
const IN_A_ROW: usize = 100;

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
    fn of(contestant: &str, series: Series, at_once: usize, repetition: usize, outcome: Outcome) -> Self {
        Self {
            contestant: contestant.to_owned(),
            series,
            at_once,
            repetition,
            begun_ns: outcome.begun,
            first_ns: outcome.first,
            ended_ns: outcome.ended,
            failure: outcome.failure.unwrap_or_default(),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failure.is_empty()
    }
}

/// How many at once, and how often.
fn rounds(effort: Effort) -> [(usize, usize); 3] {
    match effort {
        Effort::Quick => [(1, 20), (10, 5), (50, 3)],
        Effort::Full => [(1, 100), (10, 20), (50, 10)],
    }
}

/// Measures all, and writes the samples.
pub(crate) fn measure(workshop: &Workshop, effort: Effort, out: &Path, interrupt: &Interrupt) -> Result<()> {
    let contestants = contestants(workshop, interrupt)?;
    let path = out.join(FILE);
    let mut file = csv::Writer::from_path(&path).with_context(|| format!("create {}", path.display()))?;
    let rounds = rounds(effort);
    let each: usize = rounds.iter().map(|(at_once, times)| at_once * times).sum::<usize>() + IN_A_ROW;
    let progress = Progress::of((each * contestants.len()) as u64);
    let mut failures = 0;
    let mut burst = |(name, launcher): (&str, &Launcher), series, at_once, repetition| -> Result<()> {
        for outcome in launcher.burst(at_once, interrupt)? {
            let start = Start::of(name, series, at_once, repetition, outcome);
            if start.failed() {
                failures += 1;
                progress.say(&format!("{name}, {at_once} at once: a start failed: {}", start.failure));
            }
            file.serialize(&start).context(FILE)?;
        }
        progress.done(at_once as u64);
        file.flush().context(FILE)
    };
    for (at_once, times) in rounds {
        progress.at(&format!("cold starts, {at_once} at once"));
        for repetition in 0..times {
            // Each round is begun by another one.
            let turn = contestants.iter().cycle().skip(repetition).take(contestants.len());
            for (name, launcher) in turn {
                burst((*name, launcher), Series::AtOnce, at_once, repetition)?;
            }
        }
    }
    for (name, launcher) in &contestants {
        progress.at(&format!("cold starts, in a row: {name}"));
        for repetition in 0..IN_A_ROW {
            burst((*name, launcher), Series::InARow, 1, repetition)?;
        }
    }
    progress.finish();
    if failures > 0 {
        eprintln!("rr-eval: {failures} starts failed: see above and {}", path.display());
    }
    Ok(())
}

/// Those that can take part, each warmed up; the others are left out with a line.
fn contestants(workshop: &Workshop, interrupt: &Interrupt) -> Result<Vec<(&'static str, Launcher)>> {
    let module = workshop.modules.join("hello.wasm");
    ensure!(module.is_file(), "{} is not built", module.display());
    let mut all = vec![(OURS, launcher(workshop, OURS, workshop.ours(), &module)?)];
    let native = workshop.native.with_file_name("hello");
    for name in PEERS {
        let Some(program) = installed(name) else {
            eprintln!("rr-eval: {name} is left out: it is not installed");
            continue;
        };
        if !native.is_file() {
            eprintln!("rr-eval: {name} is left out: {} is not built", native.display());
            continue;
        }
        all.push((name, launcher(workshop, name, workshop.theirs(&program), &native)?));
    }
    let mut there = Vec::new();
    for (name, launcher) in all {
        let outcomes = launcher.burst(1, interrupt)?;
        match outcomes.into_iter().find_map(|outcome| outcome.failure) {
            None => there.push((name, launcher)),
            Some(why) if name == OURS => bail!("{name} does not start: {why}"),
            Some(why) => eprintln!("rr-eval: {name} is left out, it does not start here: {why}"),
        }
    }
    Ok(there)
}

fn launcher(workshop: &Workshop, name: &str, runtime: Vec<String>, program: &Path) -> Result<Launcher> {
    let bundle = Bundle {
        files: vec![(program.to_owned(), if name == OURS { "hello.wasm" } else { "hello" })],
        args: vec![if name == OURS { "/hello.wasm" } else { "/hello" }.to_owned()],
        annotations: match name {
            OURS => BTreeMap::from([("io.roadrunner.wasm/aot".to_owned(), "wait".to_owned())]),
            _ => BTreeMap::new(),
        },
        network: Network::None,
        shared: None,
    };
    let folder = workshop.folder.join(format!("cold-{name}"));
    bundle.write(&folder)?;
    Ok(Launcher { runtime, bundle: folder, folder: workshop.folder.clone(), word: WORD })
}

/// The samples of an output folder, if it has any.
pub(crate) fn read(out: &Path) -> Result<Vec<Start>> {
    crate::store::rows(&out.join(FILE))
}
