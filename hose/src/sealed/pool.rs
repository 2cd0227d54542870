//! Buffers that wait to be filled, each once (the module's page says why once).

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::size_of;
use super::stock::{Stock, fits};
use crate::Result;

/// Buffers that wait to be filled. Bounded in bytes; empty until [`Pool::prepare`], or until payloads of like size follow each other:
/// then a thread makes the next one.
#[derive(Debug)]
pub struct Pool {
    buffers: Vec<Buffer>,
    stock: Stock,
    /// Bytes of the last payload that wanted a buffer, and when it had been sent.
    last: Option<(usize, Instant)>,
    /// How long there was nothing to send before this one.
    pause: Duration,
    max_bytes: usize,
    warm: u64,
    cold: u64,
}

/// A shorter pause between two payloads is of no use to the thread: it would take the time from the next one.
const USABLE: Duration = Duration::from_millis(1);

impl Pool {
    /// Holds at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            buffers: Vec::new(),
            stock: Stock::new(),
            last: None,
            pause: Duration::ZERO,
            max_bytes,
            warm: 0,
            cold: 0,
        }
    }

    /// Bytes of memory that wait.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(Buffer::capacity).sum::<usize>() + self.stock.bytes()
    }

    /// How often a buffer was there, and how often one had to be made.
    pub fn taken(&self) -> (u64, u64) {
        (self.warm, self.cold)
    }

    /// Sees to it that a buffer for `len` bytes waits: `false` when that would exceed the bound. To be called when there
    /// is nothing else to do: 100 MB take some 7 ms.
    pub fn prepare(&mut self, len: usize) -> Result<bool> {
        if self.fitting(len).is_some() {
            return Ok(true);
        }
        let fits = size_of(len).is_some_and(|size| self.bytes().saturating_add(size) <= self.max_bytes);
        if fits && len > 0 {
            self.buffers.push(Buffer::new(len)?);
        }
        Ok(fits && len > 0)
    }

    /// Whether a buffer for `len` bytes waits, or is being made.
    pub fn has(&self, len: usize) -> bool {
        self.fitting(len).is_some() || self.stock.has(len)
    }

    /// A buffer for `len` bytes: one that waits, else a new one.
    pub fn take(&mut self, len: usize) -> Result<Buffer> {
        match self.take_ready(len)? {
            Some(buffer) => Ok(buffer),
            None => {
                self.cold += 1;
                Buffer::new(len)
            }
        }
    }

    /// One that waits, or that is being made.
    pub(crate) fn take_ready(&mut self, len: usize) -> Result<Option<Buffer>> {
        let buffer = match self.fitting(len) {
            Some(index) => Some(self.buffers.swap_remove(index)),
            None => self.stock.take(len).map(Buffer::of).transpose()?,
        };
        self.warm += u64::from(buffer.is_some());
        Ok(buffer)
    }

    /// To be called before a payload of `len` bytes is sent that may want a buffer: none is begun for the next one meanwhile, and
    /// one that does not fit is given up, so that only one payload's memory is held beside its source.
    pub(crate) fn recall(&mut self, len: usize) {
        self.stock.recall(len);
        self.pause = self.last.map_or(Duration::ZERO, |(_, sent)| sent.elapsed());
    }

    /// To be called after a payload of `len` bytes was sent that wanted a buffer. From the second of like size on, where there is a pause between
    /// them, the next one's is made by a thread, once each of `peers` has something to say.
    pub(crate) fn restock(&mut self, len: usize, peers: impl FnOnce() -> Vec<OwnedFd>) {
        let Some(size) = size_of(len) else { return };
        let last = self.last.replace((size, Instant::now())).map_or(0, |(last, _)| last);
        let larger = last.max(size);
        let again = fits(larger, last.min(size)) && self.pause >= USABLE;
        if again && self.fitting(len).is_none() {
            self.stock.wish(larger, peers());
        }
    }

    /// The smallest one that holds `len` bytes and does not waste as much again.
    fn fitting(&self, len: usize) -> Option<usize> {
        let size = size_of(len)?;
        let candidates = self.buffers.iter().map(Buffer::capacity).enumerate();
        candidates
            .filter(|(_, capacity)| fits(*capacity, size))
            .min_by_key(|(_, c)| *c)
            .map(|(index, _)| index)
    }
}
