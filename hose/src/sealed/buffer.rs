//! Writable memory for one payload, and what becomes of it.

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;

use super::check::Whole;
use super::map::{Mapping, Range};
use super::{HUGE, Mapped, size_of};
use crate::{Error, ErrorKind, Result};

/// The seals of a frozen payload.
pub(super) const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Which pages a buffer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pages {
    /// Huge ones. Filling them, and mapping them elsewhere, takes a tenth to a thirtieth of the time.
    Huge,
    /// Small ones: the buffer is smaller than a huge page, or the system gave none (fragmentation, cgroup, kernel).
    Small,
}

/// Writable memory for one payload, zeroed.
#[derive(Debug)]
pub struct Buffer {
    // Before the file: it goes first.
    mapping: Mapping,
    file: OwnedFd,
    /// Bytes of the file.
    size: usize,
    pages: Pages,
}

impl Buffer {
    /// A buffer for `capacity` bytes, anywhere.
    pub fn new(capacity: usize) -> Result<Self> {
        let (file, size) = file_for(capacity)?;
        let mut mapping =
            Mapping::shared(file.as_fd(), size).map_err(|e| Error::system("mmap a buffer", e))?;
        let pages = prepare(&file, size, &mut mapping)?;
        Ok(Self { mapping, file, size, pages })
    }

    /// A buffer for `capacity` bytes, if it can have huge pages throughout: `None` otherwise. With small ones a copy into it would be slower
    /// than one through a socket.
    pub(super) fn of_huge_pages(capacity: usize) -> Result<Option<Self>> {
        let (file, size) = file_for(capacity)?;
        let mut mapping =
            Mapping::shared(file.as_fd(), size).map_err(|e| Error::system("mmap a buffer", e))?;
        let huge = size >= HUGE && mapping.collapse().is_ok() && is_whole(&file, size)?;
        Ok(huge.then_some(Self { mapping, file, size, pages: Pages::Huge }))
    }

    /// Takes a blank's memory, wherever it was made.
    pub(super) fn of(blank: Blank) -> Result<Self> {
        let Blank { file, size } = blank;
        let mapping = Mapping::shared(file.as_fd(), size).map_err(|e| Error::system("mmap a buffer", e))?;
        Ok(Self { mapping, file, size, pages: Pages::Huge })
    }

    /// A buffer in place of what is in `range`, which has to begin and end with a page. Addresses that are a multiple of 2 MiB
    /// let huge pages be mapped as such.
    ///
    /// When it is frozen or dropped, there is fresh, zeroed memory in the range.
    pub fn over(range: Range) -> Result<Self> {
        let capacity = range.len();
        if !range.is_aligned() || !capacity.is_multiple_of(super::PAGE) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a buffer's range does not begin and end with a page",
            ));
        }
        let (file, size) = file_for(capacity)?;
        let call = |e| Error::system("mmap a buffer", e);
        let mut whole = Mapping::shared(file.as_fd(), size).map_err(call)?;
        let pages = prepare(&file, size, &mut whole)?;
        whole.end().map_err(|e| Error::system("munmap a buffer", e))?;
        let mapping = Mapping::shared_over(file.as_fd(), range).map_err(call)?;
        Ok(Self { mapping, file, size, pages })
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.mapping.len()
    }

    /// Which pages it got.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        self.mapping.bytes()
    }

    /// What is in it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.mapping.bytes_mut()
    }

    /// Copies a payload to its beginning; one that it cannot hold is [`ErrorKind::Invalid`].
    pub fn fill(&mut self, payload: &[u8]) -> Result<()> {
        if payload.len() > self.capacity() {
            let message = format!("a payload of {} bytes in a buffer of {}", payload.len(), self.capacity());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.mapping.copy_from(payload);
        Ok(())
    }

    /// Makes its first `len` bytes a payload that nobody can change any more. What lies behind them is wiped.
    ///
    /// A `len` of zero, or beyond the capacity, is [`ErrorKind::Invalid`].
    pub fn freeze(mut self, len: usize) -> Result<Frozen> {
        let size = size_of(len).filter(|_| len > 0 && len <= self.capacity());
        let Some(size) = size else {
            let message = format!("a payload of {len} bytes in a buffer of {}", self.capacity());
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        let end = size.min(self.capacity());
        self.bytes_mut()[len..end].fill(0);
        let Self { mapping, file, size: had, pages } = self;
        mapping.end().map_err(|e| Error::system("munmap a buffer", e))?;
        if size != had {
            ftruncate(&file, size as u64).map_err(|e| Error::system("ftruncate a memfd", e))?;
        }
        Frozen::seal(file, len, size, pages)
    }
}

/// The memory of a buffer, on huge pages throughout, that is mapped nowhere: it may change threads.
#[derive(Debug)]
pub(super) struct Blank {
    file: OwnedFd,
    size: usize,
}

impl Blank {
    /// As [`Buffer::of_huge_pages`].
    pub(super) fn of_huge_pages(capacity: usize) -> Result<Option<Self>> {
        let buffer = Buffer::of_huge_pages(capacity)?;
        Ok(buffer.map(|Buffer { file, size, .. }| Self { file, size }))
    }

    /// Bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// A file of the size that `capacity` gives it, without a page.
pub(super) fn file_for(capacity: usize) -> Result<(OwnedFd, usize)> {
    let size = size_of(capacity)
        .filter(|_| capacity > 0)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("a buffer of {capacity} bytes cannot be")))?;
    let file = memfd()?;
    ftruncate(&file, size as u64).map_err(|e| Error::system("ftruncate a memfd", e))?;
    Ok((file, size))
}

/// An empty file that can be sealed.
pub(super) fn memfd() -> Result<OwnedFd> {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let file = match memfd_create("hose", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => memfd_create("hose", flags),
        result => result,
    };
    file.map_err(|e| Error::system("memfd_create", e))
}

/// Gives the file its pages, all of them.
fn prepare(file: &OwnedFd, size: usize, mapping: &mut Mapping) -> Result<Pages> {
    if size >= HUGE && mapping.collapse().is_ok() && is_whole(file, size)? {
        return Ok(Pages::Huge);
    }
    fill(file, size).map(|()| Pages::Small)
}

/// Gives the file the pages that it has not got yet, small ones.
pub(super) fn fill(file: &OwnedFd, size: usize) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size as u64) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::system(format!("fallocate {size} bytes of a memfd"), e)),
        }
    }
}

/// Whether every page of the file is there.
pub(super) fn is_whole(file: impl AsFd, size: usize) -> Result<bool> {
    let stat = fstat(file).map_err(|e| Error::system("fstat a memfd", e))?;
    // st_blocks counts 512 bytes each, whatever the file system.
    Ok(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) >= size as u64)
}

/// A payload that nobody can change any more. Clones are the same payload.
#[derive(Clone, Debug)]
pub struct Frozen(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: OwnedFd,
    len: usize,
    size: usize,
    pages: Pages,
    id: u64,
}

impl Frozen {
    /// Seals a file of the size that a payload of `len` bytes has, with all its pages.
    pub(super) fn seal(file: OwnedFd, len: usize, size: usize, pages: Pages) -> Result<Self> {
        fcntl_add_seals(&file, SEALS).map_err(|e| Error::system("seal a memfd", e))?;
        let id = fstat(&file).map_err(|e| Error::system("fstat a memfd", e))?.st_ino;
        Ok(Self(Arc::new(Inner { file, len, size, pages, id })))
    }

    /// Bytes of the payload.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Bytes of memory that it holds.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Tells it from every other payload whose memory is still held by anyone.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Which pages it has.
    pub fn pages(&self) -> Pages {
        self.0.pages
    }

    /// Maps it, to be read.
    pub fn view(&self) -> Result<View> {
        let mapping =
            Mapping::read_only(self.as_fd(), self.len()).map_err(|e| Error::system("mmap a payload", e))?;
        Ok(View(mapping))
    }

    /// Maps its pages, privately, in place of those of `range`, which is as long as the payload at least, and copies what is left of it: for
    /// whoever is in the same process. Every page is there when this returns. A range of [`Frozen::size`] bytes is the soonest mapped; it is zero
    /// behind the payload.
    pub fn map_into(&self, range: Range) -> Result<Mapped> {
        let call = |e| Error::system("map a payload", e);
        Ok(Mapped::of(Whole { file: self.as_fd(), len: self.len() }.map_into(range).map_err(call)?))
    }

    /// Copies it into `region`, which is as long.
    pub fn read_into(&self, region: &mut [u8]) -> Result<()> {
        let call = |e| Error::system("read a payload", e);
        Whole { file: self.as_fd(), len: self.len() }.copy(region, 0).map_err(call)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

/// A frozen payload's bytes.
#[derive(Debug)]
pub struct View(Mapping);

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}
