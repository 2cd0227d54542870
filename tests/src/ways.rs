//! The paper's three ways from one function to another, for a chain of functions that know nothing of the way: in one container (user
//! space), each in one of its own on a host (kernel space), or in such that know each other by address (network).

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::{Bundle, Case, Flow, Hoses, Invocation, Output, Running, ports};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Section 4.1.
    User,
    /// Section 4.2.
    Kernel,
    /// Section 4.3.
    Network,
}

/// All of them.
pub const WAYS: [Way; 3] = [Way::User, Way::Kernel, Way::Network];

/// What the functions of a chain are called.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Functions `a`, `b`, … of which each sends to the next.
pub struct Chain<'a> {
    hoses: Hoses<'a>,
    case: &'a Case,
    /// Their containers, in their order: in user space one for all.
    pub containers: Vec<Bundle>,
}

impl<'a> Chain<'a> {
    /// Of these modules, three at most.
    #[must_use]
    pub fn new(case: &'a Case, way: Way, modules: &[&[u8]]) -> Self {
        let hoses = Hoses::new(case);
        let next = |index: usize| if index + 1 < modules.len() { NAMES[index + 1] } else { "" };
        let containers = match way {
            Way::User => vec![in_one_container(case, modules)],
            Way::Kernel | Way::Network => {
                let function = |(index, module): (usize, &&[u8])| {
                    hoses.function_of(module, NAMES[index], next(index), &[])
                };
                modules.iter().enumerate().map(function).collect()
            }
        };
        if way == Way::Network {
            know_each_other_by_address(&containers);
        }
        Self { hoses, case, containers }
    }

    /// Sets a variable of all functions.
    #[must_use]
    pub fn env(self, variable: &str) -> Self {
        for bundle in &self.containers {
            bundle.env(variable);
        }
        self
    }

    /// Runs all to their end: what each container left.
    #[must_use]
    pub fn run(&self) -> Vec<Output> {
        self.run_by(|_, command| command)
    }

    /// The same with the standard error of all appended to one file, in the order in which it was written.
    #[must_use]
    pub fn run_logged(&self, log: &Path) -> Vec<Output> {
        let redirect = format!("exec \"$@\" 2>>'{}'", log.display());
        self.run_by(|_, command| command.wrapped(["/bin/sh", "-c", &redirect, "sh"]))
    }

    /// The same with the system calls of this `strace` list written to a file for each container, `PATH.a` and so on.
    #[must_use]
    pub fn run_traced(&self, list: &str, path: &Path) -> Vec<Output> {
        self.run_by(|index, command| {
            let strace = ["strace", "-f", "-e", list, "-o"].map(OsString::from);
            command.wrapped(strace.into_iter().chain([path.with_extension(NAMES[index]).into()]))
        })
    }

    fn run_by(&self, change: impl Fn(usize, Invocation) -> Invocation) -> Vec<Output> {
        let start = |(index, bundle): (usize, &Bundle)| {
            let command = self.hoses.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir());
            change(index, command.arg(self.case.id()).timeout(Duration::from_secs(60))).spawn()
        };
        let running: Vec<Running> = self.containers.iter().enumerate().map(start).collect();
        running.into_iter().map(Running::wait).collect()
    }
}

fn in_one_container(case: &Case, modules: &[&[u8]]) -> Bundle {
    let mut flow = Flow::new(case, modules[0], &[], &NAMES[1..2]);
    flow.hose("name", NAMES[0]);
    for (index, module) in modules.iter().enumerate().skip(1) {
        let targets = if index + 1 < modules.len() { &NAMES[index + 1..=index + 1] } else { &[] };
        flow = flow.with(NAMES[index], module, targets);
    }
    flow.into_bundle()
}

/// As if each were on a host of its own: what they share is a network, here the host's loopback.
fn know_each_other_by_address(containers: &[Bundle]) {
    let free = ports::free(containers.len());
    let at = |index: usize| format!("tcp://127.0.0.1:{}", free[index]);
    for (index, bundle) in containers.iter().enumerate() {
        bundle.without_namespace("network");
        bundle.edit(|config| {
            config["mounts"].as_array_mut().expect("mounts").retain(|mount| mount["type"] != "sysfs");
        });
        bundle.annotation("io.roadrunner.hose/mode", "network");
        if index > 0 {
            bundle.annotation("io.roadrunner.hose/listen", &at(index));
        }
        if index + 1 < containers.len() {
            let address = format!("{}={}", NAMES[index + 1], at(index + 1));
            bundle.annotation("io.roadrunner.hose/address", &address);
        }
    }
}
