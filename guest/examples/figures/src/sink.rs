//! The other end of `figure-source`: a handler that does with a payload what its first byte says, and answers what it is asked for.
//!
//! | first byte | is |
//! | --- | --- |
//! | 0 | nothing |
//! | 1 | one byte of each page of 4 KiB is read |
//! | 2 | every byte is read |
//! | 3 | the payload is the answer |
//! | 4 | nothing; when it was called is printed, in nanoseconds since the epoch |

use std::time::SystemTime;

use roadrunner::{Buffer, Input, Rejection};

/// Between the bytes of which each page has one, each on another cache line: else all would be in one set of the cache.
const STRIDE: usize = 4096 - 64;

roadrunner::handler!(handle);

fn handle(input: Input<'_>) -> Result<(), Rejection> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    match input.first() {
        Some(1) => {
            std::hint::black_box(
                input.iter().step_by(STRIDE).fold(0_u8, |sum, byte| sum.wrapping_add(*byte)),
            );
        }
        Some(2) => {
            std::hint::black_box(eval::payload::read(&input));
        }
        Some(3) => input.answer(Buffer::from(&*input))?,
        Some(4) => println!("{now}"),
        _ => {}
    }
    Ok(())
}
