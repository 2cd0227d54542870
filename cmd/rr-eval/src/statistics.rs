//! Medians, and how sure they are.

/// A median with its confidence interval of 95 %, by order statistics, which assume nothing of how the values are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) count: usize,
}

impl Estimate {
    /// Of at least one value. Below six values the interval is from the least to the largest, and less sure than 95 %.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let last = count.checked_sub(1)?;
        let middle = count / 2;
        let median =
            if count % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        // Ranks of the binomial distribution's normal approximation: n/2 ± 0.98 √n.
        let half = count as f64 / 2.0;
        let spread = 0.98 * (count as f64).sqrt();
        let low = sorted[((half - spread).floor().max(0.0) as usize).min(last)];
        let high = sorted[((half + spread).ceil() as usize).min(last)];
        Some(Self { median, low, high, count })
    }

    /// Of what is known.
    pub(crate) fn exact(value: f64) -> Self {
        Self { median: value, low: value, high: value, count: 1 }
    }

    /// Width of the interval's wider side against the median.
    pub(crate) fn uncertainty(&self) -> f64 {
        (self.high - self.median).max(self.median - self.low) / self.median.max(f64::MIN_POSITIVE)
    }

    /// Whether two intervals have no value in common.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        self.low > other.high || other.low > self.high
    }
}

/// The least value that so much of all values does not exceed, from 0 to 1: the nearest rank.
pub(crate) fn percentile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_few_values_lies_between_the_least_and_the_largest() {
        let estimate = Estimate::of(&[3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((estimate.median, estimate.low, estimate.high, estimate.count), (2.5, 1.0, 10.0, 4));
        assert!(Estimate::of(&[]).is_none());
    }

    #[test]
    fn more_values_make_it_surer() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let estimate = Estimate::of(&values).unwrap();
        assert!((estimate.median - 49.5).abs() < 1e-9);
        assert!(estimate.low >= 39.0 && estimate.high <= 60.0, "{estimate:?}");
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let of = |part| percentile(&values, part);
        assert_eq!([of(0.0), of(0.5), of(0.99), of(1.0)], [1.0, 100.0, 198.0, 200.0].map(Some));
        assert_eq!((percentile(&[7.0], 0.99), percentile(&[], 0.99)), (Some(7.0), None));
    }

    #[test]
    fn intervals_that_overlap_do_not_differ() {
        let one = Estimate { median: 1.0, low: 0.9, high: 1.1, count: 10 };
        let near = Estimate { median: 1.15, low: 1.05, high: 1.2, count: 10 };
        let far = Estimate { median: 2.0, low: 1.9, high: 2.1, count: 10 };
        assert!(!one.differs_from(&near) && one.differs_from(&far) && far.differs_from(&one));
    }
}
