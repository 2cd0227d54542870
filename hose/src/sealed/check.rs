//! A descriptor that a peer sent in place of a payload: what has to be true of it before anything is believed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{SealFlags, fcntl_get_seals, fstat, fstatfs};
use rustix::io::Errno;

use super::buffer::{SEALS, is_whole};
use super::map::{Mapping, Range};
use super::{PAGE, size_of};

/// File system of a memfd of ordinary pages (statfs(2)). One of MFD_HUGETLB's has another, and rules of its own for mappings.
const TMPFS: i64 = 0x0102_1994;
/// Comes with MFD_NOEXEC_SEAL; rustix does not name it.
const SEAL_EXEC: SealFlags = SealFlags::from_bits_retain(0x20);

/// A payload of a peer's that the peer cannot change any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    file: OwnedFd,
    len: usize,
}

/// What became of a payload in a region.
pub(crate) struct Placed {
    pub(crate) mapping: Option<Mapping>,
    pub(crate) mapped: usize,
    pub(crate) copied: usize,
}

impl Sealed {
    /// The error is text for a message: what is wrong with it.
    pub(crate) fn check(file: OwnedFd, len: usize) -> Result<Self, &'static str> {
        // An ordinary file of a tmpfs has seals too, but never these: it is born with SEAL.
        let seals = fcntl_get_seals(&file).map_err(|_| "a descriptor that is no memfd")?;
        if !seals.contains(SEALS) || !SEALS.union(SEAL_EXEC).contains(seals) {
            return Err("a memfd that is not sealed");
        }
        let stat = fstat(&file).map_err(|_| "a descriptor that is no memfd")?;
        if fstatfs(&file).map_err(|_| "a descriptor that is no memfd")?.f_type != TMPFS {
            return Err("a memfd of another kind of pages");
        }
        let size = size_of(len).filter(|_| len > 0).ok_or("a memfd of a size that cannot be")?;
        if u64::try_from(stat.st_size) != Ok(size as u64) {
            return Err("a memfd of another size than its frame's");
        }
        // Else whoever maps it would be charged for the pages.
        if !is_whole(&file, size).unwrap_or(false) {
            return Err("a memfd with holes");
        }
        Ok(Self { file, len })
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> usize {
        self.whole().size()
    }

    /// Copies it into `region`, whose length is the payload's.
    pub(crate) fn read_into(&self, region: &mut [u8]) -> rustix::io::Result<()> {
        self.whole().copy(region, 0)
    }

    /// As [`Whole::map_into`].
    pub(crate) fn map_into(&self, range: Range) -> rustix::io::Result<Placed> {
        self.whole().map_into(range)
    }

    pub(super) fn whole(&self) -> Whole<'_> {
        Whole { file: self.file.as_fd(), len: self.len }
    }
}

/// A file with all pages of a payload, which nobody can change any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<'a> {
    pub(super) file: BorrowedFd<'a>,
    pub(super) len: usize,
}

impl Whole<'_> {
    /// Bytes of the file.
    fn size(self) -> usize {
        // One that cannot be was refused, or never made.
        size_of(self.len).unwrap_or(self.len)
    }

    pub(super) fn copy(self, region: &mut [u8], from: usize) -> rustix::io::Result<()> {
        let mut filled = 0;
        while filled < region.len() {
            match rustix::io::pread(self.file, &mut region[filled..], (from + filled) as u64) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => filled += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Maps its pages into `range`, which is as long as the payload at least, and copies what is left of the payload: its end where it ends
    /// within a page and the range does too, all of it where the range does not begin with a page. A range that is as long as the file
    /// is mapped by whole huge pages, which is far sooner done than by a table of small ones (`make bench`: a fan-out of
    /// 10 MB).
    pub(super) fn map_into(self, range: Range) -> rustix::io::Result<Placed> {
        self.map_with(range, Mapping::populate)
    }

    pub(super) fn map_with(
        self,
        range: Range,
        populate: impl FnOnce(&Mapping) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<Placed> {
        let most = self.size().min(range.len());
        let whole = if range.is_aligned() { most - most % PAGE } else { 0 };
        let (payload, _) = range.split(self.len.max(whole));
        let (inner, edge) = payload.map_or((None, None), |range| range.split(whole));
        let mut placed = Placed { mapping: None, mapped: 0, copied: 0 };
        if let Some(inner) = inner {
            let mapping = Mapping::private_over(self.file, inner)?;
            match populate(&mapping) {
                Ok(()) => {
                    placed.mapped = whole.min(self.len);
                    placed.mapping = Some(mapping);
                }
                // Linux before 5.14: touching the pages later could be answered by a signal.
                Err(Errno::INVAL) => {
                    let (part, _) = mapping.give_back()?.split(self.len);
                    self.copy_part(part, 0, &mut placed)?;
                }
                Err(e) => return Err(e),
            }
        }
        self.copy_part(edge, whole, &mut placed)?;
        Ok(placed)
    }

    fn copy_part(self, part: Option<Range>, from: usize, placed: &mut Placed) -> rustix::io::Result<()> {
        let Some(mut part) = part else { return Ok(()) };
        self.copy(part.bytes_mut(), from)?;
        placed.copied += part.len();
        Ok(())
    }
}
