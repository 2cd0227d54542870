//! How functions end: exit codes, traps that are named, limits, signals.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{Case, finish, wat};
use executor_abi::request::Limits;

const IMPORT_EXIT: &str = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;

#[test]
fn a_function_that_returns_exits_with_0() {
    let ended = wat(r#"(module (func (export "_start")))"#).run();
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
}

#[test]
fn output_of_a_function_is_its_own() {
    let hello = wat(r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
        (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))))"#);
    let ended = hello.run();
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "hello\n", ""));
}

#[test]
fn proc_exit_gives_its_code_in_every_path() {
    let paths = [
        ("entry point", r#"(func (export "_start") (call $exit (i32.const 7)))"#),
        ("start section", r#"(start $s) (func $s (call $exit (i32.const 7))) (func (export "_start"))"#),
        (
            "initialize",
            r#"(func (export "_initialize") (call $exit (i32.const 7))) (func (export "_start") unreachable)"#,
        ),
        (
            "deep",
            r#"(func $d (param i32) (if (local.get 0) (then (call $d (i32.sub (local.get 0) (i32.const 1))))
            (else (call $exit (i32.const 7))))) (func (export "_start") (call $d (i32.const 100)))"#,
        ),
    ];
    for (path, body) in paths {
        let ended = wat(&format!(r#"(module {IMPORT_EXIT} (memory (export "memory") 1) {body})"#)).run();
        assert_eq!((ended.code, ended.stderr.as_str()), (7, ""), "{path}");
    }
}

#[test]
fn proc_exit_in_a_function_that_returns_a_value_gives_its_code() {
    let module = format!(
        r#"(module {IMPORT_EXIT} (func (export "f") (result i64) (call $exit (i32.const 300)) (i64.const 5)))"#
    );
    let ended = wat(&module).function("f").run();
    assert_eq!((ended.code, ended.stdout.as_str()), (300 & 0xff, ""));
}

#[test]
fn a_named_function_takes_numbers_and_prints_its_result() {
    let module = r#"(module (func (export "add") (param i32 i64) (result i64)
        (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1))))"#;
    let ended = wat(module).function("add").args(&["app", "-2", "5000000000"]).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "4999999998\n"));
}

#[test]
fn a_reactor_is_initialised_once_before_its_function() {
    let module = r#"(module (global $n (mut i32) (i32.const 40))
        (func (export "_initialize") (global.set $n (i32.add (global.get $n) (i32.const 1))))
        (func (export "f") (result i32) (i32.add (global.get $n) (i32.const 1))))"#;
    let ended = wat(module).function("f").run();
    assert_eq!(ended.stdout, "42\n");
}

/// A function of bytes that answers its input once more in capitals, with an allocator called `$ALLOCATOR`.
const CAPITALS: &str = r#"(module
    (memory (export "memory") 2) (global $free (mut i32) (i32.const 0)) (global $ready (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $free (i32.const 1024)) (global.set $ready (i32.const 32)))
    (func (export "ALLOCATOR") (param i32) (result i32)
        (global.get $free) (global.set $free (i32.add (global.get $free) (local.get 0))))
    (func (export "capitals") (param $at i32) (param $len i32) (result i64) (local $n i32)
        (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $n) (local.get $len)))
            (i32.store8 (i32.add (local.get $at) (local.get $n))
                (i32.sub (i32.load8_u (i32.add (local.get $at) (local.get $n))) (global.get $ready)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br $next)))
        (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $len))))
    (func (export "outside") (param i32 i32) (result i64) (i64.const 0x0001_fff0_0000_0011))
    (func (export "traps") (param i32 i32) (result i64) unreachable))"#;

#[test]
fn a_function_of_bytes_takes_standard_input_and_gives_standard_output() {
    for allocator in ["allocate_memory", "allocate", "malloc"] {
        let module = CAPITALS.replace("ALLOCATOR", allocator);
        let ended = wat(&module).function("capitals").stdin(b"bytes").run();
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
            (0, "BYTES", ""),
            "{allocator}"
        );
        let ended = wat(&module).function("capitals").run();
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""), "nothing");
    }
}

#[test]
fn a_function_of_bytes_that_is_given_numbers_or_has_no_allocator_takes_numbers() {
    let module = CAPITALS.replace("ALLOCATOR", "malloc");
    let ended = wat(&module).function("capitals").args(&["app", "1", "0"]).stdin(b"bytes").run();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "4294967296\n"));
    let ended = wat(&CAPITALS.replace("ALLOCATOR", "alloc")).function("capitals").run();
    assert!(ended.create_error().contains("takes 2 arguments, 0 are given"), "{ended:?}");
}

#[test]
fn a_function_of_bytes_stays_in_its_memory() {
    let module = CAPITALS.replace("ALLOCATOR", "malloc");
    let ended = wat(&module).function("outside").run();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("function outside: its answer") && ended.stderr.contains("not in memory"));
    let ended = wat(&module).function("capitals").stdin(&[b'a'; 2 * 65_536]).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("function malloc: its region"), "{ended:?}");
    let limits = Limits { max_memory: Some(2 * 65_536), ..Limits::default() };
    let ended = wat(&module).function("capitals").limits(limits).stdin(&[b'a'; 2 * 65_536 + 1]).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("standard input: more than the 131072 bytes"), "{ended:?}");
    let ended = wat(&module).function("traps").stdin(b"x").run();
    assert_eq!(ended.code, 134, "{ended:?}");
}

#[test]
fn a_trap_says_what_and_where() {
    let traps = [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "divide by zero"),
        ("(drop (i32.load (i32.const 70000)))", "out of bounds memory access"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "invalid conversion to integer"),
        ("(call_indirect (type $t) (i32.const 1))", "uninitialized element"),
        ("(call_indirect (type $t) (i32.const 9))", "undefined element"),
    ];
    for (body, reason) in traps {
        let module = format!(
            r#"(module (type $t (func)) (table 2 funcref) (memory (export "memory") 1)
                (func $before nop) (func $guilty {body}) (func (export "_start") (call $guilty)))"#
        );
        let case = wat(&module);
        let ended = case.run();
        assert_eq!(ended.code, 134, "{body}: {ended:?}");
        let path = case.path().display();
        let start = format!("rr-runtime: {path} trapped: ");
        assert!(ended.stderr.starts_with(&start), "{body}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{body}: {ended:?}");
        assert!(ended.stderr.ends_with("in function 'guilty' (index 1)\n"), "{body}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn a_trap_in_the_start_section_is_named_too() {
    let ended = wat(r#"(module (start $boom) (func $boom unreachable) (func (export "_start")))"#).run();
    assert_eq!(ended.code, 134);
    assert!(ended.stderr.ends_with("unreachable in function 'boom' (index 0)\n"), "{ended:?}");
}

#[test]
fn data_that_does_not_fit_is_a_trap() {
    let ended = wat(r#"(module (memory 1) (data (i32.const 65536) "x") (func (export "_start")))"#).run();
    assert_eq!(ended.code, 134, "{ended:?}");
}

/// Recursion that is none at the tail.
const ENDLESS: &str = r#"(module (memory (export "memory") 1)
    (func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
    (func (export "_start") (drop (call $deep (i32.const 0)))))"#;

#[test]
fn endless_recursion_is_a_trap_and_leaves_the_host_its_memory() {
    for max_memory in [Some(1 << 20), None] {
        let started = Instant::now();
        let case = wat(ENDLESS).limits(Limits { max_memory, ..Limits::default() });
        let ended = case.run();
        let line = format!(
            "rr-runtime: {} trapped: call stack exhausted, or tables too large\n",
            case.path().display()
        );
        assert_eq!((ended.code, ended.stderr), (134, line), "{max_memory:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}

#[test]
fn tables_do_not_take_the_hosts_memory() {
    let module = r#"(module (table 1 funcref)
        (func (export "f") (result i32) (table.grow (ref.null func) (i32.const 0x0fffffff))))"#;
    let ended = wat(module).function("f").limits(Limits { max_memory: Some(0), ..Limits::default() }).run();
    assert!(ended.code == 134 || ended.stdout == "-1\n", "{ended:?}");
}

#[test]
fn a_hundred_thousand_calls_deep_is_no_trap() {
    let module = r#"(module (func $deep (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))
                (else (i32.const 0))))
        (func (export "f") (result i32) (call $deep (i32.const 100000))))"#;
    let ended = wat(module).function("f").limits(Limits { max_memory: Some(0), ..Limits::default() }).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "100000\n"), "{ended:?}");
}

#[test]
fn all_of_a_memory_can_be_had_under_the_bound() {
    let module = r#"(module (memory 1) (func (export "f") (result i32)
        (drop (memory.grow (i32.const 65535))) (memory.size)))"#;
    assert_eq!(wat(module).function("f").run().stdout, "65536\n");
}

const LOOP: &str = r#"(module (func $spin (export "_start") (loop (br 0))))"#;
const SLEEP: &str = r#"(module
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store8 (i32.const 8) (i32.const 0))
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const 600000000000))
        (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;

#[test]
fn time_runs_out_in_a_loop_and_in_a_blocking_call() {
    for module in [LOOP, SLEEP] {
        let started = Instant::now();
        let case = wat(module).limits(Limits { timeout_ms: Some(300), ..Limits::default() });
        let ended = case.run();
        let line = format!("rr-runtime: {} stopped: time limit of 300 ms reached\n", case.path().display());
        assert_eq!((ended.code, ended.stderr), (124, line));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn fuel_runs_out_and_its_limit_is_named() {
    let case = wat(LOOP).limits(Limits { fuel: Some(100_000), ..Limits::default() });
    let ended = case.run();
    let line =
        format!("rr-runtime: {} stopped: fuel limit of 100000 instructions reached\n", case.path().display());
    assert_eq!((ended.code, ended.stderr), (124, line));
}

#[test]
fn enough_fuel_is_no_limit() {
    let module = r#"(module (func (export "_start") (local i32)
        (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))))"#;
    let ended = wat(module).limits(Limits { fuel: Some(1_000_000), ..Limits::default() }).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

/// Starts a function that never ends, and waits until it runs.
#[expect(clippy::zombie_processes, reason = "the caller waits for it; a test that fails leaves it to init")]
fn running(case: &Case) -> Child {
    let mut child = case.spawn();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "created\n");
    drop(child.stdin.take().map(|mut stdin| std::io::Write::write_all(&mut stdin, b"x")));
    // Until the handlers are there; a signal before that has its default, which the tests would see as negative.
    let status = format!("/proc/{}/status", child.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(&status).expect("a live process");
        let mask =
            text.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask").trim().to_owned();
        let mask = u64::from_str_radix(&mask, 16).expect("hexadecimal");
        // SIGTERM (15) and SIGRTMAX (64), which is installed last.
        if mask & (1 << 14) != 0 && mask & (1 << 63) != 0 {
            return child;
        }
        assert!(Instant::now() < deadline, "no handlers: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn signals_end_a_function_at_once_wherever_it_is() {
    for module in [LOOP, SLEEP] {
        for (signal, code) in
            [(15, 143), (2, 130), (1, 129), (3, 131), (10, 138), (13, 141), (14, 142), (64, 192), (9, -9)]
        {
            let case = wat(module).hold();
            let child = running(&case);
            let sent = Instant::now();
            let kill = format!("kill -{signal} {}", child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
            let ended = finish(child);
            assert_eq!(ended.code, code);
            assert!(sent.elapsed() < Duration::from_secs(5));
        }
    }
}
