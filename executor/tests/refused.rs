//! What is never run, and the reason that is given: the container's `create` fails with it.

mod common;

use common::{bytes, wat};
use executor_abi::request::Limits;

fn reason(case: &common::Case) -> String {
    let ended = case.run();
    let path = case.path().display().to_string();
    let reason = ended.create_error().to_owned();
    assert!(reason.starts_with(&format!("module {path}: ")), "{reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    reason[format!("module {path}: ").len()..].to_owned()
}

#[test]
fn every_unknown_import_is_named() {
    let case = wat(r#"(module (import "env" "foo" (func)) (import "env" "mem" (memory 1))
        (import "env" "t" (table 1 funcref)) (import "env" "g" (global i32))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (func (export "_start")))"#);
    assert_eq!(
        reason(&case),
        "unknown imports env.foo (func), env.mem (memory), env.t (table), env.g (global)"
    );
}

#[test]
fn one_unknown_import_is_named_in_the_singular() {
    let case = wat(r#"(module (import "env" "foo" (func)) (func (export "_start")))"#);
    assert_eq!(reason(&case), "unknown import env.foo (func)");
}

#[test]
fn an_import_of_the_wrong_type_is_named_with_both_types() {
    let case = wat(r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
        (import "roadrunner" "send_to_host" (func (param i32) (result i32)))
        (import "roadrunner" "teleport" (func)) (func (export "_start")))"#);
    assert_eq!(
        reason(&case),
        "unknown imports wasi_snapshot_preview1.proc_exit (func (i64) -> (), the host's is (i32) -> ()), \
         roadrunner.send_to_host (func (i32) -> (i32), the host's is (i32 i32) -> (i32)), roadrunner.teleport (func)"
    );
}

#[test]
fn a_function_that_is_not_exported_is_named() {
    let case = wat(r#"(module (func (export "other")))"#);
    assert_eq!(reason(&case), "no exported function _start");
    assert_eq!(reason(&wat(r#"(module (func (export "_start")))"#).function("f")), "no exported function f");
    assert_eq!(
        reason(&wat(r#"(module (func (export "_start") (param i32)))"#)),
        "_start has the type (i32) -> (), not () -> ()"
    );
}

#[test]
fn arguments_of_a_named_function_are_checked() {
    let module = r#"(module (func (export "f") (param i32)) (func (export "v") (param v128)))"#;
    let with = |function: &str, args: &[&str]| reason(&wat(module).function(function).args(args));
    assert_eq!(with("f", &["app"]), "function f: takes 1 arguments, 0 are given");
    assert_eq!(with("f", &["app", "x"]), "function f: argument \"x\" is no i32");
    assert!(with("v", &["app", "1"]).starts_with("function v: cannot be called from outside"));
}

#[test]
fn proposals_that_are_off_are_refused() {
    for (name, module) in [
        ("memory64", r#"(module (memory i64 1) (func (export "_start")))"#),
        ("threads", r#"(module (memory 1 1 shared) (func (export "_start")))"#),
        ("multi-memory", r#"(module (memory 1) (memory 1) (func (export "_start")))"#),
        ("tail call", r#"(module (func $f) (func (export "_start") (return_call $f)))"#),
        ("exceptions", r#"(module (tag $t) (func (export "_start") (throw $t)))"#),
        ("gc", r#"(module (type (struct (field i32))) (func (export "_start")))"#),
    ] {
        let reason = reason(&wat(module));
        assert!(reason.starts_with("invalid: "), "{name}: {reason}");
    }
}

#[test]
fn proposals_that_toolchains_use_are_not() {
    let module = r#"(module (memory 1) (table 1 externref) (global (export "g") (mut i32) (i32.const 0))
        (func $two (result i32 i32) (i32.const 1) (i32.const 2))
        (func (export "_start")
            (drop (i32.extend8_s (i32.const 200)))
            (drop (i32.trunc_sat_f32_s (f32.const nan)))
            (drop (i32.add (call $two)))
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 10))
            (drop (i32x4.extract_lane 0 (v128.const i32x4 1 2 3 4)))))"#;
    let ended = wat(module).run();
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn what_is_no_module_never_reaches_the_engine() {
    for (module, part) in [
        (&b""[..], "shorter than its magic number"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0", "an ELF file"),
        (b"#!/bin/sh\nexit 0\n", "a script"),
        (b"\0asm\x0d\0\x01\0", "a component"),
        (b"\0asm\x02\0\0\0", "unknown version"),
    ] {
        let reason = reason(&bytes(module));
        assert!(reason.contains(part), "{reason}");
    }
    let mut folder = wat("(module)");
    folder.request.module.path = folder.folder.path().to_str().expect("UTF-8").to_owned();
    assert_eq!(reason(&folder), "not a regular file");
    let mut missing = wat("(module)");
    missing.request.module.path.push_str(".not");
    assert!(reason(&missing).starts_with("open: No such file"));
    let elf = std::fs::read("/bin/true").expect("a program");
    assert!(reason(&bytes(&elf)).contains("an ELF file"));
}

#[test]
fn a_module_above_the_permitted_size_is_refused() {
    let mut case = wat(r#"(module (func (export "_start")))"#);
    case.request.module.max_size = 20;
    assert!(reason(&case).ends_with("bytes, the limit is 20"));
}

#[test]
fn a_module_cut_at_every_tenth_byte_is_refused() {
    let whole = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (memory (export "memory") 1)
            (data (i32.const 8) "a piece of data that is long enough to be cut in more than one place")
            (func $f (export "_start") (local i32 i64) (local.set 0 (i32.const 100000)) (drop (local.get 0))))"#,
    )
    .expect("the test's own module");
    let mut refused = 0;
    for cut in (0..whole.len()).step_by(10) {
        let ended = bytes(&whole[..cut]).run();
        // A cut between sections leaves a module, only another one; it then lacks its entry point or is whole enough.
        if ended.code == 255 {
            assert!(ended.create_error().starts_with("module "), "{cut}: {ended:?}");
            refused += 1;
        } else {
            assert!(ended.code == 0, "{cut}: {ended:?}");
        }
    }
    assert!(refused * 10 >= whole.len() * 7 / 10, "{refused} refused of {}", whole.len() / 10);
}

#[test]
fn a_declared_minimum_above_the_limit_is_refused_with_the_limit() {
    let limits = Limits { max_memory: Some(1 << 20), ..Limits::default() };
    let case = wat(r#"(module (memory 65536) (func (export "_start")))"#).limits(limits.clone());
    assert_eq!(reason(&case), "needs 4294967296 bytes of memory to start, the limit is 1048576 bytes");
    let fits = wat(
        r#"(module (memory (export "memory") 16) (func (export "f") (result i32) (memory.grow (i32.const 1))))"#,
    );
    let ended = fits.limits(limits).function("f").run();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "-1\n"), "growth stops at the limit: {ended:?}");
}

#[test]
fn a_path_with_a_colon_is_refused_by_name() {
    let case = wat(r#"(module (func (export "_start")))"#).preopen("/a:b", std::path::Path::new("/tmp"));
    let ended = case.run();
    assert!(ended.create_error().contains("\"/a:b\""), "{ended:?}");
}

#[test]
fn no_instruction_runs_before_start() {
    // The start section would trap, the data would not fit: neither is seen by `prepare`.
    let case = wat(r#"(module (memory 1) (data (i32.const 70000) "x") (start $s) (func $s unreachable)
        (func (export "_start")))"#);
    assert_eq!(case.run().code, 134);
}
