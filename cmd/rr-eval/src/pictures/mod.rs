//! Workflows of real pictures: photographs, and the frames of a film, are decoded and handed from function to function. All contestants have to make
//! the same of each, bit by bit, before a time counts; and their answers cannot be known beforehand, because a stripe of each picture is drawn
//! from a new seed.

mod answers;
mod judge;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Workshop};
use crate::interrupt::Interrupt;
use crate::plan::{Effort, turns};
use crate::progress::Progress;
use crate::referee::{self, Foul, KNOWS_LATE};
use crate::runner::seed;
use crate::session::{Session, tag};
use crate::store::{self, Table};

use answers::Knower;
use judge::{Times, judge};
pub(crate) use workflow::Workflow;

/// The file of an output folder.
pub(crate) const FILE: &str = "pictures.csv";

/// Pictures before any counts; all bytes of the first are checked.
const WARM_UP: usize = 3;

/// What is shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pictures {
    /// Two, of 640 by 427 pixels.
    Photographs,
    /// A film's frames, of 1,280 by 720 pixels.
    Film,
}

/// One picture that counts. Times are in nanoseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Showing {
    pub(crate) workflow: Workflow,
    pub(crate) pictures: Pictures,
    pub(crate) contestant: String,
    /// From 0.
    pub(crate) repetition: usize,
    pub(crate) seed: u64,
    /// From before it was decoded until the last function was done.
    pub(crate) whole_ns: u64,
    /// Of that, what it took to hand it over, along the way of the function that was done last.
    pub(crate) handed_ns: u64,
    /// Of all functions.
    pub(crate) cpu_ns: Option<u64>,
}

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) effort: Effort,
    pub(crate) workflows: Vec<Workflow>,
    /// How long a picture may take.
    pub(crate) patience: Duration,
}

impl Pictures {
    const ALL: [Self; 2] = [Self::Photographs, Self::Film];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Photographs => "photographs",
            Self::Film => "a film's frames",
        }
    }

    /// A file of JPEG pictures, one behind the other.
    fn file(self, workshop: &Workshop) -> Result<PathBuf> {
        let samples = workshop.samples.as_ref().context("there are no samples (--samples)")?;
        match self {
            Self::Photographs => {
                let folder = samples.join("sklearn/datasets/images");
                let read = |name| fs::read(folder.join(name)).with_context(|| format!("read {name}"));
                let path = workshop.folder.join("photographs");
                fs::write(&path, [read("china.jpg")?, read("flower.jpg")?].concat())?;
                Ok(path)
            }
            Self::Film => {
                let path = samples.join("film.mjpeg");
                anyhow::ensure!(path.is_file(), "{} is not there", path.display());
                Ok(path)
            }
        }
    }
}

impl Wanted {
    fn repetitions(&self) -> usize {
        match self.effort {
            Effort::Quick => 10,
            Effort::Full => 50,
        }
    }

    fn cells(&self) -> impl Iterator<Item = (Workflow, Pictures)> {
        let with = |pictures| self.workflows.iter().map(move |&workflow| (workflow, pictures));
        Pictures::ALL.into_iter().flat_map(with)
    }

    /// Rows of contestants that have all.
    fn keep(&self, rows: Vec<Showing>) -> Vec<Showing> {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for row in &rows {
            *counts.entry(row.key()).or_default() += 1;
        }
        rows.iter().filter(|row| counts[&row.key()] >= self.repetitions()).cloned().collect()
    }
}

impl Showing {
    fn key(&self) -> (Workflow, Pictures, String) {
        (self.workflow, self.pictures, self.contestant.clone())
    }
}

/// A contestant in a cell.
struct Player<'a> {
    contestant: &'a Contestant,
    session: Session,
    /// When the last function was done, and the camera knew.
    ends: Vec<(u64, u64)>,
    rows: Vec<Showing>,
}

/// Measures what is not in the file yet; gives how often a contestant was thrown out.
pub(crate) fn measure(
    workshop: &Workshop,
    contestants: &[Contestant],
    wanted: &Wanted,
    out: &Path,
    interrupt: &Interrupt,
) -> Result<usize> {
    let (mut table, known) = Table::open_with(&out.join(FILE), |rows| wanted.keep(rows))?;
    let known: BTreeSet<_> = known.iter().map(Showing::key).collect();
    let there: Vec<&Contestant> =
        contestants.iter().filter(|contestant| contestant.shows_no_pictures(workshop).is_none()).collect();
    let progress = Progress::of((wanted.cells().count() * there.len()) as u64);
    let mut thrown_out = 0;
    for (workflow, pictures) in wanted.cells() {
        let missing =
            |contestant: &&&Contestant| !known.contains(&(workflow, pictures, contestant.name.clone()));
        let missing: Vec<&Contestant> = there.iter().filter(missing).copied().collect();
        progress.done((there.len() - missing.len()) as u64);
        if missing.is_empty() {
            continue;
        }
        let what = format!("{} of {}", workflow.name(), pictures.name());
        progress.at(&what);
        let knower = |film: PathBuf| Ok((Knower::start(workshop, workflow, &film)?, film));
        match pictures.file(workshop).and_then(knower) {
            Ok((knower, film)) => {
                let cell = Cell { workshop, wanted, workflow, pictures, film: &film, interrupt };
                let (rows, fouls) = cell.measure(&missing, knower)?;
                for (name, why) in &fouls {
                    progress.say(&format!("{name} is out of a {what}: {why:#}"));
                }
                thrown_out += fouls.len();
                rows.iter().try_for_each(|row| table.add(row))?;
            }
            Err(why) => progress.say(&format!("a {what} is left out: {why:#}")),
        }
        progress.done(missing.len() as u64);
    }
    progress.finish();
    Ok(thrown_out)
}

/// A workflow, and what is shown to it.
struct Cell<'a> {
    workshop: &'a Workshop,
    wanted: &'a Wanted,
    workflow: Workflow,
    pictures: Pictures,
    film: &'a Path,
    interrupt: &'a Interrupt,
}

/// Names of contestants that were thrown out, and why.
type Fouls = Vec<(String, anyhow::Error)>;

impl Cell<'_> {
    fn measure(&self, contestants: &[&Contestant], mut knower: Knower) -> Result<(Vec<Showing>, Fouls)> {
        let mut fouls = Fouls::new();
        let mut players = Vec::new();
        for contestant in contestants {
            let started = self.start(contestant);
            self.interrupt.check()?;
            match started {
                Ok(session) => {
                    players.push(Some(Player { contestant, session, ends: Vec::new(), rows: Vec::new() }));
                }
                Err(why) => fouls.push((contestant.name.clone(), why)),
            }
        }
        for round in 0..WARM_UP + self.wanted.repetitions() {
            let seed = seed()?;
            let check = round == 0;
            let order = format!("picture {round} {seed} {}", if check { 'c' } else { 't' });
            let answers = knower.answers(&order)?;
            for index in turns(players.len(), round) {
                let Some(player) = &mut players[index] else { continue };
                let shown = self.show(player, &order, &answers);
                self.interrupt.check()?;
                match shown {
                    Ok((times, cpu_ns)) if round >= WARM_UP => {
                        player.ends.push((times.whole, times.end));
                        player.rows.push(Showing {
                            workflow: self.workflow,
                            pictures: self.pictures,
                            contestant: player.contestant.name.clone(),
                            repetition: round - WARM_UP,
                            seed,
                            whole_ns: times.whole,
                            handed_ns: times.handed,
                            cpu_ns,
                        });
                    }
                    Ok(_) => {}
                    Err(why) => {
                        fouls.push((player.contestant.name.clone(), why));
                        players[index] = None;
                    }
                }
            }
        }
        let mut rows = Vec::new();
        let functions = self.workflow.steps().len() as u64;
        for player in players.into_iter().flatten() {
            if referee::way_back_is_too_long(player.ends.into_iter(), functions, 0) {
                fouls.push((player.contestant.name.clone(), Foul(KNOWS_LATE.to_owned()).into()));
            } else {
                rows.extend(player.rows);
            }
        }
        Ok((rows, fouls))
    }

    fn start(&self, contestant: &Contestant) -> Result<Session> {
        let tag = tag();
        let functions = self.workflow.functions();
        let line = contestant.workflow(self.workshop, self.film, &functions, &tag)?;
        Session::start_line(&line, functions.len() - 1, &tag, self.workshop, self.interrupt)
    }

    fn show(
        &self,
        player: &mut Player<'_>,
        order: &str,
        answers: &judge::Answers,
    ) -> Result<(Times, Option<u64>)> {
        let shown = player.session.show(order, self.workflow.steps().len(), self.wanted.patience)?;
        let times = judge(self.workflow, &shown, answers)?;
        Ok((times, shown.cpu.map(|cpu| cpu.all)))
    }
}

/// The rows of an output folder, if it has any.
pub(crate) fn read(out: &Path) -> Result<Vec<Showing>> {
    store::rows(&out.join(FILE))
}
