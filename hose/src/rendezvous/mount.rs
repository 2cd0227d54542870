//! A detached, read-only clone of the mount that a directory lies on, rooted at that directory.
//!
//! Follows open_tree(2) and mount_setattr(2), Linux 5.12. The clone belongs to no mount namespace: what looks up `..`
//! at its root stays at its root, so its holder reaches the directory and nothing else of the host.

#![expect(unsafe_code, reason = "mount_setattr(2) has no safe wrapper in rustix 1 or nix 0.29")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::{Error, Result};

/// Clones the mount under `directory`. Without the privilege to clone (a rootless runtime outside its own mount
/// namespace) the answer is a plain `O_PATH` descriptor of the directory, which protects nothing that the
/// file modes do not protect already.
pub(super) fn detached(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    match open_tree(directory, "", flags) {
        Ok(tree) => {
            restrict(tree.as_fd()).map_err(|e| Error::system("mount_setattr of the rendezvous folder", e))?;
            Ok(tree)
        }
        Err(Errno::PERM) => plain(directory),
        Err(e) => Err(Error::system("open_tree of the rendezvous folder", e)),
    }
}

fn plain(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    openat(directory, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::system("open the rendezvous folder", e))
}

/// Makes a mount read-only, without set-id bits, devices and programs, and takes it out of propagation.
fn restrict(tree: BorrowedFd<'_>) -> std::io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is a static C string and `attr` lives for the call; the kernel reads `size` bytes of it and
    // writes none. Every argument has the type that mount_setattr(2) gives it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as libc::c_uint,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, fstat, open};

    use super::*;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let fd = open(folder.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (folder, fd)
    }

    #[test]
    fn the_clone_can_be_read_and_not_written_and_has_no_parent() {
        let (_folder, fd) = folder();
        let tree = detached(fd.as_fd()).unwrap();
        openat(&tree, "file", OFlags::RDONLY, Mode::empty()).unwrap();
        if !rustix::process::geteuid().is_root() {
            crate::announce_skip("cloning a mount needs CAP_SYS_ADMIN");
            return;
        }
        let new = openat(&tree, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
        assert_eq!(new.unwrap_err(), Errno::ROFS);
        let parent = openat(&tree, "..", OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(fstat(&parent).unwrap().st_ino, fstat(&fd).unwrap().st_ino);
    }

    #[test]
    fn the_plain_descriptor_is_the_folder() {
        let (folder, fd) = folder();
        let plain = plain(fd.as_fd()).unwrap();
        let expected = rustix::fs::statat(CWD, folder.path(), rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!(fstat(&plain).unwrap().st_ino, expected.st_ino);
        openat(&plain, "file", OFlags::RDONLY, Mode::empty()).unwrap();
    }
}
