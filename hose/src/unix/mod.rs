//! The kernel-space transport: Unix stream sockets between the inits of two containers of one host
//! (section 4.2 of the paper).
//!
//! ```no_run
//! # fn f(config: hose::Config, secret: hose::Secret, rendezvous: std::os::fd::OwnedFd,
//! #      listener: std::os::fd::OwnedFd, target: hose::Name) -> hose::Result<()> {
//! use hose::Status;
//! use hose::unix::{Local, Receiver, Sender};
//!
//! let local = Local::new(config, secret, rendezvous);
//! let delivery = Sender::new(&local).send(&target, b"payload")?; // returns when the peer's function has handled it
//! assert_eq!(delivery.status, Status::OK);
//!
//! let mut receiver = Receiver::new(&local, listener)?;
//! if let Some(incoming) = receiver.next(None)? { // a frame's header, from a peer that has proved its name
//!     let mut region = vec![0; incoming.len()];
//!     let held = receiver.read_into(incoming, &mut region)?; // the bytes are here, and the sender knows
//!     receiver.handled(held, Status::OK)?; // the sender's call returns
//! }
//! # Ok(()) }
//! ```
//!
//! # A connection
//!
//! ```text
//!  sender                                   receiver
//!    │  waits for the record, connects         │
//!    ├── Hello: names, nonce ────────────────► │  looks up the sender's public key
//!    │ ◄──────────── Challenge: nonce, limit, ─┤
//!    │               signature                 │
//!    ├── Proof: signature ───────────────────► │
//!    │ ◄──────────────────────────── Welcome ──┤
//!    │                                         │
//!    ├── Data: header, payload ──────────────► │  payload straight into the region
//!    │ ◄─────────────────────────── Received ──┤  the sender's region is free
//!    │                                         │  the function's handler runs
//!    │ ◄──────────────────── Handled: status ──┤
//!    ├── Data … the next frame                 │
//! ```
//!
//! One frame is under way on a connection at a time; the connection is kept for the next. Whatever is out of place ends
//! the connection, never the process: a receiver goes on with its other peers.
//!
//! # Copies
//!
//! Two, both by the kernel: `sendmsg` copies the payload from the sender's region into socket buffers, `recv` from there
//! into the receiver's region. No buffer of this crate lies between.
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
//! A peer that has not proved itself costs a slot among [`receiver`](Receiver)'s few dozen for a few seconds, and is
//! put out for a newcomer when they are full. One that has can make the receiver wait for the rest of a payload that it has
//! announced, for one io timeout. Neither reaches beyond the functions of its own tenant.
//!
//! A function that sends does not receive meanwhile. Two that send to each other at the same time both time out.

mod link;
mod local;
mod receiver;
mod sender;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
mod transcript;
mod wire;

pub use local::Local;
pub use receiver::{Held, Incoming, Receiver};
pub use sender::{Delivery, Sender};
