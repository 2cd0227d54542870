//! Mappings: the only place of this crate where memory is mapped, replaced and unmapped.
//!
//! A [`Mapping`] owns its addresses. One that was made over a [`Range`] leaves fresh anonymous memory there when it
//! goes; one that lies anywhere is unmapped.

#![expect(unsafe_code, reason = "mmap(2), munmap(2) and madvise(2), and slices of what they give")]

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::{HUGE, PAGE};

/// Bytes from which a copy goes past the caches: they would not hold it.
const STREAM_FROM: usize = 32 << 20;

/// MADV_COLLAPSE of Linux 6.1, which rustix does not name.
const COLLAPSE: libc::c_int = 25;

/// Memory of the caller's whose pages may be replaced by others.
#[derive(Debug)]
pub struct Range {
    address: NonNull<u8>,
    len: usize,
}

impl Range {
    /// `None` for a null address, for one that wraps around, and for no bytes.
    ///
    /// # Safety
    ///
    /// Until this range, and every [`Buffer`](super::Buffer) and [`Mapped`](super::Mapped) that was made of it, is gone:
    ///
    /// - the bytes are mapped, readable and writable, privately and of no file, and belong to the caller;
    /// - nobody unmaps, remaps or advises their pages, and nobody frees them to an allocator that would;
    /// - no reference of Rust's reaches them but through what was made of this range. Others, such as a guest's own code, may read
    ///   and write them between two calls of this crate.
    ///
    /// They may be given other pages and other contents at any time by what was made of it.
    pub unsafe fn new(address: *mut u8, len: usize) -> Option<Self> {
        let end = address.addr().checked_add(len)?;
        let usable = len > 0 && isize::try_from(end).is_ok();
        NonNull::new(address).filter(|_| usable).map(|address| Self { address, len })
    }

    /// Bytes.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it begins with a page.
    pub(crate) fn is_aligned(&self) -> bool {
        self.address.addr().get().is_multiple_of(PAGE)
    }

    /// Cuts it in two; `at` is its length at most.
    pub(crate) fn split(self, at: usize) -> (Option<Self>, Option<Self>) {
        let at = at.min(self.len);
        let part = |offset: usize, len: usize| {
            // SAFETY: `offset` is at most `self.len`, which stays below isize::MAX by `new`.
            let address = unsafe { self.address.add(offset) };
            (len > 0).then_some(Self { address, len })
        };
        (part(0, at), part(at, self.len - at))
    }

    /// Its bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `new`'s caller vouches that they are mapped, and that no other reference exists; this one borrows the
        // range, so there is one at a time.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }
}

/// Addresses that this crate has mapped.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<u8>,
    len: usize,
    /// Whether they lie over a range of the caller's.
    over: bool,
    writable: bool,
}

impl Mapping {
    /// The file's first `len` bytes, shared and writable, at an address that is a multiple of a huge page.
    pub(crate) fn shared(fd: BorrowedFd<'_>, len: usize) -> Result<Self> {
        let place = reserve(len)?;
        map_file(fd, place, len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)?;
        Ok(Self { address: place, len, over: false, writable: true })
    }

    /// The same in place of what is in `range`; both begin with a page.
    pub(crate) fn shared_over(fd: BorrowedFd<'_>, range: Range) -> Result<Self> {
        Self::over(fd, range, MapFlags::SHARED)
    }

    /// The file's first bytes in place of what is in `range`, whose length is a multiple of a page: writes are seen by nobody else.
    pub(crate) fn private_over(fd: BorrowedFd<'_>, range: Range) -> Result<Self> {
        Self::over(fd, range, MapFlags::PRIVATE)
    }

    fn over(fd: BorrowedFd<'_>, range: Range, flags: MapFlags) -> Result<Self> {
        if !range.is_aligned() {
            return Err(Errno::INVAL);
        }
        map_file(fd, range.address, range.len, ProtFlags::READ | ProtFlags::WRITE, flags)?;
        Ok(Self { address: range.address, len: range.len, over: true, writable: true })
    }

    /// The file's first `len` bytes, to be read.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, len: usize) -> Result<Self> {
        let place = reserve(len)?;
        map_file(fd, place, len, ProtFlags::READ, MapFlags::PRIVATE)?;
        Ok(Self { address: place, len, over: false, writable: false })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `self.len` bytes are mapped readable here as long as `self` lives. For a shared mapping, the only other writer could
        // be a guest's code over a range, which does not run while this crate does (`Range::new`).
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }

    /// Empty for a mapping that cannot be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = if self.writable { self.len } else { 0 };
        // SAFETY: as for `bytes`; mapped writable, and borrowed for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), len) }
    }

    /// Copies `bytes` to its beginning; they are as many as it holds at most, and it is writable.
    pub(crate) fn copy_from(&mut self, bytes: &[u8]) {
        let target = &mut self.bytes_mut()[..bytes.len()];
        if bytes.len() < STREAM_FROM {
            target.copy_from_slice(bytes);
        } else {
            stream(target, bytes);
        }
    }

    /// Gives every whole huge page of the file one, all of them zeroed: one touch each, as an empty file is refused. An error leaves
    /// some small.
    pub(crate) fn collapse(&mut self) -> Result<()> {
        let whole = self.len - self.len % HUGE;
        for page in self.bytes_mut()[..whole].chunks_exact_mut(HUGE) {
            // A store that the compiler keeps: the slice escapes to the kernel.
            std::hint::black_box(page)[0] = 0;
        }
        self.advise(whole, COLLAPSE)
    }

    /// Maps every page now, with an error in place of a signal for one that cannot be had. EINVAL: the kernel is too old.
    pub(crate) fn populate(&self) -> Result<()> {
        self.advise(self.len, libc::MADV_POPULATE_READ)
    }

    fn advise(&self, len: usize, advice: libc::c_int) -> Result<()> {
        loop {
            // SAFETY: the addresses are this mapping's. Both kinds of advice that come here only bring pages in, or
            // replace them by others with the same contents.
            match unsafe { libc::madvise(self.address.as_ptr().cast(), len, advice) } {
                0 => return Ok(()),
                _ => match Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL) {
                    Errno::INTR => {}
                    e => return Err(e),
                },
            }
        }
    }

    /// Ends it, with an error that `drop` could not report; then it stays as it is.
    pub(crate) fn end(self) -> Result<()> {
        let result = self.release();
        std::mem::forget(self);
        result
    }

    /// Ends one that lies over a range, and gives the range back, with fresh memory in it.
    pub(crate) fn give_back(self) -> Result<Range> {
        if !self.over {
            return Err(Errno::INVAL);
        }
        let range = Range { address: self.address, len: self.len };
        self.end().map(|()| range)
    }

    fn release(&self) -> Result<()> {
        if !self.over {
            // SAFETY: this mapping was made at an address of the kernel's choice, and nothing borrows it any more.
            return unsafe { munmap(self.address.as_ptr().cast(), self.len) };
        }
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the addresses are this mapping's, over a range whose owner has agreed to have pages replaced; what comes there is as
        // the range was: anonymous, private, readable and writable. One call: there is no moment without a mapping.
        unsafe {
            mmap_anonymous(self.address.as_ptr().cast(), self.len, ProtFlags::READ | ProtFlags::WRITE, flags)
        }
        .map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // What fails here is the lack of memory for the kernel's own records: then the pages stay, which harms nobody but the accounts.
        let _ = self.release();
    }
}

/// Copies past the caches: the target's old lines are not read first, which saves a fifth (`examples/transfer.rs`: 100 MB, `warm`). Both slices are
/// of one length, and the target begins with a multiple of 16.
#[cfg(target_arch = "x86_64")]
fn stream(target: &mut [u8], bytes: &[u8]) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let whole = bytes.len() - bytes.len() % 64;
    let (to, to_rest) = target.split_at_mut(whole);
    let (from, from_rest) = bytes.split_at(whole);
    for (to, from) in to.chunks_exact_mut(16).zip(from.chunks_exact(16)) {
        // SAFETY: 16 bytes are there; they may lie at any address.
        let value = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
        // SAFETY: 16 bytes are there, at a multiple of 16: a mapping begins with a page, and a chunk a multiple of 16 behind it.
        unsafe { _mm_stream_si128(to.as_mut_ptr().cast(), value) };
    }
    // Before anything that is stored after them is seen, such as that the payload is there.
    // SAFETY: every x86-64 has it.
    unsafe { _mm_sfence() };
    to_rest.copy_from_slice(from_rest);
}

#[cfg(not(target_arch = "x86_64"))]
fn stream(target: &mut [u8], bytes: &[u8]) {
    target.copy_from_slice(bytes);
}

/// Addresses for `len` bytes, a multiple of a huge page, that hold nothing yet and belong to the caller.
fn reserve(len: usize) -> Result<NonNull<u8>> {
    let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::NOMEM)?;
    let total = len.checked_add(HUGE).ok_or(Errno::NOMEM)?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { mmap_anonymous(null_mut(), total, ProtFlags::empty(), flags) }?.cast::<u8>();
    let lead = start.addr().next_multiple_of(HUGE) - start.addr();
    let address = start.wrapping_add(lead);
    trim(start.cast(), lead)?;
    trim(address.wrapping_add(len).cast(), total - lead - len)?;
    NonNull::new(address).ok_or(Errno::NOMEM)
}

/// Gives back `len` bytes of what [`reserve`] took too much.
fn trim(address: *mut c_void, len: usize) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    // SAFETY: a part of the reservation that nothing was put into.
    unsafe { munmap(address, len) }
}

/// `place` must be addresses that the caller may have replaced: a reservation's, or a range's.
fn map_file(
    fd: BorrowedFd<'_>,
    place: NonNull<u8>,
    len: usize,
    protection: ProtFlags,
    flags: MapFlags,
) -> Result<()> {
    let place = place.as_ptr().cast();
    // SAFETY: every caller owns `place` and `len`, as above; nothing of Rust's points there.
    unsafe { mmap(place, len, protection, flags | MapFlags::FIXED, fd, 0) }?;
    // Such pages are in memory already. What the advice changes is that the kernel does not note at the end of the mapping which of them
    // were used, for a day when it may have to swap: a third of what the end takes.
    // SAFETY: the mapping just made; no byte of it is changed.
    let _ = unsafe { rustix::mm::madvise(place, len, rustix::mm::Advice::Random) };
    Ok(())
}
