//! What travels on a connection, byte by byte.
//!
//! Every message is a header of [`HEADER_LEN`] bytes and a body of `length` bytes. Numbers are little-endian.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic, `rrho` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | [`Kind`] |
//! | 6 | 2 | flags: none yet, must be 0 |
//! | 8 | 4 | code: the status of `Handled`, the reason of `Refused`, else 0 |
//! | 12 | 4 | must be 0 |
//! | 16 | 8 | sequence: of a frame and what answers it, from 1 on each connection; 0 in the handshake |
//! | 24 | 8 | length of the body in bytes |
//!
//! A sender opens with `Hello`; `Challenge`, `Proof` and `Welcome` complete the handshake; then come frames, one at a
//! time, each answered by `Received` and `Handled`. `Refused` may take the place of any answer, and is the
//! last message of its connection. Only `Data` has a body longer than [`MAX_BODY`], and that body is never in a buffer of ours.
//!
//! Decoding never panics and never allocates: everything here may come from a hostile peer.

use crate::identity::SIGNATURE_LEN;
use crate::name::MAX_LEN as MAX_NAME;
use crate::{Name, Workflow};

pub(super) const HEADER_LEN: usize = 32;
/// Longest body but that of `Data`: a `Hello` with three longest names.
pub(super) const MAX_BODY: usize = NONCE_LEN + 3 * (1 + MAX_NAME);
pub(super) const NONCE_LEN: usize = 32;
const MAGIC: [u8; 4] = *b"rrho";
const VERSION: u8 = 1;

pub(super) type Nonce = [u8; NONCE_LEN];
pub(super) type Signature = [u8; SIGNATURE_LEN];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Sender: who I am, whom I want, my nonce.
    Hello = 1,
    /// Receiver: my nonce, my limit, my signature.
    Challenge = 2,
    /// Sender: my signature.
    Proof = 3,
    /// Receiver: send.
    Welcome = 4,
    /// Sender: a frame; its body is the payload.
    Data = 16,
    /// Receiver's host: I have all of it.
    Received = 17,
    /// Receiver's function: done, with this status.
    Handled = 18,
    /// Receiver: no, for this reason; the connection ends.
    Refused = 19,
}

impl Kind {
    fn from_u8(kind: u8) -> Option<Self> {
        use Kind::*;
        [Hello, Challenge, Proof, Welcome, Data, Received, Handled, Refused]
            .into_iter()
            .find(|k| *k as u8 == kind)
    }

    fn body_fits(self, len: u64) -> bool {
        match self {
            Kind::Data => true,
            Kind::Hello => len <= MAX_BODY as u64,
            Kind::Challenge => len == CHALLENGE_LEN as u64,
            Kind::Proof => len == SIGNATURE_LEN as u64,
            Kind::Welcome | Kind::Received | Kind::Handled | Kind::Refused => len == 0,
        }
    }
}

/// Why a receiver refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Refusal {
    /// I am not whom you want.
    WrongPeer = 1,
    /// You are nobody I can find, or your proof is none.
    Unproved = 2,
    /// Too many connections.
    Busy = 3,
    /// The payload is larger than I accept.
    TooLarge = 4,
    /// The function gave no memory for the payload.
    NoRoom = 5,
}

impl Refusal {
    pub(super) fn from_code(code: i32) -> Option<Self> {
        use Refusal::*;
        [WrongPeer, Unproved, Busy, TooLarge, NoRoom].into_iter().find(|r| *r as i32 == code)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) code: i32,
    pub(super) sequence: u64,
    pub(super) length: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.code.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// The error is text for a message: what is wrong with it.
    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, &'static str> {
        let mut reader = Reader(bytes);
        // The lengths add up to HEADER_LEN: `short` is never returned.
        let short = "a header cut short";
        if reader.array().ok_or(short)? != MAGIC {
            return Err("bytes that are no header");
        }
        let [version, kind] = reader.array().ok_or(short)?;
        if version != VERSION {
            return Err("another version of the protocol");
        }
        let kind = Kind::from_u8(kind).ok_or("a message of an unknown kind")?;
        if reader.array().ok_or(short)? != [0; 2] {
            return Err("unknown flags");
        }
        let code = i32::from_le_bytes(reader.array().ok_or(short)?);
        if reader.array().ok_or(short)? != [0; 4] {
            return Err("unknown flags");
        }
        let sequence = u64::from_le_bytes(reader.array().ok_or(short)?);
        let length = u64::from_le_bytes(reader.array().ok_or(short)?);
        if !kind.body_fits(length) {
            return Err("a message of a length that its kind cannot have");
        }
        Ok(Self { kind, code, sequence, length })
    }
}

/// A header and its body in one piece.
pub(super) fn message(kind: Kind, code: i32, sequence: u64, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u64;
    let mut bytes = Header { kind, code, sequence, length }.encode().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// Body of `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) nonce: Nonce,
    pub(super) workflow: Workflow,
    pub(super) sender: Name,
    pub(super) receiver: Name,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = self.nonce.to_vec();
        for name in [self.workflow.as_str(), self.sender.as_str(), self.receiver.as_str()] {
            put_name(&mut body, name);
        }
        body
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let hello = Self {
            nonce: reader.array()?,
            workflow: reader.name()?.try_into().ok()?,
            sender: reader.name()?.try_into().ok()?,
            receiver: reader.name()?.try_into().ok()?,
        };
        reader.0.is_empty().then_some(hello)
    }
}

/// Bytes of the body of `Challenge`.
const CHALLENGE_LEN: usize = NONCE_LEN + 8 + SIGNATURE_LEN;

/// Body of `Challenge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) nonce: Nonce,
    pub(super) max_size: u64,
    pub(super) signature: Signature,
}

impl Challenge {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.nonce[..], &self.max_size.to_le_bytes(), &self.signature].concat()
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let challenge = Self {
            nonce: reader.array()?,
            max_size: u64::from_le_bytes(reader.array()?),
            signature: reader.array()?,
        };
        reader.0.is_empty().then_some(challenge)
    }
}

/// A length in one byte, then the name: no two lists of names have one encoding.
pub(super) fn put_name(bytes: &mut Vec<u8>, name: &str) {
    // Names are at most 63 bytes long.
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn name(&mut self) -> Option<&'a str> {
        let [len] = self.array()?;
        let (name, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        std::str::from_utf8(name).ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind() -> impl Strategy<Value = Kind> {
        any::<u8>().prop_filter_map("a kind", Kind::from_u8)
    }

    fn length(kind: Kind, len: u64) -> u64 {
        match kind {
            Kind::Data => len,
            Kind::Hello => len % (MAX_BODY as u64 + 1),
            Kind::Challenge => CHALLENGE_LEN as u64,
            Kind::Proof => SIGNATURE_LEN as u64,
            Kind::Welcome | Kind::Received | Kind::Handled | Kind::Refused => 0,
        }
    }

    proptest! {
        #[test]
        fn a_header_survives(kind in kind(), code: i32, sequence: u64, len: u64) {
            let header = Header { kind, code, sequence, length: length(kind, len) };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(mut bytes: [u8; HEADER_LEN], valid in 0..=8_usize) {
            // Rubbish, with a growing valid beginning, so that every check is reached.
            bytes[..valid].copy_from_slice(&[b'r', b'r', b'h', b'o', 1, 16, 0, 0][..valid]);
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn a_header_with_one_bit_changed_is_never_the_same(bit in 0..HEADER_LEN * 8, sequence: u64, length: u64) {
            let header = Header { kind: Kind::Data, code: 0, sequence, length };
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(Header::decode(&bytes), Ok(header));
        }

        #[test]
        fn a_hello_survives(nonce: Nonce, w in "[a-z0-9]{1,63}", s in "[a-z0-9]{1,63}", r in "[a-z0-9]{1,63}") {
            let hello = Hello {
                nonce,
                workflow: w.try_into().unwrap(),
                sender: s.try_into().unwrap(),
                receiver: r.try_into().unwrap(),
            };
            let body = hello.encode();
            prop_assert!(body.len() <= MAX_BODY);
            prop_assert_eq!(Hello::decode(&body), Some(hello));
            for n in 0..body.len() {
                prop_assert_eq!(Hello::decode(&body[..n]), None);
            }
        }

        #[test]
        fn rubbish_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(hello) = Hello::decode(&body) {
                prop_assert_eq!(hello.encode(), body.clone());
            }
            if let Some(challenge) = Challenge::decode(&body) {
                prop_assert_eq!(challenge.encode(), body);
            }
        }

        #[test]
        fn a_challenge_survives(nonce: Nonce, max_size: u64, half: [u8; 32]) {
            let mut signature = [0; SIGNATURE_LEN];
            signature[32..].copy_from_slice(&half);
            let challenge = Challenge { nonce, max_size, signature };
            prop_assert_eq!(challenge.encode().len(), CHALLENGE_LEN);
            prop_assert_eq!(Challenge::decode(&challenge.encode()), Some(challenge));
        }
    }
}
