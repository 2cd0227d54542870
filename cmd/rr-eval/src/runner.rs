//! A run: cell by cell, its contestants in turn. What a run that was interrupted has already is not measured again.

use std::collections::BTreeMap;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};

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

    /// Measures contestants of a cell, all of them in turn, or at once, if there is memory for all.
    fn measure(&mut self, cell: &Cell, contestants: &[&'a Contestant]) -> Result<()> {
        let pairs = if cell.is_bound_by_wire() { contestants.len() } else { 1 };
        let nodes = cell.rate.map(|rate| (0..pairs).map(|number| Nodes::make(rate, number)).collect());
        let nodes: Vec<Nodes> = nodes.transpose()?.unwrap_or_default();
        let mut placements: Vec<Placement> = nodes.iter().map(Nodes::placement).collect();
        if placements.is_empty() {
            placements.push(Placement::Node);
        }
        let room = machine::memory("MemAvailable:") / 5 * 4 / cell.memory();
        let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
        if room < contestants.len() {
            self.progress
                .say(&format!("there is memory for {room} contestants at once: they are measured in groups"));
        }
        contestants.chunks(room).try_for_each(|group| self.measure_group(cell, &placements, group))
    }

    fn measure_group(
        &mut self,
        cell: &Cell,
        placements: &[Placement],
        group: &[&'a Contestant],
    ) -> Result<()> {
        let mut players = self.start(cell, placements, group)?;
        let started = Instant::now();
        for round in 0..cell.repetitions(self.effort).1 {
            let others = self.look_around();
            let late = started.elapsed() > self.effort.limit();
            let mut asked = 0;
            for (work, mut indices) in cell.turns(players.len(), round) {
                indices.retain(|&index| {
                    let player = players[index].as_ref();
                    player.is_some_and(|player| self.needs(cell, player.contestant, work, late))
                });
                asked += indices.len();
                self.sample(cell, &mut players, &indices, work, others)?;
            }
            if asked == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Starts the contestants of a cell, and sees for each that bytes arrive as they were sent.
    fn start(
        &mut self,
        cell: &Cell,
        placements: &[Placement],
        group: &[&'a Contestant],
    ) -> Result<Vec<Option<Player<'a>>>> {
        let mut players = Vec::new();
        for (&contestant, placement) in group.iter().zip(placements.iter().cycle()) {
            let session = Session::start(contestant, self.workshop, placement, cell.fan_out, &self.interrupt);
            self.interrupt.check()?;
            match session {
                Ok(session) => players.push(Some(Player { contestant, session })),
                Err(error) => self.fail(cell, contestant, &error),
            }
        }
        for together in cell.together(players.len(), 0) {
            self.sample(cell, &mut players, &together, Work::Check, 0.0)?;
        }
        Ok(players)
    }

    /// Takes a sample of each of these at the same time, and writes them down; whose fails is gone.
    fn sample(
        &mut self,
        cell: &Cell,
        players: &mut [Option<Player<'a>>],
        indices: &[usize],
        work: Work,
        others: f64,
    ) -> Result<()> {
        let patience = cell.patience(self.patience);
        let mut ready = Vec::new();
        for (index, player) in players.iter_mut().enumerate() {
            let Some(player) = player.as_mut().filter(|_| indices.contains(&index)) else { continue };
            let order = Order { size: cell.size, work, seed: seed()? };
            let receipt = payload::receipt(&order, &mut self.scratch);
            let filled = player.session.fill(&order, patience);
            self.interrupt.check()?;
            ready.push((index, player, order, receipt, filled));
        }
        let measured: Vec<_> = std::thread::scope(|scope| {
            let mut sending = Vec::new();
            for (index, player, order, receipt, filled) in ready {
                let (contestant, session) = (player.contestant, &mut player.session);
                let send = move || filled.and_then(|()| session.send(&order, receipt, patience));
                sending.push((index, contestant, order, scope.spawn(send)));
            }
            let sent = |(index, contestant, order, thread): (_, _, _, ScopedJoinHandle<'_, _>)| {
                let result = thread.join().unwrap_or_else(|_| Err(anyhow!("its thread has panicked")));
                (index, contestant, order, result)
            };
            sending.into_iter().map(sent).collect()
        });
        self.interrupt.check()?;
        for (index, contestant, order, measured) in measured {
            if !self.note(cell, contestant, &order, measured, others)? {
                players[index] = None;
            }
            self.progress.done(cell.cost());
        }
        Ok(())
    }

    /// Writes a sample down; gives whether the contestant may stay.
    fn note(
        &mut self,
        cell: &Cell,
        contestant: &Contestant,
        order: &Order,
        measured: Result<Measured>,
        others: f64,
    ) -> Result<bool> {
        let key = self.key(cell, contestant, order.work);
        let repetition = self.known.get(&key).map_or(0, Vec::len);
        match measured {
            Ok(measured) => {
                self.store.add(&row(&key, repetition, order.seed, &measured, others))?;
                self.known.entry(key).or_default().push(measured.times.done as f64);
                Ok(true)
            }
            Err(error) => {
                self.fail(cell, contestant, &error);
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

    /// Who is asked at the same time, in a round: everybody has a turn alone, or all have one together.
    fn together(&self, players: usize, round: usize) -> Vec<Vec<usize>> {
        let order = turns(players, round);
        if self.is_bound_by_wire() { vec![order.collect()] } else { order.map(|index| vec![index]).collect() }
    }

    /// A round: works, and who does them at the same time.
    fn turns(&self, players: usize, round: usize) -> Vec<(Work, Vec<usize>)> {
        // What comes first after a pause is slower: each work has its turn at that, too.
        let works = || turns(self.works().len(), round).map(|index| self.works()[index]);
        let of_each = |indices: Vec<usize>| works().map(move |work| (work, indices.clone()));
        self.together(players, round).into_iter().flat_map(of_each).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Figure;

    #[test]
    fn all_send_at_once_where_the_wire_takes_seconds_and_in_turn_elsewhere() {
        let cell = |size, rate| Cell { figure: Figure::Fig8, size, fan_out: 1, rate: Some(rate) };
        let alone = cell(1_000, 0);
        let sorted = |mut turns: Vec<Vec<usize>>| {
            turns.sort();
            turns
        };
        assert_eq!(sorted(alone.together(3, 1)), [[0], [1], [2]]);
        // Both works of one, then both of the next.
        let turns: Vec<(Work, Vec<usize>)> = alone.turns(2, 0);
        assert_eq!(turns.len(), 4);
        for one in turns.chunks(2) {
            assert!(one[0].1 == one[1].1 && one[0].0 != one[1].0, "{turns:?}");
        }
        let slow = cell(100_000_000, 100_000_000);
        let [(Work::Touch, together)] = &slow.turns(3, 1)[..] else { panic!("one turn for all") };
        assert_eq!(sorted(vec![together.clone()])[0].len(), 3);
    }
}
