//! What a container's process inherits of signals: what runc's would.
//!
//! runc is a Go program. The Go runtime installs a handler for every signal but an ignored SIGHUP or SIGINT, and execve(2)
//! turns handlers into the default; the mask is that of runc's caller. Rust's start-up, on the other hand, ignores
//! SIGPIPE, and this runtime blocks what it forwards. Both are undone before the container's program runs.

#![expect(unsafe_code, reason = "sigaction(2) and the real-time signals have no safe wrapper")]

use std::time::Duration;

use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, SigmaskHow, Signal, sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

use crate::error::{Context, ErrorKind, Result};

/// The signal mask that this process was started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    mask: SigSet,
}

impl Inherited {
    /// Remembers the mask as it is now.
    pub(crate) fn now() -> Result<Self> {
        let mask = SigSet::thread_get_mask()
            .context(ErrorKind::System, || "signal mask: cannot be read".to_owned())?;
        Ok(Self { mask })
    }

    /// Blocks every signal that can be, and returns what was blocked before. What arrives from now on waits to be read.
    pub(crate) fn block_all() -> Result<(Self, SigSet)> {
        let mut set = SigSet::all();
        // Faults of this process itself are no messages to pass on.
        for fault in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGFPE,
            Signal::SIGILL,
            Signal::SIGABRT,
            Signal::SIGTRAP,
        ] {
            set.remove(fault);
        }
        let mask = set
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .context(ErrorKind::System, || "signal mask: cannot be set".to_owned())?;
        Ok((Self { mask }, set))
    }

    /// The mask of before.
    pub(crate) fn restore_mask(&self) -> nix::Result<()> {
        self.mask.thread_set_mask()
    }

    /// Makes this process's signals what the container's program shall find.
    pub(crate) fn restore(&self) -> nix::Result<()> {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP))
        {
            // SAFETY: the default action runs no code of ours; this process has one thread and is about to be replaced.
            let before = unsafe { sigaction(signal, &default) }?;
            if matches!(signal, Signal::SIGHUP | Signal::SIGINT) && before.handler() == SigHandler::SigIgn {
                // SAFETY: ignoring a signal runs no code of ours either; it is how the caller had it.
                unsafe { sigaction(signal, &before) }?;
            }
        }
        self.restore_mask()
    }
}

/// Interrupts what this thread waits for again and again (EINTR, signal(7)), until it is dropped.
pub(crate) struct Interruptions {
    timer: Timer,
    mask: SigSet,
    before: SigAction,
}

impl Interruptions {
    pub(crate) fn every(time: Duration) -> nix::Result<Self> {
        extern "C" fn nothing(_: i32) {}
        let thread_id = gettid().as_raw();
        let notify = SigevNotify::SigevThreadId { signal: Signal::SIGALRM, thread_id, si_value: 0 };
        let event = SigEvent::new(notify);
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, event)?;
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        let before = unsafe { sigaction(Signal::SIGALRM, &action) }?;
        let mask = SigSet::from(Signal::SIGALRM).thread_swap_mask(SigmaskHow::SIG_UNBLOCK)?;
        timer.set(Expiration::Interval(time.into()), TimerSetTimeFlags::empty())?;
        Ok(Self { timer, mask, before })
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        // Nothing of it can fail that was possible before.
        let _ = self.timer.set(Expiration::OneShot(TimeSpec::new(0, 0)), TimerSetTimeFlags::empty());
        let _ = self.mask.thread_set_mask();
        // SAFETY: what was there before runs for nothing of ours any more.
        let _ = unsafe { sigaction(Signal::SIGALRM, &self.before) };
    }
}

/// By which a Go program ends that does not ask for them, as runc's init does not: also as the first process of a pid namespace, which the kernel spares what it has
/// no handler for.
const DEADLY: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// The exit code of such a program.
const DEAD: i32 = 2;

/// Whether an init that waits for `start` ends by a signal that asks it to, or is as it will find things.
pub(crate) fn wait_mortally(mortal: bool) -> nix::Result<()> {
    extern "C" fn die(_: i32) {
        // SAFETY: ends this process, and may be called at any point of it (signal-safety(7)).
        unsafe { libc::_exit(DEAD) }
    }
    let handler = if mortal { SigHandler::Handler(die) } else { SigHandler::SigDfl };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in DEADLY {
        // SAFETY: the handler does nothing but end the process; the default runs no code of ours.
        let before = unsafe { sigaction(signal, &action) }?;
        if before.handler() == SigHandler::SigIgn {
            // SAFETY: ignored is how the caller had it.
            unsafe { sigaction(signal, &before) }?;
        }
    }
    Ok(())
}

/// A signal by its number: all of Linux's but the two that the C library keeps for itself.
pub(crate) fn from_number(number: i32) -> Option<rustix::process::Signal> {
    if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) {
        // SAFETY: the number is within the range that the C library leaves to programs.
        return Some(unsafe { rustix::process::Signal::from_raw_unchecked(number) });
    }
    rustix::process::Signal::from_named_raw(number)
}
