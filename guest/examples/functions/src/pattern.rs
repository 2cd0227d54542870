//! The payload that every language's source sends, and the checksum that both ends print of it.

/// As many whole words of a linear congruential generator as fit, then letters.
#[must_use]
pub fn payload(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    let (words, rest) = data.as_chunks_mut::<8>();
    let mut n: u64 = 12345;
    for word in words {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *word = n.to_le_bytes();
    }
    for (byte, i) in rest.iter_mut().zip(len / 8 * 8..) {
        *byte = b'a' + (i % 26) as u8;
    }
    data
}

/// FNV-1a over words, then over the bytes that are left, folded to 32 bits.
#[must_use]
pub fn checksum(data: &[u8]) -> u32 {
    let (words, rest) = data.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let sum = words
        .chain(rest.iter().map(|byte| u64::from(*byte)))
        .fold(0xcbf2_9ce4_8422_2325, |sum, next| (sum ^ next).wrapping_mul(0x0100_0000_01b3));
    (sum ^ sum >> 32) as u32
}
