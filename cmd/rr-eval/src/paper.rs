//! The paper's published measurements, which are `paper.csv`: figure, quantity with its unit, system, payload bytes or receivers, value. What its
//! authors left empty is not in it.

use crate::plan::Figure;

/// What a curve shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Quantity {
    /// In seconds.
    Latency,
    /// Transfers per second.
    Throughput,
    /// In seconds.
    Serialization,
    /// In bytes.
    Memory,
}

/// One of the paper's curves. What it was measured by is bytes, or receivers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const MEASURED: &str = include_str!("../paper.csv");

/// The paper's systems, and how their curves are called.
const SYSTEMS: [(&str, &str); 4] = [
    ("user", "paper: user"),
    ("kernel", "paper: kernel, network"),
    ("runc", "paper: runc"),
    ("WasmEdge", "paper: WasmEdge"),
];

/// The paper's curves of a figure; none where it has none.
pub(crate) fn curves(figure: Figure, quantity: Quantity) -> Vec<Curve> {
    let quantity = match quantity {
        Quantity::Latency => "latency_s",
        Quantity::Throughput => "throughput_per_s",
        Quantity::Serialization => "serialization_s",
        Quantity::Memory => "memory_bytes",
    };
    let points = |system: &str| {
        let start = format!("{},{quantity},{system},", figure.name());
        MEASURED
            .lines()
            .filter_map(|line| line.strip_prefix(start.as_str())?.split_once(','))
            .filter_map(|(x, value)| Some((x.parse().ok()?, value.parse().ok()?)))
            .collect()
    };
    let curves = SYSTEMS.map(|(system, name)| Curve { name, points: points(system) });
    curves.into_iter().filter(|curve| !curve.points.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_by_size_and_fan_out_has_its_systems_in_all_quantities() {
        use Quantity::{Latency, Memory, Serialization, Throughput};
        let systems = |figure, quantity| curves(figure, quantity).len();
        for quantity in [Latency, Throughput, Serialization, Memory] {
            // Between nodes there is no user space; two tables have no throughput of it either.
            assert_eq!(systems(Figure::Fig8, quantity), 3, "{quantity:?}");
            assert_eq!(systems(Figure::Fig10, quantity), 3, "{quantity:?}");
            assert!(systems(Figure::Fig7, quantity) >= 3 && systems(Figure::Fig9, quantity) >= 3);
        }
        assert_eq!(systems(Figure::Fig7, Latency), 4);
        assert_eq!(systems(Figure::Fig2, Latency), 0);
    }

    #[test]
    fn every_line_is_a_point_of_a_curve() {
        let all: usize = Figure::ALL
            .iter()
            .flat_map(|&figure| {
                [Quantity::Latency, Quantity::Throughput, Quantity::Serialization, Quantity::Memory]
                    .map(|quantity| curves(figure, quantity))
            })
            .flatten()
            .map(|curve| curve.points.len())
            .sum();
        assert_eq!(all, MEASURED.lines().count() - 1);
    }

    #[test]
    fn a_point_is_as_it_was_published() {
        let kernel = curves(Figure::Fig9, Quantity::Latency).swap_remove(1);
        assert_eq!((kernel.name, kernel.points[0]), ("paper: kernel, network", (1.0, 0.057_380_4)));
    }
}
