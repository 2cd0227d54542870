//! rr: functions that hand payloads to each other through a hose, by each of its modes, with `auto` and with each transfer forced.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{Contestant, Function, Line, Placement, Recipe, Road, Workshop};
use crate::bundle::Bundle;

/// The modules: sender and receiver.
pub(super) const MODULES: [&str; 2] = ["eval-hose-source.wasm", "eval_hose_sink.wasm"];

/// The modules of workflows of pictures: camera and worker.
pub(super) const PICTURES: [&str; 2] = ["eval-pictures-camera.wasm", "eval_pictures_worker.wasm"];

/// How payloads cross.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hose {
    mode: &'static str,
    transfer: &'static str,
    /// Whether the sender gives buffers away, or lends a slice.
    how: &'static str,
}

pub(super) fn all() -> Vec<Contestant> {
    let one = |name: &str, mode, transfer, how| Contestant {
        name: name.to_owned(),
        main: transfer == "auto" && how == "give",
        road: Road::Hose(Hose { mode, transfer, how }),
    };
    vec![
        one("rr user", "user", "auto", "give"),
        one("rr user, move", "user", "move", "give"),
        one("rr user, copy", "user", "copy", "give"),
        one("rr kernel", "kernel", "auto", "give"),
        one("rr kernel, lent", "kernel", "auto", "lend"),
        one("rr kernel, memfd", "kernel", "memfd", "give"),
        one("rr kernel, copy", "kernel", "copy", "give"),
        one("rr network", "network", "auto", "give"),
        one("rr network, copy", "network", "copy", "give"),
        one("rr network, splice", "network", "splice", "give"),
    ]
}

impl Hose {
    pub(super) fn crosses_hosts(&self) -> bool {
        self.mode == "network"
    }

    pub(super) fn line(
        &self,
        workshop: &Workshop,
        placement: &Placement,
        fan_out: usize,
        tag: &str,
    ) -> Result<Line> {
        let names: Vec<String> = (0..fan_out).map(|i| format!("b{i}")).collect();
        let addresses = match self.mode {
            "network" => placement.addresses(fan_out)?,
            _ => Vec::new(),
        };
        let mut source = self.function(workshop, MODULES[0], &[self.how], "a", tag);
        source.annotate("target", &names.join(","));
        if self.mode == "user" {
            source.add_modules(&workshop.modules.join(MODULES[1]), &names)?;
            return Ok(Line { programs: vec![recipe(workshop, source)], say_ready: 0 });
        }
        let mut programs = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let mut sink = self.function(workshop, MODULES[1], &[], name, tag);
            if let Some(address) = addresses.get(index) {
                sink.network = placement.sink_network();
                sink.listen(address);
            }
            programs.push(recipe(workshop, sink));
        }
        if self.mode == "network" {
            source.network = placement.source_network();
            source.find(names.iter().zip(&addresses));
        }
        programs.push(recipe(workshop, source));
        Ok(Line { programs, say_ready: 0 })
    }

    /// The functions of a workflow of pictures, on one node.
    pub(super) fn workflow(
        &self,
        workshop: &Workshop,
        film: &Path,
        functions: &[Function],
        tag: &str,
    ) -> Result<Line> {
        let [camera, workers @ ..] = functions else { bail!("a workflow without functions") };
        let mut source = self.function(workshop, PICTURES[0], &[Function::FILM], camera.name, tag);
        source.files.push((film.to_owned(), Function::FILM.trim_start_matches('/')));
        source.annotate("target", &camera.targets.join(","));
        if self.mode == "user" {
            let names: Vec<String> = workers.iter().map(|worker| worker.name.to_owned()).collect();
            source.add_modules(&workshop.modules.join(PICTURES[1]), &names)?;
            let routes = workers.iter().filter(|worker| !worker.targets.is_empty());
            let routes = routes.map(|worker| format!("{}={}", worker.name, worker.targets.join("+")));
            let routes: Vec<String> = routes.collect();
            if !routes.is_empty() {
                source.annotate("routes", &routes.join(","));
            }
            return Ok(Line { programs: vec![recipe(workshop, source)], say_ready: 0 });
        }
        let addresses = match self.mode {
            "network" => Placement::Node.addresses(workers.len())?,
            _ => Vec::new(),
        };
        let of = |name: &&str| workers.iter().zip(&addresses).find(|(worker, _)| worker.name == *name);
        let at = |function: &Function, bundle: &mut Bundle| {
            let targets = function.targets.iter().filter_map(of);
            bundle.find(targets.map(|(worker, address)| (worker.name, address)));
            bundle.network = Placement::Node.source_network();
        };
        let mut programs = Vec::new();
        for (index, worker) in workers.iter().enumerate() {
            let mut bundle = self.function(workshop, PICTURES[1], &[worker.name], worker.name, tag);
            if !worker.targets.is_empty() {
                bundle.annotate("target", &worker.targets.join(","));
            }
            if let Some(address) = addresses.get(index) {
                bundle.listen(address);
                at(worker, &mut bundle);
            }
            programs.push(recipe(workshop, bundle));
        }
        if self.mode == "network" {
            at(camera, &mut source);
        }
        // Those that are sent to are there before those that send.
        programs.reverse();
        programs.push(recipe(workshop, source));
        Ok(Line { programs, say_ready: 0 })
    }

    fn function(&self, workshop: &Workshop, module: &str, args: &[&str], name: &str, tag: &str) -> Bundle {
        let mut bundle = Bundle {
            files: vec![(workshop.modules.join(module), "function.wasm")],
            args: ["/function.wasm"].iter().chain(args).map(|&word| word.to_owned()).collect(),
            annotations: BTreeMap::from([("io.roadrunner.wasm/aot".to_owned(), "wait".to_owned())]),
            ..Bundle::default()
        };
        for (key, value) in [
            ("mode", self.mode),
            ("transfer", self.transfer),
            ("name", name),
            ("workflow", tag),
            ("io-timeout", "5m"),
        ] {
            bundle.annotate(key, value);
        }
        bundle
    }
}

impl Bundle {
    fn annotate(&mut self, key: &str, value: &str) {
        self.annotations.insert(format!("io.roadrunner.hose/{key}"), value.to_owned());
    }

    /// Functions of these names, all of one module, in the same process.
    fn add_modules(&mut self, module: &Path, names: &[String]) -> Result<()> {
        let bytes = std::fs::read(module).with_context(|| format!("read {}", module.display()))?;
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let pin = |name: &String| format!("{name}=/sink.wasm@sha256:{digest}");
        self.files.push((module.to_owned(), "sink.wasm"));
        self.annotate("modules", &names.iter().map(pin).collect::<Vec<_>>().join(","));
        Ok(())
    }

    fn listen(&mut self, address: &str) {
        self.annotate("listen", &format!("tcp://{address}"));
    }

    /// Where targets are.
    fn find<'a>(&mut self, targets: impl Iterator<Item = (impl std::fmt::Display, &'a String)>) {
        let at: Vec<String> = targets.map(|(name, address)| format!("{name}=tcp://{address}")).collect();
        if !at.is_empty() {
            self.annotate("address", &at.join(","));
        }
    }
}

fn recipe(workshop: &Workshop, bundle: Bundle) -> Recipe {
    Recipe::Container { runtime: workshop.ours(), bundle: Box::new(bundle) }
}
