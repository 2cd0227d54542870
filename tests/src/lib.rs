//! The harness of the end-to-end tests.
//!
//! Everything here drives built binaries and looks at the machine from outside: nothing links the runtime or
//! the executor. Three promises hold for every test that goes through a [`Case`]:
//!
//! - it cannot hang: every program has a time-out, after which it is killed by pid and the test fails;
//! - it leaves nothing behind: [`leftovers`] compares the machine with what it was, for the case's own names;
//! - it says so when it did not run: [`skip!`] prints a line that begins with `SKIPPED: `, past libtest's
//!   capture, and `make test` counts these lines.
//!
//! Variables: `RR_RUNTIME` names the runtime under test (default: `rr-runtime` of the build that the tests
//! belong to), `RR_PEER` the one that it is compared with (default: `runc` of `PATH`).

pub mod bundle;
pub mod case;
pub mod command;
pub mod console;
pub mod containerd;
pub mod cri;
pub mod criu;
pub mod docker;
pub mod flow;
pub mod guest;
pub mod hoses;
pub mod leftovers;
pub mod native;
pub mod placement;
pub mod podman;
pub mod ports;
pub mod proc;
pub mod runtime;
pub mod samples;
pub mod systemd;
pub mod user;
pub mod ways;
pub mod workload;

use std::path::PathBuf;

pub use bundle::Bundle;
pub use case::Case;
pub use command::{Invocation, Output, Running};
pub use criu::Criu;
pub use flow::Flow;
pub use hoses::Hoses;
pub use runtime::{Runtime, agree};
pub use ways::{Chain, WAYS, Way};

/// Says that the running test is skipped and why, where neither libtest's capture nor a pass hides it.
pub fn announce_skip(reason: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // Not eprintln!, which libtest captures for a test that passes. A closed stderr is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Where `scripts/` put what they get, as `scripts/common.sh` finds it.
#[must_use]
pub fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("RR_CACHE").or_else(|| {
        let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(caches?.join("rr-runtime"))
    })
}

/// Skips the rest of a test: `skip!("podman is not installed")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::announce_skip(&format!($($reason)*));
        return;
    }};
}

/// A case of Wasm for the runtime under test, or the end of the test where that one knows no Wasm.
#[macro_export]
macro_rules! wasm_case {
    () => {
        match $crate::Case::wasm_runtime() {
            Some(case) => case,
            None => return,
        }
    };
}

/// A bundle that runs the tool ([`guest::tool`]) with these arguments, or the end of the test where it cannot be
/// compiled.
#[macro_export]
macro_rules! tool {
    ($case:expr, $args:expr) => {
        match $case.tool($args) {
            Some(bundle) => bundle,
            None => return,
        }
    };
}
