//! How a serving function is asked to end: SIGTERM and SIGINT do not end its process, but let it finish what it has begun.
//!
//! ```text
//! signal ──► handler, on the drain's thread: what it was, a flag, a byte for who waits
//!               ├──► the receiver (`hose::Receiver::stop_when`): hands out nothing more
//!               └──► the drain's thread: ends the process when the time is over
//! ```
//!
//! Invariants: the handler stores to atomics, writes to one descriptor that is open for as long as the process lives, and leaves
//! `errno` as it was; the descriptor is never read, so that everybody who waits for it is woken. A signal that was ignored when the
//! process began stays so. Further signals change nothing. Threads that run functions have both signals blocked: what a function
//! waits in is not interrupted.

#![expect(unsafe_code, reason = "a signal handler, and the end of a process, have no safe interface")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::error::{Error, ErrorKind, Result};
use crate::process::{self, failed};

/// Set once the process was asked to end.
pub(crate) static STOPPED: AtomicBool = AtomicBool::new(false);
/// The signal that asked first.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// What the handler writes to; stored before the handler is installed, never closed.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// What asks.
const SIGNALS: [c_int; 2] = [libc::SIGTERM, libc::SIGINT];

fn system(call: &str, error: rustix::io::Errno) -> Error {
    Error::with(ErrorKind::System, call.to_owned(), std::io::Error::from(error))
}

/// Makes SIGTERM and SIGINT ask; gives what becomes readable, for good, when they have. They wait for [`drain_within`]: this thread,
/// and those that it starts, do not take them. After `process::install_signals`, once.
pub(crate) fn ask_by_signals() -> Result<OwnedFd> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| system("eventfd for signals", error))?;
    let copy = wake.try_clone().map_err(|error| Error::with(ErrorKind::System, "dup for signals", error))?;
    WAKE.store(copy.into_raw_fd(), Ordering::Release);
    for signal in SIGNALS.into_iter().filter(|signal| !process::is_ignored(*signal)) {
        install(signal)?;
    }
    mask(libc::SIG_BLOCK)?;
    Ok(wake)
}

/// Changes what the calling thread does with the signals that ask.
fn mask(how: c_int) -> Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes an empty set to `set`.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in SIGNALS {
        // SAFETY: `set` was written above, and the signal is one.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: `set` was written above.
    match unsafe { libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(system("pthread_sigmask", rustix::io::Errno::from_raw_os_error(error))),
    }
}

fn install(signal: c_int) -> Result<()> {
    // SAFETY: all zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler has the signature that is asked for, and is async-signal-safe (see `on_signal`).
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
        return Err(failed(&format!("sigaction {signal}")));
    }
    Ok(())
}

/// Async-signal-safe: three atomics and write(2).
extern "C" fn on_signal(signal: c_int) {
    // SAFETY: takes nothing, and gives the calling thread's own place.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the place lives as long as the thread.
    let errno = unsafe { place.read() };
    let _ = SIGNAL.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
    STOPPED.store(true, Ordering::Release);
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the descriptor was stored before the handler was installed and is never closed; `one` is readable for its length.
    unsafe { libc::write(WAKE.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
    // SAFETY: as above.
    unsafe { place.write(errno) };
}

/// Takes the signals on a thread of its own, which ends the process with 128 + the signal when `limit` is over after that.
pub(crate) fn drain_within(wake: OwnedFd, limit: Duration, path: &str) -> Result<()> {
    let line = format!("{path} stopped: it had not finished within the drain timeout of {limit:?}");
    let run = move || {
        // Fails for no signal and no mask that there is.
        let _ = mask(libc::SIG_UNBLOCK);
        wait(&wake);
        std::thread::sleep(limit);
        process::say(&line);
        // SAFETY: ends the process; nothing else runs.
        unsafe { libc::_exit(128 + SIGNAL.load(Ordering::Relaxed)) }
    };
    std::thread::Builder::new()
        .name("drain".to_owned())
        .stack_size(64 << 10)
        .spawn(run)
        .map(drop)
        .map_err(|error| Error::with(ErrorKind::System, "start the drain's thread", error))
}

fn wait(wake: &OwnedFd) {
    let mut fds = [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
    // Nothing but an interruption can fail here: one descriptor that is open.
    while poll(&mut fds, None).is_err() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_leaves_a_word_for_everyone_who_waits_and_the_first_is_remembered() {
        // Whatever the tests' caller ignores: a shell's background has no SIGINT.
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: back to what a process begins with.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        let wake = ask_by_signals().expect("an eventfd");
        mask(libc::SIG_UNBLOCK).expect("a mask");
        assert!(!STOPPED.load(Ordering::Relaxed));
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: raises a signal that has a handler by now.
            assert_eq!(unsafe { libc::raise(signal) }, 0);
            wait(&wake);
            wait(&wake);
        }
        assert!(STOPPED.load(Ordering::Relaxed));
        assert_eq!(SIGNAL.load(Ordering::Relaxed), libc::SIGINT);
    }
}
