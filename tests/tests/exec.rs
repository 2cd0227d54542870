//! `exec`: a further process in a container that runs. It must be confined as init is: same namespaces, user,
//! capabilities, seccomp and cgroup, under the runtime under test and under runc.

use std::fs;
use std::path::Path;

use serde_json::json;
use tests::command::eventually;
use tests::console::{ConsoleSocket, Terminal};
use tests::{Bundle, Case, agree, proc, skip};

const STATUS: &str = "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Umask):' /proc/self/status";

/// A running container that sleeps, after `change`.
fn sleeping(case: &Case, change: impl Fn(&Bundle)) -> (Bundle, String, u32) {
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    change(&bundle);
    let id = case.id();
    let pid = case.start(&bundle, &id);
    (bundle, id, pid)
}

/// Runs `exec FLAGS ID sh -c SCRIPT` in a container that was changed by `change`.
fn exec(change: impl Fn(&Bundle), flags: &[&str], script: &str) -> (i32, String) {
    agree(|case| {
        let (_bundle, id, _) = sleeping(case, &change);
        let out = case.cmd(["exec"]).args(flags).args([&id, "/bin/sh", "-c", script]).output();
        case.force_delete(&id);
        if out.code != 0 {
            println!("{}: {}", case.runtime().name(), out.stderr);
        }
        (out.code, out.stdout)
    })
}

fn fact(text: &str, key: &str) -> String {
    proc::parse_status(text).remove(key).unwrap_or_else(|| panic!("no {key} in {text}"))
}

#[test]
fn it_gives_the_exit_status_and_the_streams() {
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let seen = agree(|case| {
            let (_bundle, id, _) = sleeping(case, |_| {});
            let script = format!("cat; echo err >&2; {script}");
            let out = case.cmd(["exec", &id, "/bin/sh", "-c", &script]).stdin("in\n").piped().output();
            case.force_delete(&id);
            assert!(out.closed, "somebody still holds the pipes");
            (out.code, out.stdout, out.stderr)
        });
        assert_eq!(seen, (code, "in\n".to_owned(), "err\n".to_owned()), "{script}");
    }
}

#[test]
fn it_joins_every_namespace() {
    agree(|case| {
        let (_bundle, id, pid) = sleeping(case, |_| {});
        let kinds = ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup"];
        let script = "for kind in pid net ipc uts mnt user cgroup; do readlink /proc/self/ns/$kind; done";
        let inside = case.cmd(["exec", &id, "/bin/sh", "-c", script]).ok();
        let init: Vec<_> = kinds
            .iter()
            .map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a link"))
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        case.force_delete(&id);
        assert_eq!(inside.lines().collect::<Vec<_>>(), init);
    });
}

#[test]
fn it_is_confined_as_the_spec_says() {
    let (_, text) = exec(
        |bundle| {
            bundle.edit(|config| {
                config["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7] });
            });
        },
        &[],
        STATUS,
    );
    assert_eq!(fact(&text, "Uid"), "1000 1000 1000 1000");
    assert_eq!(fact(&text, "Gid"), "1001 1001 1001 1001");
    assert_eq!(fact(&text, "Groups"), "7");
    assert_eq!(fact(&text, "CapEff"), "0000000000000000");
    assert_eq!(fact(&text, "NoNewPrivs"), "1");
    let (_, text) = exec(|_| {}, &[], STATUS);
    assert_eq!(fact(&text, "CapEff"), "0000000020000420");
    assert_eq!(fact(&text, "CapBnd"), "0000000020000420");
}

#[test]
fn without_capabilities_in_the_spec_it_has_none() {
    let (_, text) = exec(
        |bundle| {
            bundle.edit(|config| {
                drop(config["process"].as_object_mut().expect("an object").remove("capabilities"))
            });
        },
        &[],
        STATUS,
    );
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(fact(&text, set), "0000000000000000", "{set}");
    }
}

#[test]
fn seccomp_holds() {
    for no_new_privileges in [true, false] {
        let (code, text) = exec(
            |bundle| {
                bundle.edit(|config| {
                    config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                    config["linux"]["seccomp"] = json!({
                        "defaultAction": "SCMP_ACT_ALLOW",
                        "architectures": ["SCMP_ARCH_X86_64"],
                        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
                    });
                });
            },
            &[],
            "grep ^Seccomp: /proc/self/status; mkdir /tmp/x 2>&1",
        );
        assert_eq!(code, 1);
        assert!(text.starts_with("Seccomp:\t2") && text.contains("not supported"), "{text}");
    }
}

#[test]
fn it_stays_in_the_user_namespace() {
    let (_, text) = exec(
        |bundle| {
            bundle.user_namespace();
        },
        &[],
        &format!("tr -s ' ' </proc/self/uid_map; {STATUS}"),
    );
    assert!(text.contains("0 100000 65536"), "{text}");
}

#[test]
fn resource_limits_are_the_specs() {
    let (_, text) = exec(
        |bundle| {
            bundle.edit(|config| {
                config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
            });
        },
        &[],
        // Not the soft limit: of runc 1.1 it is sometimes the hard one, which Go's own start-up sets.
        "ulimit -Hn",
    );
    assert_eq!(text, "200\n");
}

#[test]
fn environment_and_working_directory_are_the_specs_or_the_flags() {
    let change = |bundle: &Bundle| {
        bundle.env("A=spec").env("B=spec").edit(|config| config["process"]["cwd"] = json!("/tmp"));
    };
    let (_, text) = exec(change, &[], "pwd; echo $A $B $HOME");
    assert_eq!(text, "/tmp\nspec spec /\n");
    let (_, text) =
        exec(change, &["--cwd", "/dev", "--env", "A=flag", "--env", "C=flag"], "pwd; echo $A $B $C");
    assert_eq!(text, "/dev\nflag spec flag\n");
}

#[test]
fn flags_choose_user_groups_and_capabilities() {
    let (_, text) = exec(|_| {}, &["--user", "1234:2345"], STATUS);
    assert_eq!(fact(&text, "Uid"), "1234 1234 1234 1234");
    assert_eq!(fact(&text, "Gid"), "2345 2345 2345 2345");
    assert_eq!(fact(&text, "CapEff"), "0000000000000000");
    let (_, text) = exec(|_| {}, &["-u", "1234", "-g", "55", "-g", "66"], STATUS);
    assert_eq!(fact(&text, "Groups"), "55 66");
    let (_, text) = exec(|_| {}, &["--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_CHROOT"], STATUS);
    assert_ne!(fact(&text, "CapEff"), "0000000020000420");
    let (_, text) = exec(|_| {}, &["--cap", "CAP_UNKNOWN", "--cap", "CAP_SYS_CHROOT"], STATUS);
    assert_eq!(fact(&text, "CapEff"), "0000000020040420");
    let allow = |bundle: &Bundle| {
        bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    };
    let (_, text) = exec(allow, &[], STATUS);
    assert_eq!(fact(&text, "NoNewPrivs"), "0");
    let (_, text) = exec(allow, &["--no-new-privs"], STATUS);
    assert_eq!(fact(&text, "NoNewPrivs"), "1");
}

#[test]
fn a_label_needs_selinux() {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        skip!("SELinux is there");
    }
    let seen = agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let out = case.cmd(["exec", "--process-label", "a:b:c:d", &id, "/bin/true"]).output();
        case.force_delete(&id);
        (out.code, out.stderr.contains("selinux is disabled or not supported"))
    });
    assert_eq!(seen, (255, true));
}

#[test]
fn a_process_file_says_all() {
    let seen = agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let file = case.dir().join("process.json");
        let process = json!({
            "user": { "uid": 77, "gid": 88, "additionalGids": [99] },
            "args": ["/bin/sh", "-c", format!("pwd; echo $X; {STATUS}; exit 6")],
            "env": ["PATH=/bin", "X=file"],
            "cwd": "/tmp",
            "capabilities": { "bounding": ["CAP_KILL"] },
            "noNewPrivileges": false,
        });
        fs::write(&file, process.to_string()).expect("write");
        let out = case.cmd(["exec", "--process"]).arg(&file).arg(&id).output();
        let short = case.cmd(["exec", "-p"]).arg(&file).arg(&id).output();
        assert_eq!((out.code, &out.stdout), (short.code, &short.stdout));
        case.force_delete(&id);
        (out.code, out.stdout)
    });
    assert_eq!(seen.0, 6);
    assert!(seen.1.starts_with("/tmp\nfile\n"), "{seen:?}");
    assert_eq!(fact(&seen.1, "Groups"), "99");
    assert_eq!(fact(&seen.1, "CapBnd"), "0000000000000020");
}

#[test]
fn detached_it_returns_and_writes_the_pid_file() {
    agree(|case| {
        let (_bundle, id, init) = sleeping(case, |_| {});
        let file = case.dir().join("pid");
        case.cmd(["exec", "--detach", "--pid-file"]).arg(&file).args([&id, "/bin/sleep", "601"]).ok();
        let pid: u32 = fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
        eventually("it has become the program", || proc::cmdline(pid) == ["/bin/sleep", "601"]);
        let cgroups = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
        assert_eq!(cgroups(pid), cgroups(init));
        let listed: Vec<u32> =
            serde_json::from_str(&case.cmd(["ps", "-f", "json", &id]).ok()).expect("a list of pids");
        assert!(listed.contains(&pid), "{listed:?}");
        case.force_delete(&id);
        eventually("it died with its container", || {
            tests::command::reap_orphans();
            !proc::alive(pid)
        });
    });
}

#[test]
fn many_leave_nothing_behind() {
    agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let state = || {
            let mut names: Vec<_> = fs::read_dir(case.root().join(&id))
                .expect("a state folder")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        let before = state();
        for _ in 0..5 {
            case.cmd(["exec", &id, "/bin/true"]).ok();
            assert_ne!(case.cmd(["exec", &id, "/nonexistent"]).output().code, 0);
        }
        assert_eq!(state(), before);
        assert_eq!(case.cmd(["ps", "-f", "json", &id]).ok().matches(',').count(), 0);
        case.force_delete(&id);
    });
}

#[test]
fn its_terminal_comes_over_the_console_socket() {
    agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let socket = ConsoleSocket::bind(case.dir());
        let pid_file = case.dir().join("pid");
        case.cmd(["exec", "--tty", "--detach", "--console-socket"])
            .arg(socket.path())
            .arg("--pid-file")
            .arg(&pid_file)
            .args([&id, "/bin/sh", "-c", "tty; test -t 0 && echo terminal; read x; echo got $x; exit 8"])
            .ok();
        let mut terminal = socket.receive();
        terminal.expect("terminal");
        terminal.send("typed\n");
        terminal.expect("got typed");
        let pid = fs::read_to_string(pid_file).expect("a pid").parse().expect("a number");
        assert_eq!(case.exit_status(pid), 8);
        drop(socket);
        case.force_delete(&id);
    });
}

#[test]
fn its_failures_have_runcs_status() {
    let seen = agree(|case| {
        let (bundle, id, _) = sleeping(case, |_| {});
        bundle.file("/plain", "no program").file("/folder/x", "");
        let mut codes = Vec::new();
        for args in [
            &["/nonexistent"][..],
            &["nosuch"],
            &["/folder"],
            &["/plain"],
            &["--cwd", "relative", "/bin/true"],
            &["--user", "nobody-of-that-name", "/bin/true"],
            &["--user", "-1", "/bin/true"],
            &["--process", "/nonexistent.json"],
        ] {
            // Flags go before the id, the command after it.
            let at = if args[0] == "--process" { 2 } else { args.len() - 1 };
            let out = case.cmd(["exec"]).args(&args[..at]).arg(&id).args(&args[at..]).output();
            if case.runtime().is_ours() {
                assert_eq!(out.error_lines().len(), 1, "{args:?}: {}", out.stderr);
            }
            codes.push((args.join(" "), out.code));
        }
        let none = case.cmd(["exec", &id]).output();
        codes.push(("no command".to_owned(), none.code));
        case.force_delete(&id);
        codes
    });
    let accepted: Vec<_> = seen.iter().filter(|(_, code)| *code == 0).collect();
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[test]
fn descriptors_are_preserved_when_asked_and_closed_else() {
    let seen = agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let open = ["sh", "-c", "exec 3</etc/hostname 4</etc/hostname 5</etc/hostname; exec \"$@\"", "sh"];
        let closed = case.cmd(["exec", &id, "/bin/ls", "/proc/self/fd"]).wrapped(open).ok();
        let kept =
            case.cmd(["exec", "--preserve-fds", "2", &id, "/bin/ls", "/proc/self/fd"]).wrapped(open).ok();
        case.force_delete(&id);
        (closed, kept)
    });
    assert_eq!(seen.0, "0\n1\n2\n3\n");
    assert_eq!(seen.1, "0\n1\n2\n3\n4\n5\n");
}

#[test]
fn a_created_container_takes_exec_before_start() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        let id = case.id();
        case.create(&bundle, &id);
        let out = case.cmd(["exec", &id, "/bin/echo", "early"]).output();
        case.force_delete(&id);
        (out.code, out.stdout)
    });
    assert_eq!(seen, (0, "early\n".to_owned()));
}

#[test]
fn it_runs_in_a_cgroup_below_when_asked() {
    let seen = agree(|case| {
        let (_bundle, id, pid) = sleeping(case, |_| {});
        let missing = case.cmd(["exec", "--cgroup", "nosuch", &id, "/bin/true"]).output().code;
        let outside = case.cmd(["exec", "--cgroup", "../nosuch", &id, "/bin/true"]).output().code;
        // Folders of a process's own cgroups, one a hierarchy.
        let own = |pid: u32| -> Vec<std::path::PathBuf> {
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup file");
            let folder = |line: &str| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (names, path) = (fields.next()?.trim_start_matches("name="), fields.next()?);
                let base = std::path::Path::new("/sys/fs/cgroup");
                let second =
                    Some(base.join("unified")).filter(|unified| names.is_empty() && unified.is_dir());
                let mounted = second.unwrap_or_else(|| base.join(names));
                Some(mounted.join(path.trim_start_matches('/')))
                    .filter(|own| path.contains(&id) && own.is_dir())
            };
            text.lines().filter_map(folder).collect()
        };
        // As a manager would delegate it.
        for folder in own(pid) {
            fs::create_dir(folder.join("inner")).expect("a cgroup below");
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(text) = fs::read(folder.join(file)) {
                    fs::write(folder.join("inner").join(file), text).expect("a cpuset");
                }
            }
        }
        let file = case.dir().join("pid");
        case.cmd(["exec", "--cgroup", "inner", "--detach", "--pid-file"])
            .arg(&file)
            .args([&id, "/bin/sleep", "601"])
            .ok();
        let executed: u32 = fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
        let folders = own(executed);
        case.force_delete(&id);
        (missing, outside, !folders.is_empty() && folders.iter().all(|folder| folder.ends_with("inner")))
    });
    assert_eq!(seen, (255, 255, true));
}

#[test]
fn it_runs_in_cgroups_of_single_controllers_when_asked() {
    if !std::path::Path::new("/sys/fs/cgroup/memory").is_dir() {
        tests::announce_skip("only version 1 of cgroups has a hierarchy for each controller");
        return;
    }
    let seen = agree(|case| {
        let (_bundle, id, pid) = sleeping(case, |_| {});
        let path = |pid: u32, controller: &str| -> String {
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup file");
            let mut lines = text.lines().map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>());
            let line = lines.find(|fields| fields[0].split(',').any(|name| name == controller));
            line.expect("a controller")[1].to_owned()
        };
        for (controller, below) in [("memory", "one"), ("pids", "two")] {
            let folder = format!("/sys/fs/cgroup/{controller}{}/{below}", path(pid, controller));
            fs::create_dir(folder).expect("a cgroup below");
        }
        let file = case.dir().join("pid");
        case.cmd(["exec", "--cgroup", "memory:one", "--cgroup", "pids:/two", "--detach", "--pid-file"])
            .arg(&file)
            .args([&id, "/bin/sleep", "601"])
            .ok();
        let executed: u32 = fs::read_to_string(&file).expect("a pid file").parse().expect("a number");
        let joined = ["memory", "pids", "freezer"].map(|controller| {
            let [theirs, own] = [executed, pid].map(|pid| path(pid, controller));
            theirs.strip_prefix(&own).map(str::to_owned)
        });
        let refused = |cgroups: &[&str]| {
            let flags = cgroups.iter().flat_map(|cgroup| ["--cgroup", *cgroup]);
            case.cmd(["exec"]).args(flags).args([&id, "/bin/true"]).output()
        };
        let words = [
            (vec![".."], ".. is not a sub cgroup path"),
            (vec!["memory:one/../.."], "is not a sub cgroup path"),
            (vec!["nosuch"], "/nosuch/cgroup.procs: no such file"),
            (vec!["memory:nosuch"], "/nosuch/cgroup.procs: no such file"),
            (vec!["nosuch:/"], "unknown controller nosuch"),
            (vec!["one", "two"], "invalid --cgroup argument: one (missing <controller>: prefix)"),
            (vec!["a:b:c"], "invalid --cgroup argument: a:b:c"),
        ]
        .map(|(cgroups, words)| {
            let out = refused(&cgroups);
            (cgroups, out.code, out.stderr.contains(words))
        });
        case.force_delete(&id);
        (joined, words)
    });
    let joined = seen.0.each_ref().map(Option::as_deref);
    assert_eq!(joined, [Some("/one"), Some("/two"), Some("")]);
    assert!(seen.1.iter().all(|(_, code, told)| *code == 255 && *told), "{:?}", seen.1);
}

#[test]
fn a_profile_that_is_not_there_is_an_error() {
    let seen = agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let out = case.cmd(["exec", "--apparmor", "no-such-profile", &id, "/bin/echo", "ran"]).output();
        case.force_delete(&id);
        (out.code, out.stdout)
    });
    if std::path::Path::new("/sys/module/apparmor").exists() {
        assert_eq!(seen, (255, String::new()));
    } else {
        // Without AppArmor in the kernel there is no profile to be under; runc says so, too.
        assert_eq!(seen.1, if seen.0 == 0 { "ran\n" } else { "" });
    }
}

#[test]
fn in_the_foreground_its_terminal_is_passed_through() {
    let seen = agree(|case| {
        let (_bundle, id, _) = sleeping(case, |_| {});
        let (mut terminal, slave) = Terminal::pair();
        terminal.resize(24, 91);
        let script =
            "until stty size 2>/dev/null | grep 91; do sleep 0.02; done; read x; echo got $x; exit 9";
        let exec = case.cmd(["exec", "--tty", &id, "/bin/sh", "-c", script]).terminal(slave).spawn();
        terminal.expect("24 91");
        terminal.resize(31, 92);
        terminal.send("typed\r");
        terminal.expect("got typed");
        let code = exec.wait().code;
        case.force_delete(&id);
        code
    });
    assert_eq!(seen, 9);
}

#[test]
fn two_terminals_of_one_container_are_two() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| config["process"]["terminal"] = json!(true));
        bundle.script("echo first; read x; echo got $x");
        let id = case.id();
        let (mut first, slave) = Terminal::pair();
        let run = case.run(&bundle, &id).terminal(slave).spawn();
        first.expect("first");
        let (mut second, slave) = Terminal::pair();
        let exec = case.cmd(["exec", "-t", &id, "/bin/sh", "-c", "tty; sleep 600"]).terminal(slave).spawn();
        second.expect("/dev/pts/1");
        // The interrupt of one terminal is that one's alone.
        second.send("\u{3}");
        let interrupted = exec.wait().code;
        first.send("typed\r");
        first.expect("got typed");
        (interrupted, run.wait().code)
    });
    assert_eq!(seen, (130, 0));
}

#[test]
fn options_may_follow_the_id() {
    let case = Case::ours();
    let (_bundle, id, _) = sleeping(&case, |_| {});
    if case.runtime().is_ours() {
        // To runc what follows the id is the command. What follows the command is so to both.
        assert_eq!(case.cmd(["exec", &id, "--cwd", "/tmp", "--env", "A=b", "/bin/pwd"]).ok(), "/tmp\n");
    }
    assert_eq!(case.cmd(["exec", &id, "/bin/echo", "--cwd", "/tmp", "-d"]).ok(), "--cwd /tmp -d\n");
    case.cmd(["delete", &id, "--force"]).ok();
    let bundle = case.busybox();
    case.cmd(["run", &case.id(), "--bundle"]).arg(bundle.dir()).ok();
}

/// Without a `cgroupsPath` a container is below its caller's cgroup. Whoever calls later, from wherever, joins it there.
#[test]
fn a_further_process_is_in_the_containers_cgroup_whoever_calls() {
    const HIERARCHIES: [&str; 3] = ["cpu", "freezer", "pids"];
    let mount = |hierarchy: &str| Path::new("/sys/fs/cgroup").join(hierarchy);
    if HIERARCHIES.iter().any(|hierarchy| !mount(hierarchy).is_dir()) {
        skip!("this host has no cgroup version 1, where a caller may be in several places at once");
    }
    agree(|case| {
        let (_bundle, id, pid) = sleeping(case, |_| {});
        let elsewhere = case.id();
        for hierarchy in HIERARCHIES {
            fs::create_dir(mount(hierarchy).join(&elsewhere)).expect("a cgroup");
        }
        let script = format!(
            "for one in {}; do echo $$ > /sys/fs/cgroup/$one/{elsewhere}/cgroup.procs; done; exec \"$@\"",
            HIERARCHIES.join(" ")
        );
        let exec = case.cmd(["exec", &id, "/bin/cat", "/proc/self/cgroup"]);
        let joined = exec.wrapped(["/bin/sh", "-c", &script, "sh"]).ok();
        assert_eq!(joined, fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups"));
        case.force_delete(&id);
        for hierarchy in HIERARCHIES {
            fs::remove_dir(mount(hierarchy).join(&elsewhere)).expect("nothing is left in it");
        }
    });
}
