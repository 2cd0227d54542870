//! The command line of `rr-runtime`: parse, one call into `runtime`, exit code. A library so that its manual can be made of it
//! (`examples/manual.rs`).

mod cli;
mod hose;
mod late;
mod log;
mod own;
mod verbs;

pub use cli::command;
pub use verbs::{main, main_native};
