//! Why a call failed.

use std::fmt;
use std::num::NonZeroU32;

use guest_abi::Status;

use crate::imports;

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The payload arrived, and the receiver's function has rejected it with this code.
    Rejected(NonZeroU32),
    /// Two functions stream to this one at the same time.
    MixedStreams,
    /// A host said so: this function's own, or the receiver's.
    Host {
        /// What, for programs.
        status: Status,
        /// What, for people; may be empty.
        text: String,
    },
}

impl Error {
    /// The status that the host returned.
    pub fn status(&self) -> Status {
        match self {
            Self::Rejected(code) => Status(code.get().try_into().unwrap_or(i32::MAX)),
            Self::MixedStreams => Status::PROTOCOL,
            Self::Host { status, .. } => *status,
        }
    }

    /// From an import's status, with the host's text for it.
    pub(crate) fn check(status: Status) -> Result<()> {
        match u32::try_from(status.0).map(NonZeroU32::new) {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(Self::Rejected(code)),
            Err(_) => Err(Self::host(status)),
        }
    }

    pub(crate) fn host(status: Status) -> Self {
        Self::Host { status, text: text_of(imports::last_error) }
    }
}

/// Asks for a text's length, then for the text.
pub(crate) fn text_of(ask: impl Fn(&mut [u8]) -> i32) -> String {
    let mut text = vec![0; usize::try_from(ask(&mut [])).unwrap_or(0)];
    let len = usize::try_from(ask(&mut text)).unwrap_or(0);
    text.truncate(len);
    String::from_utf8_lossy(&text).into_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(code) => write!(f, "the receiving function rejected the payload with code {code}"),
            Self::MixedStreams => f.write_str("two functions stream to this one at the same time"),
            Self::Host { status, text } if text.is_empty() => f.write_str(status.text()),
            Self::Host { status, text } => write!(f, "{}: {text}", status.text()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_the_error_that_it_means() {
        assert_eq!(Error::check(Status::OK), Ok(()));
        let rejected = Error::check(Status(7));
        assert_eq!(rejected.as_ref().map_err(Error::status), Err(Status(7)));
        let text = rejected.map_err(|e| e.to_string());
        assert_eq!(text, Err("the receiving function rejected the payload with code 7".to_owned()));
        let lost = Error::check(Status::LOST);
        assert_eq!(lost.as_ref().map_err(Error::status), Err(Status::LOST));
        assert_eq!(lost.map_err(|e| e.to_string()), Err(Status::LOST.text().to_owned()));
    }

    #[test]
    fn a_text_is_asked_for_twice_and_cut_to_what_came() {
        let whole = b"no more";
        let ask = |buffer: &mut [u8]| {
            if buffer.len() >= whole.len() {
                buffer[..whole.len()].copy_from_slice(whole);
            }
            whole.len() as i32
        };
        assert_eq!(text_of(ask), "no more");
        assert_eq!(text_of(|_| -1), "");
    }
}
