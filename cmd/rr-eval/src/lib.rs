//! The evaluation of the Roadrunner paper, re-run on this machine and drawn. It drives built binaries only.
//!
//! A *contestant* is a pair of functions and the road between them. A `plan` says which contestants send what, and how often; the
//! `runner` asks them in turn, so that noise hits all of them; the `referee` believes a time only with a receipt; what it believed, and what
//! it did not, is in the `store`, and the `report` is made of that alone.

mod abreast;
mod apart;
mod bundle;
mod cgroup;
mod child;
pub mod cli;
mod cold;
mod compare;
mod contestant;
mod idle;
mod interrupt;
mod journal;
mod launch;
mod limits;
mod machine;
mod model;
mod nodes;
mod pace;
mod paper;
mod payload;
mod pictures;
mod plan;
mod process;
mod progress;
mod protocol;
mod referee;
mod report;
mod runner;
mod session;
mod statistics;
mod store;
mod sweep;
mod warm;

/// Says that the running test is skipped and why: `make test` counts these lines. Not by `eprintln!`, which libtest captures.
#[cfg(test)]
pub(crate) fn announce_skip(reason: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
