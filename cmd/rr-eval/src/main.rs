//! The `rr-eval` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    rr_eval::cli::main()
}
