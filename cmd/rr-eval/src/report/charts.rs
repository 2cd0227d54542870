//! Which charts there are, and what is on them.

use std::collections::BTreeSet;
use std::path::Path;

use super::plot::{Chart, Line, short};
use super::summary::{Summary, quantity};
use crate::contestant::{self, Contestant};
use crate::limits;
use crate::paper::{self, Curve, Quantity};
use crate::plan::{self, Figure};
use crate::protocol::Work;
use crate::store::{Key, Sample};

/// A quantity of the paper's figures, and how it is drawn.
struct Subject {
    letter: &'static str,
    title: &'static str,
    unit: &'static str,
    work: Work,
    of: fn(&Sample) -> Option<f64>,
    paper: Option<Quantity>,
    less_is_better: bool,
}

/// As the paper letters them; its latency is drawn by both clocks.
const SUBJECTS: [Subject; 9] = [
    Subject {
        letter: "a",
        title: "Latency until every page was touched",
        unit: "s",
        work: Work::Touch,
        of: quantity::latency,
        paper: Some(Quantity::Latency),
        less_is_better: true,
    },
    Subject {
        letter: "a-read",
        title: "Latency until every byte was read",
        unit: "s",
        work: Work::Read,
        of: quantity::latency,
        paper: Some(Quantity::Latency),
        less_is_better: true,
    },
    Subject {
        letter: "b",
        title: "Throughput, touched",
        unit: "1/s",
        work: Work::Touch,
        of: quantity::throughput,
        paper: Some(Quantity::Throughput),
        less_is_better: false,
    },
    Subject {
        letter: "c",
        title: "Serialization on both sides",
        unit: "s",
        work: Work::Touch,
        of: quantity::serialization,
        paper: Some(Quantity::Serialization),
        less_is_better: true,
    },
    Subject {
        letter: "e",
        title: "CPU time of both sides",
        unit: "s",
        work: Work::Touch,
        of: quantity::cpu,
        paper: None,
        less_is_better: true,
    },
    Subject {
        letter: "f",
        title: "CPU time in user space",
        unit: "s",
        work: Work::Touch,
        of: quantity::cpu_user,
        paper: None,
        less_is_better: true,
    },
    Subject {
        letter: "g",
        title: "CPU time in the kernel",
        unit: "s",
        work: Work::Touch,
        of: quantity::cpu_system,
        paper: None,
        less_is_better: true,
    },
    Subject {
        letter: "h",
        title: "Peak memory of both sides",
        unit: "bytes",
        work: Work::Touch,
        of: quantity::peak,
        paper: Some(Quantity::Memory),
        less_is_better: true,
    },
    Subject {
        letter: "round-trip",
        title: "Until the sender knew, touched",
        unit: "s",
        work: Work::Touch,
        of: quantity::round_trip,
        paper: None,
        less_is_better: true,
    },
];

/// The contestants on a chart.
struct Names {
    /// Those that the paper compares, and those of others.
    main: Vec<String>,
    /// Other roads, and transfers that are forced, beside ours.
    other: Vec<String>,
}

impl Names {
    fn of(summary: &Summary) -> Self {
        let all = contestant::all();
        let names = |wanted: fn(&Contestant) -> bool| -> Vec<String> {
            all.iter()
                .filter(|contestant| wanted(contestant))
                .map(|contestant| contestant.name.clone())
                .collect()
        };
        let mut main = names(|contestant| contestant.main);
        let other = names(|contestant| {
            !contestant.main || ["rr user", "rr kernel"].contains(&contestant.name.as_str())
        });
        let known: BTreeSet<&String> = main.iter().chain(&other).collect();
        let strangers: BTreeSet<String> =
            summary.keys().map(|key| &key.contestant).filter(|name| !known.contains(name)).cloned().collect();
        main.extend(strangers);
        Self { main, other }
    }
}

/// All charts for which there are samples. The machine's limits are in the folder `out`.
pub(super) fn charts(summary: &Summary, out: &Path) -> Vec<Chart> {
    let names = Names::of(summary);
    let mut charts = Vec::new();
    for figure in [Figure::Fig7, Figure::Fig8, Figure::Fig9, Figure::Fig10] {
        let placements: BTreeSet<&String> =
            summary.keys().filter(|key| key.figure == figure.name()).map(|key| &key.placement).collect();
        for placement in placements {
            let scene = Scene { summary, figure, placement, out };
            charts.extend(SUBJECTS.iter().filter_map(|subject| scene.chart(subject, &names.main)));
            if figure == Figure::Fig7 {
                let roads = SUBJECTS[..2].iter().filter_map(|subject| scene.chart(subject, &names.other));
                charts.extend(roads.map(|chart| Chart {
                    name: chart.name.replace("fig7", "roads"),
                    title: format!("{}: other roads", chart.title),
                    grey: Vec::new(),
                    ..chart
                }));
            }
        }
    }
    charts
}

/// A figure in one placement.
struct Scene<'a> {
    summary: &'a Summary,
    figure: Figure,
    placement: &'a str,
    out: &'a Path,
}

impl Scene<'_> {
    fn by_receivers(&self) -> bool {
        matches!(self.figure, Figure::Fig9 | Figure::Fig10)
    }

    fn x(&self, key: &Key) -> f64 {
        if self.by_receivers() { key.fan_out as f64 } else { key.size as f64 }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.summary.keys().filter(|key| key.figure == self.figure.name() && key.placement == self.placement)
    }

    fn chart(&self, subject: &Subject, contestants: &[String]) -> Option<Chart> {
        let line = |name: &String| {
            let keys = self.keys().filter(|key| key.work == subject.work && key.contestant == *name);
            let points = keys.filter_map(|key| Some((self.x(key), self.summary.estimate(key, subject.of)?)));
            // A logarithmic axis has no place for what is nothing.
            let points: Vec<_> = points.filter(|(_, estimate)| estimate.median > 0.0).collect();
            (!points.is_empty()).then(|| Line { name: name.clone(), points })
        };
        let lines: Vec<Line> = contestants.iter().filter_map(line).collect();
        let rate =
            self.placement.strip_prefix("nodes ").map(|rate| format!(" at {rate}")).unwrap_or_default();
        let paper = subject.paper.map(|quantity| paper::curves(self.figure, quantity));
        (!lines.is_empty()).then(|| Chart {
            name: format!("{}-{}-{}", self.figure.name(), self.placement, subject.letter)
                .replace([' ', '/'], "-"),
            title: format!("{}{rate}: {}", title(self.figure), subject.title.to_lowercase()),
            x: if self.by_receivers() { "receivers" } else { "payload in bytes" },
            y: subject.unit,
            meaning: if subject.less_is_better { meaning(&lines, subject.unit) } else { String::new() },
            lines,
            grey: paper.unwrap_or_default(),
            limits: if subject.paper == Some(Quantity::Latency) { self.limits() } else { Vec::new() },
        })
    }

    fn limits(&self) -> Vec<Curve> {
        if let Some(rate) = plan::rate(self.placement) {
            let points: BTreeSet<(u64, u64)> = self
                .keys()
                .map(|key| {
                    let x = if self.by_receivers() { key.fan_out as u64 } else { key.size };
                    (x, key.size * key.fan_out as u64)
                })
                .collect();
            return vec![limits::wire(rate, points.into_iter().map(|(x, bytes)| (x as f64, bytes as f64)))];
        }
        if self.by_receivers() { Vec::new() } else { limits::curves(self.out) }
    }
}

/// One sentence: how ours compare with the best of the others where they are furthest, and where they lose beyond the noise.
fn meaning(lines: &[Line], unit: &str) -> String {
    let (ours, others): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|line| line.name.starts_with("rr "));
    let best = |x: f64| {
        let there = others.iter().filter_map(|line| Some((&line.name, line.at(x)?)));
        there.min_by(|a, b| a.1.median.total_cmp(&b.1.median))
    };
    let sentence = |line: &&Line| {
        let (x, ours) = *line.points.last()?;
        let (name, theirs) = best(x)?;
        let ratio = theirs.median / ours.median;
        let (ratio, word) = if ratio >= 1.0 { (ratio, "less") } else { (1.0 / ratio, "more") };
        let lost = line.points.iter().filter(|(x, ours)| {
            best(*x).is_some_and(|(_, theirs)| ours.differs_from(&theirs) && ours.median > theirs.median)
        });
        let lost: Vec<String> = lost.map(|(x, _)| short(*x)).collect();
        let lost =
            if lost.is_empty() { String::new() } else { format!(", and loses at {}", lost.join(", ")) };
        Some(format!(
            "{} needs {}{unit} at {}, {ratio:.1} times {word} than the best of the others, {name}{lost}",
            line.name,
            short(ours.median),
            short(x),
        ))
    };
    let all: Vec<String> = ours.iter().filter_map(sentence).collect();
    if all.is_empty() { String::new() } else { all.join("; ") + "." }
}

fn title(figure: Figure) -> &'static str {
    match figure {
        Figure::Fig2 => "Figure 2, one node",
        Figure::Fig6 => "Figure 6, two nodes",
        Figure::Fig7 => "Figure 7, one node",
        Figure::Fig8 => "Figure 8, two nodes",
        Figure::Fig9 => "Figure 9, fan-out on one node",
        Figure::Fig10 => "Figure 10, fan-out to another node",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Estimate;

    fn line(name: &str, medians: &[(f64, f64)]) -> Line {
        let estimate = |median: f64| Estimate { median, low: median * 0.99, high: median * 1.01, count: 10 };
        Line { name: name.into(), points: medians.iter().map(|&(x, median)| (x, estimate(median))).collect() }
    }

    #[test]
    fn a_sentence_tells_by_how_much_and_where_ours_loses() {
        let lines = [
            line("rr user", &[(1.0, 3e-5), (1e6, 1e-4)]),
            line("pipe", &[(1.0, 2e-5), (1e6, 4e-4)]),
            line("gRPC", &[(1.0, 9e-5), (1e6, 9e-4)]),
        ];
        let told = meaning(&lines, "s");
        assert_eq!(
            told,
            "rr user needs 100µs at 1M, 4.0 times less than the best of the others, pipe, and loses at 1."
        );
    }
}
