//! What is measured: a *cell* is a figure's placement, size and fan-out, in which all contestants take turns.

use std::time::Duration;

use crate::protocol::Work;

/// The figures of the paper that are measured here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Figure {
    /// How much of a transfer is serialization: two functions on one node, 1, 60 and 100 MB.
    Fig2,
    /// The parts of a transfer of 100 MB between two nodes.
    Fig6,
    /// Two functions on one node, by size.
    Fig7,
    /// Two functions on two nodes, by size.
    Fig8,
    /// Fan-out of 10 MB on one node, by the number of receivers.
    Fig9,
    /// Fan-out of 10 MB between two nodes, by the number of receivers.
    Fig10,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effort {
    /// All figures in ten minutes.
    Quick,
    /// As in the paper, and until the medians are sure.
    Full,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) figure: Figure,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) fan_out: usize,
    /// Between two nodes, at this rate in bits per second; 0 is unlimited.
    pub(crate) rate: Option<u64>,
}

const MB: u64 = 1_000_000;

/// The paper's rate between its nodes, in bits per second.
const PAPER_RATE: u64 = 100 * MB;

/// The paper's sizes.
const SIZES: [u64; 14] = [1, 2, 4, 6, 8, 10, 20, 40, 60, 100, 200, 300, 400, 500];

impl Figure {
    pub(crate) const ALL: [Self; 6] =
        [Self::Fig2, Self::Fig6, Self::Fig7, Self::Fig8, Self::Fig9, Self::Fig10];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fig2 => "fig2",
            Self::Fig6 => "fig6",
            Self::Fig7 => "fig7",
            Self::Fig8 => "fig8",
            Self::Fig9 => "fig9",
            Self::Fig10 => "fig10",
        }
    }

    /// Its cells, small ones first.
    pub(crate) fn cells(self, effort: Effort) -> Vec<Cell> {
        let cell = |size: u64, fan_out: usize, rate: Option<u64>| Cell { figure: self, size, fan_out, rate };
        let full = effort == Effort::Full;
        let sizes = |quick: &[u64]| -> Vec<u64> {
            if full { SIZES.map(|size| size * MB).to_vec() } else { quick.to_vec() }
        };
        let fans: &[usize] = if full { &[1, 10, 20, 40, 60, 80, 100] } else { &[1, 10] };
        let small: &[u64] = if full { &[1, 1000, 100_000] } else { &[1, 1000] };
        match self {
            Self::Fig2 => [1, 60, 100].map(|size| cell(size * MB, 1, None)).to_vec(),
            Self::Fig6 => vec![cell(100 * MB, 1, Some(PAPER_RATE))],
            Self::Fig7 => {
                let sizes = sizes(&[MB, 10 * MB, 100 * MB]);
                small.iter().chain(&sizes).map(|&size| cell(size, 1, None)).collect()
            }
            Self::Fig8 => {
                // The paper's rate, and faster ones; 0 is unlimited.
                let sizes = sizes(&[MB, 10 * MB]);
                let rates = [PAPER_RATE, 1000 * MB, 10_000 * MB, 0];
                let cells = |rate| sizes.iter().map(move |&size| cell(size, 1, Some(rate)));
                // Small ones where no rate hides what they cost.
                let small = small.iter().map(|&size| cell(size, 1, Some(0)));
                rates.into_iter().flat_map(cells).chain(small).collect()
            }
            Self::Fig9 => fans.iter().map(|&count| cell(10 * MB, count, None)).collect(),
            Self::Fig10 => fans.iter().map(|&count| cell(10 * MB, count, Some(PAPER_RATE))).collect(),
        }
    }
}

impl Effort {
    /// Beyond the fewest repetitions a cell is left after this long.
    pub(crate) fn limit(self) -> Duration {
        match self {
            Self::Quick => Duration::ZERO,
            Self::Full => Duration::from_secs(60),
        }
    }
}

impl Cell {
    /// Fewest and most repetitions of each contestant and work.
    pub(crate) fn repetitions(&self, effort: Effort) -> (usize, usize) {
        match effort {
            Effort::Quick if self.is_bound_by_wire() => (2, 2),
            Effort::Quick => (5, 5),
            Effort::Full => (10, 40),
        }
    }

    /// What receivers are asked to do. Where the wire takes seconds, reading makes no difference to it.
    pub(crate) fn works(&self) -> &'static [Work] {
        if self.is_bound_by_wire() { &[Work::Touch] } else { &[Work::Touch, Work::Read] }
    }

    /// Whether the wire takes seconds. The processors have next to nothing to do meanwhile, so that all contestants can send at the same time, each between two
    /// nodes of its own, and several such cells can be measured beside each other.
    pub(crate) fn is_bound_by_wire(&self) -> bool {
        self.wire() > Duration::from_secs(2)
    }

    /// Whether all contestants take part, or only those that the paper compares.
    pub(crate) fn is_for_all(&self) -> bool {
        self.figure == Figure::Fig7
    }

    /// How long all bytes need at the rate between nodes.
    fn wire(&self) -> Duration {
        let bits = self.size * self.fan_out as u64 * 8;
        self.rate
            .filter(|rate| *rate > 0)
            .map_or(Duration::ZERO, |rate| Duration::from_millis(bits * 1000 / rate))
    }

    /// The most that a contestant needs, in bytes: a payload and its JSON at the sender, a body at each receiver, and what programs are themselves.
    pub(crate) fn memory(&self) -> u64 {
        let receivers = self.fan_out as u64;
        self.size * (2 + receivers) + 15 * MB * (1 + receivers)
    }

    /// A measure of how long one transfer takes, for the estimate of the time left: a constant, its bytes, and its share of the wire's time.
    pub(crate) fn cost(&self) -> u64 {
        let wire = u64::try_from(self.wire().as_millis()).unwrap_or(0);
        // Some four contestants go from node to node, in some three cells.
        let wire = if self.is_bound_by_wire() { wire / 12 } else { wire };
        50 + self.size * self.fan_out as u64 / 300_000 + wire
    }

    /// How its placement is called in tables.
    pub(crate) fn placement(&self) -> String {
        match self.rate {
            None => "node".to_owned(),
            Some(0) => "nodes".to_owned(),
            Some(rate) if rate % 1_000_000_000 == 0 => format!("nodes {} Gbit/s", rate / 1_000_000_000),
            Some(rate) => format!("nodes {} Mbit/s", rate / MB),
        }
    }

    /// How long one transfer may take, if the smallest may take this: a hundred times what a slow machine needs, and the wire.
    pub(crate) fn patience(&self, least: Duration) -> Duration {
        let bytes = self.size * self.fan_out as u64;
        least + Duration::from_secs(bytes / (20 * MB)) + self.wire() * 4
    }
}

/// The rate that a placement's name tells, in bits per second.
pub(crate) fn rate(placement: &str) -> Option<f64> {
    let (number, unit) = placement.strip_prefix("nodes ")?.split_once(' ')?;
    let unit = match unit {
        "Mbit/s" => 1e6,
        "Gbit/s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

/// The turns of so many in a round, shuffled: who has just run leaves the processor's caches to the next one, which shall not always be the same.
pub(crate) fn turns(count: usize, round: usize) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(round as u64).shuffle(&mut order);
    order.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_sizes_are_all_measured_in_full() {
        let sizes: Vec<u64> = Figure::Fig7.cells(Effort::Full).iter().map(|cell| cell.size).collect();
        assert!(SIZES.iter().all(|size| sizes.contains(&(size * MB))) && sizes.contains(&1));
    }

    #[test]
    fn everybody_has_one_turn_in_a_round_and_follows_everybody_else() {
        let mut pairs = std::collections::BTreeSet::new();
        for round in 0..100 {
            let order: Vec<usize> = turns(5, round).collect();
            assert_eq!(order, turns(5, round).collect::<Vec<_>>());
            pairs.extend(order.windows(2).map(|two| (two[0], two[1])));
            let mut all = order;
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4]);
        }
        assert_eq!(pairs.len(), 5 * 4);
        assert_eq!(turns(0, 5).count(), 0);
    }

    #[test]
    fn a_placement_tells_its_rate() {
        let cells = [None, Some(0), Some(100 * MB), Some(10_000 * MB)]
            .map(|rate| Cell { figure: Figure::Fig8, size: 1, fan_out: 1, rate }.placement());
        assert_eq!(cells, ["node", "nodes", "nodes 100 Mbit/s", "nodes 10 Gbit/s"]);
        assert_eq!(cells.each_ref().map(|name| rate(name)), [None, None, Some(1e8), Some(1e10)]);
    }
}
