//! The payloads, and what receivers have to say of them. The contestants make and read them by code of their own
//! (`guest/examples/eval/src/payload.rs`); this is the referee's, which never sees theirs.
//!
//! A payload is a text of the letters `a` to `p` that JSON carries as it is, drawn from a seed which is new for each transfer. Word `i` is the
//! i-th output of splitmix64, each byte cut to its low four bits and added to `a`, in little-endian order. The first byte is then replaced by
//! the letter of the receiver's work. The payloads of calls at a fixed rate have its capital letter there: a receiver says nothing of them one by one,
//! but keeps a receipt of all, and when each was done, until a payload begins with `a` and asks for that account.
//!
//! | work | receipt |
//! | --- | --- |
//! | `t` | of the first byte of each 4,032 and the last byte, in turn: the receipt so far, rotated left by 5 in 64 bits, XOR the byte |
//! | `r` | the sum of all words modulo 2⁶⁴, the last one filled up with zeros |
//! | `c` | the first 16 bytes of the SHA-256, as a big-endian number |
//! | kept | of the payloads' receipts, in turn: the receipt so far, rotated left by 5 in 128 bits, XOR the payload's |

use sha2::{Digest, Sha256};

use crate::pace::Pace;
use crate::protocol::{Order, Work};

/// The distance of the bytes that are read of a payload that is touched: one of each page, each on another cache line of it, as they would share one set of
/// the cache otherwise.
const STRIDE: usize = 4096 - 64;

/// The receipt of a receiver that has done its work with this order's payload. `scratch` is memory for it, used again.
pub(crate) fn receipt(order: &Order, scratch: &mut Vec<u8>) -> u128 {
    receipt_of(order, order.work.letter(), scratch)
}

/// The receipt of a receiver that has done its work with all payloads of a schedule. `scratch` is memory for them, used again.
pub(crate) fn kept(pace: &Pace, scratch: &mut Vec<u8>) -> u128 {
    let letter = pace.work.letter().to_ascii_uppercase();
    let orders = (0..pace.count).map(|index| pace.order(index));
    orders.fold(0, |all: u128, order| all.rotate_left(5) ^ receipt_of(&order, letter, scratch))
}

fn receipt_of(order: &Order, letter: char, scratch: &mut Vec<u8>) -> u128 {
    fill(order, letter, scratch);
    match order.work {
        Work::Touch => {
            let pages = scratch.iter().step_by(STRIDE).chain(scratch.last());
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

fn fill(order: &Order, letter: char, payload: &mut Vec<u8>) {
    payload.resize(usize::try_from(order.size).unwrap_or(usize::MAX), 0);
    let mut state = order.seed;
    for bytes in payload.chunks_mut(8) {
        let word = (splitmix64(&mut state) & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
        bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
    }
    if let (Some(first), Ok(letter)) = (payload.first_mut(), u8::try_from(letter)) {
        *first = letter;
    }
}

/// The next output of splitmix64.
pub(crate) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
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
        fill(&Order { size: 21, work: Work::Read, seed: 7 }, 'r', &mut payload);
        assert_eq!((payload.len(), payload[0]), (21, b'r'));
        assert!(payload[1..].iter().all(|byte| (b'a'..=b'p').contains(byte)));
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
