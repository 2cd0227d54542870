//! What one transfer costs, by what was measured: medians of figures 7 and 8, straight lines between the sizes.

use std::collections::BTreeMap;

use crate::protocol::Work;
use crate::report::{Summary, quantity};
use crate::store::{Key, Sample};

/// Of one transfer to one receiver, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Until the receiver has read a byte of each page.
    pub(crate) latency: f64,
    /// Of both sides together.
    pub(crate) cpu: f64,
    /// The sender's, part of the other two; a payload for several receivers is serialized once.
    pub(crate) serialization: f64,
    /// The receiver's, when all bytes have come.
    pub(crate) parsing: f64,
}

impl Cost {
    fn map(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            latency: of(self.latency, other.latency),
            cpu: of(self.cpu, other.cpu),
            serialization: of(self.serialization, other.serialization),
            parsing: of(self.parsing, other.parsing),
        }
    }

    /// For another receiver of a payload that is serialized already.
    pub(crate) fn without_serialization(self) -> Self {
        let (latency, cpu) = (self.latency - self.serialization, self.cpu - self.serialization);
        Self { latency: latency.max(0.0), cpu: cpu.max(0.0), serialization: 0.0, ..self }
    }
}

/// A contestant, and whether its receiver is on another node.
type Road = (String, bool);

/// The costs of all roads, by size in bytes.
#[derive(Debug, Default)]
pub(crate) struct Costs(BTreeMap<Road, Vec<(f64, Cost)>>);

impl Costs {
    /// Those of a run: on one node figure 7's, between two figure 8's without a limit.
    pub(crate) fn of(summary: &Summary) -> Self {
        let mut costs = Self::default();
        for key in summary.keys().filter(|key| key.work == Work::Touch && key.fan_out == 1) {
            let between = match (key.figure.as_str(), key.placement.as_str()) {
                ("fig7", "node") => false,
                ("fig8", "nodes") => true,
                _ => continue,
            };
            costs.add(key, between, summary);
        }
        costs
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, key: &Key, between: bool, summary: &Summary) {
        let median = |of: fn(&Sample) -> Option<f64>| Some(summary.estimate(key, of)?.median);
        let Some(latency) = median(quantity::latency) else { return };
        let cost = Cost {
            latency,
            cpu: median(quantity::cpu).unwrap_or(latency),
            serialization: median(quantity::serializing).unwrap_or_default(),
            parsing: median(quantity::parsing).unwrap_or_default(),
        };
        self.knot(&key.contestant, between, key.size as f64, cost);
    }

    /// Adds what was measured at a size.
    pub(super) fn knot(&mut self, contestant: &str, between: bool, size: f64, cost: Cost) {
        let knots = self.0.entry((contestant.to_owned(), between)).or_default();
        knots.push((size, cost));
        knots.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// At a size: on the straight line between its neighbours; below the least size what that costs; beyond the largest on by the slope of the last
    /// two, which is never below 0. Nothing for a road that was not measured.
    pub(crate) fn at(&self, contestant: &str, between: bool, size: f64) -> Option<Cost> {
        let knots = self.0.get(&(contestant.to_owned(), between))?;
        let (first, last) = (knots.first()?, knots.last()?);
        if size <= first.0 {
            return Some(first.1);
        }
        let above = knots.iter().position(|knot| knot.0 >= size);
        let (low, high) = match above {
            Some(above) => (&knots[above - 1], &knots[above]),
            None if knots.len() > 1 => (&knots[knots.len() - 2], last),
            None => return Some(last.1),
        };
        let part = (size - low.0) / (high.0 - low.0);
        Some(low.1.map(high.1, |a, b| {
            if above.is_some() { a + (b - a) * part } else { b + (b - a).max(0.0) * (part - 1.0) }
        }))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn cost(latency: f64) -> Cost {
        Cost { latency, cpu: 2.0 * latency, ..Cost::default() }
    }

    #[test]
    fn costs_are_those_measured_at_their_sizes_and_lie_on_lines_between_them() {
        let mut costs = Costs::default();
        for (size, latency) in [(1000.0, 3.0), (1.0, 1.0), (2000.0, 7.0)] {
            costs.knot("a", false, size, cost(latency));
        }
        let at = |size| costs.at("a", false, size).unwrap();
        assert_eq!([at(1.0), at(1000.0), at(2000.0)], [cost(1.0), cost(3.0), cost(7.0)]);
        assert_eq!((at(0.5), at(1500.0), at(3000.0)), (cost(1.0), cost(5.0), cost(11.0)));
        assert!(costs.at("a", true, 1.0).is_none() && costs.at("b", false, 1.0).is_none());
    }

    #[test]
    fn what_is_serialized_already_costs_the_rest() {
        let json = Cost { latency: 5.0, cpu: 7.0, serialization: 2.0, parsing: 1.0 };
        assert_eq!(
            json.without_serialization(),
            Cost { latency: 3.0, cpu: 5.0, serialization: 0.0, parsing: 1.0 }
        );
    }
}
