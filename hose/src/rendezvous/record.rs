//! What stands in the folder about one end: a few lines of text, written by the runtime, read by everyone.
//!
//! ```text
//! rr-hose-record 1
//! workflow pictures
//! name photo-sink
//! key 64 hexadecimal digits
//! socket HASH.RANDOM.sock
//! owner CONTAINER-ID
//! ```

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::identity::{decode_hex, encode_hex};
use crate::{Error, ErrorKind, Name, PublicKey, Result, Workflow};

const FIRST_LINE: &str = "rr-hose-record 1";
/// Bytes: no record that this crate writes is longer.
const MAX_LEN: usize = 2048;
/// Bytes: an OCI runtime's container ids are shorter.
pub(super) const MAX_OWNER: usize = 1024;

/// One end, as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) workflow: Workflow,
    pub(crate) name: Name,
    pub(crate) key: PublicKey,
    /// File name of the listening socket, beside the record.
    pub(crate) socket: String,
    pub(crate) owner: String,
}

/// First part of the names of all files of one end: 128 bits of a hash, as hexadecimal.
pub(super) fn stem(workflow: &Workflow, name: &Name) -> String {
    // Neither alphabet has a NUL: no two pairs give the same input.
    let digest = Sha256::new()
        .chain_update(workflow.as_str())
        .chain_update([0])
        .chain_update(name.as_str())
        .finalize();
    encode_hex(&digest[..16])
}

/// File name of the record.
pub(super) fn file_name(workflow: &Workflow, name: &Name) -> String {
    stem(workflow, name) + ".record"
}

/// An owner must fit into a line.
pub(super) fn check_owner(owner: &str) -> Result<()> {
    if owner.is_empty() || owner.len() > MAX_OWNER || owner.chars().any(char::is_control) {
        let message = "owner of a hose must be 1 to 1024 bytes without control characters";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

impl Record {
    pub(crate) fn encode(&self) -> String {
        let Self { workflow, name, key, socket, owner } = self;
        let key = encode_hex(key.as_bytes());
        format!("{FIRST_LINE}\nworkflow {workflow}\nname {name}\nkey {key}\nsocket {socket}\nowner {owner}\n")
    }

    /// `None` for anything that [`Record::encode`] does not write.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut field = |key| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let record = Self {
            workflow: field("workflow")?.try_into().ok()?,
            name: field("name")?.try_into().ok()?,
            key: PublicKey::from_bytes(&decode_hex(field("key")?)?)?,
            socket: socket(field("socket")?)?,
            owner: field("owner")?.to_owned(),
        };
        check_owner(&record.owner).ok()?;
        (lines.next().is_none() && text.len() <= MAX_LEN).then_some(record)
    }

    /// The text of one, for [`crate::fuzz`].
    pub(crate) fn sample() -> Option<String> {
        let record = Self {
            workflow: "w".try_into().ok()?,
            name: "b".try_into().ok()?,
            key: crate::Secret::generate().ok()?.public(),
            socket: "0123456789abcdef.00ff.sock".to_owned(),
            owner: "container".to_owned(),
        };
        Some(record.encode())
    }

    /// Reads the record of an end in `folder`: `None` when there is none, or none that is whole.
    pub(crate) fn read(folder: impl AsFd, workflow: &Workflow, name: &Name) -> Result<Option<Self>> {
        let record = Self::open(folder, &file_name(workflow, name), name.as_str())?;
        Ok(record.filter(|r| r.workflow == *workflow && r.name == *name))
    }

    /// Reads the record in a file, of whichever end it is; `whose` is for messages.
    pub(super) fn open(folder: impl AsFd, file: &str, whose: &str) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(folder, file, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(Error::system(format!("open the rendezvous record of {whose}"), e)),
        };
        let text = contents(&file)
            .map_err(|e| Error::system(format!("read the rendezvous record of {whose}"), e))?;
        Ok(text.as_deref().and_then(Self::decode))
    }
}

/// A socket's name must be one of those that the folder's owner makes: no path leads out of the folder.
fn socket(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".sock")?;
    let plain = stem.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f' | b'.'));
    (plain && !stem.is_empty() && !stem.starts_with('.') && stem.len() <= 64).then(|| name.to_owned())
}

fn contents(file: &OwnedFd) -> rustix::io::Result<Option<String>> {
    if FileType::from_raw_mode(fstat(file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut buffer = [0; MAX_LEN + 1];
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(std::str::from_utf8(&buffer[..filled]).ok().map(str::to_owned))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Secret;

    fn record(owner: &str) -> Record {
        Record {
            workflow: "w".try_into().unwrap(),
            name: "b".try_into().unwrap(),
            key: Secret::generate().unwrap().public(),
            socket: "0123456789abcdef.00ff.sock".into(),
            owner: owner.into(),
        }
    }

    #[test]
    fn a_record_survives_its_file() {
        let record = record("pod_1-c+x.y");
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }

    #[test]
    fn a_torn_record_is_none() {
        let text = record("c").encode();
        for n in 0..text.len() {
            assert_eq!(Record::decode(&text[..n]), None, "{n} bytes");
        }
        assert_eq!(Record::decode(&(text + "more\n")), None);
    }

    #[test]
    fn a_socket_outside_the_folder_is_none() {
        for socket in ["../x.sock", "/run/x.sock", ".sock", "..sock", "a/b.sock", "", "x"] {
            let text = record("c").encode().replace("0123456789abcdef.00ff.sock", socket);
            assert_eq!(Record::decode(&text), None, "{socket}");
        }
    }

    #[test]
    fn two_names_have_two_stems() {
        let stem = |w: &str, n: &str| stem(&w.try_into().unwrap(), &n.try_into().unwrap());
        assert_ne!(stem("ab", "c"), stem("a", "bc"));
        assert_eq!(stem("a", "b").len(), 32);
    }

    proptest! {
        // Keys are slow without optimization.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn decoding_what_is_not_a_record_never_panics(text: String, owner in "[^\\p{Cc}]{1,40}") {
            if let Some(record) = Record::decode(&text) {
                prop_assert_eq!(record.encode(), text);
            }
            let whole = record(&owner);
            prop_assert_eq!(Record::decode(&whole.encode()), Some(whole));
        }
    }
}
