//! Limits that are changed while a container runs, and what it is said to use, under the runtime under test and under runc.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::command::eventually;
use tests::{Bundle, Case, agree, skip};

/// A bundle that sleeps, with some limits from the beginning.
fn sleeper(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    bundle.edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 33_554_432, "reservation": 25_165_824});
        config["linux"]["resources"]["cpu"] = json!({"shares": 100, "quota": 500_000, "period": 1_000_000});
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
    });
    bundle
}

/// What a file of a process's cgroups says, whichever controller's it is; nothing where there is none.
fn limit(pid: u32, file: &str) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let found = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let mounts = controllers.split(',').chain([controllers]);
        let folders = mounts.map(|name| format!("/sys/fs/cgroup/{name}{path}/{file}"));
        folders.into_iter().find(|path| Path::new(path).exists())
    });
    found.map(|path| fs::read_to_string(path).expect("a file of a cgroup").trim().to_owned())
}

/// All limits that `update` knows, in either version of cgroups.
fn limits(pid: u32) -> Vec<(&'static str, String)> {
    const FILES: [&str; 20] = [
        "memory.limit_in_bytes",
        "memory.soft_limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.max",
        "memory.low",
        "memory.swap.max",
        "cpu.shares",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.cfs_burst_us",
        "cpu.idle",
        "cpu.weight",
        "cpu.max",
        "cpu.max.burst",
        "cpuset.cpus",
        "cpuset.mems",
        "pids.max",
        "blkio.weight",
        "blkio.bfq.weight",
        "io.weight",
    ];
    FILES.into_iter().filter_map(|file| Some((file, limit(pid, file)?))).collect()
}

/// The limits after each of these updates: words, and what is read from standard input.
fn after(updates: &[(&[&str], &str)]) -> Vec<(i32, Vec<(&'static str, String)>)> {
    agree(|case| {
        let id = case.id();
        let pid = case.start(&sleeper(case), &id);
        let update = |(words, input): &(&[&str], &str)| {
            let command = case.cmd(["update"]).args(*words).arg(&id).stdin(*input);
            let out = command.output();
            (out.code, limits(pid))
        };
        let all = updates.iter().map(update).collect();
        case.force_delete(&id);
        all
    })
}

fn value<'a>(limits: &'a [(&str, String)], file: &str) -> Option<&'a str> {
    limits.iter().find(|(name, _)| *name == file).map(|(_, value)| value.as_str())
}

#[test]
fn nobody_may_use_a_device_that_was_not_asked_for() {
    if !Path::new("/sys/fs/cgroup/devices").exists() {
        skip!(
            "this host has no cgroup version 1 for devices; of version 2 nobody can read what is permitted"
        );
    }
    let lines = agree(|case| {
        let bundle = sleeper(case);
        bundle.edit(|config| {
            config["linux"]["resources"]["devices"] = json!([
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
            ]);
        });
        let id = case.id();
        let permitted = limit(case.start(&bundle, &id), "devices.list").expect("a list");
        case.force_delete(&id);
        permitted.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    });
    assert!(lines.contains("c 10:229 rw"), "{lines:?}");
}

#[test]
fn each_flag_changes_its_limit_and_no_other() {
    let all = after(&[
        (&["--memory", "67108864"], ""),
        (&["--memory", "50M"], ""),
        (&["--memory-reservation", "33554432"], ""),
        (&["--cpu-share", "200"], ""),
        (&["--cpu-quota", "600000"], ""),
        (&["--cpu-period", "900000"], ""),
        (&["--cpu-quota", "-1"], ""),
        (&["--cpuset-cpus", "0"], ""),
        (&["--cpuset-mems", "0"], ""),
        (&["--pids-limit", "10"], ""),
        (&["--pids-limit", "-1"], ""),
        (&["--memory", "-1"], ""),
    ]);
    assert!(all.iter().all(|(code, _)| *code == 0), "{all:?}");
    let memory = ["memory.limit_in_bytes", "memory.max"];
    let [first, second] = [0, 1].map(|index| memory.iter().find_map(|file| value(&all[index].1, file)));
    assert_eq!((first, second), (Some("67108864"), Some("52428800")));
    assert_eq!(value(&all[9].1, "pids.max"), Some("10"));
    assert_eq!(value(&all[11].1, "pids.max"), Some("max"));
}

#[test]
fn limits_come_from_a_file_too() {
    let back = r#"{"memory": {"limit": 33554432, "reservation": 25165824},
        "cpu": {"shares": 100, "quota": 500000, "period": 1000000, "cpus": "0"}, "pids": {"limit": 20}}"#;
    let all = after(&[
        (&["--memory", "40M", "--pids-limit", "9", "--cpu-share", "300"], ""),
        (&["-r", "-"], back),
        // Whoever gives a file gives all of it.
        (&["--pids-limit", "5", "--resources", "-"], "{}"),
        (&["-r", "-"], "no JSON"),
        (&["-r", "/nonexistent"], ""),
    ]);
    assert_eq!(all.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [0, 0, 0, 1, 1]);
    assert_eq!(value(&all[1].1, "pids.max"), Some("20"));
    assert_eq!(all[2].1, all[1].1);
}

#[test]
fn what_the_kernel_refuses_leaves_all_as_it_was() {
    let all = after(&[
        (&["--pids-limit", "7", "--cpu-quota", "5"], ""),
        (&["--pids-limit", "7", "--cpuset-cpus", "9999"], ""),
        (&["--memory", "4K", "--cpu-period", "1"], ""),
    ]);
    for (code, limits) in &all {
        assert_eq!((*code, value(limits, "pids.max")), (1, Some("20")), "{limits:?}");
    }
}

#[test]
fn only_a_container_that_is_there_and_not_stopped_has_limits() {
    let seen = agree(|case| {
        let id = case.id();
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        let missing = case.cmd(["update", "--pids-limit", "5", "nosuch"]).output();
        let pid = case.create(&bundle, &id);
        let created = case.cmd(["update", "--pids-limit", "5", &id]).output().code;
        let limit = limit(pid, "pids.max");
        case.cmd(["start", &id]).ok();
        case.await_stopped(&id);
        let stopped = case.cmd(["update", "--pids-limit", "6", &id]).output();
        case.delete(&id);
        let bare = case.cmd(["update"]).output().code;
        (missing.code, created, limit, stopped.code, stopped.stderr.contains("container not running"), bare)
    });
    assert_eq!(seen, (1, 0, Some("5".to_owned()), 1, true, 1));
}

#[test]
fn a_paused_container_has_its_limits_changed() {
    let seen = agree(|case| {
        let id = case.id();
        let pid = case.start(&sleeper(case), &id);
        case.cmd(["pause", &id]).ok();
        case.cmd(["update", "--pids-limit", "30", &id]).ok();
        let seen = (case.status(&id), limit(pid, "pids.max"));
        case.cmd(["resume", &id]).ok();
        case.force_delete(&id);
        seen
    });
    assert_eq!(seen, ("paused".to_owned(), Some("30".to_owned())));
}

/// Paths of all values of a JSON document; of a list, those of its first element.
fn paths(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| paths(value, &format!("{path}.{key}"), all))
        }
        Value::Array(list) => list.iter().take(1).for_each(|value| paths(value, &format!("{path}[]"), all)),
        _ => drop(all.insert(path.to_owned())),
    }
}

#[test]
fn what_a_container_uses_has_runcs_form() {
    let seen = agree(|case| {
        let id = case.id();
        case.start(&sleeper(case), &id);
        let text = case.cmd(["events", "--stats", &id]).ok();
        let event: Value = serde_json::from_str(&text).expect("one line of JSON");
        case.force_delete(&id);
        assert_eq!((event["type"].as_str(), event["id"].as_str()), (Some("stats"), Some(id.as_str())));
        let data = &event["data"];
        assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{data}");
        assert_eq!((&data["pids"]["current"], &data["pids"]["limit"]), (&json!(1), &json!(20)));
        assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
        let mut all = BTreeSet::new();
        paths(&event, "", &mut all);
        // Numbers that are left out where they are 0, which they may be here and not there.
        let may_be_zero = [".usage", ".max", ".cache", ".throttled", ".periods", "io"];
        all.retain(|path| {
            path.starts_with(".data.memory.raw") || !may_be_zero.iter().any(|part| path.contains(part))
        });
        all
    });
    assert!(
        seen.contains(".data.cpuset.cpus[]") && seen.contains(".data.memory.usage.failcnt")
            || seen.len() > 20
    );
}

#[test]
fn events_come_until_the_container_has_ended() {
    let seen = agree(|case| {
        let id = case.id();
        case.start(&sleeper(case), &id);
        let events = case.cmd(["events", "--interval", "100ms", &id]).spawn();
        eventually("three events", || events.stdout().lines().count() >= 3);
        case.cmd(["kill", &id, "KILL"]).ok();
        case.await_stopped(&id);
        let stopped = case.cmd(["events", "--stats", &id]).output();
        // runc's go on until then.
        case.delete(&id);
        let out = events.wait();
        let zero = case.cmd(["events", "--interval", "0", &id]).output();
        let kinds: BTreeSet<String> = out
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].to_string())
            .collect();
        (kinds, out.code, stopped.code, stopped.stderr.contains("is not running"), zero.code)
    });
    assert_eq!(seen, (BTreeSet::from(["\"stats\"".to_owned()]), 0, 1, true, 1));
}

#[test]
fn a_container_that_ran_out_of_memory_is_told_of() {
    let seen = agree(|case| {
        let id = case.id();
        let bundle = case.busybox();
        // tail keeps what has no end of a line.
        bundle.script("read go < /go; tail /dev/zero; sleep 600");
        bundle.file("go", "");
        fs::remove_file(bundle.rootfs().join("go")).expect("rm");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            bundle.rootfs().join("go"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .expect("mkfifo");
        bundle.edit(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
        });
        case.start(&bundle, &id);
        let events = case.cmd(["events", "--interval", "100ms", &id]).spawn();
        eventually("an event", || events.stdout().lines().count() >= 1);
        fs::write(bundle.rootfs().join("go"), "\n").expect("go");
        eventually("that it ran out", || events.stdout().contains("\"oom\""));
        case.force_delete(&id);
        events.wait().code
    });
    assert_eq!(seen, 0);
}

#[test]
fn letters_of_a_devices_access_that_no_kernel_knows_are_passed_over() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("head -c 1 /dev/null && echo null; mknod /tmp/k c 1 11 && (head -c 1 /tmp/k) 2>&1 | grep -o permitted");
        bundle.edit(|config| {
            let rules = json!([
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "ma" },
                { "allow": false, "type": "c", "major": 1, "minor": 3, "access": "x" },
            ]);
            config["linux"]["resources"]["devices"] = rules;
            let sets = ["bounding", "effective", "permitted"];
            for set in sets {
                let set = config["process"]["capabilities"][set].as_array_mut().expect("a set");
                set.push(json!("CAP_MKNOD"));
            }
        });
        let out = case.run(&bundle, &case.id()).output();
        (out.code, out.stdout)
    });
    assert_eq!(seen, (0, "null\npermitted\n".to_owned()));
}

/// A loop device, detached when it is dropped.
struct Loop(String);

impl Loop {
    /// With the BFQ scheduler; `None`, having said why, where that cannot be.
    fn with_bfq(case: &Case) -> Option<Self> {
        let file = case.dir().join("disk");
        fs::write(&file, [0; 4096]).expect("write");
        let made = tests::Invocation::new("losetup").args(["--find", "--show"]).arg(&file).output();
        if made.code != 0 {
            tests::announce_skip("no loop device can be made");
            return None;
        }
        let made = Self(made.stdout.trim().to_owned());
        let scheduler = format!("/sys/block/{}/queue/scheduler", made.0.trim_start_matches("/dev/"));
        if fs::write(&scheduler, "bfq").is_err() {
            tests::announce_skip("the kernel has no BFQ");
            return None;
        }
        Some(made)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = tests::Invocation::new("losetup").args(["--detach", &self.0]).output();
    }
}

#[test]
fn a_device_has_its_own_weight() {
    let seen = agree(|case| {
        let device = Loop::with_bfq(case)?;
        let number = rustix::fs::stat(device.0.as_str()).expect("a device").st_rdev;
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let bundle = sleeper(case);
        bundle.edit(|config| {
            let weights = json!([{ "major": major, "minor": minor, "weight": 444 }]);
            config["linux"]["resources"]["blockIO"] = json!({ "weight": 333, "weightDevice": weights });
        });
        let id = case.id();
        let pid = case.start(&bundle, &id);
        let said = ["blkio.bfq.weight_device", "io.bfq.weight"].into_iter().find_map(|file| limit(pid, file));
        case.force_delete(&id);
        Some(said.map(|said| said.replace(&format!("{major}:{minor}"), "device")))
    });
    if let Some(said) = seen {
        assert_eq!(said.as_deref(), Some("default 333\ndevice 444"));
    }
}

#[test]
fn limits_of_a_device_are_updated() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc does since 1.2");
    }
    let Some(device) = Loop::with_bfq(&case) else { return };
    let number = rustix::fs::stat(device.0.as_str()).expect("a device").st_rdev;
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let of = |key: &str, value: u64| json!([{ "major": major, "minor": minor, key: value }]);
    let bundle = sleeper(&case);
    bundle.edit(|config| {
        config["linux"]["resources"]["blockIO"] = json!({ "weight": 333, "weightDevice": of("weight", 444) });
    });
    let id = case.id();
    let pid = case.start(&bundle, &id);
    let limits = json!({ "blockIO": {
        "weight": 111, "weightDevice": of("weight", 222),
        "throttleReadBpsDevice": of("rate", 10_485_760), "throttleWriteIOPSDevice": of("rate", 900),
    } });
    case.cmd(["update", "--resources", "-", &id]).stdin(limits.to_string()).ok();
    let read = |files: &[&str]| files.iter().find_map(|file| limit(pid, file)).unwrap_or_default();
    let device = format!("{major}:{minor}");
    let weights = read(&["blkio.bfq.weight_device", "io.bfq.weight"]);
    assert_eq!(weights, format!("default 111\n{device} 222"));
    assert!(read(&["blkio.throttle.read_bps_device", "io.max"]).contains(&device));
    assert!(read(&["blkio.throttle.write_iops_device", "io.max"]).contains("900"));
    case.force_delete(&id);
}

#[test]
fn the_oom_killer_can_be_disabled() {
    let said = agree(|case| {
        let bundle = sleeper(case);
        bundle.edit(|config| {
            config["linux"]["resources"]["memory"] = json!({ "limit": 50_000_000, "disableOOMKiller": true });
        });
        let id = case.id();
        let pid = case.start(&bundle, &id);
        let said = limit(pid, "memory.oom_control");
        case.force_delete(&id);
        said.map(|said| said.lines().any(|line| line == "oom_kill_disable 1"))
    });
    match said {
        Some(disabled) => assert!(disabled),
        None => skip!("cgroup v2 has no such switch"),
    }
}
