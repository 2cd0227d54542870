//! Linear memory, and the only two ways into it: [`read_memory_host`] and [`write_memory_host`] of the paper's
//! Table 1.
//!
//! Invariants:
//! - only *registered* regions are touched (`guest_abi` says how a region becomes one), and of those only what is
//!   in bounds at the moment of the call; all sums are made in 64 bits;
//! - a borrow of guest memory lives inside one closure, during which no instruction of the guest can run: the closure has no
//!   [`Guest`] that it could call, one thread at a time has an instance, and the proposal for shared memories is off;
//! - linear memory never moves and never shrinks (the engine grows it in place), so a pointer that was in bounds stays valid.
//!
//! Beside them stands [`fill_callers_buffer`] for WASI-like calls, in which a guest names a buffer of its own for
//! the answer of that very call. It carries no payload of a hose.

#![expect(unsafe_code, reason = "borrows of the guest's linear memory")]

use std::collections::BTreeMap;
use std::ptr::NonNull;

use guest_abi::Region;
use hose::pages::{self, Range};
use hose::sealed;

use crate::engine::{Guest, Memory, PAGE};

/// Most regions that one guest may have registered: they are the host's memory.
const MAX_REGIONS: usize = 65_536;

/// Why a region is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No registered region covers it, or it overlaps one where it may not.
    NotRegistered,
    /// It is not within the linear memory.
    OutOfBounds,
    /// The guest has too many regions already.
    TooMany,
}

/// The registered regions of one guest. No two overlap.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    by_address: BTreeMap<u32, u32>,
}

impl Regions {
    /// Registers a region that does not overlap one that is registered.
    pub(crate) fn register(&mut self, region: Region) -> Result<(), Refused> {
        if self.by_address.len() >= MAX_REGIONS {
            return Err(Refused::TooMany);
        }
        let before = self.by_address.range(..=region.address).next_back();
        let after = self.by_address.range(region.address..).next();
        let mut neighbours = before.into_iter().chain(after).map(|(&address, &len)| Region { address, len });
        if neighbours.any(|other| other.overlaps(region) || other.address == region.address) {
            return Err(Refused::NotRegistered);
        }
        self.by_address.insert(region.address, region.len);
        Ok(())
    }

    /// Forgets the region that starts at `address`, and returns it.
    pub(crate) fn unregister(&mut self, address: u32) -> Option<Region> {
        self.by_address.remove(&address).map(|len| Region { address, len })
    }

    /// The region that starts at `address`.
    pub(crate) fn at(&self, address: u32) -> Option<Region> {
        self.by_address.get(&address).map(|&len| Region { address, len })
    }

    /// Whether `region` lies within one registered region.
    pub(crate) fn covers(&self, region: Region) -> bool {
        let candidate = self.by_address.range(..=region.address).next_back();
        candidate.is_some_and(|(&address, &len)| Region { address, len }.contains(region))
    }

    /// The key to a region that may be touched now.
    pub(crate) fn check(&self, region: Region) -> Result<Covered, Refused> {
        if self.covers(region) { Ok(Covered(region)) } else { Err(Refused::NotRegistered) }
    }
}

/// A region that lay within a registered one when it was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered(Region);

/// A guest and its linear memory, which was looked up once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    guest: Guest<'a>,
    memory: Option<Memory>,
}

impl<'a> Linear<'a> {
    /// `memory` is the guest's own; another one's has no byte in bounds.
    pub(crate) fn new(guest: Guest<'a>, memory: Option<Memory>) -> Self {
        Self { guest, memory }
    }

    /// Looks it up.
    pub(crate) fn of(guest: Guest<'a>) -> Self {
        Self { guest, memory: guest.memory() }
    }

    /// Whether a region lies within the granted pages.
    pub(crate) fn has(&self, region: Region) -> bool {
        self.start_of(region).is_ok()
    }

    /// Where a region that is in bounds begins in this process.
    fn start_of(&self, region: Region) -> Result<NonNull<u8>, Refused> {
        let memory = self.memory.ok_or(Refused::OutOfBounds)?;
        if region.end() > self.guest.pages_of(memory).saturating_mul(PAGE) {
            return Err(Refused::OutOfBounds);
        }
        // A pointer that may be borrowed for no bytes at all, without asking the engine for byte number `size`.
        if region.len == 0 {
            return Ok(NonNull::dangling());
        }
        let (offset, len) = (u64::from(region.address), u64::from(region.len));
        self.guest.pointer(memory, offset, len).ok_or(Refused::OutOfBounds)
    }

    fn fill<R>(&self, region: Region, write: impl FnOnce(&mut [u8]) -> R) -> Result<R, Refused> {
        let start = self.start_of(region)?;
        // SAFETY: `start_of` checked that the region's bytes lie within the granted pages, which stay mapped; nothing
        // else reads or writes them while the closure runs (see the module's documentation).
        Ok(write(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), region.len as usize) }))
    }
}

/// Lends the bytes of a registered region to `read`.
pub(crate) fn read_memory_host<R>(
    linear: Linear<'_>,
    Covered(region): Covered,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<R, Refused> {
    let start = linear.start_of(region)?;
    // SAFETY: `start_of` checked that the region's bytes lie within the granted pages, which stay mapped; nothing
    // writes to them while the closure runs (see the module's documentation).
    Ok(read(unsafe { std::slice::from_raw_parts(start.as_ptr(), region.len as usize) }))
}

/// Lends the bytes of a registered region to `write`.
pub(crate) fn write_memory_host<R>(
    linear: Linear<'_>,
    Covered(region): Covered,
    write: impl FnOnce(&mut [u8]) -> R,
) -> Result<R, Refused> {
    linear.fill(region, write)
}

/// Lends the pages of a registered region to `with`, for the memory transport: both of the functions above in one, where
/// bytes go from one guest's memory into another's.
pub(crate) fn lend_range<R>(
    linear: Linear<'_>,
    Covered(region): Covered,
    with: impl FnOnce(Range<'_>) -> R,
) -> Result<R, Refused> {
    let start = linear.start_of(region)?;
    // SAFETY: the bytes lie within the granted pages, private anonymous memory that stays mapped; nothing else reads, writes
    // or maps them while the closure runs (see the module's documentation).
    Ok(with(unsafe { Range::new(start, region.len as usize) }))
}

/// Lends bytes of the host's own, to be copied.
pub(crate) fn lend_bytes<R>(bytes: &mut [u8], with: impl FnOnce(Range<'_>) -> R) -> R {
    let len = bytes.len();
    // SAFETY: the bytes are borrowed by this call alone for as long as the closure runs.
    with(unsafe { Range::new(NonNull::from(bytes).cast(), len) })
}

/// The pages of a region, to be replaced by others as long as `Mappings` holds what is made of them.
pub(crate) fn pages_of(
    linear: Linear<'_>,
    Covered(region): Covered,
) -> Result<Option<sealed::Range>, Refused> {
    let start = linear.start_of(region)?;
    // SAFETY: the bytes lie within the granted pages: mapped, readable and writable, private and of no file, unless a mapping of
    // `Mappings` lies there, which makes none over another. The engine does not touch the pages before the instance goes, and
    // `Mappings` is emptied before that (`vm::Vm`). The host's own borrows live inside the closures of this module; its other calls on
    // pages (`lend_range` for a move, `clear`) keep away from regions that are mapped.
    Ok(unsafe { sealed::Range::new(start.as_ptr(), region.len as usize) })
}

/// Makes a region zero that the guest has given up: its whole pages go back to the system.
pub(crate) fn clear(linear: Linear<'_>, region: Region) -> Result<(), Refused> {
    let start = linear.start_of(region)?;
    // SAFETY: the bytes lie within the granted pages, private anonymous memory that stays mapped; the guest does not run.
    pages::clear(unsafe { Range::new(start, region.len as usize) });
    Ok(())
}

/// Lends a buffer that a guest named for the answer of the call which it is making.
pub(crate) fn fill_callers_buffer<R>(
    linear: Linear<'_>,
    address: u32,
    len: u32,
    write: impl FnOnce(&mut [u8]) -> R,
) -> Result<R, Refused> {
    linear.fill(Region { address, len }, write)
}

/// Lends at most `max` bytes that a guest named as an argument of the call which it is making.
pub(crate) fn read_argument<R>(
    linear: Linear<'_>,
    address: u32,
    len: u32,
    max: u32,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<R, Refused> {
    if len > max {
        return Err(Refused::OutOfBounds);
    }
    let start = linear.start_of(Region { address, len })?;
    // SAFETY: as in `read_memory_host`.
    Ok(read(unsafe { std::slice::from_raw_parts(start.as_ptr(), len as usize) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn region(address: u32, len: u32) -> Region {
        Region { address, len }
    }

    #[test]
    fn only_registered_regions_and_their_parts_are_covered() {
        let mut regions = Regions::default();
        regions.register(region(16, 16)).expect("free");
        assert!(regions.covers(region(16, 16)));
        assert!(regions.covers(region(20, 4)));
        assert!(regions.covers(region(32, 0)));
        for hostile in [
            region(0, 1),
            region(15, 2),
            region(31, 2),
            region(32, 1),
            region(16, u32::MAX),
            region(u32::MAX, 1),
        ] {
            assert!(!regions.covers(hostile), "{hostile:?}");
        }
    }

    #[test]
    fn overlapping_regions_are_refused() {
        let mut regions = Regions::default();
        regions.register(region(16, 16)).expect("free");
        regions.register(region(64, 16)).expect("free");
        for hostile in
            [region(16, 16), region(16, 0), region(0, 17), region(31, 1), region(20, 2), region(0, u32::MAX)]
        {
            assert_eq!(regions.register(hostile), Err(Refused::NotRegistered), "{hostile:?}");
        }
        regions.register(region(32, 32)).expect("fits between");
    }

    #[test]
    fn a_freed_region_is_no_longer_covered() {
        let mut regions = Regions::default();
        regions.register(region(16, 16)).expect("free");
        assert_eq!(regions.unregister(17), None);
        assert_eq!(regions.unregister(16), Some(region(16, 16)));
        assert_eq!(regions.unregister(16), None);
        assert!(!regions.covers(region(16, 1)));
    }

    #[test]
    fn the_number_of_regions_is_bounded() {
        let mut regions = Regions::default();
        for index in 0..u32::try_from(MAX_REGIONS).expect("small") {
            regions.register(region(index * 2, 1)).expect("free");
        }
        assert_eq!(regions.register(region(u32::MAX - 1, 1)), Err(Refused::TooMany));
    }
}
