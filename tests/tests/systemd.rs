//! `--systemd-cgroup` where there is cgroup version 1, under the runtime under test and under runc, beside a systemd of the test's own. Version 2 has the
//! virtual machine's (`make conformance-vm`).

use serde_json::json;
use tests::command::eventually;
use tests::systemd::{Hierarchies, Systemd};
use tests::{Bundle, Case, Criu, Runtime, announce_skip};

const MEMORY: u64 = 67_108_864;

/// Runs a scenario under the runtime under test and under its peer, beside a systemd that knows whose a process is by these. Both have to see the same.
#[track_caller]
fn agree_beside<T: PartialEq + std::fmt::Debug>(
    hierarchies: Hierarchies,
    scenario: impl Fn(&Scene<'_>) -> T,
) {
    let case = Case::ours();
    let Some(systemd) = Systemd::boot(&case, hierarchies) else { return };
    let observed = |runtime: Runtime| {
        let scene = Scene { case: &case, systemd: &systemd, runtime };
        let seen = scenario(&scene);
        scene.nothing_left();
        seen
    };
    let ours = observed(Runtime::under_test());
    match Runtime::peer() {
        Some(peer) => assert_eq!(ours, observed(peer), "the first is of the runtime under test"),
        None => announce_skip("the half that compares with runc: it is not installed"),
    }
    drop(systemd);
    case.finish();
}

/// A runtime beside a systemd.
struct Scene<'a> {
    case: &'a Case,
    systemd: &'a Systemd<'a>,
    runtime: Runtime,
}

const ID: &str = "c1";
const SCOPE: &str = "rrt-c1.scope";

impl Scene<'_> {
    fn bundle(&self) -> Bundle {
        let bundle = self.case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        bundle.edit(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("rrt-inner.slice:rrt:{ID}"));
            config["linux"]["resources"] = json!({
                "devices": [
                    { "allow": false, "access": "rwm" },
                    { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
                ],
                "memory": { "limit": MEMORY },
                "cpu": { "shares": 200, "quota": 50_000, "period": 100_000 },
                "pids": { "limit": 20 },
            });
        });
        bundle
    }

    fn run(&self, words: &[&str]) -> tests::Invocation {
        self.systemd.runtime(&self.runtime, words)
    }

    /// Gives init's pid, as systemd sees it.
    #[track_caller]
    fn start(&self, bundle: &Bundle) -> String {
        let pid_file = self.case.dir().join("init.pid");
        let (pid_file, folder) = (pid_file.to_str().expect("a path"), bundle.dir().to_str().expect("a path"));
        self.run(&["run", "--detach", "--pid-file", pid_file, "--bundle", folder, ID]).ok();
        std::fs::read_to_string(pid_file).expect("a pid file").trim().to_owned()
    }

    /// Lines of files, by their names.
    #[track_caller]
    fn files(&self, files: &[&str]) -> Vec<String> {
        let folder = |file: &str| {
            let controller =
                if file.starts_with("cpu.") { "cpu" } else { file.split('.').next().expect("a word") };
            format!("/sys/fs/cgroup/{controller}/rrt.slice/rrt-inner.slice/{SCOPE}/{file}")
        };
        let lines = |file: &str| {
            // Of a list only the order is systemd's choice.
            let text = self.systemd.cmd(&["cat", &folder(file)]).ok();
            let mut lines: Vec<_> = text.lines().collect();
            lines.sort_unstable();
            lines.join(", ")
        };
        files.iter().map(|file| format!("{file}: {}", lines(file))).collect()
    }

    #[track_caller]
    fn limits(&self) -> Vec<String> {
        self.files(&[
            "memory.limit_in_bytes",
            "cpu.shares",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "pids.max",
            "devices.list",
        ])
    }

    #[track_caller]
    fn properties(&self) -> String {
        const NAMES: [&str; 9] = [
            "ActiveState",
            "Slice",
            "Delegate",
            "MemoryLimit",
            "CPUShares",
            "CPUQuotaPerSecUSec",
            "TasksMax",
            "DevicePolicy",
            "RuntimeMaxUSec",
        ];
        self.systemd.properties(SCOPE, &NAMES)
    }

    /// Waits for it: systemd takes a moment to end a unit.
    #[track_caller]
    fn nothing_left(&self) {
        eventually("its unit is gone", || {
            self.systemd.properties(SCOPE, &["LoadState"]) == "LoadState=not-found\n"
        });
        let found = self.systemd.cmd(&["find", "/sys/fs/cgroup", "-name", SCOPE]).ok();
        assert_eq!(found, "", "cgroups of {} are left", self.runtime.name());
        assert_eq!(self.run(&["list", "-q"]).ok(), "");
    }
}

/// Where a process is, by controller, of its `/proc/PID/cgroup`.
fn place_of(text: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        text.lines().filter_map(|line| Some(line.split_once(':')?.1.to_owned())).collect();
    lines.sort();
    lines
}

fn a_container_is_a_scope(hierarchies: Hierarchies) {
    agree_beside(hierarchies, |scene| {
        let bundle = scene.bundle();
        bundle.annotation("org.systemd.property.RuntimeMaxSec", "900");
        let pid = scene.start(&bundle);
        let place = place_of(&scene.systemd.cmd(&["cat", &format!("/proc/{pid}/cgroup")]).ok());
        for line in place.iter().filter(|line| !line.starts_with(':') || hierarchies == Hierarchies::Hybrid) {
            let in_scope = line.ends_with(&format!(":/rrt.slice/rrt-inner.slice/{SCOPE}"));
            // runc 1.1 and 1.3 leave init in the slice here, whose devices are everybody's.
            let known = line.starts_with("devices:") && !scene.runtime.is_ours();
            assert!(in_scope || known, "{line} of {}: {place:?}", scene.runtime.name());
        }
        if scene.runtime.is_ours() {
            let joined = place_of(&scene.run(&["exec", ID, "cat", "/proc/self/cgroup"]).ok());
            assert_eq!(joined, place, "a further process is where init is");
        }
        let created = (scene.limits(), scene.properties());
        scene.run(&["update", "--memory", "33554432", "--cpu-quota", "25000", "--pids-limit", "30", ID]).ok();
        let updated = (scene.limits(), scene.properties());
        scene.run(&["pause", ID]).ok();
        let paused = scene.files(&["freezer.state"]);
        scene.run(&["resume", ID]).ok();
        // Has it look at its units again: neither limits nor devices change.
        scene.systemd.cmd(&["systemctl", "daemon-reload"]).ok();
        let reloaded = (scene.limits(), scene.properties());
        assert_eq!(reloaded, updated);
        scene.run(&["kill", ID, "KILL"]).ok();
        eventually("it is stopped", || scene.run(&["state", ID]).ok().contains("\"stopped\""));
        scene.run(&["delete", ID]).ok();
        (created, updated, paused)
    });
}

#[test]
fn a_container_is_a_scope_of_name_systemd() {
    a_container_is_a_scope(Hierarchies::Legacy);
}

#[test]
fn a_container_is_a_scope_beside_version_2() {
    a_container_is_a_scope(Hierarchies::Hybrid);
}

#[test]
fn a_container_that_does_not_come_to_be_leaves_no_scope() {
    agree_beside(Hierarchies::Hybrid, |scene| {
        let refused = |change: &dyn Fn(&mut serde_json::Value)| {
            let bundle = scene.bundle();
            bundle.edit(|config| change(config));
            let folder = bundle.dir().to_str().expect("a path");
            let output = scene.run(&["run", "--detach", "--bundle", folder, ID]).output();
            assert_ne!(output.code, 0, "{}", output.stderr);
            scene.nothing_left();
        };
        refused(&|config| config["linux"]["cgroupsPath"] = json!("/an/absolute/path"));
        refused(&|config| config["process"]["args"] = json!(["/no/such/program"]));
        refused(&|config| config["linux"]["resources"]["memory"]["limit"] = json!(4096));
        refused(&|config| config["annotations"]["org.systemd.property.NoSuchProperty"] = json!("true"));
    });
}

#[test]
fn a_command_that_is_killed_leaves_no_scope() {
    let case = Case::ours();
    let Some(systemd) = Systemd::boot(&case, Hierarchies::Hybrid) else { return };
    let scene = Scene { case: &case, systemd: &systemd, runtime: Runtime::under_test() };
    let bundle = scene.bundle();
    let folder = bundle.dir().to_str().expect("a path");
    for milliseconds in 1..=25 {
        // A start takes some ten of them.
        let killed =
            format!("timeout --signal KILL 0.{milliseconds:03} \"$@\" </dev/null >/dev/null 2>&1; true");
        let words = Systemd::words(&scene.runtime, &["run", "--detach", "--bundle", folder, ID]);
        systemd.cmd(&["sh", "-c", &killed, "sh"]).args(words).ok();
        scene.run(&["delete", "--force", ID]).ok();
        scene.nothing_left();
    }
    drop(systemd);
    case.finish();
}

#[test]
fn a_container_that_is_restored_is_a_scope_again() {
    if Criu::find().is_none() {
        return;
    }
    agree_beside(Hierarchies::Hybrid, |scene| {
        let images = scene.case.folder();
        let images = images.to_str().expect("a path");
        let bundle = scene.bundle();
        // For one of its own criu asks for programs by /etc.
        bundle.without_namespace("network");
        let folder = bundle.dir().to_str().expect("a path");
        // criu dumps no file that lies outside of the container.
        let silent = |words: &[&str]| {
            scene.run(words).wrapped(["/bin/sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh"])
        };
        silent(&["run", "--detach", "--bundle", folder, ID]).ok();
        let before = scene.properties();
        scene.run(&["checkpoint", "--image-path", images, ID]).ok();
        silent(&["restore", "--detach", "--bundle", folder, "--image-path", images, ID]).ok();
        let after = scene.properties();
        scene.run(&["delete", "--force", ID]).ok();
        (before, after)
    });
}
