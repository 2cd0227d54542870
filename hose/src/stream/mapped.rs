//! A payload in a receiver's region, and the lease of the sender's memory that goes with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::sealed::{Mapping, Placed};
use crate::{Error, Result};

/// Leases that ended after their frames were handled: connection and sequence.
pub(super) type Releases = Rc<RefCell<Vec<(u64, u64)>>>;

/// A sender's memory, as long as it is mapped here.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: u64,
    pub(super) sequence: u64,
    pub(super) releases: Releases,
    pub(super) ended: Cell<bool>,
    /// Whether the sender was told, when its frame was handled, that it has to wait for its memory.
    pub(super) told: Cell<bool>,
}

/// A payload in a region. While this exists, whole pages of the region may be the sender's frozen ones, privately: they can be read and
/// written, and the sender is charged for those that were not written. Keep it as long as the region is the function's;
/// dropped, those pages are fresh, zeroed memory, and the sender is told that it has its own back.
#[must_use = "dropped, the payload is gone"]
#[derive(Debug)]
pub struct Mapped {
    pub(super) mapping: Option<Mapping>,
    pub(super) mapped: usize,
    pub(super) copied: usize,
    pub(super) lease: Option<Rc<Lease>>,
}

impl Mapped {
    /// Of the same process: nobody else has to be told when it goes.
    pub(crate) fn of(Placed { mapping, mapped, copied }: Placed) -> Self {
        Self { mapping, mapped, copied, lease: None }
    }

    /// Bytes that arrived without a copy.
    pub fn mapped(&self) -> usize {
        self.mapped
    }

    /// Bytes that were copied: edges, or the whole of a payload that came as bytes.
    pub fn copied(&self) -> usize {
        self.copied
    }

    /// As dropping it, with the error that the system may give.
    pub fn unmap(mut self) -> Result<()> {
        let mapping = self.mapping.take();
        mapping.map_or(Ok(()), Mapping::end).map_err(|e| Error::system("mmap fresh memory over a payload", e))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.mapping = None;
        let Some(lease) = self.lease.take() else { return };
        lease.ended.set(true);
        if lease.told.get() {
            lease.releases.borrow_mut().push((lease.connection, lease.sequence));
        }
    }
}
