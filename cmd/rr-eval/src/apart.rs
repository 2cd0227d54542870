//! A place for runtimes that do not start containers where cgroup v1 has a cgroup v2 beside it, as Debian 12's crun ("hybrid mode"): a mount namespace
//! in which the latter is hidden by a tmpfs. Who enters it is a thread, before any clock runs, so that a runtime's start costs what it costs elsewhere.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::statfs;

/// Where cgroup v2 is beside v1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// CGROUP2_SUPER_MAGIC of linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;

/// A mount namespace, gone when it is dropped and the last process in it has ended.
#[derive(Debug)]
pub(crate) struct Apart {
    namespace: File,
}

impl Apart {
    /// Where containers of this runtime have to be started, if not here.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be made.
    pub(crate) fn needed(runtime: &Path) -> Result<Option<Self>> {
        is_needed(runtime).then(Self::make).transpose()
    }

    fn make() -> Result<Self> {
        let namespace = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .context("mount / privately")?;
            mount(Some("none"), UNIFIED, Some("tmpfs"), MsFlags::empty(), none)
                .with_context(|| format!("mount a tmpfs over {UNIFIED}"))?;
            File::open("/proc/thread-self/ns/mnt").context("/proc/thread-self/ns/mnt")
        });
        Ok(Self { namespace: namespace.and_then(|opened| opened).context("a mount namespace")? })
    }

    /// Does something in it, with the processes that are started.
    pub(crate) fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T> {
        on_a_thread(|| {
            // A thread that shares its working directory with others cannot enter a mount namespace.
            unshare(CloneFlags::CLONE_FS).context("unshare")?;
            setns(&self.namespace, CloneFlags::CLONE_NEWNS).context("setns")?;
            Ok(task())
        })?
    }
}

fn is_needed(runtime: &Path) -> bool {
    let hybrid = || statfs(UNIFIED).is_ok_and(|it| u64::try_from(it.f_type) == Ok(CGROUP2));
    let crun = |name: &OsStr| name.as_bytes().starts_with(b"crun");
    runtime.file_name().is_some_and(crun) && hybrid()
}

/// What goes before this runtime's words to start a container in such a place, where it needs one and no clock runs.
pub(crate) fn words(runtime: &Path) -> Vec<String> {
    let script = format!("mount -t tmpfs none {UNIFIED} && exec \"$@\"");
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"];
    if is_needed(runtime) { words.map(str::to_owned).to_vec() } else { Vec::new() }
}

fn on_a_thread<T: Send>(task: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(task).join()).map_err(|_| anyhow!("a thread has ended early"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn cgroup_v2_is_hidden_there_and_only_there() {
        if !rustix::process::geteuid().is_root() {
            return crate::announce_skip("it needs root");
        }
        let Some(apart) = Apart::needed(Path::new("/usr/bin/crun")).unwrap() else {
            return crate::announce_skip(&format!("{UNIFIED} is no cgroup v2"));
        };
        let count = || std::fs::read_dir(UNIFIED).unwrap().count();
        assert_eq!(apart.run(count).unwrap(), 0);
        assert!(count() > 0 && Apart::needed(Path::new("/usr/sbin/runc")).unwrap().is_none());
    }
}
