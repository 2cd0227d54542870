//! Deadlines of calls, kept from outside: a function that is called on its sender's thread may loop or wait for ever.
//!
//! One thread sleeps until the first deadline, stops what it finds late, and interrupts the system call in which it may be. Calls
//! that return in time never meet it: arming is two locks that nobody else holds, and a clock. As deadlines grow with time, the
//! thread is woken only by one that is earlier than what it sleeps until.
//!
//! Invariant: a call that has been disarmed is not stopped any more, and [`Watchdog::disarm`] says whether it was: then the
//! executor has to be told to forget it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Canceller;
use crate::error::{Error, ErrorKind, Result};
use crate::process::{self, Thread};

/// No deadline.
const NEVER: u64 = u64::MAX;
/// How often a late call is told again: one that waits in a system call goes on to the next one.
const AGAIN: Duration = Duration::from_millis(10);

/// Makes calls into a guest, and keeps their deadline.
pub(crate) trait Keeper {
    /// Until when the call that is about to be made has time.
    fn deadline(&self) -> Option<Instant>;

    /// Makes the call.
    fn keep<R>(&self, call: impl FnOnce() -> R) -> R;

    /// Whether the last call was stopped, or may have been.
    fn was_late(&self) -> bool;
}

/// Keeps none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unkept;

impl Keeper for Unkept {
    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn keep<R>(&self, call: impl FnOnce() -> R) -> R {
        call()
    }

    fn was_late(&self) -> bool {
        false
    }
}

/// The deadline of one function's running call.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Nanoseconds since the watchdog's beginning.
    deadline: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<(Arc<Canceller>, Thread)>,
    cancelled: bool,
}

/// All deadlines of a process.
#[derive(Debug)]
pub(crate) struct Watchdog {
    beginning: Instant,
    /// By the functions' numbers; as many as were asked for yet.
    watches: boxcar::Vec<Watch>,
    /// When the thread will look next, in nanoseconds; `NEVER` while it looks, too: whoever arms then has to wake it.
    planned: AtomicU64,
    gate: Mutex<()>,
    wake: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Arc<Self>> {
        let dog = Arc::new(Self {
            beginning: Instant::now(),
            watches: boxcar::Vec::new(),
            planned: AtomicU64::new(NEVER),
            gate: Mutex::new(()),
            wake: Condvar::new(),
        });
        let thread = Arc::clone(&dog);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .stack_size(64 << 10)
            .spawn(move || thread.run())
            .map_err(|error| Error::with(ErrorKind::System, "start the watchdog's thread", error))?;
        Ok(dog)
    }

    /// Sets the deadline of the call that this thread is about to make into function number `function`.
    pub(crate) fn arm(&self, function: usize, canceller: &Arc<Canceller>, deadline: Instant) {
        let watch = self.watch(function);
        let mut state = lock(&watch.state);
        state.armed = Some((Arc::clone(canceller), Thread::this()));
        state.cancelled = false;
        drop(state);
        let deadline = self.nanoseconds(deadline);
        watch.deadline.store(deadline, Ordering::SeqCst);
        if self.planned.load(Ordering::SeqCst) > deadline {
            drop(lock(&self.gate));
            self.wake.notify_one();
        }
    }

    /// The call has returned. Whether it was stopped, or may have been: its executor has to forget that.
    pub(crate) fn disarm(&self, function: usize) -> bool {
        let watch = self.watch(function);
        watch.deadline.store(NEVER, Ordering::SeqCst);
        let mut state = lock(&watch.state);
        state.armed = None;
        state.cancelled
    }

    /// The watch of a function, made where there is none yet. (Two threads may make one too many, which is never armed.)
    fn watch(&self, function: usize) -> &Watch {
        loop {
            match self.watches.get(function) {
                Some(watch) => return watch,
                None => self.watches.push(Watch::default()),
            };
        }
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        // 584 years.
        u64::try_from(at.saturating_duration_since(self.beginning).as_nanos()).unwrap_or(NEVER - 1)
    }

    fn run(&self) {
        let mut gate = lock(&self.gate);
        loop {
            self.planned.store(NEVER, Ordering::SeqCst);
            let now = self.nanoseconds(Instant::now());
            let next = self.watches.iter().map(|(_, watch)| watch.look(now)).min().unwrap_or(NEVER);
            self.planned.store(next, Ordering::SeqCst);
            // One that was armed between the look and the store has seen `NEVER`, and waits for the gate to wake this thread.
            gate = if next == NEVER {
                self.wake.wait(gate).unwrap_or_else(PoisonError::into_inner)
            } else {
                let pause = Duration::from_nanos(next - now.min(next));
                self.wake.wait_timeout(gate, pause).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { deadline: AtomicU64::new(NEVER), state: Mutex::new(State::default()) }
    }
}

impl Watch {
    /// Stops the call if it is late. When to look again.
    fn look(&self, now: u64) -> u64 {
        let deadline = self.deadline.load(Ordering::SeqCst);
        if deadline > now {
            return deadline;
        }
        let mut state = lock(&self.state);
        // The call may have returned, and the next one begun.
        let deadline = self.deadline.load(Ordering::SeqCst);
        if deadline > now {
            return deadline;
        }
        if let Some((canceller, thread)) = &state.armed {
            canceller.cancel();
            process::interrupt(*thread);
            state.cancelled = true;
        }
        now + u64::try_from(AGAIN.as_nanos()).unwrap_or(0)
    }
}
