//! The `rr-runtime` binary: parse, one call into `runtime`, exit code.

use std::process::ExitCode;

mod cli;
mod hose;
mod log;
mod verbs;

fn main() -> ExitCode {
    verbs::main()
}
