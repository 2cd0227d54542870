//! `features`: what this build supports, as the runtime specification's `features.md` has it.

use oci_spec::runtime::VERSION;
use serde_json::{Value, json};

/// Patches of libcontainer that were applied when this was built; the build's configuration names them.
const APPLIED: Option<&str> = option_env!("RR_LIBCONTAINER_PATCHES");

/// What each patch gives, by its name. A build without it lacks the guarantee.
const GUARANTEES: [(&str, &str); 9] = [
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
        "0008-start-container-hooks-see-a-created-container",
        "startContainer hooks get the status created, and init's pid",
    ),
    (
        "0001-relative-paths-below-the-callers-cgroup",
        "a container without cgroupsPath stays below its caller's cgroup",
    ),
];

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
        "ociVersionMax": VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": false },
            "seccomp": { "enabled": true },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
        },
        "annotations": {
            "io.roadrunner.runtime.version": env!("CARGO_PKG_VERSION"),
            "io.roadrunner.runtime.libcontainer.patches": applied().collect::<Vec<_>>().join(","),
            "io.roadrunner.runtime.libcontainer.lacking": lacking.join("; "),
        },
    })
}
