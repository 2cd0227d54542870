//! Which charts there are, and what is on them.

use std::collections::BTreeSet;
use std::path::Path;

use super::plot::{Chart, Line};
use super::summary::{Summary, quantity};
use crate::contestant::{self, Contestant};
use crate::paper::{self, Quantity};
use crate::plan::Figure;
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
    },
    Subject {
        letter: "a-read",
        title: "Latency until every byte was read",
        unit: "s",
        work: Work::Read,
        of: quantity::latency,
        paper: Some(Quantity::Latency),
    },
    Subject {
        letter: "b",
        title: "Throughput, touched",
        unit: "1/s",
        work: Work::Touch,
        of: quantity::throughput,
        paper: Some(Quantity::Throughput),
    },
    Subject {
        letter: "c",
        title: "Serialization on both sides",
        unit: "s",
        work: Work::Touch,
        of: quantity::serialization,
        paper: Some(Quantity::Serialization),
    },
    Subject {
        letter: "e",
        title: "CPU time of both sides",
        unit: "s",
        work: Work::Touch,
        of: quantity::cpu,
        paper: None,
    },
    Subject {
        letter: "f",
        title: "CPU time in user space",
        unit: "s",
        work: Work::Touch,
        of: quantity::cpu_user,
        paper: None,
    },
    Subject {
        letter: "g",
        title: "CPU time in the kernel",
        unit: "s",
        work: Work::Touch,
        of: quantity::cpu_system,
        paper: None,
    },
    Subject {
        letter: "h",
        title: "Peak memory of both sides",
        unit: "bytes",
        work: Work::Touch,
        of: quantity::peak,
        paper: Some(Quantity::Memory),
    },
    Subject {
        letter: "round-trip",
        title: "Until the sender knew, touched",
        unit: "s",
        work: Work::Touch,
        of: quantity::round_trip,
        paper: None,
    },
];

/// All charts for which there are samples.
pub(super) fn charts(summary: &Summary, paper: &Path) -> Vec<Chart> {
    let all = contestant::all();
    let names = |wanted: fn(&Contestant) -> bool| -> Vec<String> {
        all.iter().filter(|contestant| wanted(contestant)).map(|contestant| contestant.name.clone()).collect()
    };
    let mut main = names(|contestant| contestant.main);
    let other =
        names(|contestant| !contestant.main || ["rr user", "rr kernel"].contains(&contestant.name.as_str()));
    // Contestants of others.
    let known: BTreeSet<&String> = main.iter().chain(&other).collect();
    let strangers: BTreeSet<String> =
        summary.keys().map(|key| &key.contestant).filter(|name| !known.contains(name)).cloned().collect();
    main.extend(strangers);
    let mut charts = Vec::new();
    for figure in [Figure::Fig7, Figure::Fig8, Figure::Fig9, Figure::Fig10] {
        for subject in &SUBJECTS {
            charts.extend(chart(summary, figure, subject, &main, Some(paper)));
        }
    }
    for subject in &SUBJECTS[..2] {
        let chart = chart(summary, Figure::Fig7, subject, &other, None);
        charts.extend(chart.map(|chart| Chart {
            name: chart.name.replace("fig7", "roads"),
            title: format!("{}: other roads, and forced transfers", chart.title),
            ..chart
        }));
    }
    charts
}

fn chart(
    summary: &Summary,
    figure: Figure,
    subject: &Subject,
    contestants: &[String],
    paper: Option<&Path>,
) -> Option<Chart> {
    let by_receivers = matches!(figure, Figure::Fig9 | Figure::Fig10);
    let x = |key: &Key| if by_receivers { key.fan_out as f64 } else { key.size as f64 };
    let ours = |name: &String| {
        let keys = summary
            .keys()
            .filter(|key| key.figure == figure.name() && key.work == subject.work && key.contestant == *name);
        // A logarithmic axis has no place for what is nothing.
        let points = keys.filter_map(|key| Some((x(key), summary.estimate(key, subject.of)?)));
        let points: Vec<_> = points.filter(|(_, estimate)| estimate.median > 0.0).collect();
        (!points.is_empty()).then(|| Line { name: name.clone(), points })
    };
    let lines: Vec<Line> = contestants.iter().filter_map(ours).collect();
    if lines.is_empty() {
        return None;
    }
    let quantity = paper.zip(subject.paper);
    Some(Chart {
        name: format!("{}-{}", figure.name(), subject.letter),
        title: format!("{}: {}", title(figure), subject.title.to_lowercase()),
        x: if by_receivers { "receivers" } else { "payload in bytes" },
        y: subject.unit,
        lines,
        grey: quantity.map(|(folder, quantity)| paper::curves(folder, figure, quantity)).unwrap_or_default(),
    })
}

fn title(figure: Figure) -> &'static str {
    match figure {
        Figure::Fig2 => "Figure 2",
        Figure::Fig6 => "Figure 6",
        Figure::Fig7 => "Figure 7, one node",
        Figure::Fig8 => "Figure 8, two nodes",
        Figure::Fig9 => "Figure 9, fan-out on one node",
        Figure::Fig10 => "Figure 10, fan-out to another node",
    }
}
