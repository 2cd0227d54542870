//! A podman of a case's own: storage and configuration below the case's folder, all cgroups below one that bears
//! its name. The runtime has its default root: podman 4.3 does not pass `--runtime-flag` on to the command that cleans
//! up after a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::eventually;
use crate::workload::{Form, image_context};
use crate::{Bundle, Case, Invocation, runtime};

/// Name of the image that [`Podman::with_image`] builds.
pub const IMAGE: &str = "localhost/tool";

/// A podman of the case's own. Dropped, it removes what it holds.
pub struct Podman<'a> {
    case: &'a Case,
    dir: PathBuf,
}

impl<'a> Podman<'a> {
    /// With an image of the workload; nothing, having said so, where that cannot be.
    #[must_use]
    pub fn with_image(case: &'a Case, form: Form) -> Option<Self> {
        if runtime::program("podman").is_none() {
            crate::announce_skip("podman is not installed");
            return None;
        }
        let podman = Self::new(case);
        podman.build(IMAGE, form)?;
        Some(podman)
    }

    /// Without images.
    #[must_use]
    pub fn new(case: &'a Case) -> Self {
        let dir = case.folder();
        // A machine may not let limits be raised, and may have neither AppArmor nor systemd. Locks in shared memory are those of all podmans of a
        // machine, of which two that find none make them at the same time, and one fails.
        let config = r#"
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:20000"]
apparmor_profile = "unconfined"
init_path = "/usr/bin/catatonit"
[engine]
cgroup_manager = "cgroupfs"
lock_type = "file"
events_logger = "none"
"#;
        fs::write(dir.join("containers.conf"), config).expect("write");
        Self { case, dir }
    }

    /// Builds an image of the workload; nothing, having said so, where that cannot be.
    #[must_use]
    pub fn build(&self, tag: &str, form: Form) -> Option<()> {
        self.build_from(tag, &image_context(self.case, form)?);
        Some(())
    }

    /// Builds an image from a folder with a `Containerfile`.
    pub fn build_from(&self, tag: &str, context: &Bundle) {
        self.cmd(["build", "--quiet", "--tag", tag]).arg(context.dir()).ok();
    }

    /// podman with the case's flags and these arguments.
    #[must_use]
    pub fn cmd<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        self.case
            .mark(Invocation::new("podman"))
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .arg("--root")
            .arg(self.dir.join("storage"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .arg("--tmpdir")
            .arg(self.dir.join("tmp"))
            .arg("--runtime")
            .arg(self.case.runtime().path())
            .args(["--cgroup-manager", "cgroupfs", "--log-level", "error"])
            .args(args)
            .timeout(Duration::from_secs(60))
    }

    /// `run` with these flags and this command for the entrypoint.
    #[must_use]
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Invocation {
        let parent = self.parent();
        let network = if flags.contains(&"--network") { &[][..] } else { &["--network", "none"] };
        let run = self.cmd(["run", "--cgroup-parent", &parent]);
        run.args(network).args(flags).arg(IMAGE).args(command)
    }

    /// All cgroups of this podman lie below this one.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("/{}podman", self.case.name())
    }

    /// Starts a container in the background; gives its id, once it has printed `ready` when it loops.
    #[must_use]
    pub fn detach(&self, name: &str, flags: &[&str], command: &[&str]) -> String {
        let flags: Vec<_> = ["--detach", "--name", name].iter().chain(flags).copied().collect();
        let id = self.run(&flags, command).ok().trim().to_owned();
        self.case.also_watch(&id);
        if command.first() == Some(&"loop") {
            eventually("the workload is ready", || self.cmd(["logs", name]).ok().contains("ready"));
        }
        id
    }

    /// `inspect --format`.
    #[must_use]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.cmd(["inspect", "--format", format, name]).ok().trim().to_owned()
    }

    /// Writes an image to a tar archive, as `docker load` and `ctr image import` take it.
    #[track_caller]
    pub fn save(&self, image: &str, to: &Path) {
        self.cmd(["save", "--quiet", "--output"]).arg(to).arg(image).ok();
    }

    /// Host's pid of a container's init.
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        self.inspect(name, "{{.State.Pid}}").parse().expect("a pid")
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        for args in [
            &["pod", "rm", "--force", "--all", "--time", "0"][..],
            &["rm", "--force", "--all", "--time", "0"],
        ] {
            let mut removal = self.cmd(args).spawn();
            let _ = crate::command::poll(Duration::from_secs(20), || removal.ended().then_some(()));
        }
        // The storage driver's own mount, on which podman's late helpers (`container cleanup`) can put another one.
        let storage = self.dir.join("storage/overlay");
        let unmount =
            || while rustix::mount::unmount(&storage, rustix::mount::UnmountFlags::DETACH).is_ok() {};
        unmount();
        let _ = crate::command::poll(Duration::from_secs(5), || self.remove_parents().then_some(()));
        unmount();
    }
}

impl Podman<'_> {
    /// Removes the cgroups that are podman's own, and tells whether all are gone. What the runtime left below them
    /// is in the way, and stays for the leftovers check to name.
    fn remove_parents(&self) -> bool {
        crate::command::reap_orphans();
        let mut gone = true;
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let parent = controller.path().join(self.parent().trim_start_matches('/'));
            for pod in fs::read_dir(&parent).into_iter().flatten().flatten() {
                // Of a pod's cgroup podman forgets the hierarchies without a controller. A container's is the
                // runtime's, and stays for the check.
                if pod.file_type().is_ok_and(|kind| kind.is_dir())
                    && !pod.file_name().to_string_lossy().starts_with("libpod-")
                {
                    let _ = fs::remove_dir(pod.path());
                }
            }
            let _ = fs::remove_dir(&parent);
            gone &= !parent.exists();
        }
        gone
    }
}
