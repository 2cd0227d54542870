//! A payload that a program reads or writes as a file: for whoever knows no hose.
//!
//! A spool is a memfd. One that came is read from its beginning. One that is written has a size from the start, and cannot grow (memfd_create(2),
//! F_SEAL_GROW), so that what is too much fails at its writer; nothing of it is there before it is written. Whoever writes does so in
//! sequence: how far it has come is the file's position.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{SealFlags, SeekFrom, fcntl_add_seals, ftruncate, seek};

use super::buffer::{file_for, fill, memfd};
use super::map::Mapping;
use super::{FROZEN_MIN, Frozen, Pages, size_of};
use crate::stream::Payload;
use crate::{Error, Held, Incoming, Receiver, Result};

/// A payload as a file.
#[derive(Debug)]
pub struct Spool(OwnedFd);

/// What was written to a spool.
#[derive(Debug)]
pub enum Contents {
    /// A short payload, or none.
    Bytes(Vec<u8>),
    /// The spool itself, which nobody can change any more.
    Frozen(Frozen),
}

impl Spool {
    /// An empty one, for a payload of `max` bytes: writing more than that, and what fills its last page, fails with EPERM.
    pub fn with_room(max: usize) -> Result<Self> {
        let (file, _) = file_for(max)?;
        fcntl_add_seals(&file, SealFlags::GROW).map_err(|e| Error::system("seal a memfd", e))?;
        Ok(Self(file))
    }

    /// One with a payload that has come, to be read. On an error its sender has been told, or is gone.
    pub fn receive(receiver: &mut Receiver, incoming: Incoming) -> Result<(Held, Self)> {
        let len = incoming.len();
        let made = memfd().and_then(|file| {
            let call = |e| Error::system("make room for a payload", e);
            ftruncate(&file, len as u64).map_err(call)?;
            let mapping = (len > 0).then(|| Mapping::shared(file.as_fd(), len)).transpose().map_err(call)?;
            // Its pages now: one that cannot be had would be a signal later.
            fill(&file, len)?;
            Ok((file, mapping))
        });
        let (file, mut mapping) = match made {
            Ok(made) => made,
            Err(error) => {
                receiver.refuse(incoming);
                return Err(error);
            }
        };
        let held = receiver.read_into(incoming, mapping.as_mut().map_or(&mut [], Mapping::bytes_mut))?;
        Ok((held, Self(file)))
    }

    /// What was written to it. Whoever has its descriptor can read it for as long as that is open, and write no more.
    pub fn finish(self) -> Result<Contents> {
        let Self(file) = self;
        // At the end of what was written.
        let at = seek(&file, SeekFrom::Current(0)).map_err(|e| Error::system("lseek a memfd", e))?;
        let len = usize::try_from(at).unwrap_or(usize::MAX);
        if len < FROZEN_MIN {
            let mut bytes = vec![0; len];
            let mut read = 0;
            while read < len {
                match rustix::io::pread(&file, &mut bytes[read..], read as u64) {
                    Ok(0) => break,
                    Ok(n) => read += n,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(Error::system("pread a memfd", e)),
                }
            }
            return Ok(Contents::Bytes(bytes));
        }
        let call = |e| Error::system("cut a memfd to a payload", e);
        let size = size_of(len).ok_or(rustix::io::Errno::FBIG).map_err(call)?;
        ftruncate(&file, size as u64).map_err(call)?;
        fill(&file, size)?;
        Frozen::seal(file, len, size, Pages::Small).map(Contents::Frozen)
    }
}

impl Contents {
    /// The payload.
    pub fn payload(&self) -> Payload<'_> {
        match self {
            Self::Bytes(bytes) => bytes.as_slice().into(),
            Self::Frozen(frozen) => frozen.into(),
        }
    }
}

impl AsFd for Spool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::sealed::HUGE;

    fn written(max: usize, bytes: &[u8]) -> Contents {
        let spool = Spool::with_room(max).unwrap();
        let mut file = std::fs::File::from(spool.as_fd().try_clone_to_owned().unwrap());
        // In pieces, as a program would.
        bytes.chunks(100_000).for_each(|piece| file.write_all(piece).unwrap());
        spool.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_the_payload_whatever_its_length() {
        for len in [0, 1, FROZEN_MIN - 1, FROZEN_MIN, 2 * HUGE, 2 * HUGE + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
            match written(4 * HUGE, &bytes) {
                Contents::Bytes(found) => assert!(found == bytes && len < FROZEN_MIN, "{len}"),
                Contents::Frozen(frozen) => {
                    assert!(*frozen.view().unwrap() == bytes[..] && len >= FROZEN_MIN, "{len}");
                    assert_eq!(frozen.size(), size_of(len).unwrap());
                }
            }
        }
    }

    #[test]
    fn more_than_there_is_room_for_fails_at_its_writer() {
        let spool = Spool::with_room(HUGE).unwrap();
        let mut file = std::fs::File::from(spool.as_fd().try_clone_to_owned().unwrap());
        file.write_all(&vec![1; HUGE]).unwrap();
        assert_eq!(file.write_all(&[1]).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(spool.finish().unwrap().payload().len(), HUGE);
    }

    #[test]
    fn nobody_writes_to_a_payload() {
        let spool = Spool::with_room(HUGE).unwrap();
        let mut file = std::fs::File::from(spool.as_fd().try_clone_to_owned().unwrap());
        file.write_all(&vec![1; FROZEN_MIN]).unwrap();
        let contents = spool.finish().unwrap();
        assert!(file.write_all(&[2]).is_err());
        assert!(
            matches!(&contents, Contents::Frozen(frozen) if frozen.view().unwrap().iter().all(|b| *b == 1))
        );
    }
}
