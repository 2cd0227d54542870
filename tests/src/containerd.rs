//! A containerd of a case's own: socket, content, snapshots and states below the case's folder, and a namespace, which
//! names its cgroups, with the case's name. The CRI plugin is off: a cluster's tests are others.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::{poll, reap_orphans};
use crate::podman::{IMAGE, Podman};
use crate::workload::Form;
use crate::{Case, Invocation, Running, runtime};

/// A running daemon, with an image of the workload. Dropped, it is stopped, by pid.
pub struct Containerd<'a> {
    case: &'a Case,
    dir: PathBuf,
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
        let containerd = Self::start(case);
        containerd.ctr(["image", "import"]).arg(&archive).ok();
        Some(containerd)
    }

    fn start(case: &'a Case) -> Self {
        let dir = case.folder();
        let config = format!(
            r#"
version = 2
root = "{0}/root"
state = "{0}/state"
temp = "{0}/temp"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{0}/grpc.sock"
[ttrpc]
address = "{0}/ttrpc.sock"
"#,
            dir.display()
        );
        fs::create_dir(dir.join("temp")).expect("mkdir");
        fs::write(dir.join("config.toml"), config).expect("write");
        let daemon = case.mark(Invocation::new("containerd")).arg("--config").arg(dir.join("config.toml"));
        let daemon = daemon.timeout(Duration::from_secs(600)).spawn();
        let containerd = Self { case, dir, daemon: Some(daemon) };
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
            .arg(self.dir.join("grpc.sock"))
            .args(["--namespace", &self.namespace()])
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
    pub fn namespace(&self) -> String {
        format!("{}c", self.case.name())
    }

    /// The runtime's folder of states; the shim gives it one a namespace below.
    #[must_use]
    pub fn runc_root(&self) -> PathBuf {
        self.dir.join("runc")
    }

    /// States that are there.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        let namespace = self.runc_root().join(self.namespace());
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
        // The namespace's cgroup is the manager's; see the same of podman.
        let _ = poll(Duration::from_secs(5), || {
            reap_orphans();
            let mut gone = true;
            for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                let parent = controller.path().join(self.namespace());
                let _ = fs::remove_dir(&parent);
                gone &= !parent.exists();
            }
            gone.then_some(())
        });
    }
}
