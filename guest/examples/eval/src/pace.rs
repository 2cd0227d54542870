//! Calls at a fixed rate, whatever becomes of those before: an open loop. A call that cannot begin when it is due, because an earlier one is
//! still under way, counts from when it was due, so that no slow call hides those that it kept waiting.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::now;
use crate::payload::{Call, Work};
use crate::source::{Order, Road};

/// No more calls are made in one go; both sides have memory for so many before the first.
pub const MOST: usize = 200_000;

/// From the order until the first call is due, in nanoseconds.
const LEAD: u64 = 5_000_000;

const SECOND: u64 = 1_000_000_000;

/// A schedule.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Of each payload, in bytes, at least one.
    pub size: usize,
    /// What the receiver shall do with each.
    pub work: Work,
    /// What the first is drawn from; each of the others from the next number.
    pub seed: u64,
    /// Calls a second, at least one.
    pub rate: u64,
    /// Calls, at least one and no more than [`MOST`].
    pub count: usize,
}

impl Pace {
    fn order(&self, index: u64) -> Order {
        Order { size: self.size, call: Call::Kept(self.work), seed: self.seed.wrapping_add(index) }
    }

    /// From when the first is due until this one is, in nanoseconds.
    fn due(&self, index: u64) -> u64 {
        index * SECOND / self.rate
    }
}

/// Calls a road's receiver by a schedule, and lets it say what it has kept. Gives the line that `rr-eval` waits for: when the first call was due,
/// and how long after it was due each one's answer was there.
///
/// A payload is made while nothing is due. The sender looks at the clock until its time has come; a timer would come late by more than
/// a call takes.
///
/// # Errors
///
/// When a call fails, or the schedule has none or too many of them.
pub fn keep(road: &mut impl Road, pace: &Pace) -> Result<String> {
    ensure!((1..=MOST).contains(&pace.count) && pace.rate > 0, "{pace:?} is no schedule");
    // What is not zero is written, so that no page is missing later.
    let mut late = vec![u64::MAX; pace.count];
    road.fill(&pace.order(0))?;
    let start = now() + LEAD;
    for (index, late) in (0..).zip(&mut late) {
        let due = start + pace.due(index);
        while now() < due {
            std::hint::spin_loop();
        }
        *late = road.send()?.end - due;
        road.fill(&pace.order(index + 1))?;
    }
    road.fill(&Order { size: 1, call: Call::Account, seed: pace.seed })?;
    road.send()?;
    let mut line = format!("paced {start}");
    for late in late {
        write!(line, " {late}")?;
    }
    Ok(line)
}
