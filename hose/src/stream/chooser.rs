//! Which way of sending is faster on one TCP connection, lending pages or copying them: measured, and measured again now and then, as it depends on
//! the network.

use std::time::Duration;

use crate::config::Transfer;

/// A shorter payload is always written plainly: what two calls more cost is more than a copy (`examples/transfer.rs`, `spliced` against
/// `plain`).
pub(super) const SPLICE_MIN: usize = 256 << 10;
/// Payloads between two looks at the way that was slower.
const PROBE_EVERY: u32 = 64;
/// As many at first, and after the faster way has become the slower one: windows grow, so that a connection's first payloads tell little. The
/// pauses double.
const PROBE_AFTER: u32 = 4;
/// How many are lent before there is a verdict; the first of them finds caches cold.
const TRIALS: u32 = 3;
/// How many are written plainly before the first is lent, which is dearer where it is not cheaper: a sender of a few payloads never lends. The first of
/// them find windows small.
const PLAIN_FIRST: u32 = 8;

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// The kernel copies it.
    Plain,
    /// Its pages are lent, and spliced.
    Spliced,
}

/// What was seen of one way.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    trials: u32,
    /// Nanoseconds a byte, the last payloads weighing most.
    cost: f64,
}

impl Seen {
    fn add(&mut self, cost: f64) {
        // The first counts for nothing.
        self.cost = if self.trials < 2 { cost } else { 0.7 * self.cost + 0.3 * cost };
        self.trials = self.trials.saturating_add(1);
    }
}

#[derive(Debug)]
pub(super) struct Chooser {
    plain: Seen,
    spliced: Seen,
    since_probe: u32,
    probe_after: u32,
}

impl Chooser {
    pub(super) fn new() -> Self {
        let (plain, spliced) = Default::default();
        Self { plain, spliced, since_probe: 0, probe_after: PROBE_AFTER }
    }

    pub(super) fn choose(&mut self, len: usize, transfer: Transfer) -> Writing {
        match transfer {
            Transfer::Splice if len > 0 => return Writing::Spliced,
            Transfer::Auto | Transfer::Move | Transfer::Memfd if len >= SPLICE_MIN => {}
            _ => return Writing::Plain,
        }
        if self.plain.trials < PLAIN_FIRST {
            return Writing::Plain;
        }
        if self.spliced.trials < TRIALS {
            return Writing::Spliced;
        }
        let (faster, slower) = self.order();
        self.since_probe += 1;
        if self.since_probe < self.probe_after {
            return faster;
        }
        self.since_probe = 0;
        self.probe_after = (self.probe_after * 2).min(PROBE_EVERY);
        slower
    }

    /// The faster way first.
    fn order(&self) -> (Writing, Writing) {
        match self.plain.cost <= self.spliced.cost {
            true => (Writing::Plain, Writing::Spliced),
            false => (Writing::Spliced, Writing::Plain),
        }
    }

    /// How long `len` bytes took until the peer had them.
    pub(super) fn record(&mut self, writing: Writing, len: usize, took: Duration) {
        if len < SPLICE_MIN {
            return;
        }
        let cost = took.as_nanos() as f64 / len as f64;
        let before = self.order();
        match writing {
            Writing::Plain => self.plain.add(cost),
            Writing::Spliced => self.spliced.add(cost),
        }
        if self.order() != before {
            self.probe_after = PROBE_AFTER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chooser: &mut Chooser, plain: u64, spliced: u64, n: usize) -> usize {
        let mut count = 0;
        for _ in 0..n {
            let writing = chooser.choose(1 << 20, Transfer::Auto);
            let micros = if writing == Writing::Plain { plain } else { spliced };
            chooser.record(writing, 1 << 20, Duration::from_micros(micros));
            count += usize::from(writing == Writing::Spliced);
        }
        count
    }

    #[test]
    fn the_faster_way_is_taken_and_the_other_looked_at_again() {
        let mut chooser = Chooser::new();
        let spliced = run(&mut chooser, 100, 200, 651);
        // Eight plain ones, three trials, and a look after 4, 8, 16, 32, 64, 64 … more.
        assert_eq!(spliced, 3 + 4 + (640 - 60) / 64);
        // The network changes: the probes find out.
        let spliced = run(&mut chooser, 300, 100, 1000);
        assert!(spliced > 700, "{spliced}");
    }

    #[test]
    fn first_payloads_that_mislead_are_soon_made_up_for() {
        let mut chooser = Chooser::new();
        assert_eq!(run(&mut chooser, 600, 500, 8), 0, "of a few none is lent");
        run(&mut chooser, 600, 500, 3);
        // Windows have grown.
        assert!(run(&mut chooser, 250, 500, 40) < 20);
    }

    #[test]
    fn short_payloads_are_plain_and_a_forced_way_is_kept() {
        let mut chooser = Chooser::new();
        assert_eq!(chooser.choose(SPLICE_MIN - 1, Transfer::Auto), Writing::Plain);
        for _ in 0..100 {
            assert_eq!(chooser.choose(1, Transfer::Splice), Writing::Spliced);
            assert_eq!(chooser.choose(1 << 30, Transfer::Copy), Writing::Plain);
        }
    }
}
