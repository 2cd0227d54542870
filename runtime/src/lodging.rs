//! A cgroup of its own for a process that outlives the command which started it.
//!
//! A compilation that stayed in its caller's cgroup would keep the manager from removing that, and would count against it. It moves
//! into one beside all containers, and out again to remove it.
//!
//! Where cgroups cannot be made (rootless without delegation) the process stays where it is: better late removal than
//! no compiled code.

use libcgroups::common::{AnyCgroupManager, CgroupConfig, CgroupManager, create_cgroup_manager};
use nix::unistd::Pid;

use crate::cgroup;

/// A pid comes behind it.
const NAME: &str = "rr-runtime-compiler-";

/// A cgroup that holds this process, and what it starts, until it is dropped.
pub(crate) struct Lodging {
    manager: Option<AnyCgroupManager>,
}

impl Lodging {
    /// Moves this process into a new cgroup. Removes those of others that were killed, maybe for their memory, and could not.
    pub(crate) fn enter() -> Self {
        cgroup::sweep(NAME);
        let pid = Pid::this();
        let name = format!("{NAME}{pid}");
        let lodging = Self { manager: manager(&format!("/{name}"), &name) };
        let entered = lodging.manager.as_ref().map(|manager| manager.add_task(pid));
        if let Some(Err(error)) = entered {
            // Half entered: out again, which is what dropping it does.
            tracing::debug!("cgroup {name}: cannot be entered: {error}");
            drop(lodging);
            return Self { manager: None };
        }
        lodging
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        // Whoever is still in a cgroup when it is removed is killed, so it has to be left first.
        if let Some(manager) = self.manager.take()
            && leave(Pid::this())
            && let Err(error) = manager.remove()
        {
            tracing::debug!("the compiler's cgroup cannot be removed: {error}");
        }
    }
}

/// Moves a process to the root, where everybody may be; whether that was possible.
fn leave(pid: Pid) -> bool {
    match manager("/", "root").map(|root| root.add_task(pid)) {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            tracing::debug!("the compiler's cgroup cannot be left: {error}");
            false
        }
        None => false,
    }
}

fn manager(path: &str, name: &str) -> Option<AnyCgroupManager> {
    let config =
        CgroupConfig { cgroup_path: path.into(), systemd_cgroup: false, container_name: name.to_owned() };
    create_cgroup_manager(config).ok()
}
