//! The `rr-runtime` binary.

mod curve;

use std::process::ExitCode;

fn main() -> ExitCode {
    rr_runtime::main()
}
