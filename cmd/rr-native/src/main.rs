//! The `rr-runtime-native` binary: see [`rr_runtime::main_native`]. `scripts/build` links it statically.

use std::process::ExitCode;

fn main() -> ExitCode {
    rr_runtime::main_native()
}
