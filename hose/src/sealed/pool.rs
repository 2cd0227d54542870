//! Buffers that wait to be filled, each once (the module's page says why once).

use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::size_of;
use crate::Result;

/// Buffers that wait to be filled. Bounded in bytes; empty until [`Pool::prepare`].
#[derive(Debug)]
pub struct Pool {
    buffers: Vec<Buffer>,
    max_bytes: usize,
    warm: u64,
    cold: u64,
    /// Until when no huge pages are asked for, as there were none.
    discouraged: Option<Instant>,
}

/// How long to do without after there were no huge pages.
const PAUSE: Duration = Duration::from_secs(1);

impl Pool {
    /// Holds at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { buffers: Vec::new(), max_bytes, warm: 0, cold: 0, discouraged: None }
    }

    /// Bytes of memory that wait.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(Buffer::capacity).sum()
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

    /// Whether a buffer for `len` bytes waits.
    pub fn has(&self, len: usize) -> bool {
        self.fitting(len).is_some()
    }

    /// A buffer for `len` bytes: one that waits, else a new one.
    pub fn take(&mut self, len: usize) -> Result<Buffer> {
        match self.fitting(len) {
            Some(index) => {
                self.warm += 1;
                Ok(self.buffers.swap_remove(index))
            }
            None => {
                self.cold += 1;
                Buffer::new(len)
            }
        }
    }

    /// As [`Pool::take`], but `None` where a new one would not have huge pages, or where there were none lately.
    pub(crate) fn take_if_quick(&mut self, len: usize) -> Result<Option<Buffer>> {
        if self.has(len) {
            return self.take(len).map(Some);
        }
        if self.discouraged.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let buffer = Buffer::of_huge_pages(len)?;
        self.cold += u64::from(buffer.is_some());
        self.discouraged = buffer.is_none().then(|| Instant::now() + PAUSE);
        Ok(buffer)
    }

    /// The smallest one that holds `len` bytes and does not waste as much again.
    fn fitting(&self, len: usize) -> Option<usize> {
        let size = size_of(len)?;
        let fits = |capacity: usize| capacity >= size && capacity / 2 <= size;
        let candidates = self.buffers.iter().map(Buffer::capacity).enumerate();
        candidates.filter(|(_, capacity)| fits(*capacity)).min_by_key(|(_, c)| *c).map(|(index, _)| index)
    }
}
