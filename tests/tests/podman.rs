//! podman on the runtime under test: the same steps with a native image under runc and under ours, and with a
//! Wasm image under ours. All three have to look the same.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tests::command::eventually;
use tests::placement::{self, FUNCTIONS, Manager};
use tests::podman::{IMAGE, Podman};
use tests::workload::{Form, Steps};
use tests::{Case, Criu, Output, proc};

fn text(out: &Output) -> String {
    format!("{} {:?} {:?}", out.code, out.stdout, out.stderr)
}

/// In the foreground: exit codes, environment, volumes, working directory, streams, terminal, user.
fn foreground(case: &Case, form: Form) -> Option<Steps> {
    let podman = Podman::with_image(case, form)?;
    let mut steps = Steps::default();
    for code in ["0", "7", "255"] {
        let out = podman.run(&["--rm"], &["exit", code]).output();
        steps.expect("exit status", text(&out), &format!("{code} \"\" \"\""));
    }
    let out = podman.run(&["--rm"], &[]).ok();
    steps.expect("the image's command", out, "default\n");
    let out = podman.run(&["--rm"], &["args", "a b", ""]).ok();
    steps.expect("arguments", out, "[/tool]\n[args]\n[a b]\n[]\n");
    let out = podman.run(&["--rm", "-e", "B=flag"], &["env"]).ok();
    for variable in ["A=image", "B=flag"] {
        steps.expect(variable, out.lines().any(|line| line == variable), "true");
    }
    let volume = case.folder();
    let flag = format!("{}:/v", volume.display());
    let out = podman.run(&["--rm", "-v", &flag], &["put", "/v/x", "content"]).output();
    steps.expect("writing to a volume", text(&out), "0 \"\" \"\"");
    steps.expect("what was written", fs::read_to_string(volume.join("x")).unwrap_or_default(), "content");
    let out = podman.run(&["--rm", "-v", &format!("{flag}:ro")], &["put", "/v/y", "content"]).output();
    steps.expect(
        "writing to a read-only volume",
        (out.code != 0).to_string() + &volume.join("y").exists().to_string(),
        "truefalse",
    );
    let out = podman.run(&["--rm", "-w", "/work"], &["cat", "here"]).ok();
    steps.expect("working directory", out, "work\n");
    let out = podman.run(&["--rm", "-i"], &["stdin"]).stdin("piped\n").ok();
    steps.expect("-i with a pipe", out, "piped\n");
    let out = podman.run(&["--rm", "-t"], &["tty"]).ok();
    steps.expect("-t", format!("{out:?}"), "\"111\\r\\n\"");
    let out = podman.run(&["--rm"], &["tty"]).ok();
    // Not its input: that is /dev/null, a character device, which WASI cannot tell from a terminal.
    steps.expect("no -t", &out[1..], "00\n");
    let out = podman.run(&["--rm", "--read-only"], &["put", "/x", "y"]).output();
    steps.expect("--read-only", out.code != 0, "true");
    let out = podman.run(&["--rm", "--network", "host"], &["say", "host", ""]).ok();
    steps.expect("--network host", out, "host\n");
    let out = podman.run(&["--rm", "--entrypoint", "/nosuch"], &[]).output();
    steps.expect("no such entrypoint", out.code, "127");
    let out = podman.run(&["--rm", "--entrypoint", "/work"], &[]).output();
    steps.expect("an entrypoint that is a folder", out.code, "126");
    Some(steps)
}

/// In the background: logs, stop, kill, ps, inspect, top, exec, pause, limits.
fn background(case: &Case, form: Form) -> Option<Steps> {
    let podman = Podman::with_image(case, form)?;
    let mut steps = Steps::default();

    let _ = podman.detach("said", &[], &["say", "to stdout", "to stderr"]);
    steps.expect("wait", podman.cmd(["wait", "said"]).ok().trim(), "0");
    let logs = podman.cmd(["logs", "said"]).output().success();
    steps.expect("logs", text(&logs), "0 \"to stdout\\n\" \"to stderr\\n\"");
    podman.cmd(["rm", "said"]).ok();

    let _ = podman.detach("looping", &["--memory", "64m", "--pids-limit", "50"], &["loop"]);
    let row = podman.cmd(["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    steps.expect("ps", row.starts_with("looping Up"), "true");
    steps.expect("status", podman.inspect("looping", "{{.State.Status}} {{.State.Running}}"), "running true");
    let pid = podman.pid("looping");
    steps.expect("the process of inspect is there", proc::alive(pid), "true");
    let top = podman.cmd(["top", "looping", "user,args"]).ok();
    steps.expect("memory limit", memory_limit(pid), "67108864");
    let out = podman.cmd(["exec", "looping", "/tool", "say", "beside", "aside"]).output();
    steps.expect("exec", text(&out), "0 \"beside\\n\" \"aside\\n\"");
    let out = podman.cmd(["exec", "looping", "/tool", "exit", "9"]).output();
    steps.expect("exit status of exec", out.code, "9");
    let out =
        podman.cmd(["exec", "-i", "-w", "/work", "-e", "X=y", "looping", "/tool", "stdin"]).stdin("in").ok();
    steps.expect("exec -i", out, "in");
    let out = podman.cmd(["exec", "-t", "looping", "/tool", "tty"]).ok();
    steps.expect("exec -t", format!("{out:?}"), "\"111\\r\\n\"");
    let out = podman.cmd(["exec", "looping", "/nosuch"]).output();
    steps.expect("exec of nothing", out.code, "127");
    podman.cmd(["pause", "looping"]).ok();
    steps.expect("pause", podman.inspect("looping", "{{.State.Status}}"), "paused");
    podman.cmd(["unpause", "looping"]).ok();
    steps.expect("unpause", podman.inspect("looping", "{{.State.Status}}"), "running");
    let stop = podman.cmd(["stop", "--time", "20", "looping"]).output().success();
    steps.expect("stop within its grace", stop.elapsed < Duration::from_secs(10), "true");
    steps.expect(
        "after stop",
        podman.inspect("looping", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 143",
    );
    podman.cmd(["start", "looping"]).ok();
    eventually("it is ready again", || podman.cmd(["logs", "looping"]).ok().matches("ready").count() == 2);
    for (signal, code) in [("KILL", "137"), ("INT", "130")] {
        podman.cmd(["kill", "--signal", signal, "looping"]).ok();
        eventually("it has exited", || podman.inspect("looping", "{{.State.Status}}") == "exited");
        steps.expect(signal, podman.inspect("looping", "{{.State.ExitCode}}"), code);
        podman.cmd(["start", "looping"]).ok();
        let readies = || podman.cmd(["logs", "looping"]).ok().matches("ready").count();
        eventually("it is ready again", || readies() == if signal == "KILL" { 3 } else { 4 });
    }
    podman.cmd(["rm", "--force", "--time", "0", "looping"]).ok();
    steps.expect("rm", podman.cmd(["ps", "--all", "--quiet"]).ok().trim(), "");

    let _ = podman.detach("other", &["--user", "1000:1001", "--cap-drop", "all"], &["loop"]);
    let status = proc::status(podman.pid("other"));
    steps.expect(
        "--user",
        format!("{} {}", status["Uid"], status["Gid"]),
        "1000 1000 1000 1000 1001 1001 1001 1001",
    );
    steps.expect("--cap-drop", &status["CapBnd"], "0000000000000000");
    steps.expect("seccomp", &status["Seccomp"], "2");
    assert!(top.contains("/tool loop"), "podman top: {top}");
    Some(steps)
}

/// What else a manager does with containers: volumes, secrets, files in and out, statistics, limits that change, checks of health, a stream that is joined.
fn further(case: &Case, form: Form) -> Option<Steps> {
    let podman = Podman::with_image(case, form)?;
    let mut steps = Steps::default();

    podman.cmd(["volume", "create", "data"]).ok();
    podman.run(&["--rm", "-v", "data:/v"], &["put", "/v/x", "kept"]).ok();
    let out = podman.run(&["--rm", "-v", "data:/v"], &["cat", "/v/x"]).ok();
    steps.expect("a named volume", out, "kept");
    podman.cmd(["volume", "rm", "data"]).ok();

    podman.cmd(["secret", "create", "word", "-"]).stdin("sesame").ok();
    let out = podman.run(&["--rm", "--secret", "word"], &["cat", "/run/secrets/word"]).ok();
    steps.expect("a secret", out, "sesame");
    let out = podman.run(&["--rm", "--secret", "word,type=env"], &["env"]).ok();
    steps.expect("a secret as a variable", out.lines().any(|line| line == "word=sesame"), "true");
    podman.cmd(["secret", "rm", "word"]).ok();

    // Checks are asked for here: there may be no systemd to ask every few seconds.
    let checked = |check: &'static str| {
        ["--memory", "64m", "--health-cmd", check, "--health-interval", "disable", "--health-retries", "1"]
    };
    let _ = podman.detach("serving", &checked(r#"["/tool","exit","0"]"#), &["loop"]);
    let _ = podman.detach("ailing", &checked(r#"["/tool","exit","3"]"#), &["loop"]);
    for (name, code, status) in [("serving", "0", "healthy"), ("ailing", "1", "unhealthy")] {
        let check = podman.cmd(["healthcheck", "run", name]).output();
        steps.expect(name, check.code, code);
        steps.expect("its health", podman.inspect(name, "{{.State.Health.Status}}"), status);
    }
    podman.cmd(["rm", "--force", "--time", "0", "ailing"]).ok();

    let folder = case.folder();
    let (there, back) = (folder.join("there"), folder.join("back"));
    fs::write(&there, "copied").expect("write");
    podman.cmd(["cp"]).arg(&there).arg("serving:/work/in").ok();
    let out = podman.cmd(["exec", "serving", "/tool", "cat", "/work/in"]).ok();
    steps.expect("a file that is copied into it", out, "copied");
    podman.cmd(["cp", "serving:/work/in"]).arg(&back).ok();
    steps.expect("and out of it", fs::read_to_string(&back).unwrap_or_default(), "copied");

    let usage = podman.cmd(["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "serving"]).ok();
    let (used, limit) = usage.trim().split_once(" / ").expect("a limit");
    steps.expect("the limit of stats", limit, "67.11MB");
    steps.expect("what it uses", used.starts_with("serving ") && !used.ends_with(" 0B"), "true");
    podman.cmd(["update", "--memory", "96m", "serving"]).ok();
    steps.expect("a limit that is changed", memory_limit(podman.pid("serving")), "100663296");
    podman.cmd(["restart", "--time", "20", "serving"]).ok();
    eventually("it is ready again", || podman.cmd(["logs", "serving"]).ok().matches("ready").count() == 2);
    steps.expect("restart", podman.inspect("serving", "{{.State.Status}}"), "running");

    let _ = podman.detach("asking", &["--interactive"], &["line"]);
    eventually("it asks", || podman.cmd(["logs", "asking"]).ok().contains("ready"));
    let out = podman.cmd(["attach", "asking"]).stdin("an answer\n").ok();
    steps.expect("attach", out.contains("got an answer"), "true");
    Some(steps)
}

/// A container's limit on memory, as cgroup v1 has it.
fn memory_limit(pid: u32) -> String {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
    let memory = cgroups.lines().find_map(|line| line.split_once(":memory:")).expect("a memory cgroup").1;
    let limit = fs::read_to_string(format!("/sys/fs/cgroup/memory{memory}/memory.limit_in_bytes"));
    limit.expect("a limit").trim().to_owned()
}

/// Runs the steps with a native image under both runtimes and with a Wasm image under ours.
fn thrice(steps: fn(&Case, Form) -> Option<Steps>) {
    let Some(native) = tests::agree(|case| steps(case, Form::Native)) else { return };
    if let Some(case) = Case::wasm_runtime() {
        let Some(wasm) = steps(&case, Form::Wasm) else { return };
        assert!(wasm == native, "Wasm differs from native\nWasm: {wasm:#?}\nnative: {native:#?}");
    }
}

#[test]
fn containers_in_the_foreground() {
    thrice(foreground);
}

#[test]
fn containers_in_the_background() {
    thrice(background);
}

#[test]
fn volumes_secrets_files_statistics_and_health() {
    thrice(further);
}

/// An init of podman's before the program, which has signals passed on and orphans reaped.
fn with_init(case: &Case) -> Option<Steps> {
    let podman = Podman::with_image(case, Form::Native)?;
    let mut steps = Steps::default();
    let _ = podman.detach("child", &["--init"], &["loop"]);
    let command = fs::read_to_string(format!("/proc/{}/cmdline", podman.pid("child"))).unwrap_or_default();
    steps.expect("the first process", command.contains("init"), "true");
    podman.cmd(["stop", "--time", "20", "child"]).ok();
    steps.expect("after stop", podman.inspect("child", "{{.State.ExitCode}}"), "143");
    Some(steps)
}

#[test]
fn an_init_comes_before_the_program() {
    let _ = tests::agree(with_init);
}

#[test]
fn a_pod_of_a_function_and_a_process() {
    let case = Case::ours();
    let Some(podman) = Podman::with_image(&case, Form::Native) else { return };
    let parent = podman.parent();
    let pod = podman
        .cmd(["pod", "create", "--network", "none", "--cgroup-parent", &parent, "--infra-image", IMAGE])
        .args(["--infra-command", "/bin/sleep 1000", "--name", "pod"])
        .ok();
    case.also_watch(pod.trim());
    let wasm = case.runtime().is_ours() && podman.build("localhost/wasm", Form::Wasm).is_some();
    let other = if wasm { "localhost/wasm" } else { IMAGE };
    for (name, image) in [("process", IMAGE), ("function", other)] {
        let id = podman.cmd(["run", "--detach", "--pod", "pod", "--name", name, image, "loop"]).ok();
        case.also_watch(id.trim());
        eventually("it is ready", || podman.cmd(["logs", name]).ok().contains("ready"));
    }
    let namespace = |name: &str, kind: &str| {
        fs::read_link(format!("/proc/{}/ns/{kind}", podman.pid(name))).expect("a link")
    };
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace("process", kind), namespace("function", kind), "{kind}");
    }
    assert_eq!(podman.cmd(["exec", "process", "/tool", "say", "native", ""]).ok(), "native\n");
    assert_eq!(podman.cmd(["exec", "function", "/tool", "say", "beside", ""]).ok(), "beside\n");
    let status = podman.cmd(["pod", "inspect", "pod"]).ok();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["State"], "Running");
    podman.cmd(["pod", "stop", "--time", "10", "pod"]).ok();
    for name in ["process", "function"] {
        assert_eq!(podman.inspect(name, "{{.State.ExitCode}}"), "143", "{name}");
    }
    podman.cmd(["pod", "rm", "--force", "pod"]).ok();
    drop(podman);
}

/// A container is dumped and goes on, in its place and, from an archive, under another name.
fn checkpoints(case: &Case, criu: Criu) -> Option<Steps> {
    let podman = Podman::with_image(case, Form::Native)?;
    let mut steps = Steps::default();
    let _ = podman.detach("kept", &["--network", "none"], &["loop"]);
    criu.with(podman.cmd(["container", "checkpoint", "kept"])).ok();
    let states = "{{.State.Status}} {{.State.Checkpointed}}";
    steps.expect("checkpoint", podman.inspect("kept", states), "exited true");
    criu.with(podman.cmd(["container", "restore", "kept"])).ok();
    steps.expect("restore", podman.inspect("kept", states), "running false");
    // It has not begun anew.
    steps.expect("logs", podman.cmd(["logs", "kept"]).ok(), "ready\n");
    let out = podman.cmd(["exec", "kept", "/tool", "say", "beside", ""]).ok();
    steps.expect("exec", out, "beside\n");
    let archive = case.dir().join("archive.tar.gz");
    let archive = archive.to_str().expect("UTF-8");
    criu.with(podman.cmd(["container", "checkpoint", "--leave-running", "--export", archive, "kept"])).ok();
    steps.expect("left running", podman.inspect("kept", states), "running false");
    let copy = criu.with(podman.cmd(["container", "restore", "--import", archive, "--name", "copy"])).ok();
    case.also_watch(copy.trim());
    for name in ["kept", "copy"] {
        steps.expect(name, podman.inspect(name, "{{.State.Status}}"), "running");
        podman.cmd(["kill", "--signal", "KILL", name]).ok();
        eventually("it has exited", || podman.inspect(name, "{{.State.Status}}") == "exited");
        podman.cmd(["rm", "--force", "--time", "0", name]).ok();
    }
    Some(steps)
}

#[test]
fn containers_are_dumped_and_restored() {
    let Some(criu) = Criu::find() else { return };
    let _ = tests::agree(|case| checkpoints(case, criu));
}

#[test]
fn annotations_reach_the_runtime() {
    let Some(case) = Case::wasm_runtime() else { return };
    let Some(podman) = Podman::with_image(&case, Form::Wasm) else { return };
    let out = podman
        .run(&["--rm", "--annotation", "io.roadrunner.wasm/timeout=300ms"], &["loop"])
        .output()
        .exits(124);
    assert!(out.stderr.contains("300"), "{}", out.stderr);
    let out = podman.run(&["--rm", "--annotation", "io.roadrunner.wasm/fuel=-1"], &["loop"]).output();
    // podman gives 126 for a runtime that fails; it shows the runtime's line.
    assert_eq!(out.code, 126, "{}", out.stderr);
    assert!(out.stderr.contains("io.roadrunner.wasm/fuel"), "{}", out.stderr);
    let out = podman.run(&["--rm", "--annotation", "run.oci.handler=wasm"], &["exit", "5"]).output();
    assert_eq!(out.code, 5, "{}", out.stderr);
}

/// podman, with a folder of modules.
struct Functions<'a> {
    case: &'a Case,
    podman: &'a Podman<'a>,
    folder: PathBuf,
}

impl Functions<'_> {
    fn flags(&self, module: &str, annotations: &[String]) -> Vec<String> {
        let volume = format!("{}:{FUNCTIONS}:ro", self.folder.display());
        let entrypoint = format!("{FUNCTIONS}/{module}");
        let fixed =
            ["--network", "host", "--volume", &volume, "--entrypoint", &entrypoint].map(str::to_owned);
        let annotations =
            annotations.iter().flat_map(|annotation| ["--annotation".to_owned(), annotation.clone()]);
        fixed.into_iter().chain(annotations).collect()
    }
}

impl Manager for Functions<'_> {
    fn run(&self, module: &str, annotations: &[String]) -> Output {
        let flags = self.flags(module, annotations);
        let flags: Vec<&str> = std::iter::once("--rm").chain(flags.iter().map(String::as_str)).collect();
        self.podman.run(&flags, &[]).output()
    }

    fn detach(&self, module: &str, annotations: &[String]) -> String {
        let flags = self.flags(module, annotations);
        self.podman.detach("sink", &flags.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    }

    fn statistics(&self, id: &str) -> String {
        self.case.runtime().command().args(["hose", "stats", "--format", "json", id]).ok()
    }

    fn stop(&self, id: &str) {
        self.podman.cmd(["stop", id]).ok();
        self.podman.cmd(["rm", id]).ok();
    }
}

#[test]
fn auto_takes_another_way_as_the_placement_changes() {
    let Some(case) = Case::wasm_runtime() else { return };
    let Some(podman) = Podman::with_image(&case, Form::Wasm) else { return };
    let functions = Functions { case: &case, podman: &podman, folder: case.folder() };
    placement::auto_takes_another_way(&case, &functions.folder, &functions);
}
