//! Workflows of real pictures: a camera decodes a film's frames (or a photograph), and functions hand them on, each doing its work with them.
//! Which functions there are, and who sends to whom, is `rr-eval`'s to say (`cmd/rr-eval/src/pictures`); a function's name says what it does
//! ([`Stage::of`]). The same code runs in WebAssembly, in native programs, and in the one process that knows all answers beforehand
//! ([`answers`]).

mod answers;
mod camera;
mod film;
mod frame;
mod stage;
mod worker;

pub use answers::Answers;
pub use camera::{Picture, Road, follow};
pub use film::Film;
pub use frame::{Frame, Header};
pub use stage::Stage;
pub use worker::{Output, Worker};
