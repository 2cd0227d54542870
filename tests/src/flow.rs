//! A workflow in one container: its own function, and further ones from modules that are pinned.

use sha2::{Digest, Sha256};

use crate::{Bundle, Case};

/// The container's own function is called `main`. Each module is `/NAME.wasm`.
pub struct Flow {
    bundle: Bundle,
    modules: Vec<String>,
    routes: Vec<String>,
}

impl Flow {
    /// A workflow whose own function sends to these.
    #[must_use]
    pub fn new(case: &Case, own: &[u8], args: &[&str], targets: &[&str]) -> Self {
        let bundle = case.wasm_bytes(own);
        bundle.args(["/module.wasm"].iter().chain(args));
        let flow = Self { bundle, modules: Vec::new(), routes: Vec::new() };
        flow.hose("mode", "user").hose("name", "main").hose("workflow", &format!("{}w", case.name()));
        if !targets.is_empty() {
            flow.hose("target", &targets.join(","));
        }
        flow
    }

    /// Adds a function that sends to these.
    #[must_use]
    pub fn with(mut self, name: &str, module: &[u8], targets: &[&str]) -> Self {
        self.bundle.file(&format!("{name}.wasm"), module);
        self.modules.push(pin(name, &format!("/{name}.wasm"), module));
        self.hose("modules", &self.modules.join(","));
        if !targets.is_empty() {
            self.routes.push(format!("{name}={}", targets.join("+")));
            self.hose("routes", &self.routes.join(","));
        }
        self
    }

    /// Sets an annotation of the hose.
    pub fn hose(&self, key: &str, value: &str) -> &Self {
        self.bundle.annotation(&format!("io.roadrunner.hose/{key}"), value);
        self
    }

    /// The bundle, as it is now.
    #[must_use]
    pub fn into_bundle(self) -> Bundle {
        self.bundle
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }
}

/// An item of `hose/modules`.
#[must_use]
pub fn pin(name: &str, path: &str, module: &[u8]) -> String {
    let digest: String = Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}={path}@sha256:{digest}")
}
