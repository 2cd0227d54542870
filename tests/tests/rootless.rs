//! Containers of another user than root, side by side with runc's: without a cgroup, with those that were made for the user, with one number of the user's own
//! and with subordinate ones.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tests::guest::HELLO;
use tests::user::{SUBORDINATE, USER};
use tests::workload::Steps;
use tests::{Bundle, Case, Invocation, agree, runtime, skip};

/// The image of a user's podman.
const IMAGE: &str = "localhost/busybox:1";

/// What a line of standard error says, without the runtime's own form.
fn error(output: &tests::Output) -> String {
    output.error_lines().last().map(|line| (*line).to_owned()).unwrap_or_default()
}

/// A user's bundle with busybox.
fn busybox(case: &Case, script: &str) -> Bundle {
    let bundle = case.busybox();
    bundle.for_user(case).script(script);
    bundle
}

/// All that can be done with a container that has no cgroup.
fn without_cgroups(case: &Case) -> Steps {
    let mut steps = Steps::default();
    let bundle = busybox(case, "id -u; id -g; cat /proc/self/uid_map; echo $PPID; exit 7");
    let out = case.run(&bundle, &case.id()).output();
    steps.expect("exit status", out.code, "7");
    let map = format!("0 {USER} 1");
    let words = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    steps.expect("its user, and whose that is", words, &format!("0 0 {map} 0"));

    let (id, bundle) =
        (case.id(), busybox(case, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"));
    let pid = case.start(&bundle, &id);
    let cgroups = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
    let own = cgroups("self");
    steps.expect("it is where its caller is", cgroups(&pid.to_string()) == own, "true");
    steps.expect("state", case.status(&id), "running");
    let list = case.cmd(["list", "--quiet"]).ok();
    steps.expect("list", list.trim() == id, "true");
    steps.expect("exec", case.cmd(["exec", &id, "id", "-u"]).ok().trim(), "0");
    steps.expect("exit status of exec", case.cmd(["exec", &id, "sh", "-c", "exit 9"]).output().code, "9");
    for verb in ["pause", "resume"] {
        steps.expect(verb, case.cmd([verb, &id]).output().code, "1");
    }
    case.cmd(["kill", &id, "TERM"]).ok();
    case.await_stopped(&id);
    case.delete(&id);
    let (id, bundle) = (case.id(), busybox(case, "sleep 1000"));
    let _ = case.start(&bundle, &id);
    case.force_delete(&id);
    steps.expect("state of what is deleted", case.cmd(["state", &id]).output().code, "1");
    steps
}

#[test]
fn a_container_of_a_user_needs_no_cgroup() {
    let _ = agree(without_cgroups);
}

#[test]
fn limits_and_cgroups_that_a_user_may_not_make_are_refused() {
    let refused = agree(|case| {
        let bundle = busybox(case, "true");
        bundle.edit(|config| config["linux"]["resources"] = json!({ "memory": { "limit": 33_554_432 } }));
        let limit = case.run(&bundle, &case.id()).output();
        let bundle = busybox(case, "true");
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{}x", case.name())));
        let path = case.run(&bundle, &case.id()).output();
        let words =
            ["cannot set memory limit: container could not join or create cgroup", "permission denied"];
        let said = [&limit, &path].map(error);
        let told: Vec<bool> =
            said.iter().zip(words).map(|(line, words)| line.to_lowercase().contains(words)).collect();
        assert_eq!(told, [true, true], "{said:?}");
        (limit.code, path.code)
    });
    assert_eq!(refused, (1, 1));
}

/// Cgroups of version 1 that root makes for the user, in each hierarchy; gone when dropped.
struct Delegated {
    folders: Vec<PathBuf>,
}

impl Delegated {
    fn make(name: &str) -> Self {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let folders = hierarchies.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").exists());
        let delegated = Self { folders: folders.map(|path| path.join(name)).collect() };
        for folder in &delegated.folders {
            let _ = fs::create_dir(folder);
            for file in ["", "cgroup.procs", "tasks"] {
                let path = folder.join(file);
                if path.exists() {
                    chown(path, Some(USER), Some(USER)).expect("chown");
                }
            }
            // A cpuset has no processors and no memory of its own at first.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(text) = fs::read(folder.with_file_name(file)) {
                    fs::write(folder.join(file), text).expect("write");
                }
            }
        }
        delegated
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[test]
fn cgroups_that_were_made_for_the_user_are_used() {
    if !PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
        skip!("cgroup v1 is not there");
    }
    agree(|case| {
        let name = format!("{}own", case.name());
        let delegated = Delegated::make(&name);
        let (id, bundle) = (case.id(), busybox(case, "sleep 1000"));
        bundle.edit(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{name}/{id}"));
            config["linux"]["resources"] =
                json!({ "memory": { "limit": 33_554_432 }, "pids": { "limit": 20 } });
        });
        let _ = case.start(&bundle, &id);
        let limit = |controller: &str, file: &str| {
            fs::read_to_string(format!("/sys/fs/cgroup/{controller}/{name}/{id}/{file}"))
        };
        let limits = [limit("memory", "memory.limit_in_bytes"), limit("pids", "pids.max")];
        assert_eq!(limits.map(|limit| limit.unwrap_or_default().trim().to_owned()), ["33554432", "20"]);
        case.cmd(["pause", &id]).ok();
        assert_eq!(case.status(&id), "paused");
        case.cmd(["resume", &id]).ok();
        case.force_delete(&id);
        drop(delegated);
        case.nothing_left();
    });
}

#[test]
fn subordinate_users_are_mapped_by_newuidmap() {
    if runtime::program("newuidmap").is_none() {
        skip!("newuidmap is not installed (uidmap)");
    }
    agree(|case| {
        let bundle = busybox(case, "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g");
        let (first, count) = SUBORDINATE;
        bundle.edit(|config| {
            let map = json!([
                { "containerID": 0, "hostID": USER, "size": 1 },
                { "containerID": 1, "hostID": first, "size": count },
            ]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            config["process"]["user"] = json!({ "uid": 5, "gid": 6 });
        });
        let out = case.run(&bundle, &case.id()).ok();
        let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
        let map = format!("0 {USER} 1 1 {first} {count}");
        assert_eq!(words, format!("{map} {map} 5 6"));
        bundle.edit(|config| config["process"]["user"]["additionalGids"] = json!([7]));
        let refused = case.run(&bundle, &case.id()).output();
        assert!(refused.code == 1 && refused.stderr.contains("groups"), "{}", refused.stderr);
    });
}

#[test]
fn a_container_of_a_users_that_waits_can_be_executed_in() {
    agree(|case| {
        let (id, bundle) = (case.id(), busybox(case, "true"));
        case.create(&bundle, &id);
        assert_eq!(case.cmd(["exec", &id, "id", "-u"]).ok().trim(), "0");
        assert_eq!(case.status(&id), "created");
        case.force_delete(&id);
    });
}

#[test]
fn who_is_root_in_a_user_namespace_has_states_of_their_own() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("the state that it looks for is in our form");
    }
    case.becomes_a_users();
    let own = case.folder().join("own");
    let state = own.join("rr-runtime/damaged");
    fs::create_dir_all(&state).expect("mkdir");
    fs::write(state.join("state.json"), "{").expect("write");
    let folders = [own.parent().expect("a folder"), &own, &own.join("rr-runtime"), &state];
    for path in folders.into_iter().chain([state.join("state.json").as_path()]) {
        chown(path, Some(USER), Some(USER)).expect("chown");
    }
    // As podman of a user's calls: root by the ids, with the user's environment.
    for (name, theirs) in [("somebody", true), ("root", false)] {
        let state = Invocation::new(case.runtime().path()).args(["state", "damaged"]);
        let out = case.by_user(state.wrapped(["unshare", "--user", "--map-root-user"]));
        let out = out.env("USER", name).env("XDG_RUNTIME_DIR", &own).output();
        assert_eq!(out.stderr.contains(&own.display().to_string()), theirs, "{name}: {out:?}");
    }
}

/// A user's podman, with these arguments.
fn podman(case: &Case, home: &Path, args: &[&str]) -> Invocation {
    let podman = Invocation::new("podman").args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
    let podman =
        podman.args(["--log-level", "error", "--events-backend", "none", "--root"]).arg(home.join("storage"));
    let podman = podman.arg("--runroot").arg(home.join("run")).arg("--tmpdir").arg(home.join("tmp"));
    let podman = podman.arg("--runtime").arg(case.runtime().path()).args(args);
    case.by_user(podman).cwd(home).timeout(Duration::from_secs(60))
}

#[test]
fn a_users_podman_runs_containers_with_it() {
    for program in ["podman", "newuidmap", "tar"] {
        if runtime::program(program).is_none() {
            skip!("{program} is not installed");
        }
    }
    agree(|case| {
        let mut steps = Steps::default();
        let (bundle, home) = (case.busybox(), case.folder());
        case.becomes_a_users();
        chown(&home, Some(USER), Some(USER)).expect("chown");
        let archive = home.join("image.tar");
        Invocation::new("tar").arg("-C").arg(bundle.rootfs()).arg("-cf").arg(&archive).arg(".").ok();
        let podman = |args: &[&str]| podman(case, &home, args);
        podman(&["import", &archive.display().to_string(), IMAGE]).ok();
        let run = |flags: &[&str], words: &[&str]| {
            podman(&["run", "--network", "none"]).args(flags).arg(IMAGE).args(words).output()
        };
        let out = run(&["--rm"], &["sh", "-c", "id -u; exit 7"]);
        steps.expect("run", format!("{} {}", out.stdout.trim(), out.code), "0 7");
        let out = run(&["--detach", "--name", "c"], &["sleep", "1000"]);
        steps.expect("run in the background", out.code, "0");
        case.also_watch(out.stdout.trim());
        steps.expect("exec", podman(&["exec", "c", "id", "-u"]).ok().trim(), "0");
        steps.expect("ps", podman(&["ps", "--format", "{{.Names}}"]).ok().trim(), "c");
        steps.expect("stop", podman(&["stop", "--time", "0", "c"]).output().code, "0");
        steps.expect("rm", podman(&["rm", "c"]).output().code, "0");
        // It leaves a process that holds its user namespace.
        let pause =
            fs::read_to_string(home.join("tmp/pause.pid")).expect("a pid").trim().parse().expect("a pid");
        kill_process(Pid::from_raw(pause).expect("a pid"), Signal::KILL).expect("kill");
        steps
    });
}

#[test]
fn a_users_container_joins_namespaces_of_another_one() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc does since 1.2");
    }
    let (first, bundle) = (case.id(), busybox(&case, "sleep 1000"));
    let pid = case.start(&bundle, &first);
    let other = busybox(&case, "readlink /proc/self/ns/user; readlink /proc/self/ns/pid; id -u");
    other.edit(|config| {
        let linux = config["linux"].as_object_mut().expect("a map");
        for key in ["uidMappings", "gidMappings"] {
            linux.remove(key);
        }
        for namespace in linux["namespaces"].as_array_mut().expect("namespaces") {
            if let Some(kind) = ["user", "pid"].into_iter().find(|kind| namespace["type"] == *kind) {
                namespace["path"] = json!(format!("/proc/{pid}/ns/{kind}"));
            }
        }
    });
    let [user, pids] = ["user", "pid"].map(|kind| {
        let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a link");
        link.display().to_string()
    });
    assert_eq!(case.run(&other, &case.id()).ok(), format!("{user}\n{pids}\n0\n"));
    case.force_delete(&first);
}

#[test]
fn a_ptmx_of_the_hosts_is_not_in_the_way_of_a_users_container() {
    let seen = agree(|case| {
        let bundle = busybox(case, "ls -lLn /dev/ptmx | cut -c 1-10");
        bundle.edit(|config| {
            config["linux"]["devices"] =
                json!([{ "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2 }]);
        });
        let said = case.run(&bundle, &case.id()).output();
        (said.code, error(&said), said.stdout)
    });
    assert_eq!(seen, (0, String::new(), "crw-rw-rw-\n".to_owned()));
}

#[test]
fn a_user_can_run_functions() {
    let Some(case) = Case::wasm_runtime() else { return };
    let bundle = case.wasm(HELLO);
    bundle.for_user(&case).args(["/module.wasm"]);
    for _ in 0..2 {
        assert_eq!(case.run(&bundle, &case.id()).ok(), "hello\n");
    }
    bundle.annotation("io.roadrunner.wasm/aot", "wait");
    assert_eq!(case.run(&bundle, &case.id()).ok(), "hello\n");
}
