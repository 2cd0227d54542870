//! WasmEdge + HTTP: the same functions as WASI modules over the engine's sockets, in containers of this runtime without a hose, or of a crun that has the
//! same engine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Contestant, Function, Line, Placement, Recipe, Road, Workshop, over_http};
use crate::apart;
use crate::bundle::{Bundle, Network};

/// The module: sender and receiver.
pub(super) const MODULE: &str = "eval-sockets.wasm";

/// How a payload is written, and whose containers they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sockets {
    form: &'static str,
    by: Engine,
}

/// Whose engine runs the module.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    Ours,
    Crun,
}

pub(super) fn all() -> Vec<Contestant> {
    let one = |name: &str, form, by| Contestant {
        name: name.to_owned(),
        main: by == Engine::Ours,
        road: Road::Sockets(Sockets { form, by }),
    };
    vec![
        one("WasmEdge + HTTP, raw", "raw", Engine::Ours),
        one("WasmEdge + HTTP, JSON", "json", Engine::Ours),
        one("WasmEdge by crun + HTTP, raw", "raw", Engine::Crun),
    ]
}

impl Sockets {
    pub(super) fn is_raw(self) -> bool {
        self.form == "raw"
    }

    /// Why it cannot take part, beside a module that is not built.
    pub(super) fn missing(self, workshop: &Workshop) -> Option<String> {
        let missing = self.by == Engine::Crun && workshop.engine_peers.is_empty();
        missing.then(|| "there is no crun with WasmEdge (--crun-wasmedge)".to_owned())
    }

    pub(super) fn line(self, workshop: &Workshop, placement: &Placement, fan_out: usize) -> Result<Line> {
        let addresses = placement.addresses(fan_out)?;
        let plan = |side: &str, addresses: &[String], network: Network| {
            let args = [side, self.form].into_iter().map(String::from).chain(addresses.to_vec()).collect();
            self.container(workshop, args, &[], network)
        };
        let sink = |address: &String| plan("sink", std::slice::from_ref(address), placement.sink_network());
        let mut programs = addresses.iter().map(sink).collect::<Result<Vec<Recipe>>>()?;
        programs.push(plan("source", &addresses, placement.source_network())?);
        Ok(Line { say_ready: addresses.len(), programs })
    }

    /// The functions of a workflow of pictures, on one node.
    pub(super) fn workflow(self, workshop: &Workshop, film: &Path, functions: &[Function]) -> Result<Line> {
        over_http(self.form, film, functions, |args, films| {
            self.container(workshop, args, films, Network::Host)
        })
    }

    fn container(
        self,
        workshop: &Workshop,
        args: Vec<String>,
        films: &[&Path],
        network: Network,
    ) -> Result<Recipe> {
        let module = workshop.modules.join(MODULE);
        let (runtime, module, annotations) = match self.by {
            Engine::Ours => (
                workshop.ours(),
                module,
                vec![("io.roadrunner.wasm/aot", "wait"), ("io.roadrunner.hose/mode", "none")],
            ),
            Engine::Crun => {
                let (name, program) =
                    workshop.engine_peers.first().context("there is no crun with WasmEdge")?;
                let words = apart::words(program).into_iter().chain(workshop.theirs(name, program)).collect();
                (words, workshop.universal(&module)?, vec![("run.oci.handler", "wasm")])
            }
        };
        let mut files = vec![(module, "function.wasm")];
        files.extend(films.iter().map(|&film| (film.to_owned(), Function::FILM.trim_start_matches('/'))));
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Ok(Recipe::Container {
            runtime,
            bundle: Box::new(Bundle {
                files,
                args: ["/function.wasm".to_owned()].into_iter().chain(args).collect(),
                annotations: annotations.into_iter().map(owned).collect::<BTreeMap<_, _>>(),
                network,
                ..Bundle::default()
            }),
        })
    }
}
