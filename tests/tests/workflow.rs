//! User space: the functions of a workflow in one container. What the executor's own tests ask of the memory transport is asked
//! there; here it is what a container adds: annotations, pinned modules, compiled code, limits, signals, and the way out
//! to other containers.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::flow::pin;
use tests::guest;
use tests::{Bundle, Case, Flow, Hoses, wasm_case};

const SOURCE: &str = "wasm32-wasip1/release/pattern-source.wasm";
const HANDLER: &str = "wasm32-wasip1/release/handler.wasm";
const FIGURES: [&str; 2] =
    ["wasm32-wasip1/release/figure-source.wasm", "wasm32-wasip1/release/figure_sink.wasm"];

/// A sender and a receiver in each language, and the handlers.
const LANGUAGES: [(&str, &str, &str); 4] = [
    ("rust", SOURCE, "wasm32-wasip1/release/pattern-sink.wasm"),
    ("c", "c/pattern-source.wasm", "c/pattern-sink.wasm"),
    ("go", "go/source.wasm", "go/sink.wasm"),
    ("assemblyscript", "assemblyscript/source.wasm", "assemblyscript/sink.wasm"),
];
const HANDLERS: [&str; 2] = ["go/handler.wasm", "assemblyscript/handler.wasm"];

/// Sends "text" once, and exits with the status if it is positive, with 99 if it is negative.
const TEXT: &str = r#"(module
  (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
  (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "text")
  (func (export "_start") (local $status i32)
    (drop (call $register (i32.const 1024) (i32.const 4)))
    (local.set $status (call $send (i32.const 1024) (i32.const 4)))
    (if (i32.lt_s (local.get $status) (i32.const 0)) (then (call $exit (i32.const 99))))
    (call $exit (local.get $status))))"#;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own module")
}

/// A handler with this body for `read_memory_wasm(0, 1)`.
fn handler(body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
          (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
          (memory (export "memory") 2)
          (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
          (func (export "deallocate_memory") (param i32))
          (func (export "read_memory_wasm") (param i32 i32) {body}))"#
    ))
}

/// Waits for a clock, again and again.
const SLEEP: &str = r#"
  (i32.store (i32.const 1040) (i32.const 1)) (i64.store (i32.const 1048) (i64.const 20000000000))
  (loop $ever
    (drop (call $poll (i32.const 1024) (i32.const 1104) (i32.const 1) (i32.const 1200)))
    (br $ever))"#;
const SLEEPS: Duration = Duration::from_secs(20);

const PRINT: &str = r#"
  (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
  (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"#;

#[test]
fn functions_of_every_language_hand_payloads_over_in_one_container() {
    let case = wasm_case!();
    for (_, source, _) in LANGUAGES {
        let Some(source) = guest::example(source) else { continue };
        for sink in LANGUAGES.iter().map(|(_, _, sink)| *sink).chain(HANDLERS) {
            let Some(module) = guest::example(sink) else { continue };
            let flow = Flow::new(&case, &source, &["65537"], &["sink"]).with("sink", &module, &[]);
            let out = case.run(flow.bundle(), &case.id()).output();
            assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{sink}: {}", out.stdout);
            let described = out.stdout.lines().find_map(|line| line.strip_prefix("sent ")).expect("a line");
            let received = format!("received {described} from main");
            assert!(out.stdout.lines().any(|line| line == received), "{sink}: {}", out.stdout);
        }
    }
}

#[test]
fn a_status_crosses_and_the_name_of_the_sender_is_the_functions() {
    let case = wasm_case!();
    let Some(module) = guest::example(HANDLER) else { return };
    let flow = Flow::new(&case, &wat(TEXT), &[], &["b"]).with("b", &module, &[]);
    let out = case.run(flow.bundle(), &case.id()).output().success();
    assert_eq!(out.stdout, "main says: text\n");
    let flow = Flow::new(&case, &wat(TEXT), &[], &["b"]).with(
        "b",
        &handler("(drop (call $set_status (i32.const 42)))"),
        &[],
    );
    let _ = case.run(flow.bundle(), &case.id()).output().exits(42);
}

#[test]
fn a_chain_and_a_fan_out_follow_the_routes() {
    let case = wasm_case!();
    let pass = handler("(drop (call $set_status (call $send (local.get 0) (local.get 1))))");
    let flow = Flow::new(&case, &wat(TEXT), &[], &["b"])
        .with("b", &pass, &["c"])
        .with("c", &pass, &["d", "e"])
        .with("d", &handler(PRINT), &[])
        .with("e", &handler(&format!("{PRINT} (drop (call $set_status (i32.const 7)))")), &[]);
    let out = case.run(flow.bundle(), &case.id()).output().exits(7);
    assert_eq!(out.stdout, "texttext");
}

/// Whatever compiled functions are at, on several threads at once: loops, memory, tables, the engine, the host.
#[test]
fn a_fan_out_to_functions_that_never_end_is_stopped_again_and_again() {
    const ROUNDS: usize = 100;
    let case = wasm_case!();
    let source = format!(
        r#"(module
          (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
          (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start") (local $i i32)
            (drop (call $register (i32.const 1024) (i32.const 4)))
            (loop $again
              (drop (call $send (i32.const 1024) (i32.const 4)))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $i) (i32.const {ROUNDS}))))))"#
    );
    let handler = |body: &str| {
        wat(&format!(
            r#"(module
              (import "roadrunner" "peer_name" (func $peer (param i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
              (memory (export "memory") 64)
              (table 1000 funcref)
              (func $deep (param i32)
                (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))
              (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
              (func (export "deallocate_memory") (param i32))
              (func (export "read_memory_wasm") (param i32 i32) (loop $ever {body} (br $ever))))"#
        ))
    };
    let bodies = [
        "",
        "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 1000000))",
        "(call $deep (i32.const 300))",
        "(drop (call $random (i32.const 8192) (i32.const 100)))",
        "(drop (call $peer (local.get 0) (i32.const 1000) (i32.const 60)))",
        "(table.fill (i32.const 0) (ref.null func) (i32.const 1000))",
    ];
    let names: Vec<String> = (0..bodies.len()).map(|i| format!("b{i}")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let flow = Flow::new(&case, &wat(&source), &[], &targets);
    let flow = names.iter().zip(bodies).fold(flow, |flow, (name, body)| flow.with(name, &handler(body), &[]));
    flow.hose("io-timeout", "2ms");
    flow.bundle().annotation("io.roadrunner.wasm/aot", "wait");
    let out = case.run(flow.bundle(), &case.id()).output().success();
    let late = out.stderr.matches("did not handle a payload within 2ms").count();
    // One that was not instantiated in time is not called.
    let not_ready = out.stderr.matches("was not ready").count();
    assert!(late + not_ready >= ROUNDS && late > 0, "{late} late, {not_ready} not ready: {}", out.stderr);
    assert!(!out.stderr.contains("trapped"), "{}", out.stderr);
}

/// Compiled ahead of time, at once: what can be given away, and what is too late.
#[test]
fn compiled_functions_move_pages_and_keep_deadlines() {
    let case = wasm_case!();
    let [Some(source), Some(sink)] = FIGURES.map(guest::example) else { return };
    for transfer in ["auto", "move", "copy"] {
        let flow = Flow::new(&case, &source, &["give", "2", "10000000", "5"], &["b"]).with("b", &sink, &[]);
        flow.hose("transfer", transfer);
        flow.bundle().annotation("io.roadrunner.wasm/aot", "wait");
        let out = case.run(flow.bundle(), &case.id()).output().success();
        assert_eq!(out.stdout.lines().count(), 5, "{transfer}: {}", out.stdout);
    }
    for aot in ["off", "wait"] {
        for late in ["(loop $ever (br $ever))", SLEEP] {
            let start = Instant::now();
            let flow = Flow::new(&case, &wat(TEXT), &[], &["b"]).with("b", &handler(late), &[]);
            flow.hose("io-timeout", "300ms");
            flow.bundle().annotation("io.roadrunner.wasm/aot", aot);
            let out = case.run(flow.bundle(), &case.id()).output().exits(99);
            let said = "function b did not handle a payload within 300ms";
            assert!(out.stderr.contains(said), "{aot}, {late}: {}", out.stderr);
            assert!(start.elapsed() < SLEEPS, "{aot}, {late}: it was not interrupted");
        }
    }
}

#[test]
fn modules_are_compiled_in_the_background_each_for_itself() {
    let case = wasm_case!();
    let mark = format!(r#"(data (i32.const 1024) "{}")"#, case.name());
    let own = wat(&TEXT.replace(r#"(data (i32.const 1024) "text")"#, &mark));
    let other = handler(&format!(r#"(drop (i32.const {}))"#, std::process::id()));
    let flow = Flow::new(&case, &own, &[], &["b"]).with("b", &other, &[]);
    flow.bundle().annotation("io.roadrunner.wasm/aot", "cache");
    let config = case.dir().join("config.toml");
    let cache = case.dir().join("cache");
    fs::write(&config, format!("[cache]\ndirectory = \"{}\"\n", cache.display())).expect("write");
    let run = || {
        let cmd = case.mark(case.runtime().command()).arg("--root").arg(case.root());
        cmd.arg("--config").arg(&config).args(["run", "--bundle"]).arg(flow.bundle().dir()).arg(case.id())
    };
    run().ok();
    // `list` has an entry a line under its title.
    let entries = || {
        case.runtime().command().arg("--config").arg(&config).args(["cache", "ls"]).ok().lines().count() - 1
    };
    tests::command::eventually("both modules are compiled", || entries() == 2);
    run().ok();
    // Until nothing compiles any more.
    case.nothing_left();
}

/// `create` fails with one line that has all of `named` in it.
#[track_caller]
fn refused(case: &Case, bundle: &Bundle, named: &[&str]) {
    let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
    assert_eq!(out.code, 1, "accepted: {}", out.stderr);
    let lines = out.error_lines();
    assert_eq!(lines.len(), 1, "one error line: {}", out.stderr);
    for name in named {
        assert!(lines[0].contains(name), "{name:?} is not named in: {}", lines[0]);
    }
    assert_eq!(case.left(), Vec::<String>::new());
}

#[test]
fn a_module_must_be_there_be_a_module_and_be_the_pinned_one() {
    let case = wasm_case!();
    let module = handler("");
    let flow = || Flow::new(&case, &wat(TEXT), &[], &["b"]).with("b", &module, &[]);
    let pinned = flow();
    pinned.bundle().file("b.wasm", handler("nop"));
    refused(&case, pinned.bundle(), &["/b.wasm", "SHA-256"]);
    let missing = flow();
    fs::remove_file(missing.bundle().rootfs().join("b.wasm")).expect("rm");
    refused(&case, missing.bundle(), &["/b.wasm"]);
    for bytes in [&b"\x7fELF\x02\x01\x01\0"[..], b"#!/bin/sh\n", b"", b"\0asm\x02\0\0\0"] {
        let other = flow();
        other.bundle().file("b.wasm", bytes);
        other.hose("modules", &pin("b", "/b.wasm", bytes));
        refused(&case, other.bundle(), &["/b.wasm"]);
    }
    let outside = flow();
    outside.hose("modules", &pin("b", "/../../etc/passwd", &module));
    refused(&case, outside.bundle(), &["/etc/passwd"]);
    let unlinked = flow();
    let bytes = wat(r#"(module (import "env" "mystery" (func)) (func (export "_start")))"#);
    unlinked.bundle().file("b.wasm", &bytes);
    unlinked.hose("modules", &pin("b", "/b.wasm", &bytes));
    refused(&case, unlinked.bundle(), &["/b.wasm", "mystery"]);
}

#[test]
fn what_the_annotations_ask_for_has_to_fit_together() {
    let case = wasm_case!();
    let module = handler("");
    let flow = || Flow::new(&case, &wat(TEXT), &[], &["b"]).with("b", &module, &[]);
    let set = |key: &str, value: &str| {
        let flow = flow();
        flow.hose(key, value);
        flow
    };
    let hose = |key: &str| format!("io.roadrunner.hose/{key}");
    refused(&case, set("target", "c").bundle(), &[&hose("target"), "c is not among"]);
    refused(&case, set("mode", "kernel").bundle(), &[&hose("modules"), "user"]);
    refused(&case, set("routes", "b=c").bundle(), &[&hose("routes"), "c, which is not among"]);
    refused(&case, set("routes", "x=b").bundle(), &[&hose("routes"), "x, which is not among"]);
    refused(&case, set("routes", "b=b").bundle(), &[&hose("routes"), "itself"]);
    refused(&case, set("name", "b").bundle(), &[&hose("modules"), "container's own"]);
}

#[test]
fn the_maxima_of_a_workflow_have_to_fit_into_the_cgroups_limit() {
    let case = wasm_case!();
    let module = handler("");
    let flow = || {
        let flow = Flow::new(&case, &wat(TEXT), &[], &["b"]).with("b", &module, &[]).with("c", &module, &[]);
        flow.bundle().edit(|config| {
            config["linux"]["resources"]["memory"] = json!({ "limit": 134_217_728 });
        });
        flow
    };
    let too_much = flow();
    too_much.bundle().annotation("io.roadrunner.wasm/max-memory", "64Mi");
    refused(
        &case,
        too_much.bundle(),
        &["io.roadrunner.wasm/max-memory", "3 functions", "67108864", "134217728"],
    );
    let fits = flow();
    fits.bundle().annotation("io.roadrunner.wasm/max-memory", "32Mi");
    case.run(fits.bundle(), &case.id()).ok();
    // Where none is asked for, each has its part.
    case.run(flow().bundle(), &case.id()).ok();
}

#[test]
fn a_signal_ends_a_workflow_wherever_it_is() {
    let case = wasm_case!();
    let body = format!("{PRINT} (loop $ever (br $ever))");
    for body in [handler(&body), handler("")] {
        let spins = wat(&TEXT.replace("(call $exit (local.get $status))", "(loop $ever (br $ever))"));
        let flow = Flow::new(&case, &spins, &[], &["b"]).with("b", &body, &[]);
        let id = case.id();
        case.start(flow.bundle(), &id);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let pid = case.state(&id)["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        case.cmd(["kill", &id, "TERM"]).ok();
        assert_eq!(case.exit_status(pid), 143);
        case.await_stopped(&id);
        case.delete(&id);
    }
}

#[test]
fn from_one_container_to_another_by_way_of_both_transports() {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    let Some(sink) = guest::example("wasm32-wasip1/release/pattern-sink.wasm") else { return };
    let receiver = hoses.run(&hoses.function_of(&sink, "elsewhere", "", &["1"]));
    let Some(source) = guest::example(SOURCE) else { return };
    let send = |mode: &str, body: &str| {
        let flow = Flow::new(&case, &source, &["65537"], &["b", "elsewhere"]).with("b", &handler(body), &[]);
        flow.hose("mode", mode).hose("workflow", &hoses.workflow()).hose("connect-timeout", "500ms");
        hoses.run(flow.bundle()).wait()
    };
    // The function beside it complains, which is heard; the one elsewhere has it, as long as it is there.
    let out = send("user,kernel", "(drop (call $set_status (i32.const 3)))").exits(1);
    assert!(out.stderr.contains("code 3"), "{}", out.stderr);
    let received = receiver.wait().success();
    assert!(received.stdout.ends_with("from main\n"), "{}", received.stdout);
    let out = send("auto", "").exits(1);
    assert!(out.stderr.contains("elsewhere did not come"), "{}", out.stderr);
    hoses.nothing_left();
}
