//! Payloads that change hands as sealed memory: memfd_create(2), and the seals of fcntl(2).
//!
//! ```text
//! Buffer ──freeze──► Frozen ──descriptor──► Sealed ──map_into──► Mapped
//! writable, mapped   nobody can write it    checked              private, in the receiver's region
//! ```
//!
//! | type | is |
//! | --- | --- |
//! | [`Buffer`] | writable memory for one payload; over a range of the caller's, or anywhere |
//! | [`Frozen`] | a payload that nobody can change any more; one serves a whole fan-out |
//! | [`Pool`] | buffers that wait to be filled |
//! | [`Mapped`] | a frozen payload in a receiver's region |
//! | [`Spool`] | a payload that is read or written as a file |
//! | [`Range`] | memory whose pages may be replaced |
//!
//! # Invariants
//!
//! - Freezing takes the writable mapping away *before* it seals: F_SEAL_WRITE is refused while there is one. After it neither
//!   side can see what the other writes: a receiver maps privately.
//! - A file's size is a function of its payload's length alone (`size_of`), and all its pages are there: whoever froze it is
//!   charged for them, not who maps it.
//! - What lies behind a payload's last byte is zero.
//! - A range is never without a mapping: each one is replaced in one call by the next.
//!
//! # Why nothing is used twice
//!
//! Seals cannot be taken off, and what is not sealed against writing cannot be trusted by a receiver. So a memfd serves one
//! payload, and what a pool can save is what comes before the payload: making the file, and giving it pages, huge ones where they
//! can be had. Those come from the kernel, wiped.

mod buffer;
mod check;
mod map;
mod pool;
mod spool;
mod stock;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests;

pub use buffer::{Buffer, Frozen, Pages, View};
pub(crate) use check::{Placed, Sealed};
pub(crate) use map::Mapping;
pub use map::Range;
pub use pool::Pool;
pub use spool::{Contents, Spool};

pub use crate::stream::Mapped;

/// Bytes of a small page, on the architectures that this runs on.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a huge page.
pub(crate) const HUGE: usize = 2 << 20;

/// What lies in a buffer from this length on goes as a descriptor: it is one huge page to map, where its receiver has room for that, and no more than two
/// thirds of it are wasted. A shorter one costs more to map than to copy, or to wipe than it saves.
pub const GIVEN_MIN: usize = 768 << 10;

/// What else is worth sealing, and copied for that first.
pub const FROZEN_MIN: usize = HUGE;

/// A payload from this length on gets huge pages: below, what one costs to wipe is more than what it saves (`examples/transfer.rs`).
pub(crate) const HUGE_MIN: usize = 512 << 10;

/// Bytes of the file for a payload of `len`: whole huge pages from [`HUGE_MIN`] on, else whole pages. `None` beyond what can
/// be addressed.
pub(crate) fn size_of(len: usize) -> Option<usize> {
    len.max(1).checked_next_multiple_of(if len < HUGE_MIN { PAGE } else { HUGE })
}
