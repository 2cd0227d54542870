//! Workflows of pictures: a table, and for each a bar of what is work and what is handing over.

use std::collections::BTreeMap;

use super::bars::Row;
use super::further::Table;
use super::parts::{Bar, Parts};
use crate::pictures::{Pictures as Shown, Showing, Workflow};
use crate::statistics::Estimate;

/// Whom ours are compared with: what the paper compares with, and without its serialization, and native.
const OTHERS: [&str; 4] =
    ["WasmEdge + HTTP, JSON", "WasmEdge + HTTP, raw", "runc + HTTP, JSON", "runc + HTTP, raw"];

/// What was measured, by workflow, pictures and contestant.
pub(super) struct Pictures(BTreeMap<(Shown, Workflow), BTreeMap<String, Vec<Showing>>>);

/// A time of one picture, in nanoseconds.
type Time = fn(&Showing) -> u64;

impl Pictures {
    pub(super) fn of(rows: Vec<Showing>) -> Self {
        let mut cells: BTreeMap<_, BTreeMap<String, Vec<Showing>>> = BTreeMap::new();
        for row in rows {
            let cell = cells.entry((row.pictures, row.workflow)).or_default();
            cell.entry(row.contestant.clone()).or_default().push(row);
        }
        Self(cells)
    }

    /// How much sooner ours have handed pictures over than others.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for ((pictures, workflow), cell) in &self.0 {
            let times = |name: &str| cell.get(name).and_then(|rows| estimate(rows, |row| row.handed_ns));
            for (name, samples) in cell.iter().filter(|(name, _)| name.starts_with("rr ")) {
                let others = OTHERS.iter().filter_map(|other| Some((*other, times(other)?.median)));
                let mut others = others.peekable();
                let (Some(ours), Some((first, theirs))) = (times(name), others.peek().copied()) else {
                    continue;
                };
                let ratio = |(other, theirs): (&str, f64)| format!("{other} {:.1}", theirs / ours.median);
                rows.push(Row {
                    name: format!(
                        "{name}, {} of {}, handing over, against {first}",
                        workflow.name(),
                        pictures.name()
                    ),
                    value: theirs / ours.median,
                    unit: "times faster",
                    bar: None,
                    detail: format!(
                        "{:.2} ms; {}",
                        ours.median,
                        others.map(ratio).collect::<Vec<_>>().join("; ")
                    ),
                    samples: samples.iter().map(|row| row.handed_ns as f64 / 1e6).collect(),
                });
            }
        }
        rows
    }

    pub(super) fn table(&self) -> Table {
        let row = |pictures: Shown, workflow: Workflow, name: &str, rows: &[Showing]| {
            let number = |of: Time| {
                estimate(rows, of).map_or("–".to_owned(), |it| {
                    format!("{:.2} ({:.2} – {:.2})", it.median, it.low, it.high)
                })
            };
            let cpu: Vec<f64> = rows.iter().filter_map(|row| Some(row.cpu_ns? as f64 / 1e6)).collect();
            let cpu = Estimate::of(&cpu).map_or("–".to_owned(), |it| format!("{:.2}", it.median));
            vec![
                format!("{} of {}", workflow.name(), pictures.name()),
                name.to_owned(),
                number(|row| row.whole_ns),
                number(|row| row.handed_ns),
                cpu,
                rows.len().to_string(),
            ]
        };
        let rows = self.0.iter().flat_map(|((pictures, workflow), cell)| {
            cell.iter().map(|(name, rows)| row(*pictures, *workflow, name, rows))
        });
        Table {
            title: "Workflows of pictures",
            meaning: "From before a picture is decoded until the last function is done with it, and how much of that was spent between functions, in milliseconds; and the CPU time of all. The chain stretches the contrast, finds edges, makes the picture smaller and hashes it; the fan-out makes it smaller, classifies it and hashes four bands; the fan-in finds edges in four bands, which are put together. All make the same of each picture, bit by bit, or are thrown out.",
            head: vec!["workflow", "contestant", "whole", "handing over", "CPU", "pictures"],
            rows: rows.collect(),
        }
    }

    pub(super) fn parts(&self) -> Vec<Parts> {
        let parts = |((pictures, workflow), cell): (&(Shown, Workflow), &BTreeMap<String, Vec<Showing>>)| {
            let bar = |(name, rows): (&String, &Vec<Showing>)| -> Option<Bar> {
                let whole = estimate(rows, |row| row.whole_ns)?.median / 1e3;
                let handed = estimate(rows, |row| row.handed_ns)?.median / 1e3;
                Some((name.clone(), vec![whole - handed, handed]))
            };
            let bars: Vec<Bar> = cell.iter().filter_map(bar).collect();
            Parts {
                name: format!("pictures-{}-{}", pictures.name(), workflow.name()).replace([' ', '\''], "-"),
                title: format!("Workflows of pictures: {} of {}", workflow.name(), pictures.name()),
                meaning: meaning(&bars),
                parts: vec!["work", "handing over"],
                bars,
            }
        };
        self.0.iter().map(parts).collect()
    }
}

/// In milliseconds.
fn estimate(rows: &[Showing], of: Time) -> Option<Estimate> {
    Estimate::of(&rows.iter().map(|row| of(row) as f64 / 1e6).collect::<Vec<_>>())
}

/// Who is done first, and who loses the least on the way.
fn meaning(bars: &[Bar]) -> String {
    let least = |of: fn(&[f64]) -> f64| bars.iter().min_by(|a, b| of(&a.1).total_cmp(&of(&b.1)));
    match (least(|parts| parts.iter().sum()), least(|parts| parts[1])) {
        (Some((first, whole)), Some((name, parts))) => format!(
            "{first} is done first, after {:.2} ms; {name} hands over in the least time, {:.2} ms of all.",
            whole.iter().sum::<f64>() * 1e3,
            parts[1] * 1e3
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn showing(contestant: &str, whole_ns: u64, handed_ns: u64) -> Showing {
        Showing {
            workflow: Workflow::Chain,
            pictures: Shown::Film,
            contestant: contestant.into(),
            repetition: 0,
            seed: 1,
            whole_ns,
            handed_ns,
            cpu_ns: None,
        }
    }

    #[test]
    fn ours_stand_beside_others_and_work_beside_handing_over() {
        let pictures = Pictures::of(vec![
            showing("rr user", 9_000_000, 1_000_000),
            showing("WasmEdge + HTTP, JSON", 30_000_000, 20_000_000),
            showing("runc + HTTP, raw", 8_000_000, 4_000_000),
        ]);
        let rows = pictures.rows();
        let [row] = rows.as_slice() else { panic!("{} rows", rows.len()) };
        assert_eq!(
            row.name,
            "rr user, chain of a film's frames, handing over, against WasmEdge + HTTP, JSON"
        );
        assert_eq!(
            (row.value, row.detail.as_str()),
            (20.0, "1.00 ms; WasmEdge + HTTP, JSON 20.0; runc + HTTP, raw 4.0")
        );
        let table = pictures.table();
        assert_eq!(table.rows.len(), 3);
        let parts = pictures.parts();
        assert_eq!(
            parts[0].meaning,
            "runc + HTTP, raw is done first, after 8.00 ms; rr user hands over in the least time, 1.00 ms of all."
        );
        assert_eq!(parts[0].name, "pictures-a-film-s-frames-chain");
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        let pictures = Pictures::of(Vec::new());
        assert!(
            pictures.rows().is_empty() && pictures.table().rows.is_empty() && pictures.parts().is_empty()
        );
    }
}
