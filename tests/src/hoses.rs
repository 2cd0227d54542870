//! Functions in containers of one case, and the hoses between them: an administrator's file, and so a rendezvous folder,
//! of the case's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::eventually;
use crate::{Bundle, Case, Invocation, Output, Running, guest};

/// Functions that share a case's rendezvous.
pub struct Hoses<'a> {
    case: &'a Case,
}

impl<'a> Hoses<'a> {
    /// A rendezvous of the case's own.
    #[must_use]
    pub fn new(case: &'a Case) -> Self {
        Self { case }
    }

    /// A function called `name` that sends to `target`, and runs a verb of [`guest::hose`], which the caller has seen to
    /// be there.
    #[track_caller]
    #[must_use]
    pub fn function(&self, name: &str, target: &str, verb: &[&str]) -> Bundle {
        self.function_of(guest::hose().expect("the verbs can be compiled"), name, target, verb)
    }

    /// The same with a module and arguments.
    #[must_use]
    pub fn function_of(&self, module: &[u8], name: &str, target: &str, args: &[&str]) -> Bundle {
        let bundle = self.case.wasm_bytes(module);
        bundle.args(["/module.wasm"].iter().chain(args));
        bundle
            .annotation("io.roadrunner.hose/mode", "kernel")
            .annotation("io.roadrunner.hose/name", name)
            .annotation("io.roadrunner.hose/workflow", &self.workflow());
        if !target.is_empty() {
            bundle.annotation("io.roadrunner.hose/target", target);
        }
        bundle
    }

    /// The workflow of all of them.
    #[must_use]
    pub fn workflow(&self) -> String {
        format!("{}w", self.case.name())
    }

    /// The rendezvous folders of the case.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.case.dir().join("hose")
    }

    /// The administrator's file that names this tenant.
    #[must_use]
    pub fn config(&self, tenant: &str) -> PathBuf {
        let file = self.case.dir().join(format!("config-{tenant}.toml"));
        let text = format!("tenant = \"{tenant}\"\n[hose]\ndirectory = \"{}\"\n", self.folder().display());
        // Once: a runtime that was started a moment ago may be reading it.
        if !file.exists() {
            fs::write(&file, text).expect("write");
        }
        file
    }

    /// The runtime with the case's `--root`, this tenant's file and these arguments.
    #[must_use]
    pub fn cmd_of(&self, tenant: &str, args: &[&str]) -> Invocation {
        let cmd = self.case.mark(self.case.runtime().command()).arg("--root").arg(self.case.root());
        cmd.arg("--config").arg(self.config(tenant)).args(args)
    }

    /// Runs a function of this tenant.
    #[must_use]
    pub fn run_as(&self, tenant: &str, bundle: &Bundle) -> Running {
        let id = self.case.id();
        self.cmd_of(tenant, &["run", "--bundle"])
            .arg(bundle.dir())
            .arg(id)
            .timeout(Duration::from_secs(60))
            .spawn()
    }

    /// Runs a function of the one tenant that most cases have.
    #[must_use]
    pub fn run(&self, bundle: &Bundle) -> Running {
        self.run_as("tenant", bundle)
    }

    /// Runs a function until it runs; gives its container's name, too.
    #[must_use]
    pub fn start(&self, bundle: &Bundle) -> (String, Running) {
        let id = self.case.id();
        let run = self.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir()).arg(&id);
        let run = run.timeout(Duration::from_secs(120)).spawn();
        eventually("it runs", || {
            let out = self.case.cmd(["state", &id]).output();
            out.code == 0 && out.stdout.contains("\"running\"")
        });
        (id, run)
    }

    /// Runs the receiver until it waits, then the sender to its end; gives both outputs.
    #[must_use]
    pub fn transfer(&self, receive: &[&str], send: &[&str]) -> (Output, Output) {
        let mut receiver = self.run(&self.function("b", "", receive));
        receiver.expect_stdout("ready");
        let sender = self.run(&self.function("a", "b", send));
        (sender.wait(), receiver.wait())
    }

    /// Fails when anything but a lock is left in the rendezvous folders.
    #[track_caller]
    pub fn nothing_left(&self) {
        let mut left = Vec::new();
        for tenant in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            for entry in fs::read_dir(tenant.path()).into_iter().flatten().flatten() {
                left.push(entry.path());
            }
        }
        assert!(left.is_empty(), "left in the rendezvous folder: {left:#?}");
    }
}
