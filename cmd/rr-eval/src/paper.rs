//! The paper's published measurements, as its authors have left them: CSV files of one folder.

use std::path::Path;

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

/// The paper's curves of a figure. None where its files are not there, or do not have it.
pub(crate) fn curves(folder: &Path, figure: Figure, quantity: Quantity) -> Vec<Curve> {
    let (prefix, x_unit) = match figure {
        Figure::Fig7 => ("sequential__intra-node__intra-node", 1e6),
        Figure::Fig8 => ("sequential__inter-node__inter-node", 1e6),
        Figure::Fig9 => ("parallel__intra-node__intra-node", 1.0),
        Figure::Fig10 => ("parallel__inter-node__inter-node-fanout", 1.0),
        Figure::Fig2 | Figure::Fig6 => return Vec::new(),
    };
    let (names, unit): (&[&str], f64) = match quantity {
        Quantity::Latency => (&["total-latency", "total_latency"], 1.0),
        Quantity::Throughput => (&["throughput", "total-throughput", "total_throughput"], 1.0),
        Quantity::Serialization => (&["serialization-latency", "serialization_latency"], 1.0),
        Quantity::Memory => (&["ram-mb", "ram"], 1e6),
    };
    let texts = names.iter().map(|name| folder.join(format!("{prefix}-{name}.csv")));
    let Some(text) = texts.into_iter().find_map(|path| std::fs::read_to_string(path).ok()) else {
        return Vec::new();
    };
    parse(&text, x_unit, unit)
}

/// Columns whose names say nothing of a system are left out, and fields that are empty.
fn parse(text: &str, x_unit: f64, unit: f64) -> Vec<Curve> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let Ok(names) = reader.headers().cloned() else { return Vec::new() };
    let rows: Vec<csv::StringRecord> = reader.records().flatten().collect();
    let number = |row: &csv::StringRecord, column: usize| row.get(column)?.parse::<f64>().ok();
    let column = |(index, name): (usize, &str)| {
        let points =
            rows.iter().filter_map(|row| Some((number(row, 0)? * x_unit, number(row, index)? * unit)));
        Some(Curve { name: system(name)?, points: points.collect() })
    };
    names.iter().enumerate().skip(1).filter_map(column).collect()
}

/// The system that a column is about.
fn system(column: &str) -> Option<&'static str> {
    let column = column.to_lowercase();
    let starts = |start: &str| column.starts_with(start);
    if starts("rr_user") || starts("roadrunner_embedded") {
        Some("paper: user")
    } else if starts("rr_kernel") || starts("roadrunner") {
        Some("paper: kernel, network")
    } else if starts("runc") {
        Some("paper: runc")
    } else if starts("wasmedge") {
        Some("paper: WasmEdge")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_curves_and_empty_fields_are_left_out() {
        let text = "Fanout,RoadRunner_Embedded,RoadRunner,Extra\n1,0.5,2,9\n10,,3,9\n";
        let curves = parse(text, 1.0, 1.0);
        assert_eq!(curves.len(), 2);
        assert_eq!(curves[0], Curve { name: "paper: user", points: vec![(1.0, 0.5)] });
        assert_eq!(curves[1].points, [(1.0, 2.0), (10.0, 3.0)]);
    }
}
