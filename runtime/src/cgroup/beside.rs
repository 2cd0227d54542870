//! The cgroup of version 2 that a container has beside those of version 1.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::Cgroup;
use super::enter::take_in;
use super::hierarchy::{Host, is_version2};
use crate::error::Result;
use crate::trust;

/// How long what has failed may take to leave it.
const EMPTY_WITHIN: Duration = Duration::from_millis(500);

/// A container's cgroup of version 2 beside version 1, where no controller is (hybrid mode), but by which filters of packets and programs of BPF know whose
/// a process is. The container's process begins in it: to enter it later would stop every fork of the host for some ms.
#[derive(Debug)]
pub(crate) struct Beside {
    folder: PathBuf,
    descriptor: OwnedFd,
    /// Whether it goes with this value: it was made for a container that has not come to be yet.
    fleeting: bool,
}

impl Beside {
    /// Makes it for the path of a container that is to be. `None` where there is no such hierarchy, or not for this user: no other than root may leave a
    /// cgroup of root's for one of their own.
    pub(crate) fn make(path: &Path) -> Option<Self> {
        let host = Host::now().ok().filter(|_| !is_version2() && !trust::is_rootless())?;
        let hierarchy = host.hierarchies.iter().find(|hierarchy| hierarchy.is(&[]))?;
        let folder = hierarchy.folder(&host.own, path)?;
        let fleeting = !folder.exists();
        let made = fs::create_dir_all(&folder).and_then(|()| fs::File::open(&folder));
        match made {
            Ok(descriptor) => Some(Self { folder, descriptor: descriptor.into(), fleeting }),
            Err(error) => {
                tracing::debug!("cgroup {}: cannot be made: {error}", folder.display());
                None
            }
        }
    }

    /// That of a container.
    pub(crate) fn of(cgroup: &Cgroup) -> Option<Self> {
        if is_version2() {
            return None;
        }
        let folder = cgroup.folders.iter().find(|folder| folder.join("cgroup.controllers").exists())?;
        let descriptor = fs::File::open(folder).ok()?.into();
        Some(Self { folder: folder.clone(), descriptor, fleeting: false })
    }

    /// Moves a process there that has begun elsewhere, and keeps it.
    pub(super) fn take_in(self, pid: i32) -> Result<()> {
        take_in(&self.folder, pid)?;
        self.keep();
        Ok(())
    }

    /// The container has come to be, and has it among its folders.
    pub(crate) fn keep(mut self) {
        self.fleeting = false;
    }
}

impl AsFd for Beside {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let began = Instant::now();
        // What was begun in it and failed may take a moment to end.
        while self.fleeting && fs::remove_dir(&self.folder).is_err_and(|error| is_busy(&error)) {
            if began.elapsed() > EMPTY_WITHIN {
                tracing::warn!("cgroup {}: is left, as something is still in it", self.folder.display());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
}
