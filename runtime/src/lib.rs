//! The container lifecycle, on youki's libcontainer.
//!
//! Knows OCI; does not know WasmEdge, which stays behind `executor-abi`.

pub mod add;
mod affinity;
pub mod annotation;
mod builders;
pub mod bundle;
pub mod cache;
mod cgroup;
pub mod check;
pub mod checkpoint;
pub mod compile;
pub mod config;
mod control;
pub mod create;
pub mod delete;
mod detach;
pub mod endpoint;
pub mod engine;
pub mod error;
pub mod events;
pub mod exec;
pub mod features;
mod foreground;
mod handover;
mod hook;
pub mod hoses;
pub mod id;
mod init;
pub mod invoke;
mod keyring;
pub mod kill;
pub mod list;
mod lock;
mod lodging;
mod lsm;
pub mod mount;
mod mountinfo;
mod native;
mod network;
mod notify;
mod opener;
mod passwd;
pub mod pause;
pub mod process;
pub mod quantity;
mod receiver;
pub mod rendezvous;
mod root;
pub mod run;
mod sandbox;
pub mod scrape;
pub mod sealed;
mod signals;
mod sources;
pub mod spec_template;
mod spelling;
pub mod start;
pub mod state;
pub mod statistics;
mod systemd;
mod terminal;
pub mod tree;
pub mod trust;
mod turn;
pub mod update;
pub mod usage;
pub mod wasm;
pub mod workload;

pub use error::{Error, ErrorKind, Result};

/// Whether this process is root's.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that the running test is skipped and why: `make test` counts these lines. Not by println!, which libtest captures.
#[cfg(test)]
pub(crate) fn announce_skip(reason: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
