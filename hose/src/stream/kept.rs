//! Frozen payloads that a sender's peers have not given back, and the bound that there is for them.
//!
//! Memory is counted once, however many peers have it: a fan-out shares it. What a peer had when its connection was lost stays counted, as
//! it may have it still.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::outgoing::Payload;
use crate::sealed::{Frozen, size_of};

/// Most bytes that all peers of a sender together may have, before payloads are sent as bytes.
const MAX_BYTES: u64 = 1 << 30;
/// Most payloads that one connection's peer may have.
const MAX_FRAMES: usize = 64;

/// What all peers of one sender have.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Size of each, and how many peers have it.
    payloads: BTreeMap<u64, (u64, usize)>,
    bytes: u64,
}

impl Memory {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn lend(&mut self, id: u64, size: u64) {
        let (_, peers) = self.payloads.entry(id).or_insert((size, 0));
        *peers += 1;
        if *peers == 1 {
            self.bytes += size;
        }
    }

    fn give_back(&mut self, id: u64) {
        let Some((size, peers)) = self.payloads.get_mut(&id) else { return };
        *peers -= 1;
        if *peers == 0 {
            self.bytes -= *size;
            self.payloads.remove(&id);
        }
    }
}

/// What the peer of one connection has.
#[derive(Debug)]
pub(super) struct Kept {
    /// By the sequence of its frame.
    payloads: BTreeMap<u64, u64>,
    all: Rc<RefCell<Memory>>,
}

impl Kept {
    pub(super) fn new(all: &Rc<RefCell<Memory>>) -> Self {
        Self { payloads: BTreeMap::new(), all: Rc::clone(all) }
    }

    /// Whether the peer may have this one too.
    pub(super) fn has_room(&self, payload: Payload<'_>) -> bool {
        let all = self.all.borrow();
        let more = match payload {
            Payload::Frozen(frozen) if all.payloads.contains_key(&frozen.id()) => 0,
            payload => size_of(payload.len()).map_or(u64::MAX, |size| size as u64),
        };
        self.payloads.len() < MAX_FRAMES && all.bytes.saturating_add(more) <= MAX_BYTES
    }

    pub(super) fn lend(&mut self, sequence: u64, frozen: &Frozen) {
        self.payloads.insert(sequence, frozen.id());
        self.all.borrow_mut().lend(frozen.id(), frozen.size() as u64);
    }

    /// Of a payload that is none of the peer's nothing is done.
    pub(super) fn give_back(&mut self, sequence: u64) {
        if let Some(id) = self.payloads.remove(&sequence) {
            self.all.borrow_mut().give_back(id);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sealed::Buffer;

    #[test]
    fn memory_is_counted_once_and_until_the_last_peer_has_given_it_back() {
        let frozen = Buffer::new(100).unwrap().freeze(100).unwrap();
        let all = Rc::default();
        let mut peers = [Kept::new(&all), Kept::new(&all)];
        peers.iter_mut().for_each(|kept| kept.lend(1, &frozen));
        assert_eq!(all.borrow().bytes(), 4096);
        peers[0].give_back(1);
        peers[0].give_back(1);
        assert_eq!(all.borrow().bytes(), 4096);
        peers[1].give_back(1);
        assert_eq!(all.borrow().bytes(), 0);
    }

    #[test]
    fn what_a_lost_peer_had_stays_counted() {
        let frozen = Buffer::new(100).unwrap().freeze(100).unwrap();
        let all = Rc::default();
        let mut lost = Kept::new(&all);
        lost.lend(1, &frozen);
        drop(lost);
        assert_eq!(all.borrow().bytes(), 4096);
        assert!(!Kept::new(&all).has_room(Payload::Bytes(&vec![0; MAX_BYTES as usize])));
        assert!(Kept::new(&all).has_room(Payload::Frozen(&frozen)));
    }
}
