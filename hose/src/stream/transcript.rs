//! What the two ends prove themselves over: everything that the handshake has fixed.
//!
//! Both nonces make it fresh, so that no recording can be replayed. Both names and the workflow make it mean this hose, so that
//! a peer that is spoken to cannot pass a proof on to a third. The role keeps a receiver's proof from
//! coming back to it as a sender's. The keys and the limits are what the rest of the connection relies on.

use hkdf::Hkdf;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::tags::SessionKey;
use super::wire::{Hello, Nonce, Scheme, put_name};
use crate::tcp::Key;
use crate::{PublicKey, Secret};

/// Told apart from whatever else the keys may sign one day.
const DOMAIN: &[u8] = b"rr-runtime hose: handshake, version 3\0";

/// The same, for the keys of tags.
const TAGS: &[u8] = b"rr-runtime hose: tags, version 3\0";

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
#[expect(clippy::large_enum_variant, reason = "kept in a box")]
pub(crate) enum Prover {
    /// [`Scheme::Signatures`].
    Signatures { own: Secret, peer: PublicKey },
    /// [`Scheme::SharedKeys`].
    SharedKeys { own: Key, peer: Key },
    /// [`Scheme::Unproved`].
    Nothing,
}

impl Prover {
    /// What a `Hello` has to say of it.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Prover::Signatures { .. } => Scheme::Signatures,
            Prover::SharedKeys { .. } => Scheme::SharedKeys,
            Prover::Nothing => Scheme::Unproved,
        }
    }

    /// The peer's public key, where it has one.
    pub(crate) fn peer_key(&self) -> Option<PublicKey> {
        match self {
            Prover::Signatures { peer, .. } => Some(*peer),
            Prover::SharedKeys { .. } | Prover::Nothing => None,
        }
    }

    /// The proof of this end, which is `role`.
    pub(crate) fn prove(&self, transcript: &Transcript, role: Role) -> Vec<u8> {
        match self {
            Prover::Signatures { own, .. } => own.sign(&transcript.bytes(role, &self.keys(role))).to_vec(),
            Prover::SharedKeys { own, .. } => {
                mac(own, &transcript.bytes(role, &self.keys(role))).finalize().into_bytes().to_vec()
            }
            Prover::Nothing => Vec::new(),
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
            // In constant time.
            Prover::SharedKeys { peer, .. } => {
                mac(peer, &transcript.bytes(peers_role, &self.keys(role))).verify_slice(proof).is_ok()
            }
            Prover::Nothing => proof.is_empty(),
        }
    }

    /// The sender's and the receiver's public keys, where this end is `role`.
    fn keys(&self, role: Role) -> [[u8; 32]; 2] {
        let Prover::Signatures { own, peer } = self else { return [[0; 32]; 2] };
        let (own, peer) = (*own.public().as_bytes(), *peer.as_bytes());
        match role {
            Role::Sender => [own, peer],
            Role::Receiver => [peer, own],
        }
    }

    /// The keys of this connection's tags, where this end is `role`: to send with, and to receive with. `None` where nothing is tagged.
    pub(crate) fn session_keys(&self, transcript: &Transcript, role: Role) -> Option<[SessionKey; 2]> {
        let Prover::SharedKeys { own, peer } = self else { return None };
        let keys = match role {
            Role::Sender => [own, peer],
            Role::Receiver => [peer, own],
        };
        let keys = Zeroizing::new(keys.map(|key| *key.as_bytes()));
        let nonces = [transcript.hello.nonce, transcript.receiver_nonce];
        let hkdf = Hkdf::<Sha256>::new(Some(nonces.as_flattened()), keys.as_flattened());
        let key = |direction: Role| {
            let mut key = SessionKey::default();
            // Fails for more than 8160 bytes only.
            hkdf.expand_multi_info(&[TAGS, &[direction as u8]], &mut *key).ok().map(|()| key)
        };
        Some(match role {
            Role::Sender => [key(Role::Sender)?, key(Role::Receiver)?],
            Role::Receiver => [key(Role::Receiver)?, key(Role::Sender)?],
        })
    }
}

fn mac(key: &Key, bytes: &[u8]) -> Hmac<Sha256> {
    // A key that is shorter than a block is one with zeros behind it (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key.as_bytes());
    <Hmac<Sha256> as KeyInit>::new((&*block).into()).chain_update(bytes)
}
