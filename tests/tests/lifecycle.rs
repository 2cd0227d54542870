//! The life of a native container, under the runtime under test and under runc: states, verbs, listings.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::command::{eventually, poll};
use tests::{Bundle, Case, agree, proc, skip};

/// A shell that ends at once on SIGTERM, with 0, and else sleeps.
const OBEDIENT: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";

fn sleeper(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    bundle
}

/// State as JSON with what differs between two runs replaced by what is expected of it.
fn normal_state(case: &Case, id: &str, bundle: &Bundle) -> Value {
    let mut state = case.state(id);
    assert_eq!(state["id"], id);
    assert_eq!(state["bundle"], bundle.dir().to_str().expect("UTF-8"));
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().expect("UTF-8"));
    let pid = state["pid"].as_u64().expect("a pid");
    let created = state["created"].as_str().expect("a time").to_owned();
    assert!(created.ends_with('Z') && created.contains('T'), "created is RFC 3339 in UTC: {created}");
    let version = state["ociVersion"].as_str().expect("a version").to_owned();
    assert!(version.starts_with("1."), "ociVersion: {version}");
    state["id"] = json!("ID");
    state["bundle"] = json!("BUNDLE");
    state["rootfs"] = json!("ROOTFS");
    state["created"] = json!("TIME");
    state["ociVersion"] = json!("VERSION");
    state["pid"] = json!(if pid == 0 { "none" } else { "some" });
    state
}

#[test]
fn a_container_passes_through_its_states() {
    let states = agree(|case| {
        let bundle = case.busybox();
        bundle.script(OBEDIENT).annotation("org.example.note", "kept");
        let id = case.id();
        let pid = case.create(&bundle, &id);
        assert!(proc::alive(pid));
        assert_eq!(case.state(&id)["pid"], pid);
        let created = normal_state(case, &id, &bundle);
        case.cmd(["start", &id]).ok();
        let running = normal_state(case, &id, &bundle);
        // The trap may not be set yet; pid 1 of a namespace ignores the signal until then.
        let status = poll(Duration::from_secs(10), || {
            let sent = case.cmd(["kill", &id, "TERM"]).output();
            assert!(sent.code == 0 || !proc::alive(pid), "kill failed: {}", sent.stderr);
            std::thread::sleep(Duration::from_millis(20));
            (!proc::alive(pid)).then(|| case.exit_status(pid))
        });
        assert_eq!(status, Some(0));
        case.await_stopped(&id);
        let stopped = normal_state(case, &id, &bundle);
        case.delete(&id);
        let gone = case.cmd(["state", &id]).output();
        (created, running, stopped, gone.code, gone.stderr.contains("container does not exist"))
    });
    let (created, running, stopped, code, worded) = states;
    assert_eq!(created["status"], "created");
    assert_eq!(running["status"], "running");
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(stopped["pid"], "none");
    assert_eq!(running["annotations"]["org.example.note"], "kept");
    assert_eq!((code, worded), (1, true));
}

#[test]
fn run_gives_the_exit_status_and_the_streams() {
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("exit 137", 137), ("nosuch", 127)]
    {
        let seen = agree(|case| {
            let bundle = case.busybox();
            bundle.script(&format!("cat; echo out; echo err >&2; {script}"));
            let out = case.run(&bundle, &case.id()).stdin("in\n").piped().output();
            assert!(out.closed, "somebody still holds the pipes");
            (out.code, out.stdout, out.stderr)
        });
        assert_eq!((seen.0, seen.1.as_str()), (code, "in\nout\n"), "{script}: {}", seen.2);
    }
}

#[test]
fn run_gives_the_status_of_a_signal() {
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("HUP", 129)] {
        let seen = agree(|case| {
            let bundle = case.busybox();
            // In a pid namespace of its own pid 1 cannot kill itself.
            bundle.without_namespace("pid").script(&format!("kill -{signal} $$; sleep 5"));
            case.run(&bundle, &case.id()).output().code
        });
        assert_eq!(seen, code, "{signal}");
    }
}

#[test]
fn run_forwards_signals() {
    let code = agree(|case| {
        let bundle = case.busybox();
        bundle.script("trap 'exit 3' USR1; trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done");
        let mut run = case.run(&bundle, &case.id()).spawn();
        run.expect_stdout("ready");
        run.signal(Signal::USR1);
        let first = run.wait().code;
        let mut run = case.run(&bundle, &case.id()).spawn();
        run.expect_stdout("ready");
        run.signal(Signal::TERM);
        (first, run.wait().code)
    });
    assert_eq!(code, (3, 4));
}

#[test]
fn others_act_on_a_container_that_runs_in_the_foreground() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("echo ready; sleep 600");
        let id = case.id();
        let mut run = case.run(&bundle, &id).spawn();
        run.expect_stdout("ready");
        let executed = case.cmd(["exec", &id, "/bin/echo", "beside"]).ok();
        case.cmd(["pause", &id]).ok();
        let paused = case.status(&id);
        case.cmd(["resume", &id]).ok();
        case.force_delete(&id);
        (executed, paused, run.wait().code)
    });
    assert_eq!(seen, ("beside\n".to_owned(), "paused".to_owned(), 137));
}

#[test]
fn a_container_can_be_deleted_while_others_wait_for_it() {
    // What runs in the foreground deletes as well, once init has ended.
    for _ in 0..10 {
        let case = Case::ours();
        let (bundle, id) = (case.busybox(), case.id());
        bundle.script("echo ready; sleep 600");
        let mut run = case.run(&bundle, &id).spawn();
        run.expect_stdout("ready");
        case.force_delete(&id);
        assert_eq!(run.wait().code, 137);
        assert!(!case.root().join(&id).exists());
    }
}

#[test]
fn run_deletes_what_it_ran() {
    agree(|case| {
        let id = case.id();
        case.run(&case.busybox(), &id).ok();
        case.nothing_left();
        case.cmd(["state", &id]).output().code
    });
}

#[test]
fn a_detached_run_returns_and_writes_the_pid_file() {
    agree(|case| {
        let id = case.id();
        let file = case.dir().join("pid");
        case.cmd(["run", "--detach", "--pid-file"])
            .arg(&file)
            .arg("--bundle")
            .arg(sleeper(case).dir())
            .arg(&id)
            .ok();
        let text = fs::read_to_string(&file).expect("a pid file");
        let pid: u32 = text.parse().expect("the pid file holds a number and nothing else");
        assert_eq!(case.state(&id)["pid"], pid);
        eventually("init has become the program", || proc::cmdline(pid) == ["/bin/sleep", "600"]);
        case.cmd(["kill", &id, "KILL"]).ok();
        let status = case.exit_status(pid);
        case.await_stopped(&id);
        case.delete(&id);
        status
    });
}

#[test]
fn list_shows_each_container() {
    let seen = agree(|case| {
        let bundle = sleeper(case);
        let (first, second) = (case.id(), case.id());
        case.create(&bundle, &first);
        let pid = case.start(&bundle, &second);
        let table = case.cmd(["list"]).ok();
        let header: Vec<_> = table.lines().next().expect("a header").split_whitespace().collect();
        let header = header.join(" ");
        let rows: Vec<Vec<String>> = table
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().map(ToOwned::to_owned).collect())
            .collect();
        assert_eq!(rows.len(), 2, "{table}");
        let running = rows.iter().find(|row| row[0] == second).expect("a row");
        assert_eq!(running[1], pid.to_string());
        assert_eq!(running[3], bundle.dir().to_str().expect("UTF-8"));
        let mut names: Vec<_> = case.cmd(["list", "-q"]).ok().lines().map(ToOwned::to_owned).collect();
        names.sort();
        assert_eq!(names, [first.clone(), second.clone()]);
        let json: Value = serde_json::from_str(&case.cmd(["list", "-f", "json"]).ok()).expect("JSON");
        let mut keys: Vec<String> =
            json[0].as_object().expect("an object").keys().map(ToOwned::to_owned).collect();
        keys.sort();
        case.force_delete(&first);
        case.force_delete(&second);
        let none = case.cmd(["list", "-f", "json"]).ok();
        (header, running[2].clone(), running[5].clone(), keys, none, case.cmd(["list", "-q"]).ok())
    });
    assert_eq!(seen.0, "ID PID STATUS BUNDLE CREATED OWNER");
    assert_eq!(seen.1, "running");
}

#[test]
fn ps_shows_the_containers_processes() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("sleep 601 & sleep 602 & wait");
        let id = case.id();
        let pid = case.start(&bundle, &id);
        eventually("three processes", || case.cmd(["ps", "-f", "json", &id]).ok().matches(',').count() == 2);
        let json: Vec<u32> =
            serde_json::from_str(&case.cmd(["ps", "-f", "json", &id]).ok()).expect("a list of pids");
        assert!(json.contains(&pid));
        let table = case.cmd(["ps", &id]).ok();
        let header = table.lines().next().expect("a header").split_whitespace().collect::<Vec<_>>().join(" ");
        let rows = table.lines().count() - 1;
        let chosen = case.cmd(["ps", &id, "-o", "pid,comm"]).ok();
        let chosen_header =
            chosen.lines().next().expect("a header").split_whitespace().collect::<Vec<_>>().join(" ");
        let sleeps = chosen.matches("sleep").count();
        case.force_delete(&id);
        (header, rows, chosen_header, sleeps)
    });
    assert_eq!(seen.1, 3);
    assert_eq!((seen.2.as_str(), seen.3), ("PID COMMAND", 2));
}

#[test]
fn a_paused_container_stands_still() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.01; done");
        let id = case.id();
        case.start(&bundle, &id);
        let counter = bundle.rootfs().join("tmp/n");
        let count = || fs::read_to_string(&counter).ok().and_then(|text| text.trim().parse::<u64>().ok());
        eventually("it counts", || count().is_some());
        case.cmd(["pause", &id]).ok();
        let paused = case.status(&id);
        // The freezer stops all before `pause` returns; the file may have been cut just then.
        let before = fs::read(&counter).expect("the counter");
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(fs::read(&counter).expect("the counter"), before, "it counted on while paused");
        let again = case.cmd(["pause", &id]).output();
        let exec = case.cmd(["exec", &id, "/bin/true"]).output();
        case.cmd(["resume", &id]).ok();
        let resumed = case.status(&id);
        eventually("it counts on", || fs::read(&counter).expect("the counter") != before);
        let twice = case.cmd(["resume", &id]).output();
        case.force_delete(&id);
        (paused, again.code, exec.code, resumed, twice.code)
    });
    assert_eq!((seen.0.as_str(), seen.3.as_str()), ("paused", "running"));
}

#[test]
fn exec_into_a_paused_container_waits_for_resume_and_not_resume_for_it() {
    let seen = agree(|case| {
        let id = case.id();
        case.start(&sleeper(case), &id);
        case.cmd(["pause", &id]).ok();
        let refused = case.cmd(["exec", &id, "/bin/true"]).output().code;
        let mut exec = case.cmd(["exec", "--ignore-paused", &id, "/bin/echo", "thawed"]).spawn();
        std::thread::sleep(Duration::from_millis(200));
        let waits = !exec.ended();
        let resumed = case.cmd(["resume", &id]).timeout(Duration::from_secs(5)).output().code;
        let out = exec.wait();
        case.force_delete(&id);
        (refused, waits, resumed, out.code, out.stdout)
    });
    assert_eq!(seen, (255, true, 0, 0, "thawed\n".to_owned()));
}

#[test]
fn kill_ends_a_paused_container() {
    for kill in [&["kill"][..], &["kill", "--all"]] {
        let seen = agree(|case| {
            let id = case.id();
            let pid = case.start(&sleeper(case), &id);
            case.cmd(["pause", &id]).ok();
            case.cmd(kill).args([&id, "KILL"]).ok();
            let status = case.exit_status(pid);
            case.await_stopped(&id);
            case.delete(&id);
            status
        });
        assert_eq!(seen, 137, "{kill:?}");
    }
}

#[test]
fn a_paused_container_can_be_deleted_by_force() {
    agree(|case| {
        let id = case.id();
        let pid = case.start(&sleeper(case), &id);
        case.cmd(["pause", &id]).ok();
        case.force_delete(&id);
        assert!(!proc::alive(pid), "{}", proc::describe(pid));
    });
}

#[test]
fn kill_knows_a_signals_names_and_numbers() {
    for signal in ["9", "KILL", "SIGKILL", "kill"] {
        let seen = agree(|case| {
            let id = case.id();
            let pid = case.start(&sleeper(case), &id);
            let sent = case.cmd(["kill", &id, signal]).output().code;
            if sent != 0 {
                case.cmd(["kill", &id, "KILL"]).ok();
            }
            let status = case.exit_status(pid);
            case.await_stopped(&id);
            case.delete(&id);
            (sent, status)
        });
        assert_eq!(seen, (0, 137), "{signal}");
    }
    let code = agree(|case| {
        let id = case.id();
        case.start(&sleeper(case), &id);
        let codes: Vec<_> =
            ["NOSUCH", "-1", "4096"].iter().map(|s| case.cmd(["kill", &id, "--", s]).output().code).collect();
        assert_eq!(case.status(&id), "running");
        case.force_delete(&id);
        codes
    });
    assert!(code.iter().all(|&code| code == 1), "{code:?}");
}

#[test]
fn kill_sends_term_by_default() {
    agree(|case| {
        let bundle = case.busybox();
        bundle.script("trap 'exit 5' TERM; : >/tmp/ready; while :; do sleep 0.02; done");
        let id = case.id();
        let pid = case.start(&bundle, &id);
        eventually("the trap is set", || bundle.rootfs().join("tmp/ready").exists());
        case.cmd(["kill", &id]).ok();
        assert_eq!(case.exit_status(pid), 5);
        case.await_stopped(&id);
        case.delete(&id);
    });
}

#[test]
fn kill_all_reaches_every_process() {
    agree(|case| {
        let bundle = case.busybox();
        // The host's pid namespace: the kernel does not end the others when init ends.
        bundle.without_namespace("pid").script("sleep 601 & sleep 602 & wait");
        let id = case.id();
        case.start(&bundle, &id);
        let pids = || -> Vec<u32> {
            serde_json::from_str(&case.cmd(["ps", "-f", "json", &id]).ok()).expect("a list of pids")
        };
        eventually("three processes", || pids().len() == 3);
        let all = pids();
        case.cmd(["kill", "--all", &id, "KILL"]).ok();
        eventually("all are gone", || {
            tests::command::reap_orphans();
            !all.iter().any(|&pid| proc::alive(pid))
        });
        case.await_stopped(&id);
        case.delete(&id);
    });
}

#[test]
fn kill_all_reaches_what_forks_meanwhile() {
    agree(|case| {
        let bundle = case.busybox();
        // Each of them is gone before a list that has it is through.
        bundle.without_namespace("pid").script("while :; do (sleep 0.001 &) ; done");
        let id = case.id();
        case.start(&bundle, &id);
        std::thread::sleep(Duration::from_millis(100));
        case.cmd(["kill", "--all", &id, "KILL"]).ok();
        eventually("all are gone", || {
            tests::command::reap_orphans();
            case.cmd(["ps", "-f", "json", &id]).ok().trim().replace("null", "[]") == "[]"
        });
        case.await_stopped(&id);
        case.delete(&id);
    });
}

#[test]
fn options_stand_before_and_after_the_id() {
    let seen = agree(|case| {
        let bundle = sleeper(case);
        let dir = bundle.dir().to_str().expect("UTF-8").to_owned();
        let pid_file = case.dir().join("pid").to_str().expect("UTF-8").to_owned();
        let (one, two) = (case.id(), case.id());
        case.cmd(["run", &one, "--detach", "--bundle", &dir, "--pid-file", &pid_file, "--no-pivot"]).ok();
        let pid: u32 = fs::read_to_string(&pid_file).expect("a pid file").parse().expect("a number");
        assert_eq!(case.state(&one)["pid"], pid);
        case.cmd(["create", "--bundle", &dir, &two, "--preserve-fds", "0", "--pid-file", &pid_file]).ok();
        case.cmd(["start", &two]).ok();
        let pids = [&["ps", "-f", "json", &one][..], &["ps", "--format=json", &one]]
            .map(|args| case.cmd(args).ok().trim().to_owned());
        assert_eq!(pids, [format!("[{pid}]"), format!("[{pid}]")]);
        let mut codes = Vec::new();
        for args in [
            &["kill", "-a", &one, "WINCH"][..],
            &["kill", &one, "WINCH", "--all"],
            &["kill", "--all=false", &one, "WINCH"],
            &["kill", &one, "KILL", "-a"],
            &["delete", &one, "-f"],
            &["delete", "-f", &two],
            &["delete", &two, "--force"],
        ] {
            // runc takes what follows an option for its value here.
            if case.runtime().is_ours() && args[1] == one {
                case.cmd(["kill", &two, "--all", "WINCH"]).ok();
            }
            codes.push(case.cmd(args).output().code);
        }
        codes
    });
    assert_eq!(seen, [0; 7]);
}

#[test]
fn a_quiet_list_has_names_alone_whatever_its_format() {
    agree(|case| {
        let id = case.id();
        case.create(&sleeper(case), &id);
        for args in
            [&["list", "-f", "json", "-q"][..], &["list", "--quiet", "--format", "json"], &["list", "-q"]]
        {
            assert_eq!(case.cmd(args).ok(), format!("{id}\n"), "{args:?}");
        }
        case.force_delete(&id);
    });
}

/// Lines of a log, each of which is one JSON object: its keys, level and message.
fn log_lines(text: &str) -> Vec<(Vec<String>, String, String)> {
    let parse = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON, {e}: {line}"))
    };
    let text_of = |value: &Value| value.as_str().expect("a string").to_owned();
    text.lines()
        .map(parse)
        .map(|line| {
            let mut keys: Vec<_> = line.as_object().expect("an object").keys().cloned().collect();
            keys.sort();
            assert!(text_of(&line["time"]).contains('T'), "{line}");
            (keys, text_of(&line["level"]), text_of(&line["msg"]))
        })
        .collect()
}

#[test]
fn errors_are_appended_to_the_log_with_runcs_keys() {
    let seen = agree(|case| {
        let log = case.dir().join("log");
        let id = case.id();
        let file = log.to_str().expect("UTF-8").to_owned();
        let failed = |args: &[&str]| {
            let out = case.cmd(["--log", &file, "--log-format", "json"]).args(args).output();
            assert_ne!(out.code, 0, "{args:?}");
            // Managers show what stands there, too.
            assert!(!out.stderr.trim().is_empty(), "{args:?}");
            out.code
        };
        let codes = [
            failed(&["state", &id]),
            failed(&["exec", &id, "/bin/true"]),
            failed(&["kill", &id, "KILL"]),
            // A command line that is none is an error like any other.
            failed(&["state"]),
            failed(&["start", &id, "b"]),
        ];
        let lines = log_lines(&fs::read_to_string(&log).expect("a log"));
        (codes, lines.into_iter().map(|(keys, level, _)| (keys, level)).collect::<Vec<_>>())
    });
    assert_eq!(seen.0, [1, 255, 1, 1, 1]);
    assert_eq!(seen.1.len(), 5, "one line each: {seen:?}");
    assert!(seen.1.iter().all(|(keys, level)| keys.join(" ") == "level msg time" && level == "error"));
}

#[test]
fn global_flags_are_runcs() {
    let seen = agree(|case| {
        let mut codes = Vec::new();
        for flags in [
            &["--debug"][..],
            &["--rootless", "auto"],
            &["--rootless=false"],
            &["--systemd-cgroup=false"],
            &["--log-format", "text"],
            &["--log-format", "xml"],
            &["--log", "/nonexistent/folder/log"],
        ] {
            codes.push((flags.join(" "), case.cmd(flags).args(["list", "-q"]).output().code));
        }
        let log = case.dir().join("debug");
        case.cmd(["--debug", "--log"]).arg(&log).args(["list", "-q"]).ok();
        codes
    });
    let accepted: Vec<_> = seen.iter().map(|(_, code)| *code == 0).collect();
    assert_eq!(accepted[..5], [true; 5], "{seen:?}");
}

#[test]
fn features_and_version_have_runcs_form() {
    let seen = agree(|case| {
        let features: Value = serde_json::from_str(&case.cmd(["features"]).ok()).expect("JSON");
        let hooks = features["hooks"].clone();
        let linux: Vec<_> = ["cgroup", "seccomp", "apparmor", "selinux"]
            .map(|key| features["linux"][key].is_object())
            .to_vec();
        let namespaces = features["linux"]["namespaces"].as_array().expect("a list");
        let common = ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]
            .map(|kind| namespaces.contains(&json!(kind)));
        let version = case.cmd(["--version"]).ok();
        let lines: Vec<_> = version.lines().collect();
        assert!(
            lines[0].starts_with(&format!("{} version ", case.runtime().name())) || case.runtime().is_ours()
        );
        let spec = lines.iter().any(|line| line.starts_with("spec: 1."));
        let help = case.cmd(["--help"]).ok();
        let verbs = [
            "create", "start", "state", "kill", "delete", "run", "list", "ps", "exec", "spec", "pause",
            "resume",
        ];
        let named = verbs.map(|verb| help.contains(&format!(" {verb} ")));
        (hooks, linux, common, spec, named)
    });
    assert!(
        seen.1.iter().all(|there| *there) && seen.2 == [true; 7] && seen.3 && seen.4 == [true; 12],
        "{seen:?}"
    );
}

#[test]
fn spec_writes_runcs_template_once() {
    for flags in [&[][..], &["--rootless"]] {
        let seen = agree(|case| {
            let dir = case.folder();
            case.cmd(["spec"]).args(flags).cwd(&dir).ok();
            let text = fs::read_to_string(dir.join("config.json")).expect("a config.json");
            let mut config: Value = serde_json::from_str(&text).expect("JSON");
            assert!(config["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
            config["ociVersion"] = json!("VERSION");
            config["hostname"] = json!("NAME");
            // Ambient ones, which are not inheritable, are in it no more since runc 1.3.
            config["process"]["capabilities"].as_object_mut().expect("sets").remove("ambient");
            // These lists have no order.
            for set in config["process"]["capabilities"].as_object_mut().expect("sets").values_mut() {
                set.as_array_mut().expect("a list").sort_by_key(ToString::to_string);
            }
            for mount in config["mounts"].as_array_mut().expect("a list") {
                if let Some(options) = mount["options"].as_array_mut() {
                    options.sort_by_key(ToString::to_string);
                }
            }
            let again = case.cmd(["spec"]).args(flags).cwd(&dir).output();
            assert_eq!(fs::read_to_string(dir.join("config.json")).expect("it is still there"), text);
            case.cmd(["spec", "--bundle"]).arg(case.folder()).ok();
            let key = |line: &str| {
                let (tabs, key) = line.split_once('"')?;
                (tabs.len() < 3).then(|| tabs.to_owned() + key.split('"').next().unwrap_or_default())
            };
            (config, again.code, text.lines().filter_map(key).collect::<Vec<_>>())
        });
        assert_eq!(seen.1, 1, "it overwrote a configuration");
    }
}

#[test]
fn deleting_a_container_of_the_hosts_pid_namespace_ends_all_of_it() {
    agree(|case| {
        let bundle = case.busybox();
        bundle.without_namespace("pid").script("sleep 601 & sleep 602 & wait");
        let id = case.id();
        case.start(&bundle, &id);
        eventually("three processes", || case.cmd(["ps", "-f", "json", &id]).ok().matches(',').count() == 2);
        case.force_delete(&id);
        case.nothing_left();
    });
}

#[test]
fn verbs_refuse_a_state_that_they_cannot_act_on() {
    let seen = agree(|case| {
        let bundle = sleeper(case);
        let id = case.id();
        let mut seen = Vec::new();
        let mut note = |what: &str, args: &[&str], wording: &str| {
            let out = case.cmd(args).output();
            if case.runtime().is_ours() {
                assert_eq!(out.error_lines().len(), 1, "{what}: {}", out.stderr);
            }
            seen.push((what.to_owned(), out.code, out.stderr.contains(wording)));
        };
        for verb in ["start", "state", "kill", "delete", "pause", "resume", "ps"] {
            note(&format!("{verb} of none"), &[verb, &id], "container does not exist");
        }
        note("exec of none", &["exec", &id, "/bin/true"], "container does not exist");
        let pid = case.create(&bundle, &id);
        case.cmd(["start", &id]).ok();
        note("start running", &["start", &id], "cannot start an already running container");
        note("delete running", &["delete", &id], "that is not stopped: running");
        note("resume running", &["resume", &id], "container not paused");
        case.cmd(["kill", &id, "KILL"]).ok();
        assert_eq!(case.exit_status(pid), 137);
        case.await_stopped(&id);
        note("start stopped", &["start", &id], "cannot start a container that has stopped");
        note("kill stopped", &["kill", &id, "KILL"], "container not running");
        note("exec stopped", &["exec", &id, "/bin/true"], "cannot exec in a stopped container");
        note("pause stopped", &["pause", &id], "");
        case.delete(&id);
        assert_eq!(case.cmd(["delete", "--force", &id]).output().code, 0, "delete --force of none");
        seen
    });
    let bad: Vec<_> = seen.iter().filter(|(_, code, worded)| *code == 0 || !worded).collect();
    assert!(bad.is_empty(), "accepted, or worded otherwise: {bad:#?}");
}

#[test]
fn of_two_creates_of_one_id_one_succeeds() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc 1.1 lets both fail, or the loser delete the winner's state");
    }
    let bundles = [sleeper(&case), sleeper(&case)];
    for _ in 0..5 {
        let id = case.id();
        let runs: Vec<_> = bundles
            .iter()
            .map(|bundle| case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(&id).spawn())
            .collect();
        let outs: Vec<_> = runs.into_iter().map(tests::Running::wait).collect();
        let failed: Vec<_> = outs.iter().filter(|out| out.code != 0).collect();
        assert_eq!(failed.len(), 1, "{outs:#?}");
        assert!(failed[0].stderr.contains("already exists"), "{}", failed[0].stderr);
        assert_eq!(failed[0].error_lines().len(), 1, "{}", failed[0].stderr);
        assert_eq!(case.status(&id), "created");
        case.force_delete(&id);
        case.nothing_left();
    }
}

#[test]
fn a_state_has_reached_the_disk_when_create_returns() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc waits for no disk");
    }
    if tests::runtime::program("strace").is_none() {
        skip!("strace is not installed");
    }
    let (bundle, id, trace) = (sleeper(&case), case.id(), case.dir().join("trace"));
    let file = trace.to_str().expect("UTF-8");
    let create = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(&id);
    // The runtime alone: its init stays.
    create
        .wrapped(["strace", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", file])
        .ok();
    let calls = fs::read_to_string(&trace).expect("a trace");
    let written = calls.rfind(".state.json.new\", ").expect("it is put in its place");
    let (before, after) = calls.split_at(written);
    assert!(
        before.lines().rev().take(2).any(|call| call.contains("sync(") && call.contains(".state.json.new>"))
    );
    assert!(
        after.lines().skip(1).any(|call| call.contains("fsync(") && call.contains(&format!("/{id}>"))),
        "{calls}"
    );
    case.force_delete(&id);
}

#[test]
fn an_id_is_taken_until_it_is_deleted() {
    agree(|case| {
        let bundle = sleeper(case);
        let id = case.id();
        case.start(&bundle, &id);
        for verb in ["create", "run"] {
            let out = case.cmd([verb, "--bundle"]).arg(bundle.dir()).arg(&id).output().exits(1);
            assert!(out.stderr.contains("already exists"), "{}", out.stderr);
        }
        assert_eq!(case.status(&id), "running");
        case.force_delete(&id);
        case.create(&bundle, &id);
        case.force_delete(&id);
    });
}

#[test]
fn hooks_run_in_order_with_the_state_on_their_input() {
    let log = agree(|case| {
        let bundle = case.busybox();
        let shared = case.folder();
        bundle.bind(&shared, "/shared", &["rw"]).script("echo main >>/shared/log");
        let outside = shared.join("log");
        let hook = |name: &str, log: &str| {
            json!({
                "path": "/bin/sh",
                "args": ["sh", "-c", format!(r#"cat >"{log}.{name}"; echo {name} >>"{log}""#)],
                "env": ["PATH=/usr/bin:/bin"],
            })
        };
        let outside = outside.to_str().expect("UTF-8");
        bundle.edit(|config| {
            config["hooks"] = json!({
                "prestart": [hook("prestart", outside)],
                "createRuntime": [hook("createRuntime", outside)],
                "createContainer": [hook("createContainer", outside)],
                "startContainer": [hook("startContainer", "/shared/log")],
                "poststart": [hook("poststart", outside)],
                "poststop": [hook("poststop", outside)],
            });
        });
        let id = case.id();
        let pid = case.create(&bundle, &id);
        // runc 1.1 runs poststart here already; the specification says after start.
        let created = fs::read_to_string(outside).expect("a log").replace("poststart\n", "");
        case.cmd(["start", &id]).ok();
        let _ = case.exit_status(pid);
        case.await_stopped(&id);
        case.delete(&id);
        let log = fs::read_to_string(outside).expect("a log");
        let mut states = Vec::new();
        for name in
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
        {
            let text = fs::read(format!("{outside}.{name}")).expect("each hook ran");
            let state: Value =
                serde_json::from_slice(&text).unwrap_or_else(|e| panic!("state for {name}: {e}"));
            assert_eq!(state["id"], id.as_str(), "{name}");
            assert_eq!(state["bundle"], bundle.dir().to_str().expect("UTF-8"), "{name}");
            // In a pid namespace of its own, init is 1 for those hooks that runc runs there.
            let shown = state["pid"].as_u64().unwrap_or(0);
            assert!([0, 1, u64::from(pid)].contains(&shown), "{name}: {shown}");
            assert!(name != "poststop" || shown == 0, "poststop is given the pid of a process that is gone");
            let status = if name == "poststart" { Value::Null } else { state["status"].clone() };
            states.push((name, status, shown == 1));
        }
        // And at the same time as the main process.
        assert_eq!(log.matches("poststart\n").count(), 1, "{log}");
        (created, log.replace("poststart\n", ""), states)
    });
    assert_eq!(log.0, "prestart\ncreateRuntime\ncreateContainer\n");
    assert_eq!(log.1, "prestart\ncreateRuntime\ncreateContainer\nstartContainer\nmain\npoststop\n");
}

#[test]
fn hooks_are_run_where_and_with_what_runc_runs_them() {
    const KINDS: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let seen = agree(|case| {
        let (bundle, log) = (case.busybox(), case.folder().join("log"));
        bundle.args(["/bin/true"]);
        let hook = |kind: &str, env: Value| {
            let script = format!("echo {kind} $RR_TEST_CALLER $RR_TEST_OWN $(pwd) >>{}", log.display());
            json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": env })
        };
        let hooks = |kind| {
            json!([hook(kind, Value::Null), hook(kind, json!([])), hook(kind, json!(["RR_TEST_OWN=own"]))])
        };
        bundle.edit(|config| {
            config["hooks"] = KINDS
                .iter()
                .map(|kind| ((*kind).to_owned(), hooks(kind)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        });
        case.run(&bundle, &case.id()).env("RR_TEST_CALLER", "caller").output().success();
        fs::read_to_string(&log).expect("a log").replace(bundle.dir().to_str().expect("UTF-8"), "BUNDLE")
    });
    assert_eq!(seen.matches(" caller ").count(), 4, "{seen}");
}

#[test]
fn a_failing_poststart_hook_leaves_nothing_of_its_container() {
    agree(|case| {
        let bundle = sleeper(case);
        bundle.edit(|config| config["hooks"] = json!({ "poststart": [{ "path": "/bin/false" }] }));
        let id = case.id();
        // runc 1.1 runs it here already.
        let _ = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(&id).output();
        let out = case.cmd(["start", &id]).output();
        case.nothing_left();
        out.code
    });
}

/// A hook that runs these verbs of the runtime on its own container, and writes their exit codes down.
fn acting(case: &Case, log: &std::path::Path, id: &str, verbs: &[&str]) -> Value {
    let runtime = format!("{} --root {}", case.runtime().path().display(), case.root().display());
    let command = |verb: &&str| match verb.split_once(' ') {
        Some((verb, rest)) => format!("timeout 5 {runtime} {verb} {id} {rest}; echo {verb} $?"),
        None => format!("timeout 5 {runtime} {verb} {id} >&2; echo {verb} $?"),
    };
    let script = verbs.iter().map(command).collect::<Vec<_>>().join("; ");
    json!({
        "path": "/bin/sh",
        "args": ["sh", "-c", format!("{{ {script}; }} >>{} 2>/dev/null", log.display())],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    })
}

#[test]
fn a_poststart_hook_may_act_on_its_container() {
    let seen = agree(|case| {
        let (bundle, id, log) = (sleeper(case), case.id(), case.dir().join("log"));
        let hook = acting(case, &log, &id, &["exec /bin/echo executed", "state", "pause", "resume"]);
        bundle.edit(|config| config["hooks"] = json!({ "poststart": [hook] }));
        case.start(&bundle, &id);
        let status = case.status(&id);
        case.force_delete(&id);
        (fs::read_to_string(&log).expect("a log"), status)
    });
    assert_eq!(seen.0, "executed\nexec 0\nstate 0\npause 0\nresume 0\n");
    assert_eq!(seen.1, "running");
}

#[test]
fn a_hook_that_would_wait_for_its_own_command_is_told() {
    // runc has no container to act on at that time, or has taken no lock.
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc locks nothing");
    }
    for kind in ["createRuntime", "poststop"] {
        let (bundle, id, log) = (sleeper(&case), case.id(), case.dir().join(kind));
        let hook = acting(&case, &log, &id, &["exec /bin/true", "delete", "pause"]);
        bundle.edit(|config| config["hooks"] = json!({ kind: [hook] }));
        let begun = std::time::Instant::now();
        case.create(&bundle, &id);
        case.force_delete(&id);
        assert!(begun.elapsed() < Duration::from_secs(5), "{kind} has waited: {:?}", begun.elapsed());
        assert_eq!(fs::read_to_string(&log).expect("a log"), "exec 255\ndelete 1\npause 1\n", "{kind}");
    }
}

#[test]
fn exec_can_be_interrupted_while_it_waits_for_another_command() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc locks nothing");
    }
    let id = case.id();
    case.start(&sleeper(&case), &id);
    let file = fs::OpenOptions::new().write(true).open(case.root().join(&id).join("lock")).expect("a lock");
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).expect("fcntl");
    let exec = case.cmd(["exec", &id, "/bin/true"]).spawn();
    let mut waits = 0;
    eventually("it waits", || {
        waits = if proc::state(exec.pid()) == Some('S') { waits + 1 } else { 0 };
        waits > 3
    });
    exec.signal(Signal::TERM);
    let _ = exec.wait().exits(143);
    drop(file);
    case.force_delete(&id);
}

#[test]
fn a_failing_hook_fails_the_verb_and_leaves_nothing() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let code = agree(|case| {
            let bundle = sleeper(case);
            bundle.edit(|config| {
                config["hooks"] = json!({ kind: [{ "path": "/bin/false", "args": ["false"] }] });
            });
            let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
            case.nothing_left();
            out.code
        });
        assert_eq!(code, 1, "{kind}");
    }
}

#[test]
fn a_failing_start_container_hook_keeps_the_process_from_running() {
    agree(|case| {
        let bundle = case.busybox();
        bundle.script(": >/tmp/ran");
        bundle.edit(|config| {
            config["hooks"] = json!({ "startContainer": [{ "path": "/bin/false", "args": ["false"] }] });
        });
        let id = case.id();
        let pid = case.create(&bundle, &id);
        let _ = case.cmd(["start", &id]).output();
        let status = case.exit_status(pid);
        assert!(!bundle.rootfs().join("tmp/ran").exists());
        case.force_delete(&id);
        status != 0
    });
}

#[test]
fn what_a_start_container_hook_fails_by_is_told() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        bundle.edit(|config| {
            let args = ["sh", "-c", "mkdir /tmp/made"];
            config["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": args }] });
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL" }],
            });
        });
        let out = case.run(&bundle, &case.id()).output();
        let told = ["error running hook", "bad system call"].map(|words| out.stderr.contains(words));
        (out.code != 0, told, bundle.rootfs().join("tmp/made").exists())
    });
    assert_eq!(seen, (true, [true; 2], false));
}

#[test]
fn a_failing_poststop_hook_does_not_stop_delete() {
    let code = agree(|case| {
        let bundle = sleeper(case);
        bundle.edit(|config| {
            config["hooks"] = json!({ "poststop": [{ "path": "/bin/false", "args": ["false"] }] });
        });
        let id = case.id();
        case.start(&bundle, &id);
        let code = case.cmd(["delete", "--force", &id]).output().code;
        case.nothing_left();
        code
    });
    assert_eq!(code, 0);
}

#[test]
fn a_hook_has_its_timeout() {
    agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| {
            config["hooks"] =
                json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }] });
        });
        let out = case.run(&bundle, &case.id()).output();
        assert_ne!(out.code, 0);
        assert!(out.elapsed < Duration::from_secs(10), "{:?}", out.elapsed);
    });
}

#[test]
fn every_root_propagation_is_taken() {
    for value in ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"]
    {
        let seen = agree(|case| {
            let bundle = case.busybox();
            bundle.args(["/bin/grep", " / / ", "/proc/self/mountinfo"]);
            bundle.edit(|config| config["linux"]["rootfsPropagation"] = json!(value));
            let out = case.run(&bundle, &case.id()).output();
            (out.code, out.stdout.contains("shared:"), out.stdout.contains("master:"))
        });
        assert!(seen.0 <= 1, "{value}: {seen:?}");
    }
    // As under runc 1.3; 1.1 makes nothing shared.
    for (value, of_dev) in [("shared", false), ("rshared", true)] {
        let case = Case::ours();
        let bundle = case.busybox();
        bundle.script("grep ' / /dev ' /proc/self/mountinfo");
        bundle.edit(|config| config["linux"]["rootfsPropagation"] = json!(value));
        let seen = case.run(&bundle, &case.id()).output().stdout;
        assert_eq!(seen.contains("shared:"), of_dev, "{value}: {seen}");
    }
}

#[test]
fn state_survives_only_with_its_container() {
    let status = agree(|case| {
        let id = case.id();
        let pid = case.start(&sleeper(case), &id);
        tests::command::send_signal(pid, Signal::KILL);
        assert_eq!(case.exit_status(pid), 137);
        case.await_stopped(&id);
        let ps = case.cmd(["ps", "-f", "json", &id]).output();
        case.delete(&id);
        // Go writes an empty list as null.
        (ps.code, ps.stdout.trim().replace("null", "[]"))
    });
    assert_eq!(status, (0, "[]".to_owned()));
}

#[test]
fn containers_share_a_namespace_by_path() {
    let seen = agree(|case| {
        let first = sleeper(case);
        let pod = case.id();
        let pid = case.start(&first, &pod);
        let second = case.busybox();
        second.script("for kind in net ipc uts; do readlink /proc/self/ns/$kind; done");
        second.edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
            for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
                let namespace =
                    namespaces.iter_mut().find(|namespace| namespace["type"] == kind).expect("it is there");
                namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
            }
            config["hostname"] = json!("");
        });
        let out = case.run(&second, &case.id()).ok();
        let expected: Vec<_> = ["net", "ipc", "uts"]
            .iter()
            .map(|file| fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a link"))
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        case.force_delete(&pod);
        out.lines().map(ToOwned::to_owned).collect::<Vec<_>>() == expected
    });
    assert!(seen);
}

#[test]
fn limits_reach_the_cgroup() {
    let seen = agree(|case| {
        let bundle = sleeper(case);
        let path = format!("/{}pod/inner", case.name());
        bundle.edit(|config| {
            config["linux"]["cgroupsPath"] = json!(path);
            config["linux"]["resources"]["memory"] = json!({ "limit": 67_108_864 });
            config["linux"]["resources"]["pids"] = json!({ "limit": 32 });
            config["linux"]["resources"]["cpu"] =
                json!({ "shares": 512, "quota": 50_000, "period": 100_000 });
        });
        let id = case.id();
        let pid = case.start(&bundle, &id);
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup file");
        let mut values = Vec::new();
        for (controller, file) in [
            ("memory", "memory.limit_in_bytes"),
            ("pids", "pids.max"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
        ] {
            let line = text.lines().find(|line| line.split(':').nth(1) == Some(controller)).expect("a line");
            let inside = line.splitn(3, ':').nth(2).expect("a path");
            let file = format!("/sys/fs/cgroup/{controller}{inside}/{file}");
            values
                .push(fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_owned());
            assert!(inside.ends_with(&path), "{line}");
        }
        case.force_delete(&id);
        // The parent named in the path was the manager's to make, and is its to remove.
        for controller in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            let _ = fs::remove_dir(controller.path().join(path.trim_start_matches('/')).with_file_name(""));
        }
        values
    });
    assert_eq!(seen, ["67108864", "32", "512", "50000"]);
}

#[test]
fn a_container_is_in_its_own_cgroup_of_every_hierarchy() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("sleep 600 & echo ready; wait");
        let id = case.id();
        let path = format!("/{id}-own");
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        let mut running = case.run(&bundle, &id).spawn();
        running.expect_stdout("ready");
        let init = case.state(&id)["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a pid");
        let child = *proc::children_of(init).first().expect("the shell has a child");
        let file = case.dir().join("pid");
        case.cmd(["exec", "--detach", "--pid-file"]).arg(&file).args([&id, "/bin/sleep", "601"]).ok();
        let further = fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
        // Also those without controllers: name=systemd, and version 2 beside version 1.
        let cgroups = |pid: u32| -> Vec<(String, bool)> {
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup file");
            let fields = text.lines().map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>());
            fields.map(|fields| (fields[0].to_owned(), fields[1].ends_with(&path))).collect()
        };
        let seen = [init, child, further].map(cgroups);
        case.force_delete(&id);
        let _ = running.wait();
        case.nothing_left();
        seen
    });
    assert!(seen[0].iter().all(|(_, own)| *own), "{seen:?}");
    assert!(seen[0] == seen[1] && seen[0] == seen[2], "{seen:?}");
}

#[test]
fn a_frozen_cgroup_is_refused_and_so_is_one_with_processes() {
    let seen = agree(|case| {
        let [first, second] = [case.id(), case.id()];
        let bundle = sleeper(case);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{first}-shared")));
        case.start(&bundle, &first);
        let beside = case.cmd(["run", "--detach", "--bundle"]).arg(bundle.dir()).arg(&second).output();
        case.force_delete(&second);
        // What is deleted kills all that are in its cgroup.
        case.force_delete(&first);
        let third = case.id();
        case.start(&bundle, &third);
        case.cmd(["pause", &third]).ok();
        let frozen = case.cmd(["run", "--detach", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
        case.cmd(["resume", &third]).ok();
        case.force_delete(&third);
        let told = beside.stderr.contains("container's cgroup is not empty: 1 process(es) found");
        // An error since runc 1.2.
        assert!(!case.runtime().is_ours() || beside.code == 1, "{}", beside.stderr);
        (told, frozen.code, frozen.stderr.contains("container's cgroup unexpectedly frozen"))
    });
    assert_eq!(seen, (true, 1, true));
}

#[test]
fn a_hook_that_fails_is_named() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc says which since 1.2");
    }
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let bundle = case.busybox();
        bundle.edit(|config| {
            config["hooks"] = json!({ kind: [{ "path": "/bin/true" }, { "path": "/bin/false" }] });
        });
        let output = case.run(&bundle, &case.id()).output();
        assert!(
            output.stderr.contains(&format!("error running {kind} hook #1: ")),
            "{kind}: {}",
            output.stderr
        );
        assert_ne!(output.code, 0, "{kind}");
    }
}

#[test]
fn what_shares_the_hosts_pids_is_killed_whole() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.without_namespace("pid").script("sleep 601 & sleep 602 & wait");
    if !case.runtime().is_ours() {
        skip!("runc does since 1.2");
    }
    let all = |id: &str| -> Vec<u32> {
        serde_json::from_str(&case.cmd(["ps", "--format", "json", id]).ok()).expect("pids")
    };
    let id = case.id();
    case.start(&bundle, &id);
    eventually("all of it runs", || all(&id).len() == 3);
    let pids = all(&id);
    case.cmd(["kill", &id, "KILL"]).ok();
    eventually("all have ended", || !pids.iter().any(|pid| proc::alive(*pid)));
    case.delete(&id);
    // Also when its init went first.
    let pid = case.start(&bundle, &id);
    eventually("all of it runs", || all(&id).len() == 3);
    let pids = all(&id);
    tests::command::send_signal(pid, Signal::KILL);
    case.await_stopped(&id);
    assert!(pids.iter().filter(|pid| proc::alive(**pid)).count() == 2);
    case.cmd(["kill", &id, "KILL"]).ok();
    eventually("all have ended", || !pids.iter().any(|pid| proc::alive(*pid)));
    assert_eq!(case.cmd(["kill", &id, "KILL"]).output().code, 1);
    case.delete(&id);
}
