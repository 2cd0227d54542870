//! What the two ends sign: everything that the handshake has fixed.
//!
//! Both nonces make it fresh, so that no recording can be replayed. Both names and the workflow make it mean this hose, so that
//! a peer that is spoken to cannot pass a proof on to a third. The role keeps a receiver's signature from
//! coming back to it as a sender's. The keys and the limit are what the rest of the connection relies on.

use super::wire::{Hello, Nonce, put_name};
use crate::PublicKey;

/// Told apart from whatever else the keys may sign one day.
const DOMAIN: &[u8] = b"rr-runtime hose: unix transport, handshake, version 1\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    Sender = b's',
    Receiver = b'r',
}

#[derive(Clone, Debug)]
pub(super) struct Transcript {
    pub(super) hello: Hello,
    pub(super) receiver_nonce: Nonce,
    pub(super) sender_key: PublicKey,
    pub(super) receiver_key: PublicKey,
    pub(super) max_size: u64,
}

impl Transcript {
    /// The bytes that `role` signs. All fields but the names have a fixed length, and those are preceded by theirs.
    pub(super) fn bytes(&self, role: Role) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        bytes.push(role as u8);
        bytes.extend_from_slice(&self.hello.nonce);
        bytes.extend_from_slice(&self.receiver_nonce);
        bytes.extend_from_slice(self.sender_key.as_bytes());
        bytes.extend_from_slice(self.receiver_key.as_bytes());
        bytes.extend_from_slice(&self.max_size.to_le_bytes());
        let names = [self.hello.workflow.as_str(), self.hello.sender.as_str(), self.hello.receiver.as_str()];
        for name in names {
            put_name(&mut bytes, name);
        }
        bytes
    }
}
