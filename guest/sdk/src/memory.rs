//! Memory that the host asks for and fills: `allocate_memory` and `deallocate_memory` of the paper's Table 1, and
//! `locate_memory_region`.
//!
//! # Invariants
//!
//! - Every region that the host was given stands in [`REGIONS`], with its layout, until it is freed. Nothing else is freed,
//!   and no slice is made of anything else, whatever the host says.
//! - A region is *lent* while a slice of it exists, and lent to one at a time.
//! - A region's bytes were written by the host before a slice is made of them: the host hands a region over only when it
//!   has filled it (guest contract, "Regions, and who owns them").

#![expect(unsafe_code, reason = "an allocator's interface, and exported names")]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[cfg(any(target_arch = "wasm32", test))]
use guest_abi::Region;

/// Alignment of received payloads in bytes.
pub const ALIGNMENT: usize = 16;

/// Pages of linear memory, a multiple of every host's: what is aligned to them can change hands whole.
const PAGE: usize = 64 << 10;
/// Payloads from this length on are aligned to pages: below it the host copies in any case.
const PAGES_FROM: usize = 256 << 10;
/// From this length on they are aligned so that whole tables of pages can change hands.
const TABLES_FROM: usize = 2 << 20;
/// What those are aligned to.
const TABLE: usize = 2 << 20;

thread_local! {
    /// The host's regions, by address.
    static REGIONS: RefCell<BTreeMap<usize, Allocated>> = const { RefCell::new(BTreeMap::new()) };
}

#[derive(Clone, Copy)]
struct Allocated {
    /// Bytes that were asked for.
    len: usize,
    lent: bool,
}

/// No region is empty, because no address is given out twice. A large one has its pages to itself.
pub(crate) fn layout(len: usize) -> Option<Layout> {
    let (size, alignment) = match len {
        0..PAGES_FROM => (len.max(1), ALIGNMENT),
        PAGES_FROM..TABLES_FROM => (len.checked_next_multiple_of(PAGE)?, PAGE),
        _ => (len.checked_next_multiple_of(PAGE)?, TABLE),
    };
    Layout::from_size_align(size, alignment).ok()
}

/// A region of `len` bytes for the host; 0 for none. Not zeroed: 100 MB of zeros that nobody reads take longer to write
/// than the payload itself.
pub(crate) fn allocate(len: usize) -> usize {
    let Some(layout) = layout(len) else { return 0 };
    // SAFETY: the layout's size is not 0.
    let address = unsafe { alloc(layout) }.expose_provenance();
    if address != 0 {
        REGIONS.with_borrow_mut(|regions| regions.insert(address, Allocated { len, lent: false }));
    }
    address
}

/// Frees a region that [`allocate`] gave; does nothing for any other address.
pub(crate) fn deallocate(address: usize) {
    let region = REGIONS.with_borrow_mut(|regions| regions.remove(&address));
    if let Some(layout) = region.and_then(|region| layout(region.len)) {
        // SAFETY: `address` came from `alloc` with this layout, and left the table just now, so it is freed once.
        unsafe { dealloc(std::ptr::with_exposed_provenance_mut(address), layout) };
    }
}

/// Whether `len` bytes at `address` lie within one region of the host's: then they need no registration of their own.
pub(crate) fn is_registered(address: usize, len: usize) -> bool {
    REGIONS.with_borrow(|regions| {
        regions.range(..=address).next_back().is_some_and(|(start, region)| {
            let offset = address - start;
            offset <= region.len && len <= region.len - offset
        })
    })
}

/// Lends the first `len` bytes of the region at `address`; `None` when there is no such region, and when it is lent already.
///
/// # Safety
///
/// The host has filled the region, and frees it only when the slice is gone (it does so by [`deallocate`]).
pub(crate) unsafe fn lend<'a>(address: usize, len: usize) -> Option<&'a mut [u8]> {
    let lent = REGIONS.with_borrow_mut(|regions| {
        let region = regions.get_mut(&address).filter(|region| !region.lent && len <= region.len)?;
        region.lent = true;
        Some(())
    });
    // SAFETY: the region is allocated, at least `len` bytes long, aligned for bytes, and lent to nobody else; that it is
    // initialized and stays allocated is the caller's promise.
    lent.map(|()| unsafe {
        std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), len)
    })
}

/// The slice that [`lend`] gave is gone.
pub(crate) fn give_back(address: usize) {
    REGIONS.with_borrow_mut(|regions| {
        if let Some(region) = regions.get_mut(&address) {
            region.lent = false;
        }
    });
}

/// What a host does, for the loopback and for tests.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn fill(address: usize, payload: &[u8]) {
    assert!(is_registered(address, payload.len()));
    let start: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: the region is allocated and at least as long; no slice of it is made before it is filled.
    unsafe { start.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
}

/// `allocate_memory` of Table 1.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "allocate_memory")]
extern "C" fn allocate_memory(len: u32) -> u32 {
    // Addresses of wasm32 have 32 bits.
    allocate(len as usize) as u32
}

/// `deallocate_memory` of Table 1.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "deallocate_memory")]
extern "C" fn deallocate_memory(address: u32) {
    deallocate(address as usize);
}

/// `locate_memory_region` of Table 1: the whole region at an address that `allocate_memory` returned. What this crate
/// sends it has registered, so that the host has no other reason to ask.
#[cfg(any(target_arch = "wasm32", test))]
#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "locate_memory_region"))]
extern "C" fn locate_memory_region(data: u32) -> i64 {
    let len = REGIONS.with_borrow(|regions| regions.get(&(data as usize)).map(|region| region.len));
    len.map_or(0, |len| Region { address: data, len: len as u32 }.to_i64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned_distinct_and_freed_once() {
        let addresses: Vec<usize> = [0, 0, 1, 17, 100_000].map(allocate).to_vec();
        for (i, address) in addresses.iter().enumerate() {
            assert!(*address != 0 && address % ALIGNMENT == 0);
            assert!(!addresses[..i].contains(address));
        }
        addresses.iter().for_each(|address| deallocate(*address));
        // Again, and what was never given.
        deallocate(addresses[4]);
        deallocate(12345);
        assert!(!is_registered(addresses[4], 1));
    }

    #[test]
    fn only_what_was_given_is_registered() {
        let address = allocate(100);
        assert!(
            is_registered(address, 100) && is_registered(address + 99, 1) && is_registered(address + 100, 0)
        );
        assert!(!is_registered(address, 101) && !is_registered(address + 1, 100));
        assert!(!is_registered(address + 50, usize::MAX) && !is_registered(address - 1, 1));
        deallocate(address);
    }

    #[test]
    fn a_region_is_lent_once_and_no_more_of_it_than_there_is() {
        let address = allocate(100);
        fill(address, &[1; 100]);
        let lend = |address, len| {
            // SAFETY: filled, and freed at the end of the test.
            unsafe { lend(address, len) }.is_some()
        };
        assert!(!lend(address, 101) && !lend(address + 1, 1));
        assert!(lend(address, 100) && !lend(address, 100));
        give_back(address);
        assert!(lend(address, 0));
        deallocate(address);
        assert!(!lend(address, 0));
    }

    #[test]
    fn a_length_beyond_any_memory_gives_no_region() {
        assert_eq!(allocate(usize::MAX), 0);
        assert_eq!(allocate(isize::MAX as usize), 0);
    }

    #[test]
    fn an_unknown_value_is_located_nowhere() {
        assert_eq!(locate_memory_region(0), 0);
        assert_eq!(locate_memory_region(u32::MAX), 0);
    }
}
