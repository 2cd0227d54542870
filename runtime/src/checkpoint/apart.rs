//! A mount namespace of its own for criu, so that no mount which is made for it alone is ever seen on the host, whatever becomes of this
//! process.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};

use crate::error::{Context, ErrorKind, Result};

/// This process in a mount namespace of its own, in which the host's mounts still arrive, until [`Apart::leave`].
#[derive(Debug)]
pub(super) struct Apart {
    home: OwnedFd,
    /// setns(2) changes both.
    root: OwnedFd,
    folder: OwnedFd,
}

impl Apart {
    /// # Errors
    ///
    /// [`ErrorKind::System`] without the privilege.
    pub(super) fn enter() -> Result<Self> {
        let open = |path: &str, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
                .context(ErrorKind::System, || format!("{path}: cannot be opened"))
        };
        let folder = OFlags::PATH | OFlags::DIRECTORY;
        let apart = Self {
            home: open("/proc/self/ns/mnt", OFlags::RDONLY)?,
            root: open("/", folder)?,
            folder: open(".", folder)?,
        };
        unshare(CloneFlags::CLONE_NEWNS)
            .context(ErrorKind::System, || "unshare: a mount namespace".to_owned())?;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        if let Err(error) = mount_change("/", slave) {
            apart.leave()?;
            return Err(error).context(ErrorKind::System, || "mount: / cannot be made a slave".to_owned());
        }
        Ok(apart)
    }

    /// Goes back. What was started meanwhile stays where it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`]; this process is then of no more use.
    pub(super) fn leave(self) -> Result<()> {
        let cannot = || "setns: the mount namespace of before".to_owned();
        setns(&self.home, CloneFlags::CLONE_NEWNS).context(ErrorKind::System, cannot)?;
        rustix::process::fchdir(&self.root).context(ErrorKind::System, cannot)?;
        rustix::process::chroot(".").context(ErrorKind::System, cannot)?;
        rustix::process::fchdir(&self.folder).context(ErrorKind::System, cannot)
    }
}
