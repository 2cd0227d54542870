//! A function that is called with its input: prints what `pattern-sink` prints, answers a copy of it, and rejects a text that begins
//! with `!` with code 33.

use std::num::NonZeroU32;

use functions::pattern;
use roadrunner::{Buffer, Input, Rejection};

roadrunner::handler!(handle);

fn handle(input: Input<'_>) -> Result<(), Rejection> {
    println!("received {} {:08x} from {}", input.len(), pattern::checksum(&input), input.sender());
    if input.first() == Some(&b'!') {
        return Err(Rejection::new(NonZeroU32::MIN.saturating_add(32), "as was asked for"));
    }
    input.answer(Buffer::from(&*input))?;
    Ok(())
}
