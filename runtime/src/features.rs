//! `features`: what this build supports, as the runtime specification's `features.md` has it.

use serde_json::{Value, json};

/// Version of the OCI runtime specification that is followed.
pub const SPEC_VERSION: &str = "1.2.0";

/// Patches of libcontainer that were applied when this was built; the build's configuration names them.
const APPLIED: Option<&str> = option_env!("RR_LIBCONTAINER_PATCHES");

/// The patch without which no mount is id-mapped.
const BINDS_TREES: &str = "0015-bind-what-the-caller-has-opened";

/// What each patch gives, by its name. A build without it lacks the guarantee.
const GUARANTEES: [(&str, &str); 43] = [
    (
        "0001-builders-accept-a-spec",
        "exec joins the user namespace, and has the user, limits and profile of the configuration",
    ),
    ("0002-exec-keeps-the-seccomp-filter", "exec keeps the seccomp filter"),
    ("0003-exec-leaves-no-socket", "exec leaves no socket behind"),
    ("0004-create-a-missing-cwd", "a missing working directory is made"),
    (
        "0005-the-executor-sees-the-root-first",
        "a Wasm container has a procfs, which its function does not see",
    ),
    ("0006-say-what-failed-in-init", "errors in init name their cause"),
    (
        "0007-cgroup-v1-mounts-without-a-pid-namespace",
        "cgroup v1 is mounted in a container without a pid namespace",
    ),
    (
        "0008-hooks-see-init-and-a-created-container",
        "createContainer and startContainer hooks get init's pid, the latter the status created, and the former the root as their folder",
    ),
    (
        "0009-dev-as-it-is-found",
        "a root's own /dev is kept, made where it is missing, and never followed out of the root",
    ),
    ("0010-leave-a-bound-dev-alone", "a /dev that is bound is not changed"),
    (
        "0011-mount-options-as-runc",
        "mounts have the propagation that they ask for, nosymfollow, sync and dirsync",
    ),
    ("0012-tmpcopyup", "tmpcopyup"),
    ("0013-standard-streams-are-the-users", "a terminal belongs to the container's user"),
    ("0014-read-only-dev-and-cgroups", "/dev and cgroups are read-only where the configuration says so"),
    (BINDS_TREES, "mounts are id-mapped, and made of sources that the container's root cannot reach"),
    ("0016-say-what-a-start-container-hook-failed-by", "what a startContainer hook fails by is told"),
    (
        "0017-newer-calls-are-missing",
        "calls that are newer than a seccomp profile are missing, not forbidden",
    ),
    ("0018-begin-in-a-cgroup", "beside cgroup v1 a container has a cgroup of v2"),
    ("0019-masked-arguments", "seccomp compares arguments behind a mask"),
    ("0020-mount-nothing-in-a-procfs", "nothing is mounted below /proc, nor procfs behind a link"),
    ("0021-name-an-rlimit-that-cannot-be-set", "an rlimit that cannot be set is named"),
    ("0022-name-the-hook-that-failed", "a hook that fails is named"),
    ("0023-keep-the-cause-of-a-failed-create", "errors of create name their cause"),
    ("0024-inheritable-capabilities-first", "capabilities can be inheritable that are not permitted"),
    (
        "0025-join-namespaces-before-the-users",
        "namespaces are joined that the container's user namespace does not own",
    ),
    ("0026-masked-folders-share-a-tmpfs", "masked folders share a file system"),
    ("0027-disable-the-oom-killer", "disableOOMKiller"),
    (
        "0028-hide-every-procfs-of-the-host",
        "without pivot_root no procfs of the host is left to the container",
    ),
    ("0029-ask-for-a-source", "an id-mapped mount may show a mount of the container's own"),
    ("0030-make-a-mounts-place-without-procfs", "a mount takes few calls"),
    (
        "0031-join-a-user-namespace-without-privileges",
        "a user's container may join another one's user namespace",
    ),
    ("0032-bring-up-loopback", "a new network namespace has its loopback device up"),
    ("0033-write-several-id-mappings", "root maps several ranges of ids"),
    (
        "0034-devices-outside-dev",
        "devices may stand outside of /dev, and their folders are root's to write to",
    ),
    (
        "0035-root-propagation-of-all-mounts",
        "the root's propagation is that of all mounts, where it begins with r",
    ),
    ("0036-flags-of-cgroup-mounts", "hierarchies of cgroup v1 are mounted nosuid, nodev and noexec"),
    ("0037-label-no-mount-that-takes-none", "containers with labels of SELinux can be made"),
    (
        "0001-relative-paths-below-the-callers-cgroup",
        "a container without cgroupsPath stays below its caller's cgroup",
    ),
    ("0003-join-the-hierarchy-of-systemd", "a container is in a cgroup of name=systemd of its own"),
    ("0004-weights-of-single-devices", "cgroup v1 weighs single block devices"),
    ("0005-rootless-without-a-hierarchy", "users without a cgroup of version 1 have containers"),
    ("0006-read-the-mounts-once", "a cgroup of version 1 is entered by few calls"),
    ("0007-leave-the-console-to-the-host", "no container of cgroup v1 may use the host's console"),
];

/// Options of mounts that have a meaning of their own; others are the file system's.
const MOUNT_OPTIONS: &str = "acl async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noacl noatime \
    nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev \
    rdiratime relatime rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate \
    rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid \
    symfollow sync tmpcopyup unbindable";

/// What seccomp filters may do, compare by, and be for: libcontainer hands all of it to libseccomp. Behind `SCMP_ACT_`, `SCMP_CMP_`,
/// `SCMP_ARCH_` and `SECCOMP_FILTER_FLAG_`.
const ACTIONS: &str = "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP";
const OPERATORS: &str = "EQ GE GT LE LT MASKED_EQ NE";
const ARCHITECTURES: &str = "AARCH64 ARM MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE RISCV64 S390 \
    S390X X32 X86 X86_64";
const FLAGS: &str = "LOG SPEC_ALLOW TSYNC";

fn named(prefix: &str, words: &str) -> Vec<String> {
    words.split_whitespace().map(|word| format!("{prefix}{word}")).collect()
}

/// Names of those that this kernel knows.
fn capabilities() -> Vec<String> {
    let mut all: Vec<_> =
        caps::runtime::procfs_all_supported(None).unwrap_or_else(|_| caps::all()).into_iter().collect();
    all.sort_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

/// The patches that were applied.
fn applied() -> impl Iterator<Item = &'static str> {
    APPLIED.unwrap_or_default().split(',').filter(|name| !name.is_empty())
}

/// What this build supports.
#[must_use]
pub fn features() -> Value {
    let lacking: Vec<_> = GUARANTEES
        .iter()
        .filter(|(name, _)| !applied().any(|applied| applied == *name))
        .map(|(_, guarantee)| *guarantee)
        .collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": named("", MOUNT_OPTIONS),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "capabilities": capabilities(),
            "seccomp": {
                "enabled": true,
                "actions": named("SCMP_ACT_", ACTIONS),
                "operators": named("SCMP_CMP_", OPERATORS),
                "archs": named("SCMP_ARCH_", ARCHITECTURES),
                "knownFlags": named("SECCOMP_FILTER_FLAG_", FLAGS),
                "supportedFlags": named("SECCOMP_FILTER_FLAG_", FLAGS),
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": applied().any(|applied| applied == BINDS_TREES) } },
        },
        "annotations": {
            // runc's, by which managers know that there is `checkpoint`.
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "io.roadrunner.runtime.version": env!("CARGO_PKG_VERSION"),
            "io.roadrunner.runtime.libcontainer.patches": applied().collect::<Vec<_>>().join(","),
            "io.roadrunner.runtime.libcontainer.lacking": lacking.join("; "),
        },
    })
}
