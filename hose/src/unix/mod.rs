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
//! Two, both by the kernel: `sendmsg` copies the payload from the sender's region into socket buffers, `recv` from there
//! into the receiver's region. No buffer of this crate lies between.

mod host;

pub use host::Host;
