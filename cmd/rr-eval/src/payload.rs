//! The payloads, and what receivers have to say of them. The contestants make and read them by code of their own
//! (`guest/examples/eval/src/payload.rs`); this is the referee's, which never sees theirs.
//!
//! A payload is a text of the letters `a` to `p` that JSON carries as it is, drawn from a seed which is new for each transfer. Word `i` is the
//! i-th output of splitmix64, each byte cut to its low four bits and added to `a`, in little-endian order. The first byte is then replaced by
//! the letter of the receiver's work.
//!
//! | work | receipt |
//! | --- | --- |
//! | `t` | of the first byte of each 4,096 and the last byte, in turn: the receipt so far, rotated left by 5 in 64 bits, XOR the byte |
//! | `r` | the sum of all words modulo 2⁶⁴, the last one filled up with zeros |
//! | `c` | the first 16 bytes of the SHA-256, as a big-endian number |
//! | `q` | as for `t`; it is not said, but goes into the tally: its lower 64 bits are rotated left by 9 and changed by XOR, its upper ones count |
//! | `a` | the tally, which is 0 from then on |

use sha2::{Digest, Sha256};

use crate::protocol::{Order, Work};

/// The distance of the bytes that are read of a payload that is touched.
const PAGE: usize = 4096;

/// The receipt of a receiver that has done its work with this order's payload. `scratch` is memory for it, used again.
pub(crate) fn receipt(order: &Order, scratch: &mut Vec<u8>) -> u128 {
    fill(order, scratch);
    match order.work {
        Work::Touch | Work::Quiet | Work::Tally => {
            let pages = scratch.iter().step_by(PAGE).chain(scratch.last());
            pages.fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte)).into()
        }
        Work::Read => {
            let word = |bytes: &[u8]| {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(word)
            };
            scratch.chunks(8).fold(0_u64, |sum, bytes| sum.wrapping_add(word(bytes))).into()
        }
        Work::Check => {
            let digest: [u8; 32] = Sha256::digest(scratch).into();
            digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
        }
    }
}

/// The tally of `count` quiet payloads, the i-th of this seed + i.
pub(crate) fn tally(size: u64, seed: u64, count: u64) -> u128 {
    let lower = (0..count).fold(0_u64, |tally, i| tally.rotate_left(9) ^ touched(size, seed.wrapping_add(i)));
    u128::from(count) << 64 | u128::from(lower)
}

/// The receipt of a quiet payload, of which only the words are made that are looked at.
fn touched(size: u64, seed: u64) -> u64 {
    let byte = |at: u64| match at {
        0 => b'q',
        _ => letters(&mut seed.wrapping_add((at / 8).wrapping_mul(GAMMA))).to_le_bytes()[at as usize % 8],
    };
    let pages = (0..size).step_by(PAGE).chain(size.checked_sub(1));
    pages.fold(0, |sum, at| sum.rotate_left(5) ^ u64::from(byte(at)))
}

/// A word of letters.
fn letters(state: &mut u64) -> u64 {
    (splitmix64(state) & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161
}

fn fill(order: &Order, payload: &mut Vec<u8>) {
    payload.resize(usize::try_from(order.size).unwrap_or(usize::MAX), 0);
    let mut state = order.seed;
    for bytes in payload.chunks_mut(8) {
        bytes.copy_from_slice(&letters(&mut state).to_le_bytes()[..bytes.len()]);
    }
    if let (Some(first), Ok(letter)) = (payload.first_mut(), u8::try_from(order.work.letter())) {
        *first = letter;
    }
}

/// Between two states of splitmix64.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The next output of splitmix64.
pub(crate) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GAMMA);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_that_begins_with_its_work() {
        let mut payload = Vec::new();
        fill(&Order { size: 21, work: Work::Read, seed: 7 }, &mut payload);
        assert_eq!((payload.len(), payload[0]), (21, b'r'));
        assert!(payload[1..].iter().all(|byte| (b'a'..=b'p').contains(byte)));
    }

    #[test]
    fn a_tally_is_of_the_receipts_of_all() {
        let mut scratch = Vec::new();
        for size in [1, 2, 64, 4096, 4097, 20_003] {
            let mut of = |seed| receipt(&Order { size, work: Work::Quiet, seed }, &mut scratch) as u64;
            let lower = [of(5), of(6), of(7)].into_iter().fold(0_u64, |sum, one| sum.rotate_left(9) ^ one);
            assert_eq!(tally(size, 5, 3), 3 << 64 | u128::from(lower), "{size}");
        }
    }

    #[test]
    fn receipts_differ_by_seed_and_work() {
        let mut scratch = Vec::new();
        let mut of = |work, seed| receipt(&Order { size: 9000, work, seed }, &mut scratch);
        let all = [(Work::Touch, 1), (Work::Touch, 2), (Work::Read, 1), (Work::Read, 2), (Work::Check, 1)];
        let receipts: std::collections::BTreeSet<u128> = all.map(|(work, seed)| of(work, seed)).into();
        assert_eq!(receipts.len(), all.len());
    }
}
