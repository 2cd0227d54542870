//! The first function of a workflow: it decodes the picture that `rr-eval` asks for on standard input, and sends it.

use std::io::{BufRead, Write};
use std::ops::DerefMut;

use anyhow::{Context, Result, bail};

use crate::film::Film;

/// A picture that is asked for: `picture INDEX SEED WORK`, where WORK is `c` if every byte is to be checked, or `t`.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// From 0; after the last one it begins anew.
    pub index: usize,
    /// What its stripe is drawn from.
    pub seed: u64,
    /// Whether every byte goes into receipts.
    pub check: bool,
}

impl std::str::FromStr for Picture {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["picture", index, seed, work @ ("c" | "t")] = words[..] else { bail!("{line:?} is no order") };
        Ok(Self { index: index.parse()?, seed: seed.parse()?, check: work == "c" })
    }
}

/// A road from the camera to the first functions.
pub trait Road {
    /// Memory that is sent.
    type Memory: DerefMut<Target = [u8]>;

    /// Makes it, of so many bytes.
    fn allocate(&mut self, size: usize) -> Self::Memory;

    /// Sends a frame to all receivers, and waits until each is done with it.
    ///
    /// # Errors
    ///
    /// When one of them does not have it.
    fn send(&mut self, frame: Self::Memory) -> Result<()>;
}

/// Shows pictures of a film as often as standard input says. Each is answered with `sent START DONE END`: before it was decoded, when it was, and when
/// all was done that becomes of it.
///
/// # Errors
///
/// When a line cannot be understood, or a picture is not handled: the first that is not is the last.
pub fn follow(road: &mut impl Road, film: &Film) -> Result<()> {
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let picture: Picture = line.context("standard input")?.parse()?;
        let start = eval::now();
        let frame = film.decode(picture.index, picture.seed, picture.check, |size| road.allocate(size))?;
        let done = eval::now();
        road.send(frame)?;
        say(&format!("sent {start} {done} {}", eval::now()))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).context("standard output")
}
