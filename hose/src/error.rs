//! The one error type of the crate.
//!
//! A message names the object (a peer, a file, a call); the kind is for programs, the cause is the source.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name, a limit or another argument is not acceptable.
    Invalid,
    /// The peer is none of this function's targets.
    Target,
    /// The name is held by another live function of the workflow.
    Taken,
    /// The peer did not come, or did not answer, in time.
    Timeout,
    /// The peer could not prove that it is who it says, or this end could not.
    Auth,
    /// The peer sent what the protocol does not know, or not in that order.
    Protocol,
    /// The payload is larger than this end, or the peer, accepts.
    TooLarge,
    /// The peer's host would not take the payload (no memory, too many connections).
    Refused,
    /// The connection ended before its time.
    Lost,
    /// The operating system refused a call.
    System,
}

/// What is known of a payload whose send has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No byte of it has left; sending it again cannot deliver it twice.
    NotSent,
    /// Bytes of it have left, but the peer's function has not seen it and never will: the peer's host said so, or
    /// never got the whole, and only whole payloads are handed over.
    NotHandled,
    /// Some of it has left and no verdict came back. It may have been handled.
    Unknown,
    /// The peer's function has handled it; what is lost is its answer.
    Handled,
}

/// Why something failed.
pub struct Error {
    kind: ErrorKind,
    fate: Fate,
    message: Cow<'static, str>,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, fate: Fate::NotSent, message: message.into(), source: None }
    }

    /// A call of the operating system that failed: `call` names it and its object.
    pub(crate) fn system(call: impl Into<Cow<'static, str>>, source: impl Into<io::Error>) -> Self {
        Self { source: Some(source.into()), ..Self::new(ErrorKind::System, call) }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<io::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }

    /// What went wrong, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What became of the payload, when this is the error of a send; [`Fate::NotSent`] otherwise.
    pub fn fate(&self) -> Fate {
        self.fate
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.fate {
            Fate::Unknown => f.write_str(" (fate of the payload unknown)"),
            Fate::Handled => f.write_str(" (the payload was handled)"),
            Fate::NotSent | Fate::NotHandled => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
