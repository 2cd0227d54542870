//! Counting what crosses the hoses of this process, where the runtime has given a page to count in.
//!
//! Whoever sends counts a call of a function of this process, under that function's name; a payload of another container is counted by
//! each end in its own container. Without a page nothing is counted, and no clock is asked.

#![expect(unsafe_code, reason = "a mapping that the runtime has made is known by its address only")]

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use executor_abi::request::Shared;
use executor_abi::statistics::{Counter, Direction, LEN, Mode, Page, Transfer, VISITOR, VISITORS};
use hose::pages::Crossing;
use hose::{Delivery, Name};

/// The page, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics(Option<Page<'static>>);

impl Statistics {
    /// In the memory that a request gives.
    pub(crate) fn of(shared: Option<Shared>) -> Self {
        let page = shared.filter(|shared| shared.len == LEN as u64 && shared.address % 4096 == 0);
        let Some(start) = page.and_then(|shared| usize::try_from(shared.address).ok()).filter(|at| *at != 0)
        else {
            return Self(None);
        };
        // SAFETY: the boundary's contract is that such memory is mapped, readable and writable for its length, and this library's from
        // then on; nobody unmaps it. It is aligned to a page, and only ever used through atomics, on either side of the mapping.
        let words = unsafe { std::slice::from_raw_parts(start as *const AtomicU64, LEN / 8) };
        Self(Page::new(words))
    }

    /// When a call begins that will be counted.
    pub(crate) fn now(&self) -> Option<Instant> {
        self.0.map(|_| Instant::now())
    }

    /// The counter of a function of this process.
    pub(crate) fn local(&self, name: &Name) -> Option<Counter<'static>> {
        self.0.map(|page| page.counter(Direction::Send, Mode::Memory, name.as_str()))
    }

    fn remote(&self, direction: Direction, mode: Mode, name: &Name) -> Option<Counter<'static>> {
        let name = if name.as_str().starts_with(VISITOR) { VISITORS } else { name.as_str() };
        self.0.map(|page| page.counter(direction, mode, name))
    }

    /// A payload that was sent to another container: what the sender's own counts were before and are now, and what came of it.
    pub(crate) fn sent(
        &self,
        to: &Name,
        counts: [hose::Statistics; 2],
        since: Option<Instant>,
        result: &hose::Result<Delivery>,
    ) {
        let Some(counter) = self.remote(Direction::Send, mode_of(counts), to) else { return };
        crossed(counter, counts);
        let took = match result {
            Ok(delivery) => delivery.handled_after,
            Err(_) => since.map_or(Duration::ZERO, |since| since.elapsed()),
        };
        counter.called(took, result.as_ref().map_or(true, |delivery| delivery.status.0 < 0));
    }

    /// A payload of another container's has come.
    pub(crate) fn received(&self, from: &Name, counts: [hose::Statistics; 2]) {
        if let Some(counter) = self.remote(Direction::Receive, mode_of(counts), from) {
            crossed(counter, counts);
        }
    }

    /// A payload of another container's has been handled, or failed.
    pub(crate) fn handled(&self, from: &Name, unix: bool, since: Option<Instant>, failed: bool) {
        let mode = if unix { Mode::Unix } else { Mode::Tcp };
        if let Some((counter, since)) = self.remote(Direction::Receive, mode, from).zip(since) {
            counter.called(since.elapsed(), failed);
        }
    }
}

/// By which transport a payload went. One that did not get as far counts as Unix's.
fn mode_of([before, after]: [hose::Statistics; 2]) -> Mode {
    if after.tcp > before.tcp { Mode::Tcp } else { Mode::Unix }
}

fn crossed(counter: Counter<'_>, [before, after]: [hose::Statistics; 2]) {
    if after.frames > before.frames {
        let transfer = if after.sealed > before.sealed {
            Transfer::Memfd
        } else if after.spliced > before.spliced {
            Transfer::Splice
        } else {
            Transfer::Copy
        };
        counter.crossed(after.bytes - before.bytes, after.copied - before.copied, transfer);
    }
}

/// A payload has gone from one function of this process to another; `sealed` memory is mapped rather than moved.
pub(crate) fn crossed_within(counter: Option<Counter<'_>>, crossing: Crossing, sealed: bool) {
    let Some(counter) = counter else { return };
    let Crossing { moved, copied } = crossing;
    let transfer = match (moved > 0, sealed) {
        (true, true) => Transfer::Memfd,
        (true, false) => Transfer::Move,
        (false, _) => Transfer::Copy,
    };
    counter.crossed(moved.saturating_add(copied), copied, transfer);
}
