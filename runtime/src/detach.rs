//! Starting a process that outlives the caller and belongs to nobody; taking and closing what a process inherited.
//!
//! `fork(2)` is safe here for one reason: until a function is executed this program has one thread (see
//! [`detached`]). libcontainer's own fork rests on the same.

#![expect(unsafe_code, reason = "fork(2) and close_range(2) have no safe wrapper")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Executes `command` as a grandchild in a session of its own, with none of the caller's descriptors above standard error.
/// Returns when the process between the two has ended: nothing is left to wait for.
///
/// # Errors
///
/// Those of `fork(2)`; a command that cannot be executed is only known to its own process.
pub(crate) fn spawn(mut command: Command) -> io::Result<()> {
    if !is_single_threaded()? {
        return Err(io::Error::other("the process has more than one thread"));
    }
    // SAFETY: this process has one thread, so the child may do what the parent may; it leaves by `_exit` alone.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        detached(&mut command);
    }
    let pid = rustix::process::Pid::from_raw(child);
    rustix::io::retry_on_intr(|| rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()))?;
    Ok(())
}

/// In the child: the grandchild becomes the command, the child is done.
fn detached(command: &mut Command) -> ! {
    let _ = rustix::process::setsid();
    // SAFETY: as above: one thread.
    if unsafe { libc::fork() } == 0 {
        // Marked, not closed: the command's own descriptors are put in their places by `exec`, which clears the mark there.
        mark_close_on_exec(3);
        let _ = command.exec();
    }
    // SAFETY: ends this process, of which nothing has to be put away.
    unsafe { libc::_exit(0) }
}

fn is_single_threaded() -> io::Result<bool> {
    Ok(std::fs::read_dir("/proc/self/task")?.count() == 1)
}

/// Takes a descriptor that this process was started with, for which its caller has told the number.
///
/// # Errors
///
/// EBADF where there is none, or where it is a standard stream.
pub(crate) fn inherited(fd: i32) -> io::Result<OwnedFd> {
    let missing = || io::Error::from_raw_os_error(libc::EBADF);
    if fd <= libc::STDERR_FILENO {
        return Err(missing());
    }
    // SAFETY: takes numbers.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(missing());
    }
    // SAFETY: it is open; whoever started this process has left it to it, and its number is asked for only here.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Nothing from `first` on is inherited by what this process executes.
pub(crate) fn mark_close_on_exec(first: u32) {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC);
}

/// Closes every descriptor from `first` on. To be called by a process that owns none of them any more.
pub(crate) fn close_from(first: u32) {
    close_range(first, 0);
}

/// Closes what this process was started with from `first` on, and what it runs would not be given: all that is not marked to be closed then, as every descriptor
/// of its own is. A container's init has it open for as long as it waits, otherwise.
pub(crate) fn close_inherited(first: u32) {
    for fd in open_from(first) {
        // SAFETY: takes a number.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == 0 {
            // SAFETY: nothing here owns a descriptor without that mark.
            unsafe { libc::close(fd) };
        }
    }
}

/// The descriptors of this process from `first` on. Among them is that of the list itself, which is closed by now.
fn open_from(first: u32) -> Vec<i32> {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = open.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    numbers.filter(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first)).collect()
}

/// Closes a descriptor that this process has of the one that it was forked from, whose owner is not here.
pub(crate) fn close_forked(fd: i32) {
    // SAFETY: takes a number. What owns it lives in the other process: nothing here uses or closes it any more.
    unsafe { libc::close(fd) };
}

fn close_range(first: u32, flags: u32) {
    // SAFETY: takes numbers. With no flags it closes descriptors whose owners have given them up (see `close_from`).
    let status = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if status == 0 {
        return;
    }
    // A kernel before 5.9 (5.11 for the flag).
    for fd in open_from(first) {
        if flags == 0 {
            // SAFETY: as above; the folder's own descriptor is gone by now, which is EBADF.
            unsafe { libc::close(fd) };
        } else {
            // SAFETY: as above.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    // `spawn` itself is tested through the binary: a test's process has many threads, which is what this asserts.
    #[test]
    fn a_process_with_threads_is_not_forked() {
        let waiting = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || waiting.1.recv());
        let error = spawn(Command::new("/bin/true")).unwrap_err();
        assert!(error.to_string().contains("more than one thread"), "{error}");
        drop(waiting.0);
        thread.join().unwrap().unwrap_err();
    }
}
