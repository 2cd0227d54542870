//! Calls at a fixed rate, whatever becomes of those before (an open loop): the order for them, and what is believed of it.
//!
//! Each call counts from when it was *due*. One that waits for another that is slow is late itself, so that no slow call hides those that it keeps
//! waiting. The sender's clock stops at the answer. Its receiver keeps when it was done with each, by the same clock: an answer before the work, or work
//! before the last call's answer, is no call.

use crate::protocol::{Kept, Order, Paced, Work};
use crate::referee::{Foul, KNOWS_LATE, WRONG_RECEIPT, in_order, way_back_is_too_long};

const SECOND: u64 = 1_000_000_000;

/// A schedule of calls with payloads of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) work: Work,
    /// What the first payload is drawn from; each of the others from the next number.
    pub(crate) seed: u64,
    /// Calls a second.
    pub(crate) rate: u64,
    pub(crate) count: u64,
}

/// What is to be judged.
pub(crate) struct Claim<'a> {
    pub(crate) pace: &'a Pace,
    /// When the sender was told, and when its answer was heard: by the referee's clock.
    pub(crate) told: u64,
    pub(crate) heard: u64,
    pub(crate) paced: &'a Paced,
    pub(crate) kept: &'a Kept,
    pub(crate) receipt: u128,
}

impl Pace {
    pub(crate) fn line(&self) -> String {
        format!("pace {} {} {} {} {}", self.size, self.work.letter(), self.seed, self.rate, self.count)
    }

    /// One of its calls.
    pub(crate) fn order(&self, index: u64) -> Order {
        Order { size: self.size, work: self.work, seed: self.seed.wrapping_add(index) }
    }

    /// From when the first call is due until this one is, in nanoseconds.
    fn due(&self, index: u64) -> u64 {
        index * SECOND / self.rate
    }

    /// How long all calls take if each is answered before the next is due, in nanoseconds.
    pub(crate) fn lasts(&self) -> u64 {
        self.due(self.count)
    }
}

/// Whether all calls were made, each when it was due or when the one before was answered, and whether their times can be believed.
pub(crate) fn judge(claim: &Claim<'_>) -> Result<(), Foul> {
    let Claim { pace, paced, kept, .. } = claim;
    for (side, count) in [("sender", paced.late.len()), ("receiver", kept.done.len())] {
        if count as u64 != pace.count {
            return Err(Foul(format!("the {side} has had {count} calls of {}", pace.count)));
        }
    }
    if kept.receipt != claim.receipt {
        return Err(Foul(WRONG_RECEIPT.to_owned()));
    }
    in_order(&[("it was told", claim.told), ("the first call was due", paced.start)])?;
    let mut free = paced.start;
    let mut ways_back = Vec::with_capacity(kept.done.len());
    for (index, (&late, &done)) in (0..).zip(paced.late.iter().zip(&kept.done)) {
        let due = paced.start.saturating_add(pace.due(index));
        let (begun, end) = (due.max(free), due.saturating_add(late));
        in_order(&[
            ("a call could begin", begun),
            ("its receiver was done", done),
            ("its sender knew", end),
            ("it said so", claim.heard),
        ])?;
        ways_back.push((done - begun, end - begun));
        free = end;
    }
    if way_back_is_too_long(ways_back.into_iter(), 1, pace.size) {
        return Err(Foul(KNOWS_LATE.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Three calls, one each 100 ns.
    const PACE: Pace = Pace { size: 8, work: Work::Read, seed: 1, rate: 10_000_000, count: 3 };

    fn judged(late: [u64; 3], done: [u64; 3]) -> Result<(), Foul> {
        let paced = Paced { start: 1000, late: late.to_vec() };
        let kept = Kept { receipt: 7, done: done.to_vec() };
        judge(&Claim { pace: &PACE, told: 900, heard: 2000, paced: &paced, kept: &kept, receipt: 7 })
    }

    #[test]
    fn a_call_that_had_to_wait_counts_from_when_it_was_due() {
        judged([250, 160, 70], [1200, 1255, 1265]).unwrap();
        assert_eq!((PACE.lasts(), PACE.line().as_str()), (300, "pace 8 r 1 10000000 3"));
    }

    #[test]
    fn an_answer_before_the_work_or_work_before_the_last_answer_is_none() {
        let error = judged([50, 50, 50], [1040, 1160, 1240]).unwrap_err().to_string();
        assert!(error.contains("its sender knew") && error.contains("done"), "{error}");
        let error = judged([250, 160, 70], [1200, 1240, 1265]).unwrap_err().to_string();
        assert!(error.contains("done") && error.contains("could begin"), "{error}");
    }

    #[test]
    fn calls_that_are_missing_or_later_than_heard_are_foul() {
        assert!(judged([50, 50, 1500], [1040, 1140, 1240]).is_err());
        let paced = Paced { start: 1000, late: vec![50] };
        let kept = Kept { receipt: 7, done: vec![1040] };
        let claim = Claim { pace: &PACE, told: 900, heard: 2000, paced: &paced, kept: &kept, receipt: 7 };
        assert!(judge(&claim).unwrap_err().to_string().contains("1 calls of 3"));
    }
}
