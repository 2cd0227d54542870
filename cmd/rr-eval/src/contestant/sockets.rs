//! WasmEdge + HTTP: the same functions as WASI modules over the engine's sockets, in containers of this runtime without a hose.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{Contestant, Function, Line, Placement, Recipe, Road, Workshop, over_http};
use crate::bundle::{Bundle, Network};

/// The module: sender and receiver.
pub(super) const MODULE: &str = "eval-sockets.wasm";

pub(super) fn all() -> Vec<Contestant> {
    let one = |name: &str, form| Contestant { name: name.to_owned(), main: true, road: Road::Sockets(form) };
    vec![one("WasmEdge + HTTP, raw", "raw"), one("WasmEdge + HTTP, JSON", "json")]
}

pub(super) fn line(form: &str, workshop: &Workshop, placement: &Placement, fan_out: usize) -> Result<Line> {
    let addresses = placement.addresses(fan_out)?;
    let plan = |side: &str, addresses: &[String], network: Network| {
        let args = [side, form].into_iter().map(String::from).chain(addresses.to_vec()).collect();
        container(workshop, args, &[], network)
    };
    let sink = |address: &String| plan("sink", std::slice::from_ref(address), placement.sink_network());
    let mut programs: Vec<Recipe> = addresses.iter().map(sink).collect();
    programs.push(plan("source", &addresses, placement.source_network()));
    Ok(Line { say_ready: addresses.len(), programs })
}

/// The functions of a workflow of pictures, on one node.
pub(super) fn workflow(form: &str, workshop: &Workshop, film: &Path, functions: &[Function]) -> Result<Line> {
    over_http(form, film, functions, |args, films| container(workshop, args, films, Network::Host))
}

fn container(workshop: &Workshop, args: Vec<String>, films: &[&Path], network: Network) -> Recipe {
    let mut files = vec![(workshop.modules.join(MODULE), "function.wasm")];
    files.extend(films.iter().map(|&film| (film.to_owned(), Function::FILM.trim_start_matches('/'))));
    Recipe::Container {
        runtime: workshop.ours(),
        bundle: Box::new(Bundle {
            files,
            args: ["/function.wasm".to_owned()].into_iter().chain(args).collect(),
            annotations: BTreeMap::from([
                ("io.roadrunner.wasm/aot".to_owned(), "wait".to_owned()),
                ("io.roadrunner.hose/mode".to_owned(), "none".to_owned()),
            ]),
            network,
            ..Bundle::default()
        }),
    }
}
