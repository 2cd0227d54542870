//! The kernel-space transport: Unix stream sockets between the inits of two containers of one host
//! (section 4.2 of the paper).
//!
//! ```no_run
//! # fn f(config: hose::Config, secret: hose::Secret, rendezvous: std::os::fd::OwnedFd,
//! #      listener: std::os::fd::OwnedFd, target: hose::Name) -> hose::Result<()> {
//! use hose::{Local, Receiver, Sender, Status};
//!
//! let local = Local::new(config, secret, rendezvous);
//! let delivery = Sender::new(&local).send(&target, b"payload")?; // returns when the peer's function has handled it
//! assert_eq!(delivery.status, Status::OK);
//!
//! let mut receiver = Receiver::new(&local, listener)?;
//! if let Some(incoming) = receiver.next(None)? { // a frame's header, from a peer that has proved its name
//!     let mut region = vec![0; incoming.len()];
//!     let held = receiver.read_into(incoming, &mut region)?; // the bytes are here, and the sender knows
//!     receiver.handled(held, Status::OK, None)?; // the sender's call returns
//! }
//! # Ok(()) }
//! ```
//!
//! Ends find each other in the [rendezvous folder](crate::rendezvous), and prove themselves with the key that a peer's record
//! names. A connected Unix socket cannot be written to by a third process: frames are not authenticated again.
//!
//! # Copies
//!
//! | payload | copies |
//! | --- | --- |
//! | as bytes | two, both by the kernel: from the sender's region into the socket, and from there into the receiver's region |
//! | frozen, from 512 KiB on | none, but for the edges of a region that does not end with a page; one if the receiver reads it |
//! | large, in ordinary memory | one, into a memfd; where that measures faster |
//!
//! [`Transfer`](crate::Transfer) forces one or the other; [`Statistics`](crate::Statistics) counts which it was.

mod host;

pub use host::Host;
