//! A Wasm function as a container: its streams, arguments, files and clocks, how it ends, and that it is a
//! process like any other to those who look at it.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tests::command::eventually;
use tests::console::{ConsoleSocket, Terminal};
use tests::guest::{self, HELLO, LOOP, READ};
use tests::{Bundle, Case, proc, samples_or_skip, tool, wasm_case};

/// Standard output of a run that succeeds without a word on standard error.
#[track_caller]
fn prints(case: &Case, bundle: &Bundle) -> String {
    let out = case.run(bundle, &case.id()).output().success();
    assert_eq!(out.stderr, "", "standard error of {:?}", out.argv);
    out.stdout
}

#[test]
fn a_module_runs() {
    let case = wasm_case!();
    assert_eq!(prints(&case, &case.wasm(HELLO)), "hello\n");
}

#[test]
fn a_module_with_vector_instructions_makes_the_same_interpreted_and_compiled() {
    let case = wasm_case!();
    let samples = samples_or_skip!();
    let name = "wasm32-wasip1/release/thumbnail.wasm";
    let (Some(plain), Some(vectors)) = (guest::example(name), guest::example(&format!("simd/{name}"))) else {
        return;
    };
    let photo = fs::read(samples.join("sklearn/datasets/images/china.jpg")).expect("a photograph");
    let run = |module: &[u8], aot: &str| {
        let bundle = case.wasm_bytes(module);
        bundle.file("photo.jpg", &photo).args(["/module.wasm", "/photo.jpg"]);
        bundle.annotation("io.roadrunner.wasm/aot", aot);
        let out = case.run(&bundle, &case.id()).output().success();
        assert!(!out.stderr.contains("is interpreted"), "{aot}: {}", out.stderr);
        out.stdout
    };
    let expected = run(&plain, "wait");
    assert!(expected.starts_with("640x427 to 320x213, checksum "), "{expected}");
    assert_eq!(run(&vectors, "off"), expected);
    // LLVM 21 crashes where it optimizes this one; it is compiled all the same.
    assert_eq!(run(&vectors, "wait"), expected);
}

#[test]
fn it_is_known_by_its_first_bytes_alone() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    fs::rename(bundle.rootfs().join("module.wasm"), bundle.rootfs().join("plain")).expect("mv");
    bundle.args(["/plain"]);
    assert_eq!(prints(&case, &bundle), "hello\n");
    // By the search path, and by a symlink within the rootfs.
    bundle.file("bin/x", "");
    symlink("/plain", bundle.rootfs().join("bin/hello")).expect("symlink");
    bundle.args(["hello"]);
    assert_eq!(prints(&case, &bundle), "hello\n");
}

#[test]
fn every_habit_of_naming_a_handler_works() {
    let case = wasm_case!();
    for (key, value) in [
        ("io.roadrunner.wasm/handler", "wasm"),
        ("io.roadrunner.wasm/handler", "auto"),
        ("run.oci.handler", "wasm"),
        ("run.oci.handler", "wasm-smart"),
        ("run.oci.handler", "wasmedge"),
        ("module.wasm.image/variant", "compat"),
        ("module.wasm.image/variant", "compat-smart"),
    ] {
        let bundle = case.wasm(HELLO);
        bundle.annotation(key, value);
        assert_eq!(prints(&case, &bundle), "hello\n", "{key}={value}");
    }
}

#[test]
fn handler_native_wins() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    bundle.annotation("io.roadrunner.wasm/handler", "native").annotation("run.oci.handler", "wasm");
    let out = case.run(&bundle, &case.id()).output();
    assert_ne!(out.code, 0);
    assert!(!out.stdout.contains("hello"));
}

#[test]
fn a_sandbox_is_native() {
    let case = wasm_case!();
    let bundle = case.busybox();
    bundle.args(["/bin/echo", "paused"]);
    bundle.annotation("io.kubernetes.cri.container-type", "sandbox").annotation("run.oci.handler", "wasm");
    assert_eq!(prints(&case, &bundle), "paused\n");
}

#[test]
fn arguments_and_environment_are_the_specs() {
    let case = wasm_case!();
    let bundle = tool!(case, ["args", "one", "", "with space", "ü\"'\\"]);
    assert_eq!(prints(&case, &bundle), "[/module.wasm]\n[args]\n[one]\n[]\n[with space]\n[ü\"'\\]\n");
    let bundle = tool!(case, ["env"]);
    bundle.edit(|config| config["process"]["env"] = json!(["A=1", "B=two words", "C==", "EMPTY="]));
    let text = prints(&case, &bundle);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("HOME=")).collect();
    assert_eq!(lines, ["A=1", "B=two words", "C==", "EMPTY="]);
}

#[test]
fn the_streams_are_the_containers() {
    let case = wasm_case!();
    let bundle = tool!(case, ["stdin"]);
    let input = "line\n".repeat(40_000);
    let out = case.run(&bundle, &case.id()).stdin(input.as_str()).piped().output().success();
    assert!(out.closed, "somebody still holds the pipes");
    assert!(out.stdout == input, "{} bytes of {}", out.stdout.len(), input.len());
    bundle.args(["/module.wasm", "say", "out", "err"]);
    let out = case.run(&bundle, &case.id()).output().success();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
    bundle.args(["/module.wasm", "tty"]);
    assert_eq!(prints(&case, &bundle), "000\n");
}

#[test]
fn a_closed_pipe_ends_it_as_it_ends_a_process() {
    let case = wasm_case!();
    let bundle = tool!(case, ["stdin"]);
    // `yes` never ends by itself; head closes the pipe.
    let path = case.runtime().path().to_owned();
    let out = case
        .mark(tests::Invocation::new("sh"))
        .args(["-c", "yes | \"$@\" | head -n 1", "sh"])
        .arg(path)
        .arg("--root")
        .arg(case.root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(case.id())
        .output()
        .success();
    assert_eq!(out.stdout, "y\n");
}

#[test]
fn a_terminal_is_one() {
    let case = wasm_case!();
    let bundle = tool!(case, ["tty"]);
    bundle.edit(|config| config["process"]["terminal"] = json!(true));
    let (terminal, slave) = Terminal::pair();
    let run = case.run(&bundle, &case.id()).terminal(slave).spawn();
    let out = run.wait();
    terminal.expect("111");
    assert_eq!(out.code, 0, "{}", terminal.seen());

    bundle.args(["/module.wasm", "line"]);
    let socket = ConsoleSocket::bind(case.dir());
    let id = case.id();
    case.cmd(["create", "--console-socket"])
        .arg(socket.path())
        .arg("--bundle")
        .arg(bundle.dir())
        .arg(&id)
        .ok();
    let mut terminal = socket.receive();
    case.cmd(["start", &id]).ok();
    terminal.expect("ready");
    terminal.send("typed\n");
    terminal.expect("got typed");
    case.await_stopped(&id);
    case.delete(&id);
    drop(socket);
}

#[test]
fn exit_codes_are_the_functions() {
    let case = wasm_case!();
    for code in [0, 1, 7, 42, 127, 255] {
        let bundle = case.wasm(&guest::exit(code));
        let out = case.run(&bundle, &case.id()).output();
        assert_eq!(u32::try_from(out.code), Ok(code), "{}", out.stderr);
        assert_eq!(out.stderr, "");
    }
    let case = wasm_case!();
    let _ = case.run(&case.wasm(&guest::start("nop")), &case.id()).output().exits(0);
}

#[test]
fn the_exit_code_reaches_whoever_waits_for_init() {
    let case = wasm_case!();
    let id = case.id();
    let pid = case.start(&case.wasm(&guest::exit(9)), &id);
    assert_eq!(case.exit_status(pid), 9);
    case.await_stopped(&id);
    case.delete(&id);
}

#[test]
fn nothing_of_the_module_runs_before_start() {
    let case = wasm_case!();
    // The start section runs at instantiation: that is the module's code too.
    let module = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") 1)
      (func $early (call $proc_exit (i32.const 3)))
      (start $early)
      (func (export "_start")))"#;
    let id = case.id();
    let pid = case.create(&case.wasm(module), &id);
    std::thread::sleep(Duration::from_millis(50));
    assert!(proc::alive(pid));
    assert_eq!(case.status(&id), "created");
    case.cmd(["start", &id]).ok();
    assert_eq!(case.exit_status(pid), 3);
    case.await_stopped(&id);
    case.delete(&id);
}

#[test]
fn a_function_is_called_by_name() {
    let case = wasm_case!();
    let module = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start") (call $proc_exit (i32.const 1)))
      (func (export "five") (call $proc_exit (i32.const 5)))
      (func (export "plain"))
      (func (export "value") (result i32) (i32.const 77))
      (func (export "wants") (param i32) (call $proc_exit (local.get 0))))"#;
    let bundle = case.wasm(module);
    for (function, code) in [("_start", 1), ("five", 5), ("plain", 0)] {
        bundle.args([format!("/module.wasm#{function}")]);
        let out = case.run(&bundle, &case.id()).output();
        assert_eq!(out.code, code, "{function}: {}", out.stderr);
    }
    bundle.args(["/module.wasm#missing"]);
    let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output().exits(1);
    assert!(out.error_lines().len() == 1 && out.stderr.contains("missing"), "{}", out.stderr);
}

#[test]
fn a_reactor_is_initialized_once_before_its_function() {
    let case = wasm_case!();
    let module = r#"(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") 1)
      (global $n (mut i32) (i32.const 10))
      (func (export "_initialize") (global.set $n (i32.add (global.get $n) (i32.const 1))))
      (func (export "count") (call $proc_exit (global.get $n))))"#;
    let bundle = case.wasm(module);
    bundle.args(["/module.wasm#count"]);
    let _ = case.run(&bundle, &case.id()).output().exits(11);
}

#[test]
fn a_trap_is_134_and_says_where() {
    let case = wasm_case!();
    let module = r#"(module (memory (export "memory") 1)
      (func $the_culprit (unreachable))
      (func $caller (call $the_culprit))
      (func (export "_start") (call $caller)))"#;
    let out = case.run(&case.wasm(module), &case.id()).output().exits(134);
    assert!(out.stderr.contains("unreachable"), "{}", out.stderr);
    assert!(out.stderr.contains("the_culprit"), "the function is not named: {}", out.stderr);
    for (body, word) in [
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "divide"),
        ("(drop (i32.load (i32.const 0x7fffffff)))", "memory"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "integer"),
        ("(call_indirect (i32.const 9))", ""),
    ] {
        let module = format!(
            r#"(module (memory (export "memory") 1) (table 1 funcref) (func $start (export "_start") {body}))"#
        );
        let out = case.run(&case.wasm(&module), &case.id()).output().exits(134);
        assert!(out.stderr.to_lowercase().contains(word), "{body}: {}", out.stderr);
        assert!(out.stderr.contains("start"), "{body}: the function is not named: {}", out.stderr);
    }
}

#[test]
fn endless_recursion_is_a_trap() {
    let case = wasm_case!();
    // The store keeps the compiler from making a loop of it, which rightly never ends.
    let module = r#"(module (memory (export "memory") 1)
      (func $deep (param i32) (result i32)
        (i32.store (i32.const 8) (i32.add (call $deep (local.get 0)) (i32.load (i32.const 8))))
        (i32.load (i32.const 8)))
      (func (export "_start") (drop (call $deep (i32.const 0)))))"#;
    // Compiled code ends by the signal of its native stack.
    for (aot, code) in [("off", 134), ("wait", 139)] {
        let bundle = case.wasm(module);
        bundle.annotation("io.roadrunner.wasm/aot", aot);
        let out = case.run(&bundle, &case.id()).timeout(Duration::from_secs(30)).output();
        assert_eq!(out.code, code, "{aot}: {}", out.stderr);
    }
}

#[test]
fn signals_end_it_at_once_wherever_it_is() {
    let case = wasm_case!();
    for (what, module) in [("loop", LOOP), ("read", READ)] {
        for (signal, code) in [("TERM", 143), ("INT", 130), ("KILL", 137), ("HUP", 129), ("QUIT", 131)] {
            let bundle = case.wasm(module);
            let id = case.id();
            let mut run = case.run(&bundle, &id).stdin_pipe().spawn();
            let input = run.input();
            run.expect_stdout("ready");
            let sent = std::time::Instant::now();
            case.cmd(["kill", &id, signal]).ok();
            let out = run.wait();
            assert_eq!(out.code, code, "{signal} in {what}: {}", out.stderr);
            assert!(sent.elapsed() < Duration::from_secs(2), "{signal} in {what} took {:?}", sent.elapsed());
            drop(input);
        }
    }
}

#[test]
fn signals_end_sleep_and_poll() {
    let case = wasm_case!();
    for verb in ["sleep", "poll"] {
        let bundle = tool!(case, [verb, "60000"]);
        let id = case.id();
        let mut run = case.run(&bundle, &id).stdin_pipe().spawn();
        let input = run.input();
        run.expect_stdout("ready");
        case.cmd(["kill", &id, "TERM"]).ok();
        let _ = run.wait().exits(143);
        drop(input);
    }
}

#[test]
fn a_signal_to_a_detached_one_is_its_exit_status() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    let id = case.id();
    let pid = case.start(&bundle, &id);
    tests::command::send_signal(pid, Signal::TERM);
    assert_eq!(case.exit_status(pid), 143);
    case.await_stopped(&id);
    case.delete(&id);
}

#[test]
fn signals_that_end_nothing_end_nothing() {
    let case = wasm_case!();
    let id = case.id();
    let mut run = case.run(&case.wasm(LOOP), &id).spawn();
    run.expect_stdout("ready");
    for signal in ["CHLD", "CONT", "WINCH", "URG"] {
        case.cmd(["kill", &id, signal]).ok();
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(case.status(&id), "running");
    case.cmd(["kill", &id, "KILL"]).ok();
    let _ = run.wait().exits(137);
}

#[test]
fn it_pauses_and_resumes() {
    let case = wasm_case!();
    let id = case.id();
    let pid = case.start(&case.wasm(LOOP), &id);
    case.cmd(["pause", &id]).ok();
    assert_eq!(case.status(&id), "paused");
    let ticks = || {
        fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat").split(' ').nth(13).map(str::to_owned)
    };
    let before = ticks();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ticks(), before);
    case.cmd(["resume", &id]).ok();
    eventually("it runs on", || ticks() != before);
    case.force_delete(&id);
}

#[test]
fn the_rootfs_is_its_file_system() {
    let case = wasm_case!();
    let bundle = tool!(case, ["cat", "/data/file"]);
    bundle.file("data/file", "content\n").file("data/other", "");
    assert_eq!(prints(&case, &bundle), "content\n");
    bundle.args(["/module.wasm", "ls", "/data"]);
    let mut names: Vec<_> = prints(&case, &bundle).lines().map(ToOwned::to_owned).collect();
    names.sort();
    assert_eq!(names, ["file", "other"]);
    bundle.args(["/module.wasm", "put", "/data/new", "written"]);
    prints(&case, &bundle);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("data/new")).expect("it was written"), "written");
    for (args, gone) in [(&["mkdir", "/data/folder"][..], false), (&["rm", "/data/new"], true)] {
        bundle.args(["/module.wasm"].iter().chain(args));
        prints(&case, &bundle);
        assert_eq!(!bundle.rootfs().join(args[1].trim_start_matches('/')).exists(), gone);
    }
    bundle.args(["/module.wasm", "cat", "/nothing"]);
    let out = case.run(&bundle, &case.id()).output().exits(1);
    assert!(out.stdout.contains("No such file"), "{}", out.stdout);
}

#[test]
fn a_read_only_root_cannot_be_written() {
    let case = wasm_case!();
    let bundle = tool!(case, ["put", "/new", "x"]);
    bundle.edit(|config| config["root"]["readonly"] = json!(true));
    let out = case.run(&bundle, &case.id()).output().exits(1);
    assert!(!bundle.rootfs().join("new").exists(), "{}", out.stdout);
}

#[test]
fn a_bind_mount_is_as_writable_as_the_spec_says() {
    let case = wasm_case!();
    let shared = case.folder();
    fs::write(shared.join("from-host"), "host\n").expect("write");
    let bundle = tool!(case, ["cat", "/shared/from-host"]);
    bundle.bind(&shared, "/shared", &["rw"]).bind(&shared, "/fixed", &["ro"]);
    assert_eq!(prints(&case, &bundle), "host\n");
    bundle.args(["/module.wasm", "put", "/shared/from-guest", "guest"]);
    prints(&case, &bundle);
    assert_eq!(fs::read_to_string(shared.join("from-guest")).expect("it was written"), "guest");
    for args in [&["put", "/fixed/no", "x"][..], &["mkdir", "/fixed/no"], &["rm", "/fixed/from-host"]] {
        bundle.args(["/module.wasm"].iter().chain(args));
        let _ = case.run(&bundle, &case.id()).output().exits(1);
    }
    assert!(!shared.join("no").exists() && shared.join("from-host").exists());
    bundle.args(["/module.wasm", "cat", "/fixed/from-host"]);
    assert_eq!(prints(&case, &bundle), "host\n");
}

#[test]
fn a_mounted_file_is_a_file() {
    let case = wasm_case!();
    let file = case.dir().join("one-file");
    fs::write(&file, "alone\n").expect("write");
    let bundle = tool!(case, ["cat", "/etc/one"]);
    bundle.bind(&file, "/etc/one", &["ro"]);
    assert_eq!(prints(&case, &bundle), "alone\n");
}

#[test]
fn a_tmpfs_is_writable() {
    let case = wasm_case!();
    let bundle = tool!(case, ["put", "/scratch/x", "y"]);
    bundle.edit(|config| config["root"]["readonly"] = json!(true));
    bundle.file("scratch/.keep", "");
    bundle.mount(
        json!({ "type": "tmpfs", "source": "tmpfs", "destination": "/scratch", "options": ["size=1m"] }),
    );
    prints(&case, &bundle);
}

#[test]
fn a_colon_in_a_path_works_or_is_refused_by_name() {
    let case = wasm_case!();
    let shared = case.folder().join("with:colon");
    fs::create_dir(&shared).expect("mkdir");
    fs::write(shared.join("f"), "colon\n").expect("write");
    let bundle = tool!(case, ["cat", "/mount:point/f"]);
    bundle.bind(&shared, "/mount:point", &["rw"]);
    let out = case.run(&bundle, &case.id()).output();
    if out.code == 0 {
        assert_eq!(out.stdout, "colon\n");
    } else {
        assert_eq!(out.error_lines().len(), 1, "{}", out.stderr);
        assert!(out.stderr.contains("/mount:point"), "{}", out.stderr);
    }
    // The same mount from another working directory, where the engine cannot name it.
    bundle.edit(|config| config["process"]["cwd"] = json!("/tmp"));
    let out = case.run(&bundle, &case.id()).output();
    assert!(out.code == 1 && out.error_lines().len() == 1, "{} {}", out.code, out.stderr);
    assert!(out.stderr.contains("/mount:point"), "{}", out.stderr);
    // A colon in the source alone is nobody's trouble.
    let bundle = tool!(case, ["cat", "/plain/f"]);
    bundle.bind(&shared, "/plain", &["rw"]);
    assert_eq!(prints(&case, &bundle), "colon\n");
}

#[test]
fn relative_paths_start_at_the_working_directory() {
    let case = wasm_case!();
    let bundle = tool!(case, ["cat", "here"]);
    bundle.file("work/here", "work\n").file("here", "root\n");
    bundle.edit(|config| config["process"]["cwd"] = json!("/work"));
    assert_eq!(prints(&case, &bundle), "work\n");
    bundle.args(["/module.wasm", "put", "made", "x"]);
    prints(&case, &bundle);
    assert!(bundle.rootfs().join("work/made").exists());
    bundle.edit(|config| config["process"]["cwd"] = json!("/"));
    bundle.args(["/module.wasm", "cat", "here"]);
    assert_eq!(prints(&case, &bundle), "root\n");
    // Also for the module itself.
    bundle.edit(|config| config["process"]["cwd"] = json!("/work"));
    fs::rename(bundle.rootfs().join("module.wasm"), bundle.rootfs().join("work/module.wasm")).expect("mv");
    bundle.args(["./module.wasm", "cat", "here"]);
    assert_eq!(prints(&case, &bundle), "work\n");
}

#[test]
fn clocks_random_and_yield_work() {
    let case = wasm_case!();
    let bundle = tool!(case, ["clocks"]);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let text = prints(&case, &bundle);
    let (seconds, waited) = text.trim().split_once(' ').expect("two fields");
    let seconds: u64 = seconds.parse().expect("a number");
    assert!(seconds.abs_diff(now) < 60, "{seconds} against {now}");
    assert_eq!(waited, "1", "a nanosleep of 20 ms");
    bundle.args(["/module.wasm", "random"]);
    assert_ne!(prints(&case, &bundle), prints(&case, &bundle));
    bundle.args(["/module.wasm", "yield"]);
    prints(&case, &bundle);
}

#[test]
fn poll_sees_input() {
    let case = wasm_case!();
    let bundle = tool!(case, ["poll", "10000"]);
    let mut run = case.run(&bundle, &case.id()).stdin_pipe().spawn();
    let mut input = run.input().expect("a pipe");
    run.expect_stdout("ready");
    std::io::Write::write_all(&mut input, b"x").expect("write");
    let out = run.wait().success();
    assert!(out.stdout.ends_with("1\n"), "{}", out.stdout);
    assert!(out.elapsed < Duration::from_secs(8), "{:?}", out.elapsed);
    bundle.args(["/module.wasm", "poll", "50"]);
    let mut run = case.run(&bundle, &case.id()).stdin_pipe().spawn();
    let input = run.input();
    run.expect_stdout("0\n");
    let _ = run.wait().success();
    drop(input);
}

#[test]
fn ps_and_proc_show_the_function() {
    let case = wasm_case!();
    let bundle = tool!(case, ["loop", "an argument"]);
    bundle.edit(|config| config["process"]["env"] = json!(["MINE=1", "PATH=/bin"]));
    let id = case.id();
    let mut run = case.run(&bundle, &id).env("CALLERS_SECRET", "x").spawn();
    run.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    assert_eq!(proc::cmdline(pid), ["/module.wasm", "loop", "an argument"]);
    let environ = proc::environ(pid);
    assert!(environ.contains(&"MINE=1".to_owned()), "{environ:?}");
    assert!(!environ.iter().any(|variable| variable.contains("CALLERS_SECRET")), "{environ:?}");
    assert_eq!(proc::status(pid).get("Name").map(String::as_str), Some("module.wasm"));
    let table = case.cmd(["ps", &id]).ok();
    assert!(table.contains("/module.wasm loop an argument"), "{table}");
    case.cmd(["kill", &id, "KILL"]).ok();
    let _ = run.wait().exits(137);
}

#[test]
fn long_arguments_are_shown_whole() {
    let case = wasm_case!();
    let long = "x".repeat(30_000);
    let bundle = tool!(case, ["loop", &long]);
    bundle.env(&format!("LONG={long}"));
    let id = case.id();
    let mut run = case.run(&bundle, &id).spawn();
    run.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    assert_eq!(proc::cmdline(pid), ["/module.wasm", "loop", &long]);
    case.cmd(["kill", &id, "KILL"]).ok();
    let _ = run.wait().exits(137);
}

#[test]
fn hooks_of_a_wasm_container_run() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    let log = case.dir().join("hooks");
    let hook = |name: &str| {
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} >>{}", log.display())],
            "env": ["PATH=/bin:/usr/bin"] }])
    };
    bundle.edit(|config| {
        config["hooks"] = json!({
            "createRuntime": hook("createRuntime"), "poststart": hook("poststart"), "poststop": hook("poststop"),
        });
    });
    assert_eq!(prints(&case, &bundle), "hello\n");
    assert_eq!(fs::read_to_string(&log).expect("a log"), "createRuntime\npoststart\npoststop\n");
}

#[test]
fn who_waits_for_it_to_be_ready_is_told() {
    let case = wasm_case!();
    let path = case.dir().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("setsockopt");
    let id = case.id();
    let bundle = case.wasm(LOOP);
    let mut run = case.run(&bundle, &id).env("NOTIFY_SOCKET", &path).spawn();
    let mut message = [0; 512];
    let mut next = || {
        let n = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..n]).into_owned()
    };
    assert_eq!(next(), "READY=1\n");
    assert_eq!(next(), format!("MAINPID={}\n", case.state(&id)["pid"]));
    run.expect_stdout("ready");
    case.cmd(["kill", &id, "KILL"]).ok();
    let _ = run.wait().exits(137);
    // Nobody listens: it runs all the same.
    drop(socket);
    let out = case.run(&case.wasm(HELLO), &case.id()).env("NOTIFY_SOCKET", &path).output().success();
    assert_eq!(out.stdout, "hello\n");
    assert!(out.stderr.contains("level=warning") && out.stderr.contains("notify"), "{}", out.stderr);
}

#[test]
fn it_is_told_of_listening_sockets_as_under_runc() {
    let case = wasm_case!();
    let bundle = tool!(case, ["env"]);
    let exec = "exec 3</etc/hostname; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let text = case.run(&bundle, &case.id()).wrapped(["sh", "-c", exec, "sh"]).ok();
    let told: Vec<_> = text.lines().filter(|line| line.starts_with("LISTEN_")).collect();
    assert_eq!(told, ["LISTEN_FDS=1", "LISTEN_PID=1"]);
}

#[test]
fn spec_writes_a_bundle_for_a_module() {
    let case = wasm_case!();
    let module = case.dir().join("hello.wasm");
    fs::write(&module, wat::parse_str(HELLO).expect("WAT")).expect("write");
    let dir = case.folder();
    case.cmd(["spec", "--wasm"]).arg(&module).cwd(&dir).ok();
    let out = case.cmd(["run"]).arg(case.id()).cwd(&dir).env("HOME", "/nonexistent").output().success();
    assert_eq!(out.stdout, "hello\n");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).expect("a configuration")).expect("JSON");
    assert_eq!(config["process"]["args"], json!(["/hello.wasm"]));
    assert_eq!(config["process"]["capabilities"]["inheritable"], json!(null));
    let missing = case.cmd(["spec", "--wasm", "/nonexistent.wasm"]).cwd(case.folder()).output().exits(1);
    assert!(
        missing.error_lines().len() == 1 && missing.stderr.contains("/nonexistent.wasm"),
        "{}",
        missing.stderr
    );
}

#[test]
fn many_at_once() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    let runs: Vec<_> = (0..8).map(|_| case.run(&bundle, &case.id()).spawn()).collect();
    for run in runs {
        assert_eq!(run.wait().success().stdout, "hello\n");
    }
}
