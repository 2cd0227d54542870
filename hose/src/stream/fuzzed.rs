//! The parts of this module's parsers that [`crate::fuzz`] calls.

use std::os::fd::OwnedFd;

use super::link::{Link, Progress};
use super::wire::{Challenge, Flags, HEADER_LEN, Header, Hello, Kind, Scheme, message};
use crate::TraceContext;

/// One of every kind.
pub(crate) fn headers() -> Vec<Vec<u8>> {
    let trace = TraceContext::new([1; 16], [2; 8], 1);
    let flags = [Flags::SEALED, Flags::LENT, Flags::NONE];
    let mut headers: Vec<Vec<u8>> = flags
        .into_iter()
        .map(|flags| Header { flags, trace, ..Header::new(Kind::Data, 1, 3) }.encode().to_vec())
        .collect();
    let kinds =
        [Kind::Received, Kind::Handled, Kind::Refused, Kind::Released, Kind::Confirmed, Kind::Welcome];
    headers.extend(kinds.map(|kind| message(kind, 1, 1, &[])));
    headers.push(message(Kind::Hello, 0, 0, &hello()));
    headers.push(message(Kind::Challenge, 0, 0, &[1; 104]));
    headers.push(message(Kind::Proof, 0, 0, &[1; 64]));
    headers
}

pub(crate) fn hello() -> Vec<u8> {
    let names = ("w".try_into(), "a".try_into(), "b".try_into());
    let (Ok(workflow), Ok(sender), Ok(receiver)) = names else { return Vec::new() };
    let scheme = Scheme::Unproved;
    Hello { nonce: [7; 32], scheme, max_answer: 100, workflow, sender, receiver }.encode()
}

/// What a peer that proves nothing says, with two frames.
pub(crate) fn conversations() -> Vec<Vec<u8>> {
    let mut said = message(Kind::Hello, 0, 0, &hello());
    said.extend(message(Kind::Proof, 0, 0, &[]));
    let mut lent = said.clone();
    said.extend(message(Kind::Data, 0, 1, b"payload"));
    said.extend(message(Kind::Data, 0, 2, &[]));
    lent.extend(Header { flags: Flags::LENT, ..Header::new(Kind::Data, 1, 1) }.encode());
    lent.extend(b"x");
    lent.extend(message(Kind::Confirmed, 0, 1, &[]));
    vec![said, lent]
}

pub(crate) fn header(bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else { return false };
    let header = Header::decode(bytes);
    if let Ok(header) = &header {
        assert_eq!(header.encode(), *bytes, "two encodings of one header");
    }
    header.is_ok()
}

pub(crate) fn decodes_hello(bytes: &[u8]) -> bool {
    let hello = Hello::decode(bytes);
    if let Some(hello) = &hello {
        assert_eq!(hello.encode(), bytes, "two encodings of one Hello");
    }
    hello.is_some()
}

pub(crate) fn decodes_challenge(bytes: &[u8]) -> bool {
    let schemes = [Scheme::Signatures, Scheme::SharedKeys, Scheme::Unproved];
    let challenges = schemes.map(|scheme| Challenge::decode(bytes, scheme));
    let decoded = challenges.iter().flatten().inspect(|challenge| assert_eq!(challenge.encode(), bytes));
    let count = decoded.count();
    assert!(count <= 1, "a Challenge of two schemes");
    count == 1
}

/// Reads messages, and of payloads the first bytes, to the end.
pub(crate) fn reads(socket: OwnedFd) -> bool {
    let mut link = Link::passing_descriptors(socket);
    let mut any = false;
    while let Ok(Some(message)) = link.receive() {
        any = true;
        let header = message.header;
        assert!(header.kind.has_payload() || message.body().len() as u64 == header.length);
        assert!(!header.flags.has(Flags::SEALED), "no descriptor was sent");
        if header.kind.has_payload() {
            let (mut region, mut filled) = (vec![0; header.length.min(4096) as usize], 0);
            while let Ok(Progress::Later) = link.receive_payload(&mut region, &mut filled) {}
            assert!(filled <= region.len());
        }
    }
    any
}
