//! The 32 bytes before a payload: plain old data, read where they lie.

use std::time::{SystemTime, UNIX_EPOCH};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Error;

const MAGIC: [u8; 8] = *b"rr-demo1";
/// Bytes of a header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// What precedes the bytes that are really meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    magic: [u8; 8],
    /// XXH64 of all that follows the header.
    checksum: U64,
    /// Nanoseconds since 1970.
    sent_at: U64,
    /// Pixels; 0 when the payload is no picture.
    width: U32,
    height: U32,
}

impl Header {
    /// For the bytes that will follow it. Width and height are 0 for what is no picture.
    pub fn new(bytes: &[u8], width: u32, height: u32) -> Self {
        Self {
            magic: MAGIC,
            checksum: checksum(bytes).into(),
            sent_at: 0.into(),
            width: width.into(),
            height: height.into(),
        }
    }

    /// Writes it to the beginning of a payload, which must have room.
    pub fn write(&self, payload: &mut [u8]) {
        payload[..HEADER_LEN].copy_from_slice(self.as_bytes());
    }

    /// Writes it with the time of now, just before sending.
    pub fn stamp(mut self, payload: &mut [u8]) {
        self.sent_at = unix_nanoseconds().into();
        self.write(payload);
    }

    /// The header of a payload, without a look at what follows it.
    pub fn read(payload: &[u8]) -> Result<(Self, &[u8]), Error> {
        match Self::read_from_prefix(payload) {
            Ok((header, bytes)) if header.magic == MAGIC => Ok((header, bytes)),
            Ok(_) => Err(Error::Payload("it does not begin with a header".into())),
            Err(_) => Err(Error::Payload(format!("{} bytes are too short for a header", payload.len()))),
        }
    }

    /// The header of a payload, and the bytes after it, which are those that were sent.
    pub fn check(payload: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, bytes) = Self::read(payload)?;
        let found = checksum(bytes);
        if found != header.checksum() {
            let how = format!("its checksum is {found:016x}, not {:016x}", header.checksum());
            return Err(Error::Payload(how));
        }
        Ok((header, bytes))
    }

    /// XXH64 of all that follows the header.
    pub fn checksum(&self) -> u64 {
        self.checksum.get()
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width.get()
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height.get()
    }

    /// Milliseconds from when it was sent until `now` of [`unix_nanoseconds`], on the same clock.
    pub fn milliseconds_until(&self, now: u64) -> f64 {
        now.saturating_sub(self.sent_at.get()) as f64 / 1e6
    }
}

/// XXH64 with seed 0, as `xxhsum` prints it.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, 0)
}

/// The time: nanoseconds since 1970.
pub fn unix_nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}
