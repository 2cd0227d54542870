//! Frozen payloads that a sender's peers have not given back, and the bound that there is for them.
//!
//! Memory is counted once, however many peers have it: a fan-out shares it. What a peer had when its connection was lost stays counted, as
//! it may have it still, until it is found to be gone: nobody holds the socket that its record names, or another key is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::outgoing::Payload;
use crate::sealed::{Frozen, size_of};
use crate::{Name, PublicKey};

/// Most bytes that all peers of a sender together may have, before payloads are sent as bytes.
const MAX_BYTES: u64 = 2 << 30;
/// Most payloads that one connection's peer may have.
const MAX_FRAMES: usize = 64;

/// What all peers of one sender have.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Size of each, and how many peers have it.
    payloads: BTreeMap<u64, (u64, usize)>,
    bytes: u64,
    /// Of connections that are lost: whose, and what was there.
    lost: Vec<(Peer, Vec<u64>)>,
}

/// Who has something.
type Peer = (Name, PublicKey);

impl Memory {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes back what peers had that are gone.
    fn reclaim(&mut self, is_gone: impl Fn(&Name, &PublicKey) -> bool) {
        let (gone, lost) =
            std::mem::take(&mut self.lost).into_iter().partition(|((name, key), _)| is_gone(name, key));
        self.lost = lost;
        let gone: Vec<(Peer, Vec<u64>)> = gone;
        gone.into_iter().flat_map(|(_, ids)| ids).for_each(|id| self.give_back(id));
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
    peer: Option<Peer>,
    all: Rc<RefCell<Memory>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let ids: Vec<u64> = std::mem::take(&mut self.payloads).into_values().collect();
        if let Some(peer) = self.peer.take().filter(|_| !ids.is_empty()) {
            self.all.borrow_mut().lost.push((peer, ids));
        }
    }
}

impl Kept {
    pub(super) fn new(all: &Rc<RefCell<Memory>>) -> Self {
        Self { payloads: BTreeMap::new(), peer: None, all: Rc::clone(all) }
    }

    /// Whether the peer has anything.
    pub(super) fn is_some(&self) -> bool {
        !self.payloads.is_empty()
    }

    /// Says whose it is, so that it can be found out whether that one is gone.
    pub(super) fn belongs_to(&mut self, name: &Name, key: Option<PublicKey>) {
        self.peer = key.map(|key| (name.clone(), key));
    }

    /// Whether the peer may have this one too. `is_gone` is asked for peers whose connections were lost, when there would be no room.
    pub(super) fn has_room(&self, payload: Payload<'_>, is_gone: impl Fn(&Name, &PublicKey) -> bool) -> bool {
        if !self.fits(payload) && !self.all.borrow().lost.is_empty() {
            self.all.borrow_mut().reclaim(is_gone);
        }
        self.fits(payload)
    }

    fn fits(&self, payload: Payload<'_>) -> bool {
        let all = self.all.borrow();
        let more = match payload.frozen() {
            Some(frozen) if all.payloads.contains_key(&frozen.id()) => 0,
            _ => size_of(payload.len()).map_or(u64::MAX, |size| size as u64),
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
    fn what_a_lost_peer_had_stays_counted_until_it_is_gone() {
        let frozen = Buffer::new(100).unwrap().freeze(100).unwrap();
        let all = Rc::default();
        let key = crate::Secret::generate().unwrap().public();
        let mut lost = Kept::new(&all);
        lost.belongs_to(&"b".try_into().unwrap(), Some(key));
        lost.lend(1, &frozen);
        drop(lost);
        let large = vec![0; MAX_BYTES as usize];
        assert!(!Kept::new(&all).has_room(Payload::Bytes(&large), |_, _| false));
        assert_eq!(all.borrow().bytes(), 4096);
        assert!(
            Kept::new(&all).has_room(Payload::Bytes(&large), |name, k| name.as_str() == "b" && *k == key)
        );
        assert_eq!(all.borrow().bytes(), 0);
    }

    #[test]
    fn what_an_unknown_peer_had_stays_counted() {
        let frozen = Buffer::new(100).unwrap().freeze(100).unwrap();
        let all = Rc::default();
        let mut lost = Kept::new(&all);
        lost.lend(1, &frozen);
        drop(lost);
        assert_eq!(all.borrow().bytes(), 4096);
        let large = vec![0; MAX_BYTES as usize];
        assert!(!Kept::new(&all).has_room(Payload::Bytes(&large), |_, _| true), "nobody knows whose it was");
        assert!(Kept::new(&all).has_room(Payload::Frozen(&frozen), |_, _| false));
    }
}
