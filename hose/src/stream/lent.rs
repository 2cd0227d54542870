//! A region lent to the kernel: vmsplice(2) into a pipe, splice(2) from there into a socket (the paper's Algorithm 1, lines 8 to 11).
//!
//! The kernel reads the pages themselves, and later: until the peer's host has said that it has every byte, whatever is
//! written to the region may reach it. A [`Lent`] borrows the region. Who drops it before has to see to it that the peer never believes what it got
//! ([`Kind::Confirmed`](super::wire::Kind::Confirmed)).

#![expect(unsafe_code, reason = "vmsplice(2), and a signal that splice(2) cannot be asked not to raise")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, vmsplice};

use super::link::{Broken, Progress, broken};

/// Bytes of the pipe, as far as the system lets an ordinary user go.
const PIPE: usize = 1 << 20;

/// The paper's virtual data hose: what is put into it are pages, not bytes.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one is slower and no more.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Ok(Self { read, write })
    }
}

/// A region on its way through a pipe.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    region: &'a [u8],
    /// Bytes that are or were in the pipe.
    offered: usize,
    /// Bytes that the socket has.
    sent: usize,
}

impl<'a> Lent<'a> {
    pub(crate) fn new(region: &'a [u8]) -> Self {
        Self { region, offered: 0, sent: 0 }
    }

    /// Bytes that the socket has.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// As far as it goes without waiting, up to the first `until` bytes. `more` says that something will follow the region.
    pub(crate) fn advance(
        &mut self,
        pipe: &Pipe,
        socket: BorrowedFd<'_>,
        until: usize,
        more: bool,
    ) -> Result<Progress, Broken> {
        let until = until.min(self.region.len());
        let _quiet = WithoutSigpipe::new();
        while self.sent < until {
            if self.offered == self.sent {
                self.offer(pipe, until)?;
            }
            let mut flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            if more || self.offered < self.region.len() {
                flags |= SpliceFlags::MORE;
            }
            match splice(&pipe.read, None, socket, None, self.offered - self.sent, flags) {
                Ok(0) => return Err(Broken::Closed),
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN) => return Ok(Progress::Later),
                Err(Errno::INTR) => {}
                Err(e) => return Err(broken("splice", e)),
            }
        }
        Ok(Progress::Done)
    }

    /// Fills the empty pipe.
    fn offer(&mut self, pipe: &Pipe, until: usize) -> Result<(), Broken> {
        let end = until.min(self.offered + PIPE);
        let part = [IoSliceRaw::from_slice(&self.region[self.offered..end])];
        loop {
            // SAFETY: without SPLICE_F_GIFT the kernel only reads the pages, which it holds on to itself, however long they are mapped
            // here. What it reads after the borrow has ended may be anything; the module's page says who sees to that.
            match unsafe { vmsplice(pipe.write.as_fd(), &part, SpliceFlags::NONBLOCK) } {
                Ok(n) => self.offered += n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(broken("vmsplice", e)),
            }
            return Ok(());
        }
    }
}

/// While it exists, a socket whose peer is gone is an error and no signal: sendmsg(2) has a flag for that, splice(2) has none.
struct WithoutSigpipe {
    before: libc::sigset_t,
}

impl WithoutSigpipe {
    /// `None` where the signal was blocked already.
    fn new() -> Option<Self> {
        let pipe = only_sigpipe();
        let mut before = pipe;
        // SAFETY: both sets are initialized and live for the call.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before) };
        // SAFETY: an initialized set.
        let blocked = unsafe { libc::sigismember(&raw const before, libc::SIGPIPE) } == 1;
        (!blocked).then_some(Self { before })
    }
}

impl Drop for WithoutSigpipe {
    fn drop(&mut self) {
        let (pipe, now) = (only_sigpipe(), libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: the set and the time live for the call; no details are asked for. Takes one that this thread has just earned.
        unsafe { libc::sigtimedwait(&raw const pipe, std::ptr::null_mut(), &raw const now) };
        // SAFETY: an initialized set, the one that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: writes the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialized, and the signal exists.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: initialized by the two calls above.
    unsafe { set.assume_init() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    static RAISED: AtomicBool = AtomicBool::new(false);

    extern "C" fn raised(_: libc::c_int) {
        RAISED.store(true, Ordering::SeqCst);
    }

    #[test]
    fn a_socket_whose_peer_is_gone_is_an_error_and_no_signal() {
        let handler: extern "C" fn(libc::c_int) = raised;
        // SAFETY: the handler only stores a flag. Rust's own start has the signal ignored, which is put back below.
        let before = unsafe { libc::signal(libc::SIGPIPE, handler as libc::sighandler_t) };
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let region = vec![1; 10_000];
        let pipe = Pipe::new().unwrap();
        let sent = Lent::new(&region).advance(&pipe, ours.as_fd(), region.len(), false);
        assert!(matches!(sent, Err(Broken::Closed)), "{sent:?}");
        // SAFETY: puts back what was there.
        unsafe { libc::signal(libc::SIGPIPE, before) };
        assert!(!RAISED.load(Ordering::SeqCst));
    }
}
