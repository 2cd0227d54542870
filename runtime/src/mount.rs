//! Detached mounts: a folder of the host as nobody can change it through us.
//!
//! `/proc/PID/exe` and `/proc/PID/map_files` of an init that never executes anything lead to the runtime's own files. When
//! those were opened on a read-only mount that belongs to no namespace, they cannot be opened for writing that way, whatever
//! the container may do (CVE-2019-5736), and no byte had to be copied.
//!
//! Follows `open_tree(2)` and `mount_setattr(2)`.

#![expect(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

/// A read-only clone of the mount that `folder` lies on, from `folder` down, without what is mounted below it.
///
/// A caller who may not clone mounts gets the folder itself: then the files are protected by their owner and mode alone,
/// which are not the container's, because such a caller's containers have a user namespace or the caller's own rights.
///
/// # Errors
///
/// Those of `open_tree(2)`, `mount_setattr(2)` and `openat(2)`.
pub fn read_only_clone(folder: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match rustix::mount::open_tree(CWD, folder, flags) {
        Ok(tree) => {
            set_read_only(&tree)?;
            Ok(tree)
        }
        // Not permitted, or a kernel or a seccomp profile older than the call.
        Err(Errno::PERM | Errno::NOSYS) => plain(folder),
        Err(errno) => Err(errno),
    }
}

fn plain(folder: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn set_read_only(tree: impl AsFd) -> rustix::io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set_attributes(tree, &attributes, false)
}

/// Shows the files of a detached mount, and with `recursive` of all that are below it, under the ids that a user namespace maps theirs to.
///
/// # Errors
///
/// Those of `mount_setattr(2)`.
pub(crate) fn map_ids(tree: impl AsFd, namespace: impl AsFd, recursive: bool) -> rustix::io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_fd().as_raw_fd()).unwrap_or(0),
    };
    set_attributes(tree, &attributes, recursive)
}

/// Changes a detached mount, and with `recursive` all that are below it.
///
/// # Errors
///
/// Those of `mount_setattr(2)`.
pub(crate) fn set_attributes(
    tree: impl AsFd,
    attributes: &libc::mount_attr,
    recursive: bool,
) -> rustix::io::Result<()> {
    const EMPTY: &CStr = c"";
    let flags = if recursive { libc::AT_EMPTY_PATH | libc::AT_RECURSIVE } else { libc::AT_EMPTY_PATH };
    // SAFETY: the path is a C string, and `attributes` a struct of the size that is given with it; both outlive the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            EMPTY.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_clone_cannot_be_written_and_shows_the_same_files() {
        if !rustix::process::geteuid().is_root() {
            crate::announce_skip("needs root, to clone a mount");
            return;
        }
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("x"), "text").unwrap();
        let clone = read_only_clone(dir.path()).unwrap();
        let path = format!("/proc/self/fd/{}/x", clone.as_raw_fd());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        let error = fs::OpenOptions::new().write(true).open(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        fs::write(dir.path().join("x"), "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn without_privilege_the_folder_itself_is_opened() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("x"), "text").unwrap();
        let folder = plain(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(format!("/proc/self/fd/{}/x", folder.as_raw_fd())).unwrap(), "text");
    }
}
