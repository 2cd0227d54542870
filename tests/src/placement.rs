//! A function that sends, and says `auto` and nothing else of the way, under a manager: with its target in its own container, in another
//! one of the host, and at an address.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{Case, Output, flow, ports};

/// Where a manager's containers find the modules.
pub const FUNCTIONS: &str = "/functions";

/// Sends a byte, and exits with what it is told.
const SOURCE: &str = r#"(module
  (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
  (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $register (i32.const 1024) (i32.const 1)))
    (call $exit (i32.and (call $send (i32.const 1024) (i32.const 1)) (i32.const 255)))))"#;

/// Says 42.
const SINK: &str = r#"(module
  (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
  (func (export "deallocate_memory") (param i32))
  (func (export "read_memory_wasm") (param i32 i32) (drop (call $set_status (i32.const 42)))))"#;

/// A manager, whose containers have the host's network, a folder of modules at [`FUNCTIONS`], and `KEY=VALUE` annotations.
pub trait Manager {
    /// Runs a module to its end.
    fn run(&self, module: &str, annotations: &[String]) -> Output;
    /// Runs a module in the background; gives the container's id.
    fn detach(&self, module: &str, annotations: &[String]) -> String;
    /// What `hose stats --format json` prints of a container.
    fn statistics(&self, id: &str) -> String;
    /// Ends a container with SIGTERM, and removes it.
    fn stop(&self, id: &str);
}

/// Sends in all placements, and looks which way was taken.
pub fn auto_takes_another_way(case: &Case, folder: &Path, manager: &impl Manager) {
    let module = |name: &str, text: &str| {
        let bytes = wat::parse_str(text).expect("the test's own module");
        fs::write(folder.join(name), &bytes).expect("write");
        bytes
    };
    module("source.wasm", SOURCE);
    let sink = module("sink.wasm", SINK);
    let workflow = case.name().trim_end_matches('-').to_owned();
    let annotations = |more: &[(&str, &str)]| -> Vec<String> {
        let common = [("workflow", workflow.as_str()), ("connect-timeout", "10s")];
        let all = common.iter().chain(more);
        all.map(|(key, value)| format!("io.roadrunner.hose/{key}={value}")).collect()
    };
    let send = |more: (&str, &str)| {
        let source = [("mode", "auto"), ("name", "source"), ("target", "sink"), more];
        let _ = manager.run("source.wasm", &annotations(&source)).exits(42);
    };
    send(("modules", &flow::pin("sink", &format!("{FUNCTIONS}/sink.wasm"), &sink)));
    let at = format!("tcp://127.0.0.1:{}", ports::free(1)[0]);
    let listen = ("listen", at.as_str());
    for (mode, more, transport) in [("kernel", None, "unix"), ("network", Some(listen), "tcp")] {
        let sink = [("mode", mode), ("name", "sink"), ("lifecycle", "serve")];
        let sink: Vec<_> = sink.into_iter().chain(more).collect();
        let id = manager.detach("sink.wasm", &annotations(&sink));
        send(("address", &format!("sink={at}")));
        let stats: Value = serde_json::from_str(&manager.statistics(&id)).expect("JSON");
        let [peer] = &stats[0]["peers"].as_array().expect("peers")[..] else { panic!("one peer: {stats}") };
        assert_eq!((peer["mode"].as_str(), peer["calls"].as_u64()), (Some(transport), Some(1)), "{stats}");
        manager.stop(&id);
    }
}
