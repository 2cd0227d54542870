//! The payload: a text of the letters `a` to `p`, which JSON carries as it is, drawn from a seed that is new for each transfer, so that no
//! receipt can be known beforehand. Its first byte is the receiver's work.
//!
//! Letters are made eight at a time: word `i` is the i-th output of splitmix64, each byte of which is cut to its low four bits and
//! added to `a`, in little-endian order.

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

/// Distance between the bytes that [`Work::Touch`] reads: of each page of 4 KiB one, on another cache line than in the page before. At the same place of every page
/// all would be in one set of the cache, and it is that which would be measured.
pub const STRIDE: usize = 4096 - 64;

/// What a receiver does with a payload before its clock stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It reads a byte of each page, and the last byte.
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
            Self::Check => Check::default().and(payload).receipt(),
        }
    }
}

/// What a receiver says of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A line for each.
    Told(Work),
    /// Nothing yet: it goes into what it will say.
    Kept(Work),
    /// A line for all that it has kept.
    Account,
}

impl Call {
    /// The call of a payload that begins with this letter.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(letter: u8) -> Result<Self> {
        match letter {
            b'a' => Ok(Self::Account),
            capital @ b'A'..=b'Z' => Ok(Self::Kept(Work::of(capital.to_ascii_lowercase())?)),
            letter => Ok(Self::Told(Work::of(letter)?)),
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::Told(work) => work.letter(),
            Self::Kept(work) => work.letter().to_ascii_uppercase(),
            Self::Account => b'a',
        }
    }
}

/// Fills `payload`, which has its size already.
pub fn fill(payload: &mut [u8], call: Call, seed: u64) {
    Filler::new(call, seed).fill(payload);
}

/// Fills a payload piece by piece.
pub struct Filler {
    state: u64,
    /// What stands at the very beginning.
    first: Option<u8>,
}

impl Filler {
    /// Of a payload that is drawn from a seed.
    #[must_use]
    pub fn new(call: Call, seed: u64) -> Self {
        Self { state: seed, first: Some(call.letter()) }
    }

    /// Fills the next piece. All but the last have to be of whole words.
    pub fn fill(&mut self, piece: &mut [u8]) {
        let (words, rest) = piece.as_chunks_mut::<8>();
        for word in words {
            *word = self.next().to_le_bytes();
        }
        if !rest.is_empty() {
            let last = self.next().to_le_bytes();
            rest.copy_from_slice(&last[..rest.len()]);
        }
        if let Some(first) = piece.first_mut() {
            *first = self.first.take().unwrap_or(*first);
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161
    }
}

/// The receipt of [`Work::Check`], piece by piece.
#[derive(Default)]
pub struct Check(Sha256);

impl Check {
    /// Adds the next piece.
    #[must_use]
    pub fn and(self, piece: &[u8]) -> Self {
        Self(self.0.chain_update(piece))
    }

    /// Of all pieces.
    #[must_use]
    pub fn receipt(self) -> u128 {
        let digest: [u8; 32] = self.0.finalize().into();
        digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }
}

/// Bytes that are read before a loop looks whether there are more. A function that can be stopped looks at each turn whether it shall be, too, and
/// its compiler does not join turns, as it does those of other code.
const TURN: usize = 128;

/// Pages that are touched before a loop looks whether there are more, for the same reason.
const PAGES: usize = 8;

fn touch(payload: &[u8]) -> u64 {
    let (turns, rest) = payload.as_chunks::<{ PAGES * STRIDE }>();
    let sum = turns
        .iter()
        .fold(0, |sum, turn| turn.as_chunks::<STRIDE>().0.iter().fold(sum, |sum, page| and(sum, page[0])));
    rest.iter().step_by(STRIDE).chain(payload.last()).copied().fold(sum, and)
}

/// The receipt of [`Work::Touch`], of a byte of each [`STRIDE`] and the last byte.
pub fn touched(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0, and)
}

/// The receipt of what was touched, and then this byte.
fn and(sum: u64, byte: u8) -> u64 {
    sum.rotate_left(5) ^ u64::from(byte)
}

/// The receipt of [`Work::Read`]. Those of pieces of whole words add up to that of all.
///
/// By vectors, as in a native program, and [`TURN`] bytes at a time. Not the whole module: LLVM 21 crashes where it optimizes some that have
/// vectors everywhere.
#[must_use]
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub fn read(payload: &[u8]) -> u64 {
    let (turns, rest) = payload.as_chunks::<TURN>();
    let mut sums = [0_u64; 4];
    for turn in turns {
        for words in turn.as_chunks::<32>().0 {
            for (sum, word) in sums.iter_mut().zip(words.as_chunks().0) {
                *sum = sum.wrapping_add(u64::from_le_bytes(*word));
            }
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    sums.into_iter().chain(words).fold(0, u64::wrapping_add)
}
