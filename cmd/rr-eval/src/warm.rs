//! Warm calls at fixed rates: how late each is handled, counted from when it was due, whatever held it up. A sender that waits for one call does not
//! ask later for the next (no coordinated omission): what is due meanwhile is late, too. [`crate::pace`] says what is believed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Placement, Workshop};
use crate::interrupt::Interrupt;
use crate::pace::Pace;
use crate::payload;
use crate::plan::{Effort, turns};
use crate::progress::Progress;
use crate::protocol::Work;
use crate::runner::seed;
use crate::session::Session;
use crate::store::{self, Table};

/// The file of an output folder.
pub(crate) const FILE: &str = "warm.csv";

/// Calls of each before any counts.
const WARM_UP: u64 = 200;

/// Who cannot keep a rate is slow, not dead: it may take so many times as long.
const SLOWER: u32 = 20;

/// Who ends the last call later than this share of the time after it was due did not keep the rate.
const BEHIND: f64 = 0.01;

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// A row: so many calls of a series had this latency, to three digits.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Bucket {
    pub(crate) contestant: String,
    /// Of a payload, in bytes.
    pub(crate) size: u64,
    /// Calls a second that were asked for.
    pub(crate) rate: u64,
    /// Calls of the series.
    pub(crate) calls: u64,
    /// Whether it was kept.
    pub(crate) kept: bool,
    pub(crate) latency_ns: u64,
    pub(crate) count: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) effort: Effort,
    /// Only calls of this size, in bytes.
    pub(crate) size: Option<u64>,
    /// No more calls than this in a series.
    pub(crate) calls: u64,
    /// How long a series may take, beside its schedule.
    pub(crate) patience: Duration,
}

impl Wanted {
    /// Sizes, rates, and how many calls.
    fn cells(&self) -> Vec<(u64, u64, u64)> {
        let full = self.effort == Effort::Full;
        let cell = |size, rate, quick: u64, count: u64| {
            (size, rate, self.calls.min(if full { count } else { quick }))
        };
        let cells = [
            cell(64, 2_000, 4_000, 50_000),
            cell(64, 10_000, 10_000, 100_000),
            cell(4_096, 2_000, 4_000, 50_000),
            cell(4_096, 10_000, 10_000, 100_000),
            cell(1_000_000, 200, 200, 10_000),
            cell(1_000_000, 500, 500, 20_000),
        ];
        cells.into_iter().filter(|(size, ..)| self.size.is_none_or(|wanted| wanted == *size)).collect()
    }
}

/// Measures what the output folder does not have yet; gives how often a contestant was thrown out.
pub(crate) fn measure(
    workshop: &Workshop,
    contestants: &[Contestant],
    wanted: &Wanted,
    out: &Path,
    interrupt: &Interrupt,
) -> Result<usize> {
    let (mut table, known) = Table::open_with(&out.join(FILE), |rows| {
        whole(rows).into_values().flatten().collect::<Vec<Bucket>>()
    })?;
    let known = whole(known);
    let cells = wanted.cells();
    let missing = |contestant: &Contestant, (size, rate, calls): (u64, u64, u64)| {
        let series = known.get(&(contestant.name.clone(), size, rate));
        series.is_none_or(|buckets| buckets[0].calls < calls)
    };
    let players: Vec<&Contestant> = contestants
        .iter()
        .filter(|contestant| contestant.is_called_warm())
        .filter(|contestant| cells.iter().any(|cell| missing(contestant, *cell)))
        .collect();
    let lasts = |(_, rate, count): &(u64, u64, u64)| (count * 1000).div_ceil(*rate);
    let progress = Progress::of(cells.iter().map(lasts).sum::<u64>() * players.len() as u64);
    let mut sessions: Vec<Option<Session>> = players.iter().map(|_| None).collect();
    let mut scratch = Vec::new();
    let mut thrown_out = 0;
    for (round, cell) in cells.into_iter().enumerate() {
        let (size, rate, count) = cell;
        progress.at(&format!("warm calls, {size} bytes, {rate} a second"));
        for index in turns(players.len(), round).filter(|index| missing(players[*index], cell)) {
            let contestant = players[index];
            let mut keep = || {
                let mut session = match sessions[index].take() {
                    Some(session) => session,
                    None => Session::start(contestant, workshop, &Placement::Node, 1, interrupt)?,
                };
                let mut latencies = Vec::new();
                for count in [WARM_UP.min(count), count] {
                    let pace = Pace { size, work: Work::Read, seed: seed()?, rate, count };
                    let patience = wanted.patience + SLOWER * Duration::from_nanos(pace.lasts());
                    latencies = session.pace(&pace, payload::kept(&pace, &mut scratch), patience)?;
                }
                sessions[index] = Some(session);
                Ok(latencies)
            };
            let latencies = keep();
            interrupt.check()?;
            match latencies {
                Ok(latencies) => {
                    let buckets = buckets(&contestant.name, size, rate, &latencies)?;
                    buckets.iter().try_for_each(|bucket| table.add(bucket))?;
                }
                Err(error) => {
                    let error: anyhow::Error = error;
                    progress
                        .say(&format!("{} is out of warm calls of {size} bytes: {error:#}", contestant.name));
                    thrown_out += 1;
                }
            }
            progress.done(lasts(&cell));
        }
    }
    progress.finish();
    Ok(thrown_out)
}

/// The histogram of a series.
fn buckets(contestant: &str, size: u64, rate: u64, latencies: &[u64]) -> Result<Vec<Bucket>> {
    let mut histogram = Histogram::<u64>::new(DIGITS).context("a histogram")?;
    for latency in latencies {
        histogram.record(*latency).context("a latency")?;
    }
    let calls = latencies.len() as u64;
    let asked = calls as f64 * 1e9 / rate as f64;
    let last = latencies.last().copied().unwrap_or_default();
    let kept = last as f64 <= asked * BEHIND;
    let bucket = |latency_ns, count| Bucket {
        contestant: contestant.to_owned(),
        size,
        rate,
        calls,
        kept,
        latency_ns,
        count,
    };
    let recorded = histogram.iter_recorded();
    Ok(recorded.map(|at| bucket(at.value_iterated_to(), at.count_since_last_iteration())).collect())
}

/// The rows of series that were written to their end, by contestant, size and rate; latencies grow.
pub(crate) fn whole(rows: Vec<Bucket>) -> BTreeMap<(String, u64, u64), Vec<Bucket>> {
    let mut series: BTreeMap<_, Vec<Bucket>> = BTreeMap::new();
    for row in rows {
        series.entry((row.contestant.clone(), row.size, row.rate)).or_default().push(row);
    }
    series.retain(|_, rows| rows.iter().map(|row| row.count).sum::<u64>() == rows[0].calls);
    series
}

/// The latency that all but one of so many calls have at most, in nanoseconds: `None` where there are fewer.
pub(crate) fn all_but_one_of(buckets: &[Bucket], calls: f64) -> Option<u64> {
    let all = buckets.first()?.calls as f64;
    let mut below = 0.0;
    buckets
        .iter()
        .find(|bucket| {
            below += bucket.count as f64;
            below >= all - all / calls - 1e-6
        })
        .filter(|_| all >= calls)
        .map(|bucket| bucket.latency_ns)
}

/// The rows of an output folder, if it has any.
pub(crate) fn read(out: &Path) -> Result<Vec<Bucket>> {
    store::rows(&out.join(FILE))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_keeps_all_calls_and_their_percentiles() {
        let latencies: Vec<u64> = (1..=10_000).map(|i| i * 100).collect();
        let buckets = buckets("a", 64, 1_000_000, &latencies).unwrap();
        let of = |calls| all_but_one_of(&buckets, calls).unwrap() as f64;
        for (calls, value) in [(2.0, 500_000.0), (100.0, 990_000.0), (10_000.0, 999_900.0)] {
            assert!((of(calls) / value - 1.0).abs() < 0.002, "{calls}: {}", of(calls));
        }
        assert_eq!(all_but_one_of(&buckets, 20_000.0), None);
        let series = whole(buckets.clone());
        assert_eq!(series.len(), 1);
        assert!(whole(buckets[1..].to_vec()).is_empty(), "one that was not written to its end counts");
    }

    #[test]
    fn who_falls_behind_has_not_kept_the_rate() {
        let kept = |last: u64| buckets("a", 1, 1000, &[10, 10, 10, last]).unwrap()[0].kept;
        assert!(kept(30_000) && !kept(50_000));
    }
}
