//! Workflows of the model: which function sends how much to which.

use std::collections::BTreeMap;

/// A payload from one function to another, or several alike between the same two nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Of one payload, in bytes.
    pub(crate) size: f64,
    /// How many of them.
    pub(crate) count: f64,
    /// Whether the same payload was sent to another function before.
    pub(crate) again: bool,
}

/// The kinds that are told of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Shape {
    /// Each function sends what it got to the next.
    Chain,
    /// One sends the same to all others.
    FanOut,
    /// All others send to one.
    FanIn,
    /// Half of the functions send an equal part of what they have to each of the other half.
    Shuffle,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [Self::Chain, Self::FanOut, Self::FanIn, Self::Shuffle];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::FanOut => "fan-out",
            Self::FanIn => "fan-in",
            Self::Shuffle => "shuffle",
        }
    }

    /// The payloads of a workflow of so many functions, in an order in which none comes before those that its sender waits for. `node` tells where a function
    /// is: of a shuffle, what goes between the same two nodes is one edge.
    pub(crate) fn edges(self, functions: usize, size: f64, node: impl Fn(usize) -> usize) -> Vec<Edge> {
        let edge = |from, to, again| Edge { from, to, size, count: 1.0, again };
        match self {
            Self::Chain => (1..functions).map(|to| edge(to - 1, to, false)).collect(),
            Self::FanOut => (1..functions).map(|to| edge(0, to, to > 1)).collect(),
            Self::FanIn => (1..functions).map(|from| edge(from, 0, false)).collect(),
            Self::Shuffle => {
                let half = functions / 2;
                let piece = size / (functions - half).max(1) as f64;
                // Of each node the first function, which stands for all of them, and how many there are.
                let by_node = |functions: std::ops::Range<usize>| {
                    let mut nodes = BTreeMap::new();
                    for function in functions {
                        nodes.entry(node(function)).or_insert((function, 0.0)).1 += 1.0;
                    }
                    nodes
                };
                let senders: Vec<(usize, f64)> = by_node(0..half).into_values().collect();
                let receivers: Vec<(usize, f64)> = by_node(half..functions).into_values().collect();
                // In turns, in each of which nobody sends or receives twice where there are as many of both.
                let turns = (0..receivers.len()).flat_map(|turn| (0..senders.len()).map(move |i| (turn, i)));
                let edge = |(turn, i): (usize, usize)| {
                    let ((from, senders), (to, receivers)) =
                        (senders[i], receivers[(i + turn) % receivers.len()]);
                    Edge { from, to, size: piece, count: senders * receivers, again: false }
                };
                turns.map(edge).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_on_an_edge() {
        for (shape, bytes) in
            [(Shape::Chain, 90.0), (Shape::FanOut, 90.0), (Shape::FanIn, 90.0), (Shape::Shuffle, 50.0)]
        {
            for nodes in [1, 3, 10] {
                let edges = shape.edges(10, 10.0, |function| function % nodes);
                let sum: f64 = edges.iter().map(|edge| edge.size * edge.count).sum();
                assert!((sum - bytes).abs() < 1e-9, "{shape:?} on {nodes} nodes: {sum}");
            }
        }
    }

    #[test]
    fn a_sender_comes_after_what_it_waits_for() {
        let edges = Shape::Chain.edges(5, 1.0, |_| 0);
        assert!(edges.windows(2).all(|pair| pair[0].to == pair[1].from));
    }
}
