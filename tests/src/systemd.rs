//! A systemd of the test's own: the host's program as the init of a container, with hierarchies of cgroups that nobody else's units are in.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::poll;
use crate::{Bundle, Case, Invocation, Runtime, announce_skip, cache};

/// How long it may take to boot.
const BOOTED_WITHIN: Duration = Duration::from_secs(20);

/// By what it knows whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchies {
    /// `name=systemd`, of cgroup version 1.
    Legacy,
    /// Version 2, beside version 1 where the controllers are.
    Hybrid,
}

/// One that has booted, and ends with its case.
pub struct Systemd<'a> {
    case: &'a Case,
    id: String,
}

impl<'a> Systemd<'a> {
    /// Boots one in a container of the case's runtime; nothing, having said so, where there is none, or the host has no version 1.
    #[track_caller]
    #[must_use]
    pub fn boot(case: &'a Case, hierarchies: Hierarchies) -> Option<Self> {
        let program = Path::new("/usr/lib/systemd/systemd");
        let reason = if !program.exists() {
            "systemd is not installed"
        } else if !Path::new("/sys/fs/cgroup/systemd").exists() {
            "this host has no cgroup version 1 with name=systemd"
        } else if hierarchies == Hierarchies::Hybrid && !Path::new("/sys/fs/cgroup/unified").exists() {
            "this host has no cgroup version 2 beside version 1"
        } else {
            let id = case.id();
            let systemd = Self { case, id };
            systemd.start(program, hierarchies);
            return Some(systemd);
        };
        announce_skip(reason);
        None
    }

    #[track_caller]
    fn start(&self, program: &Path, hierarchies: Hierarchies) {
        let bundle = Bundle::empty(self.case);
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), bundle.rootfs().join(name)).expect("symlink");
        }
        bundle.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        bundle.file("etc/systemd/system/quiet.target", "[Unit]\nDefaultDependencies=no\n");
        bundle.args([program.to_str().expect("a path"), "--unit=quiet.target", "--log-target=console"]);
        bundle.env("container=oci");
        bundle.bind(Path::new("/usr"), "/usr", &["ro"]);
        for folder in ["/run", "/var"] {
            bundle.mount(
                json!({ "destination": folder, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] }),
            );
        }
        // What the tests run in it.
        let prefix = |runtime: Runtime| {
            runtime.path().ancestors().nth(2).expect("it is in a folder of a folder").to_owned()
        };
        let runtimes = [Some(Runtime::under_test()), Runtime::peer()].into_iter().flatten().map(prefix);
        for folder in runtimes.chain(cache().map(|cache| cache.join("criu"))) {
            if !folder.starts_with("/usr") && folder.is_dir() {
                bundle.bind(&folder, folder.to_str().expect("a path"), &["ro"]);
            }
        }
        bundle.bind(self.case.dir(), self.case.dir().to_str().expect("a path"), &[]);
        let features: Value =
            serde_json::from_str(&self.case.cmd(["features"]).ok()).expect("features are JSON");
        bundle.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
            let cgroup = |kind: &str, destination: &str| json!({ "destination": destination, "type": kind, "source": kind, "options": ["rw"] });
            mounts.push(cgroup("cgroup", "/sys/fs/cgroup"));
            if hierarchies == Hierarchies::Hybrid {
                mounts.push(cgroup("cgroup2", "/sys/fs/cgroup/unified"));
            }
            let namespaces = ["pid", "mount", "ipc", "uts", "cgroup", "network"];
            config["linux"]["namespaces"] = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
            config["linux"]["resources"] = json!({ "devices": [{ "allow": true, "access": "rwm" }] });
            for paths in ["maskedPaths", "readonlyPaths"] {
                config["linux"][paths] = json!([]);
            }
            config["process"]["noNewPrivileges"] = json!(false);
            // Root may be without the one that raises limits, and systemd does without.
            let mut all = features["linux"]["capabilities"].as_array().expect("capabilities").clone();
            all.retain(|capability| capability != "CAP_SYS_RESOURCE");
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = all.clone().into();
            }
        });
        let pid = self.case.start(&bundle, &self.id);
        let socket = format!("/proc/{pid}/root/run/systemd/private");
        let booted = poll(BOOTED_WITHIN, || Path::new(&socket).exists().then_some(()));
        assert!(booted.is_some(), "systemd has not booted: {}", self.case.status(&self.id));
    }

    /// A program beside it.
    #[must_use]
    pub fn cmd(&self, words: &[&str]) -> Invocation {
        self.case.cmd(["exec", &self.id]).args(words)
    }

    /// The words of a runtime beside it, which is told to let it manage cgroups.
    #[must_use]
    pub fn words(runtime: &Runtime, words: &[&str]) -> Vec<String> {
        let criu = cache().map(|cache| cache.join("criu/bin").display().to_string()).unwrap_or_default();
        let path = runtime.path().display().to_string();
        let own = ["env".to_owned(), format!("PATH={criu}:/usr/sbin:/usr/bin"), path];
        let flags = ["--root", "/run/containers", "--systemd-cgroup"];
        own.into_iter().chain(flags.iter().chain(words).map(|&word| word.to_owned())).collect()
    }

    /// Such a runtime.
    #[must_use]
    pub fn runtime(&self, runtime: &Runtime, words: &[&str]) -> Invocation {
        self.cmd(&[]).args(Self::words(runtime, words))
    }

    /// Properties of one of its units, a line each.
    #[track_caller]
    #[must_use]
    pub fn properties(&self, unit: &str, names: &[&str]) -> String {
        self.cmd(&["systemctl", "show", "--property", &names.join(","), unit]).ok()
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.case.force_delete(&self.id);
        }
    }
}
