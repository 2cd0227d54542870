//! What lies in a guest's memory in place of its own pages: payloads of other containers, mapped, and buffers on sealable memory
//! that wait to be filled and given away.
//!
//! Invariants: no two overlap; all are gone before the instance is ([`Mappings::clear`]); where one lies, no page is moved or
//! discarded by itself, because it is a file's.

use std::collections::BTreeMap;

use guest_abi::Region;
use hose::sealed::{Buffer, Mapped};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    by_address: BTreeMap<u32, (u32, Mapping)>,
}

/// One of them.
#[derive(Debug)]
pub(super) enum Mapping {
    /// A payload that was received.
    Payload { _mapped: Mapped },
    /// Memory that can be frozen and given away.
    Buffer(Buffer),
}

impl Mappings {
    /// Whether a region shares a byte with one of them.
    pub(super) fn overlaps(&self, region: Region) -> bool {
        let end = u32::try_from(region.end()).unwrap_or(u32::MAX);
        let last = self.by_address.range(..end).next_back();
        last.is_some_and(|(&address, &(len, _))| Region { address, len }.overlaps(region))
    }

    /// Notes one that was made in a region which overlaps no other.
    pub(super) fn insert(&mut self, region: Region, mapping: Mapping) {
        self.by_address.insert(region.address, (region.len, mapping));
    }

    /// Takes the one that begins at an address. Dropped, there is fresh memory in its place.
    pub(super) fn remove(&mut self, address: u32) -> Option<Mapping> {
        self.by_address.remove(&address).map(|(_, mapping)| mapping)
    }

    /// Takes the buffer that begins at an address and is as long as `len` at least.
    pub(super) fn take_buffer(&mut self, address: u32, len: u32) -> Option<Buffer> {
        let found = self.by_address.get(&address);
        if !matches!(found, Some((has, Mapping::Buffer(_))) if *has >= len) {
            return None;
        }
        match self.remove(address)? {
            Mapping::Buffer(buffer) => Some(buffer),
            Mapping::Payload { .. } => None,
        }
    }

    /// Takes all of them away.
    pub(super) fn clear(&mut self) {
        self.by_address.clear();
    }
}
