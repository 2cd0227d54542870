//! The next buffer, made between two sends by a thread of its own.
//!
//! ```text
//!              wish                 peers are quiet          made
//! (no thread) ──────► Wished ──────────────────────► Making ──────► Ready ── taken, or idle ──► Empty
//!                        └──────────── recalled, or nobody was quiet in time ─────────────────────┘
//! ```
//!
//! # Invariants
//!
//! - One buffer at most is there, and of [`MAX`] bytes at most; it is given up after [`IDLE`] without use, and the thread with it.
//! - None is begun while a peer has not given back what it was sent before: so the memory of a copy is still twice the payload.
//! - Only huge pages are waited for: small ones would save too little.
//! - What the thread does is never necessary: without it (a limit on processes, a filter on system calls) payloads go
//!   through the socket, or into a buffer that is made for them where that was asked for.

use std::iter::once;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::buffer::Blank;
use super::size_of;
use crate::stream::wait;

/// Most bytes of the buffer that waits.
const MAX: usize = 256 << 20;
/// How long it waits to be taken, and the thread for another wish; as long for peers to give back what they have.
const IDLE: Duration = Duration::from_secs(2);
/// Of the thread's stack: it calls nothing deep.
const STACK: usize = 128 << 10;

/// Starts the thread.
type Spawn = fn(Arc<Shared>) -> io::Result<()>;

/// See the module. There is no thread before the first wish.
#[derive(Debug)]
pub(super) struct Stock {
    shared: Option<Arc<Shared>>,
    spawn: Spawn,
    idle: Duration,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when a buffer is made, or could not be.
    made: Condvar,
    /// Told of a wish, and of the end.
    wake: OwnedFd,
    idle: Duration,
}

#[derive(Debug, Default)]
struct State {
    slot: Slot,
    /// Whether there is a thread.
    attended: bool,
    /// Whether nobody will take anything any more.
    closed: bool,
    /// When there were no huge pages.
    failed: Option<Instant>,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// Sockets of peers: each will have something to say when it has given back what it was sent, as so many have.
    Wished {
        len: usize,
        peers: Vec<Arc<OwnedFd>>,
        quiet: usize,
        until: Instant,
    },
    Making {
        size: usize,
    },
    Ready {
        blank: Blank,
        until: Instant,
    },
}

impl Slot {
    /// Bytes of what is or will be there.
    fn size(&self) -> usize {
        match self {
            Slot::Empty | Slot::Wished { .. } => 0,
            Slot::Making { size } => *size,
            Slot::Ready { blank, .. } => blank.size(),
        }
    }
}

impl Stock {
    pub(super) fn new() -> Self {
        Self::with(spawn, IDLE)
    }

    fn with(spawn: Spawn, idle: Duration) -> Self {
        Self { shared: None, spawn, idle }
    }

    /// Bytes of the buffer that waits, or is being made.
    pub(super) fn bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.lock().slot.size())
    }

    /// Asks for a buffer for `len` bytes, once each of `peers` has something to say. What waits for another length is given up.
    pub(super) fn wish(&mut self, len: usize, peers: Vec<OwnedFd>) {
        let Some(size) = size_of(len).filter(|size| *size <= MAX) else { return };
        // Without descriptors there is no stock.
        let Some(shared) = self.shared.clone().or_else(|| Shared::new(self.idle).ok()) else { return };
        self.shared = Some(Arc::clone(&shared));
        let mut state = shared.lock();
        let recently = state.failed.is_some_and(|failed| failed.elapsed() < self.idle);
        if recently || fits(state.slot.size(), size) || matches!(state.slot, Slot::Making { .. }) {
            return;
        }
        let until = Instant::now() + self.idle;
        let peers = peers.into_iter().map(Arc::new).collect();
        state.slot = Slot::Wished { len, peers, quiet: 0, until };
        if state.attended {
            shared.wake();
            return;
        }
        state.attended = true;
        drop(state);
        if (self.spawn)(Arc::clone(&shared)).is_err() {
            let mut state = shared.lock();
            state.slot = Slot::Empty;
            state.attended = false;
        }
    }

    /// Before a payload of `len` bytes is sent: what is not begun shall not be, and what does not fit is given up.
    pub(super) fn recall(&self, len: usize) {
        let (Some(shared), Some(size)) = (&self.shared, size_of(len)) else { return };
        let mut state = shared.lock();
        if !fits(state.slot.size(), size) && !matches!(state.slot, Slot::Making { .. }) {
            let wished = matches!(state.slot, Slot::Wished { .. });
            state.slot = Slot::Empty;
            if wished {
                // It lets go of the peer's socket.
                shared.wake();
            }
        }
    }

    /// Whether there is or will be a buffer that fits.
    pub(super) fn has(&self, len: usize) -> bool {
        size_of(len).is_some_and(|size| fits(self.bytes(), size))
    }

    /// Takes it; waits for one that is being made, which is never longer than making one would be.
    pub(super) fn take(&self, len: usize) -> Option<Blank> {
        let (shared, size) = (self.shared.as_ref()?, size_of(len)?);
        let mut state = shared.lock();
        while matches!(state.slot, Slot::Making { size: made } if fits(made, size)) {
            state = shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::take(&mut state.slot) {
            Slot::Ready { blank, .. } if fits(blank.size(), size) => Some(blank),
            other => {
                state.slot = other;
                None
            }
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut state = shared.lock();
            state.closed = true;
            if !matches!(state.slot, Slot::Making { .. }) {
                state.slot = Slot::Empty;
            }
            shared.wake();
        }
    }
}

/// Whether a buffer of so many bytes holds a payload that needs `size`, and hardly more.
pub(super) fn fits(capacity: usize, size: usize) -> bool {
    capacity >= size && capacity - size <= size / 16
}

fn spawn(shared: Arc<Shared>) -> io::Result<()> {
    let thread = thread::Builder::new().name("hose-stock".into()).stack_size(STACK);
    thread.spawn(move || while shared.attend() {}).map(drop)
}

impl Shared {
    fn new(idle: Duration) -> io::Result<Arc<Self>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { state: Mutex::default(), made: Condvar::new(), wake, idle }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at the state.
    fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// One step of the thread; `false` when it has nothing to wait for any more.
    fn attend(&self) -> bool {
        let state = self.lock();
        if state.closed {
            return false;
        }
        let (peer, until) = match &state.slot {
            Slot::Wished { len, peers, quiet, until } => match peers.get(*quiet) {
                Some(peer) => (Some(Arc::clone(peer)), *until),
                None => {
                    let len = *len;
                    self.make(state, len);
                    return true;
                }
            },
            Slot::Ready { until, .. } => (None, *until),
            Slot::Empty | Slot::Making { .. } => (None, Instant::now() + self.idle),
        };
        drop(state);
        let (woken, is_quiet) = self.wait(peer.as_deref(), until);
        let mut state = self.lock();
        if let (Slot::Wished { peers, quiet, .. }, Some(peer)) = (&mut state.slot, peer)
            && is_quiet
            // Not another wish by now.
            && peers.get(*quiet).is_some_and(|waits| Arc::ptr_eq(waits, &peer))
        {
            *quiet += 1;
        }
        if woken || is_quiet {
            return true;
        }
        state.slot = Slot::Empty;
        state.attended = false;
        false
    }

    /// Whether the thread was woken, and whether the peer has something to say; neither when it is late. A failure is as if it were.
    fn wait(&self, peer: Option<&OwnedFd>, until: Instant) -> (bool, bool) {
        let sockets: Vec<_> =
            once(&self.wake).chain(peer).map(|socket| (socket.as_fd(), PollFlags::IN)).collect();
        let ready = wait(&sockets, Some(until)).unwrap_or_default();
        let woken = ready.first() == Some(&true);
        if woken {
            // It is there to be read: nobody else reads it.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        (woken, ready.get(1) == Some(&true))
    }

    fn make(&self, mut state: MutexGuard<'_, State>, len: usize) {
        state.slot = Slot::Making { size: size_of(len).unwrap_or(0) };
        drop(state);
        let blank = Blank::of_huge_pages(len);
        let mut state = self.lock();
        state.slot = match blank {
            Ok(Some(blank)) if !state.closed => Slot::Ready { blank, until: Instant::now() + self.idle },
            _ => {
                state.failed = Some(Instant::now());
                Slot::Empty
            }
        };
        self.made.notify_all();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sealed::HUGE;

    const LEN: usize = 2 * HUGE - 5;

    /// Whether huge pages can be had; without, there is no stock.
    fn has_huge_pages() -> bool {
        let has = matches!(Blank::of_huge_pages(LEN), Ok(Some(_)));
        if !has {
            crate::announce_skip("no huge pages");
        }
        has
    }

    /// Whether it comes true within two seconds.
    fn soon(mut is_true: impl FnMut() -> bool) -> bool {
        (0..2000).any(|_| {
            is_true() || {
                thread::sleep(Duration::from_millis(1));
                false
            }
        })
    }

    #[test]
    fn a_wish_is_fulfilled_once() {
        if !has_huge_pages() {
            return;
        }
        let mut stock = Stock::new();
        assert!(
            stock.take(LEN).is_none() && stock.shared.is_none(),
            "there is something before the first wish"
        );
        stock.wish(LEN, vec![]);
        assert!(soon(|| stock.has(LEN)));
        assert!(stock.take(100 * HUGE).is_none(), "it does not fit");
        assert_eq!(stock.take(LEN).unwrap().size(), 2 * HUGE);
        assert!(stock.take(LEN).is_none());
        assert_eq!(stock.bytes(), 0);
    }

    #[test]
    fn nothing_is_made_before_every_peer_has_something_to_say() {
        if !has_huge_pages() {
            return;
        }
        let mut stock = Stock::new();
        let pairs = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        let ours = pairs.iter().map(|(ours, _)| ours.try_clone().unwrap().into()).collect();
        stock.wish(LEN, ours);
        for (_, mut theirs) in pairs {
            thread::sleep(Duration::from_millis(20));
            assert_eq!(stock.bytes(), 0, "a peer was not waited for");
            theirs.write_all(b"x").unwrap();
        }
        assert!(soon(|| stock.has(LEN)));
    }

    #[test]
    fn a_wish_that_is_not_begun_is_recalled_and_lets_go_of_its_peers() {
        let mut stock = Stock::new();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        stock.wish(LEN, vec![ours.into()]);
        stock.recall(LEN);
        // Nobody is left to read it.
        assert!(soon(|| theirs.write_all(b"x").is_err()));
        assert_eq!(stock.bytes(), 0);
    }

    #[test]
    fn what_does_not_fit_the_next_payload_is_given_up() {
        if !has_huge_pages() {
            return;
        }
        let mut stock = Stock::new();
        stock.wish(LEN, vec![]);
        assert!(soon(|| matches!(stock.shared.as_ref().unwrap().lock().slot, Slot::Ready { .. })));
        stock.recall(LEN);
        assert!(stock.has(LEN));
        stock.recall(20 * HUGE);
        assert_eq!(stock.bytes(), 0);
    }

    #[test]
    fn what_nobody_takes_is_given_up_and_the_thread_with_it() {
        if !has_huge_pages() {
            return;
        }
        let mut stock = Stock::with(spawn, Duration::from_millis(30));
        for _ in 0..2 {
            stock.wish(LEN, vec![]);
            assert!(soon(|| stock.has(LEN)));
            assert!(soon(|| stock.bytes() == 0 && !stock.shared.as_ref().unwrap().lock().attended));
        }
    }

    #[test]
    fn a_peer_that_never_gives_anything_back_is_not_waited_for_for_ever() {
        let mut stock = Stock::with(spawn, Duration::from_millis(30));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        stock.wish(LEN, vec![ours.into()]);
        assert!(soon(|| !stock.shared.as_ref().unwrap().lock().attended));
        assert_eq!(stock.bytes(), 0);
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let mut stock = Stock::new();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        stock.wish(LEN, vec![ours.into()]);
        let shared = Arc::downgrade(stock.shared.as_ref().unwrap());
        drop(stock);
        assert!(soon(|| shared.upgrade().is_none()));
    }

    #[test]
    fn a_process_that_may_have_no_thread_has_no_stock_and_no_trouble() {
        let mut stock = Stock::with(|_| Err(io::ErrorKind::WouldBlock.into()), IDLE);
        for _ in 0..3 {
            stock.wish(LEN, vec![]);
            assert!(!stock.has(LEN) && stock.take(LEN).is_none());
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_wished_for() {
        let mut stock = Stock::new();
        stock.wish(MAX + 1, vec![]);
        assert!(stock.shared.is_none());
    }
}
