//! A cluster on paper: what workflows of up to 10,000 functions on 1,000 nodes would take, by the costs of single transfers that were measured
//! (`docs/cluster-model.md`).

mod check;
mod cluster;
mod costs;
mod workflow;

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::report::Summary;

pub(crate) use check::{Check, OFF};
use cluster::{Cluster, run};
pub(crate) use cluster::{Outcome, Placement, System};
use costs::Costs;
pub(crate) use workflow::Shape;

/// The file of an output folder.
const FILE: &str = "model.csv";

/// Those that a workflow may be built on.
const SYSTEMS: [System; 5] = [
    System::Roadrunner,
    System::Only("runc + HTTP, raw"),
    System::Only("runc + HTTP, JSON"),
    System::Only("WasmEdge + HTTP, raw"),
    System::Only("WasmEdge + HTTP, JSON"),
];

/// Those whose measured cells the model is held against.
const CHECKED: [&str; 7] = [
    "rr user",
    "rr kernel",
    "rr network",
    "runc + HTTP, raw",
    "runc + HTTP, JSON",
    "WasmEdge + HTTP, raw",
    "WasmEdge + HTTP, JSON",
];

/// Functions of a workflow.
const FUNCTIONS: [usize; 4] = [10, 100, 1_000, 10_000];

/// The cluster that is asked about.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Setting {
    /// Functions that a node has
    #[arg(long, value_name = "COUNT", default_value_t = Self::DEFAULT.per_node)]
    pub(crate) per_node: usize,
    /// Cores of a node
    #[arg(long, value_name = "COUNT", default_value_t = Self::DEFAULT.cores)]
    pub(crate) cores: usize,
    /// Functions of one workflow in one container, for what can share one
    #[arg(long, value_name = "COUNT", default_value_t = Self::DEFAULT.group)]
    pub(crate) group: usize,
    /// Rate of a node's network card, in Gbit/s
    #[arg(long, value_name = "GBIT", default_value_t = Self::DEFAULT.rate)]
    pub(crate) rate: f64,
    /// Bytes of a payload; of a shuffle, of what one function has to send
    #[arg(long, value_name = "BYTES", default_value_t = Self::DEFAULT.payload)]
    pub(crate) payload: u64,
}

impl Setting {
    /// What is asked about where nothing is said.
    pub(crate) const DEFAULT: Self =
        Self { per_node: 10, cores: 8, group: 10, rate: 10.0, payload: 10_000_000 };
}

/// A workflow, where, and what it comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) shape: Shape,
    pub(crate) placement: Placement,
    pub(crate) functions: usize,
    pub(crate) nodes: usize,
    pub(crate) system: System,
    pub(crate) outcome: Outcome,
}

/// What there is to tell by the samples of a run.
pub(crate) struct Model {
    pub(crate) told: Vec<Told>,
    pub(crate) checks: Vec<Check>,
}

#[derive(Serialize)]
struct Line {
    workflow: &'static str,
    placement: &'static str,
    functions: usize,
    nodes: usize,
    system: &'static str,
    makespan_s: f64,
    wire_bytes: f64,
    cpu_s: f64,
}

impl Model {
    /// Nothing of what was not measured on one node and between two.
    pub(crate) fn of(summary: &Summary, setting: &Setting) -> Self {
        let costs = Costs::of(summary);
        let mut told = Vec::new();
        if costs.is_empty() {
            return Self { told, checks: Vec::new() };
        }
        for shape in Shape::ALL {
            for placement in [Placement::Packed, Placement::Spread] {
                for functions in FUNCTIONS {
                    told.extend(tell(shape, placement, functions, setting, &costs));
                }
            }
        }
        Self { told, checks: check::all(summary, &costs, &CHECKED) }
    }

    /// Writes it to an output folder, if there is something.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        if self.told.is_empty() {
            return Ok(());
        }
        let path = out.join(FILE);
        let mut file = csv::Writer::from_path(&path).with_context(|| format!("create {}", path.display()))?;
        for told in &self.told {
            let line = Line {
                workflow: told.shape.name(),
                placement: told.placement.name(),
                functions: told.functions,
                nodes: told.nodes,
                system: told.system.name(),
                makespan_s: told.outcome.makespan,
                wire_bytes: told.outcome.wire,
                cpu_s: told.outcome.cpu,
            };
            file.serialize(line).context(FILE)?;
        }
        file.flush().context(FILE)
    }
}

/// One workflow on all systems that there are costs for.
fn tell(shape: Shape, placement: Placement, functions: usize, setting: &Setting, costs: &Costs) -> Vec<Told> {
    let nodes = functions.div_ceil(setting.per_node.max(1));
    let cluster = Cluster {
        nodes,
        cores: setting.cores.max(1),
        one_machine: false,
        rate: Some(setting.rate * 1e9),
        burst: 0.0,
        group: setting.group.max(1),
    };
    let node = |function| placement.node(function, functions, nodes);
    let edges = shape.edges(functions, setting.payload as f64, node);
    let told = |system| {
        let outcome = run(&cluster, placement, system, functions, &edges, costs)?;
        Some(Told { shape, placement, functions, nodes, system, outcome })
    };
    SYSTEMS.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_of_nothing() {
        let model = Model::of(&Summary::of(&[]), &Setting::DEFAULT);
        assert!(model.told.is_empty() && model.checks.is_empty());
    }
}
