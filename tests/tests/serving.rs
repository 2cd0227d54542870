//! Functions that stay: called by senders in other containers and from the host, failing, drained; and what is told of their hoses.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tests::command::{Invocation, Running, eventually};
use tests::{Bundle, Case, Hoses, Output, guest, wasm_case};

/// Counts its calls, and answers the number as six digits. A payload of up to 8 bytes is a word: `trap`, `xit` and `loop` fail, `slow` says
/// so and takes 600 ms, `7` is a status, `none` has no answer. One that begins with `echo` comes back.
const COUNTER: &str = r#"(module
  (import "roadrunner" "answer" (func $answer (param i32 i32 i32) (result i32)))
  (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
  (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 80)
  (data (i32.const 512) "slow\n")
  (func (export "allocate_memory") (param i32) (result i32) (i32.const 65536))
  (func (export "deallocate_memory") (param i32))
  (func $slow
    (i32.store (i32.const 0) (i32.const 512)) (i32.store (i32.const 4) (i32.const 5))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (memory.fill (i32.const 128) (i32.const 0) (i32.const 48))
    (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 600000000))
    (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 320))))
  (func $digits (param $n i32) (local $at i32)
    (local.set $at (i32.const 69))
    (loop $next
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (br_if $next (i32.ge_u (local.get $at) (i32.const 64)))))
  (func (export "read_memory_wasm") (param $at i32) (param $len i32) (local $what i32)
    (if (i32.ge_u (local.get $len) (i32.const 4)) (then (local.set $what (i32.load (local.get $at)))))
    (if (i32.eq (local.get $what) (i32.const 0x6f686365)) (then
      (drop (call $answer (local.get $at) (local.get $at) (local.get $len))) (return)))
    (if (i32.le_u (local.get $len) (i32.const 8)) (then
      (if (i32.eq (local.get $what) (i32.const 0x70617274)) (then unreachable))
      (if (i32.eq (local.get $what) (i32.const 0x706f6f6c)) (then (loop $ever (br $ever))))
      (if (i32.eq (local.get $what) (i32.const 0x776f6c73)) (then (call $slow)))
      (if (i32.eq (local.get $what) (i32.const 0x656e6f6e)) (then (return)))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 120)) (then (call $exit (i32.const 3))))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 55)) (then
        (drop (call $set_status (i32.const 7)))))))
    (i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))
    (call $digits (i32.load (i32.const 32)))
    (drop (call $register (i32.const 64) (i32.const 6)))
    (drop (call $answer (local.get $at) (i32.const 64) (i32.const 6)))))"#;

/// A case's functions, and the one that serves.
struct Scene<'a> {
    case: &'a Case,
    hoses: Hoses<'a>,
}

/// A function that runs in the foreground of its own `run`.
struct Served {
    id: String,
    run: Running,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Self {
        Self { case, hoses: Hoses::new(case) }
    }

    fn bundle(&self) -> Bundle {
        let module = wat::parse_str(COUNTER).expect("the test's own module");
        let bundle = self.hoses.function_of(&module, "counter", "", &[]);
        bundle.annotation("io.roadrunner.hose/lifecycle", "serve");
        bundle
    }

    fn serve(&self, bundle: &Bundle) -> Served {
        let (id, run) = self.hoses.start(bundle);
        Served { id, run }
    }

    fn invoke(&self, served: &Served, args: &[&str]) -> Invocation {
        self.hoses.cmd_of("tenant", &["invoke", &served.id]).args(args)
    }

    fn count(&self, served: &Served) -> u32 {
        self.invoke(served, &["--data", "count"]).ok().parse().expect("a number")
    }

    fn pid(&self, served: &Served) -> u32 {
        let pid = self.case.state(&served.id)["pid"].as_u64().expect("a pid");
        u32::try_from(pid).expect("it fits")
    }

    /// SIGTERM, and what the function left.
    fn end(&self, served: Served) -> Output {
        self.case.cmd(["kill", &served.id, "TERM"]).ok();
        served.run.wait()
    }

    fn hose(&self, args: &[&str]) -> Invocation {
        self.case.cmd(["hose"].iter().chain(args))
    }
}

#[track_caller]
fn refused(invocation: Invocation, named: &[&str]) {
    let out = invocation.output().exits(1);
    let lines = out.error_lines();
    assert_eq!((lines.len(), out.stdout.as_str()), (1, ""), "{}", out.stderr);
    for name in named {
        assert!(lines[0].contains(name), "{name:?} is not in: {}", lines[0]);
    }
}

#[test]
fn memory_persists_between_calls_of_several_senders_and_of_the_host() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    if guest::hose().is_none() {
        return;
    }
    for aot in ["off", "wait"] {
        let bundle = scene.bundle();
        bundle.annotation("io.roadrunner.wasm/aot", aot);
        let served = scene.serve(&bundle);
        assert_eq!([scene.count(&served), scene.count(&served)], [1, 2]);
        for name in ["a", "c"] {
            let sender = scene.hoses.function(name, "counter", &["send", "100"]);
            let out = scene.hoses.run(&sender).wait().success();
            assert!(out.stdout.contains("status 0"), "{}", out.stdout);
        }
        assert_eq!(scene.count(&served), 5);
        let out = scene.end(served);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{aot}");
    }
    scene.hoses.nothing_left();
}

#[test]
fn a_call_that_fails_costs_that_call() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    for aot in ["off", "wait"] {
        let bundle = scene.bundle();
        bundle.annotation("io.roadrunner.hose/io-timeout", "400ms").annotation("io.roadrunner.wasm/aot", aot);
        let served = scene.serve(&bundle);
        assert_eq!([scene.count(&served), scene.count(&served)], [1, 2]);
        for (word, said) in [("trap", "function failed"), ("x", "function failed"), ("loop", "timed out")] {
            refused(scene.invoke(&served, &["--data", word]), &[&served.id, said]);
            assert_eq!([scene.count(&served), scene.count(&served)], [1, 2], "{aot}: after {word}");
        }
        let out = scene.end(served).exits(0);
        for said in ["unreachable", "exited with 3", "did not handle a payload within 400ms"] {
            assert!(out.stderr.contains(said), "{aot}: {}", out.stderr);
        }
    }
    scene.hoses.nothing_left();
}

#[test]
fn ten_thousand_calls_grow_nothing() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    if guest::hose().is_none() {
        return;
    }
    let served = scene.serve(&scene.bundle());
    let pid = scene.pid(&served);
    let send = |count: &str, len: &str| {
        let sender = scene.hoses.function("a", "counter", &["send-many", count, len]);
        let _ = scene.hoses.run(&sender).wait().success();
    };
    let held = || {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps").lines().count();
        let resident = tests::proc::status(pid)["VmRSS"].trim_end_matches(" kB").trim().parse::<u64>();
        (tests::proc::descriptors(pid).len(), maps, resident.expect("a number"))
    };
    send("200", "100");
    send("20", "1000000");
    let before = held();
    send("10000", "100");
    send("100", "1000000");
    let after = held();
    assert_eq!((after.0, after.1), (before.0, before.1), "descriptors and mappings");
    assert!(after.2 <= before.2 + 1024, "resident: {} kB, then {} kB", before.2, after.2);
    assert_eq!(scene.count(&served), 10_321);
    let _ = scene.end(served).exits(0);
    scene.hoses.nothing_left();
}

#[test]
fn sigterm_finishes_what_runs_and_the_drain_timeout_ends_it() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    for (drain, signal, code) in [("5s", "TERM", 0), ("5s", "INT", 0), ("100ms", "TERM", 143)] {
        let bundle = scene.bundle();
        bundle.annotation("io.roadrunner.hose/drain-timeout", drain);
        let mut served = scene.serve(&bundle);
        let call = scene.invoke(&served, &["--data", "slow"]).spawn();
        served.run.expect_stdout("slow");
        let asked = Instant::now();
        case.cmd(["kill", &served.id, signal]).ok();
        let out = served.run.wait().exits(code);
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        let called = call.wait();
        match code {
            0 => assert_eq!((called.code, called.stdout.as_str()), (0, "000001")),
            _ => {
                assert!(out.stderr.contains("drain timeout of 100ms"), "{}", out.stderr);
                assert!(called.code == 1 && called.stderr.contains("was lost"), "{}", called.stderr);
            }
        }
    }
    // One that is idle ends at once; one that is not asked but killed, as ever.
    for (signal, code) in [("TERM", 0), ("KILL", 137), ("HUP", 129)] {
        let served = scene.serve(&scene.bundle());
        scene.count(&served);
        case.cmd(["kill", &served.id, signal]).ok();
        let _ = served.run.wait().exits(code);
    }
    scene.hoses.nothing_left();
}

/// A handler that itself waits for a function of another container, which never comes.
#[test]
fn a_call_within_a_call_has_no_more_time_than_that_one() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let relay = wat::parse_str(
        r#"(module
          (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
          (memory (export "memory") 2)
          (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
          (func (export "deallocate_memory") (param i32))
          (func (export "read_memory_wasm") (param $at i32) (param $len i32)
            (if (local.get $len) (then (drop (call $send (local.get $at) (local.get $len)))))))"#,
    );
    let bundle = scene.hoses.function_of(&relay.expect("the test's own module"), "relay", "nobody", &[]);
    for (key, value) in [("lifecycle", "serve"), ("io-timeout", "500ms"), ("connect-timeout", "20s")] {
        bundle.annotation(&format!("io.roadrunner.hose/{key}"), value);
    }
    let served = scene.serve(&bundle);
    for _ in 0..2 {
        let since = Instant::now();
        let _ = scene.invoke(&served, &["--data", "x", "--timeout", "10s"]).output();
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        let _ = scene.invoke(&served, &[]).ok();
    }
    let _ = scene.end(served).exits(0);
    scene.hoses.nothing_left();
}

#[test]
fn what_waits_beyond_max_inflight_is_refused_as_busy() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    if guest::hose().is_none() {
        return;
    }
    let bundle = scene.bundle();
    bundle.annotation("io.roadrunner.hose/max-inflight", "1");
    let served = scene.serve(&bundle);
    // Of three that never pause one is handled, one waits, and one is too many.
    let mut senders: Vec<Running> = ["a", "c", "d"]
        .iter()
        .map(|name| {
            let sender = scene.hoses.function(name, "counter", &["send-many", "1000000", "100"]);
            sender.annotation("io.roadrunner.hose/connect-timeout", "1s");
            scene.hoses.run(&sender)
        })
        .collect();
    eventually("one is refused", || senders.iter_mut().any(Running::ended));
    case.cmd(["kill", &served.id, "TERM"]).ok();
    let _ = served.run.wait().exits(0);
    let said: Vec<String> = senders.into_iter().map(|sender| sender.wait().stdout).collect();
    assert!(said.iter().any(|text| text.contains("refused: it is busy")), "{said:?}");
    scene.hoses.nothing_left();
}

#[test]
fn a_function_is_invoked_in_every_form() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let served = scene.serve(&scene.bundle());
    assert_eq!(scene.invoke(&served, &[]).ok(), "000001");
    assert_eq!(scene.invoke(&served, &["--data", "--x"]).ok(), "000002");
    assert_eq!(scene.invoke(&served, &["--data", "none"]).ok(), "");
    assert_eq!(scene.invoke(&served, &["-"]).stdin("echo me").ok(), "echo me");
    let (file, answer) = (case.dir().join("payload"), case.dir().join("answer"));
    let mut payload = b"echo".to_vec();
    payload.extend((0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]));
    fs::write(&file, &payload).expect("write");
    let (path, to) = (file.display().to_string(), answer.display().to_string());
    assert_eq!(scene.invoke(&served, &["--file", &path, "--output", &to]).ok(), "");
    assert!(fs::read(&answer).expect("an answer") == payload);
    refused(scene.invoke(&served, &["--data", "7"]), &[&served.id, "handler said 7"]);
    let both = scene.invoke(&served, &["--data", "x", "--file", &path]).output().exits(1);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    refused(scene.invoke(&served, &["--file", "/nonexistent"]), &["/nonexistent"]);
    refused(scene.invoke(&served, &["--timeout", "soon"]), &["--timeout", "soon"]);
    refused(scene.invoke(&served, &["--data", "slow", "--timeout", "100ms"]), &[&served.id, "100ms"]);
    // It finishes what nobody waits for.
    assert!(scene.count(&served) >= 5);
    let _ = scene.end(served).exits(0);
    scene.hoses.nothing_left();
}

#[test]
fn an_invoke_that_cannot_be_says_why() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    refused(scene.hoses.cmd_of("tenant", &["invoke", "nobody"]), &["nobody", "does not exist"]);
    let created = case.id();
    scene.hoses.cmd_of("tenant", &["create", "--bundle"]).arg(scene.bundle().dir()).arg(&created).ok();
    refused(scene.hoses.cmd_of("tenant", &["invoke", &created]), &[&created, "is created, not running"]);
    case.force_delete(&created);
    let native = case.busybox();
    native.script("sleep 30");
    let id = case.id();
    case.start(&native, &id);
    refused(scene.hoses.cmd_of("tenant", &["invoke", &id]), &[&id, "native"]);
    refused(scene.hose(&["stats", &id]), &[&id, "native"]);
    case.force_delete(&id);
    let alone = case
        .wasm(r#"(module (memory (export "memory") 1) (func (export "_start") (loop $ever (br $ever))))"#);
    let id = case.id();
    case.start(&alone, &id);
    refused(scene.hoses.cmd_of("tenant", &["invoke", &id]), &[&id, "has no hose"]);
    case.force_delete(&id);
    scene.hoses.nothing_left();
}

#[test]
fn an_invoke_that_is_ended_by_a_signal_leaves_nothing() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let mut served = scene.serve(&scene.bundle());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let call = scene.invoke(&served, &["--data", "slow"]).spawn();
        served.run.expect_stdout("slow");
        call.signal(signal);
        let _ = call.wait().exits(code);
    }
    // What a killed one leaves, the next one takes away.
    let call = scene.invoke(&served, &["--data", "slow"]).spawn();
    served.run.expect_stdout("slow");
    call.signal(Signal::KILL);
    let _ = call.wait();
    assert!(scene.count(&served) > 0);
    let records = fs::read_dir(scene.hoses.folder().join("tenant")).expect("a folder").count();
    assert_eq!(records, 2, "the function's own record and socket");
    assert!(scene.count(&served) > 0);
    let _ = scene.end(served).exits(0);
    scene.hoses.nothing_left();
}

#[test]
fn ends_and_counts_are_told_in_every_form() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    assert_eq!(scene.hose(&["ls", "--format", "json"]).ok(), "[]\n");
    assert_eq!(scene.hose(&["stats"]).ok().lines().count(), 1);
    let served = scene.serve(&scene.bundle());
    (0..3).for_each(|_| assert!(scene.count(&served) > 0));
    refused(scene.invoke(&served, &["--data", "trap"]), &[]);
    let ends: Value = serde_json::from_str(&scene.hose(&["ls", "--format", "json"]).ok()).expect("JSON");
    let end = &ends[0];
    assert_eq!((&end["id"], &end["name"]), (&served.id.as_str().into(), &"counter".into()));
    assert_eq!((&end["tenant"], &end["lifecycle"]), (&"tenant".into(), &"serve".into()));
    assert_eq!((&end["mode"][0], &end["status"]), (&"kernel".into(), &"running".into()));
    let table = scene.hose(&["ls"]).ok();
    assert!(table.lines().count() == 2 && table.contains("counter"), "{table}");

    let stats: Value =
        serde_json::from_str(&scene.hose(&["stats", "--format", "json", &served.id]).ok()).expect("JSON");
    let peers = stats[0]["peers"].as_array().expect("peers");
    let sum = |key: &str| peers.iter().filter_map(|peer| peer[key].as_u64()).sum::<u64>();
    assert_eq!((sum("calls"), sum("errors"), sum("bytes"), sum("copiedBytes")), (4, 1, 19, 19), "{stats}");
    let [peer] = &peers[..] else { panic!("one peer, however many calls: {stats}") };
    assert_eq!((&peer["direction"], &peer["mode"]), (&"receive".into(), &"unix".into()));
    assert_eq!(peer["peer"], "invoke");
    let table = scene.hose(&["stats"]).ok();
    assert!(table.lines().next().is_some_and(|line| line.starts_with("ID ")), "{table}");
    let text = scene.hose(&["stats", "--format", "prometheus"]).ok();
    check_metrics(&text, &served.id);
    let file = case.dir().join("hose.prom");
    scene.hose(&["stats", "--textfile"]).arg(&file).ok();
    assert_eq!(fs::read_to_string(&file).expect("a file"), text);
    refused(scene.hose(&["stats", "nobody"]), &["nobody", "does not exist"]);
    refused(scene.hose(&["stats", "--serve", "nowhere"]), &["nowhere"]);
    refused(scene.hose(&["stats", "--textfile", "/nonexistent/x.prom"]), &["/nonexistent/x.prom"]);
    let _ = scene.end(served).exits(0);
    assert_eq!(scene.hose(&["ls", "--format", "json"]).ok(), "[]\n");
}

#[track_caller]
fn check_metrics(text: &str, id: &str) {
    let of = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(id));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    assert!((of("rr_hose_calls_total") - 4.0).abs() < 0.1, "{text}");
    assert!((of("rr_hose_errors_total") - 1.0).abs() < 0.1, "{text}");
    assert!((of("rr_hose_latency_seconds_count") - 4.0).abs() < 0.1, "{text}");
}

/// One exchange with a listener that closes.
fn exchange<S: Read + Write>(mut stream: S, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn what_is_counted_can_be_scraped() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let served = scene.serve(&scene.bundle());
    (0..3).for_each(|_| assert!(scene.count(&served) > 0));
    refused(scene.invoke(&served, &["--data", "trap"]), &[]);
    let mut listener = scene.hose(&["stats", "--serve", "0"]).spawn();
    listener.expect_stdout("listening on 127.0.0.1:");
    eventually("it says where", || listener.stdout().contains('\n'));
    let said = listener.stdout();
    let address = said.trim_end().rsplit(' ').next().expect("an address");
    let get = |request: &str| exchange(TcpStream::connect(address).expect("it listens"), request);
    // One that connects and says nothing does not keep the others waiting for long.
    let silent = TcpStream::connect(address).expect("it listens");
    let answer = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    check_metrics(body, &served.id);
    drop(silent);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
        (&format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9000)), "431"),
    ] {
        assert!(get(request).starts_with(&format!("HTTP/1.1 {status} ")), "{status}");
    }
    listener.signal(Signal::TERM);
    let _ = listener.wait().exits(0);
    let path = case.dir().join("metrics.sock");
    let mut listener = scene.hose(&["stats", "--serve", &format!("unix:{}", path.display())]).spawn();
    listener.expect_stdout("listening on unix:");
    let answer = exchange(UnixStream::connect(&path).expect("it listens"), "GET /metrics HTTP/1.1\r\n\r\n");
    check_metrics(&answer, &served.id);
    listener.signal(Signal::INT);
    let _ = listener.wait().exits(0);
    assert!(!path.exists());
    let _ = scene.end(served).exits(0);
}

#[test]
fn a_workflow_serves_and_both_transports_are_counted() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let handler = |body: &str| {
        let text = format!(
            r#"(module
              (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
              (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
              (memory (export "memory") 2)
              (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
              (func (export "deallocate_memory") (param i32))
              (func (export "read_memory_wasm") (param i32 i32) {body}))"#
        );
        wat::parse_str(text).expect("the test's own module")
    };
    // Passes on what it is given, and says whether that worked.
    let front = handler(
        "(if (call $send (local.get 0) (local.get 1)) (then (drop (call $set_status (i32.const 9)))))",
    );
    let back = handler("(if (i32.eq (i32.load8_u (local.get 0)) (i32.const 116)) (then unreachable))");
    let bundle = scene.hoses.function_of(&front, "front", "back", &[]);
    bundle.file("back.wasm", &back);
    let hose = |key: &str, value: &str| {
        bundle.annotation(&format!("io.roadrunner.hose/{key}"), value);
    };
    hose("mode", "user,kernel");
    hose("modules", &tests::flow::pin("back", "/back.wasm", &back));
    hose("lifecycle", "serve");
    let served = scene.serve(&bundle);
    (0..3).for_each(|_| drop(scene.invoke(&served, &["--data", "hello"]).ok()));
    refused(scene.invoke(&served, &["--data", "trap"]), &["said 9"]);
    scene.invoke(&served, &["--data", "hello"]).ok();
    let stats: Value = serde_json::from_str(&scene.hose(&["stats", "--format", "json"]).ok()).expect("JSON");
    let peers = stats[0]["peers"].as_array().expect("peers");
    let told: Vec<_> = peers
        .iter()
        .map(|peer| {
            let number = |key: &str| peer[key].as_u64().expect("a number");
            let text = |key: &str| peer[key].as_str().expect("a text");
            (
                text("direction"),
                text("peer"),
                text("mode"),
                number("calls"),
                number("errors"),
                number("bytes"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("send", "back", "memory", 5, 1, 24), ("receive", "invoke", "unix", 5, 0, 24)],
        "{stats}"
    );
    let ends = scene.hose(&["ls", "--format", "json"]).ok();
    assert!(
        ends.contains(r#""mode":["user","kernel"]"#) && ends.contains(r#""functions":["back"]"#),
        "{ends}"
    );
    let out = scene.end(served).exits(0);
    assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
    scene.hoses.nothing_left();
}

#[test]
fn who_waits_for_one_to_be_ready_is_told_and_one_of_another_user_serves_and_counts_too() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let path = case.dir().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("setsockopt");
    let bundle = scene.bundle();
    bundle.edit(|config| {
        config["process"]["user"] = serde_json::json!({ "uid": 1234, "gid": 1234 });
        config["process"]["capabilities"] = serde_json::json!({});
        config["linux"]["resources"]["pids"] = serde_json::json!({ "limit": 8 });
    });
    let id = case.id();
    let run = scene.hoses.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir()).arg(&id);
    let run = run.env("NOTIFY_SOCKET", &path).spawn();
    let mut message = [0; 512];
    let n = socket.recv(&mut message).expect("a message");
    assert_eq!(&message[..n], b"READY=1\n");
    let served = Served { id, run };
    eventually("it runs", || case.status(&served.id) == "running");
    assert_eq!([scene.count(&served), scene.count(&served)], [1, 2]);
    let stats = scene.hose(&["stats", "--format", "json", &served.id]).ok();
    assert!(stats.contains(r#""calls":2,"errors":0,"#), "{stats}");
    let descriptors = tests::proc::descriptors(scene.pid(&served));
    let shows = |what: &str| descriptors.values().any(|path| path.to_string_lossy().contains(what));
    assert!(!shows("hose.stats") && !shows("/proc"), "{descriptors:?}");
    let _ = scene.end(served).exits(0);
    scene.hoses.nothing_left();
}

#[test]
fn a_module_that_is_no_handler_cannot_serve_and_a_mode_that_reaches_nobody_neither() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let module = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)
        .expect("a module");
    let bundle = scene.hoses.function_of(&module, "counter", "", &[]);
    bundle.annotation("io.roadrunner.hose/lifecycle", "serve");
    let create = |bundle: &Bundle| {
        scene.hoses.cmd_of("tenant", &["create", "--bundle"]).arg(bundle.dir()).arg(case.id())
    };
    refused(create(&bundle), &["/module.wasm", "cannot serve"]);
    let bundle = scene.bundle();
    let pin = tests::flow::pin("b", "/b.wasm", &module);
    bundle.file("b.wasm", &module);
    bundle.annotation("io.roadrunner.hose/mode", "user").annotation("io.roadrunner.hose/modules", &pin);
    refused(create(&bundle), &["io.roadrunner.hose/lifecycle", "needs kernel"]);
    scene.hoses.nothing_left();
}
