//! The sender's half: does what `rr-eval` says on standard input, one line at a time, and answers each with a line.

use std::io::{BufRead, Write};
use std::num::ParseIntError;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::pace::{self, Pace};
use crate::payload::{Call, Work};

/// What is to be sent next.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// In bytes, at least one.
    pub size: usize,
    /// What the receiver shall do with it, and say of it.
    pub call: Call,
    /// What it is drawn from.
    pub seed: u64,
}

impl Order {
    /// Gives a payload its size, and fills it.
    pub fn make(&self, payload: &mut Vec<u8>) {
        payload.resize(self.size, 0);
        self.fill(payload);
    }

    /// Fills a payload that has its size already.
    pub fn fill(&self, payload: &mut [u8]) {
        crate::payload::fill(payload, self.call, self.seed);
    }
}

/// Stamps of one transfer, of [`crate::now`].
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Before the payload was serialized.
    pub start: u64,
    /// When it was; the same as `start` for bytes that are sent as they are.
    pub serialized: u64,
    /// When the sender knew that all its receivers were done.
    pub end: u64,
}

/// A road from this function to its receivers.
pub trait Road {
    /// Makes a payload ready, which is not timed.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    fn fill(&mut self, order: &Order) -> Result<()>;

    /// Sends it to all receivers, and waits until each is done with it.
    ///
    /// # Errors
    ///
    /// When one of them does not have it.
    fn send(&mut self) -> Result<Sent>;
}

/// Takes a road as often as standard input says.
///
/// # Errors
///
/// When a line cannot be understood, or a transfer fails: the first that does is the last.
pub fn follow(road: &mut impl Road) -> Result<()> {
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("standard input")?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["fill", size, work, seed] => {
                let call = Call::Told(letter(work)?);
                road.fill(&Order { size: number(size)?, call, seed: number(seed)? })?;
                say("filled")?;
            }
            ["send"] => {
                let sent = road.send()?;
                say(&format!("sent {} {} {}", sent.start, sent.serialized, sent.end))?;
            }
            ["pace", size, work, seed, rate, count] => {
                let pace = Pace {
                    size: number(size)?,
                    work: letter(work)?,
                    seed: number(seed)?,
                    rate: number(rate)?,
                    count: number(count)?,
                };
                say(&pace::keep(road, &pace)?)?;
            }
            _ => bail!("{line:?} is no order"),
        }
    }
    Ok(())
}

fn letter(word: &str) -> Result<Work> {
    let [letter] = word.as_bytes() else { bail!("{word:?}: a work is one letter") };
    Work::of(*letter)
}

fn number<T: FromStr<Err = ParseIntError>>(word: &str) -> Result<T> {
    word.parse().with_context(|| format!("{word:?} is no number"))
}

fn say(line: &str) -> Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).context("standard output")
}
