//! More than fits into memory, one piece after the other, from one function to another.
//!
//! A stream is a sequence of payloads, of which one without bytes is the end. Each piece is a payload like any other: acknowledged
//! when its reader is done with it, so that a slow reader holds its writer up, and none is sent twice. One sender at a time may
//! stream to a function: pieces of two would mix, and are an error.

use std::io::{self, Read, Write};

use crate::{Buffer, Error, Message, Result, recv};

/// Bytes of a piece where nothing else is asked for.
const PIECE: usize = 1 << 20;

/// Writes a stream to one target, in pieces whose pages are given away.
#[derive(Debug)]
pub struct Writer {
    target: String,
    piece: Buffer,
    size: usize,
}

impl Writer {
    /// To one of this function's targets, in pieces of 1 MiB.
    #[must_use]
    pub fn new(target: &str) -> Self {
        Self::with_piece_size(target, PIECE)
    }

    /// In pieces of `size` bytes, 1 at least.
    #[must_use]
    pub fn with_piece_size(target: &str, size: usize) -> Self {
        let size = size.max(1);
        Self { target: target.to_owned(), piece: Buffer::with_capacity(size), size }
    }

    /// Sends what is left, and the end. A writer that is dropped without it leaves its reader waiting.
    pub fn finish(mut self) -> Result<()> {
        self.send()?;
        crate::send_to(&self.target, b"")
    }

    fn send(&mut self) -> Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Buffer::with_capacity(self.size));
        piece.send_to(&self.target).map_err(|unsent| unsent.error)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= self.size {
            self.send().map_err(io::Error::other)?;
        }
        let room = self.size - self.piece.len();
        Ok(self.piece.push(&bytes[..bytes.len().min(room)]))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send().map_err(io::Error::other)
    }
}

/// Reads the stream that the next payload begins, piece by piece, each where it lies.
#[derive(Debug, Default)]
pub struct Reader {
    sender: Option<String>,
    piece: Option<Message>,
    /// Bytes of the piece that were read.
    read: usize,
    ended: bool,
}

impl Reader {
    /// Of whoever sends first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Name of the function that streams, once there is a piece.
    #[must_use]
    pub fn sender(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// The next piece, without a copy: nothing after the last. What was read of the present one, or not, is done with.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>> {
        if let Some(done) = self.piece.take() {
            done.done()?;
        }
        self.read = 0;
        if self.ended {
            return Ok(None);
        }
        let message = recv()?;
        let sender = message.sender();
        if self.sender.get_or_insert_with(|| sender.clone()) != &sender {
            message.reject(std::num::NonZeroU32::MIN)?;
            return Err(Error::MixedStreams);
        }
        if message.is_empty() {
            self.ended = true;
            message.done()?;
            return Ok(None);
        }
        Ok(Some(self.piece.insert(message)))
    }
}

/// Copies from one piece after the other.
impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.piece.as_ref().is_none_or(|piece| piece.len() == self.read) {
            if self.next_piece().map_err(io::Error::other)?.is_none() {
                return Ok(0);
            }
        }
        let piece = self.piece.as_deref().unwrap_or_default();
        let rest = &piece[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_stream_arrives_whole_and_ends() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let mut writer = Writer::with_piece_size("loopback", 3000);
        writer.write_all(&bytes).unwrap();
        writer.finish().unwrap();
        let mut reader = Reader::new();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        assert_eq!(reader.sender(), Some("loopback"));
        assert!(reader.next_piece().unwrap().is_none());
    }

    #[test]
    fn an_empty_stream_is_its_end() {
        Writer::new("loopback").finish().unwrap();
        assert!(Reader::new().next_piece().unwrap().is_none());
    }

    #[test]
    fn pieces_can_be_looked_at_where_they_lie() {
        let mut writer = Writer::with_piece_size("loopback", 4);
        writer.write_all(b"abcdefghij").unwrap();
        writer.finish().unwrap();
        let mut reader = Reader::new();
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next_piece().unwrap() {
            pieces.push(piece.to_vec());
        }
        assert_eq!(pieces, [&b"abcd"[..], b"efgh", b"ij"]);
    }

    #[test]
    fn to_nobody_is_an_error() {
        let mut writer = Writer::with_piece_size("nobody", 4);
        writer.write_all(b"abc").unwrap();
        assert!(writer.finish().is_err());
    }
}
