//! What travels on a connection, byte by byte: `docs/PROTOCOL.md`, version 3.
//!
//! Every message is a header of [`HEADER_LEN`] bytes and a body of `length` bytes. Numbers are little-endian.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic, `rrho` |
//! | 4 | 1 | version, 3 |
//! | 5 | 1 | [`Kind`] |
//! | 6 | 2 | [`Flags`] |
//! | 8 | 4 | code: the status of `Handled`, the reason of `Refused`, else 0 |
//! | 12 | 1 | flags of the trace, with [`Flags::TRACED`] |
//! | 13 | 3 | 0 |
//! | 16 | 8 | sequence: of a frame and what answers it, from 1 on each connection; 0 in the handshake |
//! | 24 | 8 | length of the body in bytes |
//! | 32 | 16 | trace id, with [`Flags::TRACED`], else 0 |
//! | 48 | 8 | id of the trace's parent, with [`Flags::TRACED`], else 0 |
//! | 56 | 8 | 0 |
//!
//! The first 5 bytes mean the same in every version. Names are no part of a frame: the handshake has fixed both ends of a
//! connection, and with them the sender and the receiver of all its frames.
//!
//! A sender opens with `Hello`; `Challenge`, `Proof` and `Welcome` complete the handshake; then come frames, one at a
//! time, each answered by `Received` and `Handled`. `Refused` may take the place of any answer, and is the
//! last message of its connection. Only payloads are longer than [`MAX_BODY`], and they are never in a buffer of ours.
//!
//! Decoding never panics and never allocates: everything here may come from a hostile peer.

use std::borrow::Cow;

use crate::identity::SIGNATURE_LEN;
use crate::name::MAX_LEN as MAX_NAME;
use crate::{Name, TraceContext, Workflow};

pub(crate) const HEADER_LEN: usize = 64;
/// Longest body but a payload: a `Hello` with three longest names.
pub(crate) const MAX_BODY: usize = NONCE_LEN + 1 + 8 + 3 * (1 + MAX_NAME);
pub(crate) const NONCE_LEN: usize = 32;
/// A payload of bytes from this length on is acknowledged before it is handled. For a shorter one that would be one more waking of its sender,
/// who waits in any case.
pub(crate) const TOLD_MIN: usize = 64 << 10;
const MAGIC: [u8; 4] = *b"rrho";
const VERSION: u8 = 3;

pub(crate) type Nonce = [u8; NONCE_LEN];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Sender: who I am, whom I want, my nonce.
    Hello = 1,
    /// Receiver: my nonce, my limit, my proof.
    Challenge = 2,
    /// Sender: my proof.
    Proof = 3,
    /// Receiver: send.
    Welcome = 4,
    /// Sender: a frame; its body is the payload.
    Data = 16,
    /// Receiver's host: I have all of it.
    Received = 17,
    /// Receiver's function: done, with this status; its body is the answer, if there is one.
    Handled = 18,
    /// Receiver: no, for this reason; the connection ends.
    Refused = 19,
    /// Receiver's host: the memory of a payload that was kept when it was handled is yours alone again. Sender's host: the same, of
    /// a sealed answer.
    Released = 20,
    /// Sender: the region that was lent had not changed when you said that you have it.
    Confirmed = 21,
}

impl Kind {
    fn from_u8(kind: u8) -> Option<Self> {
        use Kind::*;
        [Hello, Challenge, Proof, Welcome, Data, Received, Handled, Refused, Released, Confirmed]
            .into_iter()
            .find(|k| *k as u8 == kind)
    }

    /// Whether its body is a payload: bytes that are read into a region, and not before there is one.
    pub(crate) fn has_payload(self) -> bool {
        matches!(self, Kind::Data | Kind::Handled)
    }

    fn flags(self) -> Flags {
        match self {
            Kind::Data => Flags::TRACED | Flags::SEALED | Flags::LENT,
            Kind::Handled => Flags::SEALED | Flags::ANSWER | Flags::OMITTED | Flags::KEPT,
            _ => Flags::NONE,
        }
    }

    fn body_fits(self, flags: Flags, len: u64) -> bool {
        match self {
            Kind::Data => true,
            Kind::Handled => len == 0 || flags.has(Flags::ANSWER),
            Kind::Hello => len <= MAX_BODY as u64,
            Kind::Challenge => {
                let proof = len.wrapping_sub(CHALLENGE_LEN as u64);
                proof <= MAX_PROOF as u64
            }
            Kind::Proof => len <= MAX_PROOF as u64,
            Kind::Welcome | Kind::Received | Kind::Refused | Kind::Released | Kind::Confirmed => len == 0,
        }
    }
}

/// What is said of a message beside its kind. A bit that the kind does not have is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// `Data`: the header carries a trace context.
    pub(crate) const TRACED: Flags = Flags(1);
    /// `Data` and `Handled`: the payload, or the answer, is no bytes of the stream, but a sealed memfd that comes with the header.
    pub(crate) const SEALED: Flags = Flags(2);
    /// `Data`: the payload may still change until `Received` has come; it counts once that is `Confirmed`.
    pub(crate) const LENT: Flags = Flags(4);
    /// `Handled`: the function answers; its answer is the body, and may be empty.
    pub(crate) const ANSWER: Flags = Flags(8);
    /// `Handled`: the function answers with more than the sender takes, so the answer is left out.
    pub(crate) const OMITTED: Flags = Flags(32);
    /// `Handled`: the memfd of the payload is still mapped; `Released` will follow.
    pub(crate) const KEPT: Flags = Flags(16);

    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// Why a receiver refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Refusal {
    /// I am not whom you want.
    WrongPeer = 1,
    /// You are nobody I can find, or your proof is none.
    Unproved = 2,
    /// Too many connections; after a frame: too many of them wait, or this end stops.
    Busy = 3,
    /// The payload is larger than I accept.
    TooLarge = 4,
    /// The function gave no memory for the payload.
    NoRoom = 5,
    /// I do not speak that version.
    Version = 6,
    /// What came in place of the payload is no sealed memfd of its size.
    NotSealed = 7,
}

impl Refusal {
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        use Refusal::*;
        [WrongPeer, Unproved, Busy, TooLarge, NoRoom, Version, NotSealed]
            .into_iter()
            .find(|r| *r as i32 == code)
    }
}

/// What is wrong with a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// One of this protocol, of another version: which.
    Version(u8),
    Other(&'static str),
}

impl Malformed {
    /// For a message.
    pub(crate) fn text(&self) -> Cow<'static, str> {
        match self {
            Malformed::Version(version) => {
                format!("version {version} of the protocol, where this end has version {VERSION}").into()
            }
            Malformed::Other(what) => Cow::Borrowed(what),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// But [`Flags::TRACED`], which stands in `trace`.
    pub(crate) flags: Flags,
    pub(crate) code: i32,
    pub(crate) sequence: u64,
    pub(crate) length: u64,
    pub(crate) trace: Option<TraceContext>,
}

impl Header {
    /// Without flags, code and trace.
    pub(crate) fn new(kind: Kind, sequence: u64, length: u64) -> Self {
        Self { kind, flags: Flags::NONE, code: 0, sequence, length, trace: None }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut flags = self.flags;
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.code.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.length.to_le_bytes());
        if let Some(trace) = &self.trace {
            flags = flags | Flags::TRACED;
            bytes[12] = trace.flags();
            bytes[32..48].copy_from_slice(&trace.trace_id());
            bytes[48..56].copy_from_slice(&trace.parent_id());
        }
        bytes[6..8].copy_from_slice(&flags.0.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, Malformed> {
        // The lengths add up to HEADER_LEN: there is always enough.
        Self::parse(&mut Reader(bytes)).unwrap_or(Err(Malformed::Other("a header cut short")))
    }

    fn parse(reader: &mut Reader<'_>) -> Option<Result<Self, Malformed>> {
        let other = |what| Some(Err(Malformed::Other(what)));
        if reader.array()? != MAGIC {
            return other("bytes that are no header");
        }
        let [version, kind] = reader.array()?;
        if version != VERSION {
            return Some(Err(Malformed::Version(version)));
        }
        let Some(kind) = Kind::from_u8(kind) else { return other("a message of an unknown kind") };
        let flags = u16::from_le_bytes(reader.array()?);
        if flags & !kind.flags().0 != 0 {
            return other("flags that its kind does not have");
        }
        let code = i32::from_le_bytes(reader.array()?);
        let [trace_flags, reserved @ ..]: [u8; 4] = reader.array()?;
        let sequence = u64::from_le_bytes(reader.array()?);
        let length = u64::from_le_bytes(reader.array()?);
        let (trace_id, parent_id) = (reader.array()?, reader.array()?);
        if reserved != [0; 3] || reader.array()? != [0; 8] {
            return other("a header with something where nothing is");
        }
        if !kind.body_fits(Flags(flags), length) {
            return other("a message of a length that its kind cannot have");
        }
        let trace = match TraceContext::new(trace_id, parent_id, trace_flags) {
            Some(trace) if Flags(flags).has(Flags::TRACED) => Some(trace),
            None if flags & Flags::TRACED.0 == 0
                && (trace_id, parent_id, trace_flags) == ([0; 16], [0; 8], 0) =>
            {
                None
            }
            _ => return other("half a trace context"),
        };
        let flags = Flags(flags & !Flags::TRACED.0);
        Some(Ok(Self { kind, flags, code, sequence, length, trace }))
    }
}

/// A header and its body in one piece.
pub(crate) fn message(kind: Kind, code: i32, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Header { code, ..Header::new(kind, sequence, body.len() as u64) }.encode().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// How the ends of a connection prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Scheme {
    /// Each by a signature with the key that its record names.
    Signatures = 1,
    /// Each by HMAC-SHA256 with the key of its name.
    SharedKeys = 2,
    /// Not at all: where both ends stand has to be enough.
    Unproved = 3,
}

impl Scheme {
    fn from_u8(scheme: u8) -> Option<Self> {
        [Scheme::Signatures, Scheme::SharedKeys, Scheme::Unproved].into_iter().find(|s| *s as u8 == scheme)
    }

    /// Bytes of a proof.
    fn proof_len(self) -> usize {
        match self {
            Scheme::Signatures => SIGNATURE_LEN,
            Scheme::SharedKeys => 32,
            Scheme::Unproved => 0,
        }
    }
}

/// Bytes of the longest proof of any scheme.
const MAX_PROOF: usize = SIGNATURE_LEN;

/// Body of `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) nonce: Nonce,
    pub(crate) scheme: Scheme,
    /// Longest answer that the sender takes.
    pub(crate) max_answer: u64,
    pub(crate) workflow: Workflow,
    pub(crate) sender: Name,
    pub(crate) receiver: Name,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = self.nonce.to_vec();
        body.push(self.scheme as u8);
        body.extend_from_slice(&self.max_answer.to_le_bytes());
        for name in [self.workflow.as_str(), self.sender.as_str(), self.receiver.as_str()] {
            put_name(&mut body, name);
        }
        body
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let hello = Self {
            nonce: reader.array()?,
            scheme: Scheme::from_u8(u8::from_le_bytes(reader.array()?))?,
            max_answer: u64::from_le_bytes(reader.array()?),
            workflow: reader.name()?.try_into().ok()?,
            sender: reader.name()?.try_into().ok()?,
            receiver: reader.name()?.try_into().ok()?,
        };
        reader.0.is_empty().then_some(hello)
    }
}

/// Bytes of the body of `Challenge`, but the proof.
const CHALLENGE_LEN: usize = NONCE_LEN + 8;

/// Body of `Challenge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) nonce: Nonce,
    pub(crate) max_size: u64,
    pub(crate) proof: Vec<u8>,
}

impl Challenge {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.nonce[..], &self.max_size.to_le_bytes(), &self.proof].concat()
    }

    /// The proof has the length that `scheme` gives it.
    pub(crate) fn decode(body: &[u8], scheme: Scheme) -> Option<Self> {
        let mut reader = Reader(body);
        let (nonce, max_size) = (reader.array()?, u64::from_le_bytes(reader.array()?));
        let proof = reader.0.to_vec();
        (proof.len() == scheme.proof_len()).then_some(Self { nonce, max_size, proof })
    }
}

/// A length in one byte, then the name: no two lists of names have one encoding.
pub(crate) fn put_name(bytes: &mut Vec<u8>, name: &str) {
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

    /// One of those that the kind can have.
    fn length(kind: Kind, len: u64) -> u64 {
        (0..=MAX_BODY as u64).rev().chain([len]).find(|n| kind.body_fits(Flags::NONE, *n)).unwrap()
    }

    fn trace(kind: Kind, id: u128) -> Option<TraceContext> {
        TraceContext::new(id.to_le_bytes(), [3; 8], 1).filter(|_| kind == Kind::Data)
    }

    proptest! {
        #[test]
        fn a_header_survives(kind in kind(), code: i32, sequence: u64, len: u64, id: u128) {
            let length = if kind.has_payload() { len } else { length(kind, 0) };
            let flags = if kind == Kind::Handled { Flags::ANSWER } else { Flags::NONE };
            let header = Header { code, flags, trace: trace(kind, id), ..Header::new(kind, sequence, length) };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(mut bytes: [u8; HEADER_LEN], valid in 0..=8_usize, zeros: bool) {
            // Rubbish, with a growing valid beginning, so that every check is reached.
            bytes[..valid].copy_from_slice(&[b'r', b'r', b'h', b'o', 2, 16, 1, 0][..valid]);
            if zeros {
                bytes[13..16].fill(0);
                bytes[56..].fill(0);
            }
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn a_header_with_one_bit_changed_is_never_the_same(bit in 0..HEADER_LEN * 8, sequence: u64, length: u64, id: u128) {
            let header = Header { trace: trace(Kind::Data, id), ..Header::new(Kind::Data, sequence, length) };
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(Header::decode(&bytes), Ok(header));
        }

        #[test]
        fn a_hello_survives(nonce: Nonce, w in "[a-z0-9]{1,63}", s in "[a-z0-9]{1,63}", r in "[a-z0-9]{1,63}") {
            let hello = Hello {
                nonce,
                scheme: Scheme::Signatures,
                max_answer: u64::MAX / 3,
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
            if let Some(challenge) = Challenge::decode(&body, Scheme::Signatures) {
                prop_assert_eq!(challenge.encode(), body);
            }
        }

        #[test]
        fn a_challenge_survives(nonce: Nonce, max_size: u64, proof in proptest::collection::vec(any::<u8>(), SIGNATURE_LEN)) {
            let challenge = Challenge { nonce, max_size, proof };
            let body = challenge.encode();
            prop_assert_eq!(Challenge::decode(&body, Scheme::Signatures), Some(challenge));
            prop_assert_eq!(Challenge::decode(&body[1..], Scheme::Signatures), None);
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = Header::new(Kind::Data, 1, 0).encode();
        bytes[4] = 2;
        let error = Header::decode(&bytes).unwrap_err();
        assert_eq!(error.text(), "version 2 of the protocol, where this end has version 3");
    }

    #[test]
    fn unknown_kinds_and_flags_and_a_trace_without_its_flag_are_refused() {
        let bytes = Header { trace: trace(Kind::Data, 5), ..Header::new(Kind::Data, 1, 0) }.encode();
        for (offset, value, what) in [
            (5, 99, "a message of an unknown kind"),
            (5, Kind::Welcome as u8, "flags that its kind does not have"),
            (7, 0x80, "flags that its kind does not have"),
            (6, 0, "half a trace context"),
            (48, 0, "half a trace context"),
            (5, Kind::Handled as u8, "flags that its kind does not have"),
            (63, 1, "a header with something where nothing is"),
        ] {
            let mut bytes = bytes;
            bytes[offset] = value;
            if offset == 48 {
                bytes[48..56].fill(0);
            }
            assert_eq!(Header::decode(&bytes), Err(Malformed::Other(what)), "{offset}");
        }
    }
}
