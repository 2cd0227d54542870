//! A function's root: the container's, with every procfs out of reach.
//!
//! `/proc/self/mem` writes where no page protection holds, `environ` and `cmdline` were the runtime's, and `fd` leads to
//! what is not the guest's. Yet the container itself shall have its procfs, as under runc: `podman top` and a program that is
//! executed beside the function read it. So the two get different roots in one mount namespace:
//!
//! 1. each procfs is covered, by an empty read-only tmpfs (a file: by `/dev/null`);
//! 2. the whole tree of mounts is cloned, detached (open_tree(2));
//! 3. the covers are taken off again;
//! 4. init changes its root to the clone, and closes it.
//!
//! A detached tree whose descriptor is closed belongs to no namespace, stays connected as long as somebody's root is in it,
//! and cannot be changed by anybody any more: what is covered in it stays covered. Whoever joins the mount
//! namespace lands in the container's own root. Further functions of a container take the root of its init.
//!
//! Runs in init, before the privileges for it are dropped; follows no path out of the container, because its root is the
//! container's already.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, open_tree, unmount};

use crate::error::{Context, ErrorKind, Result};

/// Where a function's root comes from.
#[derive(Debug)]
pub(crate) enum Root {
    /// The container's own, with these places covered: absolute paths in the container.
    Covered(Vec<PathBuf>),
    /// That of a function which runs already.
    Of(OwnedFd),
}

impl Root {
    /// Makes it this process's root, and enters `cwd` in it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`], naming the call and the place.
    pub(crate) fn enter(self, cwd: &Path) -> Result<()> {
        let root = match self {
            Self::Covered(places) => covered(&places)?,
            Self::Of(root) => root,
        };
        rustix::process::fchdir(&root)
            .context(ErrorKind::System, || "fchdir: the function's root".to_owned())?;
        rustix::process::chroot(".")
            .context(ErrorKind::System, || "chroot: the function's root".to_owned())?;
        match rustix::process::chdir(cwd) {
            // A folder that only the container's user may enter: libcontainer enters it when it is that user.
            Ok(()) | Err(Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(errno) => Err(errno).context(ErrorKind::System, || format!("chdir: {}", cwd.display())),
        }
    }
}

/// A detached clone of the tree of mounts in which `places` are covered.
fn covered(places: &[PathBuf]) -> Result<OwnedFd> {
    let mut covers = Covers(Vec::new());
    for place in places {
        covers.add(place)?;
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, "/", flags).context(ErrorKind::System, || "open_tree: the container's root".to_owned())
}

/// Covers that are taken off when dropped, the last one first.
struct Covers<'a>(Vec<&'a Path>);

impl<'a> Covers<'a> {
    fn add(&mut self, place: &'a Path) -> Result<()> {
        let Ok(metadata) = place.symlink_metadata() else {
            return Ok(());
        };
        let done = if metadata.is_dir() {
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("tmpfs", place, "tmpfs", flags, c"mode=0555")
        } else {
            mount_bind("/dev/null", place)
        };
        done.context(ErrorKind::System, || format!("mount: covering {}", place.display()))?;
        self.0.push(place);
        Ok(())
    }
}

impl Drop for Covers<'_> {
    fn drop(&mut self) {
        for place in self.0.iter().rev() {
            // It is ours, and nobody is in it yet: this fails only together with everything else.
            let _ = unmount(*place, UnmountFlags::DETACH);
        }
    }
}
