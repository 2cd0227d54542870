//! A process that does nothing but be in a cgroup of systemd's, which has none without a process, until the container's own has come.

#![expect(unsafe_code, reason = "fork(2)")]

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// The process. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Placeholder {
    child: Pid,
    handle: OwnedFd,
}

impl Placeholder {
    /// # Errors
    ///
    /// Those of `fork(2)` and `pidfd_open(2)`.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: this process has one thread until a function is executed (see `detach`), and the child makes nothing but system calls.
        match unsafe { libc::fork() } {
            0 => {
                if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok() {
                    loop {
                        // SAFETY: waits for signals; nothing is handed over.
                        unsafe { libc::pause() };
                    }
                }
                // SAFETY: ends this process, of which nothing has to be put away.
                unsafe { libc::_exit(1) }
            }
            pid => {
                let child = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)?;
                let handle = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
                Ok(Self { child, handle })
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.as_raw_nonzero().get()
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // One that is gone, and reaped, is no matter.
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
        let _ =
            rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.child), WaitOptions::empty()));
    }
}
