//! The receiver's line: what came, when, and its receipt.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result, bail};

use crate::pace::MOST;
use crate::payload::{Call, Work};
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
    static KEPT: RefCell<Kept> = RefCell::new(Kept::new());
}

/// What a receiver will say of the calls that it was not asked to tell one by one.
struct Kept {
    /// Of all payloads, in turn: the receipt so far, rotated left by 5 in 128 bits, XOR the payload's.
    receipt: u128,
    /// When the work with each was done.
    done: Vec<u64>,
}

impl Kept {
    fn new() -> Self {
        // What is not zero is written, so that no page is missing later.
        let mut done = vec![u64::MAX; MOST];
        done.clear();
        Self { receipt: 0, done }
    }

    fn keep(&mut self, receipt: u128, done: u64) {
        self.receipt = self.receipt.rotate_left(5) ^ receipt;
        self.done.push(done);
    }

    /// Its line; it forgets all.
    fn line(&mut self) -> String {
        let mut line = format!("kept {} {:032x}", name(), std::mem::take(&mut self.receipt));
        for done in self.done.drain(..) {
            // A string takes everything.
            let _ = write!(line, " {done}");
        }
        line + "\n"
    }
}

/// Does with a payload what its first byte says, and tells `rr-eval`, now or later. It came whole at `arrived`, and could be read at `parsed`.
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
    let receipt = |work| anyhow::Ok(std::hint::black_box(receipt(work)?));
    let line = match Call::of(first)? {
        Call::Told(work) => {
            let (receipt, done) = (receipt(work)?, now());
            format!("got {} {length} {arrived} {parsed} {done} {receipt:032x}\n", name())
        }
        Call::Kept(work) => {
            let (receipt, done) = (receipt(work)?, now());
            KEPT.with_borrow_mut(|kept| kept.keep(receipt, done));
            return Ok(());
        }
        Call::Account => KEPT.with_borrow_mut(Kept::line),
    };
    // One write: functions of one process share a pipe.
    std::io::stdout().write_all(line.as_bytes()).context("standard output")
}

fn name() -> String {
    std::env::args().next().unwrap_or_default()
}

/// Tells `rr-eval` that a sender may come.
///
/// # Errors
///
/// When nobody listens.
pub fn ready() -> Result<()> {
    std::io::stdout().write_all(b"ready\n").context("standard output")
}
