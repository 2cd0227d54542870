//! The sender's half: does what `rr-eval` says on standard input, one line at a time, and answers each with a line.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::payload::Work;

/// What is to be sent next.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// In bytes, at least one.
    pub size: usize,
    /// What the receiver shall do with it.
    pub work: Work,
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
        crate::payload::fill(payload, self.work, self.seed);
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
                let [work] = work.as_bytes() else { bail!("{line:?}: a work is one letter") };
                let (size, seed) = (size.parse().context("a size")?, seed.parse().context("a seed")?);
                road.fill(&Order { size, work: Work::of(*work)?, seed })?;
                say("filled")?;
            }
            ["pace", size, seed, rate, count] => {
                let number = |text: &str| text.parse::<u64>().with_context(|| format!("{line:?}"));
                let pace =
                    Pace { size: size.parse().context("a size")?, seed: number(seed)?, rate: number(rate)? };
                let latencies: Vec<String> =
                    pace.keep(road, number(count)?)?.iter().map(u64::to_string).collect();
                say(&format!("paced {}", latencies.join(" ")))?;
            }
            ["send"] => {
                let sent = road.send()?;
                say(&format!("sent {} {} {}", sent.start, sent.serialized, sent.end))?;
            }
            _ => bail!("{line:?} is no order"),
        }
    }
    Ok(())
}

/// Quiet payloads at a fixed rate.
struct Pace {
    /// In bytes.
    size: usize,
    /// Of the first one; each has the next.
    seed: u64,
    /// A second.
    rate: u64,
}

impl Pace {
    /// Takes the road so often, each time when it is due, or as soon as it is free after that. Gives how long after it was due each payload was
    /// handled, in nanoseconds: one that is held up holds up those that are due meanwhile, and all of that counts.
    fn keep(&self, road: &mut impl Road, count: u64) -> Result<Vec<u64>> {
        let rate = self.rate.max(1);
        let begun = crate::now() + START;
        let mut latencies = Vec::with_capacity(usize::try_from(count)?);
        for i in 0..count {
            road.fill(&Order { size: self.size, work: Work::Quiet, seed: self.seed.wrapping_add(i) })?;
            let due = begun + i * 1_000_000_000 / rate;
            wait_until(due);
            road.send()?;
            latencies.push(crate::now().saturating_sub(due));
        }
        Ok(latencies)
    }
}

/// From now until the first payload is due, in nanoseconds.
const START: u64 = 10_000_000;

/// Who sleeps is woken so late, in nanoseconds, or later.
const WOKEN: u64 = 2_000_000;

/// Awake at the end: being woken late is not the road's.
fn wait_until(due: u64) {
    let left = due.saturating_sub(crate::now());
    if left > WOKEN {
        std::thread::sleep(Duration::from_nanos(left - WOKEN));
    }
    while crate::now() < due {
        std::hint::spin_loop();
    }
}

fn say(line: &str) -> Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).context("standard output")
}
