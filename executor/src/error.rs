//! The error of this crate.
//!
//! Messages are lower case and name the object at fault (a module, an import, a limit); the cause is the
//! source, not part of the text. [`Error::report`] joins both into the one line that crosses the boundary.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller may want to distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed, or asks for what cannot be had.
    Request,
    /// The module cannot be read, is too large, or is no WebAssembly module.
    Module,
    /// The module was read, and the engine refuses it.
    Invalid,
    /// An import of the module does not exist, or a function that was asked for is not exported.
    Link,
    /// A limit leaves no room for the module.
    Limit,
    /// A system call failed.
    System,
    /// The engine failed in a way that is not the module's fault.
    Engine,
}

/// An error of the executor.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn with(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message and its causes in one line.
    #[must_use]
    pub fn report(&self) -> String {
        let mut line = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_message_and_every_cause() {
        let inner = Error::with(ErrorKind::System, "open /x", std::io::Error::from_raw_os_error(2));
        let outer = Error::with(ErrorKind::Module, "module /x", inner);
        assert_eq!(outer.report(), "module /x: open /x: No such file or directory (os error 2)");
    }
}
