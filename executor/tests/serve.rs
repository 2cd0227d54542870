//! A function that stays: its memory persists from call to call and from sender to sender, a call that fails costs that call, and
//! a signal lets it finish.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use common::end::{self, SEVEN};
use common::{Case, Ended, finish, wat};
use executor_abi::request::Lifecycle;
use guest_abi::Status;
use hose::{Delivery, ErrorKind, Fate, Sender};

/// What a handler here can do: count, trap, exit, spin, and take its time, as the first byte of a payload says. It answers how often
/// this instance was called.
const COUNTER: &str = r#"
    (import "roadrunner" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#;

fn handler(more: &str) -> Case {
    wat(&format!(
        r#"(module {COUNTER} {SEVEN}
            (func $say (param i32)
                (i32.store8 (i32.const 16) (local.get 0)) (i32.store8 (i32.const 17) (i32.const 10))
                (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 2))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func $sleep (param i64)
                ;; One subscription to the monotonic clock.
                (memory.fill (i32.const 128) (i32.const 0) (i32.const 48))
                (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (local.get 0))
                (if (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 320))
                    (then unreachable)))
            {more}
            (func (export "read_memory_wasm") (param $at i32) (param i32) (local $what i32)
                (local.set $what (i32.load8_u (local.get $at)))
                (if (i32.eq (local.get $what) (i32.const 116)) (then unreachable))
                (if (i32.eq (local.get $what) (i32.const 120)) (then (call $exit (i32.const 0))))
                (if (i32.eq (local.get $what) (i32.const 108)) (then (loop $ever (br $ever))))
                (if (i32.eq (local.get $what) (i32.const 115)) (then
                    (call $say (i32.const 115)) (call $sleep (i64.const 400000000))))
                (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
                (drop (call $register (i32.const 64) (i32.const 4)))
                (drop (call $answer (local.get $at) (i32.const 64) (i32.const 4)))))"#
    ))
}

/// A function that serves, and those who send to it.
struct Scene {
    base: tempfile::TempDir,
    /// Its module lies in a folder of its own.
    _case: Case,
    child: Child,
}

impl Scene {
    fn new(case: Case) -> Self {
        Self::with(case, 10_000, |_| {})
    }

    fn with(mut case: Case, drain: u64, change: impl FnOnce(&mut Case)) -> Self {
        let base = tempfile::tempdir().expect("a folder");
        let _ends = end::join(&mut case, base.path(), "b", &[], 10_000);
        let hose = case.request.hose.as_mut().expect("a hose");
        hose.lifecycle = Lifecycle::Serve { drain_timeout_ms: drain };
        change(&mut case);
        let child = case.spawn();
        Self { base, _case: case, child }
    }

    fn sender(&self, name: &str) -> Sender {
        end::sender(self.base.path(), name, "b")
    }

    fn signal(&self, signal: i32) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
        rustix::process::kill_process(pid, signal).expect("kill");
    }

    fn expect_line(&mut self, line: &str) {
        let mut reader = BufReader::new(self.child.stdout.as_mut().expect("a pipe"));
        let mut read = String::new();
        reader.read_line(&mut read).expect("a line");
        assert_eq!(read.trim_end(), line);
    }

    /// Asks it to end, and gives what it left.
    fn end(self) -> Ended {
        self.signal(libc::SIGTERM);
        finish(self.child)
    }
}

fn send(sender: &mut Sender, what: &str) -> hose::Result<Delivery> {
    sender.send(&"b".try_into().expect("a name"), what.as_bytes())
}

/// How often the instance has been called, by its own count.
#[track_caller]
fn count(sender: &mut Sender) -> u32 {
    let delivery = send(sender, "count").expect("an answer");
    assert_eq!(delivery.status.0, 0);
    let mut bytes = [0; 4];
    delivery.answer.expect("an answer").read_into(&mut bytes).expect("four bytes");
    u32::from_le_bytes(bytes)
}

#[track_caller]
fn status(sender: &mut Sender, what: &str) -> Status {
    Status(send(sender, what).expect("a verdict").status.0)
}

#[test]
fn memory_persists_from_call_to_call_and_from_sender_to_sender() {
    let scene = Scene::new(handler(""));
    let (mut a, mut c) = (scene.sender("a"), scene.sender("c"));
    assert_eq!([count(&mut a), count(&mut c), count(&mut a)], [1, 2, 3]);
    // The last connection's end is not the function's.
    drop((a, c));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(&mut scene.sender("d")), 4);
    let ended = scene.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn a_call_that_fails_costs_that_call_and_the_instance_is_replaced() {
    let scene = Scene::with(handler(""), 10_000, |case| {
        case.request.hose.as_mut().expect("a hose").io_timeout_ms = 300;
    });
    let mut sender = scene.sender("a");
    assert_eq!([count(&mut sender), count(&mut sender)], [1, 2]);
    for (what, expected) in [("trap", Status::TRAPPED), ("x", Status::TRAPPED), ("loop", Status::TIMEOUT)] {
        assert_eq!(status(&mut sender, what), expected, "{what}");
        assert_eq!([count(&mut sender), count(&mut sender)], [1, 2], "after {what}");
    }
    let ended = scene.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{ended:?}");
    assert!(lines[0].contains("trapped: unreachable"), "{ended:?}");
    assert!(lines[1].ends_with("stopped: function b exited with 0"), "{ended:?}");
    assert!(lines[2].ends_with("stopped: function b did not handle a payload within 300ms"), "{ended:?}");
}

#[test]
fn the_entry_point_runs_for_each_instance_and_ends_the_function_when_it_fails() {
    let scene = Scene::new(handler(r#"(func (export "_start") (i32.store (i32.const 64) (i32.const 100)))"#));
    let mut sender = scene.sender("a");
    assert_eq!(count(&mut sender), 101);
    assert_eq!(status(&mut sender, "trap"), Status::TRAPPED);
    assert_eq!(count(&mut sender), 101);
    assert_eq!(scene.end().code, 0);
    let scene = Scene::new(handler(r#"(func (export "_start") (call $exit (i32.const 7)))"#));
    assert_eq!(finish(scene.child).code, 7);
}

#[test]
fn what_runs_is_finished_and_what_waits_is_refused() {
    let mut scene = Scene::new(handler(""));
    let (mut a, mut c) = (scene.sender("a"), scene.sender("c"));
    count(&mut a);
    count(&mut c);
    std::thread::scope(|s| {
        let base = scene.base.path().to_owned();
        let running = s.spawn(move || status(&mut end::sender(&base, "d", "b"), "sleep"));
        scene.expect_line("s");
        scene.signal(libc::SIGTERM);
        let error = send(&mut c, "too late").expect_err("it is about to end");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotHandled), "{error}");
        assert_eq!(running.join().expect("a verdict"), Status::OK);
    });
    let ended = finish(scene.child);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn what_is_not_finished_in_time_ends_with_the_signals_code() {
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let mut scene = Scene::with(handler(""), 100, |_| {});
        let started = std::thread::scope(|s| {
            let base = scene.base.path().to_owned();
            let running = s.spawn(move || send(&mut end::sender(&base, "a", "b"), "sleep").map(drop));
            scene.expect_line("s");
            let started = Instant::now();
            scene.signal(signal);
            let error = running.join().expect("a verdict").expect_err("it had no time");
            assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
            started
        });
        let ended = finish(scene.child);
        assert!(started.elapsed() < Duration::from_millis(350), "{:?}", started.elapsed());
        assert_eq!(ended.code, code);
        assert!(ended.stderr.contains("not finished within the drain timeout of 100ms"), "{ended:?}");
    }
}

#[test]
fn one_that_is_idle_ends_at_once_and_one_that_starts_is_waited_for() {
    let scene = Scene::new(handler(""));
    count(&mut scene.sender("a"));
    let started = Instant::now();
    assert_eq!(scene.end().code, 0);
    assert!(started.elapsed() < Duration::from_millis(300), "{:?}", started.elapsed());
    let start = r#"(func (export "_start") (call $say (i32.const 115)) (call $sleep (i64.const 300000000)))"#;
    let mut scene = Scene::new(handler(start));
    scene.expect_line("s");
    let ended = scene.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn one_that_asks_for_payloads_itself_is_told_that_there_will_be_no_more() {
    let mut scene = Scene::new(wat(&format!(
        r#"(module {COUNTER}
            (import "roadrunner" "receive" (func $receive (param i32) (result i64))) {SEVEN}
            (func (export "_start") (local $got i64)
                (i32.store8 (i32.const 16) (i32.const 115)) (i32.store8 (i32.const 17) (i32.const 10))
                (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 2))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (local.set $got (call $receive (i32.const -1)))
                ;; CLOSED is -17.
                (call $exit (i32.sub (i32.const 0) (i32.wrap_i64 (local.get $got))))))"#
    )));
    scene.expect_line("s");
    assert_eq!(scene.end().code, 17);
}

#[test]
fn thousands_of_calls_and_hundreds_of_failures_leave_nothing() {
    let scene = Scene::new(handler(""));
    let mut sender = scene.sender("a");
    let held = || {
        let proc = |what: &str| format!("/proc/{}/{what}", scene.child.id());
        let fds = std::fs::read_dir(proc("fd")).expect("descriptors").count();
        let maps = std::fs::read_to_string(proc("maps")).expect("mappings").lines().count();
        (fds, maps)
    };
    let traps = |sender: &mut Sender, n: u32| {
        for _ in 0..n {
            assert_eq!(status(sender, "trap"), Status::TRAPPED);
        }
    };
    let calls = |sender: &mut Sender, n: u32| {
        for _ in 0..n {
            assert!(count(sender) > 0);
        }
    };
    traps(&mut sender, 5);
    calls(&mut sender, 100);
    let before = held();
    calls(&mut sender, 3000);
    assert_eq!(held(), before);
    traps(&mut sender, 200);
    count(&mut sender);
    let after = held();
    assert_eq!(after.0, before.0);
    assert!(after.1 <= before.1 + 8, "{before:?} {after:?}");
    assert_eq!(scene.end().code, 0);
}

#[test]
fn a_module_that_cannot_take_a_payload_cannot_serve() {
    let base = tempfile::tempdir().expect("a folder");
    let mut case = wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let _ends = end::join(&mut case, base.path(), "b", &[], 50);
    let hose = case.request.hose.as_mut().expect("a hose");
    hose.lifecycle = Lifecycle::Serve { drain_timeout_ms: 1 };
    assert!(case.run().create_error().ends_with("cannot serve, it exports no allocate_memory"));
}
