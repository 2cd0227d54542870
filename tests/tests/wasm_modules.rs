//! Modules that must not run: cut off, invalid, unlinked, of proposals that are off, no modules at all. Each
//! fails `create` with one line that names it, and leaves nothing behind.

use tests::guest::{self, HELLO};
use tests::{Bundle, Case, tool, wasm_case};

/// `create` fails with status 1 and one line that has all of `named` in it; nothing is left.
#[track_caller]
fn refused(case: &Case, bundle: &Bundle, named: &[&str]) {
    let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
    assert_eq!(out.code, 1, "accepted: {:?}\n{}", bundle.config()["process"]["args"], out.stderr);
    let lines = out.error_lines();
    assert_eq!(lines.len(), 1, "one error line: {}", out.stderr);
    assert!(out.stdout.is_empty(), "{}", out.stdout);
    for name in named {
        assert!(lines[0].contains(name), "{name:?} is not named in: {}", lines[0]);
    }
    assert!(!lines[0].contains("panicked"), "{}", lines[0]);
    assert_eq!(case.left(), Vec::<String>::new());
}

fn bytes(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("WAT")
}

#[test]
fn cut_off_at_every_tenth_byte() {
    let case = wasm_case!();
    let whole = bytes(HELLO);
    for len in (10..whole.len()).step_by(10) {
        let bundle = case.wasm_bytes(&whole[..len]);
        let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
        // A module that ends between two sections may be valid; then it has no _start.
        assert_eq!(out.code, 1, "{len} of {} bytes were accepted", whole.len());
        assert_eq!(out.error_lines().len(), 1, "{len} bytes: {}", out.stderr);
        assert!(out.stderr.contains("/module.wasm"), "{len} bytes: {}", out.stderr);
    }
    case.nothing_left();
}

#[test]
fn nothing_but_the_magic() {
    let case = wasm_case!();
    refused(&case, &case.wasm_bytes(b"\0asm"), &["/module.wasm"]);
    refused(&case, &case.wasm_bytes(b"\0asm\x02\0\0\0"), &["/module.wasm"]);
    refused(&case, &case.wasm_bytes(b"\0asm\x01\0\0\0"), &["_start"]);
    let mut rubbish = b"\0asm\x01\0\0\0".to_vec();
    rubbish.extend((0..200_u8).map(|n| n.wrapping_mul(73)));
    refused(&case, &case.wasm_bytes(&rubbish), &["/module.wasm"]);
}

#[test]
fn invalid() {
    let case = wasm_case!();
    // A body that leaves an i32 where none is returned.
    let module = r#"(module (func (export "_start") (i32.const 1)))"#;
    refused(&case, &case.wasm(module), &["/module.wasm"]);
    let module = r#"(module (func (export "_start") (drop (i32.add (i64.const 1) (i32.const 1)))))"#;
    refused(&case, &case.wasm(module), &["/module.wasm"]);
}

#[test]
fn unknown_imports_are_named() {
    let case = wasm_case!();
    let module = r#"(module
      (import "env" "mystery" (func (param i32)))
      (import "wasi_snapshot_preview1" "no_such_call" (func))
      (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
      (func (export "_start")))"#;
    refused(&case, &case.wasm(module), &["env", "mystery", "no_such_call"]);
    // The name of a known one with another type.
    let module = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
      (func (export "_start")))"#;
    refused(&case, &case.wasm(module), &["proc_exit"]);
    for kind in ["(memory 1)", "(table 1 funcref)", "(global i32)"] {
        let module = format!(r#"(module (import "env" "thing" {kind}) (func (export "_start")))"#);
        refused(&case, &case.wasm(&module), &["thing"]);
    }
}

#[test]
fn missing_exports_are_named() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    bundle.args(["/module.wasm#no_such_export"]);
    refused(&case, &bundle, &["no_such_export"]);
    bundle.args(["/module.wasm#"]);
    refused(&case, &bundle, &["/module.wasm"]);
    // Something, but no function.
    bundle.args(["/module.wasm#memory"]);
    refused(&case, &bundle, &["memory"]);
    refused(&case, &case.wasm(r#"(module (memory (export "memory") 1))"#), &["_start"]);
}

#[test]
fn proposals_that_are_off() {
    let case = wasm_case!();
    let memory64 = r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#;
    refused(&case, &case.wasm(memory64), &["/module.wasm"]);
    let table64 = r#"(module (table i64 1 funcref) (func (export "_start")))"#;
    refused(&case, &case.wasm(table64), &["/module.wasm"]);
    let threads = r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#;
    refused(&case, &case.wasm(threads), &["/module.wasm"]);
}

#[test]
fn more_memory_than_its_limit() {
    let case = wasm_case!();
    let bundle = case.wasm(r#"(module (memory (export "memory") 65536) (func (export "_start")))"#);
    bundle.annotation("io.roadrunner.wasm/max-memory", "16Mi");
    let out = case.run(&bundle, &case.id()).output();
    assert_ne!(out.code, 0, "4 GiB were granted under a limit of 16 MiB");
    assert_eq!(out.error_lines().len(), 1, "{}", out.stderr);
    // Both the wish and the limit.
    for value in ["4294967296", "16777216"] {
        assert!(out.stderr.contains(value), "{value} is not named in: {}", out.stderr);
    }
    case.nothing_left();
    // One page more than an address can reach is no module at all.
    let mut bytes = bytes(r#"(module (memory (export "memory") 65536) (func (export "_start")))"#);
    let pages = bytes.windows(3).position(|three| three == [0x80, 0x80, 0x04]).expect("65536 in LEB128");
    bytes[pages] = 0x81;
    refused(&case, &case.wasm_bytes(&bytes), &["/module.wasm"]);
}

#[test]
fn entrypoints_that_lead_nowhere_or_out() {
    let case = wasm_case!();
    let outside = case.dir().join("outside.wasm");
    std::fs::write(&outside, bytes(HELLO)).expect("write");
    let up = format!("{}{}", "..".to_owned() + &"/..".repeat(12), outside.display());
    for (what, target) in [
        ("broken", "/nothing-there.wasm"),
        ("a loop", "/entry"),
        ("outside, absolute", outside.to_str().expect("UTF-8")),
        ("outside, relative", up.as_str()),
    ] {
        println!("{what}");
        for handler in ["auto", "wasm"] {
            let bundle = case.wasm(HELLO);
            std::os::unix::fs::symlink(target, bundle.rootfs().join("entry")).expect("symlink");
            bundle.annotation("io.roadrunner.wasm/handler", handler).args(["/entry"]);
            refused(&case, &bundle, &["/entry"]);
        }
    }
}

#[test]
fn no_modules_at_all() {
    let case = wasm_case!();
    let program = std::fs::read(tests::runtime::program("busybox").expect("busybox")).expect("read");
    let contents: [(&str, &[u8]); 6] = [
        ("an ELF", &program),
        ("empty", b""),
        ("a script", b"#!/bin/sh\nexit 0\n"),
        ("text", b"(module)"),
        ("a short one", b"\0as"),
        ("the magic later", b" \0asm\x01\0\0\0"),
    ];
    for (what, content) in contents {
        println!("{what}");
        let bundle = case.wasm_bytes(content);
        bundle.annotation("io.roadrunner.wasm/handler", "wasm");
        refused(&case, &bundle, &["/module.wasm"]);
    }
    let bundle = case.wasm(HELLO);
    bundle.annotation("io.roadrunner.wasm/handler", "wasm").args(["/nothing.wasm"]);
    refused(&case, &bundle, &["/nothing.wasm"]);
    bundle.args(["/tmp"]);
    refused(&case, &bundle, &["/tmp"]);
}

/// Its constructor would leave a file, if anyone gave it to the loader.
const CONSTRUCTOR: &str = r#"
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("/tmp/loaded", O_CREAT | O_WRONLY, 0644); }
"#;

#[test]
fn a_shared_object_is_never_loaded() {
    let case = wasm_case!();
    if tests::runtime::program("cc").is_none() {
        tests::skip!("no C compiler (cc)");
    }
    let object = case.dir().join("module.so");
    tests::Invocation::new("cc")
        .args(["-shared", "-fPIC", "-x", "c", "-o"])
        .arg(&object)
        .arg("-")
        .stdin(CONSTRUCTOR)
        .ok();
    let object = std::fs::read(object).expect("read");
    let bundle = case.wasm_bytes(&object);
    bundle.annotation("io.roadrunner.wasm/handler", "wasm");
    refused(&case, &bundle, &["/module.wasm", "ELF"]);
    assert!(!bundle.rootfs().join("tmp/loaded").exists());
    // As the container's own rootfs would have it: with the magic of a module in front of nothing.
    let bundle = case.wasm_bytes(&object);
    let _ = case.run(&bundle, &case.id()).output();
    assert!(!bundle.rootfs().join("tmp/loaded").exists(), "the constructor ran");
}

#[test]
fn a_component() {
    let case = wasm_case!();
    let component = wat::parse_str("(component)").expect("WAT");
    refused(&case, &case.wasm_bytes(&component), &["/module.wasm"]);
}

#[test]
fn a_module_above_the_size_bound() {
    let case = wasm_case!();
    // Sparse: one custom section that claims a gigabyte.
    let bundle = case.wasm(HELLO);
    let file =
        std::fs::OpenOptions::new().write(true).open(bundle.rootfs().join("module.wasm")).expect("open");
    file.set_len(3 << 30).expect("truncate");
    refused(&case, &bundle, &["/module.wasm"]);
}

#[test]
fn a_module_that_is_no_regular_file() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    bundle.annotation("io.roadrunner.wasm/handler", "wasm");
    let module = bundle.rootfs().join("module.wasm");
    std::fs::remove_file(&module).expect("rm");
    // Opening it for reading would wait for a writer, for ever.
    tests::Invocation::new("mkfifo").arg(&module).ok();
    refused(&case, &bundle, &["/module.wasm"]);
    std::fs::remove_file(&module).expect("rm");
    std::os::unix::fs::symlink("/dev/zero", &module).expect("symlink");
    refused(&case, &bundle, &["/module.wasm"]);
}

/// Every import of WASI preview 1, and its parameters: `i` for i32, `l` for i64. All but proc_exit return an i32.
const PREVIEW1: [(&str, &str); 45] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Pointers and lengths that have been forgotten before: none, -1, 2³¹ and around it, wrapping, the memory's end.
const HOSTILE: [&str; 8] = ["0", "-1", "0x7fffffff", "0x80000000", "0xfffffff0", "65532", "65535", "65536"];

/// A call with these arguments, each its own hostile value or, for the first, a descriptor that is there.
fn call(parameters: &str, value: &str, first: Option<&str>) -> String {
    let argument = |(at, kind): (usize, char)| {
        let value = if at == 0 { first.unwrap_or(value) } else { value };
        format!("({}.const {value})", if kind == 'l' { "i64" } else { "i32" })
    };
    format!("(drop (call $f {}))", parameters.char_indices().map(argument).collect::<Vec<_>>().join(" "))
}

#[test]
fn hostile_arguments_of_imports_end_in_an_error_or_a_trap() {
    let case = wasm_case!();
    for (name, parameters) in PREVIEW1 {
        let types: Vec<_> = parameters.chars().map(|kind| if kind == 'l' { "i64" } else { "i32" }).collect();
        // sock_accept has another shape in the engine; then it is an import that does not link, which is fine too.
        let calls: Vec<_> = HOSTILE
            .iter()
            .flat_map(|value| [None, Some("0"), Some("3")].map(|first| call(parameters, value, first)))
            .collect();
        let module = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "{name}" (func $f (param {}) (result i32)))
              (memory (export "memory") 1)
              (func (export "_start") {}))"#,
            types.join(" "),
            calls.join("\n")
        );
        let bundle = case.wasm(&module);
        // What poll_oneoff finds there may be a wait without end.
        bundle.annotation("io.roadrunner.wasm/timeout", "500ms");
        let out = case.run(&bundle, &case.id()).output();
        let raised = name == "proc_raise" && out.code > 128;
        assert!(raised || [0, 1, 124, 134].contains(&out.code), "{name}: {} {}", out.code, out.stderr);
        assert!(!out.stderr.contains("panicked"), "{name}: {}", out.stderr);
    }
}

#[test]
fn the_same_of_the_hoses_imports() {
    let case = wasm_case!();
    let hostile = ["0", "-1", "0x7fffffff", "0x80000000", "0xfffffff0", "65535", "65536"];
    let mut calls = String::new();
    for a in hostile {
        for b in hostile {
            calls += &format!(
                "(drop (call $send (i32.const {a}) (i32.const {b})))
                 (drop (call $send_to (i32.const {a}) (i32.const {b}) (i32.const {b}) (i32.const {a})))
                 (drop (call $register (i32.const {a}) (i32.const {b})))
                 (drop (call $register (i32.const {a}) (i32.const {b})))
                 (drop (call $unregister (i32.const {b})))
                 (drop (call $complete (i32.const {a}) (i32.const {b})))
                 (drop (call $set_status (i32.const {a})))
                 (drop (call $peer_name (i32.const {a}) (i32.const {b}) (i32.const {a})))
                 (drop (call $last_error (i32.const {a}) (i32.const {b})))
                 (drop (call $receive (i32.const 0)))\n"
            );
        }
    }
    let module = format!(
        r#"(module
          (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
          (import "roadrunner" "send_to" (func $send_to (param i32 i32 i32 i32) (result i32)))
          (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
          (import "roadrunner" "unregister_memory" (func $unregister (param i32) (result i32)))
          (import "roadrunner" "complete" (func $complete (param i32 i32) (result i32)))
          (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
          (import "roadrunner" "peer_name" (func $peer_name (param i32 i32 i32) (result i32)))
          (import "roadrunner" "last_error" (func $last_error (param i32 i32) (result i32)))
          (import "roadrunner" "receive" (func $receive (param i32) (result i64)))
          (memory (export "memory") 1)
          (func (export "_start") {calls}))"#
    );
    let out = case.run(&case.wasm(&module), &case.id()).output();
    assert!([0, 134].contains(&out.code), "{} {}", out.code, out.stderr);
    assert!(!out.stderr.contains("panicked"), "{}", out.stderr);
}

#[test]
fn a_module_that_changes_after_create_is_not_run_with_others_code() {
    let case = wasm_case!();
    let bundle = case.wasm(&guest::exit(5));
    let id = case.id();
    let pid = case.create(&bundle, &id);
    bundle.module("module.wasm", &guest::exit(6));
    case.cmd(["start", &id]).ok();
    let status = case.exit_status(pid);
    assert!([5, 6].contains(&status), "{status}");
    case.await_stopped(&id);
    case.delete(&id);
}

#[test]
fn a_c_program_overflows_its_stack_within_its_sandbox() {
    let case = wasm_case!();
    for aot in ["off", "wait"] {
        let bundle = tool!(case, ["deep"]);
        bundle.annotation("io.roadrunner.wasm/aot", aot);
        let _ = case.run(&bundle, &case.id()).output().exits(134);
    }
}
