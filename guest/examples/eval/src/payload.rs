//! The payload: a text of the letters `a` to `p`, which JSON carries as it is, drawn from a seed that is new for each transfer, so that no
//! receipt can be known beforehand. Its first byte is the receiver's work.
//!
//! Letters are made eight at a time: word `i` is the i-th output of splitmix64, each byte of which is cut to its low four bits and
//! added to `a`, in little-endian order.

use anyhow::{Result, bail};
use xxhash_rust::xxh3::xxh3_128;

/// Distance between two bytes of which [`Work::Touch`] reads one.
pub const PAGE: usize = 4096;

/// What a receiver does with a payload before its clock stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It reads the first byte of each page, and the last byte.
    Touch,
    /// It reads every byte.
    Read,
    /// It makes a digest of every byte, for which no time counts.
    Check,
}

impl Work {
    /// The work of this letter.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(letter: u8) -> Result<Self> {
        match letter {
            b't' => Ok(Self::Touch),
            b'r' => Ok(Self::Read),
            b'c' => Ok(Self::Check),
            other => bail!("no work is called {:?}", char::from(other)),
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::Touch => b't',
            Self::Read => b'r',
            Self::Check => b'c',
        }
    }

    /// What a receiver can only say who has done this work with these bytes.
    #[must_use]
    pub fn receipt(self, payload: &[u8]) -> u128 {
        match self {
            Self::Touch => touch(payload).into(),
            Self::Read => read(payload).into(),
            Self::Check => xxh3_128(payload),
        }
    }
}

/// Fills `payload`, which has its size already.
pub fn fill(payload: &mut [u8], work: Work, seed: u64) {
    let (words, rest) = payload.as_chunks_mut::<8>();
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161
    };
    for word in words {
        *word = next().to_le_bytes();
    }
    let last = next().to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
    if let Some(first) = payload.first_mut() {
        *first = work.letter();
    }
}

fn touch(payload: &[u8]) -> u64 {
    let pages = payload.iter().step_by(PAGE).chain(payload.last());
    pages.fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte))
}

fn read(payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    sum.wrapping_add(u64::from_le_bytes(last))
}
