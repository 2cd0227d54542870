//! The guest contract: hostile numbers at every import, and payloads between two functions.

mod common;

use std::process::Child;

use common::end::{SEVEN, join};
use common::{Case, finish, wat};
use executor_abi::request::Limits;
use guest_abi::Status;

/// Numbers that a hostile guest tries as an address or a length.
const HOSTILE: [i64; 12] =
    [0, 1, -1, -16, 0x7fff_ffff, 0x8000_0000, 0xffff_0000, 65_535, 65_536, 65_537, 131_072, 16];

/// All imports, with the number of their parameters and whether they answer an `i64`.
const IMPORTS: [(&str, usize, bool); 16] = [
    ("send_to_host", 2, false),
    ("send_to", 4, false),
    ("give_to_host", 4, false),
    ("call", 4, true),
    ("answer", 3, false),
    ("targets", 0, false),
    ("target_name", 3, false),
    ("target_status", 1, false),
    ("prepare_memory", 2, false),
    ("receive", 1, true),
    ("complete", 2, false),
    ("set_status", 1, false),
    ("peer_name", 3, false),
    ("last_error", 2, false),
    ("register_memory", 2, false),
    ("unregister_memory", 1, false),
];

/// A guest that calls one import with every combination of the hostile numbers, freed regions among them, and
/// exits with 0.
fn attacker(name: &str, params: usize, long: bool) -> Case {
    let ty = "(param i32)".repeat(params);
    let result = if long { "i64" } else { "i32" };
    let mut calls = String::new();
    // All combinations for two parameters; a diagonal with shifts for more.
    for (index, first) in HOSTILE.iter().enumerate() {
        for shift in 0..HOSTILE.len() {
            let arguments: Vec<String> = (0..params)
                .map(|position| {
                    let value = if position == 0 {
                        *first
                    } else {
                        HOSTILE[(index + shift * position) % HOSTILE.len()]
                    };
                    // `receive` waits for ever on a negative number.
                    let value = if name == "receive" { 0 } else { value };
                    format!("(i32.const {})", value as u32)
                })
                .collect();
            calls.push_str(&format!("(drop (call $f {}))", arguments.join(" ")));
        }
    }
    wat(&format!(
        r#"(module
            (import "roadrunner" "{name}" (func $f {ty} (result {result})))
            (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
            (import "roadrunner" "unregister_memory" (func $unregister (param i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
            (func (export "deallocate_memory") (param i32))
            (func (export "locate_memory_region") (param i32) (result i64) (i64.const -1))
            (func (export "_start")
                (drop (call $register (i32.const 16) (i32.const 16)))
                (drop (call $register (i32.const 64) (i32.const 16)))
                (drop (call $unregister (i32.const 16)))
                {calls}))"#
    ))
}

#[test]
fn hostile_numbers_are_answered_at_every_import() {
    for (name, params, long) in IMPORTS {
        // A folder for each: what another test spawns meanwhile inherits this end, and holds its name a little longer.
        let base = tempfile::tempdir().expect("a folder");
        let plain = attacker(name, params, long);
        let ended = plain.run();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name} without a hose");
        // With one, to a target that never appears: what is sendable times out, nothing else is followed.
        let mut case = attacker(name, params, long);
        let _ends = join(&mut case, base.path(), "attacker", &["nobody"], 1);
        let ended = case.run();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name} with a hose");
    }
}

/// Calls one import once and exits with the low bits of its answer.
fn answer_of(import: &str, params: usize, arguments: &[i64], exports: &str) -> Case {
    let ty = "(param i32)".repeat(params);
    let arguments: Vec<String> = arguments.iter().map(|value| format!("(i32.const {value})")).collect();
    wat(&format!(
        r#"(module
            (import "roadrunner" "{import}" (func $f {ty} (result i32)))
            (memory (export "memory") 1) {exports}
            (func (export "f") (result i32) (call $f {})))"#,
        arguments.join(" ")
    ))
    .function("f")
}

fn status(case: &Case) -> Status {
    let ended = case.run();
    assert_eq!(ended.code, 0, "{ended:?}");
    Status(ended.stdout.trim().parse().expect("a number"))
}

#[test]
fn a_function_without_a_hose_is_told_so() {
    assert_eq!(status(&answer_of("send_to_host", 2, &[0, 16], "")), Status::NO_HOSE);
    assert_eq!(status(&answer_of("complete", 2, &[0, 0], "")), Status::INVALID_REGION);
    assert_eq!(status(&answer_of("complete", 2, &[0, -1], "")), Status::INVALID_ARGUMENT);
    assert_eq!(status(&answer_of("set_status", 1, &[0], "")), Status::BUSY);
    assert_eq!(status(&answer_of("last_error", 2, &[0, 0], "")), Status(0));
    assert_eq!(status(&answer_of("peer_name", 3, &[0, 0, 0], "")), Status::INVALID_REGION);
}

#[test]
fn registering_is_bounded_by_the_memory() {
    for (arguments, expected) in [
        ([0, 65_536], Status::OK),
        ([0, 65_537], Status::INVALID_REGION),
        ([65_535, 1], Status::OK),
        ([65_535, 2], Status::INVALID_REGION),
        ([-1, 1], Status::INVALID_REGION),
        ([16, -1], Status::INVALID_REGION),
        ([65_536, 0], Status::OK),
        ([65_537, 0], Status::INVALID_REGION),
    ] {
        assert_eq!(status(&answer_of("register_memory", 2, &arguments, "")), expected, "{arguments:?}");
    }
}

#[test]
fn regions_that_were_never_registered_are_refused_though_in_bounds() {
    for (exports, expected) in [
        ("", Status::INVALID_REGION),
        // A guest that vouches for less, for nothing, or for what it does not have.
        (
            r#"(func (export "locate_memory_region") (param i32) (result i64) (i64.const 0x1000000008))"#,
            Status::INVALID_REGION,
        ),
        (
            r#"(func (export "locate_memory_region") (param i32) (result i64) (i64.const 0))"#,
            Status::INVALID_REGION,
        ),
        (
            r#"(func (export "locate_memory_region") (param i32) (result i64) (i64.const 0x10ffffffff))"#,
            Status::INVALID_REGION,
        ),
        // One that vouches for it: what is left is that nobody is there.
        (
            r#"(func (export "locate_memory_region") (param i32) (result i64) (i64.const 0x1000000010))"#,
            Status::TIMEOUT,
        ),
    ] {
        let base = tempfile::tempdir().expect("a folder");
        let mut case = answer_of("send_to_host", 2, &[16, 16], exports);
        let _ends = join(&mut case, base.path(), "sender", &["nobody"], 50);
        assert_eq!(status(&case), expected, "{exports}");
    }
}

#[test]
fn imports_are_busy_inside_the_guests_own_functions() {
    let module = r#"(module
        (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
        (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
        (memory (export "memory") 1) (global $seen (mut i32) (i32.const 0))
        (func (export "locate_memory_region") (param i32) (result i64)
            (global.set $seen (call $register (i32.const 0) (i32.const 8))) (i64.const 0))
        (func (export "f") (result i32) (drop (call $send (i32.const 16) (i32.const 16))) (global.get $seen)))"#;
    let base = tempfile::tempdir().expect("a folder");
    let mut case = wat(module).function("f");
    let _ends = join(&mut case, base.path(), "sender", &["nobody"], 50);
    assert_eq!(status(&case), Status::BUSY);
}

fn sender(case_len: u32) -> Case {
    wat(&format!(
        r#"(module (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32))) {SEVEN}
            (func (export "locate_memory_region") (param i32) (result i64)
                (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.const {case_len})))
            (func (export "f") (result i32) (local i32)
                (local.set 0 (call $allocate (i32.const {case_len})))
                (memory.fill (local.get 0) (i32.const 120) (i32.const {case_len}))
                (call $send (local.get 0) (i32.const {case_len}))))"#
    ))
    .function("f")
}

/// A handler that prints what it is given.
fn printer(after: &str) -> Case {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "roadrunner" "set_status" (func $status (param i32) (result i32)))
            (import "roadrunner" "peer_name" (func $peer (param i32 i32 i32) (result i32))) {SEVEN}
            (func $print (param i32 i32)
                (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func $handle (export "read_memory_wasm") (param i32 i32)
                (call $print (local.get 0) (local.get 1))
                (call $print (i32.const 100) (call $peer (local.get 0) (i32.const 100) (i32.const 50)))
                {after}))"#
    ))
}

/// Runs a sender and a receiver, and returns what each left.
fn pair(mut sender: Case, mut receiver: Case) -> (common::Ended, common::Ended) {
    let base = tempfile::tempdir().expect("a folder");
    let ends = [
        join(&mut receiver, base.path(), "b", &[], 10_000),
        join(&mut sender, base.path(), "a", &["b"], 10_000),
    ];
    // A receiver that waits for ever would hang the test.
    receiver.request.limits = Limits { timeout_ms: Some(20_000), ..Limits::default() };
    let receiving: Child = receiver.spawn();
    let sent = sender.run();
    let received = finish(receiving);
    drop(ends);
    (sent, received)
}

#[test]
fn a_payload_is_pushed_into_a_plain_handler_and_its_status_comes_back() {
    let (sent, received) = pair(sender(10), printer("(drop (call $status (i32.const 42)))"));
    assert_eq!((sent.code, sent.stdout.as_str(), sent.stderr.as_str()), (0, "42\n", ""));
    assert_eq!((received.code, received.stdout.as_str(), received.stderr.as_str()), (0, "xxxxxxxxxxa", ""));
}

#[test]
fn a_handler_that_traps_is_known_to_the_sender() {
    let (sent, received) = pair(sender(3), printer("unreachable"));
    assert_eq!(sent.stdout, format!("{}\n", Status::TRAPPED.0));
    assert_eq!((received.code, received.stdout.as_str()), (134, "xxxa"));
    assert!(received.stderr.ends_with("unreachable in function 'handle' (index 6)\n"), "{received:?}");
}

#[test]
fn a_receiver_without_memory_refuses_and_stays() {
    let mut receiver = wat(r#"(module (memory (export "memory") 1)
        (func (export "allocate_memory") (param i32) (result i32) (i32.const 0))
        (func (export "deallocate_memory") (param i32))
        (func (export "read_memory_wasm") (param i32 i32) unreachable))"#);
    receiver.request.args = vec!["b".to_owned()];
    let (sent, received) = pair(sender(3), receiver);
    assert_eq!(sent.stdout, format!("{}\n", Status::REFUSED.0));
    assert_eq!((received.code, received.stderr.as_str()), (0, ""));
}

#[test]
fn a_payload_above_the_limit_is_refused_before_it_leaves() {
    let base = tempfile::tempdir().expect("a folder");
    let mut case = sender(100);
    let _ends = join(&mut case, base.path(), "a", &["b"], 50);
    case.request.hose.as_mut().expect("a hose").max_size = 99;
    assert_eq!(status(&case), Status::TOO_LARGE);
}

#[test]
fn a_command_pulls_and_completes() {
    let receiver = wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "roadrunner" "receive" (func $receive (param i32) (result i64)))
            (import "roadrunner" "complete" (func $complete (param i32 i32) (result i32))) {SEVEN}
            (func (export "_start") (local i64)
                (local.set 0 (call $receive (i32.const -1)))
                (if (i32.ne (i32.load8_u (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32)))) (i32.const 120))
                    (then (call $exit (i32.const 9))))
                (if (call $complete (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32))) (i32.const 5))
                    (then (call $exit (i32.const 8))))
                (call $exit (i32.wrap_i64 (local.get 0)))))"#
    ));
    let (sent, received) = pair(sender(17), receiver);
    assert_eq!((sent.stdout.as_str(), received.code), ("5\n", 17), "{sent:?} {received:?}");
}

#[test]
fn what_was_pulled_and_not_completed_is_reported_as_trapped() {
    let receiver = wat(&format!(
        r#"(module (import "roadrunner" "receive" (func $receive (param i32) (result i64))) {SEVEN}
            (func (export "_start") (drop (call $receive (i32.const -1)))))"#
    ));
    let (sent, received) = pair(sender(17), receiver);
    assert_eq!((sent.stdout, received.code), (format!("{}\n", Status::TRAPPED.0), 0));
}

/// A sender of 5,000,000 bytes `x` at 2 MiB, which it has prepared and gives away; it prints the status, whether the region is still
/// registered, and the sum of what is left in it.
fn giver() -> Case {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "roadrunner" "give_to_host" (func $give (param i32 i32 i32 i32) (result i32)))
            (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
            (import "roadrunner" "unregister_memory" (func $unregister (param i32) (result i32)))
            (import "roadrunner" "prepare_memory" (func $prepare (param i32 i32) (result i32)))
            {SUM}
            (memory (export "memory") 160)
            (func (export "f") (result i32 i32 i32)
                (drop (call $register (i32.const 0x200000) (i32.const 0x500000)))
                (drop (call $prepare (i32.const 0x200000) (i32.const 0x500000)))
                (memory.fill (i32.const 0x200000) (i32.const 120) (i32.const 5000000))
                (call $give (i32.const 0) (i32.const 0) (i32.const 0x200000) (i32.const 5000000))
                (call $unregister (i32.const 0x200000))
                (call $sum (i32.const 0x200000) (i32.const 5000000))))"#
    ))
    .function("f")
}

const SUM: &str = r#"(func $sum (param $at i32) (param $len i32) (result i32) (local $sum i32)
    (block $end (loop $next
        (br_if $end (i32.eqz (local.get $len)))
        (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $next)))
    (local.get $sum))"#;

#[test]
fn what_is_given_to_another_container_arrives_as_it_was_and_is_zero_here() {
    // A receiver with pages for it, and one that has to copy.
    for address in [0x20_0000, 0x20_0010] {
        let receiver = wat(&format!(
            r#"(module
                (import "roadrunner" "set_status" (func $status (param i32) (result i32))) {SUM}
                (memory (export "memory") 160) (global $rounds (mut i32) (i32.const 0))
                (func (export "allocate_memory") (param i32) (result i32) (i32.const {address}))
                (func (export "deallocate_memory") (param i32)
                    ;; What was mapped there is gone.
                    (if (call $sum (local.get 0) (i32.const 100000)) (then unreachable)))
                (func (export "read_memory_wasm") (param i32 i32)
                    (drop (call $status (i32.add (i32.const 1)
                        (i32.ne (call $sum (local.get 0) (local.get 1)) (i32.const 600000000)))))
                    (memory.fill (local.get 0) (i32.const 7) (local.get 1))))"#
        ));
        let mut sender = giver();
        sender.request.limits = Limits { timeout_ms: Some(20_000), ..Limits::default() };
        let (sent, received) = pair(sender, receiver);
        let gone = Status::INVALID_REGION.0;
        assert_eq!(sent.stdout, format!("1\n{gone}\n0\n"), "{address:x}: {sent:?} {received:?}");
        // Bytes that were copied are the receiver's own, until it overwrites them.
        let code = if address == 0x20_0000 { 0 } else { 134 };
        assert_eq!(received.code, code, "{address:x}: {received:?}");
    }
}

#[test]
fn what_could_not_be_given_is_there_again() {
    let base = tempfile::tempdir().expect("a folder");
    let mut sender = giver();
    let _ends = join(&mut sender, base.path(), "a", &["nobody"], 50);
    sender.request.hose.as_mut().expect("a hose").max_size = 1 << 30;
    let ended = sender.run();
    assert_eq!(ended.stdout, format!("{}\n0\n600000000\n", Status::TIMEOUT.0), "{ended:?}");
}

#[test]
fn a_call_of_another_container_is_answered() {
    let sender = wat(&format!(
        r#"(module
            (import "roadrunner" "call" (func $call (param i32 i32 i32 i32) (result i64)))
            (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
            (import "roadrunner" "complete" (func $complete (param i32 i32) (result i32)))
            (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32))) {SEVEN}
            (func (export "f") (result i32 i32 i32) (local $answer i64)
                (i32.store8 (i32.const 8) (i32.const 98))
                (drop (call $register (i32.const 64) (i32.const 4)))
                (i32.store (i32.const 64) (i32.const 1234))
                ;; An answer that nobody asks for does no harm.
                (call $send (i32.const 64) (i32.const 4))
                (local.set $answer (call $call (i32.const 8) (i32.const 1) (i32.const 64) (i32.const 4)))
                (i32.load (i32.wrap_i64 (i64.shr_u (local.get $answer) (i64.const 32))))
                (call $complete (i32.wrap_i64 (i64.shr_u (local.get $answer) (i64.const 32))) (i32.const 0))))"#
    ))
    .function("f");
    let receiver = wat(&format!(
        r#"(module
            (import "roadrunner" "answer" (func $answer (param i32 i32 i32) (result i32)))
            (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32))) {SEVEN}
            (func (export "read_memory_wasm") (param i32 i32)
                (i32.store (i32.const 64) (i32.add (i32.load (local.get 0)) (i32.const 1)))
                (drop (call $register (i32.const 64) (i32.const 4)))
                (drop (call $answer (local.get 0) (i32.const 64) (i32.const 4)))))"#
    ));
    let (sent, received) = pair(sender, receiver);
    assert_eq!((sent.stdout.as_str(), received.code), ("0\n1235\n0\n", 0), "{sent:?} {received:?}");
}
