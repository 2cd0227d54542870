//! The lifecycle through the command line: what each verb does, says, and leaves behind.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::{Case, Container, Runtime, name, possible};
use serde_json::{Value, json};

/// Everything of a container that must be gone.
#[track_caller]
fn nothing_left(runtime: &Runtime, id: &str) {
    assert!(!runtime.root().join(id).exists(), "the state folder of {id} is left");
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
        let left = find(&hierarchy.path(), id, 4);
        assert!(left.is_none(), "cgroup {left:?} is left");
    }
}

fn find(folder: &Path, name: &str, depth: u32) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path());
    for path in folders {
        if path.file_name().is_some_and(|file| file == name) {
            return Some(path);
        }
        if depth > 0
            && let Some(found) = find(&path, name, depth - 1)
        {
            return Some(found);
        }
    }
    None
}

fn created(case: &Case) -> Container {
    case.write();
    let runtime = case.ours();
    let id = name();
    let output = runtime.start(&["create", "--bundle", &case.bundle().to_string_lossy(), &id]);
    assert!(output.status.success());
    Container { runtime, id }
}

fn says(runtime: &Runtime, args: &[&str]) -> (Option<i32>, String) {
    let output = runtime.run(args);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_container_goes_through_its_statuses() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    let container = created(&case);
    let (runtime, id) = (container.runtime.clone(), container.id.clone());
    assert_eq!(container.status(), "created");
    assert_eq!(says(&runtime, &["start", &id]).0, Some(0));
    assert_eq!(container.status(), "running");
    let (code, message) = says(&runtime, &["start", &id]);
    assert!(code == Some(1) && message.contains("cannot start an already running container"), "{message}");
    let (code, message) = says(&runtime, &["delete", &id]);
    assert!(
        code == Some(1)
            && message.contains(&format!("cannot delete container {id} that is not stopped: running")),
        "{message}"
    );
    assert_eq!(says(&runtime, &["pause", &id]).0, Some(0));
    assert_eq!(container.status(), "paused");
    assert_eq!(says(&runtime, &["resume", &id]).0, Some(0));
    assert_eq!(container.status(), "running");
    assert_eq!(says(&runtime, &["kill", &id, "KILL"]).0, Some(0));
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], 0);
    let (code, message) = says(&runtime, &["kill", &id, "KILL"]);
    assert!(code == Some(1) && message.contains("container not running"), "{message}");
    assert_eq!(says(&runtime, &["kill", "--all", &id, "KILL"]).0, Some(0));
    assert_eq!(says(&runtime, &["delete", &id]).0, Some(0));
    nothing_left(&runtime, &id);
    let (code, message) = says(&runtime, &["state", &id]);
    assert!(code == Some(1) && message.contains("container does not exist"), "{message}");
}

#[test]
fn a_signal_that_is_survived_does_not_make_a_container_stopped() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sh", "-c", "trap 'echo got' USR1; while :; do sleep 0.1; done"]);
    case.write();
    let container = case.ours().detached(&case);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(says(&container.runtime, &["kill", &container.id, "USR1"]).0, Some(0));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(container.status(), "running");
}

#[test]
fn a_reused_pid_is_neither_alive_nor_signalled() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    let container = created(&case);
    let path = container.runtime.root().join(&container.id).join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).expect("state")).expect("JSON");
    let before = state.clone();
    // Start times are told in hundredths of a second: a stranger of the same one could not be told apart, nor have the pid by then.
    thread::sleep(Duration::from_millis(50));
    let mut other = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
    state["init"]["pid"] = json!(other.id());
    fs::write(&path, state.to_string()).expect("state");
    assert_eq!(container.status(), "stopped");
    let (code, message) = says(&container.runtime, &["kill", &container.id, "KILL"]);
    assert!(code == Some(1) && message.contains("container not running"), "{message}");
    assert!(other.try_wait().expect("wait").is_none(), "a stranger was killed");
    fs::write(&path, before.to_string()).expect("state");
    other.kill().expect("kill");
    other.wait().expect("wait");
}

#[test]
fn of_two_creates_of_one_name_one_wins() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    case.write();
    let runtime = case.ours();
    let id = name();
    let bundle = case.bundle().to_string_lossy().into_owned();
    let results: Vec<_> = thread::scope(|scope| {
        // The winner's init would keep a pipe of ours open.
        let create = || {
            let mut command = runtime.command(&["create", "--bundle", &bundle, &id]);
            let log = case.folder.path().join(name());
            let file = fs::File::create(&log).expect("a file");
            let status = command.stdout(Stdio::null()).stderr(file).status().expect("status");
            (status, fs::read_to_string(log).expect("a file"))
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let container = Container { runtime: runtime.clone(), id: id.clone() };
    assert_eq!(results.iter().filter(|(status, _)| status.success()).count(), 1, "{results:?}");
    for (_, message) in results.iter().filter(|(status, _)| !status.success()) {
        assert!(message.contains("container with given ID already exists"), "{message}");
    }
    assert_eq!(container.status(), "created");
}

#[test]
fn a_create_that_fails_leaves_nothing() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sleep", "100"]);
    let runtime = case.ours();
    let bundle = case.bundle().to_string_lossy().into_owned();
    let refused = |case: &Case, extra: &[&str], words: &str| {
        case.write();
        let id = name();
        let (code, message) = says(&runtime, &[&["create", "--bundle", &bundle], extra, &[&id]].concat());
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains(words), "{words}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        nothing_left(&runtime, &id);
    };
    refused(&case, &["--pid-file", "/nowhere/pid"], "/nowhere/pid");
    case.set("/process/terminal", json!(true));
    refused(&case, &["--console-socket", "/nowhere/socket"], "socket");
    refused(&case, &[], "without setting console socket");
    case.set("/process/terminal", json!(false)).set("/process/args", json!(["nope"]));
    refused(&case, &[], "executable file not found in $PATH");
    case.set("/process/args", json!(["true"]));
    case.config["mounts"][0] = json!({ "destination": "/x", "type": "nofs", "source": "nofs" });
    refused(&case, &[], "unable to start container process");
    case.config["mounts"][0] = json!({ "destination": "/proc", "type": "proc", "source": "proc" });
    case.config["linux"]["namespaces"][1] = json!({ "type": "network", "path": "/nowhere/ns" });
    refused(&case, &[], "/nowhere/ns");
}

#[test]
fn hooks_that_fail_end_a_create_but_not_a_delete() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sleep", "100"]);
    let runtime = case.ours();
    case.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
    case.write();
    let id = name();
    let (code, message) = says(&runtime, &["create", "--bundle", &case.bundle().to_string_lossy(), &id]);
    assert_eq!(code, Some(1), "{message}");
    nothing_left(&runtime, &id);
    let seen = case.folder.path().join("seen");
    let script = format!("cat > {}", seen.display());
    case.config["hooks"] = json!({ "poststop": [{ "path": "/bin/false" }, { "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let container = created(&case);
    assert_eq!(says(&runtime, &["delete", "--force", &container.id]).0, Some(0));
    nothing_left(&runtime, &container.id);
    let state: Value =
        serde_json::from_slice(&fs::read(seen).expect("the second hook ran")).expect("its input");
    assert_eq!(state["status"], "stopped");
    assert_eq!(state["bundle"], json!(case.bundle()));
}

#[test]
fn run_gives_the_exit_code_and_leaves_nothing() {
    if !possible() {
        return;
    }
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -9 $$; sleep 1", 0), ("sh -c 'kill -TERM $$'; exit $?", 143)]
    {
        let case = Case::new(&["sh", "-c", script]);
        case.write();
        let runtime = case.ours();
        assert_eq!(runtime.output(&case).code, Some(code), "{script}");
        assert_eq!(fs::read_dir(runtime.root()).map_or(0, Iterator::count), 0, "{script}");
    }
}

#[test]
fn run_passes_signals_on() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"]);
    case.write();
    let bundle = case.bundle();
    let mut child = case
        .ours()
        .command(&["run", "--bundle", &bundle.to_string_lossy(), &name()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    let mut ready = [0; 6];
    child.stdout.as_mut().expect("stdout").read_exact(&mut ready).expect("ready");
    let status =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
    assert_eq!(child.wait().expect("wait").code(), Some(42));
}

#[test]
fn many_short_runs_never_hang() {
    if !possible() {
        return;
    }
    let case = Case::new(&["true"]);
    case.write();
    let runtime = case.ours();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| assert_eq!(runtime.output(&case).code, Some(0))));
        }
    });
}

#[test]
fn a_terminal_is_relayed() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sh", "-c", "tty; stty -echo; read line; echo \"got $line\"; exit 5"]);
    case.set("/process/terminal", json!(true));
    case.write();
    let bundle = case.bundle();
    let mut child = case
        .ours()
        .command(&["run", "--bundle", &bundle.to_string_lossy(), &name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    let mut stdin = child.stdin.take().expect("stdin");
    thread::sleep(Duration::from_millis(300));
    stdin.write_all(b"hello\n").expect("write");
    let mut said = String::new();
    child.stdout.as_mut().expect("stdout").read_to_string(&mut said).expect("read");
    assert_eq!(child.wait().expect("wait").code(), Some(5), "{said:?}");
    assert!(said.contains("/dev/pts/0\n") && said.contains("got hello\n"), "{said:?}");
}

#[test]
fn exec_leaves_no_file_behind() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    case.write();
    let container = case.ours().detached(&case);
    let files = || {
        let mut names: Vec<_> = walk(&container.runtime.root().join(&container.id)).collect();
        names.sort();
        names
    };
    let before = files();
    for args in [&["true"][..], &["nope"], &["--tty", "tty"], &["sh", "-c", "exit 3"]] {
        container.exec(args);
    }
    assert_eq!(files(), before);
}

fn walk(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.into_iter()
}

#[test]
fn the_state_folder_is_its_owners_alone() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    let container = created(&case);
    let folder = container.runtime.root().join(&container.id);
    for path in [container.runtime.root().to_path_buf(), folder.clone()] {
        assert_eq!(
            fs::metadata(&path).expect("metadata").permissions().mode() & 0o777,
            0o700,
            "{}",
            path.display()
        );
    }
    for file in ["state.json", "config.json", "lock"] {
        assert_eq!(
            fs::metadata(folder.join(file)).expect("metadata").permissions().mode() & 0o077,
            0,
            "{file}"
        );
    }
}

#[test]
fn options_stand_before_and_after_the_name() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    case.write();
    let runtime = case.ours();
    let id = name();
    let pid_file = case.folder.path().join("pid");
    let bundle = case.bundle().to_string_lossy().into_owned();
    let output =
        runtime.start(&["create", &id, "--bundle", &bundle, "--pid-file", &pid_file.to_string_lossy()]);
    assert!(output.status.success());
    let container = Container { runtime: runtime.clone(), id: id.clone() };
    assert_eq!(fs::read_to_string(pid_file).expect("pid file"), container.state()["pid"].to_string());
    // What follows exec's name is the command's.
    let said = container.exec(&["echo", "--cwd", "x", "-d"]);
    assert_eq!(said.ok(), "--cwd x -d\n");
    assert_eq!(says(&runtime, &["delete", &id, "--force"]).0, Some(0));
    nothing_left(&runtime, &id);
}

#[test]
fn lists_are_runcs() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    let runtime = case.ours();
    let out = |args: &[&str]| String::from_utf8_lossy(&runtime.run(args).stdout).into_owned();
    assert_eq!(out(&["list", "-f", "json"]), "null\n");
    let container = created(&case);
    assert_eq!(out(&["list", "-q"]), format!("{}\n", container.id));
    let list: Value = serde_json::from_str(&out(&["list", "--format", "json"])).expect("JSON");
    assert_eq!(
        (&list[0]["id"], &list[0]["status"], &list[0]["owner"]),
        (&json!(container.id), &json!("created"), &json!("root"))
    );
    let pids: Value = serde_json::from_str(&out(&["ps", "-f", "json", &container.id])).expect("JSON");
    assert_eq!(pids, json!([list[0]["pid"]]));
    assert!(out(&["list"]).starts_with("ID  "), "{}", out(&["list"]));
}

#[test]
fn a_failed_command_appends_one_line_to_the_log() {
    let case = Case::new_without_rootfs();
    let log = case.folder.path().join("log");
    fs::write(&log, "before\n").expect("a log");
    let runtime = case.ours();
    let output = runtime.run(&["--log", &log.to_string_lossy(), "--log-format", "json", "state", "nope"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "container does not exist\n");
    let text = fs::read_to_string(log).expect("a log");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "before"));
    let line: Value = serde_json::from_str(lines[1]).expect("JSON");
    assert_eq!((&line["level"], &line["msg"]), (&json!("error"), &json!("container does not exist")));
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[test]
fn a_container_cannot_write_to_the_runtime() {
    if !possible() {
        return;
    }
    // Holds the runtime's binary by what `exec` shows of it, and opens it again for writing once it is no longer executed.
    let script = "for i in 1 2 3 4 5 6 7 8; do
        for exe in /proc/[0-9]*/exe; do
            [ \"$(readlink $exe)\" = /bin/busybox ] && continue
            (echo broken > $exe) 2>/dev/null && echo written
        done
    done; sleep 100";
    let mut case = Case::new(&["sh", "-c", script]);
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        case.set(
            &format!("/process/capabilities/{set}"),
            json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]),
        );
    }
    case.write();
    let before = fs::read(case.ours().program()).expect("the binary");
    let container = case.ours().detached(&case);
    for _ in 0..10 {
        container.exec(&["true"]);
        // `#!/proc/self/exe` makes the kernel execute the runtime's binary as the interpreter.
        container.exec(&["/proc/self/exe", "x"]);
    }
    assert!(
        fs::read(case.ours().program()).expect("the binary") == before,
        "the runtime's binary was changed"
    );
}
