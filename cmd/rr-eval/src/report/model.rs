//! The model of a cluster: a chart for each kind of workflow, what it comes to, and how far the model is off where it can be checked.

use super::further::Table;
use super::plot::{Chart, Line, short};
use crate::model::{Model, OFF, Placement, Shape, System, Told};
use crate::statistics::Estimate;

/// How long a workflow takes, by its functions; packed.
pub(super) fn charts(model: &Model) -> Vec<Chart> {
    let chart = |shape: Shape| {
        let told: Vec<&Told> = model
            .told
            .iter()
            .filter(|told| (told.shape, told.placement) == (shape, Placement::Packed))
            .collect();
        let mut systems: Vec<System> = told.iter().map(|told| told.system).collect();
        systems.sort_unstable();
        systems.dedup();
        let line = |system: &System| {
            let of_system = told.iter().filter(|told| told.system == *system);
            let point = |told: &&Told| (told.functions as f64, Estimate::exact(told.outcome.makespan));
            Line { name: system.name().to_owned(), points: of_system.map(point).collect() }
        };
        let lines: Vec<Line> = systems.iter().map(line).collect();
        (!lines.is_empty()).then(|| Chart {
            name: format!("model-{}", shape.name()),
            title: format!("Model, not measured: {} on a cluster, packed", shape.name()),
            x: "functions",
            y: "s",
            meaning: sentence(&told),
            lines,
            grey: Vec::new(),
            limits: Vec::new(),
        })
    };
    Shape::ALL.into_iter().filter_map(chart).collect()
}

/// How ours compares with the best of the others for the most functions.
fn sentence(told: &[&Told]) -> String {
    let Some(most) = told.iter().map(|told| told.functions).max() else { return String::new() };
    let there = || told.iter().filter(|told| told.functions == most);
    let ours = there().find(|told| told.system == System::Roadrunner);
    let others = there().filter(|told| told.system != System::Roadrunner);
    let best = others.min_by(|a, b| a.outcome.makespan.total_cmp(&b.outcome.makespan));
    let (Some(ours), Some(best)) = (ours, best) else { return String::new() };
    format!(
        "For {most} functions on {} nodes rr would need {}s, the best of the others, {}, {}s.",
        ours.nodes,
        short(ours.outcome.makespan),
        best.system.name(),
        short(best.outcome.makespan)
    )
}

pub(super) fn tables(model: &Model) -> [Table; 2] {
    let row = |told: &Told| {
        vec![
            told.shape.name().to_owned(),
            told.placement.name().to_owned(),
            format!("{} on {}", told.functions, told.nodes),
            told.system.name().to_owned(),
            short(told.outcome.makespan) + "s",
            short(told.outcome.wire) + "B",
            short(told.outcome.cpu) + "s",
        ]
    };
    let largest = model.told.iter().map(|told| told.functions).max().unwrap_or_default();
    let check = |check: &crate::model::Check| {
        vec![
            check.contestant.to_owned(),
            check.cell.clone(),
            short(check.measured) + "s",
            short(check.told) + "s",
            format!("{:+.0} %", check.error() * 100.0),
            if check.error().abs() > OFF { "off" } else { "" }.to_owned(),
        ]
    };
    [
        Table {
            title: "Model of a cluster",
            meaning: "Not measured: what workflows would take, by the measured costs of single transfers. Functions on nodes; time until the last one has its payload, bytes that leave a node, and CPU time of all nodes.",
            head: vec!["workflow", "placement", "functions", "system", "time", "on the wire", "CPU"],
            rows: model.told.iter().filter(|told| told.functions == largest).map(row).collect(),
        },
        Table {
            title: "The model against what was measured",
            meaning: "Cells that the costs were not taken from, as they were measured and as the model tells them. Off is what differs by more than a quarter.",
            head: vec!["contestant", "cell", "measured", "told", "error", ""],
            rows: model.checks.iter().map(check).collect(),
        },
    ]
}
