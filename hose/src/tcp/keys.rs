//! Pre-shared keys, one a name.
//!
//! ```text
//! # name, then 64 lower-case hexadecimal digits
//! photo-source 000102…
//! photo-sink   0f1e2d…
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::identity::{KEY_LEN, decode_hex};
use crate::{Error, ErrorKind, Name, Result};

/// Most names of one file.
const MAX_NAMES: usize = 10_000;

/// One name's key. Wiped when dropped, never printed.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; KEY_LEN]>);

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The keys of all names that an end deals with, its own among them. Never printed by `Debug`.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<Name, Key>);

impl Keys {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another one: 32 bytes that nobody can guess. A name that has a key already is [`ErrorKind::Invalid`].
    pub fn with(mut self, name: Name, key: &[u8; KEY_LEN]) -> Result<Self> {
        if *key == [0; KEY_LEN] {
            return Err(Error::new(ErrorKind::Invalid, format!("key of {name} is zero")));
        }
        if self.0.len() >= MAX_NAMES {
            return Err(Error::new(ErrorKind::Invalid, format!("more than {MAX_NAMES} keys")));
        }
        if self.0.contains_key(&name) {
            return Err(Error::new(ErrorKind::Invalid, format!("{name} has two keys")));
        }
        self.0.insert(name, Key(Zeroizing::new(*key)));
        Ok(self)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a key for a name.
    pub fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&Key> {
        self.0.get(name)
    }
}

impl FromStr for Keys {
    type Err = Error;

    /// The lines of a key file. Errors name the line, and repeat no key.
    fn from_str(text: &str) -> Result<Self> {
        let mut keys = Self::new();
        for (number, line) in (1..).zip(text.lines()) {
            let fail =
                |what: &str| Error::new(ErrorKind::Invalid, format!("line {number} of the key file: {what}"));
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some(hex), None) = (words.next(), words.next(), words.next()) else {
                return Err(fail("not a name and a key"));
            };
            let name = Name::try_from(name).map_err(|_| fail("not a function's name"))?;
            let key = decode_hex(hex).map(Zeroizing::new);
            let key = key.ok_or_else(|| fail("the key is not 64 lower-case hexadecimal digits"))?;
            keys = keys.with(name, &key).map_err(|e| fail(&e.to_string()))?;
        }
        Ok(keys)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_file_of_keys_is_read() {
        let keys: Keys = format!("# two\n\na {HEX}\n  b\t{}  \n", HEX.replace('0', "f")).parse().unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys.get(&"a".try_into().unwrap()).unwrap().as_bytes()[31], 0x1f);
        assert!(keys.get(&"c".try_into().unwrap()).is_none());
        assert!(!format!("{keys:?}").contains("31"), "{keys:?}");
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_its_key_is_not_repeated() {
        let zero = "0".repeat(64);
        for (line, what) in [
            ("a".to_owned(), "not a name and a key"),
            (format!("a {HEX} {HEX}"), "not a name and a key"),
            (format!("A {HEX}"), "not a function's name"),
            (format!("{HEX} a"), "not a function's name"),
            (format!("a {}", HEX.to_uppercase()), "the key is not 64 lower-case hexadecimal digits"),
            (format!("a {}", &HEX[1..]), "the key is not 64 lower-case hexadecimal digits"),
            (format!("a {HEX}\na {HEX}"), "a has two keys"),
            (format!("a {zero}"), "key of a is zero"),
        ] {
            let error = format!("# first\n{line}").parse::<Keys>().unwrap_err().to_string();
            let number = if what == "a has two keys" { 3 } else { 2 };
            assert_eq!(error, format!("line {number} of the key file: {what}"));
        }
    }

    proptest! {
        #[test]
        fn what_is_no_key_file_never_panics(text: String) {
            let _ = text.parse::<Keys>();
        }
    }
}
