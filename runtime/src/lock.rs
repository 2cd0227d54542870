//! One command at a time on one container.
//!
//! A POSIX record lock (`fcntl`, see fcntl_locking(2)) on `<state>/lock`, not `flock`: a container's init is a clone of the
//! runtime that lives on after it with copies of its descriptors, and an flock belongs to the open file, so a
//! created container would stay locked. A record lock belongs to the process that took it and ends with it, also
//! when it is killed.
//!
//! A hook runs while its command holds the lock: a command of the hook's on the same container would wait for what waits for
//! it. It is refused: where a process holds the lock that runs this program and is an ancestor of this one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::process;

/// Held while a command changes a container.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Waits until no other command holds the lock of the container whose state lies in `folder`.
    ///
    /// `None` when the container is gone, also when it vanished while this waited.
    pub(crate) fn acquire(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("lock");
        loop {
            let Some(file) = open(&path, OFlags::CREATE)? else { return Ok(None) };
            check_holder(&file, &path)?;
            retry(|| rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive))
                .context(ErrorKind::State, || format!("{}: cannot be locked", path.display()))?;
            if is_current(&file, &path) {
                return Ok(Some(Self { file }));
            }
        }
    }

    /// Its descriptor, which a process that is forked while it is held has no use for: the lock is not its own.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Whether another process holds the lock now. Not for its holder: closing any descriptor of the file releases
    /// a record lock.
    pub(crate) fn is_held(folder: &Path) -> bool {
        let Ok(Some(file)) = open(&folder.join("lock"), OFlags::empty()) else { return false };
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }
}

/// An error when the holder waits for this process.
fn check_holder(file: &File, path: &Path) -> Result<()> {
    match holder(file) {
        Some(pid) if process::is_ancestor(pid) && process::runs_this_program(pid) => {
            let message = format!("{}: is held by pid {pid}, which waits for this command", path.display());
            Err(Error::new(ErrorKind::State, message))
        }
        _ => Ok(()),
    }
}

/// Who would have to be waited for; nothing when it cannot be said.
fn holder(file: &File) -> Option<i32> {
    let mut found = record(0, 0);
    nix::fcntl::fcntl(file.as_raw_fd(), nix::fcntl::FcntlArg::F_GETLK(&mut found)).ok()?;
    (i32::from(found.l_type) != libc::F_UNLCK).then_some(found.l_pid)
}

/// A record lock for writing, on so many bytes from `start` on; no length is all that follow.
pub(crate) fn record(start: u32, len: u32) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start.into(),
        l_len: len.into(),
        l_pid: 0,
    }
}

/// Opens the lock file; with `CREATE` it is made where its folder exists.
fn open(path: &Path, create: OFlags) -> Result<Option<File>> {
    let flags = OFlags::RDWR | create | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(io::Error::from(error))
            .context(ErrorKind::State, || format!("{}: cannot be opened", path.display())),
    }
}

/// Whether the file that was locked is still the one that others will open.
fn is_current(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(theirs)) = (rustix::fs::fstat(file), rustix::fs::stat(path)) else { return false };
    (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}
