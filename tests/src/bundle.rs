//! OCI bundles: a folder with a rootfs and a `config.json` that tests edit as JSON.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Case;
use crate::user::USER;

/// What busybox is called by in a test's rootfs.
const APPLETS: [&str; 38] = [
    "cat", "chmod", "cp", "cut", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id",
    "kill", "ln", "ls", "mkdir", "mount", "nc", "nproc", "ps", "pwd", "readlink", "rm", "sed", "seq", "sh",
    "sleep", "sort", "stat", "stty", "test", "touch", "tr", "true", "tty", "umount", "wc",
];

/// A bundle below a case's folder.
pub struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    pub(crate) fn busybox(case: &Case) -> Self {
        let bundle = Self::empty(case);
        bundle.install_busybox();
        bundle.write(&config(&["/bin/true"]));
        bundle
    }

    #[track_caller]
    pub(crate) fn wasm(case: &Case, wat: &str) -> Self {
        let module = wat::parse_str(wat).unwrap_or_else(|e| panic!("the test's module is no WAT: {e}"));
        Self::wasm_bytes(case, &module)
    }

    pub(crate) fn wasm_bytes(case: &Case, module: &[u8]) -> Self {
        let bundle = Self::empty(case);
        bundle.file("module.wasm", module);
        let mut config = config(&["/module.wasm"]);
        // Compiling in the background outlives the case; the tests of it ask for it.
        config["annotations"] = json!({ "io.roadrunner.wasm/aot": "off" });
        bundle.write(&config);
        bundle
    }

    /// A rootfs with the folders that the default mounts need, and a config that runs `/bin/true`.
    #[must_use]
    pub fn empty(case: &Case) -> Self {
        let bundle = Self { dir: case.folder() };
        fs::set_permissions(&bundle.dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        for dir in ["proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(bundle.rootfs().join(dir)).expect("mkdir");
        }
        fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
        bundle.write(&config(&["/bin/true"]));
        bundle
    }

    /// Adds busybox and its names to the rootfs.
    pub fn install_busybox(&self) {
        let busybox = crate::runtime::program("busybox").expect("busybox is installed (busybox-static)");
        let bin = self.rootfs().join("bin");
        fs::create_dir_all(&bin).expect("mkdir");
        // A copy: a container may write to it.
        fs::copy(busybox, bin.join("busybox")).expect("busybox can be copied");
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("symlink");
        }
    }

    /// Makes it a user's, with the configuration that `spec --rootless` writes for that user, without a terminal.
    #[track_caller]
    pub fn for_user(&self, case: &Case) -> &Self {
        chown(&self.dir, Some(USER), Some(USER)).expect("chown");
        fs::remove_file(self.config_file()).expect("it is there");
        case.becomes_a_users().cmd(["spec", "--rootless", "--bundle"]).arg(&self.dir).ok();
        self.edit(|config| config["process"]["terminal"] = json!(false))
    }

    /// The bundle's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its rootfs.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Its `config.json`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Edits the configuration.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> &Self {
        let mut config = self.config();
        change(&mut config);
        self.write(&config);
        self
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> Value {
        let text = fs::read(self.config_file()).expect("config.json is readable");
        serde_json::from_slice(&text).expect("config.json is JSON")
    }

    fn write(&self, config: &Value) {
        let text = serde_json::to_vec_pretty(config).expect("JSON can be written");
        fs::write(self.config_file(), text).expect("config.json can be written");
    }

    /// Sets `process.args`.
    pub fn args<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> &Self {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// Sets `process.args` to a shell with this script.
    pub fn script(&self, script: &str) -> &Self {
        self.args(["/bin/sh", "-c", script])
    }

    /// Adds a variable.
    pub fn env(&self, variable: &str) -> &Self {
        self.edit(|config| push(&mut config["process"]["env"], json!(variable)))
    }

    /// Adds a mount.
    pub fn mount(&self, mount: Value) -> &Self {
        self.edit(|config| push(&mut config["mounts"], mount))
    }

    /// Adds a bind mount.
    pub fn bind(&self, source: &Path, destination: &str, options: &[&str]) -> &Self {
        let mut all = vec!["rbind"];
        all.extend(options);
        self.mount(json!({ "type": "bind", "source": source, "destination": destination, "options": all }))
    }

    /// Sets an annotation.
    pub fn annotation(&self, key: &str, value: &str) -> &Self {
        self.edit(|config| config["annotations"][key] = json!(value))
    }

    /// Removes the namespace of this kind: the container then shares the caller's.
    pub fn without_namespace(&self, kind: &str) -> &Self {
        self.edit(|config| {
            if let Some(all) = config["linux"]["namespaces"].as_array_mut() {
                all.retain(|namespace| namespace["type"] != kind);
            }
        })
    }

    /// Takes the mounts on and below `/dev` away.
    pub fn without_dev(&self) -> &Self {
        self.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|at| at.starts_with("/dev")));
        })
    }

    /// Gives it a user namespace, whose root is user and group 100000 of the host.
    pub fn user_namespace(&self) -> &Self {
        self.edit(|config| {
            push(&mut config["linux"]["namespaces"], json!({ "type": "user" }));
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        })
    }

    /// Writes a file of the rootfs.
    pub fn file(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let file = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().expect("a file has a folder")).expect("mkdir");
        fs::write(file, bytes).expect("the file can be written");
        self
    }

    /// Writes a module of the rootfs, given as text.
    #[track_caller]
    pub fn module(&self, path: &str, wat: &str) -> &Self {
        let bytes = wat::parse_str(wat).unwrap_or_else(|e| panic!("the test's module is no WAT: {e}"));
        self.file(path, bytes)
    }
}

fn push(list: &mut Value, item: Value) {
    if let Some(items) = list.as_array_mut() {
        items.push(item);
    } else {
        *list = json!([item]);
    }
}

/// What `runc spec` writes, without a terminal and with a writable root.
fn config(args: &[&str]) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "rr-test",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
