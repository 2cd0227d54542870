//! Data from function to function, without serialization: the hose, for authors of WebAssembly functions.
//!
//! A function that sends:
//!
//! ```
//! # fn main() -> Result<(), roadrunner::Error> {
//! roadrunner::send(b"to every target of this function")?; // returns when their functions have handled it
//! # roadrunner::recv()?.done()?;
//! # Ok(()) }
//! ```
//!
//! A function that receives, when it is a command that asks for its input:
//!
//! ```
//! # fn main() -> Result<(), roadrunner::Error> {
//! # roadrunner::send(b"x")?;
//! let message = roadrunner::recv()?; // waits
//! println!("{} bytes from {}", message.len(), message.sender());
//! message.done()?; // the sender's call returns; dropping the message does the same
//! # Ok(()) }
//! ```
//!
//! And when it is a handler, that the host calls (a `cdylib`, which [`handler!`] makes a WASI reactor):
//!
//! ```
//! use roadrunner::{Input, Rejection};
//!
//! roadrunner::handler!(handle);
//!
//! fn handle(input: Input<'_>) -> Result<(), Rejection> {
//!     let text = std::str::from_utf8(&input)?; // any error is a rejection with code 1
//!     println!("{text} from {}", input.sender());
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! A payload is bytes. For structures, send plain old data: the view of it that `zerocopy` or `bytemuck` gives is the payload.
//! Received payloads are aligned to [`ALIGNMENT`], so that a view of them needs no copy either.
//!
//! # Copies
//!
//! [`send`] hands the host the slice where it lies; nothing is copied in the guest. A received payload is written by the host
//! into memory that this crate has asked the allocator for, and is read where it lies.
//!
//! # Outside of WebAssembly
//!
//! On any other target the host's place is taken by a loopback within the thread: what was sent is what is received
//! next, from a peer named `loopback`. That is enough for `cargo test` of a handler.

mod error;
mod handler;
#[cfg_attr(not(target_arch = "wasm32"), path = "loopback.rs")]
mod imports;
mod memory;
mod message;

pub use error::{Error, Result};
pub use guest_abi::Status;
pub use handler::{Input, Rejection};
pub use memory::ALIGNMENT;
pub use message::{Message, recv, recv_timeout, send, send_to};

#[doc(hidden)]
pub mod internal {
    //! For [`handler!`](crate::handler!) only.
    pub use crate::handler::read_memory_wasm;
    #[cfg(target_arch = "wasm32")]
    pub use crate::imports::initialize;
}
