//! Faults of libcontainer's published release, each as a bundle that runs under runc and under us and must give the same.
//!
//! Every one of them let a container do more than under runc, or made a bundle fail that runc runs.

mod common;

use std::process::{Command, Stdio};

use common::{Case, Runtime, both, name, possible};
use serde_json::json;

/// Runs the same under both and compares.
#[track_caller]
fn same(case: &Case, act: impl Fn(&Runtime) -> String) -> String {
    case.write();
    let Some([ours, runc]) = both(case) else { return act(&case.ours()) };
    let (ours, runc) = (act(&ours), act(&runc));
    assert_eq!(ours, runc, "ours on the left, runc on the right");
    ours
}

/// What of `/proc/self/status` decides what a process may do.
const RIGHTS: &str = "grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|SigBlk|SigIgn):' /proc/self/status";

fn seccomp() -> serde_json::Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] })
}

fn user_namespace(case: &mut Case) {
    case.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    case.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping);
    // The new root has to be able to walk to its rootfs.
    for folder in [case.folder.path(), &case.bundle(), &case.rootfs()] {
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("permissions");
    }
    std::os::unix::fs::chown(case.rootfs(), Some(100_000), Some(100_000)).expect("chown");
    for sub in ["dev", "proc", "sys", "etc", "home", "tmp"] {
        std::os::unix::fs::chown(case.rootfs().join(sub), Some(100_000), Some(100_000)).expect("chown");
    }
}

/// A case whose init prints its rights, compared.
#[track_caller]
fn rights_of_init(change: impl FnOnce(&mut Case)) -> String {
    let mut case = Case::new(&["sh", "-c", RIGHTS]);
    change(&mut case);
    same(&case, |runtime| runtime.output(&case).ok())
}

/// A case whose init sleeps and whose `exec` prints its rights, compared.
#[track_caller]
fn rights_of_exec(options: &[&str], change: impl FnOnce(&mut Case)) -> String {
    let mut case = Case::new(&["sleep", "100"]);
    change(&mut case);
    let command = [options, &["sh", "-c", RIGHTS]].concat();
    same(&case, |runtime| runtime.detached(&case).exec(&command).ok())
}

#[test]
fn init_has_the_rights_of_the_configuration() {
    if possible() {
        rights_of_init(|_| ());
    }
}

#[test]
fn init_without_capabilities_in_the_configuration_has_none() {
    if possible() {
        let said = rights_of_init(|case| {
            case.set("/process/capabilities", json!(null));
        });
        assert!(said.contains("CapBnd:\t0000000000000000"), "{said}");
    }
}

#[test]
fn a_capability_set_that_is_left_out_is_empty() {
    if possible() {
        rights_of_init(|case| {
            case.set("/process/capabilities", json!({ "bounding": ["CAP_KILL"] }));
        });
    }
}

#[test]
fn init_of_another_user_has_the_rights_of_the_configuration() {
    if possible() {
        rights_of_init(|case| {
            case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        });
    }
}

#[test]
fn groups_of_the_caller_do_not_leak() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sh", "-c", "id -G"]);
    let said = same(&case, |runtime| {
        // The caller is in groups of its own.
        let mut command = Command::new("setpriv");
        command
            .args(["--groups", "4242,4243", "--"])
            .arg(runtime.program())
            .arg("--root")
            .arg(runtime.root());
        command.args(["run", "--bundle"]).arg(case.bundle()).arg(name()).stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().expect("setpriv(1)").stdout).into_owned()
    });
    assert_eq!(said.trim(), "0");
}

#[test]
fn a_filter_works_without_no_new_privileges() {
    if possible() {
        let said = rights_of_init(|case| {
            case.set("/process/noNewPrivileges", json!(false)).set("/linux/seccomp", seccomp());
        });
        assert!(said.contains("Seccomp:\t2") && said.contains("NoNewPrivs:\t0"), "{said}");
    }
}

#[test]
fn exec_keeps_the_filter() {
    if possible() {
        for no_new_privileges in [true, false] {
            let said = rights_of_exec(&[], |case| {
                case.set("/process/noNewPrivileges", json!(no_new_privileges))
                    .set("/linux/seccomp", seccomp());
            });
            assert!(said.contains("Seccomp:\t2"), "{said}");
        }
    }
}

#[test]
fn exec_has_the_user_and_the_groups_of_the_configuration() {
    if possible() {
        let said = rights_of_exec(&[], |case| {
            case.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7, 8] }));
        });
        assert!(said.contains("Uid:\t1000"), "{said}");
    }
}

#[test]
fn exec_of_another_user_and_capability_is_what_runc_makes_of_it() {
    if possible() {
        rights_of_exec(&["--user=5:6", "--additional-gids=9"], |_| ());
        rights_of_exec(&["--cap=CAP_NET_RAW"], |_| ());
        rights_of_exec(&["--cap=CAP_NET_RAW", "--user=5"], |_| ());
        rights_of_exec(&["--no-new-privs"], |case| {
            case.set("/process/noNewPrivileges", json!(false));
        });
    }
}

#[test]
fn exec_has_the_working_directory_the_limits_and_the_environment_of_the_configuration() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sleep", "100"]);
    case.set("/process/cwd", json!("/home"))
        .set("/process/env", json!(["PATH=/bin", "A=1", "A=2", "B=x=y"]))
        .set("/process/rlimits", json!([{ "type": "RLIMIT_FSIZE", "soft": 51_200, "hard": 102_400 }]));
    let said = same(&case, |runtime| {
        let script = "pwd; ulimit -f; ulimit -Hf; env | grep -v -E '^(SHLVL|PWD)=' | sort";
        runtime.detached(&case).exec(&["sh", "-c", script]).ok()
    });
    assert!(said.starts_with("/home\n100\n200\n"), "{said}");
    assert!(said.contains("HOME=/root-home"), "{said}");
}

#[test]
fn exec_joins_the_user_namespace() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sleep", "100"]);
    user_namespace(&mut case);
    let script = format!("cat /proc/self/uid_map; {RIGHTS}");
    let said = same(&case, |runtime| runtime.detached(&case).exec(&["sh", "-c", &script]).ok());
    assert!(said.contains("100000"), "{said}");
}

#[test]
fn exec_with_a_process_file_is_that_process() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sleep", "100"]);
    case.set("/linux/seccomp", seccomp());
    let file = case.folder.path().join("process.json");
    let process = json!({ "user": { "uid": 3, "gid": 4 }, "cwd": "/tmp", "env": ["PATH=/bin", "X=1"],
                          "args": ["sh", "-c", format!("pwd; echo $X; {RIGHTS}")] });
    std::fs::write(&file, process.to_string()).expect("process.json");
    let option = format!("--process={}", file.display());
    let said = same(&case, |runtime| runtime.detached(&case).exec(&[&option]).ok());
    assert!(said.contains("Seccomp:\t2") && said.starts_with("/tmp\n1\n"), "{said}");
}

#[test]
fn descriptors_of_the_runtime_do_not_leak() {
    if !possible() {
        return;
    }
    // The listing's own descriptor is the last one.
    let script = "ls /proc/self/fd | tr '\\n' ' '";
    let case = Case::new(&["sh", "-c", script]);
    same(&case, |runtime| runtime.output(&case).ok());
    let case = Case::new(&["sleep", "100"]);
    same(&case, |runtime| runtime.detached(&case).exec(&["sh", "-c", script]).ok());
}

#[test]
fn signals_are_as_under_runc() {
    if !possible() {
        return;
    }
    let case = Case::new(&["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    let said = same(&case, |runtime| runtime.output(&case).ok());
    let ignored = said.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect("a mask");
    let ignored = u64::from_str_radix(ignored, 16).expect("a mask");
    assert_eq!(ignored & (1 << (13 - 1)), 0, "SIGPIPE is ignored: {said}");
}

#[test]
fn recursive_propagation_is_accepted() {
    if !possible() {
        return;
    }
    for word in ["rprivate", "rslave", "rshared", "private", "slave"] {
        let mut case = Case::new(&[
            "sh",
            "-c",
            "grep ' / / ' /proc/self/mountinfo | grep -o -E '(shared|master):' || echo private",
        ]);
        case.set("/linux/rootfsPropagation", json!(word));
        same(&case, |runtime| runtime.output(&case).ok());
    }
}

#[test]
fn a_missing_working_directory_is_made() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sh", "-c", "pwd; ls -ld . | cut -c1-10"]);
    case.set("/process/cwd", json!("/new/folder")).set("/root/readonly", json!(true));
    same(&case, |runtime| {
        let said = runtime.output(&case).ok();
        std::fs::remove_dir_all(case.rootfs().join("new")).expect("it was made in the rootfs");
        said
    });
}

#[test]
fn devices_that_no_rule_allows_are_denied() {
    if !possible() {
        return;
    }
    let script = "mknod /dev/kmsg c 1 11; cat /dev/kmsg >/dev/null 2>&1 && echo read || echo denied; head -c 1 /dev/zero >/dev/null && echo zero";
    let mut case = Case::new(&["sh", "-c", script]);
    for set in ["bounding", "effective", "permitted"] {
        case.set(
            &format!("/process/capabilities/{set}"),
            json!(["CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"]),
        );
    }
    case.set("/process/capabilities/ambient", json!([])).set("/process/capabilities/inheritable", json!([]));
    for resources in [json!({}), json!(null)] {
        case.set("/linux/resources", resources);
        let said = same(&case, |runtime| runtime.output(&case).out);
        assert_eq!(said, "denied\nzero\n");
    }
}

#[test]
fn the_umask_of_the_caller_does_not_leak() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sh", "-c", "umask"]);
    same(&case, |runtime| {
        let mut command = Command::new("sh");
        let script = "umask 077; exec \"$0\" --root \"$1\" run --bundle \"$2\" \"$3\"";
        command
            .args(["-c", script])
            .arg(runtime.program())
            .arg(runtime.root())
            .arg(case.bundle())
            .arg(name())
            .stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().expect("sh").stdout).into_owned()
    });
}

#[test]
fn the_cgroup_of_the_caller_bounds_the_container() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sh", "-c", "cat /proc/self/cgroup"]);
    same(&case, |runtime| {
        let said = runtime.output(&case).ok();
        // The container's own name is the last part.
        let parent =
            |line: &str| line.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
        let memory = said.lines().find(|line| line.contains(":memory:") || line.starts_with("0::"));
        memory.map(parent).unwrap_or_default()
    });
}

#[test]
fn a_container_has_a_session_keyring_of_its_own() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&[]);
    let Some(runtimes) = both(&case) else { return };
    for runtime in runtimes {
        let id = name();
        case.set("/process/args", json!(["grep", "-c", format!("_ses.{id}$\\|_ses.{id}:"), "/proc/keys"]));
        case.write();
        let output = runtime.run(&["run", "--bundle", &case.bundle().to_string_lossy(), &id]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{runtime:?}");
    }
}

#[test]
fn limits_and_scores_of_the_configuration_hold() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    case.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]))
        .set("/process/oomScoreAdj", json!(100));
    same(&case, |runtime| runtime.output(&case).ok());
}

#[test]
fn a_missing_path_and_home_are_filled_in_as_under_runc() {
    if !possible() {
        return;
    }
    let mut case = Case::new(&["/bin/sh", "-c", "/bin/env | /bin/grep -v -E '^(SHLVL|PWD)=' | /bin/sort"]);
    case.set("/process/env", json!(["X=1"]));
    for uid in [0, 1000, 77] {
        case.set("/process/user", json!({ "uid": uid, "gid": 0 }));
        same(&case, |runtime| runtime.output(&case).ok());
    }
    case.set("/process/env", json!([])).set("/process/args", json!(["sh"]));
    same(&case, |runtime| format!("{:?}", runtime.output(&case).code));
}

#[test]
fn programs_that_cannot_run_fail_in_the_same_words() {
    if !possible() {
        return;
    }
    let case = Case::new(&[]);
    std::fs::write(case.rootfs().join("plain"), "x").expect("a file");
    std::fs::write(case.rootfs().join("bin/no-format"), "echo").expect("a file");
    std::fs::set_permissions(
        case.rootfs().join("bin/no-format"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("mode");
    for program in ["nope", "/nope", "/bin", "/plain", "/bin/no-format", "/plain/x"] {
        let mut case_of = Case::new(&[program]);
        std::fs::copy(case.rootfs().join("plain"), case_of.rootfs().join("plain")).expect("a file");
        std::fs::copy(case.rootfs().join("bin/no-format"), case_of.rootfs().join("bin/no-format"))
            .expect("a file");
        let words = |err: &str| err.split("exec").last().unwrap_or_default().to_owned();
        same(&case_of, |runtime| {
            let said = runtime.output(&case_of);
            format!("{:?} {}", said.code, words(&said.err))
        });
        case_of.set("/process/args", json!(["sleep", "100"]));
        same(&case_of, |runtime| {
            let said = runtime.detached(&case_of).exec(&[program]);
            format!("{:?} {}", said.code, words(&said.err))
        });
    }
}

#[test]
fn exec_of_another_user_has_that_users_home() {
    if !possible() {
        return;
    }
    let case = Case::new(&["sleep", "100"]);
    let said =
        same(&case, |runtime| runtime.detached(&case).exec(&["--user=1000", "sh", "-c", "echo $HOME"]).ok());
    assert_eq!(said, "/home\n");
}
