//! WasmEdge + HTTP: the same functions as WASI modules over the engine's sockets, in containers of this runtime without a hose.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Contestant, Line, Placement, Recipe, Road, Workshop};
use crate::bundle::{Bundle, Network};

/// The module: sender and receiver.
pub(super) const MODULE: &str = "eval-sockets.wasm";

pub(super) fn all() -> Vec<Contestant> {
    let one = |name: &str, form| Contestant { name: name.to_owned(), main: true, road: Road::Sockets(form) };
    vec![one("WasmEdge + HTTP, raw", "raw"), one("WasmEdge + HTTP, JSON", "json")]
}

pub(super) fn line(form: &str, workshop: &Workshop, placement: &Placement, fan_out: usize) -> Result<Line> {
    let addresses = placement.addresses(fan_out)?;
    let plan = |side: &str, addresses: &[String], network: Network| Recipe::Container {
        runtime: workshop.ours(),
        bundle: Box::new(Bundle {
            files: vec![(workshop.modules.join(MODULE), "function.wasm")],
            args: ["/function.wasm", side, form]
                .into_iter()
                .map(String::from)
                .chain(addresses.to_vec())
                .collect(),
            annotations: BTreeMap::from([
                ("io.roadrunner.wasm/aot".to_owned(), "wait".to_owned()),
                ("io.roadrunner.hose/mode".to_owned(), "none".to_owned()),
            ]),
            network,
            ..Bundle::default()
        }),
    };
    let sink = |address: &String| plan("sink", std::slice::from_ref(address), placement.sink_network());
    let mut programs: Vec<Recipe> = addresses.iter().map(sink).collect();
    programs.push(plan("source", &addresses, placement.source_network()));
    Ok(Line { say_ready: addresses.len(), programs })
}
