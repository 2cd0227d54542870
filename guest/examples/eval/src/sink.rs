//! The receiver's line: what came, when, and its receipt.
//!
//! Of a payload whose work is [`Work::Quiet`] there is no line: its receipt goes into the tally, which is a payload's receipt whose work is
//! [`Work::Tally`]. The tally begins with 0. Each receipt changes its lower 64 bits, rotated left by 9, by XOR, and adds 1 to the upper ones.

use std::cell::Cell;
use std::io::Write;

use anyhow::{Context, Result, bail};

use crate::payload::Work;
use crate::{json, now};

/// What stands in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The payload's bytes.
    Raw,
    /// What [`json::to_vec`] makes of them.
    Json,
}

impl Form {
    /// The form of this name: `raw`, `json`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "raw" => Ok(Self::Raw),
            "json" => Ok(Self::Json),
            other => bail!("no form is called {other:?}"),
        }
    }

    /// Takes a body that came whole at `arrived`: see [`received`].
    ///
    /// # Errors
    ///
    /// Those of [`received`], and when the body has another form.
    pub fn receive(self, body: &[u8], arrived: u64) -> Result<()> {
        match self {
            Self::Raw => received(body, arrived, arrived),
            Self::Json => {
                let payload = json::from_slice(body)?;
                received(payload.as_bytes(), arrived, now())
            }
        }
    }
}

thread_local! {
    /// Each receiver has one thread.
    static TALLY: Cell<u128> = const { Cell::new(0) };
}

fn tally(tally: u128, receipt: u128) -> u128 {
    let lower = (tally as u64).rotate_left(9) ^ receipt as u64;
    ((tally >> 64) + 1) << 64 | u128::from(lower)
}

/// Does with a payload what its first byte says, and tells `rr-eval`. It came whole at `arrived`, and could be read at `parsed`.
///
/// # Errors
///
/// When the payload is empty, or names no work, or nobody listens.
pub fn received(payload: &[u8], arrived: u64, parsed: u64) -> Result<()> {
    let first = *payload.first().context("an empty payload")?;
    let work = |work: Work| Ok(work.receipt(std::hint::black_box(payload)));
    received_elsewhere(first, payload.len(), arrived, parsed, work)
}

/// The same for a payload that is no slice: of its first byte, its length, and what makes its receipt.
///
/// # Errors
///
/// Those of [`received`] and of what makes the receipt.
pub fn received_elsewhere(
    first: u8,
    length: usize,
    arrived: u64,
    parsed: u64,
    receipt: impl FnOnce(Work) -> Result<u128>,
) -> Result<()> {
    let work = Work::of(first)?;
    let receipt = std::hint::black_box(receipt(work)?);
    let receipt = match work {
        Work::Quiet => {
            TALLY.set(tally(TALLY.get(), receipt));
            return Ok(());
        }
        Work::Tally => TALLY.replace(0),
        Work::Touch | Work::Read | Work::Check => receipt,
    };
    let done = now();
    let name = std::env::args().next().unwrap_or_default();
    // One write: functions of one process share a pipe.
    let line = format!("got {name} {length} {arrived} {parsed} {done} {receipt:032x}\n");
    std::io::stdout().write_all(line.as_bytes()).context("standard output")
}

/// Tells `rr-eval` that a sender may come.
///
/// # Errors
///
/// When nobody listens.
pub fn ready() -> Result<()> {
    std::io::stdout().write_all(b"ready\n").context("standard output")
}
