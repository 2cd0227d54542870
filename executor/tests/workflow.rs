//! The memory transport: functions of one process, called on the sender's thread or pulling on their own, and what one does
//! to another when it traps, loops, exits, lies or runs out of memory.

mod common;

use common::{Case, Ended, wat};
use executor_abi::request::{Function, Hose, Lifecycle};
use guest_abi::Status;
use sha2::{Digest, Sha256};

/// What most guests here need: prints of numbers and bytes, a bump allocator that gives back nothing, at multiples of 64 KiB
/// from 1 MiB on for what is large, and the contract's functions, which say that they were called.
const GUEST: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
    (import "roadrunner" "send_to" (func $send_to (param i32 i32 i32 i32) (result i32)))
    (import "roadrunner" "give_to_host" (func $give (param i32 i32 i32 i32) (result i32)))
    (import "roadrunner" "call" (func $call (param i32 i32 i32 i32) (result i64)))
    (import "roadrunner" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "roadrunner" "receive" (func $receive (param i32) (result i64)))
    (import "roadrunner" "complete" (func $complete (param i32 i32) (result i32)))
    (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
    (import "roadrunner" "peer_name" (func $peer (param i32 i32 i32) (result i32)))
    (import "roadrunner" "targets" (func $targets (result i32)))
    (import "roadrunner" "target_name" (func $target_name (param i32 i32 i32) (result i32)))
    (import "roadrunner" "target_status" (func $target_status (param i32) (result i32)))
    (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
    (import "roadrunner" "unregister_memory" (func $unregister (param i32) (result i32)))
    (import "roadrunner" "prepare_memory" (func $prepare (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 256)
    (global $next (mut i32) (i32.const 2048))
    (global $large (mut i32) (i32.const 0x100000))
    (global $count (mut i32) (i32.const 0))
    (func $text (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $len))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $char (param i32) (i32.store8 (i32.const 12) (local.get 0)) (call $text (i32.const 12) (i32.const 1)))
    (func $line (call $char (i32.const 10)))
    (func $digits (param $n i32)
        (if (i32.ge_u (local.get $n) (i32.const 10))
            (then (call $digits (i32.div_u (local.get $n) (i32.const 10)))))
        (call $char (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))
    (func $number (param $n i32)
        (if (i32.lt_s (local.get $n) (i32.const 0))
            (then (call $char (i32.const 45)) (local.set $n (i32.sub (i32.const 0) (local.get $n)))))
        (call $digits (local.get $n)))
    (func $allocate (param $len i32) (result i32) (local i32)
        (if (i32.ge_u (local.get $len) (i32.const 16384))
            (then
                (local.set 1 (global.get $large))
                (global.set $large
                    (i32.and (i32.add (i32.add (global.get $large) (local.get $len)) (i32.const 0xffff))
                             (i32.const 0xffff0000)))
                (return (local.get 1))))
        (local.set 1 (global.get $next))
        (global.set $next (i32.add (global.get $next) (i32.add (local.get $len) (i32.const 16))))
        (local.get 1))
    (func $address (param i64) (result i32) (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32))))
    (func $sum (param $at i32) (param $len i32) (result i32) (local $sum i32)
        (block $end (loop $next
            (br_if $end (i32.eqz (local.get $len)))
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $len (i32.sub (local.get $len) (i32.const 1)))
            (br $next)))
        (local.get $sum))"#;

/// The contract's exports for a handler, with this body for `read_memory_wasm(0, 1)`.
fn handler(body: &str) -> Case {
    with_exports(
        r#"(func (export "allocate_memory") (param i32) (result i32) (call $allocate (local.get 0)))
           (func (export "deallocate_memory") (param i32))"#,
        body,
    )
}

fn with_exports(exports: &str, body: &str) -> Case {
    wat(&format!(
        r#"(module {GUEST} {exports} (func (export "read_memory_wasm") (param i32 i32) (local $i i32) {body}))"#
    ))
}

/// A command with an allocator.
fn command(body: &str) -> Case {
    wat(&format!(
        r#"(module {GUEST}
            (func (export "allocate_memory") (param i32) (result i32) (call $allocate (local.get 0)))
            (func (export "deallocate_memory") (param i32))
            (func (export "_start") (local $i i32) (local $r i64) {body}))"#
    ))
}

/// A workflow: its own function is `main`, and the others are what it is given, each with its targets.
struct Flow {
    main: Case,
    others: Vec<Case>,
}

impl Flow {
    fn new(mut main: Case, targets: &[&str], others: Vec<(&str, &[&str], Case)>) -> Self {
        let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let function = |(name, targets, case): &(&str, &[&str], Case)| Function {
            name: (*name).to_owned(),
            module: case.request.module.clone(),
            digest: digest(case),
            targets: strings(targets),
        };
        main.request.hose = Some(Hose {
            name: "main".to_owned(),
            workflow: "flow".to_owned(),
            targets: strings(targets),
            endpoint: None,
            network: None,
            functions: others.iter().map(function).collect(),
            control_fd: None,
            stdin: None,
            stdout: None,
            transfer: "auto".to_owned(),
            connect_timeout_ms: 1000,
            io_timeout_ms: 10_000,
            max_size: 1 << 30,
            max_inflight: 256,
            lifecycle: Lifecycle::Oneshot,
            statistics: None,
        });
        Self { main, others: others.into_iter().map(|(_, _, case)| case).collect() }
    }

    fn hose(&mut self) -> &mut Hose {
        self.main.request.hose.as_mut().expect("a hose")
    }

    fn io_timeout(mut self, milliseconds: u64) -> Self {
        self.hose().io_timeout_ms = milliseconds;
        self
    }

    fn transfer(mut self, transfer: &str) -> Self {
        transfer.clone_into(&mut self.hose().transfer);
        self
    }

    fn run(&self) -> Ended {
        assert!(!self.others.is_empty());
        self.main.run()
    }

    /// What it prints, if it ends well.
    #[track_caller]
    fn prints(&self) -> String {
        let ended = self.run();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        ended.stdout
    }
}

fn digest(case: &Case) -> String {
    let bytes = std::fs::read(case.path()).expect("a module");
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends 10 bytes `x` from 2048 to all, and prints the status.
const SEND_TEN: &str = r#"
    (memory.fill (i32.const 4000) (i32.const 120) (i32.const 10))
    (drop (call $register (i32.const 4000) (i32.const 10)))
    (call $number (call $send (i32.const 4000) (i32.const 10))) (call $line)"#;

/// Prints the payload and its sender's name.
const PRINT: &str = r#"
    (call $text (local.get 0) (local.get 1))
    (call $char (i32.const 32))
    (call $text (i32.const 1000) (call $peer (local.get 0) (i32.const 1000) (i32.const 60)))
    (call $line)"#;

#[test]
fn a_payload_is_handled_on_the_senders_thread_and_its_status_comes_back() {
    let b = handler(&format!("{PRINT} (drop (call $set_status (i32.const 42)))"));
    let flow = Flow::new(command(SEND_TEN), &["b"], vec![("b", &[], b)]);
    assert_eq!(flow.prints(), "xxxxxxxxxx main\n42\n");
}

#[test]
fn the_order_of_calls_is_that_of_the_papers_figure_4() {
    let say = |letter: u32| format!("(call $char (i32.const {letter}))");
    let exports = format!(
        r#"(func (export "allocate_memory") (param i32) (result i32) {} (call $allocate (local.get 0)))
           (func (export "deallocate_memory") (param i32) {})"#,
        say(51),
        say(54),
    );
    let a = wat(&format!(
        r#"(module {GUEST}
            (func (export "locate_memory_region") (param i32) (result i64) {}
                (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.const 10)))
            (func (export "_start") {} (drop (call $send (i32.const 4000) (i32.const 10))) {}))"#,
        say(50),
        say(49),
        say(55),
    ));
    // send_to_host, locate_memory_region, allocate_memory, (the host writes,) read_memory_wasm, deallocate_memory, back.
    let flow = Flow::new(a, &["b"], vec![("b", &[], with_exports(&exports, &say(53)))]);
    assert_eq!(flow.prints(), "123567");
}

#[test]
fn a_call_returns_the_answer_in_the_callers_own_memory() {
    let b = handler(
        r#"(memory.copy (i32.const 5000) (local.get 0) (local.get 1))
           (i32.store8 (i32.const 5000) (i32.const 89))
           (drop (call $register (i32.const 5000) (i32.const 10)))
           (drop (call $answer (local.get 0) (i32.const 5000) (local.get 1)))"#,
    );
    let body = r#"
        (i32.store8 (i32.const 3000) (i32.const 98))
        (memory.fill (i32.const 4000) (i32.const 120) (i32.const 10))
        (drop (call $register (i32.const 4000) (i32.const 10)))
        (loop $again
            (local.set $r (call $call (i32.const 3000) (i32.const 1) (i32.const 4000) (i32.const 10)))
            (call $text (call $address (local.get $r)) (i32.wrap_i64 (local.get $r)))
            (call $number (call $complete (call $address (local.get $r)) (i32.const 0)))
            (call $number (call $complete (call $address (local.get $r)) (i32.const 0)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 3))))"#;
    let flow = Flow::new(command(body), &["b"], vec![("b", &[], b)]);
    let region = Status::INVALID_REGION.0;
    assert_eq!(flow.prints(), format!("Yxxxxxxxxx0{region}").repeat(3));
}

#[test]
fn a_call_without_an_answer_gives_an_empty_one_and_with_a_complaint_the_complaint() {
    let body = r#"
        (i32.store8 (i32.const 3000) (i32.const 98)) (i32.store8 (i32.const 3001) (i32.const 99))
        (drop (call $register (i32.const 4000) (i32.const 10)))
        (local.set $r (call $call (i32.const 3000) (i32.const 1) (i32.const 4000) (i32.const 10)))
        (call $number (i32.wrap_i64 (local.get $r))) (call $line)
        (local.set $r (call $call (i32.const 3001) (i32.const 1) (i32.const 4000) (i32.const 10)))
        (call $number (i32.wrap_i64 (i64.shr_s (local.get $r) (i64.const 32)))) (call $line)
        (call $number (i32.wrap_i64 (local.get $r))) (call $line)"#;
    let c = handler(
        r#"(drop (call $set_status (i32.const 7)))
           (drop (call $answer (local.get 0) (local.get 0) (local.get 1)))"#,
    );
    let flow = Flow::new(command(body), &["b", "c"], vec![("b", &[], handler("")), ("c", &[], c)]);
    assert_eq!(flow.prints(), "0\n-1\n7\n");
}

/// Gives 3 MB of `x` at 2 MiB away, and prints: status, whether it is still registered, the sum of what is left there.
const GIVE: &str = r#"
    (memory.fill (i32.const 0x200000) (i32.const 120) (i32.const 3000000))
    (drop (call $register (i32.const 0x200000) (i32.const 3000000)))
    (drop (call $prepare (i32.const 0x200000) (i32.const 0)))
    (call $number (call $give (i32.const 0) (i32.const 0) (i32.const 0x200000) (i32.const 3000000))) (call $line)
    (call $number (call $unregister (i32.const 0x200000))) (call $line)
    (call $number (call $sum (i32.const 0x200000) (i32.const 3000000))) (call $line)"#;

const SUM: &str = "(call $number (call $sum (local.get 0) (local.get 1))) (call $line)";

#[test]
fn what_is_given_away_is_zero_and_no_longer_registered() {
    for transfer in ["auto", "move", "copy"] {
        let flow = Flow::new(command(GIVE), &["b"], vec![("b", &[], handler(SUM))]).transfer(transfer);
        let gone = Status::INVALID_REGION.0;
        assert_eq!(flow.prints(), format!("360000000\n0\n{gone}\n0\n"), "{transfer:?}");
    }
}

#[test]
fn of_a_fan_out_the_last_is_given_the_pages_and_the_others_copies() {
    let others = ["b", "c", "d"].map(|name| (name, &[][..], handler(SUM)));
    let flow = Flow::new(command(GIVE), &["b", "c", "d"], Vec::from(others));
    let gone = Status::INVALID_REGION.0;
    assert_eq!(flow.prints(), format!("360000000\n360000000\n360000000\n0\n{gone}\n0\n"));
}

/// One that pulls, and two that are called: what each does to its own copy of the memory is nothing to the others.
#[test]
fn of_a_fan_out_from_a_prepared_buffer_all_get_the_same_memory_and_none_sees_what_another_writes() {
    let give = GIVE.replace(
        "(call $prepare (i32.const 0x200000) (i32.const 0))",
        "(call $prepare (i32.const 0x200000) (i32.const 3000000))",
    );
    // What was there before is lost by that.
    let fill = "(memory.fill (i32.const 0x200000) (i32.const 120) (i32.const 3000000))";
    let body = give.replace("(call $number (call $give", &format!("{fill} (call $number (call $give"));
    let spoil = "(memory.fill (local.get 0) (i32.const 1) (local.get 1))";
    let gone = Status::INVALID_REGION.0;
    for (transfer, targets) in [
        ("auto", &["b", "c", "d"][..]),
        ("memfd", &["b", "c", "d"]),
        ("copy", &["b", "c", "d"]),
        ("move", &["b", "c", "d"]),
        ("auto", &["b"]),
    ] {
        let pulls = command(
            r#"(local.set $r (call $receive (i32.const -1)))
               (call $number (call $sum (call $address (local.get $r)) (i32.wrap_i64 (local.get $r)))) (call $line)
               (memory.fill (call $address (local.get $r)) (i32.const 1) (i32.wrap_i64 (local.get $r)))
               (drop (call $complete (call $address (local.get $r)) (i32.const 0)))"#,
        );
        let called = || handler(&format!("{SUM} {spoil}"));
        let mut others = vec![("b", &[][..], pulls), ("c", &[], called()), ("d", &[], called())];
        others.truncate(targets.len());
        let flow = Flow::new(command(&body), targets, others).transfer(transfer);
        let sums = "360000000\n".repeat(targets.len());
        assert_eq!(flow.prints(), format!("{sums}0\n{gone}\n0\n"), "{transfer} to {targets:?}");
    }
}

#[test]
fn of_a_fan_out_from_ordinary_memory_nobody_sees_what_another_writes_and_what_is_lent_stays() {
    // Of the first thousand bytes and the last.
    let sum = |at: &str, len: &str| {
        let end = format!("(i32.add {at} (i32.sub {len} (i32.const 1000)))");
        let [first, last] = [at, &end].map(|at| format!("(call $sum {at} (i32.const 1000))"));
        format!("(i32.add {first} {last})")
    };
    let handled = format!(
        "(drop (call $set_status {})) (memory.fill (local.get 0) (i32.const 1) (local.get 1))",
        sum("(local.get 0)", "(local.get 1)")
    );
    let (at, len) = ("(i32.const 0x200000)", "(i32.const 9000000)");
    let send = format!("(call $send {at} {len})");
    let give = format!("(call $give (i32.const 0) (i32.const 0) {at} {len})");
    for transfer in ["auto", "memfd", "copy"] {
        for (how, left) in [(&send, 240_000), (&give, 0)] {
            let body = format!(
                "(memory.fill {at} (i32.const 120) {len}) (drop (call $register {at} {len}))
                 (drop {how})
                 (loop $again
                    (call $number (call $target_status (local.get $i))) (call $line)
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (call $targets))))
                 (call $number {}) (call $line)",
                sum(at, len)
            );
            let targets = ["b", "c", "d", "e"];
            let others = targets.map(|name| (name, &[][..], handler(&handled)));
            let flow = Flow::new(command(&body), &targets, others.into()).transfer(transfer);
            let sums = "240000\n".repeat(4);
            assert_eq!(flow.prints(), format!("{sums}{left}\n"), "{transfer}, {how}");
        }
    }
}

#[test]
fn what_could_not_be_given_stays() {
    let refuses = with_exports(
        r#"(func (export "allocate_memory") (param i32) (result i32) (i32.const 0))
           (func (export "deallocate_memory") (param i32))"#,
        "unreachable",
    );
    let flow = Flow::new(command(GIVE), &["b"], vec![("b", &[], refuses)]);
    assert_eq!(flow.prints(), format!("{}\n0\n360000000\n", Status::REFUSED.0));
}

#[test]
fn lending_leaves_the_bytes_unless_moving_is_forced() {
    let body = r#"
        (memory.fill (i32.const 0x200000) (i32.const 120) (i32.const 3000000))
        (drop (call $register (i32.const 0x200000) (i32.const 3000000)))
        (call $number (call $send (i32.const 0x200000) (i32.const 3000000))) (call $line)
        (call $number (call $sum (i32.const 0x200000) (i32.const 3000000))) (call $line)"#;
    for (transfer, left) in [("auto", 360_000_000), ("copy", 360_000_000), ("move", 0)] {
        let flow = Flow::new(command(body), &["b"], vec![("b", &[], handler(SUM))]).transfer(transfer);
        assert_eq!(flow.prints(), format!("360000000\n0\n{left}\n"), "{transfer:?}");
    }
}

/// Sends ten times, and prints the statuses in one line.
const SEND_OFTEN: &str = r#"
    (drop (call $register (i32.const 4000) (i32.const 10)))
    (loop $again
        (call $number (call $send (i32.const 4000) (i32.const 10))) (call $char (i32.const 32))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 4))))"#;

/// Says how often it was called since it was made; odd calls end by what is given.
fn every_second(ends: &str) -> Case {
    handler(&format!(
        r#"(global.set $count (i32.add (global.get $count) (i32.const 1)))
           (drop (call $set_status (global.get $count)))
           (if (i32.eq (global.get $count) (i32.const 2)) (then {ends}))"#
    ))
}

#[test]
fn a_call_that_traps_or_exits_costs_that_call_and_the_instance_is_replaced() {
    let flow = Flow::new(command(SEND_OFTEN), &["b"], vec![("b", &[], every_second("unreachable"))]);
    let ended = flow.run();
    let trapped = Status::TRAPPED.0;
    assert_eq!((ended.code, ended.stdout), (0, format!("1 {trapped} 1 {trapped} ")));
    assert_eq!(ended.stderr.matches("trapped: unreachable").count(), 2, "{}", ended.stderr);
    let exits = every_second("(call $exit (i32.const 3))");
    let flow = Flow::new(command(SEND_OFTEN), &["b"], vec![("b", &[], exits)]);
    assert_eq!(flow.prints(), format!("1 {trapped} 1 {trapped} "));
}

/// 10 seconds of WASI's poll_oneoff on a clock.
const SLEEP: &str = r#"
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 48))
    (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (i64.const 10000000000))
    (drop (call $poll (i32.const 1024) (i32.const 1104) (i32.const 1) (i32.const 1200)))"#;

/// The workflow's command is [`SEND_OFTEN`], and its target [`every_second`], which never ends then.
#[track_caller]
fn is_stopped_each_time(flow: Flow, milliseconds: u64, never_ends: &str) {
    let start = std::time::Instant::now();
    let ended = flow.io_timeout(milliseconds).run();
    let late = Status::TIMEOUT.0;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, format!("1 {late} 1 {late} ").as_str()),
        "{never_ends}: {ended:?}"
    );
    let said = format!("did not handle a payload within {milliseconds}ms");
    assert_eq!(ended.stderr.matches(&said).count(), 2, "{never_ends}: {ended:?}");
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{never_ends}: {:?}", start.elapsed());
}

#[test]
fn a_call_that_loops_or_sleeps_is_stopped_at_its_deadline_and_the_sender_goes_on() {
    for ends in ["(loop $for_ever (br $for_ever))", &format!("(loop $for_ever {SLEEP} (br $for_ever))")] {
        let flow = Flow::new(command(SEND_OFTEN), &["b"], vec![("b", &[], every_second(ends))]);
        is_stopped_each_time(flow, 200, ends);
    }
}

/// A workflow of compiled functions: a command, and `b`, which it sends to.
fn compiled(main: Case, b: Case) -> Flow {
    let [main_code, b_code] = [&main, &b].map(|case| common::compile(case, "interruptible"));
    let mut flow = Flow::new(main.aot(&main_code), &["b"], vec![("b", &[], b.aot(&b_code))]);
    let function = &mut flow.hose().functions[0];
    let (digest, code) = (function.digest.clone(), function.module.aot.as_mut().expect("code"));
    (code.fd, code.digest) = (21, digest);
    flow.main.open(21, &b_code);
    flow
}

#[test]
fn a_compiled_function_is_stopped_wherever_it_is_and_its_sender_is_not() {
    let host = "(drop (call $targets))";
    let name = "(drop (call $peer (local.get 0) (i32.const 1000) (i32.const 60)))";
    let fill = "(memory.fill (i32.const 0x200000) (i32.const 7) (i32.const 0xd00000))";
    let copy = "(memory.copy (i32.const 0x200000) (i32.const 0x200001) (i32.const 0xd00000))";
    let write = "(i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))";
    let refused = "(drop (memory.grow (i32.const 65000)))";
    for within in ["", write, fill, copy, refused, host, name, SLEEP] {
        let b = every_second(&format!("(loop $for_ever {within} (br $for_ever))"));
        is_stopped_each_time(compiled(command(SEND_OFTEN), b), 100, within);
    }
}

#[test]
fn a_thousand_calls_that_are_stopped_leave_their_process_as_it_was() {
    let body = r#"
        (loop $for_ever
            (memory.fill (i32.const 0x200000) (i32.const 7) (i32.const 0x3000))
            (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
            (drop (call $peer (local.get 0) (i32.const 1000) (i32.const 60)))
            (br $for_ever))"#;
    let often = SEND_OFTEN.replace("(i32.const 4))))", "(i32.const 1000))))");
    let ended = compiled(command(&often), handler(body)).io_timeout(1).run();
    let late = format!("{} ", Status::TIMEOUT.0);
    assert_eq!((ended.code, ended.stdout), (0, late.repeat(1000)), "{}", ended.stderr);
}

#[test]
fn a_chain_of_ten_passes_a_payload_on_and_a_ring_is_refused() {
    let names: Vec<String> = (0..10).map(|i| format!("f{i}")).collect();
    let next: Vec<Vec<&str>> =
        (0..10).map(|i| names.get(i + 1).map(|name| name.as_str()).into_iter().collect()).collect();
    let pass = r#"
        (i32.store8 (local.get 0) (i32.add (i32.load8_u (local.get 0)) (i32.const 1)))
        (if (call $targets)
            (then (drop (call $set_status (call $send (local.get 0) (local.get 1)))))
            (else (call $text (local.get 0) (local.get 1)) (drop (call $set_status (i32.const 5)))))"#;
    let body = r#"
        (i32.store8 (i32.const 4000) (i32.const 65))
        (drop (call $register (i32.const 4000) (i32.const 1)))
        (call $number (call $send (i32.const 4000) (i32.const 1)))"#;
    let functions = |last: &'static [&'static str]| {
        let targets = |i: usize| if i == 9 { last } else { next[i].as_slice() };
        (0..10).map(|i| (names[i].as_str(), targets(i), handler(pass))).collect::<Vec<_>>()
    };
    assert_eq!(Flow::new(command(body), &["f0"], functions(&[])).prints(), "K5");
    let busy = Status::BUSY.0;
    let ring = Flow::new(command(body), &["f0"], functions(&["f3"]));
    // A negative status is not a handler's to say: what it heard was `BUSY`, and it said nothing.
    assert_eq!(ring.prints(), "0", "{busy}");
}

#[test]
fn a_fan_out_to_a_hundred_tells_each_result() {
    let names: Vec<String> = (0..100).map(|i| format!("f{i}")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let body = r#"
        (drop (call $register (i32.const 4000) (i32.const 1)))
        (call $number (call $send (i32.const 4000) (i32.const 1))) (call $line)
        (loop $again
            (call $text (i32.const 1000) (call $target_name (local.get $i) (i32.const 1000) (i32.const 60)))
            (call $char (i32.const 61))
            (call $number (call $target_status (local.get $i))) (call $char (i32.const 32))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (call $targets))))
        (call $number (call $target_status (i32.const 100)))"#;
    let status = |i: usize| if i % 7 == 3 { i } else { 0 };
    let functions = (0..100)
        .map(|i| {
            let body = format!("(drop (call $set_status (i32.const {})))", status(i));
            (names[i].as_str(), &[][..], handler(&body))
        })
        .collect();
    let expected: String = (0..100).map(|i| format!("f{i}={} ", status(i))).collect();
    let flow = Flow::new(command(body), &targets, functions);
    assert_eq!(flow.prints(), format!("3\n{expected}{}", Status::NO_TARGET.0));
}

#[test]
fn a_fan_out_that_takes_long_runs_on_several_threads_and_a_circle_is_refused_on_each() {
    let names: Vec<String> = (0..6).map(|i| format!("f{i}")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let fifth_of_a_second = SLEEP.replace("10000000000", "200000000");
    let back = format!(
        "{fifth_of_a_second}
         (drop (call $set_status (i32.sub (i32.const 0) (call $send (local.get 0) (local.get 1)))))"
    );
    let functions = targets.iter().map(|name| (*name, &["main"][..], handler(&back))).collect();
    let body = r#"
        (drop (call $register (i32.const 4000) (i32.const 1)))
        (drop (call $send (i32.const 4000) (i32.const 1)))
        (loop $again
            (call $number (call $target_status (local.get $i))) (call $char (i32.const 32))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (call $targets))))"#;
    let flow = Flow::new(command(body), &targets, functions);
    let start = std::time::Instant::now();
    assert_eq!(flow.prints(), format!("{} ", -Status::BUSY.0).repeat(6));
    // One after the other they sleep for 1.2 s.
    let took = start.elapsed();
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => println!("SKIPPED: whether they sleep at once: there is one processor"),
        _ => assert!(took < std::time::Duration::from_millis(1150), "{took:?}"),
    }
}

/// Pulls until nobody can send any more, and says what came; exits with the number of payloads.
const PULL: &str = r#"
    (block $end (loop $again
        (local.set $r (call $receive (i32.const -1)))
        (if (i64.eq (i64.shr_s (local.get $r) (i64.const 32)) (i64.const -1)) (then
            (call $number (i32.wrap_i64 (local.get $r))) (call $line)
            (br $end)))
        (call $text (call $address (local.get $r)) (i32.wrap_i64 (local.get $r)))
        (call $text (i32.const 1000) (call $peer (call $address (local.get $r)) (i32.const 1000) (i32.const 60)))
        (call $line)
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (drop (call $complete (call $address (local.get $r)) (local.get $i)))
        (br $again)))
    (call $exit (local.get $i))"#;

#[test]
fn a_function_that_pulls_has_a_thread_and_is_told_when_nobody_is_left_to_send() {
    let flow = Flow::new(command(&SEND_TEN.repeat(3)), &["b"], vec![("b", &[], command(PULL))]);
    let ended = flow.run();
    let lines = (1..4).map(|i| format!("xxxxxxxxxxmain\n{i}\n")).collect::<String>();
    let closed = format!("{}\n", Status::CLOSED.0);
    // Its exit code is the process's, as the first function's is 0.
    assert_eq!((ended.code, ended.stdout, ended.stderr.as_str()), (3, lines + &closed, ""));
}

#[test]
fn a_function_that_pulls_answers_too() {
    let b = command(
        r#"(local.set $r (call $receive (i32.const -1)))
           (memory.fill (i32.const 0x300000) (i32.const 1) (i32.const 100000))
           (drop (call $register (i32.const 0x300000) (i32.const 100000)))
           (drop (call $answer (call $address (local.get $r)) (i32.const 0x300000) (i32.const 100000)))
           (drop (call $complete (call $address (local.get $r)) (i32.const 0)))"#,
    );
    let body = r#"
        (i32.store8 (i32.const 3000) (i32.const 98))
        (drop (call $register (i32.const 4000) (i32.const 10)))
        (local.set $r (call $call (i32.const 3000) (i32.const 1) (i32.const 4000) (i32.const 10)))
        (call $number (call $sum (call $address (local.get $r)) (i32.wrap_i64 (local.get $r))))"#;
    assert_eq!(Flow::new(command(body), &["b"], vec![("b", &[], b)]).prints(), "100000");
}

#[test]
fn a_function_with_a_start_of_its_own_is_a_handler_afterwards() {
    let b = wat(&format!(
        r#"(module {GUEST}
            (func (export "allocate_memory") (param i32) (result i32) (call $allocate (local.get 0)))
            (func (export "deallocate_memory") (param i32))
            (func (export "_start") (global.set $count (i32.const 9)))
            (func (export "read_memory_wasm") (param i32 i32) (drop (call $set_status (global.get $count)))))"#
    ));
    assert_eq!(Flow::new(command(SEND_TEN), &["b"], vec![("b", &[], b)]).prints(), "9\n");
}

#[test]
fn what_ends_without_receiving_is_lost_to_its_senders_and_known_by_its_exit_code() {
    let b = command("(call $exit (i32.const 6))");
    let ended = Flow::new(command(SEND_TEN), &["b"], vec![("b", &[], b)]).run();
    assert_eq!((ended.code, ended.stdout), (6, format!("{}\n", Status::LOST.0)));
    let b = command("(drop (call $receive (i32.const -1))) unreachable");
    let ended = Flow::new(command(SEND_TEN), &["b"], vec![("b", &[], b)]).run();
    assert_eq!((ended.code, ended.stdout), (134, format!("{}\n", Status::TRAPPED.0)));
}

#[test]
fn an_allocator_that_lies_sends_traps_loops_or_grows_is_no_ones_trouble_but_its_own() {
    let deallocate = r#"(func (export "deallocate_memory") (param i32))"#;
    for (allocate, status) in [
        ("(i32.const 0)", Status::REFUSED),
        ("(i32.const -1)", Status::REFUSED),
        ("(i32.const 0x1000000)", Status::REFUSED),
        ("(i32.const 0xfffff8)", Status::REFUSED),
        ("unreachable", Status::TRAPPED),
        ("(loop $for_ever (br $for_ever)) (i32.const 64)", Status::TIMEOUT),
        ("(call $exit (i32.const 1)) (i32.const 64)", Status::TRAPPED),
        // Inside of it nothing can be sent; what it gives is fine.
        (
            "(if (i32.ne (call $send (i32.const 0) (i32.const 0)) (i32.const -13)) (then unreachable)) (i32.const 64)",
            Status::OK,
        ),
        // Grown, and given from there.
        ("(i32.shl (memory.grow (i32.const 1)) (i32.const 16))", Status::OK),
        ("(drop (memory.grow (i32.const 65000))) (i32.const 64)", Status::OK),
    ] {
        let exports =
            format!(r#"(func (export "allocate_memory") (param i32) (result i32) {allocate}) {deallocate}"#);
        let b = with_exports(&exports, "");
        // Another function next to it notices nothing.
        let c = handler("(drop (call $set_status (i32.const 3)))");
        let body = r#"
            (drop (call $register (i32.const 4000) (i32.const 10)))
            (drop (call $send (i32.const 4000) (i32.const 10)))
            (call $number (call $target_status (i32.const 0))) (call $line)
            (call $number (call $target_status (i32.const 1))) (call $line)"#;
        let flow = Flow::new(command(body), &["b", "c"], vec![("b", &[], b), ("c", &[], c)]).io_timeout(300);
        let ended = flow.run();
        assert_eq!(
            (ended.code, ended.stdout),
            (0, format!("{}\n3\n", status.0)),
            "{allocate}: {}",
            ended.stderr
        );
    }
}

#[test]
fn an_allocator_that_gives_a_region_that_is_in_use_is_refused() {
    let exports = r#"(func (export "allocate_memory") (param i32) (result i32) (i32.const 5000))
        (func (export "deallocate_memory") (param i32))"#;
    let b = with_exports(
        exports,
        "(if (i32.eqz (global.get $count)) (then (global.set $count (i32.const 1)) (drop (call $register (i32.const 6000) (i32.const 10)))))",
    );
    let body = r#"
        (drop (call $register (i32.const 4000) (i32.const 2000)))
        (call $number (call $send (i32.const 4000) (i32.const 10))) (call $line)
        (call $number (call $send (i32.const 4000) (i32.const 1001))) (call $line)
        (call $number (call $send (i32.const 4000) (i32.const 1000))) (call $line)"#;
    let flow = Flow::new(command(body), &["b"], vec![("b", &[], b)]);
    assert_eq!(flow.prints(), format!("0\n{}\n0\n", Status::REFUSED.0));
}

#[test]
fn a_receiver_beyond_its_memory_refuses_and_the_sender_goes_on() {
    let grows = with_exports(
        r#"(func (export "allocate_memory") (param i32) (result i32) (local i32)
               (local.set 1 (memory.grow (i32.shr_u (i32.add (local.get 0) (i32.const 0xffff)) (i32.const 16))))
               (select (i32.const 0) (i32.shl (local.get 1) (i32.const 16)) (i32.eq (local.get 1) (i32.const -1))))
           (func (export "deallocate_memory") (param i32))"#,
        "",
    );
    let body = r#"
        (drop (call $register (i32.const 0x200000) (i32.const 4000000)))
        (call $number (call $send (i32.const 0x200000) (i32.const 4000000))) (call $line)
        (call $number (call $send (i32.const 0x200000) (i32.const 10))) (call $line)"#;
    let mut flow = Flow::new(command(body), &["b"], vec![("b", &[], grows)]);
    flow.main.request.limits.max_memory = Some(18 << 20);
    assert_eq!(flow.prints(), format!("{}\n0\n", Status::REFUSED.0));
}

#[test]
fn a_module_that_is_not_the_pinned_one_does_not_run() {
    let mut flow = Flow::new(command(SEND_TEN), &["b"], vec![("b", &[], handler(""))]);
    let pinned = "0".repeat(64);
    flow.hose().functions[0].digest.clone_from(&pinned);
    let ended = flow.run();
    let path = flow.others[0].path().display().to_string();
    let message = ended.create_error();
    assert!(message.contains(&path) && message.contains("SHA-256") && message.contains(&pinned), "{message}");
}

#[test]
fn memory_that_was_moved_or_freed_shows_nothing_of_another_function() {
    // b fills what it was given, and its answer, with a secret; what comes to c afterwards must be nobody's.
    let b = handler(
        r#"(memory.fill (local.get 0) (i32.const 0x5e) (local.get 1))
           (memory.fill (i32.const 0x800000) (i32.const 0x5e) (i32.const 3000000))"#,
    );
    let body = r#"
        (loop $again
            (memory.fill (i32.const 0x200000) (i32.const 1) (i32.const 3000001))
            (drop (call $register (i32.const 0x200000) (i32.const 3000001)))
            (drop (call $give (i32.const 3000) (i32.const 1) (i32.const 0x200000) (i32.const 3000001)))
            (call $number (call $sum (i32.const 0x200000) (i32.const 3000001)))
            (memory.fill (i32.const 0x200000) (i32.const 1) (i32.const 3000001))
            (drop (call $register (i32.const 0x200000) (i32.const 3000001)))
            (drop (call $give (i32.const 3001) (i32.const 1) (i32.const 0x200000) (i32.const 3000001)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 4))))"#;
    let names = "(i32.store8 (i32.const 3000) (i32.const 98)) (i32.store8 (i32.const 3001) (i32.const 99))";
    let flow = Flow::new(
        command(&format!("{names}{body}")),
        &["b", "c"],
        vec![("b", &[], b), ("c", &[], handler(SUM))],
    );
    assert_eq!(flow.prints(), "03000001\n".repeat(4));
}
