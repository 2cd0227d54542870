//! The secret that a container proves itself with.
//!
//! `create` draws an Ed25519 key pair for each container. The *secret* half goes into the container's state, that only
//! the runtime reads, and into its init, in whose memory it stays out of the function's reach. The *public* half stands in
//! the record that the runtime writes into the tenant's rendezvous folder. A peer proves that it holds the
//! secret of the name it gives by signing a transcript that both sides have put a nonce into ([`crate::unix`]).
//!
//! # Why not one symmetric secret a container
//!
//! To check a symmetric proof, the other side needs the same secret. It would have to stand in a folder that the init of
//! every container of the tenant reads, and each of them could then pose as any other: names would prove nothing
//! within a tenant. With a key pair the folder holds nothing that needs hiding, so its records can be read
//! by any uid that a container happens to run as, and a function whose host process is taken over can pose as nobody
//! but itself. The price, two signatures and two verifications for each *connection* (some 0.2 ms together), is not paid for
//! each frame: a connected Unix socket cannot be written to by a third process.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Result};

/// Bytes of a secret and of a public key.
pub const KEY_LEN: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// The private half. Wiped from memory when dropped; never printed by `Debug`.
#[derive(Clone)]
pub struct Secret(SigningKey);

impl Secret {
    /// Draws a secret from the kernel's generator.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        random(&mut *seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads the 64 lower-case hexadecimal digits that [`Secret::to_hex`] wrote. The error does not repeat them.
    pub fn from_hex(hex: &str) -> Result<Self> {
        let seed = Zeroizing::new(decode_hex::<KEY_LEN>(hex).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "secret is not 64 lower-case hexadecimal digits")
        })?);
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The secret as 64 lower-case hexadecimal digits, wiped when dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(encode_hex(self.0.as_bytes()))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    pub(crate) fn from_bytes(bytes: &[u8; KEY_LEN]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_bytes()
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        encode_hex(self.as_bytes())
    }

    /// `verify_strict`: refuses the malleable signatures and small-order keys that plain Ed25519 lets pass.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", encode_hex(self.as_bytes()))
    }
}

/// Fills `buffer` from the kernel's generator, in as many calls as that takes.
pub(crate) fn random(buffer: &mut [u8]) -> Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut filled = 0;
    while filled < buffer.len() {
        match getrandom(&mut buffer[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("getrandom", errno)),
        }
    }
    Ok(())
}

pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

pub(crate) fn decode_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let hex = hex.as_bytes();
    if hex.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_survives_hexadecimal_and_is_not_printed() {
        let secret = Secret::generate().unwrap();
        let hex = secret.to_hex();
        assert_eq!(Secret::from_hex(&hex).unwrap().public(), secret.public());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_ne!(Secret::generate().unwrap().public(), secret.public());
    }

    #[test]
    fn a_malformed_secret_is_refused_and_not_repeated() {
        for hex in ["", "00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            let error = Secret::from_hex(hex).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(hex.is_empty() || hex == "00" || !error.to_string().contains(hex));
        }
    }

    #[test]
    fn a_key_of_small_order_is_no_key() {
        let mut identity = [0; KEY_LEN];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_none());
    }

    proptest! {
        // Signatures are slow without optimization.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn only_the_signed_message_and_the_signers_key_verify(seed: [u8; 32], message: Vec<u8>, flip: prop::sample::Index) {
            let secret = Secret::from_hex(&encode_hex(&seed)).unwrap();
            let mut signature = secret.sign(&message);
            prop_assert!(secret.public().verifies(&message, &signature));
            let other = [&message[..], b"x"].concat();
            prop_assert!(!secret.public().verifies(&other, &signature));
            let bit = flip.index(SIGNATURE_LEN * 8);
            signature[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!secret.public().verifies(&message, &signature));
        }

        #[test]
        fn hexadecimal_round_trips(bytes: [u8; 16]) {
            prop_assert_eq!(decode_hex::<16>(&encode_hex(&bytes)), Some(bytes));
        }
    }
}
