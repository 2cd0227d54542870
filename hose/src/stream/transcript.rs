//! What the two ends prove themselves over: everything that the handshake has fixed.
//!
//! Both nonces make it fresh, so that no recording can be replayed. Both names and the workflow make it mean this hose, so that
//! a peer that is spoken to cannot pass a proof on to a third. The role keeps a receiver's proof from
//! coming back to it as a sender's. The keys and the limits are what the rest of the connection relies on.

use super::wire::{Hello, Nonce, Scheme, put_name};
use crate::{PublicKey, Secret};

/// Told apart from whatever else the keys may sign one day.
const DOMAIN: &[u8] = b"rr-runtime hose: handshake, version 2\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    Sender = b's',
    Receiver = b'r',
}

#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub(crate) hello: Hello,
    pub(crate) receiver_nonce: Nonce,
    pub(crate) max_size: u64,
}

impl Transcript {
    /// The bytes that `role` proves itself over. All fields but the names have a fixed length, and those are preceded by
    /// theirs. `keys` are the sender's and the receiver's public keys, of the schemes that have such.
    fn bytes(&self, role: Role, keys: &[[u8; 32]; 2]) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        bytes.push(self.hello.scheme as u8);
        bytes.push(role as u8);
        bytes.extend_from_slice(&self.hello.nonce);
        bytes.extend_from_slice(&self.receiver_nonce);
        bytes.extend_from_slice(keys.as_flattened());
        bytes.extend_from_slice(&self.max_size.to_le_bytes());
        bytes.extend_from_slice(&self.hello.max_answer.to_le_bytes());
        let names = [self.hello.workflow.as_str(), self.hello.sender.as_str(), self.hello.receiver.as_str()];
        for name in names {
            put_name(&mut bytes, name);
        }
        bytes
    }
}

/// One end's means to prove itself to one peer, and to check the peer.
#[derive(Clone, Debug)]
pub(crate) enum Prover {
    /// [`Scheme::Signatures`](super::wire::Scheme::Signatures).
    Signatures { own: Secret, peer: PublicKey },
}

impl Prover {
    /// What a `Hello` has to say of it.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Prover::Signatures { .. } => Scheme::Signatures,
        }
    }

    /// The proof of this end, which is `role`.
    pub(crate) fn prove(&self, transcript: &Transcript, role: Role) -> Vec<u8> {
        match self {
            Prover::Signatures { own, .. } => own.sign(&transcript.bytes(role, &self.keys(role))).to_vec(),
        }
    }

    /// Whether `proof` is the peer's, where this end is `role`.
    pub(crate) fn verifies(&self, transcript: &Transcript, role: Role, proof: &[u8]) -> bool {
        let peers_role = match role {
            Role::Sender => Role::Receiver,
            Role::Receiver => Role::Sender,
        };
        match self {
            Prover::Signatures { peer, .. } => <&[u8; _]>::try_from(proof)
                .is_ok_and(|proof| peer.verifies(&transcript.bytes(peers_role, &self.keys(role)), proof)),
        }
    }

    /// The sender's and the receiver's public keys, where this end is `role`.
    fn keys(&self, role: Role) -> [[u8; 32]; 2] {
        let Prover::Signatures { own, peer } = self;
        let (own, peer) = (*own.public().as_bytes(), *peer.as_bytes());
        match role {
            Role::Sender => [own, peer],
            Role::Receiver => [peer, own],
        }
    }
}
