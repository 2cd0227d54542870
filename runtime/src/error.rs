//! The one error type of this crate.
//!
//! A message names the object and the key or call at fault, in lower case and without a full stop; the cause
//! is the source, not part of the text. The kind is what a caller may act on, and what the command line turns
//! into an exit code.

use std::error::Error as StdError;
use std::fmt;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bundle, its `config.json` or its root file system.
    Bundle,
    /// An annotation of ours with a value that it cannot have.
    Annotation,
    /// The administrator's configuration file.
    Config,
    /// The name of a container.
    Id,
    /// A container of that name exists already.
    Exists,
    /// There is no such container.
    NotFound,
    /// The container is not in a status that permits the operation.
    Status,
    /// The state folder.
    State,
    /// libcontainer, or the kernel below it, refused.
    Container,
    /// The Wasm module, or what it asks for.
    Module,
    /// The executor's shared object or the engine.
    Engine,
    /// The cache of ahead-of-time code, or the compiler.
    Cache,
    /// A function's end of the hose.
    Hose,
    /// A value on the command line.
    Usage,
    /// A system call that failed for a reason of its own.
    System,
}

/// An error of the runtime: a kind, a message, and what caused it.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

impl Error {
    /// An error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn with_source(kind: ErrorKind, message: impl Into<String>, source: impl Into<Source>) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Turns a foreign error into ours, naming what was being done.
pub(crate) trait Context<T> {
    /// Wraps the error with a kind and a message that is made only when there is one.
    fn context(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Source>> Context<T> for std::result::Result<T, E> {
    fn context(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::with_source(kind, message(), source))
    }
}

/// An error with its causes, for a log line.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
