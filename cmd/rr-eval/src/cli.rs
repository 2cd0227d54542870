//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::cold::Workload;
use crate::contestant::{self, Contestant, ENGINE_PEERS, Workshop};
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::machine::{Machine, TOO_BUSY};
use crate::model::Setting;
use crate::pictures::Workflow;
use crate::plan::{Cell, Effort, Figure};
use crate::progress::Progress;
use crate::runner::Runner;
use crate::{cgroup, cold, compare, idle, launch, limits, machine, pictures, report, sweep, warm};

/// Re-run the evaluation of the Roadrunner paper against baselines, and draw it.
#[derive(Parser)]
#[command(name = "rr-eval", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// How much of a transfer is serialization
    Fig2(Run),
    /// The parts of a transfer of 100 MB between two nodes
    Fig6(Run),
    /// Two functions on one node, by size
    Fig7(Run),
    /// Two functions on two nodes, by size
    Fig8(Run),
    /// Fan-out of 10 MB on one node
    Fig9(Run),
    /// Fan-out of 10 MB between two nodes
    Fig10(Run),
    /// Cold starts, against other runtimes
    Cold {
        #[command(flatten)]
        run: Run,
        /// Only this
        #[arg(long, value_name = "NAME")]
        workload: Vec<Workload>,
        /// No more starts of a kind than this, at once or after each other
        #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
        starts: usize,
    },
    /// Many idle functions: their memory, and calls into them
    Idle {
        #[command(flatten)]
        run: Run,
        /// How many functions
        #[arg(long, default_value_t = 500)]
        count: usize,
    },
    /// Warm calls at fixed rates: how late they are
    Warm {
        #[command(flatten)]
        run: Run,
        /// No more calls than this in a series
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), default_value_t = u64::MAX, hide_default_value = true)]
        calls: u64,
    },
    /// Workflows of real pictures and of a film's frames
    Pictures {
        #[command(flatten)]
        run: Run,
        /// Only this
        #[arg(long, value_name = "NAME")]
        workflow: Vec<Workflow>,
    },
    /// All figures, workflows of pictures, warm calls, cold starts and idle functions; with --only, --size or --fan-out the figures alone
    All(Run),
    /// Draw what was measured
    Report(Report),
    /// Tell what workflows would take on a cluster, by the costs of single transfers that figures 7 and 8 measured; draws all anew
    Model {
        #[command(flatten)]
        report: Report,
        #[command(flatten)]
        setting: Setting,
    },
    /// Tell which differences between two runs are beyond the noise
    Compare {
        /// Output folder of the one run
        before: PathBuf,
        /// Output folder of the other
        after: PathBuf,
    },
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    report: Report,
    /// The runtime under test
    #[arg(long, value_name = "PATH", default_value = "/usr/local/bin/rr-runtime")]
    runtime: PathBuf,
    /// Folder that scripts/build-guests fills
    #[arg(long, value_name = "DIR", default_value = "guest/examples/target")]
    functions: PathBuf,
    /// Folder that scripts/fetch-samples fills, for cold starts and workflows that need it
    #[arg(long, value_name = "DIR")]
    samples: Option<PathBuf>,
    /// As in the paper, and until medians are sure; otherwise fewer sizes and repetitions
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// All figures in ten minutes, which is the default
    #[arg(long)]
    quick: bool,
    /// Only contestants whose names begin so
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// A file of further contestants
    #[arg(long, value_name = "FILE")]
    contestants: Option<PathBuf>,
    /// A crun that runs modules in WasmEdge (scripts/setup-crun)
    #[arg(long, value_name = "PATH")]
    crun_wasmedge: Option<PathBuf>,
    /// One that loads the engine's libraries as they are prepared for ours
    #[arg(long, value_name = "PATH")]
    crun_prepared: Option<PathBuf>,
    /// How long a transfer may take, beside what its bytes need
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u64,
    /// A program that measures what the machine itself could do (hose/examples/pages.rs)
    #[arg(long, value_name = "PROGRAM")]
    limits: Option<PathBuf>,
    /// Only cells with this size in bytes
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// Only cells with so many receivers
    #[arg(long, value_name = "COUNT")]
    fan_out: Option<usize>,
}

#[derive(clap::Args)]
pub(crate) struct Report {
    /// Folder of samples, plots and the page
    #[arg(long, value_name = "DIR", default_value = "eval-output")]
    pub(crate) out: PathBuf,
}

/// Runs the command line; prints what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rr-eval: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Fig2(run) => one(&run, Figure::Fig2),
        Verb::Fig6(run) => one(&run, Figure::Fig6),
        Verb::Fig7(run) => one(&run, Figure::Fig7),
        Verb::Fig8(run) => one(&run, Figure::Fig8),
        Verb::Fig9(run) => one(&run, Figure::Fig9),
        Verb::Fig10(run) => one(&run, Figure::Fig10),
        Verb::Cold { run, workload, starts } => {
            let workloads = if workload.is_empty() { Workload::ALL.to_vec() } else { workload };
            further(&run, Some((workloads, starts)), None)
        }
        Verb::Pictures { run, workflow } => {
            let workflows = if workflow.is_empty() { Workflow::ALL.to_vec() } else { workflow };
            none_thrown_out(show_pictures(&run, workflows)?)
        }
        Verb::Warm { run, calls } => none_thrown_out(warm_calls(&run, calls)?),
        Verb::Idle { run, count } => further(&run, None, Some(count)),
        Verb::All(run) => {
            let mut thrown_out = measure(&run, &Figure::ALL)?;
            // Who asks for some cells does not ask for these.
            if run.only.is_empty() && run.size.is_none() && run.fan_out.is_none() {
                thrown_out += show_pictures(&run, Workflow::ALL.to_vec())?;
                thrown_out += warm_calls(&run, u64::MAX)?;
                let idle_functions = if run.full { 500 } else { 100 };
                further(&run, Some((Workload::ALL.to_vec(), usize::MAX)), Some(idle_functions))?;
            }
            none_thrown_out(thrown_out)
        }
        Verb::Report(arguments) => report::write(&arguments),
        Verb::Model { report, setting } => report::write_with(&report, &setting),
        Verb::Compare { before, after } => compare::print(&before, &after),
    }
}

/// Measures one figure.
fn one(run: &Run, figure: Figure) -> Result<()> {
    none_thrown_out(measure(run, &[figure])?)
}

/// Fails for a run that had to throw contestants out, when all the others are measured.
fn none_thrown_out(count: usize) -> Result<()> {
    ensure!(count == 0, "{count} times a contestant was thrown out: see above");
    Ok(())
}

/// Measures figures; gives how often a contestant was thrown out.
fn measure(run: &Run, figures: &[Figure]) -> Result<usize> {
    let interrupt = Interrupt::listen()?;
    let effort = run.effort();
    let folder = folder()?;
    let workshop = workshop(run, folder.path())?;
    let contestants = contestants(run, &workshop)?;
    ensure!(!contestants.is_empty(), "there is no contestant");
    workshop.compile()?;
    describe(run, &workshop)?;
    if let Some(program) = &run.limits {
        limits::measure(program, &run.report.out)?;
    }

    let cells: Vec<Cell> = figures.iter().flat_map(|figure| figure.cells(effort)).collect();
    let asked = |cell: &Cell| {
        run.size.is_none_or(|size| size == cell.size) && run.fan_out.is_none_or(|count| count == cell.fan_out)
    };
    let cells: Vec<Cell> = cells.into_iter().filter(asked).collect();
    let runner = Runner {
        progress: Progress::of(Runner::work(&cells, &contestants, effort)),
        workshop: &workshop,
        contestants: &contestants,
        effort,
        patience: Duration::from_secs(run.patience),
        interrupt,
        journal: Mutex::new(Journal::open(&run.report.out)?),
        scratch: Mutex::default(),
    };
    let ended = runner.run(&cells);
    let thrown_out = runner.journal.into_inner().unwrap_or_else(PoisonError::into_inner).thrown_out;
    report::write(&run.report)?;
    ended?;
    Ok(thrown_out)
}

/// Warm calls at fixed rates, in series of so many at the most; gives how often a contestant was thrown out.
fn warm_calls(run: &Run, calls: u64) -> Result<usize> {
    let (effort, size, patience) = (run.effort(), run.size, Duration::from_secs(run.patience));
    let wanted = warm::Wanted { effort, size, calls, patience };
    with_contestants(run, |workshop, contestants, out, interrupt| {
        warm::measure(workshop, contestants, &wanted, out, interrupt)
    })
}

/// Workflows of pictures; gives how often a contestant was thrown out.
fn show_pictures(run: &Run, workflows: Vec<Workflow>) -> Result<usize> {
    let (effort, patience) = (run.effort(), Duration::from_secs(run.patience));
    let wanted = pictures::Wanted { effort, workflows, patience };
    with_contestants(run, |workshop, contestants, out, interrupt| {
        pictures::measure(workshop, contestants, &wanted, out, interrupt)
    })
}

/// Measures something with those that can take part, and draws what was measured, whatever became of it.
fn with_contestants(
    run: &Run,
    measure: impl FnOnce(&Workshop, &[Contestant], &Path, &Interrupt) -> Result<usize>,
) -> Result<usize> {
    let interrupt = Interrupt::listen()?;
    let folder = folder()?;
    let workshop = workshop(run, folder.path())?;
    let contestants = contestants(run, &workshop)?;
    workshop.compile()?;
    describe(run, &workshop)?;
    let measured = measure(&workshop, &contestants, &run.report.out, &interrupt);
    report::write(&run.report)?;
    measured
}

/// What is measured beyond the paper's figures: cold starts of functions, no more than so many of a kind; and so many idle functions.
fn further(
    run: &Run,
    cold_starts: Option<(Vec<Workload>, usize)>,
    idle_functions: Option<usize>,
) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let folder = folder()?;
    let workshop = workshop(run, folder.path())?;
    describe(run, &workshop)?;
    let others = machine::others();
    if others > TOO_BUSY {
        eprintln!("rr-eval: others use {:.0} % of the processors", others * 100.0);
    }
    let out = &run.report.out;
    let mut measured = Ok(());
    if let Some((workloads, most)) = cold_starts {
        let wanted = cold::Wanted { effort: run.effort(), workloads, most };
        measured = cold::measure(&workshop, &wanted, out, &interrupt);
    }
    if let (Ok(()), Some(count)) = (&measured, idle_functions) {
        measured = idle::measure(&workshop, run.effort(), count, out, &interrupt);
    }
    report::write(&run.report)?;
    measured
}

/// On a tmpfs, as states are on nearly every host: a disk would be timed with them.
fn folder() -> Result<tempfile::TempDir> {
    let home = ["/dev/shm", "/tmp"].into_iter().find(|folder| Path::new(folder).is_dir()).unwrap_or("/");
    let prefix = format!("{}{}-", sweep::PREFIX, std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(home).context("a temporary folder")
}

/// Makes the output folder, and says in it on what machine this is.
fn describe(run: &Run, workshop: &Workshop) -> Result<()> {
    let out = &run.report.out;
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let text = serde_json::to_string_pretty(&Machine::look(workshop))?;
    std::fs::write(out.join("machine.json"), text + "\n").context("machine.json")
}

impl Run {
    fn effort(&self) -> Effort {
        if self.full { Effort::Full } else { Effort::Quick }
    }
}

/// What this run works with; what killed ones have left is taken away.
fn workshop(run: &Run, folder: &Path) -> Result<Workshop> {
    let runtime = std::fs::canonicalize(&run.runtime)
        .with_context(|| format!("the runtime {} (--runtime)", run.runtime.display()))?;
    let config = folder.join("config.toml");
    let text = format!(
        "tenant = \"eval\"\n[hose]\ndirectory = \"{0}/hose\"\ntrusted-networks = \"10.77.0.0/24\"\n[cache]\ndirectory = \"{0}/cache\"\n",
        folder.display()
    );
    std::fs::write(&config, text).context("config.toml")?;
    let workshop = Workshop {
        runtime,
        peer: launch::installed("runc"),
        engine_peers: std::iter::zip(ENGINE_PEERS, [&run.crun_wasmedge, &run.crun_prepared])
            .filter_map(|(name, program)| Some((name, program.clone()?)))
            .collect(),
        modules: run.functions.join("wasm32-wasip1/release"),
        native: run
            .functions
            .join(format!("twins/{}-unknown-linux-gnu/release/eval-native", std::env::consts::ARCH)),
        samples: run.samples.clone(),
        config,
        folder: folder.to_owned(),
    };
    let home = folder.parent().unwrap_or(folder);
    for path in sweep::take_away(home, Path::new("/run/netns"), &cgroup::hierarchies(), &workshop.roots()) {
        eprintln!("rr-eval: taken away: {}, which a run that was killed had left", path.display());
    }
    Ok(workshop)
}

/// Those that can take part; the others are left out with a line.
fn contestants(run: &Run, workshop: &Workshop) -> Result<Vec<Contestant>> {
    let mut all = contestant::all();
    if let Some(file) = &run.contestants {
        all.extend(contestant::read_external(file)?);
    }
    let asked =
        |name: &str| run.only.is_empty() || run.only.iter().any(|start| name.starts_with(start.as_str()));
    let mut there = Vec::new();
    for contestant in all.into_iter().filter(|contestant| asked(&contestant.name)) {
        match contestant.missing(workshop) {
            Some(why) => eprintln!("rr-eval: {} is left out: {why}", contestant.name),
            None => there.push(contestant),
        }
    }
    Ok(there)
}
