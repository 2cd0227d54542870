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
//! And one that asks another, and is answered:
//!
//! ```
//! # fn main() -> Result<(), roadrunner::Error> {
//! let answer = roadrunner::call("loopback", b"a question")?; // `Input::answer` or `Message::answer` gave it
//! # assert_eq!(&*answer, b"a question");
//! # Ok(()) }
//! ```
//!
//! A payload is bytes. For structures, send plain old data: the view of it that [`zerocopy`] gives is the payload, and
//! [`Input::view`] and [`Message::view`] give it back where it lies: received payloads are aligned to [`ALIGNMENT`].
//! What does not fit into memory is a [`stream`].
//!
//! # Copies
//!
//! | | in this function | by the host |
//! | --- | --- | --- |
//! | [`send`], [`send_to`], [`call`] of a slice | none | one, into the receiver's memory (two by way of a socket) |
//! | [`Buffer::send`], within a container | none | none from 2 MiB on: its pages change hands; the edges are copied |
//! | [`Buffer::send`], to several of them | none | one for each but the last |
//! | [`Buffer::from`], [`Buffer::push`], [`stream::Writer`] | one, into the buffer | as for a buffer |
//! | a received payload, read where it lies | none | |
//! | [`stream::Reader`] as [`std::io::Read`] | one | |
//!
//! # Outside of WebAssembly
//!
//! On any other target the host's place is taken by a loopback within the thread: what was sent is what is received
//! next, from a peer named `loopback`. That is enough for `cargo test` of a handler.

mod buffer;
mod error;
mod handler;
#[cfg_attr(not(target_arch = "wasm32"), path = "loopback.rs")]
mod imports;
mod memory;
mod message;
pub mod stream;

pub use buffer::{Buffer, Unsent};
pub use error::{Error, Result};
pub use guest_abi::Status;
pub use handler::{Input, Rejection};
pub use memory::ALIGNMENT;
pub use message::{Message, call, recv, recv_timeout, send, send_to, send_to_each, targets};
pub use zerocopy;

#[doc(hidden)]
pub mod internal {
    //! For [`handler!`](crate::handler!) only.
    pub use crate::handler::read_memory_wasm;
    #[cfg(target_arch = "wasm32")]
    pub use crate::imports::initialize;
}
