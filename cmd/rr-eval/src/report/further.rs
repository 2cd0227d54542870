//! What is measured beyond the paper's figures: workflows of pictures, cold starts, idle functions and warm calls, as rows of the bars, as tables and
//! charts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use maud::{Markup, html};

use super::bars::Row;
use super::parts::Parts;
use super::pictures::Pictures;
use super::plot::Chart;
use super::warm::Warm;
use crate::cold::{self, OURS, Series, Start, Workload};
use crate::contestant::{ENGINE_PEERS, PEERS};
use crate::idle::{self, Look};
use crate::statistics::{Estimate, percentile};
use crate::{pictures, warm};

/// So many starts a second, one after the other, on two cores.
const STARTS_A_SECOND: f64 = 50.0;

/// So much memory for each idle function, in MB.
const IDLE_MEGABYTES: f64 = 3.0;

/// The samples.
pub(super) struct Further {
    starts: Vec<Start>,
    looks: Vec<Look>,
    warm: Warm,
    pictures: Pictures,
}

/// What starts have in common that belong together: workload, series, how many at once, contestant.
type Group<'a> = (Workload, Series, usize, &'a str);

/// A table of the page.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) meaning: &'static str,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Further {
    /// Those of an output folder; what was not measured has none.
    pub(super) fn read(out: &Path) -> Result<Self> {
        Ok(Self {
            starts: cold::read(out)?,
            looks: idle::read(out)?,
            warm: Warm::of(warm::read(out)?),
            pictures: Pictures::of(pictures::read(out)?),
        })
    }

    /// How late warm calls are.
    pub(super) fn charts(&self) -> Vec<Chart> {
        self.warm.charts()
    }

    /// What workflows of pictures are made of.
    pub(super) fn parts(&self) -> Vec<Parts> {
        self.pictures.parts()
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let starts = self.in_a_row().into_iter().chain(self.first_bytes());
        let calls = self.pictures.rows().into_iter().chain(self.warm.rows());
        calls.chain(starts).chain(self.memory()).collect()
    }

    pub(super) fn tables(&self) -> Vec<Table> {
        [self.pictures.table(), self.warm.table(), self.starts_table(), self.idle_table()]
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect()
    }

    fn in_a_row(&self) -> Option<Row> {
        let groups = self.groups();
        let ours = groups.get(&(Workload::Hello, Series::InARow, 1, OURS))?;
        let value = rate(ours)?;
        let failed = failures(ours);
        let peers =
            groups.iter().filter(|((_, series, _, name), _)| *series == Series::InARow && *name != OURS);
        let peers = peers.filter_map(|((.., name), starts)| Some(format!("; {name} {:.1}", rate(starts)?)));
        Some(Row {
            name: format!("{OURS}, {} starts of hello in a row", ours.len()),
            value,
            unit: "a second",
            bar: Some((format!("≥ {STARTS_A_SECOND}, none failed"), value >= STARTS_A_SECOND && failed == 0)),
            detail: format!("{failed} failed{}", peers.collect::<String>()),
            samples: ours.iter().map(|start| 1e9 / start.ended_ns.max(1) as f64).collect(),
        })
    }

    /// How long it takes until a function answers, beside others' times.
    fn first_bytes(&self) -> Vec<Row> {
        let groups = self.groups();
        let ours =
            groups.iter().filter(|((_, series, _, name), _)| *series == Series::AtOnce && *name == OURS);
        let row = |(&(workload, series, at_once, name), starts): (&Group<'_>, &Vec<&Start>)| {
            let samples = first_bytes(starts);
            let peers = PEERS.iter().chain(&ENGINE_PEERS).filter_map(|peer| {
                let theirs = groups.get(&(workload, series, at_once, *peer))?;
                Some(format!("{peer} {:.2} ms", Estimate::of(&first_bytes(theirs))?.median))
            });
            Some(Row {
                name: format!("{name}, first byte of {}, {at_once} at once", workload.name()),
                value: Estimate::of(&samples)?.median,
                unit: "ms",
                bar: None,
                detail: peers.collect::<Vec<_>>().join("; "),
                samples,
            })
        };
        ours.filter_map(row).collect()
    }

    fn memory(&self) -> Option<Row> {
        let (idle, called) = (self.shares(false), self.shares(true));
        let value = mean(&idle)?;
        let most = percentile(&idle, 1.0)?;
        let later =
            mean(&called).map_or_else(String::new, |mean| format!("; {mean:.2} MB after random calls"));
        Some(Row {
            name: format!("{OURS}, mean PSS of {} idle serving functions", idle.len()),
            value,
            unit: "MB",
            bar: Some((format!("≤ {IDLE_MEGABYTES}"), value <= IDLE_MEGABYTES)),
            detail: format!("most {most:.2} MB{later}"),
            samples: idle,
        })
    }

    fn groups(&self) -> BTreeMap<Group<'_>, Vec<&Start>> {
        let mut groups: BTreeMap<_, Vec<&Start>> = BTreeMap::new();
        for start in &self.starts {
            let key = (start.workload, start.series, start.at_once, start.contestant.as_str());
            groups.entry(key).or_default().push(start);
        }
        groups
    }

    /// Shares of memory in MB.
    fn shares(&self, called: bool) -> Vec<f64> {
        let looks = self.looks.iter().filter(|look| look.called == called);
        looks.filter_map(|look| Some(look.pss_bytes? as f64 / 1e6)).collect()
    }

    fn starts_table(&self) -> Table {
        let row = |((workload, series, at_once, name), starts): (Group<'_>, Vec<&Start>)| {
            let first = first_bytes(&starts);
            let estimate = Estimate::of(&first);
            let number = |of: fn(&Estimate) -> f64| shown(estimate.as_ref().map(of));
            let in_a_row = series == Series::InARow;
            vec![
                workload.name().to_owned(),
                if in_a_row { "in a row".to_owned() } else { format!("{at_once} at once") },
                name.to_owned(),
                number(|estimate| estimate.median),
                number(|estimate| estimate.low) + " – " + &number(|estimate| estimate.high),
                shown(percentile(&first, 0.99)),
                if in_a_row { shown(rate(&starts)) } else { "–".to_owned() },
                starts.len().to_string(),
                failures(&starts).to_string(),
            ]
        };
        Table {
            title: "Cold starts",
            meaning: "From run to the first byte of the answer, in milliseconds: functions whose code is in the cache, and native programs of the same source under other runtimes. The interpreter is CPython: a module of 26 MB, and the host's own.",
            head: vec![
                "function",
                "starts",
                "contestant",
                "median",
                "95 %",
                "p99",
                "a second",
                "samples",
                "failed",
            ],
            rows: self.groups().into_iter().map(row).collect(),
        }
    }

    fn idle_table(&self) -> Table {
        let mut calls: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for look in &self.looks {
            calls.entry(look.running).or_default().extend(look.invoke_ns.map(|ns| ns as f64 / 1e6));
        }
        let row = |(running, times): (usize, Vec<f64>)| {
            vec![
                running.to_string(),
                shown(percentile(&times, 0.5)),
                shown(percentile(&times, 0.99)),
                times.len().to_string(),
            ]
        };
        Table {
            title: "Idle functions",
            meaning: "How long rr-runtime invoke takes, in milliseconds from its start to its end, into one of so many functions that serve, chosen at random.",
            head: vec!["running", "median", "p99", "calls"],
            rows: calls.into_iter().map(row).collect(),
        }
    }
}

/// Until the first byte, of those that did not fail, in milliseconds.
fn first_bytes(starts: &[&Start]) -> Vec<f64> {
    let good = starts.iter().filter(|start| !start.failed());
    good.filter_map(|start| Some(start.first_ns? as f64 / 1e6)).collect()
}

/// Starts a second, from the first one's begin to the last one's end.
fn rate(starts: &[&Start]) -> Option<f64> {
    let begun = starts.iter().map(|start| start.begun_ns).min()?;
    let ended = starts.iter().map(|start| start.begun_ns + start.ended_ns).max()?;
    Some((starts.len() - failures(starts)) as f64 * 1e9 / ended.saturating_sub(begun).max(1) as f64)
}

fn failures(starts: &[&Start]) -> usize {
    starts.iter().filter(|start| start.failed()).count()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

impl Table {
    pub(super) fn html(&self) -> Markup {
        html! {
            h2 { (self.title) }
            p { (self.meaning) }
            div.wide { table {
                tr { @for name in &self.head { th { (name) } } }
                @for row in &self.rows { tr { @for cell in row { td { (cell) } } } }
            } }
        }
    }

    pub(super) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let head: Vec<String> = self.head.iter().map(|&name| name.to_owned()).collect();
        let mut text = format!("{}\n\n{}", self.meaning, line(&head));
        let _ = writeln!(text, "|{}", " --- |".repeat(head.len()));
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn start(contestant: &str, repetition: usize, failure: &str) -> Start {
        Start {
            workload: Workload::Hello,
            contestant: contestant.into(),
            series: Series::InARow,
            at_once: 1,
            repetition,
            begun_ns: repetition as u64 * 10_000_000,
            first_ns: Some(5_000_000),
            ended_ns: 10_000_000,
            failure: failure.into(),
        }
    }

    fn nothing() -> Further {
        let (warm, pictures) = (Warm::of(Vec::new()), Pictures::of(Vec::new()));
        Further { starts: Vec::new(), looks: Vec::new(), warm, pictures }
    }

    fn look(running: usize, called: bool, pss_bytes: Option<u64>, invoke_ns: Option<u64>) -> Look {
        Look { running, function: 0, called, pss_bytes, invoke_ns }
    }

    #[test]
    fn starts_in_a_row_have_a_rate_and_none_may_fail() {
        let mut starts: Vec<Start> = (0..100).map(|repetition| start(OURS, repetition, "")).collect();
        let row = |starts: &[Start]| Further { starts: starts.to_vec(), ..nothing() }.rows().remove(0);
        assert!((row(&starts).value - 100.0).abs() < 1e-6 && row(&starts).holds() == Some(true));
        starts[3].failure = "no".into();
        let failed = row(&starts);
        assert!(
            (failed.value - 99.0).abs() < 1e-6
                && failed.holds() == Some(false)
                && failed.detail == "1 failed"
        );
    }

    #[test]
    fn first_bytes_stand_beside_those_of_peers() {
        let at_once = |name: &str, first_ns: u64, failure: &str| {
            let series = Series::AtOnce;
            let workload = Workload::Picture;
            Start { workload, series, first_ns: Some(first_ns), ..start(name, 0, failure) }
        };
        let starts = vec![
            at_once(OURS, 5_000_000, ""),
            at_once(OURS, 900_000_000, "no"),
            at_once("runc", 20_000_000, ""),
        ];
        let further = Further { starts, ..nothing() };
        let row = further.rows().remove(0);
        assert!((row.value - 5.0).abs() < 1e-9 && row.holds().is_none(), "{}", row.value);
        assert_eq!(
            (row.name.as_str(), row.detail.as_str()),
            ("rr, first byte of picture, 1 at once", "runc 20.00 ms")
        );
    }

    #[test]
    fn memory_of_idle_functions_is_held_to_its_bar() {
        let looks = [
            look(2, false, Some(2_000_000), None),
            look(2, false, Some(5_000_000), None),
            look(2, true, Some(4_000_000), None),
            look(2, true, None, Some(3_000_000)),
            look(1, true, None, Some(2_000_000)),
        ];
        let further = Further { looks: looks.to_vec(), ..nothing() };
        let row = further.rows().remove(0);
        assert!((row.value - 3.5).abs() < 1e-9 && row.holds() == Some(false), "{}", row.value);
        assert_eq!(row.detail, "most 5.00 MB; 4.00 MB after random calls");
        let table = further.tables().remove(0);
        assert_eq!(table.rows, [["1", "2.00", "2.00", "1"], ["2", "3.00", "3.00", "1"]]);
        assert!(table.markdown().contains("| 2 | 3.00 | 3.00 | 1 |"));
    }

    #[test]
    fn what_was_not_measured_has_neither_row_nor_table() {
        let further = Further::read(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(further.rows().is_empty() && further.tables().is_empty());
    }
}
