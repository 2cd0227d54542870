//! Two functions in two containers, and the hose between them: payloads arrive whole and acknowledged in any start
//! order; a peer that is missing, killed, foreign, forged or rude ends in a clear error in time.
//!
//! Each case has an administrator's file of its own, and so a rendezvous folder of its own.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tests::{Bundle, Hoses, Output, guest, wasm_case};

/// Nothing, having said so, where the guests cannot be compiled.
macro_rules! hoses {
    ($case:expr) => {
        match guest::hose() {
            Some(_) => Hoses::new($case),
            None => return,
        }
    };
}

/// Length and checksum that a line beginning with `what` tells.
#[track_caller]
fn told(out: &Output, what: &str) -> String {
    let line = out.stdout.lines().find(|line| line.starts_with(what));
    let line = line.unwrap_or_else(|| panic!("no line of {what}: {}{}", out.stdout, out.stderr));
    line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ")
}

/// The status that a sender was given.
#[track_caller]
fn status(out: &Output) -> i32 {
    let (_, rest) =
        out.stdout.split_once("status ").unwrap_or_else(|| panic!("{}{}", out.stdout, out.stderr));
    rest.split(' ').next().and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn payloads_arrive_whole_and_acknowledged() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    for len in ["0", "1", "4096", "65537", "1000000", "16777216"] {
        let (sent, received) = hoses.transfer(&["receive", "1", "0"], &["send", len]);
        assert_eq!(status(&sent), 0, "{len}: {}{}", sent.stdout, sent.stderr);
        assert_eq!((sent.code, received.code), (0, 0), "{len}");
        assert_eq!(told(&sent, "sent"), told(&received, "received"), "{len}");
        assert!(received.stdout.contains("from a"), "{}", received.stdout);
    }
    hoses.nothing_left();
}

#[test]
fn a_sender_that_may_have_no_thread_sends_large_payloads_all_the_same() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let source = hoses.function("a", "b", &["send-many", "4", "16777216"]);
    source.edit(|config| {
        config["linux"]["seccomp"] = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["clone", "clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11 }],
        });
    });
    let mut receiver = hoses.run(&hoses.function("b", "", &["receive", "4", "0"]));
    receiver.expect_stdout("ready");
    let sent = hoses.run(&source).wait().success();
    let received = receiver.wait().success();
    assert_eq!(sent.stdout.matches("sent one").count(), 4, "{}", sent.stdout);
    assert_eq!(received.stdout.matches("received 16777216").count(), 4, "{}", received.stdout);
    hoses.nothing_left();
}

#[test]
fn many_payloads_keep_their_order_and_number() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let (sent, received) = hoses.transfer(&["receive", "50", "0"], &["send-many", "50", "10000"]);
    assert_eq!((sent.code, received.code), (0, 0), "{}{}", sent.stdout, received.stdout);
    assert_eq!(received.stdout.matches("received 10000").count(), 50);
    hoses.nothing_left();
}

#[test]
fn the_sender_may_come_first() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let sender = hoses.run(&hoses.function("a", "b", &["send", "5000"]));
    std::thread::sleep(Duration::from_millis(500));
    let receiver = hoses.run(&hoses.function("b", "", &["receive", "1", "0"]));
    let (sent, received) = (sender.wait(), receiver.wait());
    assert_eq!((sent.code, received.code), (0, 0), "{}{}{}", sent.stdout, sent.stderr, received.stderr);
    assert_eq!(told(&sent, "sent"), told(&received, "received"));
    hoses.nothing_left();
}

#[test]
fn a_receiver_that_is_created_is_waited_for_until_it_is_started() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let bundle = hoses.function("b", "", &["receive", "1", "0"]);
    let id = case.id();
    hoses.cmd_of("tenant", &["create", "--bundle"]).arg(bundle.dir()).arg(&id).ok();
    let mut sender = hoses.run(&hoses.function("a", "b", &["send", "5000"]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!sender.ended(), "nobody has taken the payload yet");
    hoses.cmd_of("tenant", &["start", &id]).ok();
    let _ = sender.wait().success();
    case.await_stopped(&id);
    hoses.cmd_of("tenant", &["delete", &id]).ok();
    hoses.nothing_left();
}

#[test]
fn a_second_run_of_a_name_is_found_again() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    for _ in 0..3 {
        let (sent, _) = hoses.transfer(&["receive", "1", "0"], &["send", "777"]);
        assert_eq!(sent.code, 0, "{}{}", sent.stdout, sent.stderr);
    }
    hoses.nothing_left();
}

#[test]
fn what_the_receiver_says_is_what_the_sender_gets() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let (sent, _) = hoses.transfer(&["receive", "1", "7"], &["send", "100"]);
    assert_eq!(status(&sent), 7);
}

#[test]
fn one_payload_fans_out() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let mut receivers: Vec<_> = ["b", "c", "d"]
        .iter()
        .map(|name| hoses.run(&hoses.function(name, "", &["receive", "1", "0"])))
        .collect();
    receivers.iter_mut().for_each(|receiver| receiver.expect_stdout("ready"));
    let sent = hoses.run(&hoses.function("a", "b,c,d", &["send", "300000"])).wait();
    assert_eq!(sent.code, 0, "{}{}", sent.stdout, sent.stderr);
    for receiver in receivers {
        assert_eq!(told(&receiver.wait(), "received"), told(&sent, "sent"));
    }
    hoses.nothing_left();
}

#[test]
fn one_of_several_targets_can_be_named() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let mut receiver = hoses.run(&hoses.function("c", "", &["receive", "1", "0"]));
    receiver.expect_stdout("ready");
    let sent = hoses.run(&hoses.function("a", "b,c", &["send-to", "c", "10"])).wait();
    assert_eq!(status(&sent), 0, "{}", sent.stdout);
    let _ = receiver.wait().success();
    let sent = hoses.run(&hoses.function("a", "b,c", &["send-to", "stranger", "10"])).wait();
    assert_eq!(status(&sent), -4, "NO_TARGET: {}", sent.stdout);
}

#[test]
fn a_peer_that_never_comes_is_a_timeout() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let bundle = hoses.function("a", "nobody", &["send", "10"]);
    bundle.annotation("io.roadrunner.hose/connect-timeout", "500ms");
    let out = hoses.run(&bundle).wait();
    assert_eq!(status(&out), -6, "TIMEOUT: {}", out.stdout);
    assert!(out.stdout.contains("nobody"), "the peer is not named: {}", out.stdout);
    assert!((Duration::from_millis(400)..Duration::from_secs(5)).contains(&out.elapsed), "{:?}", out.elapsed);
    let out = hoses.run(&hoses.function("b", "", &["receive-within", "300"])).wait();
    assert_eq!(status(&out), -6, "TIMEOUT: {}", out.stdout);
    hoses.nothing_left();
}

#[test]
fn a_receiver_that_never_answers_is_an_error_in_time() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let receiver = hoses.run(&hoses.function("b", "", &["keep"]));
    let bundle = hoses.function("a", "b", &["send", "10"]);
    bundle.annotation("io.roadrunner.hose/io-timeout", "1s");
    let out = hoses.run(&bundle).wait();
    assert!([-6, -10].contains(&status(&out)), "TIMEOUT or UNKNOWN: {}", out.stdout);
    assert!(out.elapsed < Duration::from_secs(8), "{:?}", out.elapsed);
    receiver.signal(rustix::process::Signal::TERM);
    let _ = receiver.wait().exits(143);
    hoses.nothing_left();
}

#[test]
fn a_receiver_that_ends_with_the_payload_is_an_error() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    for (verb, code) in [("drop", 5), ("trap", 134)] {
        let receiver = hoses.run(&hoses.function("b", "", &[verb]));
        let out = hoses.run(&hoses.function("a", "b", &["send", "10"])).wait();
        assert!([-10, -12].contains(&status(&out)), "{verb}: UNKNOWN or TRAPPED: {}", out.stdout);
        assert_eq!(receiver.wait().code, code, "{verb}");
    }
    hoses.nothing_left();
}

#[test]
fn a_receiver_killed_in_mid_transfer_is_an_error_and_leaves_nothing() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    for pause in [5, 30, 80] {
        let id = case.id();
        let bundle = hoses.function("b", "", &["receive", "1000", "0"]);
        let mut receiver = hoses.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir()).arg(&id).spawn();
        receiver.expect_stdout("ready");
        let bundle = hoses.function("a", "b", &["send-many", "1000", "50000000"]);
        bundle.annotation("io.roadrunner.hose/connect-timeout", "1s");
        bundle.annotation("io.roadrunner.hose/io-timeout", "5s");
        let mut sender = hoses.run(&bundle);
        sender.expect_stdout("sent one");
        std::thread::sleep(Duration::from_millis(pause));
        case.cmd(["kill", &id, "KILL"]).ok();
        let _ = receiver.wait().exits(137);
        let out = sender.wait();
        assert!([-6, -9, -10].contains(&status(&out)), "TIMEOUT, LOST or UNKNOWN: {}", out.stdout);
        assert_eq!(out.code, 1, "{}", out.stderr);
        hoses.nothing_left();
    }
}

#[test]
fn a_sender_killed_in_mid_transfer_does_not_hurt_the_next() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let mut receiver = hoses.run(&hoses.function("b", "", &["receive", "1000000", "0"]));
    receiver.expect_stdout("ready");
    for _ in 0..2 {
        let mut sender = hoses.run(&hoses.function("a", "b", &["send-many", "1000", "50000000"]));
        sender.expect_stdout("sent one");
        sender.signal(rustix::process::Signal::TERM);
        let _ = sender.wait().exits(143);
    }
    let out = hoses.run(&hoses.function("a", "b", &["send", "4321"])).wait();
    assert_eq!(status(&out), 0, "{}{}", out.stdout, out.stderr);
    assert!(receiver.stdout().contains("received 4321"));
    receiver.signal(rustix::process::Signal::TERM);
    let _ = receiver.wait().exits(143);
    hoses.nothing_left();
}

#[test]
fn tenants_and_workflows_do_not_meet() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let mut receiver = hoses.run_as("one", &hoses.function("b", "", &["receive", "1", "0"]));
    receiver.expect_stdout("ready");
    let stranger = hoses.function("a", "b", &["send", "10"]);
    stranger.annotation("io.roadrunner.hose/connect-timeout", "500ms");
    let out = hoses.run_as("other", &stranger).wait();
    assert_eq!(status(&out), -6, "another tenant: {}", out.stdout);
    stranger.annotation("io.roadrunner.hose/workflow", &format!("{}other", case.name()));
    let out = hoses.run_as("one", &stranger).wait();
    assert_eq!(status(&out), -6, "another workflow: {}", out.stdout);
    assert!(!receiver.ended());
    let out = hoses.run_as("one", &hoses.function("a", "b", &["send", "10"])).wait();
    assert_eq!(status(&out), 0, "{}", out.stdout);
    let _ = receiver.wait().success();
    hoses.nothing_left();
}

#[test]
fn the_tenant_can_be_what_the_manager_says() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let config = case.dir().join("by-annotation.toml");
    let text = format!(
        "tenant-annotation = \"org.example/tenant\"\n[hose]\ndirectory = \"{}\"\n",
        hoses.folder().display()
    );
    fs::write(&config, text).expect("write");
    let run = |tenant: Option<&str>, bundle: &Bundle| {
        if let Some(tenant) = tenant {
            bundle.annotation("org.example/tenant", tenant);
        }
        let cmd =
            case.mark(case.runtime().command()).arg("--root").arg(case.root()).arg("--config").arg(&config);
        cmd.args(["run", "--bundle"]).arg(bundle.dir()).arg(case.id()).spawn()
    };
    let mut receiver = run(Some("one"), &hoses.function("b", "", &["receive", "1", "0"]));
    receiver.expect_stdout("ready");
    let stranger = hoses.function("a", "b", &["send", "10"]);
    stranger.annotation("io.roadrunner.hose/connect-timeout", "500ms");
    assert_eq!(status(&run(Some("other"), &stranger).wait()), -6, "another tenant");
    assert_eq!(status(&run(Some("one"), &hoses.function("a", "b", &["send", "10"])).wait()), 0);
    let _ = receiver.wait().success();
    // Without the manager's word there is no tenant, and one that is none is refused by the annotation's name.
    for tenant in [None, Some(""), Some("../one"), Some("A B")] {
        let out = run(tenant, &hoses.function("a", "b", &["send", "10"])).wait().exits(1);
        assert!(out.error_lines().len() == 1 && out.stderr.contains("org.example/tenant"), "{}", out.stderr);
    }
    hoses.nothing_left();
}

#[test]
fn in_a_cluster_there_is_no_hose_until_it_is_configured() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let config = case.dir().join("plain.toml");
    fs::write(&config, format!("[hose]\ndirectory = \"{}\"\n", hoses.folder().display())).expect("write");
    let run = |bundle: &Bundle| {
        let cmd =
            case.mark(case.runtime().command()).arg("--root").arg(case.root()).arg("--config").arg(&config);
        cmd.args(["run", "--bundle"]).arg(bundle.dir()).arg(case.id()).output()
    };
    let bundle = hoses.function("a", "", &["receive-within", "1"]);
    assert_eq!(status(&run(&bundle)), -6, "by hand it works at once");
    bundle.annotation("io.kubernetes.cri.sandbox-namespace", "default");
    bundle.annotation("io.kubernetes.cri.container-type", "container");
    let out = run(&bundle).exits(1);
    assert!(out.error_lines().len() == 1 && out.stderr.contains("tenant"), "{}", out.stderr);
    hoses.nothing_left();
}

#[test]
fn the_administrators_file_is_validated() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let config = case.dir().join("bad.toml");
    for (text, named) in [
        ("tenant = \"..\"", "tenant"),
        ("tenant = 3", "tenant"),
        ("colour = \"red\"", "colour"),
        ("[hose]\ndirectory = \"relative\"", "directory"),
        ("[cache]\nmax-size = \"-1\"", "max-size"),
        ("not TOML at all", "bad.toml"),
    ] {
        fs::write(&config, text).expect("write");
        let cmd =
            case.mark(case.runtime().command()).arg("--root").arg(case.root()).arg("--config").arg(&config);
        let bundle = hoses.function("a", "", &["receive-within", "1"]);
        let out = cmd.args(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output().exits(1);
        assert_eq!(out.error_lines().len(), 1, "{text}: {}", out.stderr);
        assert!(out.stderr.contains(named) && out.stderr.contains("bad.toml"), "{text}: {}", out.stderr);
    }
    case.nothing_left();
}

#[test]
fn a_name_that_is_taken_cannot_be_forged() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let mut receiver = hoses.run(&hoses.function("b", "", &["receive", "1", "0"]));
    receiver.expect_stdout("ready");
    let forger = hoses.function("b", "", &["receive", "1", "0"]);
    let out =
        hoses.cmd_of("tenant", &["create", "--bundle"]).arg(forger.dir()).arg(case.id()).output().exits(1);
    assert!(out.error_lines().len() == 1 && out.stderr.contains('b'), "{}", out.stderr);
    let sent = hoses.run(&hoses.function("a", "b", &["send", "10"])).wait();
    assert_eq!(status(&sent), 0, "{}", sent.stdout);
    let _ = receiver.wait().success();
    hoses.nothing_left();
}

#[test]
fn rubbish_and_silence_on_the_socket_do_no_harm() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let mut receiver = hoses.run(&hoses.function("b", "", &["receive", "1", "0"]));
    receiver.expect_stdout("ready");
    let folder = hoses.folder().join("tenant");
    let socket = fs::read_dir(&folder)
        .expect("a tenant's folder")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "sock"))
        .expect("a socket");
    let mut rude = Vec::new();
    for rubbish in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4096], &[0xff; 4096]] {
        let mut stream = UnixStream::connect(&socket).expect("it can be connected");
        let _ = stream.write_all(rubbish);
        rude.push(stream);
    }
    let sent = hoses.run(&hoses.function("a", "b", &["send", "10"])).wait();
    assert_eq!(status(&sent), 0, "{}{}", sent.stdout, sent.stderr);
    let _ = receiver.wait().success();
    drop(rude);
    hoses.nothing_left();
}

#[test]
fn sizes_are_bounded_at_both_ends() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let small = hoses.function("a", "b", &["send", "2097152"]);
    small.annotation("io.roadrunner.hose/max-size", "1Mi");
    let mut receiver = hoses.run(&hoses.function("b", "", &["receive", "1", "0"]));
    receiver.expect_stdout("ready");
    assert_eq!(status(&hoses.run(&small).wait()), -5, "the sender's own bound");
    receiver.signal(rustix::process::Signal::TERM);
    let _ = receiver.wait().exits(143);

    let small = hoses.function("b", "", &["receive", "1", "0"]);
    small.annotation("io.roadrunner.hose/max-size", "1Mi");
    let mut receiver = hoses.run(&small);
    receiver.expect_stdout("ready");
    let out = hoses.run(&hoses.function("a", "b", &["send", "2097152"])).wait();
    assert_eq!(status(&out), -5, "the receiver's bound: {}", out.stdout);
    let out = hoses.run(&hoses.function("a", "b", &["send", "1048576"])).wait();
    assert_eq!(status(&out), 0, "exactly the bound: {}", out.stdout);
    let _ = receiver.wait().success();
    hoses.nothing_left();
}

#[test]
fn without_a_hose_there_is_none() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let bundle = case.wasm_bytes(guest::hose().expect("asked for above"));
    bundle.args(["/module.wasm", "send", "10"]);
    let out = case.run(&bundle, &case.id()).output();
    assert_eq!(status(&out), -3, "NO_HOSE: {}", out.stdout);
    let out = hoses.run(&hoses.function("a", "", &["send", "10"])).wait();
    assert_eq!(status(&out), -4, "NO_TARGET: {}", out.stdout);
}

#[test]
fn unregistered_regions_are_refused() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let out = hoses.run(&hoses.function("a", "b", &["unregistered"])).wait().success();
    assert_eq!(out.stdout, "-2 -2\n");
}

#[test]
fn regions_are_registered_once_within_bounds_and_until_they_are_not() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    // (import, arguments, status): statuses are those of the guest contract.
    let steps: [(&str, &[i64], i32); 18] = [
        ("register", &[1024, 64], 0),
        ("register", &[1024, 64], -2),
        ("register", &[1040, 64], -2),
        ("register", &[1000, 64], -2),
        ("register", &[1088, 64], 0),
        ("register", &[65_500, 37], -2),
        ("register", &[0xffff_fff0, 0x20], -2),
        ("register", &[0x8000_0000, 1], -2),
        ("register", &[-1, -1], -2),
        ("send", &[1024, 65], -2),
        ("send", &[1023, 2], -2),
        ("send", &[1030, 4096], -2),
        ("unregister", &[1025], -2),
        ("unregister", &[1024], 0),
        ("unregister", &[1024], -2),
        ("send", &[1024, 64], -2),
        ("register", &[1024, 64], 0),
        ("set_status", &[-5], -1),
    ];
    let mut body = String::new();
    for (step, (import, arguments, status)) in steps.iter().enumerate() {
        let arguments: Vec<_> = arguments.iter().map(|value| format!("(i32.const {value})")).collect();
        body += &format!(
            "(if (i32.ne (call ${import} {}) (i32.const {status})) (then (call $proc_exit (i32.const {}))))\n",
            arguments.join(" "),
            step + 1
        );
    }
    let bundle = hoses.function("a", "nobody", &[]);
    bundle.module(
        "module.wasm",
        &format!(
            r#"(module
              (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
              (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
              (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
              (import "roadrunner" "unregister_memory" (func $unregister (param i32) (result i32)))
              (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
              (memory (export "memory") 1)
              (func (export "_start") {body}))"#
        ),
    );
    let out = hoses.run(&bundle).wait();
    assert_eq!(out.code, 0, "step {} of {steps:#?}: {}", out.code, out.stderr);
}

#[test]
fn signals_end_a_function_that_waits_for_a_payload() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    for (signal, code) in [("TERM", 143), ("INT", 130), ("KILL", 137)] {
        let id = case.id();
        let bundle = hoses.function("b", "", &["receive", "1", "0"]);
        let mut receiver = hoses.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir()).arg(&id).spawn();
        receiver.expect_stdout("ready");
        // Inside of the import, not on the way to it.
        std::thread::sleep(Duration::from_millis(100));
        let sent = std::time::Instant::now();
        case.cmd(["kill", &id, signal]).ok();
        let _ = receiver.wait().exits(code);
        assert!(sent.elapsed() < Duration::from_secs(2), "{signal} took {:?}", sent.elapsed());
    }
    // And one that waits for its peer.
    let id = case.id();
    let bundle = hoses.function("a", "nobody", &["send", "10"]);
    let sender = hoses.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir()).arg(&id).spawn();
    std::thread::sleep(Duration::from_millis(400));
    case.cmd(["kill", &id, "TERM"]).ok();
    let _ = sender.wait().exits(143);
    hoses.nothing_left();
}

#[test]
fn the_handler_of_the_examples_is_pushed_to() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest/examples/c/c-handler.c");
    let source = fs::read_to_string(source).expect("the example is there");
    let header = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../guest/c");
    let handler = guest::compile(&source, &["-mexec-model=reactor", header]).expect("clang is there");
    let bundle = hoses.function("b", "", &[]);
    bundle.file("module.wasm", handler);
    let receiver = hoses.run(&bundle);
    let sent = hoses.run(&hoses.function("a", "b", &["send", "100"])).wait();
    assert!(status(&sent) >= 0, "{}{}", sent.stdout, sent.stderr);
    receiver.signal(rustix::process::Signal::TERM);
    let out = receiver.wait();
    assert!([0, 143].contains(&out.code), "{} {}", out.code, out.stderr);
    hoses.nothing_left();
}

#[test]
fn both_ends_hold_nothing_of_the_host_but_what_they_need() {
    let case = wasm_case!();
    let hoses = hoses!(&case);
    let id = case.id();
    let bundle = hoses.function("b", "", &["receive", "1", "0"]);
    let mut receiver = hoses.cmd_of("tenant", &["run", "--bundle"]).arg(bundle.dir()).arg(&id).spawn();
    receiver.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    let fds = tests::proc::descriptors(pid);
    let of = |what: &str| {
        fds.iter().filter(|(fd, target)| **fd > 2 && target.to_string_lossy().contains(what)).count()
    };
    assert!(of("socket:") <= 1, "one bound socket: {fds:#?}");
    assert_eq!(of("/proc"), 0, "{fds:#?}");
    let environ = tests::proc::environ(pid);
    assert!(!environ.iter().any(|variable| variable.contains("secret")), "{environ:?}");
    case.cmd(["kill", &id, "KILL"]).ok();
    let _ = receiver.wait().exits(137);
}
