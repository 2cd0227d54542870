//! What the transports that are streams of bytes share: frames, handshake, both directions.
//!
//! # A connection
//!
//! ```text
//!  sender                                   receiver
//!    │  finds the receiver, connects           │
//!    ├── Hello: names, nonce ────────────────► │  looks up the sender's key
//!    │ ◄──────────── Challenge: nonce, limit, ─┤
//!    │               proof                     │
//!    ├── Proof ──────────────────────────────► │
//!    │ ◄──────────────────────────── Welcome ──┤
//!    │                                         │
//!    ├── Data: header, payload ──────────────► │  payload straight into the region
//!    │ ◄─────────────────────────── Received ──┤  the sender's region is free
//!    │                                         │  the function's handler runs
//!    │ ◄──────────── Handled: status, answer ──┤
//!    ├── Data … the next frame                 │
//! ```
//!
//! `Received` is left out for a payload of less than 64 KiB, and for sealed memory: `Handled` says as much.
//!
//! One frame is under way on a connection at a time; when it is handled, and its answer read, the connection is kept for the next. Whatever is out of place ends
//! the connection, never the process: a receiver goes on with its other peers.
//!
//! # At most once
//!
//! A connection is given up at the first failure, and a frame of which the kernel has taken a single byte is
//! never put on another connection. A receiver hands over only whole payloads. So a frame that was cut short was not
//! handled ([`Fate::NotHandled`](crate::Fate::NotHandled)), and one that was sent whole and not answered may have been
//! ([`Fate::Unknown`](crate::Fate::Unknown)). Sequence numbers make a receiver refuse whatever does not follow.
//!
//! # Who can do what
//!
//! A peer that has not proved itself costs a slot among [`Receiver`]'s few dozen for a few seconds, and is
//! put out for a newcomer when they are full. One that has can make the receiver wait for the rest of a payload that it has
//! announced, for one io timeout. Neither reaches beyond the functions of its own tenant.
//!
//! A function that sends does not receive meanwhile. Two that send to each other at the same time both time out.

mod carriage;
mod chooser;
mod delivery;
pub(crate) mod fuzzed;
mod kept;
mod lent;
mod link;
mod listener;
mod local;
mod mapped;
mod outgoing;
mod patience;
mod receiver;
mod sender;
mod statistics;
mod tags;
mod task;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
mod transcript;
mod wire;

pub use delivery::{Answer, Delivery};
pub(crate) use link::{Link, wait};
pub use listener::Listener;
pub(crate) use local::Attempt;
pub use local::{Local, Way};
pub use mapped::Mapped;
pub use outgoing::{Gift, Outgoing, Payload};
pub use receiver::{Held, Incoming, MAX_CONNECTIONS, Receiver};
pub use sender::Sender;
pub use statistics::Statistics;
pub(crate) use transcript::Prover;
