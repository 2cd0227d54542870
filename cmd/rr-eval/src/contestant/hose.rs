//! rr: functions that hand payloads to each other through a hose, by each of its modes, with `auto` and with each transfer forced.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{Contestant, Line, Placement, Recipe, Road, Workshop};
use crate::bundle::Bundle;

/// The modules: sender and receiver.
pub(super) const MODULES: [&str; 2] = ["eval-hose-source.wasm", "eval_hose_sink.wasm"];

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
        let mut source = self.function(workshop, 0, "a", tag);
        source.annotate("target", &names.join(","));
        if self.mode == "user" {
            let module = workshop.modules.join(MODULES[1]);
            let bytes = std::fs::read(&module).with_context(|| format!("read {}", module.display()))?;
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let pin = |name: &String| format!("{name}=/sink.wasm@sha256:{digest}");
            source.files.push((module, "sink.wasm"));
            source.annotate("modules", &names.iter().map(pin).collect::<Vec<_>>().join(","));
            return Ok(Line { programs: vec![recipe(workshop, source)], say_ready: 0 });
        }
        let mut programs = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let mut sink = self.function(workshop, 1, name, tag);
            if let Some(address) = addresses.get(index) {
                sink.network = placement.sink_network();
                sink.annotate("listen", &format!("tcp://{address}"));
            }
            programs.push(recipe(workshop, sink));
        }
        if self.mode == "network" {
            source.network = placement.source_network();
            let at = names.iter().zip(&addresses).map(|(name, address)| format!("{name}=tcp://{address}"));
            source.annotate("address", &at.collect::<Vec<_>>().join(","));
        }
        programs.push(recipe(workshop, source));
        Ok(Line { programs, say_ready: 0 })
    }

    fn function(&self, workshop: &Workshop, module: usize, name: &str, tag: &str) -> Bundle {
        let words = ["/function.wasm", self.how];
        let args = words.iter().take(2 - module).map(|&word| word.to_owned()).collect();
        let mut bundle = Bundle {
            files: vec![(workshop.modules.join(MODULES[module]), "function.wasm")],
            args,
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
}

fn recipe(workshop: &Workshop, bundle: Bundle) -> Recipe {
    Recipe::Container { runtime: workshop.ours(), bundle: Box::new(bundle) }
}
