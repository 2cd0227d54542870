//! Nodes with cores and a network card each, and a workflow on them: who has to wait for whom.

use super::costs::Costs;
use super::workflow::Edge;

/// Bytes on the wire for each of a payload: headers of TCP, IP and Ethernet of a packet with 1,448 bytes.
const FRAMED: f64 = 1538.0 / 1448.0;

/// The machines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: usize,
    /// Of each node, or of all together where they are on one machine.
    pub(crate) cores: usize,
    /// Whether all nodes are namespaces of one machine, as when it was measured.
    pub(crate) one_machine: bool,
    /// Of each card in bits a second, either way; nothing is unlimited.
    pub(crate) rate: Option<f64>,
    /// Bytes that a token bucket lets through at once.
    pub(crate) burst: f64,
    /// Functions of one container at most, for what can share one.
    pub(crate) group: usize,
}

/// How functions are laid on nodes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Placement {
    /// A node is filled before the next.
    Packed,
    /// One after the other to each node in turn.
    Spread,
}

impl Placement {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Spread => "spread",
        }
    }

    /// Where a function is.
    pub(crate) fn node(self, function: usize, functions: usize, nodes: usize) -> usize {
        match self {
            Self::Packed => function / functions.div_ceil(nodes),
            Self::Spread => function % nodes,
        }
    }

    /// The how-manieth of its node it is.
    fn rank(self, function: usize, functions: usize, nodes: usize) -> usize {
        match self {
            Self::Packed => function % functions.div_ceil(nodes),
            Self::Spread => function / nodes,
        }
    }
}

/// By what payloads travel.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum System {
    /// The best that each two functions can have: user space, kernel space, network.
    Roadrunner,
    /// One contestant everywhere.
    Only(&'static str),
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Roadrunner => "rr",
            Self::Only(name) => name,
        }
    }

    fn road(self, one_node: bool, one_container: bool) -> &'static str {
        match self {
            Self::Only(name) => name,
            Self::Roadrunner if one_container => "rr user",
            Self::Roadrunner if one_node => "rr kernel",
            Self::Roadrunner => "rr network",
        }
    }
}

/// What a workflow comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Until the last function has its payload, in seconds.
    pub(crate) makespan: f64,
    /// Bytes that leave a node, headers included.
    pub(crate) wire: f64,
    /// CPU time of all, in seconds.
    pub(crate) cpu: f64,
}

/// Runs a workflow whose edges are in an order that their senders can keep. Nothing where one of its roads was not measured.
pub(crate) fn run(
    cluster: &Cluster,
    placement: Placement,
    system: System,
    functions: usize,
    edges: &[Edge],
    costs: &Costs,
) -> Option<Outcome> {
    let pools = if cluster.one_machine { 1 } else { cluster.nodes };
    let mut cores = vec![vec![0.0_f64; cluster.cores]; pools];
    let (mut out, mut into) = (vec![0.0_f64; cluster.nodes], vec![0.0_f64; cluster.nodes]);
    // When a function has all that it waits for, and when its thread may send again.
    let (mut ready, mut thread) = (vec![0.0_f64; functions], vec![0.0_f64; functions]);
    let mut outcome = Outcome::default();
    for edge in edges {
        let [a, b] = [edge.from, edge.to].map(|function| placement.node(function, functions, cluster.nodes));
        let [ra, rb] =
            [edge.from, edge.to].map(|function| placement.rank(function, functions, cluster.nodes));
        let one_container = a == b && ra / cluster.group == rb / cluster.group;
        let road = system.road(a == b, one_container);
        let mut cost = costs.at(road, a != b, edge.size)?;
        if edge.again {
            cost = cost.without_serialization();
        }
        let (latency, cpu) = (cost.latency * edge.count, cost.cpu * edge.count);
        outcome.cpu += cpu;
        let pool = |node: usize| if cluster.one_machine { 0 } else { node };
        // One thread does all of it in user space; a fan-out has as many as there are cores.
        let together = road == "rr user";
        let sending = if together { latency } else { cpu / 2.0 };
        let may = if together { ready[edge.from] } else { ready[edge.from].max(thread[edge.from]) };
        let core = soonest(&mut cores[pool(a)]);
        let start = core.max(may);
        *core = start + sending;
        thread[edge.from] = thread[edge.from].max(start + sending);
        let mut end = start + latency;
        if a != b {
            let bytes = edge.size * edge.count * FRAMED;
            outcome.wire += bytes;
            let serialized = start + cost.serialization * edge.count;
            let begin = serialized.max(out[a]).max(into[b]);
            // What a bucket has saved up goes at once, if it had the time to.
            let saved = if begin > serialized { 0.0 } else { cluster.burst };
            let wire = cluster.rate.map_or(0.0, |rate| (bytes - saved).max(0.0) * 8.0 / rate);
            (out[a], into[b]) = (begin + wire, begin + wire);
            end = end.max(begin + wire + cost.parsing * edge.count);
        }
        if !together {
            let core = soonest(&mut cores[pool(b)]);
            let begin = core.max(start);
            *core = begin + cpu / 2.0;
            end = end.max(*core);
        }
        ready[edge.to] = ready[edge.to].max(end);
        outcome.makespan = outcome.makespan.max(end);
    }
    Some(outcome)
}

/// When the core that is free first is.
fn soonest(cores: &mut [f64]) -> &mut f64 {
    let at = (0..cores.len()).min_by(|a, b| cores[*a].total_cmp(&cores[*b])).unwrap_or_default();
    &mut cores[at]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::costs::Cost;
    use super::super::workflow::Shape;
    use super::*;

    const CLUSTER: Cluster =
        Cluster { nodes: 4, cores: 2, one_machine: false, rate: Some(8e6), burst: 0.0, group: 3 };
    const SYSTEMS: [System; 2] = [System::Roadrunner, System::Only("http")];

    fn costs() -> Costs {
        let mut costs = Costs::default();
        for (name, between, latency, cpu) in [
            ("rr user", false, 0.1, 0.1),
            ("rr kernel", false, 0.2, 0.3),
            ("rr network", true, 0.5, 0.6),
            ("http", false, 1.0, 1.6),
            ("http", true, 1.5, 2.0),
        ] {
            for size in [1.0, 1e6] {
                costs.knot(name, between, size, Cost { latency, cpu, ..Cost::default() });
            }
        }
        costs
    }

    fn outcome(
        cluster: &Cluster,
        placement: Placement,
        system: System,
        shape: Shape,
        functions: usize,
    ) -> Outcome {
        let node = |function| placement.node(function, functions, cluster.nodes);
        let edges = shape.edges(functions, 1e6, node);
        run(cluster, placement, system, functions, &edges, &costs()).unwrap()
    }

    #[test]
    fn one_payload_costs_what_was_measured() {
        let fast = Cluster { rate: None, ..CLUSTER };
        let alone = |placement, system| outcome(&fast, placement, system, Shape::Chain, 2).makespan;
        let packed = Cluster { nodes: 1, ..fast };
        assert!(
            (outcome(&packed, Placement::Packed, System::Roadrunner, Shape::Chain, 2).makespan - 0.1).abs()
                < 1e-9
        );
        assert!((alone(Placement::Spread, System::Roadrunner) - 0.5).abs() < 1e-9);
        assert!((alone(Placement::Spread, System::Only("http")) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_faster_than_its_parts() {
        for placement in [Placement::Packed, Placement::Spread] {
            for system in SYSTEMS {
                for shape in Shape::ALL {
                    let functions = 20;
                    let node = |function| placement.node(function, functions, CLUSTER.nodes);
                    let edges = shape.edges(functions, 1e6, node);
                    let all = outcome(&CLUSTER, placement, system, shape, functions);
                    let cores = (CLUSTER.nodes * CLUSTER.cores) as f64;
                    assert!(all.makespan >= all.cpu / cores - 1e-9, "{placement:?} {system:?} {shape:?}");
                    let crossing = edges.iter().filter(|edge| node(edge.from) != node(edge.to));
                    let wire: f64 = crossing.map(|edge| edge.size * edge.count * FRAMED).sum();
                    assert!((all.wire - wire).abs() < 1e-3, "{placement:?} {system:?} {shape:?}");
                    let cards = CLUSTER.nodes as f64;
                    assert!(all.makespan >= all.wire * 8.0 / 8e6 / cards - 1e-9);
                }
            }
        }
    }

    #[test]
    fn a_faster_network_and_more_cores_never_make_a_fan_out_slower() {
        for system in SYSTEMS {
            let of =
                |cluster: &Cluster| outcome(cluster, Placement::Spread, system, Shape::FanOut, 30).makespan;
            assert!(of(&Cluster { rate: Some(8e7), ..CLUSTER }) <= of(&CLUSTER));
            assert!(of(&Cluster { cores: 8, ..CLUSTER }) <= of(&CLUSTER));
        }
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let edges = Shape::Chain.edges(2, 1.0, |_| 0);
        let one = Cluster { nodes: 1, ..CLUSTER };
        assert!(run(&one, Placement::Packed, System::Only("none"), 2, &edges, &costs()).is_none());
    }
}
