//! `exec` in a Wasm container: another module, another function of the module, or a native program of the
//! rootfs, each confined as the container is.

use tests::command::eventually;
use tests::console::Terminal;
use tests::guest::{self, LOOP};
use tests::{Bundle, Case, proc, tool, wasm_case};

/// A container that loops, with busybox and a second module beside the first.
fn looping(case: &Case) -> (Bundle, String, u32) {
    let bundle = case.wasm(
        r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
          (memory (export "memory") 1)
          (func (export "six") (call $proc_exit (i32.const 6)))
          (func (export "_start") (loop $again (br $again))))"#,
    );
    bundle.install_busybox();
    bundle.module("other.wasm", &guest::exit(4));
    let id = case.id();
    let pid = case.start(&bundle, &id);
    (bundle, id, pid)
}

#[test]
fn another_module() {
    let case = wasm_case!();
    let (bundle, id, _) = looping(&case);
    let _ = case.cmd(["exec", &id, "/other.wasm"]).output().exits(4);
    bundle.module("hello.wasm", guest::HELLO);
    assert_eq!(case.cmd(["exec", &id, "/hello.wasm"]).ok(), "hello\n");
    case.force_delete(&id);
}

#[test]
fn another_function_of_the_module() {
    let case = wasm_case!();
    let (_bundle, id, _) = looping(&case);
    let _ = case.cmd(["exec", &id, "/module.wasm#six"]).output().exits(6);
    let out = case.cmd(["exec", &id, "/module.wasm#seven"]).output();
    assert_ne!(out.code, 0);
    assert!(out.error_lines().len() == 1 && out.stderr.contains("seven"), "{}", out.stderr);
    case.force_delete(&id);
}

#[test]
fn a_native_program() {
    let case = wasm_case!();
    let (_bundle, id, pid) = looping(&case);
    let out = case.cmd(["exec", &id, "/bin/sh", "-c", "echo native; exit 3"]).output().exits(3);
    assert_eq!(out.stdout, "native\n");
    // A Wasm container's procfs is masked, for whatever runs in it: so its status is read from the host.
    let file = case.dir().join("pid");
    case.cmd(["exec", "--detach", "--pid-file"]).arg(&file).args([&id, "/bin/sleep", "600"]).ok();
    let native: u32 = std::fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
    eventually("it has become the program", || proc::cmdline(native) == ["/bin/sleep", "600"]);
    let (inside, init) = (proc::status(native), proc::status(pid));
    for key in ["Uid", "Gid", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs"] {
        assert_eq!(inside[key], init[key], "{key}");
    }
    // The function's filter is made for what it imports.
    assert_eq!((inside["Seccomp"].as_str(), init["Seccomp"].as_str()), ("0", "2"));
    case.force_delete(&id);
}

#[test]
fn a_native_program_cannot_write_the_runtime() {
    let case = wasm_case!();
    let (_bundle, id, _) = looping(&case);
    // CVE-2019-5736: an init that never execs is the runtime's own binary, for as long as it runs.
    let out = case.cmd(["exec", &id, "/bin/sh", "-c", "echo x >>/proc/1/exe"]).output();
    assert_ne!(out.code, 0, "the runtime's binary was opened for writing from inside");
    let out = case
        .cmd([
            "exec",
            &id,
            "/bin/sh",
            "-c",
            "for f in /proc/1/map_files/*; do (echo x >>$f) 2>/dev/null && exit 9; done; exit 0",
        ])
        .output();
    assert_eq!(out.code, 0, "a file that init maps was opened for writing from inside: {}", out.stderr);
    case.force_delete(&id);
}

#[test]
fn its_process_is_the_functions() {
    let case = wasm_case!();
    let (bundle, id, _) = looping(&case);
    bundle.module("loop.wasm", LOOP);
    let file = case.dir().join("pid");
    case.cmd(["exec", "--detach", "--pid-file"]).arg(&file).args([&id, "/loop.wasm", "an argument"]).ok();
    let pid: u32 = std::fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
    eventually("it shows its arguments", || proc::cmdline(pid) == ["/loop.wasm", "an argument"]);
    let fds = proc::descriptors(pid);
    assert!(fds.values().all(|target| !target.to_string_lossy().contains("/proc")), "{fds:#?}");
    case.cmd(["kill", &id, "KILL"]).ok();
    assert_eq!(case.exit_status(pid), 137);
    case.force_delete(&id);
}

#[test]
fn the_containers_namespaces_cgroup_and_limits_are_its_own() {
    let case = wasm_case!();
    let bundle = tool!(case, ["sleep", "600"]);
    bundle.module("loop.wasm", LOOP).annotation("io.roadrunner.wasm/max-memory", "2Mi");
    let id = case.id();
    let init = case.start(&bundle, &id);
    let file = case.dir().join("pid");
    case.cmd(["exec", "--detach", "--pid-file"]).arg(&file).args([&id, "/loop.wasm"]).ok();
    let pid: u32 = std::fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
    for kind in ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup"] {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a link");
        assert_eq!(namespace(pid), namespace(init), "{kind}");
    }
    let cgroups = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
    assert_eq!(cgroups(pid), cgroups(init));
    assert_eq!(case.cmd(["exec", &id, "/module.wasm", "grow"]).ok(), "32\n");
    case.force_delete(&id);
    eventually("it died with its container", || {
        tests::command::reap_orphans();
        !proc::alive(pid)
    });

    for (key, own, value) in [("timeout", "20s", "300ms"), ("fuel", "100000000", "123456")] {
        let bundle = tool!(case, ["sleep", "600"]);
        bundle.module("loop.wasm", LOOP);
        // Its init lives longer, so that there is a container to execute something in.
        bundle.annotation(&format!("io.roadrunner.wasm/{key}"), own);
        let id = case.id();
        case.start(&bundle, &id);
        let config = case.root().join(&id).join("config.json");
        let text = std::fs::read_to_string(&config).expect("the container's configuration");
        std::fs::write(&config, text.replace(own, value)).expect("write");
        let out = case.cmd(["exec", &id, "/loop.wasm"]).output().exits(124);
        let number = value.trim_end_matches("ms");
        assert!(out.error_lines().len() == 1 && out.stderr.contains(number), "{}", out.stderr);
        case.force_delete(&id);
    }
}

#[test]
fn its_terminal_is_one() {
    let case = wasm_case!();
    let bundle = tool!(case, ["sleep", "600"]);
    let id = case.id();
    case.start(&bundle, &id);
    let (mut terminal, slave) = Terminal::pair();
    let exec = case.cmd(["exec", "--tty", &id, "/module.wasm", "line"]).terminal(slave).spawn();
    terminal.expect("ready");
    terminal.send("typed\r");
    terminal.expect("got typed");
    let _ = exec.wait().exits(0);
    let (mut terminal, slave) = Terminal::pair();
    let exec = case.cmd(["exec", "--tty", &id, "/module.wasm", "loop"]).terminal(slave).spawn();
    terminal.expect("ready");
    terminal.send("\u{3}");
    let _ = exec.wait().exits(130);
    case.force_delete(&id);
}

#[test]
fn arguments_environment_and_directory_are_its_own() {
    let case = wasm_case!();
    let (bundle, id, _) = looping(&case);
    let Some(tool) = guest::tool() else { return };
    bundle.file("tool.wasm", tool).file("work/here", "work\n");
    assert_eq!(case.cmd(["exec", &id, "/tool.wasm", "args", "x y"]).ok(), "[/tool.wasm]\n[args]\n[x y]\n");
    let env = case.cmd(["exec", "--env", "MINE=1", &id, "/tool.wasm", "env"]).ok();
    assert!(env.lines().any(|line| line == "MINE=1"), "{env}");
    assert_eq!(case.cmd(["exec", "--cwd", "/work", &id, "/tool.wasm", "cat", "here"]).ok(), "work\n");
    assert_eq!(case.cmd(["exec", &id, "/tool.wasm", "stdin"]).stdin("in").ok(), "in");
    let out = case.cmd(["exec", &id, "/tool.wasm", "reach", "/proc/self/mem", "/proc/1/environ"]).output();
    assert_eq!(out.code, 0, "{}", out.stdout);
    case.force_delete(&id);
}

#[test]
fn the_user_can_be_another() {
    let case = wasm_case!();
    let (bundle, id, _) = looping(&case);
    bundle.module("loop.wasm", LOOP);
    let file = case.dir().join("pid");
    case.cmd(["exec", "--detach", "--user", "1000:1001", "--pid-file"])
        .arg(&file)
        .args([&id, "/loop.wasm"])
        .ok();
    let pid: u32 = std::fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
    let status = proc::status(pid);
    assert_eq!(status["Uid"], "1000 1000 1000 1000");
    assert_eq!(status["Gid"], "1001 1001 1001 1001");
    assert_eq!(status["CapEff"], "0000000000000000");
    case.force_delete(&id);
    let _ = case.exit_status(pid);
}

#[test]
fn failures_name_what_failed() {
    let case = wasm_case!();
    let (bundle, id, _) = looping(&case);
    bundle.file("cut.wasm", b"\0asm\x01\0\0\0\x01\xff");
    let out = case.cmd(["exec", &id, "/cut.wasm"]).output();
    assert_ne!(out.code, 0);
    assert!(out.error_lines().len() == 1 && out.stderr.contains("/cut.wasm"), "{}", out.stderr);
    let out = case.cmd(["exec", &id, "/nothing.wasm"]).output();
    assert!(out.code != 0 && out.stderr.contains("/nothing.wasm"), "{}", out.stderr);
    assert_eq!(case.status(&id), "running");
    case.force_delete(&id);
}

#[test]
fn it_traps_and_ends_as_init_would() {
    let case = wasm_case!();
    let (bundle, id, _) = looping(&case);
    bundle.module("trap.wasm", &guest::start("unreachable"));
    let out = case.cmd(["exec", &id, "/trap.wasm"]).output().exits(134);
    assert!(out.stderr.contains("unreachable"), "{}", out.stderr);
    case.force_delete(&id);
}

#[test]
fn in_a_native_container_a_module_is_no_program() {
    let case = wasm_case!();
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]).module("module.wasm", guest::HELLO);
    let id = case.id();
    case.start(&bundle, &id);
    let out = case.cmd(["exec", &id, "/module.wasm"]).output();
    assert_ne!(out.code, 0);
    assert!(!out.stdout.contains("hello"));
    case.force_delete(&id);
}

#[test]
fn a_tool_runs_beside_itself() {
    let case = wasm_case!();
    let bundle = tool!(case, ["loop"]);
    let id = case.id();
    case.start(&bundle, &id);
    assert_eq!(case.cmd(["exec", &id, "/module.wasm", "say", "beside"]).ok(), "beside\n");
    case.force_delete(&id);
}
