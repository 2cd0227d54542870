//! Functions for the tests: text for what a few instructions can do, and one C program of many verbs.

use std::sync::OnceLock;

use crate::{Invocation, runtime};

/// Prints `hello`.
pub const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// Prints `ready`, then turns in a loop for ever.
pub const LOOP: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00ready\n")
  (func $spin (loop $again (br $again)))
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (call $spin)))"#;

/// Prints `ready`, then reads its standard input for ever.
pub const READ: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00ready\n")
  (data (i32.const 32) "\40\00\00\00\10\00\00\00")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (loop $again
      (drop (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 48)))
      (br $again))))"#;

/// Ends with this code.
#[must_use]
pub fn exit(code: u32) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $proc_exit (i32.const {code})) unreachable))"#
    )
}

/// A module without imports whose `_start` has this body.
#[must_use]
pub fn start(body: &str) -> String {
    format!(r#"(module (memory (export "memory") 1) (func $start (export "_start") {body}))"#)
}

/// A command of many verbs, named by its first argument. Gives nothing, having said so, without clang and wasi-libc.
#[must_use]
pub fn tool() -> Option<&'static [u8]> {
    static MODULE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let module = MODULE.get_or_init(|| compile(include_str!("tool.c"), &[])).as_deref();
    if module.is_none() {
        crate::announce_skip("no clang with wasi-libc (clang lld wasi-libc libclang-rt-14-dev-wasm32)");
    }
    module
}

/// Compiles C for wasm32-wasi, when there is a compiler for it.
#[track_caller]
#[must_use]
pub fn compile(source: &str, flags: &[&str]) -> Option<Vec<u8>> {
    runtime::program("clang")?;
    if !std::path::Path::new("/usr/lib/wasm32-wasi/libc.a").exists() {
        return None;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let target = dir.path().join("module.wasm");
    Invocation::new("clang")
        .args(["--target=wasm32-wasi", "-O1", "-g0"])
        .args(flags)
        .args(["-x", "c", "-o"])
        .arg(&target)
        .arg("-")
        .stdin(source)
        .ok();
    Some(std::fs::read(target).expect("clang wrote it"))
}

/// A function with a hose, of many verbs. Gives nothing, having said so, without clang and wasi-libc.
#[must_use]
pub fn hose() -> Option<&'static [u8]> {
    static MODULE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let header = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../guest/c");
    let module = MODULE.get_or_init(|| compile(include_str!("hose.c"), &[header])).as_deref();
    if module.is_none() {
        crate::announce_skip("no clang with wasi-libc (clang lld wasi-libc libclang-rt-14-dev-wasm32)");
    }
    module
}

/// A module that `scripts/build-guests` made of the examples, by its path below `guest/examples/target`. Gives nothing, having
/// said so, when it is not there.
#[must_use]
pub fn example(path: &str) -> Option<Vec<u8>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest/examples/target");
    let module = std::fs::read(std::path::Path::new(file).join(path)).ok();
    if module.is_none() {
        crate::announce_skip(&format!(
            "no example {path}: scripts/build-guests has not made it, and says why"
        ));
    }
    module
}
