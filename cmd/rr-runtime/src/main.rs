//! The `rr-runtime` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    rr_runtime::main()
}
