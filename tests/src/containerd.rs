//! A containerd of a case's own: socket, content, snapshots and states below the case's folder, and a namespace, which
//! names its cgroups, with the case's name. With CRI, which Kubernetes speaks, it has the configuration of `packaging/containerd`, and the namespace
//! that Kubernetes has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::command::{poll, reap_orphans};
use crate::podman::{IMAGE, Podman};
use crate::workload::Form;
use crate::{Bundle, Case, Invocation, Running, runtime};

/// The configuration that is packaged, for CRI.
const CONFIG: &str = include_str!("../../packaging/containerd/config.toml");
/// Where it says the runtime is.
const INSTALLED: &str = "/usr/local/bin/rr-runtime";
/// The handler that it has.
pub const HANDLER: &str = "rr";
/// The image of a pod's sandbox: something that waits.
const PAUSE: &str = "localhost/pause";
/// Where Debian has the plugins that connect a pod.
const PLUGINS: &str = "/usr/lib/cni";

/// A running daemon, with an image of the workload. Dropped, it is stopped, by pid.
pub struct Containerd<'a> {
    case: &'a Case,
    dir: PathBuf,
    namespace: String,
    cgroup: String,
    daemon: Option<Running>,
}

impl<'a> Containerd<'a> {
    /// Starts one and imports an image that podman has saved; nothing, having said so, where that cannot be.
    #[must_use]
    pub fn with_image(case: &'a Case, form: Form) -> Option<Self> {
        if runtime::program("containerd").is_none() || runtime::program("ctr").is_none() {
            crate::announce_skip("containerd is not installed");
            return None;
        }
        let archive = case.dir().join("image.tar");
        Podman::with_image(case, form)?.save(IMAGE, &archive);
        let namespace = format!("{}c", case.name());
        let containerd =
            Self::start(case, Invocation::new("containerd"), (&namespace, &namespace), "version = 2");
        containerd.ctr(["image", "import"]).arg(&archive).ok();
        Some(containerd)
    }

    /// Starts one that speaks CRI, with images of both forms, [`IMAGE`]`-native` and `-wasm`; nothing, having said so, where that cannot be.
    #[must_use]
    pub fn with_cri(case: &'a Case) -> Option<Self> {
        if runtime::program("containerd").is_none() || !Path::new(PLUGINS).join("ptp").exists() {
            crate::announce_skip("containerd is not installed, or not the plugins that connect pods");
            return None;
        }
        let podman = Podman::new(case);
        for (name, form) in [("native", Form::Native), ("wasm", Form::Wasm)] {
            podman.build(&format!("{IMAGE}-{name}"), form)?;
        }
        podman.build_from(PAUSE, &pause(case));
        let config = cri(case);
        // In a network of its own, which it may change as it likes.
        let daemon = Invocation::new("unshare").args(["--net", "sh", "-c"]);
        let daemon = daemon.args(["ip link set lo up && exec containerd \"$@\"", "sh"]);
        let containerd = Self::start(case, daemon, ("k8s.io", &format!("{}cri", case.name())), &config);
        for image in [&format!("{IMAGE}-native"), &format!("{IMAGE}-wasm"), PAUSE] {
            let archive = case.folder().join("image.tar");
            podman.save(image, &archive);
            containerd.ctr(["image", "import"]).arg(&archive).ok();
        }
        Some(containerd)
    }

    /// By its namespace and the cgroup in which its containers are.
    fn start(case: &'a Case, daemon: Invocation, (namespace, cgroup): (&str, &str), more: &str) -> Self {
        let dir = case.folder();
        let without_cri = if more.contains("grpc.v1.cri") { "" } else { r#""io.containerd.grpc.v1.cri","# };
        let config = format!(
            r#"
root = "{0}/root"
state = "{0}/state"
temp = "{0}/temp"
disabled_plugins = [{without_cri} "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
{more}
[grpc]
address = "{0}/grpc.sock"
[ttrpc]
address = "{0}/ttrpc.sock"
"#,
            dir.display()
        );
        fs::create_dir(dir.join("temp")).expect("mkdir");
        fs::write(dir.join("config.toml"), config).expect("write");
        let daemon = case.mark(daemon).arg("--config").arg(dir.join("config.toml"));
        let daemon = daemon.timeout(Duration::from_secs(600)).spawn();
        let (namespace, cgroup) = (namespace.to_owned(), cgroup.to_owned());
        let containerd = Self { case, dir, namespace, cgroup, daemon: Some(daemon) };
        let up = poll(Duration::from_secs(20), || {
            let mut probe = containerd.ctr(["version"]).spawn();
            poll(Duration::from_secs(5), || probe.ended().then_some(()));
            (probe.wait().code == 0).then_some(())
        });
        let log = containerd.daemon.as_ref().map(Running::stderr).unwrap_or_default();
        assert!(up.is_some(), "containerd does not answer: {log}");
        containerd
    }

    /// `ctr` of this daemon.
    #[must_use]
    pub fn ctr<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        self.case
            .mark(Invocation::new("ctr"))
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", &self.namespace])
            .args(args)
    }

    /// `ctr run` of the image through runc's shim, with the runtime under test as its binary.
    #[must_use]
    pub fn run(&self, id: &str, flags: &[&str], command: &[&str]) -> Invocation {
        self.ctr(["run", "--runtime", "io.containerd.runc.v2", "--runc-binary"])
            .arg(self.case.runtime().path())
            .arg("--runc-root")
            .arg(self.runc_root())
            .args(flags)
            .args([&format!("{IMAGE}:latest"), id])
            .args(command)
    }

    /// containerd's namespace of this case.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The cgroup in which its containers are, in each hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The daemon's process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Running::pid)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("grpc.sock")
    }

    /// The runtime's folder of states; the shim gives it one a namespace below.
    #[must_use]
    pub fn runc_root(&self) -> PathBuf {
        runc_root(self.case)
    }

    /// States that are there.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        let namespace = self.runc_root().join(&self.namespace);
        let entries = fs::read_dir(namespace).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// `PID STATUS` of a task, as `ctr task ls` shows it.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<(u32, String)> {
        let table = self.ctr(["task", "ls"]).ok();
        let row = table.lines().find(|row| row.split_whitespace().next() == Some(id))?;
        let mut fields = row.split_whitespace().skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.to_owned()))
    }
}

fn runc_root(case: &Case) -> PathBuf {
    case.dir().join("runc")
}

/// The packaged configuration, with this case's runtime, folders and network.
fn cri(case: &Case) -> String {
    assert!(CONFIG.contains(INSTALLED), "the packaged configuration names another place");
    let packaged = CONFIG.replace(INSTALLED, &case.runtime().path().display().to_string());
    let networks = case.folder();
    let network = serde_json::json!({"cniVersion": "0.4.0", "name": case.name(), "plugins": [{
        "type": "ptp",
        "ipam": {
            "type": "host-local",
            "dataDir": networks.join("addresses"),
            "ranges": [[{"subnet": "10.88.0.0/24"}]],
        },
    }]});
    fs::write(networks.join("pods.conflist"), network.to_string()).expect("write");
    format!(
        r#"{packaged}Root = "{}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}:latest"
disable_apparmor = true
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{}"
"#,
        runc_root(case).display(),
        networks.display()
    )
}

/// A folder to build [`PAUSE`] from.
fn pause(case: &Case) -> Bundle {
    let bundle = case.busybox();
    let text = "FROM scratch\nCOPY rootfs /\nENTRYPOINT [\"/bin/sleep\", \"2147483647\"]\n";
    fs::write(bundle.dir().join("Containerfile"), text).expect("write");
    bundle
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Shims outlive the daemon; the case's cleaning ends them.
            let log = self.daemon.as_ref().map(Running::stderr).unwrap_or_default();
            let errors =
                log.lines().filter(|line| line.contains("level=error") || line.contains("level=fatal"));
            eprintln!("containerd:\n{}", errors.collect::<Vec<_>>().join("\n"));
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            let _ = daemon.wait();
        }
        // That cgroup is the manager's; see the same of podman.
        let _ = poll(Duration::from_secs(5), || {
            reap_orphans();
            let mut gone = true;
            for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                let parent = controller.path().join(&self.cgroup);
                let _ = fs::remove_dir(&parent);
                gone &= !parent.exists();
            }
            gone.then_some(())
        });
    }
}
