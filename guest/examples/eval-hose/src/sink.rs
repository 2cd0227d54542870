//! The receiver: a handler, so that the host calls it with each payload.

use std::num::NonZeroU32;

use roadrunner::{Input, Rejection};

roadrunner::handler!(handle);

fn handle(input: Input<'_>) -> Result<(), Rejection> {
    let arrived = eval::now();
    eval::sink::received(&input, arrived, arrived)
        .map_err(|error| Rejection::new(NonZeroU32::MIN, format!("{error:#}")))
}
