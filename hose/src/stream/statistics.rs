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
    /// Payloads that went as bytes of the stream.
    pub inline: u64,
    /// Payloads that went as a sealed memfd.
    pub sealed: u64,
}

impl Statistics {
    pub(super) fn count(&mut self, bytes: usize, copied: usize, sealed: bool) {
        self.frames += 1;
        self.bytes += bytes as u64;
        self.copied += copied as u64;
        *(if sealed { &mut self.sealed } else { &mut self.inline }) += 1;
    }
}
