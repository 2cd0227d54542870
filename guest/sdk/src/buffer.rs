//! Memory that can be given away: the pages of a [`Buffer`] change hands, and nothing is copied.

#![expect(unsafe_code, reason = "an allocation of its own, of which only the written part is shown")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::{Error, imports, memory};

/// Bytes on pages of their own, to be filled once and sent by giving the pages away.
///
/// From 2 MiB on sending one is a matter of page tables: within a container the pages move into the receiver's memory, however many
/// they are. Where they cannot (a foreign receiver's allocator, the edges of a payload), and where copying costs less
/// (below 2 MiB), the host copies, and counts it. A slice is *lent* by [`send`](crate::send) instead, and is always copied.
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
    /// Bytes that were written; not more than the layout has.
    len: usize,
    /// Whether the host knows of it.
    registered: bool,
}

/// A buffer that was not sent.
pub struct Unsent {
    /// Why.
    pub error: Error,
    /// The buffer as it was, unless its bytes have left.
    pub buffer: Option<Buffer>,
}

impl Buffer {
    /// Room for `capacity` bytes; none of them is written yet.
    ///
    /// # Panics
    ///
    /// When there is no such memory.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let Some(layout) = memory::layout(capacity) else { panic!("no memory has {capacity} bytes") };
        // SAFETY: the layout's size is not 0.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut buffer = Self { start, layout, len: 0, registered: false };
        buffer.registered = imports::register_memory(buffer.all()).is_ok();
        // What it cannot do it says by being slower.
        let _ = imports::prepare_memory(buffer.all());
        buffer
    }

    /// `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::with_capacity(len);
        buffer.resize(len);
        buffer
    }

    /// Bytes that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Copies bytes to its end, as many as there is room for; how many these were.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity() - self.len);
        let end = self.end();
        // SAFETY: `len + count` is within the allocation, which is nobody else's.
        unsafe { end.copy_from_nonoverlapping(NonNull::from(bytes).cast(), count) };
        self.len += count;
        count
    }

    /// Makes it shorter, or longer by zeros, up to its capacity.
    pub fn resize(&mut self, len: usize) {
        let len = len.min(self.capacity());
        if len > self.len {
            let end = self.end();
            // SAFETY: the range lies within the allocation, which is nobody else's.
            unsafe { end.write_bytes(0, len - self.len) };
        }
        self.len = len;
    }

    /// Gives it to every target of this function, and returns when the function of each has handled it. To several the pages are given
    /// to the last of this container's, and the others get copies.
    pub fn send(self) -> Result<(), Unsent> {
        self.give(None)
    }

    /// Gives it to one target.
    pub fn send_to(self, target: &str) -> Result<(), Unsent> {
        self.give(Some(target))
    }

    fn give(mut self, target: Option<&str>) -> Result<(), Unsent> {
        let status = imports::give_to_host(target, &self);
        let error = match Error::check(status) {
            Ok(()) => {
                self.registered = false;
                return Ok(());
            }
            Err(error) => error,
        };
        // A region is registered once: what the host registers now it did not know of any more, because the bytes have left. (To
        // ask by unregistering would take the memory away that the host has prepared.)
        if self.registered && imports::register_memory(self.all()).is_ok() {
            self.registered = false;
            let _ = imports::unregister_memory(self.all());
            return Err(Unsent { error, buffer: None });
        }
        Err(Unsent { error, buffer: Some(self) })
    }

    /// Where the first byte lies that was not written.
    fn end(&self) -> NonNull<u8> {
        // SAFETY: `len` is not more than the allocation has.
        unsafe { self.start.add(self.len) }
    }

    /// The whole allocation, of which the host is told the address and the length.
    fn all(&self) -> *const [u8] {
        std::ptr::slice_from_raw_parts(self.start.as_ptr(), self.layout.size())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.registered {
            // Nobody is left to be told.
            let _ = imports::unregister_memory(self.all());
        }
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes were written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// One copy.
impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.push(bytes);
        buffer
    }
}

/// Writes to its end; what does not fit is not written.
impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.push(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Unsent {}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use guest_abi::Status;

    use super::*;
    use crate::recv;

    #[test]
    fn a_buffer_shows_what_was_written_and_is_gone_when_it_is_sent() {
        let mut buffer = Buffer::with_capacity(100_000);
        assert!(buffer.is_empty() && buffer.capacity() >= 100_000);
        assert_eq!(buffer.as_ptr().addr() % memory::layout(100_000).unwrap().align(), 0);
        buffer.write_all(b"some bytes").unwrap();
        buffer[0] = b'S';
        buffer.resize(12);
        buffer.send().unwrap();
        assert_eq!(&*recv().unwrap(), b"Some bytes\0\0");
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut buffer = Buffer::with_capacity(4);
        assert_eq!(buffer.push(b"abcdef"), buffer.capacity().min(6));
        assert!(buffer.write_all(&[0; 100_000]).is_err());
        buffer.resize(1 << 30);
        assert_eq!(buffer.len(), buffer.capacity());
    }

    #[test]
    fn a_buffer_that_was_not_sent_comes_back() {
        let unsent = Buffer::from(&b"here"[..]).send_to("nobody").unwrap_err();
        assert_eq!(unsent.error.status(), Status::NO_TARGET);
        let buffer = unsent.buffer.unwrap();
        assert_eq!(&*buffer, b"here");
        buffer.send_to("loopback").unwrap();
        assert_eq!(&*recv().unwrap(), b"here");
    }

    #[test]
    fn zeros_are_zeros() {
        for len in [0, 1, 16_384, 9 << 20] {
            let buffer = Buffer::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }
}
