//! Warm calls at fixed rates: a table, and for each size and rate a chart of how late one call in so many is.

use std::collections::{BTreeMap, BTreeSet};

use super::bars::Row;
use super::further::Table;
use super::plot::{Chart, Line, short};
use crate::statistics::Estimate;
use crate::warm::{Bucket, all_but_one_of, whole};

/// One call in so many: the axis of a chart, and of these the table's columns.
const ONE_IN: [f64; 10] = [2.0, 4.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 100_000.0];
const COLUMNS: [f64; 5] = [2.0, 10.0, 100.0, 1_000.0, 10_000.0];

/// What was measured, by contestant, size and rate.
pub(super) struct Warm(BTreeMap<(String, u64, u64), Vec<Bucket>>);

impl Warm {
    pub(super) fn of(rows: Vec<Bucket>) -> Self {
        Self(whole(rows))
    }

    /// Sizes and rates, each with its series by contestant.
    fn cells(&self) -> impl Iterator<Item = (u64, u64, Vec<(&str, &[Bucket])>)> {
        let cells: BTreeSet<(u64, u64)> = self.0.keys().map(|(_, size, rate)| (*size, *rate)).collect();
        cells.into_iter().map(|(size, rate)| {
            let of_cell = self.0.iter().filter(move |((_, s, r), _)| (*s, *r) == (size, rate));
            (size, rate, of_cell.map(|((name, ..), buckets)| (name.as_str(), buckets.as_slice())).collect())
        })
    }

    /// Of each size, at the highest rate that it has kept: the latency that nearly none of ours exceeds, beside others'.
    pub(super) fn rows(&self) -> Vec<Row> {
        let kept: Vec<_> = self
            .cells()
            .map(|(size, rate, mut series)| {
                series.retain(|(_, buckets)| buckets[0].kept);
                (size, rate, series)
            })
            .collect();
        let ours: BTreeSet<(&str, u64)> = kept
            .iter()
            .flat_map(|(size, _, series)| series.iter().map(|(name, _)| (*name, *size)))
            .filter(|(name, _)| name.starts_with("rr "))
            .collect();
        let row = |(name, size): (&str, u64)| {
            let has = |series: &[(&str, &[Bucket])]| series.iter().any(|(other, _)| *other == name);
            let (_, rate, series) = kept.iter().rfind(|(s, _, series)| *s == size && has(series))?;
            let (_, buckets) = series.iter().find(|(other, _)| *other == name)?;
            let calls = buckets[0].calls as f64;
            let last = COLUMNS.into_iter().rfind(|column| *column <= calls)?;
            let late = |buckets: &[Bucket]| all_but_one_of(buckets, last).map(microseconds);
            let others = series.iter().filter(|(other, _)| *other != name);
            let others = others.filter_map(|(other, buckets)| Some(format!("; {other} {}", late(buckets)?)));
            Some(Row {
                name: format!(
                    "{name}, warm calls of {size} bytes, {rate} a second, all but one in {}",
                    short(last)
                ),
                value: all_but_one_of(buckets, last)? as f64 / 1e3,
                unit: "µs",
                bar: None,
                detail: format!(
                    "half {}{}",
                    microseconds(all_but_one_of(buckets, 2.0)?),
                    others.collect::<String>()
                ),
                samples: ONE_IN
                    .into_iter()
                    .filter_map(|calls| Some(all_but_one_of(buckets, calls)? as f64 / 1e3))
                    .collect(),
            })
        };
        ours.into_iter().filter_map(row).collect()
    }

    pub(super) fn table(&self) -> Table {
        let row = |size: u64, rate: u64, name: &str, buckets: &[Bucket]| {
            let late = |calls: f64| all_but_one_of(buckets, calls).map_or("–".to_owned(), microseconds);
            let mut row = vec![format!("{size} bytes, {rate} a second"), name.to_owned()];
            row.extend(COLUMNS.map(late));
            row.push(buckets.last().map_or("–".to_owned(), |most| microseconds(most.latency_ns)));
            row.push(buckets[0].calls.to_string());
            row.push(if buckets[0].kept { "yes" } else { "no" }.to_owned());
            row
        };
        let rows = self.cells().flat_map(|(size, rate, series)| {
            series.into_iter().map(move |(name, buckets)| row(size, rate, name, buckets)).collect::<Vec<_>>()
        });
        Table {
            title: "Warm calls at fixed rates",
            meaning: "How long after it was due a call was handled and its sender knew, in microseconds: so much or less for that share of all calls. What is due while a call takes long waits, and that counts. The rate is kept by whose last call was late by a hundredth of the whole time at most.",
            head: vec![
                "calls",
                "contestant",
                "50 %",
                "90 %",
                "99 %",
                "99.9 %",
                "99.99 %",
                "most",
                "calls",
                "kept",
            ],
            rows: rows.collect(),
        }
    }

    pub(super) fn charts(&self) -> Vec<Chart> {
        let chart = |(size, rate, series): (u64, u64, Vec<(&str, &[Bucket])>)| Chart {
            name: format!("warm-{size}-{rate}"),
            title: format!("Warm calls of {} bytes, {} a second", short(size as f64), short(rate as f64)),
            x: "one call in so many is later (10: 90 %, 100: 99 %, 1k: 99.9 %, 10k: 99.99 %)",
            y: "s",
            meaning: sentence(&series),
            lines: series.into_iter().map(|(name, buckets)| line(name, buckets)).collect(),
            grey: Vec::new(),
            limits: Vec::new(),
        };
        self.cells().map(chart).collect()
    }
}

fn line(name: &str, buckets: &[Bucket]) -> Line {
    let point = |calls: f64| Some((calls, Estimate::exact(all_but_one_of(buckets, calls)? as f64 / 1e9)));
    let behind = if buckets[0].kept { "" } else { ", rate not kept" };
    Line { name: format!("{name}{behind}"), points: ONE_IN.into_iter().filter_map(point).collect() }
}

/// Who is the earliest for most calls, and who for the latest that was measured of all.
fn sentence(series: &[(&str, &[Bucket])]) -> String {
    let calls = series.iter().map(|(_, buckets)| buckets[0].calls).min().unwrap_or_default() as f64;
    let last = COLUMNS.into_iter().rfind(|column| *column <= calls).unwrap_or(COLUMNS[0]);
    let best = |calls: f64| {
        let late = series.iter().filter_map(|(name, buckets)| Some((all_but_one_of(buckets, calls)?, *name)));
        late.min().map(|(late, name)| format!("{name} with {} µs", microseconds(late)))
    };
    match (best(2.0), best(last)) {
        (Some(half), Some(most)) => format!(
            "Half of all calls are handled the soonest by {half}; all but one in {} by {most}.",
            short(last)
        ),
        _ => String::new(),
    }
}

fn microseconds(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(contestant: &str, latency_ns: u64, count: u64, kept: bool) -> Bucket {
        Bucket { contestant: contestant.into(), size: 64, rate: 1000, calls: 100, kept, latency_ns, count }
    }

    #[test]
    fn a_series_is_a_row_and_a_line_and_the_soonest_is_named() {
        let rows = vec![
            bucket("a", 10_000, 99, true),
            bucket("a", 900_000, 1, true),
            bucket("b", 20_000, 100, false),
            // Written in part.
            bucket("c", 1, 7, true),
        ];
        let warm = Warm::of(rows);
        let [row, behind] = warm.table().rows.try_into().unwrap_or_default();
        assert_eq!(row[1..], ["a", "10.0", "10.0", "10.0", "–", "–", "900.0", "100", "yes"]);
        assert_eq!(behind[9], "no");
        let charts = warm.charts();
        assert_eq!(charts[0].lines.iter().map(|line| line.points.len()).collect::<Vec<_>>(), [5, 5]);
        assert_eq!(charts[0].lines[1].name, "b, rate not kept");
        let said = "Half of all calls are handled the soonest by a with 10.0 µs; all but one in 100 by a with 10.0 µs.";
        assert_eq!(charts[0].meaning, said);
    }

    #[test]
    fn ours_has_a_row_at_the_highest_rate_that_it_kept() {
        let at = |rate: u64, bucket: Bucket| Bucket { rate, ..bucket };
        let rows = vec![
            at(1000, bucket("rr user", 10_000, 99, true)),
            at(1000, bucket("rr user", 900_000, 1, true)),
            at(1000, bucket("gRPC, raw", 70_000, 100, true)),
            at(2000, bucket("rr user", 900_000, 100, false)),
        ];
        let rows = Warm::of(rows).rows();
        let [row] = rows.as_slice() else { panic!("{} rows", rows.len()) };
        assert_eq!(row.name, "rr user, warm calls of 64 bytes, 1000 a second, all but one in 100");
        assert_eq!((row.value, row.detail.as_str()), (10.0, "half 10.0; gRPC, raw 70.0"));
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        let warm = Warm::of(Vec::new());
        assert!(warm.table().rows.is_empty() && warm.charts().is_empty());
    }
}
