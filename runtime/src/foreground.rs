//! Waiting for a container's process in the foreground: pass signals on, copy the terminal, learn the exit code.
//!
//! Everything is a descriptor: signals are blocked from before the process exists and read from a signalfd(2), the process's
//! end is a readable pidfd. Nothing is lost between two calls, and no handler runs.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::notify::Notify;
use crate::signals;
use crate::terminal::Relay;

/// Added to a signal's number to give the exit code of a process that it ended, as in a shell.
const SIGNALLED: i32 = 128;

/// A child that is waited for.
#[derive(Debug)]
pub(crate) struct Foreground {
    pidfd: OwnedFd,
    signals: SignalFd,
    relay: Option<Relay>,
    notify: Option<Notify>,
}

impl Foreground {
    /// `pid` is a child of this process; `blocked` the signals that were blocked before it was made.
    pub(crate) fn new(pid: i32, blocked: &SigSet, relay: Option<Relay>) -> Result<Self> {
        let pid = rustix::process::Pid::from_raw(pid)
            .ok_or_else(|| Error::new(ErrorKind::System, "pid 0 is no child"))?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .context(ErrorKind::System, || "pidfd_open of init".to_owned())?;
        let signals = SignalFd::with_flags(blocked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context(ErrorKind::System, || "signalfd".to_owned())?;
        Ok(Self { pidfd, signals, relay, notify: None })
    }

    /// Also passes on that the container is ready.
    pub(crate) fn with_notify(self, notify: Option<Notify>) -> Self {
        Self { notify, ..self }
    }

    /// Waits for the end and returns the exit code.
    pub(crate) fn wait(mut self) -> Result<i32> {
        loop {
            let ready = self.poll()?;
            if ready[0].intersects(PollFlags::IN) {
                self.pass_signals_on()?;
            }
            if let (Some(relay), [_, _, _, master, stdin, stdout]) = (&mut self.relay, ready) {
                relay
                    .copy([master, stdin, stdout])
                    .context(ErrorKind::System, || "terminal: cannot be copied".to_owned())?;
            }
            if ready[2].intersects(PollFlags::IN)
                && let Some(notify) = &self.notify
                && notify.relay()?
            {
                self.notify = None;
            }
            if ready[1].intersects(PollFlags::IN) {
                let code = self.reap()?;
                if let Some(relay) = &mut self.relay {
                    relay.finish().context(ErrorKind::System, || "terminal: cannot be copied".to_owned())?;
                }
                return Ok(code);
            }
        }
    }

    /// What is ready: the signals, the process, the container's message, then the terminal's three.
    fn poll(&self) -> Result<[PollFlags; 6]> {
        let terminal = self.relay.as_ref().map_or([None, None, None], Relay::interests);
        let own = [&self.signals.as_fd(), &self.pidfd.as_fd()]
            .map(|fd| Some(PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let notify = self.notify.as_ref().map(|notify| PollFd::new(notify, PollFlags::IN));
        let (slots, mut watched): (Vec<usize>, Vec<PollFd<'_>>) = own
            .into_iter()
            .chain([notify])
            .chain(terminal)
            .enumerate()
            .filter_map(|(slot, fd)| fd.map(|fd| (slot, fd)))
            .unzip();
        loop {
            match rustix::event::poll(&mut watched, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::with_source(ErrorKind::System, "poll", error)),
            }
        }
        let mut ready = [PollFlags::empty(); 6];
        for (slot, fd) in slots.into_iter().zip(&watched) {
            ready[slot] = fd.revents();
        }
        Ok(ready)
    }

    fn pass_signals_on(&mut self) -> Result<()> {
        while let Some(info) =
            self.signals.read_signal().context(ErrorKind::System, || "signalfd: read".to_owned())?
        {
            let number = info.ssi_signo.cast_signed();
            match number {
                libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG => {}
                libc::SIGWINCH => {
                    if let Some(relay) = &self.relay {
                        relay.resize();
                    }
                }
                _ => {
                    // Gone already: its end is the next thing that is read.
                    if let Some(signal) = signals::from_number(number) {
                        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
                    }
                }
            }
        }
        Ok(())
    }

    fn reap(&self) -> Result<i32> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(status) => {
                    let status = status.ok_or_else(|| Error::new(ErrorKind::System, "waitid: no status"))?;
                    let signalled = status.terminating_signal().map(|signal| SIGNALLED + signal);
                    return Ok(status.exit_status().or(signalled).unwrap_or(SIGNALLED));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::with_source(
                        ErrorKind::System,
                        "waitid of the container's process",
                        error,
                    ));
                }
            }
        }
    }
}
