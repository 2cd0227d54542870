//! A run: cell by cell, its contestants in turn. What a run that was interrupted has already is not measured again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use crate::contestant::{Contestant, Placement, Workshop};
use crate::interrupt::Interrupt;
use crate::machine::{self, TOO_BUSY};
use crate::nodes::Nodes;
use crate::payload;
use crate::plan::{Cell, Effort, turns};
use crate::progress::Progress;
use crate::protocol::{Order, Work};
use crate::referee::Foul;
use crate::session::{Measured, Session};
use crate::statistics::Estimate;
use crate::store::{COUNTS, FOUL, Key, Sample, Store};

/// Where a median is sure enough: its confidence interval on either side.
const SURE: f64 = 0.05;

/// A run over some cells.
pub(crate) struct Runner<'a> {
    pub(crate) workshop: &'a Workshop,
    pub(crate) contestants: &'a [Contestant],
    pub(crate) effort: Effort,
    /// How long the smallest transfer may take.
    pub(crate) patience: Duration,
    pub(crate) interrupt: Interrupt,
    pub(crate) store: Store,
    /// Times until done of the samples that count.
    pub(crate) known: BTreeMap<Key, Vec<f64>>,
    pub(crate) progress: Progress,
    /// Memory for the referee's payloads.
    pub(crate) scratch: Vec<u8>,
    /// Whether it was said that the machine is busy.
    pub(crate) said_busy: bool,
    /// How often a contestant was thrown out.
    pub(crate) thrown_out: usize,
}

/// A contestant in a cell.
struct Player<'a> {
    contestant: &'a Contestant,
    session: Session,
}

impl<'a> Runner<'a> {
    /// How much work some cells are, for the progress.
    pub(crate) fn work(cells: &[Cell], contestants: &[Contestant], effort: Effort) -> u64 {
        cells.iter().map(|cell| cell.work(contestants, effort)).sum()
    }

    /// Measures the cells.
    pub(crate) fn run(&mut self, cells: &[Cell]) -> Result<()> {
        for cell in cells {
            self.interrupt.check()?;
            let work = cell.work(self.contestants, self.effort);
            let missing = self.missing(cell);
            if missing.is_empty() {
                self.progress.done(work);
                continue;
            }
            self.progress.at(&cell.to_string());
            self.measure(cell, &missing).with_context(|| cell.to_string())?;
        }
        self.progress.finish();
        Ok(())
    }

    fn key(&self, cell: &Cell, contestant: &Contestant, work: Work) -> Key {
        Key {
            figure: cell.figure.name().to_owned(),
            placement: cell.placement(),
            size: cell.size,
            fan_out: cell.fan_out,
            contestant: contestant.name.clone(),
            work,
        }
    }

    fn known(&self, cell: &Cell, contestant: &Contestant, work: Work) -> &[f64] {
        self.known.get(&self.key(cell, contestant, work)).map_or(&[], Vec::as_slice)
    }

    /// Whether this needs another repetition, `late` when only those that are too few count.
    fn needs(&self, cell: &Cell, contestant: &Contestant, work: Work, late: bool) -> bool {
        let (least, most) = cell.repetitions(self.effort);
        let known = self.known(cell, contestant, work);
        let unsure = || Estimate::of(known).is_some_and(|estimate| estimate.uncertainty() > SURE);
        known.len() < least || (!late && known.len() < most && unsure())
    }

    /// Contestants of a cell that are not measured yet.
    fn missing(&self, cell: &Cell) -> Vec<&'a Contestant> {
        let late = self.effort.limit().is_zero();
        let needed = |contestant: &Contestant| {
            cell.works().iter().any(|&work| self.needs(cell, contestant, work, late))
        };
        let there = self.contestants.iter().filter(|contestant| cell.has(contestant));
        there.filter(|contestant| needed(contestant)).collect()
    }

    /// Measures contestants of a cell, all of them in turn if there is memory for all.
    fn measure(&mut self, cell: &Cell, contestants: &[&'a Contestant]) -> Result<()> {
        let nodes = cell.rate.map(Nodes::make).transpose()?;
        let placement = nodes.as_ref().map_or(Placement::Node, Nodes::placement);
        let room = machine::memory("MemAvailable:") / 5 * 4 / cell.memory();
        let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
        if room < contestants.len() {
            self.progress
                .say(&format!("there is memory for {room} contestants at once: they are measured in groups"));
        }
        contestants.chunks(room).try_for_each(|group| self.measure_group(cell, &placement, group))
    }

    fn measure_group(&mut self, cell: &Cell, placement: &Placement, group: &[&'a Contestant]) -> Result<()> {
        let mut players = self.start(cell, placement, group)?;
        let started = Instant::now();
        for round in 0..cell.repetitions(self.effort).1 {
            let others = self.look_around();
            let late = started.elapsed() > self.effort.limit();
            let mut asked = false;
            for index in turns(players.len(), round) {
                // What comes first after a pause is slower: each has its turn at that, too.
                for work in turns(cell.works().len(), round).map(|index| cell.works()[index]) {
                    let Some(player) = &mut players[index] else { continue };
                    let contestant = player.contestant;
                    if !self.needs(cell, contestant, work, late) {
                        continue;
                    }
                    asked = true;
                    if !self.sample(cell, player, work, others)? {
                        players[index] = None;
                    }
                    self.progress.done(cell.cost());
                }
            }
            if !asked {
                break;
            }
        }
        Ok(())
    }

    /// Starts the contestants of a cell, and sees for each that bytes arrive as they were sent.
    fn start(
        &mut self,
        cell: &Cell,
        placement: &Placement,
        group: &[&'a Contestant],
    ) -> Result<Vec<Option<Player<'a>>>> {
        let mut players = Vec::new();
        for &contestant in group {
            let session = Session::start(contestant, self.workshop, placement, cell.fan_out, &self.interrupt);
            self.interrupt.check()?;
            match session {
                Ok(session) => {
                    let mut player = Player { contestant, session };
                    let stays = self.sample(cell, &mut player, Work::Check, 0.0)?;
                    players.push(stays.then_some(player));
                }
                Err(error) => self.fail(cell, contestant, &error),
            }
            self.progress.done(cell.cost());
        }
        Ok(players)
    }

    /// Takes one sample, and writes it down; gives whether the contestant may stay.
    fn sample(&mut self, cell: &Cell, player: &mut Player<'_>, work: Work, others: f64) -> Result<bool> {
        let order = Order { size: cell.size, work, seed: seed()? };
        let receipt = payload::receipt(&order, &mut self.scratch);
        let measured = player.session.transfer(&order, receipt, cell.patience(self.patience));
        self.interrupt.check()?;
        let key = self.key(cell, player.contestant, work);
        let repetition = self.known.get(&key).map_or(0, Vec::len);
        match measured {
            Ok(measured) => {
                self.store.add(&row(&key, repetition, order.seed, &measured, others))?;
                self.known.entry(key).or_default().push(measured.times.done as f64);
                Ok(true)
            }
            Err(error) => {
                self.fail(cell, player.contestant, &error);
                let mut row = empty(&key, repetition, order.seed, others);
                let foul = error.downcast_ref::<Foul>();
                row.verdict = foul.map_or_else(|| format!("{error:#}"), |foul| format!("{FOUL}{foul}"));
                self.store.add(&row)?;
                Ok(false)
            }
        }
    }

    fn fail(&mut self, cell: &Cell, contestant: &Contestant, error: &anyhow::Error) {
        let line = format!("{} is out of {cell}: {error:#}", contestant.name);
        self.progress.say(&line);
        self.thrown_out += 1;
    }

    /// How busy the machine is with other things; says so once in a run.
    fn look_around(&mut self) -> f64 {
        let others = machine::others();
        if others > TOO_BUSY && !self.said_busy {
            self.said_busy = true;
            self.progress
                .say(&format!("the machine is busy: others use {:.0} % of its processors", others * 100.0));
        }
        others
    }
}

impl Cell {
    /// Whether a contestant has a place in it.
    fn has(&self, contestant: &Contestant) -> bool {
        (contestant.main || self.is_for_all()) && contestant.goes(self.rate.is_some(), self.fan_out)
    }

    fn work(&self, contestants: &[Contestant], effort: Effort) -> u64 {
        let count = contestants.iter().filter(|contestant| self.has(contestant)).count() as u64;
        count * self.cost() * (1 + (self.repetitions(effort).0 * self.works().len()) as u64)
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} bytes to {}, {}", self.figure.name(), self.size, self.fan_out, self.placement())
    }
}

fn row(key: &Key, repetition: usize, seed: u64, measured: &Measured, others: f64) -> Sample {
    let times = measured.times;
    Sample {
        serialized_ns: times.serialized,
        arrived_ns: times.arrived,
        parsed_ns: times.parsed,
        done_ns: times.done,
        end_ns: times.end,
        cpu_ns: measured.cpu.map(|cpu| cpu.all),
        cpu_user_ns: measured.cpu.map(|cpu| cpu.user),
        cpu_system_ns: measured.cpu.map(|cpu| cpu.system),
        peak_bytes: measured.peak,
        pss_bytes: measured.share,
        ..empty(key, repetition, seed, others)
    }
}

fn empty(key: &Key, repetition: usize, seed: u64, others: f64) -> Sample {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Sample {
        figure: key.figure.clone(),
        contestant: key.contestant.clone(),
        placement: key.placement.clone(),
        size: key.size,
        fan_out: key.fan_out,
        work: key.work,
        repetition,
        seed,
        serialized_ns: 0,
        arrived_ns: 0,
        parsed_ns: 0,
        done_ns: 0,
        end_ns: 0,
        cpu_ns: None,
        cpu_user_ns: None,
        cpu_system_ns: None,
        peak_bytes: None,
        pss_bytes: None,
        load: machine::load(),
        others,
        taken: now.map_or(0, |now| now.as_secs()),
        verdict: COUNTS.to_owned(),
    }
}

/// A number that no contestant can have known.
pub(crate) fn seed() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("getrandom")?;
    Ok(u64::from_le_bytes(bytes))
}
