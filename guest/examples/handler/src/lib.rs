//! A function that is called with its input: says what came, and rejects what is not text with code 1, and the text
//! `reject` with code 42.

use std::num::NonZeroU32;

use roadrunner::{Input, Rejection};

roadrunner::handler!(handle);

fn handle(input: Input<'_>) -> Result<(), Rejection> {
    let text = std::str::from_utf8(&input)?;
    println!("{} says: {text}", input.sender());
    match text {
        "reject" => Err(Rejection::new(NonZeroU32::MIN.saturating_add(41), "as was asked for")),
        _ => Ok(()),
    }
}
