//! What crossed, and how.

/// Of one sender to one target, or of one receiver. Counts of frames and bytes that arrived whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Payloads.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of payloads that this end copied, or had its kernel copy, at least once.
    pub copied: u64,
    /// Payloads that went over a Unix socket.
    pub unix: u64,
    /// Payloads that went over TCP.
    pub tcp: u64,
    /// Payloads that went as bytes of the stream.
    pub inline: u64,
    /// Payloads that went as a sealed memfd.
    pub sealed: u64,
    /// Payloads that went as bytes of the stream, their pages lent to the kernel.
    pub spliced: u64,
}

/// How a payload crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Inline,
    Sealed,
    Spliced,
}

impl Statistics {
    pub(super) fn count(&mut self, bytes: usize, copied: usize, how: How, unix: bool) {
        self.frames += 1;
        self.bytes += bytes as u64;
        *(if unix { &mut self.unix } else { &mut self.tcp }) += 1;
        self.copied += copied as u64;
        *match how {
            How::Inline => &mut self.inline,
            How::Sealed => &mut self.sealed,
            How::Spliced => &mut self.spliced,
        } += 1;
    }
}
