//! The virtual data hose: a named one-way channel of frames between functions (section 3.2 of the paper).
//!
//! | module | is |
//! | --- | --- |
//! | [`name`] | who: [`Name`], [`Workflow`], [`Tenant`] |
//! | [`config`] | one function's end of the hose, validated: [`Config`], [`Limits`] |
//! | [`identity`] | the [`Secret`] that a container proves itself with |
//! | [`pages`] | the user-space transport: bytes between two linear memories of one process |
//! | [`rendezvous`] | where ends find each other on one host, and who may be there; the runtime's side |
//! | [`trace`] | the trace that a frame belongs to: [`TraceContext`] |
//! | [`sealed`] | payloads that change hands as sealed memory |
//! | [`stream`] | both directions over a stream of bytes: [`Sender`] and [`Receiver`] |
//! | [`unix`] | the kernel-space transport |
//! | [`tcp`] | the network transport |
//!
//! Two parties use it. The *runtime* validates a [`Config`], draws a [`Secret`], and publishes the function's end
//! in a [`rendezvous::Folder`] before the container exists. The container's *init* is left with two descriptors
//! and that secret, makes a [`Local`] of them, and moves payloads.
//!
//! # What every transport promises
//!
//! - **At most once.** A payload of which a single byte has left is never sent again, not on the same connection
//!   and not on another. When a connection is lost after that, [`Error::fate`] says that nobody knows.
//! - **Acknowledged, twice.** *Received*: the peer's host has every byte, the region is free again. *Handled*: the
//!   peer's function has returned; its [`Status`] is the result of the send, and may bring an [`Answer`]. (For a short payload and
//!   for sealed memory the second says both.)
//! - **Bounded.** Every wait has a deadline, every length a maximum that is checked before memory is asked for.
//! - **Any start order.** A sender waits for a peer that is not there yet.
//! - **No thread that it needs, no signal, no procfs.** One thread and `poll` (a second one makes buffers between large payloads, where it may:
//!   [`sealed::Pool`]); `SIGPIPE` is never raised; nothing is looked up in
//!   `/proc` by an end that runs inside a container.
//!
//! This crate knows neither OCI nor WebAssembly.

pub mod config;
mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod identity;
pub mod name;
pub mod pages;
pub mod rendezvous;
pub mod sealed;
pub mod stream;
pub mod tcp;
pub mod trace;
pub mod unix;

pub use config::{Config, Limits, Transfer};
pub use error::{Error, ErrorKind, Fate, Result};
pub use identity::{PublicKey, Secret};
pub use name::{Name, Tenant, Workflow};
pub use stream::{
    Answer, Delivery, Gift, Held, Incoming, Listener, Local, MAX_CONNECTIONS, Outgoing, Payload, Receiver,
    Sender, Statistics, Way,
};
pub use trace::TraceContext;

/// What a function says about a payload that it was given: 0 is success, every other value is its own or, when
/// negative, the host's. The hose carries it unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub i32);

impl Status {
    /// The handler returned and had nothing to complain of.
    pub const OK: Status = Status(0);
}

/// Says that the running test is skipped and why: `make test` counts these lines. Not by println!, which libtest captures.
#[cfg(test)]
pub(crate) fn announce_skip(reason: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
