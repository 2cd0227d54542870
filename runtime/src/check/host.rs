//! What the kernel and the installation offer.

use std::fs;
use std::path::Path;

use super::{CheckOptions, Findings};
use crate::cgroup;
use crate::checkpoint;
use crate::engine::{Engine, Folders};
use crate::trust;

/// What comes with which kernel, and what is without it.
const KERNELS: [((u32, u32), &str); 4] = [
    ((5, 3), "signals may reach a process that has taken a container's number (pidfd)"),
    ((5, 7), "payloads between the functions of a container are copied, not moved (MREMAP_DONTUNMAP)"),
    ((5, 12), "mounts cannot be id-mapped, nor made read-only with all below them (mount_setattr)"),
    ((6, 1), "large payloads between containers take small pages (MADV_COLLAPSE)"),
];

/// Namespaces, by their files in `/proc/self/ns`.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Controllers without which a limit that managers set by default fails or bounds nothing.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

pub(super) fn look(findings: &mut Findings<'_>, options: &CheckOptions) {
    kernel(findings);
    namespaces(findings);
    cgroups(findings, options.systemd_cgroup);
    security(findings);
    huge_pages(findings);
    user(findings);
    state(findings, &options.root);
    engine(findings, &options.binary);
    criu(findings);
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn kernel(findings: &mut Findings<'_>) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    findings.ok("kernel", format!("Linux {release}"));
    for ((major, minor), without) in KERNELS.iter().filter(|(since, _)| version < *since) {
        findings.limited("kernel", format!("before {major}.{minor}: {without}"));
    }
}

fn namespaces(findings: &mut Findings<'_>) {
    let missing: Vec<_> =
        NAMESPACES.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    if missing.is_empty() {
        findings.ok("namespaces", NAMESPACES.join(", "));
    } else {
        findings.fails("namespaces", format!("this kernel has none for: {}", missing.join(", ")));
    }
    if read("/proc/sys/user/max_user_namespaces").trim() == "0" {
        findings.fails("namespaces", "user.max_user_namespaces is 0: no container can have a user namespace");
    }
}

fn cgroups(findings: &mut Findings<'_>, systemd: bool) {
    let groups = read("/proc/self/cgroup");
    let version2 = cgroup::is_version2();
    let named: Vec<&str> = groups.lines().filter_map(|line| line.split(':').nth(1)).collect();
    let controllers = if version2 {
        read("/sys/fs/cgroup/cgroup.controllers")
    } else {
        named.iter().flat_map(|names| names.split(',')).collect::<Vec<_>>().join(" ")
    };
    let mode = match (version2, named.contains(&"")) {
        (true, _) => "version 2",
        (false, true) => "version 1 beside version 2",
        (false, false) => "version 1",
    };
    if groups.is_empty() {
        findings.fails("cgroups", "this kernel has none: no limit can be set");
        return;
    }
    findings.ok("cgroups", format!("{mode}: {}", controllers.trim()));
    let missing: Vec<_> = CONTROLLERS
        .into_iter()
        .filter(|name| !controllers.split_whitespace().any(|controller| controller == *name))
        .collect();
    if !missing.is_empty() {
        findings.limited("cgroups", format!("no container can be limited in: {}", missing.join(", ")));
    }
    if systemd && !Path::new("/run/systemd/system").exists() {
        findings.fails("--systemd-cgroup", "systemd is not what this host was started by");
    }
}

fn security(findings: &mut Findings<'_>) {
    if read("/proc/self/status").contains("\nSeccomp:") {
        let actions = read("/proc/sys/kernel/seccomp/actions_avail");
        findings.ok("seccomp", actions.trim());
    } else {
        findings.fails("seccomp", "this kernel has none: a container with a profile is refused, and a function without module.seccomp = \"off\"");
    }
    if read("/sys/module/apparmor/parameters/enabled").trim() == "Y" {
        findings.ok("AppArmor", "profiles are applied");
    } else {
        findings.limited("AppArmor", "is not active here: profiles are passed over");
    }
    if Path::new("/sys/fs/selinux/enforce").exists() {
        findings.ok("SELinux", "labels are applied");
    } else {
        findings.limited("SELinux", "is not active here: a container with a label is refused");
    }
}

fn huge_pages(findings: &mut Findings<'_>) {
    let enabled = read("/sys/kernel/mm/transparent_hugepage/enabled");
    if enabled.contains("[never]") || enabled.is_empty() {
        findings.limited(
            "huge pages",
            "transparent_hugepage/enabled is never: payloads of 2 MiB and more are moved and mapped in small pages, which takes up to thirty times as long",
        );
    } else {
        findings.ok("huge pages", enabled.trim());
    }
}

fn user(findings: &mut Findings<'_>) {
    if !trust::is_rootless() {
        findings.ok("user", "root");
        return;
    }
    let uid = trust::host_uid();
    findings
        .limited("user", format!("{uid}: containers need a user namespace, and cgroups that were delegated"));
    let helpers = ["newuidmap", "newgidmap"].map(|name| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).exists())
    });
    if helpers != [true, true] {
        findings.limited("user", "newuidmap and newgidmap are not installed: only one id can be mapped");
    }
}

fn state(findings: &mut Findings<'_>, root: &Path) {
    let there = root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let what = format!("--root {}", root.display());
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        Ok(()) => findings.ok(what, "states can be kept there"),
        Err(errno) => findings.fails(what, format!("{}: cannot be written: {errno}", there.display())),
    }
}

/// Whether it works with this kernel is for `criu check` to say, which takes root.
fn criu(findings: &mut Findings<'_>) {
    match checkpoint::version() {
        Ok(version) => {
            let [major, minor, sublevel] = [version / 10_000, version / 100 % 100, version % 100];
            findings.ok(
                "criu",
                format!("{major}.{minor}.{sublevel}: criu check tells what this kernel lacks for it"),
            );
        }
        Err(error) => {
            let without = "no container can be checkpointed or restored";
            findings.limited("criu", format!("{without}: {}", crate::error::chain(&error)));
        }
    }
}

fn engine(findings: &mut Findings<'_>, binary: &Path) {
    let described = Folders::find(binary).and_then(|folders| Engine::load(&folders)?.describe());
    findings.of("engine", described, |engine| {
        format!("{} {} with {}", engine.engine, engine.version, engine.proposals.join(", "))
    });
}
