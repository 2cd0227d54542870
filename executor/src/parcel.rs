//! A payload that waits to be pulled, in the hands of two threads: its sender's, which waits, and its receiver's.
//!
//! ```text
//! Waiting ──take──► Leaving ──► Received ──► Handled
//!    └────────refuse, or the sender gives up──► Refused ◄── Leaving, where it cannot be brought
//!                       an answer: Received ──► Answering ──taken by the sender──► Handled
//! ```
//!
//! Invariants:
//! - the sender does not return while the parcel is Leaving: the receiver reads its memory;
//! - the receiver does not go on while it is Answering: the sender reads the receiver's.

#![expect(unsafe_code, reason = "the memory of one thread's guest is read by another, which is waited for")]

use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use guest_abi::Status;
use hose::Name;
use hose::pages::{self, Crossing, Range};
use hose::sealed::Frozen;

use crate::workflow::{Delivered, Payload, Sink, lock};

/// See the module.
#[derive(Debug)]
pub(crate) struct Parcel {
    peer: Name,
    source: Source,
    state: Mutex<State>,
    changed: Condvar,
}

/// What there is to take.
#[derive(Debug)]
enum Source {
    Lent(Bytes),
    Given(Bytes),
    Frozen(Frozen),
}

/// Where bytes of another thread's guest lie.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: an address; what makes using it sound stands where it is used.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    fn of(range: &Range<'_>) -> Self {
        Self { start: NonNull::from(range.bytes()).cast(), len: range.len() }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting,
    Leaving,
    Received,
    Answering(Bytes),
    Handled(Status),
    Refused,
}

impl Parcel {
    /// Of a payload whose sender is about to [`Parcel::wait`].
    pub(crate) fn new(peer: Name, payload: &Payload<'_>) -> Arc<Self> {
        let source = match payload {
            Payload::Lent(range) => Source::Lent(Bytes::of(range)),
            Payload::Given(range) => Source::Given(Bytes::of(range)),
            Payload::Frozen(frozen) => Source::Frozen((*frozen).clone()),
        };
        Arc::new(Self { peer, source, state: Mutex::new(State::Waiting), changed: Condvar::new() })
    }

    /// Who sends it.
    pub(crate) fn sender(&self) -> &Name {
        &self.peer
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.source {
            Source::Lent(bytes) | Source::Given(bytes) => bytes.len,
            Source::Frozen(frozen) => frozen.len(),
        }
    }

    /// As [`Payload::room`].
    pub(crate) fn room(&self) -> usize {
        match &self.source {
            Source::Lent(_) | Source::Given(_) => self.len(),
            Source::Frozen(frozen) => frozen.size(),
        }
    }

    fn change(&self, from: impl Fn(State) -> bool, to: State) -> bool {
        let mut state = lock(&self.state);
        let changes = from(*state);
        if changes {
            *state = to;
        }
        drop(state);
        self.changed.notify_all();
        changes
    }

    /// Gives the payload to `bring`, which brings it to its receiver or fails. Nothing when its sender has given up.
    pub(crate) fn take<R, E>(&self, bring: impl FnOnce(Payload<'_>) -> Result<R, E>) -> Option<Result<R, E>> {
        if !self.change(|state| matches!(state, State::Waiting), State::Leaving) {
            return None;
        }
        // SAFETY: the sender lent the bytes to the parcel, and does not return from `wait` while it is Leaving.
        let range = |bytes: &Bytes| unsafe { Range::new(bytes.start, bytes.len) };
        let lent;
        let brought = bring(match &self.source {
            Source::Lent(bytes) => {
                lent = range(bytes);
                Payload::Lent(&lent)
            }
            Source::Given(bytes) => Payload::Given(range(bytes)),
            Source::Frozen(frozen) => Payload::Frozen(frozen),
        });
        self.change(|_| true, if brought.is_ok() { State::Received } else { State::Refused });
        Some(brought)
    }

    /// Its receiver will not take it.
    pub(crate) fn refuse(&self) {
        self.change(|state| matches!(state, State::Waiting), State::Refused);
    }

    /// The receiver's function has handled it. `answer` is read by the sender, if it wants one, before this returns.
    pub(crate) fn handled(&self, status: Status, answer: Option<&Range<'_>>, wait: Duration) {
        if let Some(answer) = answer {
            self.change(|state| matches!(state, State::Received), State::Answering(Bytes::of(answer)));
            let until = Instant::now() + wait;
            let mut state = lock(&self.state);
            while matches!(*state, State::Answering(_)) {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            drop(state);
        }
        self.change(|_| true, State::Handled(status));
    }

    /// The sender's part: waits until `deadline` for the verdict, longer only while its memory is read.
    pub(crate) fn wait(
        &self,
        name: &Name,
        deadline: Instant,
        timeout: Duration,
        mut answer: Option<Sink<'_>>,
    ) -> Delivered {
        let mut state = lock(&self.state);
        loop {
            match *state {
                State::Handled(status) => return Delivered { status, left: true, text: None },
                State::Refused => {
                    return Delivered::refused(Status::REFUSED, format!("function {name} did not take it"));
                }
                State::Answering(bytes) => {
                    if let Some(sink) = answer.as_mut() {
                        // SAFETY: the receiver waits in `handled` until the state changes, which this thread has locked.
                        sink(unsafe { Range::new(bytes.start, bytes.len) });
                    }
                    *state = State::Received;
                    self.changed.notify_all();
                }
                State::Waiting | State::Received | State::Leaving => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            state = match *state {
                State::Leaving => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::Waiting if left.is_zero() => {
                    *state = State::Refused;
                    let text = format!("function {name} did not receive within {timeout:?}");
                    return Delivered::refused(Status::TIMEOUT, text);
                }
                State::Received if left.is_zero() => {
                    let text = format!("function {name} did not handle a payload within {timeout:?}");
                    return Delivered { status: Status::UNKNOWN, left: true, text: Some(text) };
                }
                _ => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// Gives bytes of one guest's memory to another's: their pages where they may move, or copies; the source is zero then.
pub(crate) fn give(source: Range<'_>, mut target: Range<'_>, moves: bool) -> Crossing {
    if moves {
        return pages::move_to(source, target);
    }
    let crossing = pages::copy(&source, &mut target);
    pages::clear(source);
    crossing
}
