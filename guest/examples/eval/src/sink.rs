//! The receiver's line: what came, when, and its receipt.

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
    let receipt = std::hint::black_box(receipt(Work::of(first)?)?);
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
