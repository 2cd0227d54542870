//! The bars: what the evaluation was asked to show, each a ratio of medians of one run.
//!
//! On the first clock (touched) ours stops when a byte of each page was read, a peer's already when its bytes could be read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::summary::{Summary, quantity};
use crate::limits::Limit;
use crate::protocol::Work;
use crate::statistics::Estimate;
use crate::store::{Key, Sample};

/// One row of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The bar, and whether it is held.
    pub(crate) bar: Option<(String, bool)>,
    pub(crate) detail: String,
    pub(super) samples: Vec<f64>,
}

const LARGE: u64 = 100_000_000;
const USER: &str = "rr user";
const KERNEL: &str = "rr kernel";
const NETWORK: &str = "rr network";
const RUNC: &str = "runc + HTTP, raw";
const WASMEDGE_JSON: &str = "WasmEdge + HTTP, JSON";
const WASMEDGE_RAW: &str = "WasmEdge + HTTP, raw";

/// All rows for which there is something; what was not measured has none.
pub(crate) fn rows(summary: &Summary, limits: &[Limit]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (ours, peer, work, bar) in [
        (USER, WASMEDGE_JSON, Work::Touch, 1000.0),
        (USER, WASMEDGE_JSON, Work::Read, 30.0),
        (KERNEL, WASMEDGE_JSON, Work::Touch, 200.0),
        (KERNEL, WASMEDGE_JSON, Work::Read, 30.0),
        (USER, RUNC, Work::Touch, 100.0),
        (USER, RUNC, Work::Read, 5.0),
        (KERNEL, RUNC, Work::Touch, 30.0),
        (KERNEL, RUNC, Work::Read, 5.0),
    ] {
        rows.extend(faster(summary, &key("fig7", "node", LARGE, 1, ours, work), peer, bar, "100 MB"));
    }
    rows.extend(limits.iter().filter_map(|limit| against_limit(summary, limit)));
    rows.extend(at_every_size(summary, KERNEL, &["fig7"]));
    rows.extend(at_every_size(summary, NETWORK, &["fig7", "fig8"]));
    rows.extend(processors(summary));
    for (ours, bar) in [(USER, 100.0), (KERNEL, 30.0)] {
        let ours = key("fig9", "node", LARGE / 10, 100, ours, Work::Touch);
        rows.extend(faster(summary, &ours, WASMEDGE_RAW, bar, "throughput of a fan-out to 100 of 10 MB"));
    }
    rows.extend([USER, KERNEL].iter().filter_map(|ours| peak(summary, ours)));
    rows
}

fn key(figure: &str, placement: &str, size: u64, fan_out: usize, contestant: &str, work: Work) -> Key {
    Key {
        figure: figure.into(),
        placement: placement.into(),
        size,
        fan_out,
        contestant: contestant.into(),
        work,
    }
}

/// When a contestant's clock stops: see the module.
fn stops(contestant: &str, work: Work) -> fn(&Sample) -> Option<f64> {
    if contestant.starts_with("rr ") || work == Work::Read { quantity::latency } else { quantity::readable }
}

fn clock(work: Work) -> &'static str {
    match work {
        Work::Touch => "touched",
        Work::Read => "every byte read",
        Work::Check => "checked",
    }
}

/// How many times faster ours is than a peer in the same cell.
fn ratio(summary: &Summary, ours: &Key, peer: &str) -> Option<(f64, Estimate, Estimate, Vec<f64>)> {
    let theirs = Key { contestant: peer.to_owned(), ..ours.clone() };
    let values = summary.values(ours, quantity::latency);
    let (a, b) = (Estimate::of(&values)?, summary.estimate(&theirs, stops(peer, ours.work))?);
    Some((b.median / a.median, a, b, values.iter().map(|value| b.median / value).collect()))
}

fn faster(summary: &Summary, ours: &Key, peer: &str, bar: f64, what: &str) -> Option<Row> {
    let (value, a, b, samples) = ratio(summary, ours, peer)?;
    Some(Row {
        name: format!("{} against {peer}, {what}, {}", ours.contestant, clock(ours.work)),
        value,
        unit: "times faster",
        bar: Some((format!("≥ {bar}"), value >= bar)),
        detail: format!("{} / {}", milliseconds(a.median), milliseconds(b.median)),
        samples,
    })
}

/// How much longer rr user takes than a bare program that remaps the same pages and looks at as much: no bar can ask for less than 1.
fn against_limit(summary: &Summary, limit: &Limit) -> Option<Row> {
    let ours = key("fig7", "node", limit.size, 1, USER, limit.work);
    let values = summary.values(&ours, quantity::latency);
    let median = Estimate::of(&values)?.median;
    Some(Row {
        name: format!("{USER} against a bare remap, {} MB, {}", limit.size / 1_000_000, clock(limit.work)),
        value: median / limit.seconds,
        unit: "ratio",
        bar: None,
        detail: format!("{} / {}", milliseconds(median), milliseconds(limit.seconds)),
        samples: values.iter().map(|value| value / limit.seconds).collect(),
    })
}

/// The least of the ratios against runc + HTTP raw, over all sizes and placements of some figures, on both clocks.
fn at_every_size(summary: &Summary, ours: &str, figures: &[&str]) -> Option<Row> {
    let cells: Vec<&Key> = summary
        .keys()
        .filter(|key| {
            key.contestant == ours && figures.contains(&key.figure.as_str()) && key.work != Work::Check
        })
        .collect();
    let ratios: Vec<(f64, &Key)> =
        cells.into_iter().filter_map(|key| Some((ratio(summary, key, RUNC)?.0, key))).collect();
    let (value, worst) = ratios.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let sizes: BTreeSet<u64> = ratios.iter().map(|(_, key)| key.size).collect();
    Some(Row {
        name: format!("{ours} against {RUNC}, the least over all sizes, both clocks"),
        value: *value,
        unit: "times faster",
        bar: Some(("≥ 1".to_owned(), *value >= 1.0)),
        detail: format!(
            "{} sizes; worst: {}, {} bytes, {}",
            sizes.len(),
            worst.placement,
            worst.size,
            clock(worst.work)
        ),
        samples: ratios.iter().map(|(ratio, _)| *ratio).collect(),
    })
}

/// CPU time of both sides over the network, the largest of the ratios over all placements at 100 MB or the largest size below.
fn processors(summary: &Summary) -> Option<Row> {
    let largest = summary
        .keys()
        .filter(|key| key.contestant == NETWORK && key.size <= LARGE)
        .map(|key| key.size)
        .max()?;
    let ratios = summary
        .keys()
        .filter(|key| key.contestant == NETWORK && key.size == largest && key.work == Work::Touch);
    let ratios: Vec<(f64, f64, f64)> = ratios
        .filter_map(|ours| {
            let theirs = Key { contestant: RUNC.to_owned(), ..ours.clone() };
            let of = |key: &Key| summary.estimate(key, quantity::cpu);
            let (a, b) = (of(ours)?.median, of(&theirs)?.median);
            Some((a / b, a, b))
        })
        .collect();
    let (value, a, b) = *ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Row {
        name: format!("{NETWORK} against {RUNC}, CPU time of both sides, {largest} bytes"),
        value,
        unit: "ratio",
        bar: Some(("≤ 0.8".to_owned(), value <= 0.8)),
        detail: format!("{} / {}", milliseconds(a), milliseconds(b)),
        samples: ratios.iter().map(|ratio| ratio.0).collect(),
    })
}

fn peak(summary: &Summary, ours: &str) -> Option<Row> {
    let values = summary.values(&key("fig7", "node", LARGE, 1, ours, Work::Touch), quantity::peak);
    let median = Estimate::of(&values)?.median;
    let value = median / LARGE as f64;
    Some(Row {
        name: format!("{ours}, peak memory of both sides at 100 MB, against the payload"),
        value,
        unit: "ratio",
        bar: Some(("≤ 1.1".to_owned(), value <= 1.1)),
        detail: format!("{:.1} MB", median / 1e6),
        samples: values.iter().map(|value| value / LARGE as f64).collect(),
    })
}

impl Row {
    /// Whether it holds its bar, if it has one.
    pub(crate) fn holds(&self) -> Option<bool> {
        self.bar.as_ref().map(|(_, holds)| *holds)
    }

    /// In the shape of `bench-output/results.json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": self.bar.as_ref().map(|(bar, _)| bar),
            "holds": self.holds(),
            "samples": self.samples,
        })
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::tests::sample;

    #[test]
    fn a_ratio_is_held_to_its_bar() {
        let samples =
            [sample(USER, LARGE, Work::Read, 1_000_000), sample(RUNC, LARGE, Work::Read, 4_000_000)];
        let rows = rows(&Summary::of(&samples), &[]);
        let row = rows.iter().find(|row| row.name.contains("every byte read")).unwrap();
        assert!((row.value - 4.0).abs() < 1e-9 && row.holds() == Some(false), "{}", row.value);
        assert_eq!(row.json()["holds"], false);
    }

    #[test]
    fn a_peer_that_is_touched_counts_when_its_bytes_can_be_read() {
        let samples = [sample(USER, LARGE, Work::Touch, 1_000), sample(RUNC, LARGE, Work::Touch, 400_000)];
        let rows = rows(&Summary::of(&samples), &[]);
        // `sample` can be read after half of its time.
        assert!((rows[0].value - 200.0).abs() < 1e-9 && rows[0].holds() == Some(true), "{}", rows[0].value);
    }

    #[test]
    fn a_limit_is_compared_with_what_does_the_same_work() {
        let samples = [sample(USER, LARGE, Work::Read, 3_000_000), sample(USER, LARGE, Work::Touch, 100_000)];
        let limit = Limit { size: LARGE, work: Work::Read, seconds: 0.002 };
        let rows = rows(&Summary::of(&samples), &[limit]);
        let [row] = rows.as_slice() else { panic!("{} rows", rows.len()) };
        assert!((row.value - 1.5).abs() < 1e-9 && row.bar.is_none(), "{}", row.value);
    }

    #[test]
    fn what_was_not_measured_has_no_row() {
        assert!(rows(&Summary::of(&[]), &[]).is_empty());
    }
}
