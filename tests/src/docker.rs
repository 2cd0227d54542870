//! A docker daemon of a case's own, with the configuration of `packaging/docker` and an image of busybox: its data, sockets, containerd and cgroups bear the
//! case's name. It makes no networks.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::poll;
use crate::{Case, Invocation, Running, runtime};

/// The configuration that is packaged.
const CONFIG: &str = include_str!("../../packaging/docker/daemon.json");
/// Where it says the runtime is.
const INSTALLED: &str = "/usr/local/bin/rr-runtime";
/// The image.
const IMAGE: &str = "busybox";

/// A running daemon. Dropped, it is stopped, by pid, with the containerd that it has started.
pub struct Docker<'a> {
    case: &'a Case,
    dir: PathBuf,
    daemon: Option<Running>,
}

impl<'a> Docker<'a> {
    /// Starts one; nothing, having said so, where that cannot be.
    #[must_use]
    pub fn start(case: &'a Case) -> Option<Self> {
        if runtime::program("dockerd").is_none() || runtime::program("docker").is_none() {
            crate::announce_skip("docker is not installed");
            return None;
        }
        let dir = case.folder();
        assert!(CONFIG.contains(INSTALLED), "the packaged configuration names another place");
        let config = CONFIG.replace(INSTALLED, &case.runtime().path().display().to_string());
        fs::write(dir.join("daemon.json"), config).expect("write");
        let path = |name: &str| dir.join(name).display().to_string();
        let daemon = case.mark(Invocation::new("dockerd"));
        let daemon = daemon
            .args([
                "--config-file",
                &path("daemon.json"),
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
            ])
            .args(["--pidfile", &path("pid"), "--host", &format!("unix://{}", path("sock"))])
            .args(["--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip-forward=false"])
            .args(["--cgroup-parent", &format!("/{}docker", case.name())]);
        let daemon = daemon.timeout(Duration::from_secs(600)).spawn();
        let docker = Self { case, dir, daemon: Some(daemon) };
        let up =
            poll(Duration::from_secs(30), || (docker.docker(["version"]).output().code == 0).then_some(()));
        if up.is_none() {
            let log = docker.daemon.as_ref().map(Running::stderr).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            crate::announce_skip(&format!("docker's daemon does not start here: {last}"));
            return None;
        }
        docker.import();
        Some(docker)
    }

    fn import(&self) {
        let bundle = self.case.busybox();
        let archive = self.dir.join("image.tar");
        Invocation::new("tar").arg("-C").arg(bundle.rootfs()).arg("-cf").arg(&archive).arg(".").ok();
        self.docker(["import"]).arg(&archive).arg(IMAGE).ok();
    }

    /// `docker` of this daemon.
    #[must_use]
    pub fn docker<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        let host = format!("unix://{}", self.dir.join("sock").display());
        self.case.mark(Invocation::new("docker")).args(["--host", &host]).args(args)
    }

    /// `docker run` with the configured runtime.
    #[must_use]
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Invocation {
        let words = ["run", "--runtime", "rr", "--network", "none"];
        self.docker(words).args(flags).arg(IMAGE).args(command)
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            let _ = daemon.wait();
        }
        self.case.remove_cgroups();
    }
}
