//! docker with the runtime as its configuration has it: the same steps under runc and under ours have to end the same.

use tests::command::eventually;
use tests::docker::Docker;
use tests::{Case, Output, agree};

fn said(out: &Output) -> (i32, String) {
    (out.code, out.stdout.trim().to_owned())
}

/// What came of each step, by its name.
type Steps = Vec<(&'static str, (i32, String))>;

fn foreground(case: &Case) -> Option<Steps> {
    let docker = Docker::start(case)?;
    let volume = case.folder();
    std::fs::write(volume.join("file"), "of the volume").expect("write");
    let mount = format!("{}:/v:ro", volume.display());
    let run = |flags: &[&str], script: &str| {
        let flags: Vec<_> = ["--rm"].iter().chain(flags).copied().collect();
        said(&docker.run(&flags, &["/bin/sh", "-c", script]).output())
    };
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; grep -h . /sys/fs/cgroup/pids/pids.max \
                  /sys/fs/cgroup/pids.max 2>/dev/null; true";
    let steps = vec![
        ("exit status", run(&[], "exit 7")),
        ("environment and folder", run(&["--env", "A=b", "--workdir", "/tmp"], "echo $A; pwd")),
        ("another user", run(&["--user", "1000:1001"], "id -u; id -g")),
        ("capabilities", run(&["--cap-drop", "ALL"], "grep Cap /proc/self/status")),
        ("the default profile", run(&[], "grep Seccomp: /proc/self/status; unshare -U true 2>&1; echo $?")),
        ("privileged", run(&["--privileged"], "grep CapEff /proc/self/status")),
        ("limits", run(&["--memory", "64m", "--pids-limit", "20"], limits)),
        ("a volume", run(&["--volume", &mount], "cat /v/file; : >/v/new")),
        ("a read-only root", run(&["--read-only", "--tmpfs", "/t"], ": >/t/x && : >/x")),
        ("a terminal", run(&["--tty"], "test -t 0 && echo yes")),
        ("no such program", {
            let out = docker.run(&["--rm"], &["/bin/nosuch"]).output();
            (out.code, out.stderr.contains("/bin/nosuch: no such file or directory").to_string())
        }),
        ("input", said(&docker.run(&["--rm", "--interactive"], &["/bin/cat"]).stdin("piped").output())),
    ];
    Some(steps)
}

#[test]
fn in_the_foreground() {
    if let Some(steps) = agree(foreground) {
        assert_eq!(steps[0].1, (7, String::new()));
        assert_eq!(steps[6].1, (0, "67108864\n20".to_owned()));
        assert_eq!(steps[7].1, (1, "of the volume".to_owned()));
    }
}

fn in_the_background(case: &Case) -> Option<Steps> {
    let docker = Docker::start(case)?;
    let name = format!("{}bg", case.name());
    let id = docker.run(&["--detach", "--init", "--name", &name], &["/bin/sleep", "600"]).ok();
    case.also_watch(id.trim());
    let on = |words: &[&str]| said(&docker.docker(words).output());
    let status = || on(&["inspect", "--format", "{{.State.Status}}", &name]);
    let mut steps = vec![
        ("running", status()),
        ("exec", on(&["exec", "--env", "X=y", &name, "/bin/sh", "-c", "echo $X; exit 3"])),
        ("exec of nothing", (on(&["exec", &name, "/bin/nosuch"]).0, String::new())),
        ("top", {
            let (code, text) = on(&["top", &name, "-o", "pid,args"]);
            (code, text.lines().filter(|line| line.contains("sleep 600")).count().to_string())
        }),
        ("pause", (on(&["pause", &name]).0, status().1)),
        ("unpause", (on(&["unpause", &name]).0, status().1)),
        ("update", (on(&["update", "--pids-limit", "30", &name]).0, String::new())),
        (
            "its limit",
            on(&[
                "exec",
                &name,
                "/bin/sh",
                "-c",
                "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true",
            ]),
        ),
        ("copy", {
            std::fs::write(case.dir().join("file"), "copied").expect("write");
            let from = case.dir().join("file").display().to_string();
            (on(&["cp", &from, &format!("{name}:/file")]).0, on(&["exec", &name, "/bin/cat", "/file"]).1)
        }),
        ("stats", (on(&["stats", "--no-stream", &name]).0, String::new())),
        ("stop", (on(&["stop", "--time", "5", &name]).0, status().1)),
        ("its exit code", on(&["inspect", "--format", "{{.State.ExitCode}}", &name])),
        ("start again", (on(&["start", &name]).0, status().1)),
        ("kill", (on(&["kill", &name]).0, String::new())),
    ];
    eventually("it has ended", || status().1 == "exited");
    steps.push(("its exit code", on(&["inspect", "--format", "{{.State.ExitCode}}", &name])));
    steps.push(("rm", (on(&["rm", &name]).0, String::new())));
    Some(steps)
}

#[test]
fn a_container_that_stays() {
    if let Some(steps) = agree(in_the_background) {
        let of = |name: &str| &steps.iter().find(|(step, _)| *step == name).expect("a step").1;
        assert_eq!(of("running").1, "running");
        assert_eq!(of("exec"), &(3, "y".to_owned()));
        assert_eq!(of("pause"), &(0, "paused".to_owned()));
        assert_eq!(of("its limit"), &(0, "30".to_owned()));
        assert_eq!(of("copy"), &(0, "copied".to_owned()));
        assert_eq!(of("stop"), &(0, "exited".to_owned()));
    }
}
