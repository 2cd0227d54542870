//! The trace that a frame belongs to, as W3C's [Trace Context](https://www.w3.org/TR/trace-context/) gives it.
//!
//! The hose carries it unread: it neither makes spans nor changes flags.

use std::fmt;
use std::str::FromStr;

use crate::identity::{decode_hex, encode_hex};
use crate::{Error, ErrorKind, Result};

/// What a `traceparent` header of version 00 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// An id of zeros is none: `None`, as the specification asks.
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8], flags: u8) -> Option<Self> {
        (trace_id != [0; 16] && parent_id != [0; 8]).then_some(Self { trace_id, parent_id, flags })
    }

    /// The whole trace's id.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span that sends.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Bit 0: sampled.
    pub fn flags(&self) -> u8 {
        self.flags
    }
}

/// As in a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", encode_hex(&self.trace_id), encode_hex(&self.parent_id), self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let mut parts = text.split('-');
            let [version] = decode_hex(parts.next()?)?;
            let trace_id = decode_hex(parts.next()?)?;
            let parent_id = decode_hex(parts.next()?)?;
            let [flags] = decode_hex(parts.next()?)?;
            // Later versions may have more parts; 255 is no version.
            if version == 255 || (version == 0 && parts.next().is_some()) {
                return None;
            }
            Self::new(trace_id, parent_id, flags)
        };
        parse().ok_or_else(|| Error::new(ErrorKind::Invalid, "traceparent is not one of W3C's trace context"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context: TraceContext = text.parse().unwrap();
        assert_eq!((context.flags(), context.parent_id()[0]), (1, 0xb7));
        assert_eq!(context.to_string(), text);
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-02",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
    }
}
