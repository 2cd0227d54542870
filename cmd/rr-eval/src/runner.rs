//! A run: cell by cell, its contestants in turn. What a run that was interrupted has already is not measured again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::abreast::{self, Room};
use crate::contestant::{Contestant, Placement, Workshop};
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::machine::{self, TOO_BUSY};
use crate::nodes::Nodes;
use crate::payload;
use crate::plan::{Cell, Effort, turns};
use crate::progress::Progress;
use crate::protocol::{Order, Work};
use crate::session::{Measured, Session};
use crate::statistics::Estimate;
use crate::store::Key;

/// Where a median is sure enough: its confidence interval on either side.
const SURE: f64 = 0.05;

/// The sum of all wires' rates, in bits per second, up to which cells are measured beside each other: the processors have little to do with so much.
const SUMMED_RATE: u64 = 2_500_000_000;

/// A run over some cells.
pub(crate) struct Runner<'a> {
    pub(crate) workshop: &'a Workshop,
    pub(crate) contestants: &'a [Contestant],
    pub(crate) effort: Effort,
    /// How long the smallest transfer may take.
    pub(crate) patience: Duration,
    pub(crate) interrupt: Interrupt,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) progress: Progress,
    /// Memory for the referee's payloads.
    pub(crate) scratch: Mutex<Vec<u8>>,
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

    /// Measures the cells: those first that have the machine for themselves, then those whose wire is slow, beside each other.
    pub(crate) fn run(&self, cells: &[Cell]) -> Result<()> {
        let mut slow = Vec::new();
        for cell in cells {
            self.interrupt.check()?;
            let missing = self.missing(cell);
            if missing.is_empty() {
                self.progress.done(cell.work(self.contestants, self.effort));
            } else if cell.is_bound_by_wire() {
                slow.push((cell, missing));
            } else {
                self.progress.at(&cell.to_string());
                self.measure(cell, &missing, memory(), None).with_context(|| cell.to_string())?;
            }
        }
        if !slow.is_empty() {
            self.measure_abreast(slow)?;
        }
        self.progress.finish();
        Ok(())
    }

    /// Measures cells whose wire is slow, the longest first.
    fn measure_abreast(&self, mut cells: Vec<(&Cell, Vec<&'a Contestant>)>) -> Result<()> {
        let others = self.look_around();
        let room = Room { memory: memory(), rate: SUMMED_RATE };
        cells.sort_by_key(|(cell, _)| std::cmp::Reverse(cell.cost()));
        let jobs = cells.into_iter().map(|(cell, missing)| {
            let count = missing.len() as u64;
            let needed = Room { memory: count * cell.memory(), rate: count * cell.rate.unwrap_or(0) };
            (needed, (cell, missing))
        });
        abreast::run(room, jobs.collect(), |(cell, missing)| {
            self.interrupt.check()?;
            self.progress.at(&cell.to_string());
            self.measure(cell, &missing, room.memory, Some(others)).with_context(|| cell.to_string())
        })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether this needs another repetition, `late` when only those that are too few count.
    fn needs(&self, cell: &Cell, contestant: &Contestant, work: Work, late: bool) -> bool {
        let (least, most) = cell.repetitions(self.effort);
        let journal = self.journal();
        let known = journal.times(&self.key(cell, contestant, work));
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

    /// Measures contestants of a cell, all of them in turn, or at once, if there is memory for all. `others` is how busy the machine is with other things; none
    /// is for looking, which takes that nothing of the run's own goes on at the same time.
    fn measure(
        &self,
        cell: &Cell,
        contestants: &[&'a Contestant],
        memory: u64,
        others: Option<f64>,
    ) -> Result<()> {
        let pairs = if cell.is_bound_by_wire() { contestants.len() } else { 1 };
        let nodes = cell.rate.map(|rate| (0..pairs).map(|_| Nodes::make(rate)).collect());
        let nodes: Vec<Nodes> = nodes.transpose()?.unwrap_or_default();
        let mut placements: Vec<Placement> = nodes.iter().map(Nodes::placement).collect();
        if placements.is_empty() {
            placements.push(Placement::Node);
        }
        let room = usize::try_from(memory / cell.memory()).unwrap_or(usize::MAX).max(1);
        if room < contestants.len() {
            self.progress
                .say(&format!("there is memory for {room} contestants at once: they are measured in groups"));
        }
        contestants.chunks(room).try_for_each(|group| self.measure_group(cell, &placements, group, others))
    }

    fn measure_group(
        &self,
        cell: &Cell,
        placements: &[Placement],
        group: &[&'a Contestant],
        others: Option<f64>,
    ) -> Result<()> {
        let mut players = self.start(cell, placements, group)?;
        let started = Instant::now();
        for round in 0..cell.repetitions(self.effort).1 {
            let others = others.unwrap_or_else(|| self.look_around());
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
        &self,
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
        &self,
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
            let receipt = self.receipt(&order);
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

    fn receipt(&self, order: &Order) -> u128 {
        payload::receipt(order, &mut self.scratch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a sample down; gives whether the contestant may stay.
    fn note(
        &self,
        cell: &Cell,
        contestant: &Contestant,
        order: &Order,
        measured: Result<Measured>,
        others: f64,
    ) -> Result<bool> {
        let key = self.key(cell, contestant, order.work);
        match measured {
            Ok(measured) => {
                self.journal().add(key, order.seed, &measured, others)?;
                Ok(true)
            }
            Err(error) => {
                self.fail(cell, contestant, &error);
                self.journal().add_failure(&key, order.seed, &error, others)?;
                Ok(false)
            }
        }
    }

    fn fail(&self, cell: &Cell, contestant: &Contestant, error: &anyhow::Error) {
        self.progress.say(&format!("{} is out of {cell}: {error:#}", contestant.name));
        self.journal().thrown_out += 1;
    }

    /// How busy the machine is with other things; says so once in a run.
    fn look_around(&self) -> f64 {
        let others = machine::others();
        if others > TOO_BUSY && !std::mem::replace(&mut self.journal().said_busy, true) {
            self.progress
                .say(&format!("the machine is busy: others use {:.0} % of its processors", others * 100.0));
        }
        others
    }
}

/// Memory that a run may take, in bytes.
fn memory() -> u64 {
    machine::memory("MemAvailable:") / 5 * 4
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
