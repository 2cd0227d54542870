//! The model against what was measured and not told to it: two nodes at a rate (figure 8), and fan-outs (figures 9 and 10).

use super::cluster::{Cluster, Outcome, Placement, System, run};
use super::costs::Costs;
use super::workflow::Shape;
use crate::nodes::burst;
use crate::plan;
use crate::protocol::Work;
use crate::report::{Summary, quantity};
use crate::store::Key;

/// Beyond this the model is off.
pub(crate) const OFF: f64 = 0.25;

/// A cell, as it was measured and as the model has it; in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) cell: String,
    pub(crate) contestant: &'static str,
    pub(crate) measured: f64,
    pub(crate) told: f64,
}

impl Check {
    /// How far off: 0.1 is a tenth too long.
    pub(crate) fn error(&self) -> f64 {
        self.told / self.measured - 1.0
    }
}

/// The machine of the measurement.
fn measured_on(placement: &str) -> Cluster {
    let rate = plan::rate(placement);
    Cluster {
        nodes: if placement == "node" { 1 } else { 2 },
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        one_machine: true,
        rate,
        burst: rate.map_or(0.0, |rate| burst(rate as u64) as f64),
        group: usize::MAX,
    }
}

/// All cells that the costs were not taken from.
pub(crate) fn all(summary: &Summary, costs: &Costs, contestants: &[&'static str]) -> Vec<Check> {
    let mut checks = Vec::new();
    for key in summary.keys().filter(|key| key.work == Work::Touch) {
        let told_of = matches!(key.figure.as_str(), "fig8" | "fig9" | "fig10") && key.placement != "nodes";
        let contestant = contestants.iter().find(|name| **name == key.contestant);
        let (true, Some(contestant)) = (told_of, contestant) else { continue };
        let told = tell(key, contestant, costs);
        let measured = summary.estimate(key, quantity::latency).map(|estimate| estimate.median);
        if let (Some(told), Some(measured)) = (told, measured) {
            let cell = format!("{}, {}, {} bytes to {}", key.figure, key.placement, key.size, key.fan_out);
            checks.push(Check { cell, contestant, measured, told: told.makespan });
        }
    }
    checks
}

/// A cell: its sender is on the first node, and all receivers are there, or all on the second.
fn tell(key: &Key, contestant: &'static str, costs: &Costs) -> Option<Outcome> {
    let cluster = measured_on(&key.placement);
    let mut functions = key.fan_out + 1;
    let mut edges = Shape::FanOut.edges(functions, key.size as f64, |_| 0);
    if cluster.nodes == 2 {
        // Spread, functions of odd numbers are on the second.
        functions = 2 * key.fan_out + 1;
        for (i, edge) in edges.iter_mut().enumerate() {
            edge.to = 2 * i + 1;
        }
    }
    run(&cluster, Placement::Spread, System::Only(contestant), functions, &edges, costs)
}
