//! What the samples say: an estimate of each quantity for all that belongs together, and what the referee has thrown out.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::TOO_BUSY;
use crate::protocol::Work;
use crate::referee::{KNOWS_LATE, way_back_is_too_long};
use crate::statistics::Estimate;
use crate::store::{self, FOUL, Key, Sample};

/// Samples that count, by what belongs together, and what does not count with its reason.
pub(crate) struct Summary {
    groups: BTreeMap<Key, Vec<Sample>>,
    pub(crate) thrown_out: Vec<String>,
}

impl Summary {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let (mut groups, mut thrown_out) = (BTreeMap::new(), Vec::new());
        let mut fouls = BTreeSet::new();
        for (key, samples) in store::groups(samples) {
            let (counted, out): (Vec<&Sample>, Vec<&Sample>) =
                samples.into_iter().partition(|sample| sample.counts());
            let place = format!("{}: {}, {} bytes to {}", key.contestant, key.figure, key.size, key.fan_out);
            thrown_out.extend(out.iter().map(|sample| format!("{place}: {}", sample.verdict)));
            let mut foul = out.iter().any(|sample| sample.verdict.starts_with(FOUL));
            let ways = counted.iter().map(|sample| (sample.done_ns, sample.end_ns));
            // A check is no time.
            if key.work != Work::Check
                && !counted.is_empty()
                && way_back_is_too_long(ways, key.fan_out as u64, key.size)
            {
                thrown_out.push(format!("{place}: {KNOWS_LATE}"));
                foul = true;
            }
            if foul {
                fouls.insert(Key { work: Work::Check, ..key.clone() });
            }
            if !counted.is_empty() {
                groups.insert(key, counted.into_iter().cloned().collect());
            }
        }
        groups.retain(|key, _| !fouls.contains(&Key { work: Work::Check, ..key.clone() }));
        Self { groups, thrown_out }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.groups.keys()
    }

    /// The values of a quantity.
    pub(crate) fn values(&self, key: &Key, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        self.groups.get(key).into_iter().flatten().filter_map(of).collect()
    }

    pub(crate) fn estimate(&self, key: &Key, of: impl Fn(&Sample) -> Option<f64>) -> Option<Estimate> {
        Estimate::of(&self.values(key, of))
    }

    /// That the machine was too busy with other things, where it was.
    pub(crate) fn warning(&self) -> Option<String> {
        let all = || self.groups.values().flatten();
        let busy = all().filter(|sample| sample.others > TOO_BUSY).count();
        let most = all().map(|sample| sample.others).fold(0.0, f64::max);
        (busy > 0).then(|| {
            format!(
                "The machine was too busy for {busy} of {} samples: others used up to {:.0} % of its processors.",
                self.count(),
                most * 100.0
            )
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.groups.values().map(Vec::len).sum()
    }
}

/// Quantities of a sample, in seconds and bytes.
pub(crate) mod quantity {
    use super::Sample;

    const NANO: f64 = 1e-9;

    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn latency(sample: &Sample) -> Option<f64> {
        Some(sample.done_ns as f64 * NANO)
    }

    /// Until the bytes could be read.
    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn readable(sample: &Sample) -> Option<f64> {
        Some(sample.parsed_ns as f64 * NANO)
    }

    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn round_trip(sample: &Sample) -> Option<f64> {
        Some(sample.end_ns as f64 * NANO)
    }

    /// Transfers a second, one after the other, to each receiver.
    pub(crate) fn throughput(sample: &Sample) -> Option<f64> {
        latency(sample).map(|latency| sample.fan_out as f64 / latency)
    }

    /// The sender's serialization.
    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn serializing(sample: &Sample) -> Option<f64> {
        Some(sample.serialized_ns as f64 * NANO)
    }

    /// The receiver's.
    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn parsing(sample: &Sample) -> Option<f64> {
        Some(sample.parsed_ns.saturating_sub(sample.arrived_ns) as f64 * NANO)
    }

    /// On both sides.
    pub(crate) fn serialization(sample: &Sample) -> Option<f64> {
        Some(serializing(sample)? + parsing(sample)?)
    }

    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn transfer(sample: &Sample) -> Option<f64> {
        Some(sample.arrived_ns.saturating_sub(sample.serialized_ns) as f64 * NANO)
    }

    /// Until the receiver has what it was asked to read, once it could: the paper's Wasm IO.
    #[expect(clippy::unnecessary_wraps, reason = "quantities are of one type")]
    pub(crate) fn access(sample: &Sample) -> Option<f64> {
        Some(sample.done_ns.saturating_sub(sample.parsed_ns) as f64 * NANO)
    }

    pub(crate) fn cpu(sample: &Sample) -> Option<f64> {
        sample.cpu_ns.map(|ns| ns as f64 * NANO)
    }

    pub(crate) fn cpu_user(sample: &Sample) -> Option<f64> {
        sample.cpu_user_ns.map(|ns| ns as f64 * NANO)
    }

    pub(crate) fn cpu_system(sample: &Sample) -> Option<f64> {
        sample.cpu_system_ns.map(|ns| ns as f64 * NANO)
    }

    pub(crate) fn peak(sample: &Sample) -> Option<f64> {
        sample.peak_bytes.map(|bytes| bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::sample;

    #[test]
    fn a_sender_that_always_knows_late_is_thrown_out() {
        let honest = sample("honest", 1, Work::Read, 10_000);
        let early = Sample { end_ns: 9_000_000, ..sample("early", 1, Work::Read, 10_000) };
        let summary = Summary::of(&[honest, early.clone(), early, sample("early", 1, Work::Touch, 10)]);
        // With all that it has done in the cell.
        let names: Vec<&str> = summary.keys().map(|key| key.contestant.as_str()).collect();
        assert_eq!(names, ["honest"]);
        assert_eq!(summary.thrown_out.len(), 1);
    }

    #[test]
    fn what_does_not_count_is_named_with_its_reason() {
        let out = Sample { verdict: "the receipt is wrong".into(), ..sample("cheat", 1, Work::Read, 0) };
        let summary = Summary::of(&[out]);
        assert_eq!(summary.count(), 0);
        assert!(summary.thrown_out[0].starts_with("cheat") && summary.thrown_out[0].ends_with("is wrong"));
    }
}
