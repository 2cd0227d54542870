//! Two runs beside each other: which differences are beyond the noise.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::protocol::Work;
use crate::statistics::Estimate;
use crate::store::{self, Key, Sample};

/// One thing that both runs have measured, in nanoseconds.
#[derive(Debug, PartialEq)]
struct Difference {
    before: Estimate,
    after: Estimate,
}

/// Prints all that differs beyond the noise: where the confidence intervals of two medians have no value in common.
pub(crate) fn print(before: &Path, after: &Path) -> Result<()> {
    let (before, after) = (store::read(&store::path(before))?, store::read(&store::path(after))?);
    let all = compare(&before, &after);
    let mut different = 0;
    for (key, Difference { before, after }) in &all {
        if before.differs_from(after) {
            different += 1;
            println!(
                "{}, {}, {} bytes to {}, {}, {:?}: {:.1} µs → {:.1} µs ({:+.0} %)",
                key.figure,
                key.placement,
                key.size,
                key.fan_out,
                key.contestant,
                key.work,
                before.median / 1e3,
                after.median / 1e3,
                (after.median / before.median - 1.0) * 100.0,
            );
        }
    }
    println!("{different} of {} medians differ beyond the noise", all.len());
    Ok(())
}

fn compare(before: &[Sample], after: &[Sample]) -> BTreeMap<Key, Difference> {
    let estimates = |samples: &[Sample]| -> BTreeMap<Key, Estimate> {
        let groups = store::groups(samples).into_iter().filter(|(key, _)| key.work != Work::Check);
        groups
            .filter_map(|(key, group)| {
                let counted = group.iter().filter(|sample| sample.counts());
                Some((key, Estimate::of(&counted.map(|sample| sample.done_ns as f64).collect::<Vec<_>>())?))
            })
            .collect()
    };
    let mut after = estimates(after);
    let both = estimates(before).into_iter().filter_map(|(key, before)| {
        let after = after.remove(&key)?;
        Some((key, Difference { before, after }))
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::sample;

    #[test]
    fn only_what_both_have_is_compared() {
        let series = |name: &str, done: u64| -> Vec<Sample> {
            (0..10).map(|i| sample(name, 1, Work::Touch, done + i)).collect()
        };
        let before = [series("same", 1000), series("slower", 1000), series("gone", 1000)].concat();
        let after = [series("same", 1002), series("slower", 2000), series("new", 1000)].concat();
        let all = compare(&before, &after);
        let told: Vec<(&str, bool)> =
            all.iter().map(|(key, d)| (key.contestant.as_str(), d.before.differs_from(&d.after))).collect();
        assert_eq!(told, [("same", false), ("slower", true)]);
    }
}
