//! `hose add`: functions that join a workflow while it runs.

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::command::Running;
use tests::flow::pin;
use tests::{Bundle, Case, Hoses, Output, wasm_case};

/// A handler: without a payload it answers `text`; else the payload's first byte is the name of the target that it calls with the rest, and
/// whose answer it answers. Its status is 9 where that fails. `start` is its `_start`.
fn node(text: &str, start: &str) -> Vec<u8> {
    let len = text.replace("\\n", "\n").len();
    let text = format!(
        r#"(module
          (import "roadrunner" "answer" (func $answer (param i32 i32 i32) (result i32)))
          (import "roadrunner" "call" (func $call (param i32 i32 i32 i32) (result i64)))
          (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
          (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 32)
          (data (i32.const 1024) "{text}")
          (global $next (mut i32) (i32.const 65536))
          (func (export "allocate_memory") (param i32) (result i32)
            (global.set $next (i32.add (global.get $next) (i32.const 4096)))
            (global.get $next))
          (func (export "deallocate_memory") (param i32))
          (func $print
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const {len}))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
          {start}
          (func (export "read_memory_wasm") (param $at i32) (param $len i32) (local $came i64)
            (if (i32.eqz (local.get $len)) (then
              (memory.copy (i32.const 2048) (i32.const 1024) (i32.const {len}))
              (drop (call $register (i32.const 2048) (i32.const {len})))
              (drop (call $answer (local.get $at) (i32.const 2048) (i32.const {len}))) (return)))
            (local.set $came (call $call (local.get $at) (i32.const 1)
              (i32.add (local.get $at) (i32.const 1)) (i32.sub (local.get $len) (i32.const 1))))
            (if (i64.lt_s (local.get $came) (i64.const 0)) (then (drop (call $set_status (i32.const 9))) (return)))
            (drop (call $answer (local.get $at)
              (i32.wrap_i64 (i64.shr_u (local.get $came) (i64.const 32))) (i32.wrap_i64 (local.get $came))))))"#
    );
    wat::parse_str(&text).expect("the test's own module")
}

/// A workflow that serves, and that functions are added to.
struct Scene<'a> {
    hoses: Hoses<'a>,
    case: &'a Case,
    /// Its container's name, once it runs.
    id: String,
    bundle: Bundle,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Self {
        let hoses = Hoses::new(case);
        let bundle = hoses.function_of(&node("I am main", ""), "main", "", &[]);
        bundle
            .annotation("io.roadrunner.hose/mode", "user,kernel")
            .annotation("io.roadrunner.hose/lifecycle", "serve");
        Self { hoses, case, id: String::new(), bundle }
    }

    fn run(&mut self) -> Running {
        let (id, run) = self.hoses.start(&self.bundle);
        self.id = id;
        run
    }

    /// Puts a module into the container, and gives the text that pins it.
    fn module(&self, name: &str, module: &[u8]) -> String {
        self.bundle.file(&format!("{name}.wasm"), module);
        pin(name, &format!("/{name}.wasm"), module)
    }

    fn add(&self, function: &str, options: &[&str]) -> Output {
        self.hoses.cmd_of("tenant", &["hose", "add"]).args(options).arg(&self.id).arg(function).output()
    }

    fn call(&self, path: &str) -> Output {
        self.hoses.cmd_of("tenant", &["invoke", &self.id, "--data", path]).output()
    }

    #[track_caller]
    fn answers(&self, path: &str, text: &str) {
        assert_eq!(self.call(path).success().stdout, text, "{path}");
    }

    /// Whoever is called there does not know its target.
    #[track_caller]
    fn leads_nowhere(&self, path: &str) {
        let out = self.call(path).exits(1);
        assert!(out.stderr.contains("handler said 9"), "{path}: {}", out.stderr);
    }

    /// `hose add` fails with one line that has all of `named` in it, and the workflow goes on.
    #[track_caller]
    fn refuses(&self, function: &str, options: &[&str], named: &[&str]) {
        let out = self.add(function, options).exits(1);
        let lines = out.error_lines();
        assert_eq!((lines.len(), out.stdout.as_str()), (1, ""), "{}", out.stderr);
        for name in named {
            assert!(lines[0].contains(name), "{name:?} is not in: {}", lines[0]);
        }
        self.answers("", "I am main");
    }

    fn listed(&self) -> Value {
        let list = self.case.cmd(["hose", "ls", "--format", "json"]).ok();
        serde_json::from_str::<Value>(&list).expect("JSON")[0].clone()
    }

    #[track_caller]
    fn end(&self, run: Running) -> Output {
        self.case.cmd(["kill", &self.id, "TERM"]).ok();
        let out = run.wait();
        self.hoses.nothing_left();
        out
    }
}

#[test]
fn functions_join_a_workflow_that_runs_interpreted_and_compiled() {
    let case = wasm_case!();
    for aot in ["off", "wait"] {
        let mut scene = Scene::new(&case);
        scene.bundle.annotation("io.roadrunner.wasm/aot", aot);
        let run = scene.run();
        scene.leads_nowhere("b");
        assert_eq!(scene.listed()["mode"], json!(["user", "kernel"]));
        let [b, c, d] = ["b", "c", "d"].map(|name| scene.module(name, &node(&format!("I am {name}"), "")));
        assert_eq!(scene.add(&b, &[]).success().stdout, "");
        scene.answers("b", "I am b");
        scene.leads_nowhere("bc");
        let _ = scene.add(&c, &["--from", "b"]).success();
        scene.answers("bc", "I am c");
        scene.leads_nowhere("c");
        let _ = scene.add(&d, &["--to", "c,b", "--from", "main,b"]).success();
        for path in ["dc", "dbc", "bdbdc"] {
            // A function that waits for this very call cannot be called.
            if path.len() < 5 {
                scene.answers(path, &format!("I am {}", &path[path.len() - 1..]));
            } else {
                scene.leads_nowhere(path);
            }
        }
        let listed = scene.listed();
        assert_eq!((&listed["functions"], &listed["targets"]), (&json!(["b", "c", "d"]), &json!(["b", "d"])));
        let stats = case.cmd(["hose", "stats", "--format", "json"]).ok();
        let stats: Value = serde_json::from_str(&stats).expect("JSON");
        let peers = stats[0]["peers"].as_array().expect("a list");
        assert!(peers.iter().any(|peer| peer["peer"] == "d" && peer["mode"] == "memory"), "{peers:?}");
        let _ = scene.end(run).success();
    }
}

#[test]
fn a_function_with_a_start_of_its_own_runs_it_on_a_thread_of_its_own() {
    let case = wasm_case!();
    let mut scene = Scene::new(&case);
    let mut run = scene.run();
    let b = scene.module("b", &node("started, then called\\n", r#"(export "_start" (func $print))"#));
    let _ = scene.add(&b, &[]).success();
    run.expect_stdout("started, then called");
    scene.answers("b", "started, then called\n");
    let _ = scene.end(run).success();
}

/// The function that traps is replaced by its next call; the others notice nothing.
#[test]
fn an_added_function_that_traps_costs_its_call() {
    let case = wasm_case!();
    let mut scene = Scene::new(&case);
    let run = scene.run();
    let traps = wat::parse_str(
        r#"(module (memory (export "memory") 2)
          (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
          (func (export "deallocate_memory") (param i32))
          (func (export "read_memory_wasm") (param i32 i32) unreachable))"#,
    );
    let b = scene.module("b", &traps.expect("the test's own module"));
    let _ = scene.add(&b, &[]).success();
    for _ in 0..2 {
        scene.leads_nowhere("b");
        scene.answers("", "I am main");
    }
    let out = scene.end(run).success();
    assert_eq!(out.stderr.matches("unreachable").count(), 2, "{}", out.stderr);
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_the_workflow_goes_on() {
    let case = wasm_case!();
    let mut scene = Scene::new(&case);
    scene.bundle.annotation("io.roadrunner.hose/target", "elsewhere");
    let run = scene.run();
    let module = node("I am b", "");
    let b = scene.module("b", &module);
    scene.bundle.file("other.wasm", node("I am another", ""));
    scene.refuses(&b.replace("/b.wasm", "/other.wasm"), &[], &["/other.wasm", "SHA-256"]);
    scene.refuses(&b.replace("/b.wasm", "/missing.wasm"), &[], &["/missing.wasm"]);
    for bytes in [&b"\x7fELF\x02\x01\x01\0"[..], b"#!/bin/sh\n", b"", b"\0asm\x02\0\0\0"] {
        scene.refuses(&scene.module("bad", bytes), &[], &["/bad.wasm"]);
    }
    let unlinked = wat::parse_str(r#"(module (import "env" "mystery" (func)) (func (export "_start")))"#);
    let unlinked = scene.module("unlinked", &unlinked.expect("the test's own module"));
    scene.refuses(&unlinked, &[], &["/unlinked.wasm", "mystery"]);
    scene.refuses(&b, &["--to", "x"], &["function b", "sends to x"]);
    scene.refuses(&b, &["--to", "main"], &["function b", "sends to main"]);
    scene.refuses(&b, &["--from", "x"], &["function b", "x, which is to send"]);
    scene.refuses(&b.replace("b=", "main="), &[], &["function main", "there is one"]);
    scene.refuses(&b.replace("b=", "elsewhere="), &[], &["function elsewhere", "another container"]);
    for text in ["b", "b=/b.wasm", "b=b.wasm@sha256:00", &b.replace("b=", "a b=")] {
        scene.refuses(text, &[], &["function", text.split('=').next().expect("a name")]);
    }
    scene.refuses(&b, &["--to", "a b"], &["--to"]);
    // Nothing of all that has taken the name.
    let _ = scene.add(&b, &[]).success();
    scene.answers("b", "I am b");
    scene.refuses(&b, &[], &["function b", "there is one"]);
    let _ = scene.end(run).success();
}

#[test]
fn the_maxima_of_all_functions_have_to_fit_into_the_cgroups_limit() {
    let case = wasm_case!();
    for (asked, why) in [(Some("32Mi"), "3 functions of 33554432"), (None, "all of the cgroup's limit")] {
        let mut scene = Scene::new(&case);
        scene.bundle.edit(|config| {
            config["linux"]["resources"]["memory"] = json!({ "limit": 67_108_864 });
        });
        if let Some(asked) = asked {
            scene.bundle.annotation("io.roadrunner.wasm/max-memory", asked);
        }
        let run = scene.run();
        let [b, c] = ["b", "c"].map(|name| scene.module(name, &node(name, "")));
        if asked.is_some() {
            let _ = scene.add(&b, &[]).success();
        }
        scene.refuses(&c, &[], &["io.roadrunner.wasm/max-memory", why]);
        let _ = scene.end(run).success();
    }
}

#[test]
fn only_a_workflow_that_runs_can_be_added_to() {
    let case = wasm_case!();
    let module = node("I am b", "");
    let add = |bundle: &Bundle, start: bool, named: &str| {
        bundle.file("b.wasm", &module);
        let id = case.id();
        case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(&id).ok();
        if start {
            case.cmd(["start", &id]).ok();
        }
        let out = case.cmd(["hose", "add", &id]).arg(pin("b", "/b.wasm", &module)).output().exits(1);
        assert!(out.error_lines().len() == 1 && out.stderr.contains(named), "{named}: {}", out.stderr);
        assert!(out.stderr.contains(&id), "{}", out.stderr);
        case.cmd(["kill", &id, Signal::KILL.as_raw().to_string().as_str()]).ok();
        case.await_stopped(&id);
        case.delete(&id);
    };
    let spins =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#);
    let spins = spins.expect("the test's own module");
    let alone = case.wasm_bytes(&spins);
    add(&alone, true, "has no hose");
    for (key, value) in [("mode", "user"), ("name", "a"), ("workflow", "w")] {
        alone.annotation(&format!("io.roadrunner.hose/{key}"), value);
    }
    add(&alone, false, "created, not running");
    let hoses = Hoses::new(&case);
    let kernel = hoses.function_of(&spins, "a", "", &[]);
    let (id, run) = hoses.start(&kernel);
    kernel.file("b.wasm", &module);
    let out = case.cmd(["hose", "add", &id]).arg(pin("b", "/b.wasm", &module)).output().exits(1);
    assert!(out.stderr.contains("hose/mode has no user"), "{}", out.stderr);
    case.cmd(["kill", &id, "KILL"]).ok();
    let _ = run.wait();
    let out = case.cmd(["hose", "add", "nobody"]).arg(pin("b", "/b.wasm", &module)).output().exits(1);
    assert!(out.stderr.contains("does not exist"), "{}", out.stderr);
}
