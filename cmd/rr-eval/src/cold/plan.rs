//! What is started, in which order, and what of an earlier run counts.

use std::collections::BTreeSet;

use super::{Series, Start, Workload};
use crate::plan::{Effort, turns};

/// How many starts make a series in a row.
const IN_A_ROW: usize = 100;

/// Starts at once, or one of those in a row.
pub(super) struct Burst {
    pub(super) workload: Workload,
    pub(super) contestant: &'static str,
    pub(super) series: Series,
    pub(super) at_once: usize,
    pub(super) repetition: usize,
}

impl Burst {
    pub(super) fn key(&self) -> (Workload, Series, usize, usize, &str) {
        (self.workload, self.series, self.at_once, self.repetition, self.contestant)
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) effort: Effort,
    pub(crate) workloads: Vec<Workload>,
    /// No more starts of a kind than this, at once or after each other.
    pub(crate) most: usize,
}

impl Wanted {
    /// All bursts of these contestants, in the order in which they are made.
    pub(super) fn bursts(&self, workload: Workload, contestants: &[&'static str]) -> Vec<Burst> {
        let mut all = Vec::new();
        for (at_once, times) in workload.rounds(self.effort) {
            for repetition in 0..times.min(self.most / at_once) {
                // Each round in another order.
                let turn = turns(contestants.len(), repetition).map(|index| contestants[index]);
                let series = Series::AtOnce;
                all.extend(turn.map(|contestant| Burst {
                    workload,
                    contestant,
                    series,
                    at_once,
                    repetition,
                }));
            }
        }
        let row = if workload.has_a_row() { self.in_a_row() } else { 0 };
        for &contestant in contestants {
            let start =
                |repetition| Burst { workload, contestant, series: Series::InARow, at_once: 1, repetition };
            all.extend((0..row).map(start));
        }
        all
    }

    fn in_a_row(&self) -> usize {
        IN_A_ROW.min(self.most)
    }

    /// The rows that count for this run. Starts in a row make a rate, and one that was interrupted has none: it begins anew.
    pub(super) fn keep(&self, rows: Vec<Start>) -> Vec<Start> {
        let in_row = |row: &Start| row.series == Series::InARow;
        let of_row = |name: &str| rows.iter().filter(|row| in_row(row) && row.contestant == name).count();
        let broken: BTreeSet<String> = rows
            .iter()
            .filter(|row| in_row(row) && of_row(&row.contestant) < self.in_a_row())
            .map(|row| row.contestant.clone())
            .collect();
        rows.into_iter().filter(|row| !in_row(row) || !broken.contains(&row.contestant)).collect()
    }
}

impl std::fmt::Display for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.workload.name();
        match self.series {
            Series::AtOnce => write!(f, "cold starts of {name}, {} at once", self.at_once),
            Series::InARow => write!(f, "cold starts of {name}, in a row"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OURS;
    use super::*;

    fn start(series: Series, repetition: usize) -> Start {
        Start {
            workload: Workload::Hello,
            contestant: OURS.into(),
            series,
            at_once: 1,
            repetition,
            begun_ns: 0,
            first_ns: None,
            ended_ns: 1,
            failure: String::new(),
        }
    }

    #[test]
    fn starts_in_a_row_that_were_interrupted_begin_anew_and_the_others_stay() {
        let wanted = Wanted { effort: Effort::Quick, workloads: Workload::ALL.to_vec(), most: 3 };
        let rows = |in_a_row: usize| {
            let mut rows = vec![start(Series::AtOnce, 0)];
            rows.extend((0..in_a_row).map(|repetition| start(Series::InARow, repetition)));
            wanted.keep(rows).len()
        };
        assert_eq!([rows(0), rows(2), rows(3)], [1, 1, 4]);
    }

    #[test]
    fn fewer_starts_are_fewer_at_once_and_in_a_row() {
        let wanted = Wanted { effort: Effort::Full, workloads: Vec::new(), most: 10 };
        let count = |workload, series, at_once: usize| {
            let bursts = wanted.bursts(workload, &[OURS]);
            bursts.iter().filter(|burst| (burst.series, burst.at_once) == (series, at_once)).count()
        };
        let hello = |series, at_once| count(Workload::Hello, series, at_once);
        assert_eq!(
            [hello(Series::AtOnce, 1), hello(Series::AtOnce, 10), hello(Series::AtOnce, 50)],
            [10, 1, 0]
        );
        assert_eq!([hello(Series::InARow, 1), count(Workload::Picture, Series::InARow, 1)], [10, 0]);
    }
}
