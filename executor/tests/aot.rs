//! Ahead-of-time code: compiled by this executor, it does what the interpreter does.
//!
//! Needs LLVM, and the libwasmedge that knows of it, which are found as the runtime finds them: below `RR_ENGINE_DIR`.

mod common;

use std::process::Command;

use common::{compile, wat};
use executor_abi::request::Limits;

const FIB: &str = r#"(module (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
        (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                       (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#;

#[test]
fn compiled_code_gives_the_interpreters_result() {
    let modules = [
        (FIB, "fib", vec!["app", "20"]),
        (
            r#"(module (memory 1) (func (export "mix") (param i32 i64 f32 f64) (result f64)
                (i32.store (i32.const 8) (local.get 0))
                (f64.add (f64.mul (f64.convert_i32_s (i32.load (i32.const 8))) (f64.convert_i64_s (local.get 1)))
                         (f64.div (f64.promote_f32 (local.get 2)) (local.get 3)))))"#,
            "mix",
            vec!["app", "-7", "9000000000", "1.5", "0.3"],
        ),
        (
            r#"(module (func (export "lanes") (param i32) (result i32)
                (i32x4.extract_lane 3 (i32x4.mul (i32x4.splat (local.get 0)) (v128.const i32x4 1 2 3 5)))))"#,
            "lanes",
            vec!["app", "11"],
        ),
    ];
    for (module, function, args) in modules {
        let interpreted = wat(module).function(function).args(&args).run();
        assert_eq!(interpreted.code, 0, "{interpreted:?}");
        for fuel in [None, Some(1 << 40)] {
            let limits = Limits { fuel, ..Limits::default() };
            let case = wat(module).function(function).args(&args).limits(limits);
            let entry = compile(&case, if fuel.is_some() { "fuel" } else { "plain" });
            let compiled = case.aot(&entry).run();
            assert_eq!((compiled.code, &compiled.stdout), (0, &interpreted.stdout), "{function}");
        }
    }
}

#[test]
fn compiled_code_is_what_runs() {
    let case = wat(FIB).function("fib").args(&["app", "30"]);
    let slow = std::time::Instant::now();
    assert_eq!(case.run().stdout, "832040\n");
    let slow = slow.elapsed();
    let entry = compile(&case, "plain");
    let case = case.aot(&entry);
    let fast = std::time::Instant::now();
    assert_eq!(case.run().stdout, "832040\n");
    assert!(fast.elapsed() * 3 < slow, "compiled {:?}, interpreted {slow:?}", fast.elapsed());
}

#[test]
fn traps_of_compiled_code_are_named_wherever_the_kernel_puts_it() {
    for (body, reason) in [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_s (i32.const 1) (local.get 0)))", "divide by zero"),
        ("(drop (i32.load (i32.const 70000)))", "out of bounds memory access"),
        // Followed by something, or its call would take the place of the function's frame.
        (
            "(memory.fill (i32.const 65000) (i32.const 0) (i32.const 3000)) (i32.store (i32.const 0) (i32.const 1))",
            "out of bounds memory access",
        ),
        (
            "(call_indirect (type $t) (i32.const 1)) (i32.store (i32.const 0) (i32.const 1))",
            "uninitialized element",
        ),
    ] {
        let case = wat(&format!(
            r#"(module (type $t (func)) (table 2 funcref) (memory (export "memory") 1)
                (func $before nop) (func $guilty (export "f") (local i32) {body}) (func (export "after") nop))"#
        ))
        .function("f");
        let entry = compile(&case, "plain");
        let case = case.aot(&entry);
        // Whether the engine's library lies above the code is decided anew each time: see both.
        for _ in 0..10 {
            let ended = case.run();
            assert_eq!(ended.code, 134, "{ended:?}");
            assert!(ended.stderr.contains(reason), "{ended:?}");
            assert!(ended.stderr.ends_with("in function 'guilty' (index 1)\n"), "{body}: {ended:?}");
        }
    }
}

#[test]
fn proc_exit_in_compiled_code_gives_its_code() {
    let case = wat(r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (func (export "f") (result i32) (call $exit (i32.const 9)) (i32.const 1)))"#)
    .function("f");
    let entry = compile(&case, "plain");
    let ended = case.aot(&entry).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (9, ""));
}

#[test]
fn fuel_and_time_run_out_in_compiled_code() {
    let spin = r#"(module (global $n (mut i64) (i64.const 0))
        (func (export "_start") (loop (global.set $n (i64.add (global.get $n) (i64.const 1))) (br 0))))"#;
    let fuel = Limits { fuel: Some(1_000_000), ..Limits::default() };
    let time = Limits { timeout_ms: Some(300), ..Limits::default() };
    let case = wat(spin);
    let (counting, plain) = (compile(&case, "fuel"), compile(&case, "plain"));
    let case = case.limits(fuel.clone()).aot(&counting);
    let ended = case.run();
    assert!(ended.stderr.ends_with("fuel limit of 1000000 instructions reached\n"), "{ended:?}");
    assert_eq!(ended.code, 124);
    // Code without counters is not used under a limit of instructions: the interpreter stops instead.
    let without_counters = wat(spin).limits(fuel).aot(&plain);
    assert_eq!(without_counters.run().code, 124);
    let timed = wat(spin).limits(time).aot(&plain);
    assert_eq!(timed.run().code, 124);
}

#[test]
fn an_entry_of_another_module_is_not_used() {
    let other = wat(r#"(module (func (export "f") (result i32) (i32.const 1)))"#);
    let entry = compile(&other, "plain");
    let mut case =
        wat(r#"(module (func (export "f") (result i32) (i32.const 2)))"#).function("f").aot(&entry);
    // The identity is that of the file in the container; the entry's says otherwise.
    case.request.module.aot.as_mut().expect("an entry").module.ino ^= 1;
    assert_eq!(case.run().stdout, "2\n");
}

#[test]
fn a_damaged_entry_is_not_used() {
    let case = wat(r#"(module (func (export "f") (result i32) (i32.const 3)))"#).function("f");
    let entry = compile(&case, "plain");
    let bytes = std::fs::read(&entry).expect("the entry");
    std::fs::write(&entry, &bytes[..bytes.len() / 2]).expect("half an entry");
    let case = case.aot(&entry);
    assert_eq!(case.run().stdout, "3\n");
    std::fs::write(&entry, b"\x7fELF").expect("no entry");
    let mut case = case;
    case.request.module.aot.as_mut().expect("an entry").len = 4;
    assert_eq!(case.run().stdout, "3\n");
    case.request.module.aot.as_mut().expect("an entry").len = u64::MAX;
    assert_eq!(case.run().stdout, "3\n");
}

/// The engine handles SIGSEGV on the stack that is full, so the kernel ends the process instead. No more than that
/// happens, and no more memory is taken than the bound of the native stack.
#[test]
fn endless_recursion_ends_by_the_signal_of_the_stack() {
    let case = wat(r#"(module (memory 1) (func $deep (param i32) (result i32)
            (i32.store (i32.const 8) (i32.add (call $deep (i32.add (local.get 0) (i32.const 3))) (i32.load (i32.const 8))))
            (i32.load (i32.const 8)))
        (func (export "_start") (drop (call $deep (i32.const 0)))))"#);
    let entry = compile(&case, "plain");
    let case = case.aot(&entry);
    let mut command = Command::new("sh");
    // As much stack as there is: the bound is the executor's own.
    command.args(["-c", "ulimit -s unlimited; exec \"$0\" \"$@\""]);
    let ended = case.run_under(command);
    assert_eq!((ended.code, ended.stderr.as_str()), (-11, ""), "{ended:?}");
}
