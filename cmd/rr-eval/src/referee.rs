//! Who believes no time without a receipt.
//!
//! A transfer's receipt can only be said by who has read what was asked for of this very payload, whose seed is new. Its times have to be in the
//! order in which such things happen: a sender that knows of its receivers' work before they have done it did not wait for it. And since a receiver might
//! say an earlier time than the true one, what it says is held against the sender's clock, which stops when it knows: over the samples of a
//! cell the way back has to be short at least once ([`way_back_is_too_long`]), whatever the machine's noise.

use std::fmt;

use crate::protocol::{Got, Order, Sent};

/// The way back, from a receiver's work to its sender's knowledge, has to take less than this at least once: in nanoseconds for each receiver.
const WAY_BACK: u64 = 1_000_000;

/// Receivers may give memory back before they answer: bytes for each nanosecond more. Reading them takes four times as long at the least.
const GIVEN_BACK: u64 = 100;

/// What is said of a receipt that is another.
pub(crate) const WRONG_RECEIPT: &str = "the receipt is wrong: other bytes were delivered, or none were read";

/// What is said of a way back that is always long.
pub(crate) const KNOWS_LATE: &str = "its sender always knows much later than it says that it was done";

/// What is believed of a transfer, in nanoseconds after its start; of several receivers, those of the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Times {
    pub(crate) serialized: u64,
    pub(crate) arrived: u64,
    pub(crate) parsed: u64,
    pub(crate) done: u64,
    pub(crate) end: u64,
}

/// Why a contestant is thrown out of a cell, with all that it has done there.
#[derive(Debug)]
pub(crate) struct Foul(pub(crate) String);

impl fmt::Display for Foul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Foul {}

/// What is to be judged.
pub(crate) struct Claim<'a> {
    pub(crate) order: &'a Order,
    /// When the sender was told, and when its answer was heard: by the referee's clock.
    pub(crate) told: u64,
    pub(crate) heard: u64,
    pub(crate) sent: &'a Sent,
    pub(crate) got: &'a [Got],
    pub(crate) receipt: u128,
}

/// The times of a transfer that all receivers have a receipt for.
pub(crate) fn judge(claim: &Claim<'_>) -> Result<Times, Foul> {
    let Sent { start, serialized, end } = *claim.sent;
    for got in claim.got {
        if got.length != claim.order.size {
            return Err(Foul(format!("{} bytes were delivered of {}", got.length, claim.order.size)));
        }
        if got.receipt != claim.receipt {
            return Err(Foul(WRONG_RECEIPT.to_owned()));
        }
        in_order(&[
            ("it was told to send", claim.told),
            ("it began", start),
            ("it had serialized", serialized),
            ("all had arrived", got.arrived),
            ("it could be read", got.parsed),
            ("the receiver was done", got.done),
            ("the sender knew", end),
            ("it said so", claim.heard),
        ])?;
    }
    let last = claim.got.iter().max_by_key(|got| got.done);
    let last = last.ok_or_else(|| Foul("nothing was delivered".to_owned()))?;
    Ok(Times {
        serialized: serialized - start,
        arrived: last.arrived - start,
        parsed: last.parsed - start,
        done: last.done - start,
        end: end - start,
    })
}

pub(crate) fn in_order(times: &[(&str, u64)]) -> Result<(), Foul> {
    for pair in times.windows(2) {
        let [(before, early), (after, late)] = pair else { continue };
        if late < early {
            return Err(Foul(format!("{after} {} µs before {before}", (early - late) / 1000)));
        }
    }
    Ok(())
}

/// Whether receivers' times cannot be believed, given all samples of one cell: when the last was done, and when its sender knew. A tenth of the
/// time more is for what grows with it, as an allocator that unmaps a body page by page.
pub(crate) fn way_back_is_too_long(
    mut samples: impl Iterator<Item = (u64, u64)>,
    receivers: u64,
    size: u64,
) -> bool {
    let room = WAY_BACK * receivers + size / GIVEN_BACK;
    samples.all(|(done, end)| end.saturating_sub(done) > room + done / 10)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::protocol::Work;

    const ORDER: Order = Order { size: 10, work: Work::Read, seed: 1 };

    fn got(done: u64, receipt: u128) -> Got {
        Got { name: "b".into(), length: 10, arrived: 30, parsed: 30, done, receipt }
    }

    fn judged(sent: Sent, got: &[Got]) -> Result<Times, Foul> {
        judge(&Claim { order: &ORDER, told: 5, heard: 100, sent: &sent, got, receipt: 7 })
    }

    const SENT: Sent = Sent { start: 10, serialized: 20, end: 60 };

    #[test]
    fn times_count_from_the_start_to_the_last_receiver() {
        let times = judged(SENT, &[got(50, 7), got(40, 7)]).unwrap();
        assert_eq!(times, Times { serialized: 10, arrived: 20, parsed: 20, done: 40, end: 50 });
    }

    #[test]
    fn what_was_not_delivered_does_not_count() {
        assert!(judged(SENT, &[]).is_err());
        let short = Got { length: 9, ..got(50, 7) };
        assert!(judged(SENT, &[short]).unwrap_err().to_string().contains("9 bytes"));
    }

    #[test]
    fn wrong_bytes_do_not_count() {
        assert!(judged(SENT, &[got(50, 7), got(50, 8)]).unwrap_err().to_string().contains("receipt"));
    }

    #[test]
    fn an_answer_before_the_work_does_not_count() {
        let error = judged(Sent { end: 45, ..SENT }, &[got(50, 7)]).unwrap_err().to_string();
        assert!(error.contains("the sender knew") && error.contains("done"), "{error}");
    }

    #[test]
    fn a_start_before_it_was_told_does_not_count() {
        assert!(judged(Sent { start: 4, ..SENT }, &[got(50, 7)]).is_err());
    }

    #[test]
    fn a_way_back_that_is_never_short_gives_an_early_time_away() {
        assert!(!way_back_is_too_long([(10, 9_000_000), (10, 50_000)].into_iter(), 1, 0));
        assert!(way_back_is_too_long([(10, 9_000_000), (10, 8_000_000)].into_iter(), 1, 0));
        assert!(!way_back_is_too_long([(90_000_000, 98_000_000)].into_iter(), 1, 0));
        assert!(!way_back_is_too_long([(10, 1_500_000)].into_iter(), 1, 500_000_000));
    }
}
