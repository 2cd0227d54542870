//! Containers of another user than root, side by side with runc's: without a cgroup, with those that were made for the user, with one number of the user's own
//! and with subordinate ones.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use serde_json::json;
use tests::guest::HELLO;
use tests::user::{SUBORDINATE, USER};
use tests::workload::Steps;
use tests::{Bundle, Case, agree, runtime, skip};

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
