//! Starts take turns, where there are many of them at once.
//!
//! A start goes through several processes, one after the other, and each of these waits for a processor behind those of all other starts: of
//! fifty at once none would be done before all are nearly done. So only a few go on at the same time, and the others wait until one of
//! them is through. The last one is through no later for that, and most are much sooner (docs/evaluation.md).
//!
//! A turn is a lock on a byte of a file that all containers of a user have in common, whatever folder their states are in: a record lock, as in
//! [`crate::lock`], which ends with the process that has it, also when that is killed. It is no promise: who has waited for [`PATIENCE`] goes on
//! without, as does who cannot use the file, so that nobody's start depends on another's.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::affinity;
use crate::lock::record;
use crate::signals::Interruptions;

/// Name of the file. No container can be called so.
const FILE: &str = "@turns";

/// How many starts go on at the same time for each processor: while one waits for the kernel or the disk, another goes on.
const EACH: u32 = 2;

/// How long a start waits for a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// After so long a start that waits for one turn looks whether another one is free.
const LOOKS_AROUND: Duration = Duration::from_millis(50);

/// Held while a container is created; none by default.
#[derive(Debug, Default)]
pub(crate) struct Turn(RefCell<Option<File>>);

impl Turn {
    /// Waits for a turn; `folder` is the one of the user's states.
    pub(crate) fn take(folder: &Path) -> Self {
        let turns = EACH * affinity::count();
        let taken = open(folder).and_then(|file| Ok(wait(&file, turns)?.then_some(file)));
        Self(RefCell::new(taken.unwrap_or_else(|error| {
            tracing::debug!("{}: no turn is waited for: {error}", folder.join(FILE).display());
            None
        })))
    }

    /// Before what may take as long as it likes: nobody else shall wait for that.
    pub(crate) fn give_back(&self) {
        self.0.take();
    }

    /// Its descriptor, which a process that is forked meanwhile has no use for: the lock is not its own.
    pub(crate) fn descriptor(&self) -> Option<i32> {
        self.0.borrow().as_ref().map(AsRawFd::as_raw_fd)
    }
}

fn open(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let path = folder.join(FILE);
    match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            options.open(&path)
        }
        opened => opened,
    }
}

/// Waits until one of so many turns is free, and takes it; `false` when it was waited for long enough.
fn wait(file: &File, turns: u32) -> io::Result<bool> {
    let first = std::process::id() % turns;
    let free = || -> io::Result<bool> {
        for number in (first..turns).chain(0..first) {
            if lock(file, number, |lock| FcntlArg::F_SETLK(lock))? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if free()? {
        return Ok(true);
    }
    let begun = Instant::now();
    let _interruptions = Interruptions::every(LOOKS_AROUND)?;
    while begun.elapsed() < PATIENCE {
        if lock(file, first, |lock| FcntlArg::F_SETLKW(lock))? || free()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether this process has the lock of this number now.
fn lock(file: &File, number: u32, how: fn(&libc::flock) -> FcntlArg<'_>) -> io::Result<bool> {
    match fcntl(file.as_raw_fd(), how(&record(number, 1))) {
        Ok(_) => Ok(true),
        Err(Errno::EACCES | Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Has every turn, as a lock of an open file, which is another's also for this process.
    fn occupy(folder: &Path) -> File {
        let file = open(folder).expect("the file");
        fcntl(file.as_raw_fd(), FcntlArg::F_OFD_SETLK(&record(0, 0))).expect("nobody else has one");
        file
    }

    /// One test, since the handler of the interruptions is the whole process's.
    #[test]
    fn a_start_waits_for_its_turn_and_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("not there yet");
        assert!(Turn::take(&folder).descriptor().is_some(), "nobody is before this one");

        let all = occupy(&folder);
        let begun = Instant::now();
        assert!(Turn::take(&folder).descriptor().is_none(), "all turns are taken");
        assert!(begun.elapsed() >= PATIENCE);

        let begun = Instant::now();
        let other = thread::spawn(move || {
            thread::sleep(LOOKS_AROUND * 3);
            drop(all);
        });
        assert!(Turn::take(&folder).descriptor().is_some(), "one was given back");
        assert!(begun.elapsed() >= LOOKS_AROUND * 3);
        other.join().expect("no panic");
    }

    #[test]
    fn who_cannot_use_the_file_starts_all_the_same() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(Turn::take(file.path()).descriptor().is_none());
    }
}
