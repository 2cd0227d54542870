//! Tags that authenticate what follows the handshake, on a connection whose ends have keys.
//!
//! The n-th tag of a direction, from 0 on, is BLAKE3, keyed, over the header or the payload that it follows, and then n (8 bytes, little-endian; in
//! front it would put all of a payload beside the hash's own pieces of 1 KiB: 5 % slower). Each
//! direction of each connection has a key of its own. So nothing can be changed, left out, repeated, moved or sent back to where it came from.
//!
//! BLAKE3 and not HMAC-SHA256 or Poly1305, as it is the fastest of the three where there is AVX2 or better: 8.0, 2.1 and 5.2 GB/s on an AMD EPYC with
//! AVX-512 and SHA instructions.

use blake3::{Hash, Hasher};
use zeroize::Zeroizing;

pub(crate) const TAG_LEN: usize = 32;
/// Bytes to hash at a time: they are in the cache when they are sent, or were just received.
pub(crate) const CHUNK: usize = 256 << 10;

pub(crate) type SessionKey = Zeroizing<[u8; 32]>;

/// One direction.
pub(crate) struct Tags {
    key: SessionKey,
    next: u64,
}

impl std::fmt::Debug for Tags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tags(..)")
    }
}

impl Tags {
    pub(crate) fn new(key: SessionKey) -> Self {
        Self { key, next: 0 }
    }

    /// Of all of `bytes`.
    pub(crate) fn tag(&mut self, bytes: &[u8]) -> Tag {
        let mut tag = self.begin();
        tag.update(bytes);
        tag
    }

    /// Of bytes that are still to come.
    pub(crate) fn begin(&mut self) -> Tag {
        let number = self.next;
        // 2^64 tags are beyond anyone's patience.
        self.next += 1;
        Tag { hasher: Box::new(Hasher::new_keyed(&self.key)), number }
    }
}

/// One that is being computed.
pub(crate) struct Tag {
    hasher: Box<Hasher>,
    number: u64,
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tag(..)")
    }
}

impl Tag {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; TAG_LEN] {
        *self.finalize().as_bytes()
    }

    /// In constant time.
    pub(crate) fn is(self, tag: &[u8; TAG_LEN]) -> bool {
        self.finalize() == Hash::from_bytes(*tag)
    }

    fn finalize(mut self) -> Hash {
        self.hasher.update(&self.number.to_le_bytes());
        self.hasher.finalize()
    }
}
