//! WasmEdge without a runtime around it, for the figure of `make bench` that says what ours adds:
//!
//!     engine-alone MODULE [ARGUMENT]...
//!
//! `MODULE` is what `rr-runtime compile --output` wrote. Its `_start` runs as ahead-of-time code under WASI, without
//! directories or environment, and the exit code is the function's. Through the engine's own interface for Rust, and by the
//! shortest way that it has: nothing in here is the executor's.

use std::collections::HashMap;
use std::process::ExitCode;

use wasmedge_sdk::config::{CommonConfigOptions, ConfigBuilder};
use wasmedge_sdk::log::LogManager;
use wasmedge_sdk::vm::SyncInst;
use wasmedge_sdk::wasi::WasiModule;
use wasmedge_sdk::{Module, RunMode, Store, Vm, WasmEdgeResult};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    assert!(!arguments.is_empty(), "engine-alone MODULE [ARGUMENT]...");
    LogManager::log_off();
    // As bytes: of a file, the engine looks at the ending of its name.
    let ended = std::fs::read(&arguments[0])
        .map_err(|error| error.to_string())
        .and_then(|code| run(&code, &arguments).map_err(|error| error.to_string()));
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("engine-alone: {}: {error}", arguments[0]);
            ExitCode::FAILURE
        }
    }
}

fn run(code: &[u8], arguments: &[String]) -> WasmEdgeResult<u8> {
    let options = CommonConfigOptions::default().run_mode(RunMode::Aot);
    let config = ConfigBuilder::new(options).build()?;
    let module = Module::from_bytes(Some(&config), code)?;
    let mut wasi = WasiModule::create(Some(arguments.iter().map(String::as_str).collect()), None, None)?;
    let imports: HashMap<String, &mut dyn SyncInst> =
        HashMap::from([(wasi.name().to_owned(), wasi.as_mut() as &mut dyn SyncInst)]);
    let mut vm = Vm::new(Store::new(Some(&config), imports)?);
    vm.register_module(None, module)?;
    vm.run_func(None, "_start", [])?;
    drop(vm);
    Ok(u8::try_from(wasi.exit_code() & 0xff).unwrap_or(u8::MAX))
}
