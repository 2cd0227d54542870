//! Checkpoint and restore of native containers, under the runtime under test and under runc.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tests::command::{eventually, poll};
use tests::console::ConsoleSocket;
use tests::{Bundle, Case, Criu, Invocation, Runtime, agree, ports, proc, skip};

/// Counts in a file, from what it has counted so far.
const COUNTER: &str = "n=0; while :; do n=$((n+1)); echo $n >/count; sleep 0.02; done";

/// The rest of a test is of no use without criu.
macro_rules! criu {
    () => {
        match Criu::find() {
            Some(criu) => criu,
            None => return,
        }
    };
}

/// criu dumps no file that lies outside of the container, as those are that a test's output goes to.
fn without_streams(invocation: Invocation) -> Invocation {
    invocation.wrapped(["/bin/sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh"])
}

/// Runs a command whose own output is lost, with a log.
#[track_caller]
fn silently(case: &Case, criu: Criu, args: &[&str]) -> i32 {
    let log = case.dir().join("silent.log");
    let command = case.cmd(["--log", log.to_str().expect("UTF-8")]).args(args);
    let code = without_streams(criu.with(command)).output().code;
    if code != 0 {
        eprintln!("{args:?}: {}", fs::read_to_string(&log).unwrap_or_default());
    }
    code
}

#[track_caller]
fn run(case: &Case, criu: Criu, bundle: &Bundle, id: &str) {
    let bundle = bundle.dir().to_str().expect("UTF-8");
    assert_eq!(silently(case, criu, &["run", "--detach", "--bundle", bundle, id]), 0);
}

/// `checkpoint` into a folder of images, with further flags.
fn checkpoint(case: &Case, criu: Criu, images: &Path, flags: &[&str], id: &str) -> Invocation {
    criu.with(case.cmd(["checkpoint", "--image-path"]).arg(images).args(flags).arg(id))
}

/// `restore` in the foreground.
fn restore(case: &Case, bundle: &Bundle, images: &Path, id: &str) -> Invocation {
    case.cmd(["restore", "--bundle"]).arg(bundle.dir()).arg("--image-path").arg(images).arg(id)
}

/// The words of a detached `restore`.
fn restore_words<'a>(bundle: &'a Bundle, images: &'a Path, flags: &[&'a str], id: &'a str) -> Vec<&'a str> {
    let text = |path: &'a Path| path.to_str().expect("UTF-8");
    let mut words = vec!["restore", "--detach", "--bundle", text(bundle.dir()), "--image-path", text(images)];
    words.extend(flags);
    words.push(id);
    words
}

fn count(bundle: &Bundle) -> u32 {
    let text = fs::read_to_string(bundle.rootfs().join("count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[track_caller]
fn counts_beyond(bundle: &Bundle, beyond: u32) {
    eventually("the container counts", || count(bundle) > beyond);
}

fn counter(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.script(COUNTER);
    bundle
}

/// A container that counts, and a folder for its images.
#[track_caller]
fn counting(case: &Case, criu: Criu) -> (Bundle, String, PathBuf) {
    let (bundle, id) = (counter(case), case.id());
    run(case, criu, &bundle, &id);
    counts_beyond(&bundle, 3);
    (bundle, id, case.dir().join("images"))
}

fn pid(case: &Case, id: &str) -> u32 {
    u32::try_from(case.state(id)["pid"].as_u64().expect("a pid")).expect("a pid")
}

#[test]
fn a_container_goes_on_where_it_was() {
    let criu = criu!();
    let seen = agree(|case| {
        let (bundle, id, images) = counting(case, criu);
        let mut seen = Vec::new();
        for _ in 0..2 {
            checkpoint(case, criu, &images, &[], &id).ok();
            let gone = case.cmd(["state", &id]).output();
            let stopped_at = count(&bundle);
            std::thread::sleep(Duration::from_millis(100));
            let unchanged = count(&bundle) == stopped_at;
            let pid_file = case.dir().join("pid");
            let flags = ["--pid-file", pid_file.to_str().expect("UTF-8")];
            assert_eq!(silently(case, criu, &restore_words(&bundle, &images, &flags, &id)), 0);
            counts_beyond(&bundle, stopped_at);
            // It counts on, and does not begin anew.
            let written = fs::read_to_string(&pid_file).expect("a pid file");
            let pid_is_told = written == pid(case, &id).to_string();
            let exec = case.cmd(["exec", &id, "/bin/echo", "here"]).ok();
            seen.push((gone.code, unchanged, pid_is_told, case.status(&id), exec));
        }
        let init = pid(case, &id);
        case.cmd(["kill", &id, "KILL"]).ok();
        let status = case.exit_status(init);
        case.await_stopped(&id);
        case.delete(&id);
        (seen, status)
    });
    let each = (1, true, true, "running".to_owned(), "here\n".to_owned());
    assert_eq!(seen, (vec![each.clone(), each], 137));
}

#[test]
fn what_one_runtime_has_dumped_the_other_restores() {
    let criu = criu!();
    let Some(peer) = Runtime::peer() else { skip!("runc is not installed") };
    let ours = Runtime::under_test();
    for [first, second] in [[&peer, &ours], [&ours, &peer]] {
        let (dumping, restoring) = (Case::new(first), Case::new(second));
        let (bundle, id, images) = counting(&dumping, criu);
        checkpoint(&dumping, criu, &images, &[], &id).ok();
        let stopped_at = count(&bundle);
        let id = restoring.id();
        assert_eq!(
            silently(&restoring, criu, &restore_words(&bundle, &images, &[], &id)),
            0,
            "{}",
            second.name()
        );
        counts_beyond(&bundle, stopped_at);
        restoring.force_delete(&id);
    }
}

#[test]
fn a_restored_container_has_the_pipes_of_who_restores_it() {
    let criu = criu!();
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("while read -r line; do echo got $line; done; exit 3");
        let (id, images) = (case.id(), case.dir().join("images"));
        let mut first = case.run(&bundle, &id).stdin_pipe().piped().spawn();
        let mut input = first.input().expect("a pipe");
        std::io::Write::write_all(&mut input, b"one\n").expect("write");
        first.expect_stdout("got one");
        checkpoint(case, criu, &images, &[], &id).ok();
        let before = first.wait().code;
        drop(input);
        let restore = restore(case, &bundle, &images, &id);
        let mut second = criu.with(restore).stdin_pipe().piped().spawn();
        let mut input = second.input().expect("a pipe");
        std::io::Write::write_all(&mut input, b"two\n").expect("write");
        second.expect_stdout("got two");
        drop(input);
        let after = second.wait();
        (before, after.code, after.stdout, case.cmd(["state", &id]).output().code)
    });
    assert_eq!(seen, (137, 3, "got two\n".to_owned(), 1));
}

#[test]
fn signals_reach_a_container_that_is_restored_in_the_foreground() {
    let criu = criu!();
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("trap 'exit 9' TERM; echo >/count 1; n=1; while :; do n=$((n+1)); echo $n >/count; sleep 0.02; done");
        let (id, images) = (case.id(), case.dir().join("images"));
        run(case, criu, &bundle, &id);
        counts_beyond(&bundle, 3);
        checkpoint(case, criu, &images, &[], &id).ok();
        let stopped_at = count(&bundle);
        let restore = restore(case, &bundle, &images, &id);
        let running = criu.with(restore).spawn();
        counts_beyond(&bundle, stopped_at);
        running.signal(Signal::TERM);
        running.wait().code
    });
    assert_eq!(seen, 9);
}

#[test]
fn a_terminal_is_made_anew() {
    let criu = criu!();
    agree(|case| {
        let bundle = case.busybox();
        bundle
            .script("while read -r line; do echo got $line; done")
            .edit(|config| config["process"]["terminal"] = json!(true));
        let (id, images) = (case.id(), case.dir().join("images"));
        let socket = ConsoleSocket::bind(case.dir());
        let path = socket.path().to_str().expect("UTF-8");
        case.cmd(["run", "--detach", "--console-socket", path, "--bundle"]).arg(bundle.dir()).arg(&id).ok();
        let mut terminal = socket.receive();
        terminal.send("one\n");
        terminal.expect("got one");
        checkpoint(case, criu, &images, &[], &id).ok();
        let words = restore_words(&bundle, &images, &["--console-socket", path], &id);
        criu.with(case.cmd(words)).ok();
        let mut terminal = socket.receive();
        terminal.send("two\n");
        terminal.expect("got two");
        case.force_delete(&id);
    });
}

#[test]
fn mounts_from_outside_are_those_of_the_new_bundle() {
    let criu = criu!();
    let seen = agree(|case| {
        let (first, second) = (counter(case), counter(case));
        let inside = [case.folder(), case.folder()];
        for (number, (bundle, folder)) in [&first, &second].into_iter().zip(&inside).enumerate() {
            fs::write(folder.join("which"), number.to_string()).expect("write");
            let file = case.folder().join("file");
            fs::write(&file, format!("file {number}")).expect("write");
            fs::create_dir_all(bundle.rootfs().join("real")).expect("mkdir");
            std::os::unix::fs::symlink("/real", bundle.rootfs().join("link")).expect("symlink");
            bundle.bind(folder, "/link/data", &["bind", "rw"]).bind(&file, "/etc/named", &["bind", "ro"]);
            bundle.bind(&case.folder(), "/link/data/nested", &["bind", "rw"]);
            let cgroups = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"] });
            bundle.mount(cgroups);
        }
        let (id, images) = (case.id(), case.dir().join("images"));
        run(case, criu, &first, &id);
        counts_beyond(&first, 3);
        checkpoint(case, criu, &images, &[], &id).ok();
        assert_eq!(silently(case, criu, &restore_words(&second, &images, &[], &id)), 0);
        counts_beyond(&second, 3);
        let read = |path: &str| case.cmd(["exec", &id, "/bin/cat", path]).ok();
        let seen = (read("/link/data/which"), read("/etc/named"), read("/proc/timer_list"));
        let masked = case.cmd(["exec", &id, "/bin/ls", "/link/data", "/sys/fs/cgroup"]).ok();
        case.force_delete(&id);
        (seen, masked.contains("nested"), masked.contains("pids") || masked.contains("cgroup.procs"))
    });
    assert_eq!(seen, (("1".to_owned(), "file 1".to_owned(), String::new()), true, true));
}

#[test]
fn a_namespace_of_the_network_that_was_there_before_is_joined_again() {
    let criu = criu!();
    let same = agree(|case| {
        // Held open by a process, as a pod's.
        let holder = Invocation::new("unshare").args(["--net", "sleep", "600"]).spawn();
        let path = format!("/proc/{}/ns/net", holder.pid());
        let own = fs::metadata("/proc/self/ns/net").expect("a namespace").ino();
        eventually("the namespace is there", || fs::metadata(&path).is_ok_and(|found| found.ino() != own));
        let bundle = counter(case);
        bundle.without_namespace("network").edit(|config| {
            let all = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            all.push(json!({ "type": "network", "path": path }));
        });
        let (id, images) = (case.id(), case.dir().join("images"));
        run(case, criu, &bundle, &id);
        counts_beyond(&bundle, 3);
        checkpoint(case, criu, &images, &[], &id).ok();
        let stopped_at = count(&bundle);
        assert_eq!(silently(case, criu, &restore_words(&bundle, &images, &[], &id)), 0);
        counts_beyond(&bundle, stopped_at);
        let theirs = format!("/proc/{}/ns/net", pid(case, &id));
        let same = fs::metadata(theirs).expect("a namespace").ino()
            == fs::metadata(&path).expect("a namespace").ino();
        case.force_delete(&id);
        holder.signal(Signal::KILL);
        let _ = holder.wait();
        same
    });
    assert!(same);
}

#[test]
fn limits_and_hooks_are_those_of_the_bundle() {
    let criu = criu!();
    let seen = agree(|case| {
        let bundle = counter(case);
        let log = case.dir().join("hooks");
        let hook = |word: &str| {
            let script = format!(
                "read -r state; case $state in *'\"pid\":'[1-9]*) p=' with a pid';; esac; echo {word}$p >>{}",
                log.display()
            );
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
        };
        bundle.edit(|config| {
            config["linux"]["resources"]["pids"] = json!({ "limit": 77 });
            config["hooks"] = json!({
                "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"), "poststart": hook("poststart"), "poststop": hook("poststop"),
            });
        });
        let (id, images) = (case.id(), case.dir().join("images"));
        run(case, criu, &bundle, &id);
        counts_beyond(&bundle, 3);
        checkpoint(case, criu, &images, &[], &id).ok();
        let stopped_at = count(&bundle);
        assert_eq!(silently(case, criu, &restore_words(&bundle, &images, &[], &id)), 0);
        counts_beyond(&bundle, stopped_at);
        let stats = case.cmd(["events", "--stats", &id]).ok();
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        case.force_delete(&id);
        let hooks = fs::read_to_string(&log).expect("the hooks have run");
        (stats["data"]["pids"]["limit"].as_u64(), hooks.lines().map(str::to_owned).collect::<Vec<_>>())
    });
    let hooks = [
        "createRuntime with a pid",
        "createContainer with a pid",
        "poststart with a pid",
        "poststop",
        "createRuntime with a pid",
        "poststop",
    ];
    assert_eq!(seen, (Some(77), hooks.map(str::to_owned).to_vec()));
}

#[test]
fn a_container_may_go_on_or_be_paused_when_it_is_dumped() {
    let criu = criu!();
    let seen = agree(|case| {
        let (bundle, id, images) = counting(case, criu);
        checkpoint(case, criu, &images, &["--leave-running"], &id).ok();
        let stopped_at = count(&bundle);
        counts_beyond(&bundle, stopped_at);
        let running = case.status(&id);
        case.cmd(["pause", &id]).ok();
        let paused = checkpoint(case, criu, &case.dir().join("paused"), &[], &id).output().code;
        case.force_delete(&id);
        (running, paused)
    });
    assert_eq!(seen.0, "running");
}

/// Up to where pages would be asked for: criu 4.2.1 cannot send them on Linux 6.18, whoever asks (`splice: -1: Bad file descriptor`).
#[test]
fn pages_wait_until_somebody_has_asked_for_them() {
    let criu = criu!();
    let seen = agree(|case| {
        let (bundle, id, images) = counting(case, criu);
        let address = format!("127.0.0.1:{}", ports::free(1)[0]);
        let ready = case.dir().join("ready");
        let flags = ["--lazy-pages", "--page-server", &address, "--status-fd", "9"];
        let script = format!("exec \"$@\" 9>{}", ready.display());
        let dump = checkpoint(case, criu, &images, &flags, &id).wrapped(["/bin/sh", "-c", &script, "sh"]);
        let mut dump = dump.spawn();
        let told = poll(Duration::from_secs(10), || {
            (dump.ended() || fs::read(&ready).is_ok_and(|bytes| bytes == [0])).then_some(())
        });
        assert!(told.is_some() && !dump.ended(), "the pages are not ready: {}", dump.stderr());
        let stopped_at = count(&bundle);
        std::thread::sleep(Duration::from_millis(100));
        let waits = count(&bundle) == stopped_at && images.join("inventory.img").exists();
        drop(std::net::TcpStream::connect(&address).expect("the pages' server"));
        (waits, dump.wait().code, case.cmd(["state", &id]).output().code)
    });
    assert_eq!(seen, (true, 0, 1));
}

#[test]
fn what_cannot_be_dumped_is_refused_and_goes_on() {
    let criu = criu!();
    let codes = agree(|case| {
        let bundle = counter(case);
        let images = case.dir().join("images");
        let dump = |id: &str, flags: &[&str]| checkpoint(case, criu, &images, flags, id).output();
        let mut codes = vec![("none", dump("nobody", &[]).code)];
        let id = case.id();
        // Its streams are files outside, which it still has once it runs.
        case.create(&bundle, &id);
        let created = dump(&id, &[]);
        assert!(
            created.stderr.contains("Container cannot be checkpointed in created state"),
            "{}",
            created.stderr
        );
        codes.push(("created", created.code));
        case.cmd(["start", &id]).ok();
        counts_beyond(&bundle, 3);
        for (flags, words) in [
            (&["--parent-path", "/absolute"][..], "--parent-path"),
            (&["--parent-path", "missing"], "--parent-path"),
            (&["--manage-cgroups-mode", "harsh"], "manage"),
            (&["--page-server", "nowhere"], "Use --page-server ADDRESS:PORT to specify page server"),
            (&["--empty-ns", "pid"], "is not supported"),
            (&["--lazy-pages", "--status-fd", "77"], "invalid --status-fd argument 77"),
        ] {
            let output = dump(&id, flags);
            assert!(output.stderr.contains(words), "{flags:?}: {}", output.stderr);
            codes.push((words, output.code));
        }
        let outside = dump(&id, &[]);
        assert!(outside.stderr.contains("criu failed: type"), "{}", outside.stderr);
        codes.push(("a file outside", outside.code));
        let stopped_at = count(&bundle);
        counts_beyond(&bundle, stopped_at);
        let init = pid(case, &id);
        case.cmd(["kill", &id, "KILL"]).ok();
        eventually("it has ended", || !proc::alive(init));
        case.await_stopped(&id);
        let stopped = dump(&id, &[]);
        assert!(
            stopped.stderr.contains("Container cannot be checkpointed in stopped state"),
            "{}",
            stopped.stderr
        );
        case.delete(&id);
        codes.into_iter().map(|(_, code)| code).collect::<Vec<_>>()
    });
    assert!(codes.iter().all(|code| *code == 1), "{codes:?}");
}

#[test]
fn what_cannot_be_restored_leaves_nothing() {
    let criu = criu!();
    let case = Case::ours();
    let bundle = counter(&case);
    let restore = |images: &Path, flags: &[&str], id: &str| {
        criu.with(case.cmd(restore_words(&bundle, images, flags, id))).output()
    };
    let none = case.folder();
    let output = restore(&none, &[], &case.id());
    assert!(output.code == 1 && output.stderr.contains("descriptors.json"), "{}", output.stderr);
    assert_eq!(output.error_lines().len(), 1, "{}", output.stderr);
    case.nothing_left();
    fs::write(none.join("descriptors.json"), "[1").expect("write");
    let output = restore(&none, &[], &case.id());
    assert!(output.stderr.contains("descriptors.json: is damaged"), "{}", output.stderr);
    case.nothing_left();
    // Nothing but that: criu finds no images.
    fs::write(none.join("descriptors.json"), "[]").expect("write");
    let output = restore(&none, &[], &case.id());
    assert!(output.code == 1 && output.stderr.contains("criu failed: type"), "{}", output.stderr);
    case.nothing_left();
    // Images of a container with a mount that the bundle lacks.
    let with_mount = counter(&case);
    with_mount.bind(&case.folder(), "/data", &["bind"]);
    let (id, images) = (case.id(), case.dir().join("images"));
    run(&case, criu, &with_mount, &id);
    counts_beyond(&with_mount, 3);
    checkpoint(&case, criu, &images, &[], &id).ok();
    let output = restore(&images, &[], &id);
    assert!(output.code == 1 && output.stderr.contains("No mapping for"), "{}", output.stderr);
    case.nothing_left();
    let output = restore(&images, &["--console-socket", "/nowhere"], &id);
    assert!(output.code == 1 && output.stderr.contains("console socket"), "{}", output.stderr);
    let pid_file = case.dir().join("no/pid");
    let output = restore(&images, &["--pid-file", pid_file.to_str().expect("UTF-8")], &id);
    assert_eq!(output.code, 1);
    case.nothing_left();
    // The id is another container's.
    run(&case, criu, &bundle, &id);
    let output = restore(&images, &[], &id);
    assert!(
        output.code == 1 && output.stderr.contains("container with given ID already exists"),
        "{}",
        output.stderr
    );
    assert_eq!(case.status(&id), "running");
    case.force_delete(&id);
}

/// A folder with a criu that does this.
fn false_criu(case: &Case, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = case.folder();
    let program = folder.join("criu");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("write");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    folder
}

#[test]
fn a_criu_that_is_missing_or_mad_is_told_of_in_one_line() {
    let case = Case::ours();
    let bundle = counter(&case);
    let id = case.id();
    case.start(&bundle, &id);
    counts_beyond(&bundle, 3);
    let images = case.folder();
    fs::write(images.join("descriptors.json"), "[]").expect("write");
    let nothing = case.folder();
    for (path, words) in [
        (nothing, "criu: cannot be started"),
        (false_criu(&case, "exit 0"), "criu: has ended without an answer"),
        // Not before it was asked, which would be an end without an answer.
        (
            false_criu(&case, "exec /bin/busybox sh -c \"head -c 1 <&$2 >/dev/null; echo rubbish >&$2\""),
            "criu: answer: cannot be read",
        ),
    ] {
        let ours = |words: &[&str]| case.cmd(words).env("PATH", &path).output();
        let images = images.to_str().expect("UTF-8");
        let dumped = ours(&["checkpoint", "--image-path", images, &id]);
        let other = case.id();
        let restored = ours(&[
            "restore",
            "--detach",
            "--bundle",
            bundle.dir().to_str().expect("UTF-8"),
            "--image-path",
            images,
            &other,
        ]);
        for output in [dumped, restored] {
            assert!(output.code == 1 && output.stderr.contains(words), "{words}: {}", output.stderr);
            assert_eq!(output.error_lines().len(), 1, "{}", output.stderr);
        }
        assert_eq!(case.cmd(["state", &other]).output().code, 1);
    }
    let stopped_at = count(&bundle);
    counts_beyond(&bundle, stopped_at);
    case.force_delete(&id);
}

#[test]
fn killed_while_criu_restores_it_leaves_the_root_as_it_was() {
    let criu = criu!();
    let case = Case::ours();
    let (bundle, id, images) = counting(&case, criu);
    checkpoint(&case, criu, &images, &[], &id).ok();
    // It answers the question for its version, and restores nothing.
    let slow = false_criu(
        &case,
        "test -e ${0%/*}/asked && exec sleep 600; : >${0%/*}/asked; exec criu-itself \"$@\"",
    );
    let itself = criu.command().wrapped(["/bin/sh", "-c", "command -v criu", "sh"]).ok();
    std::os::unix::fs::symlink(itself.trim(), slow.join("criu-itself")).expect("symlink");
    let path = format!("{}:{}", slow.display(), std::env::var("PATH").unwrap_or_default());
    let restoring = case.cmd(restore_words(&bundle, &images, &[], &id)).env("PATH", path).spawn();
    eventually("criu is asked to restore", || {
        case.cmd(["list", "--quiet"]).ok().contains(&id) && slow.join("asked").exists()
    });
    std::thread::sleep(Duration::from_millis(100));
    restoring.signal(Signal::KILL);
    let _ = restoring.wait();
    case.force_delete(&id);
    case.nothing_left();
    assert!(bundle.rootfs().join("bin/busybox").exists() && count(&bundle) > 3);
}

#[test]
fn a_function_is_refused_by_name() {
    let case = tests::wasm_case!();
    let bundle = case.wasm(r#"(module (func (export "_start") (loop (br 0))))"#);
    let id = case.id();
    case.start(&bundle, &id);
    let images = case.folder();
    let refused = |output: tests::Output| {
        assert_eq!(output.code, 1);
        assert!(
            output.stderr.contains("a Wasm function can neither be checkpointed nor restored"),
            "{}",
            output.stderr
        );
    };
    refused(case.cmd(["checkpoint", "--image-path"]).arg(&images).arg(&id).output());
    assert_eq!(case.status(&id), "running");
    case.force_delete(&id);
    refused(restore(&case, &bundle, &images, &id).output());
}
