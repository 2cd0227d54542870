//! What a time is made of, one bar for each contestant: transfers, as in the paper's figures 2 and 6, and workflows of pictures.

use std::collections::BTreeSet;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::plot::{COLOURS, Picture, Theme, short};
use super::summary::{Summary, quantity};
use crate::protocol::Work;
use crate::store::{Key, Sample};

/// A part's name, and its quantity in seconds.
type Part = (&'static str, fn(&Sample) -> Option<f64>);

/// The parts of a transfer, in the order in which they are drawn.
const TRANSFER: [Part; 3] = [
    ("transfer", quantity::transfer),
    ("serialization", quantity::serialization),
    ("Wasm IO", quantity::access),
];

/// The bars of one cell.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) meaning: String,
    /// What the parts are called.
    pub(super) parts: Vec<&'static str>,
    /// Contestants, with the median of each part in seconds.
    pub(super) bars: Vec<Bar>,
}

pub(super) type Bar = (String, Vec<f64>);

/// Those of all cells of the figures about transfers.
pub(super) fn of_transfers(summary: &Summary) -> Vec<Parts> {
    let of_parts = |key: &&Key| ["fig2", "fig6"].contains(&key.figure.as_str()) && key.work == Work::Touch;
    let cells: BTreeSet<(&String, &String, u64)> =
        summary.keys().filter(of_parts).map(|key| (&key.figure, &key.placement, key.size)).collect();
    let parts = |(figure, placement, size): (&String, &String, u64)| {
        let keys = summary.keys().filter(of_parts);
        let keys =
            keys.filter(|key| key.figure == *figure && key.placement == *placement && key.size == size);
        let bar = |key: &Key| {
            let median = |of| summary.estimate(key, of).map_or(0.0, |estimate| estimate.median);
            (key.contestant.clone(), TRANSFER.map(|(_, of)| median(of)).to_vec())
        };
        let bars: Vec<_> = keys.map(bar).collect();
        let number = figure.trim_start_matches("fig");
        Parts {
            name: format!("{figure}-{placement}-{size}").replace([' ', '/'], "-"),
            title: format!("Figure {number}, {placement}: the parts of {} bytes", short(size as f64)),
            meaning: meaning(&bars),
            parts: TRANSFER.map(|(part, _)| part).to_vec(),
            bars,
        }
    };
    cells.into_iter().map(parts).collect()
}

/// Who serializes longest, and how much of its time.
fn meaning(bars: &[Bar]) -> String {
    let share = |parts: &[f64]| parts[1] / parts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let most = bars.iter().max_by(|a, b| share(&a.1).total_cmp(&share(&b.1)));
    most.map_or_else(String::new, |(name, parts)| {
        format!(
            "{name} spends {:.0} % of its time on serialization, more than any other.",
            share(parts) * 100.0
        )
    })
}

impl Picture for Parts {
    fn name(&self) -> &str {
        &self.name
    }

    fn draw_on<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        theme: Theme,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        if let Some(ground) = theme.ground {
            area.fill(&ground)?;
        }
        let font = |size: i32| ("sans-serif", size).into_font().color(&theme.ink);
        let longest = self.bars.iter().map(|(_, parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
        let rows = self.bars.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(190)
            .build_cartesian_2d(0.0..longest * 1.1, -0.5..rows + 0.7)?;
        let name = |row: f64| {
            let exact = (row - row.round()).abs() < 1e-6 && row >= 0.0;
            exact
                .then(|| self.bars.get(row.round() as usize))
                .flatten()
                .map_or_else(String::new, |bar| bar.0.clone())
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_desc("s")
            .axis_style(theme.ink)
            .bold_line_style(theme.faint)
            .light_line_style(TRANSPARENT)
            .label_style(font(15))
            .axis_desc_style(font(15))
            .x_label_formatter(&|value| short(*value))
            .y_labels(self.bars.len() * 2 + 2)
            .y_label_formatter(&|row| name(*row))
            .draw()?;
        for (index, (part, colour)) in self.parts.iter().zip(COLOURS).enumerate() {
            let bar = |(row, (_, parts)): (usize, &Bar)| {
                let start: f64 = parts[..index].iter().sum();
                let row = row as f64;
                Rectangle::new([(start, row - 0.3), (start + parts[index], row + 0.3)], colour.filled())
            };
            chart
                .draw_series(self.bars.iter().enumerate().map(bar))?
                .label(*part)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(font(14))
            .border_style(theme.faint)
            .draw()?;
        area.present()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::sample;

    #[test]
    fn parts_add_up_to_the_whole() {
        let whole = Sample { figure: "fig6".into(), serialized_ns: 100, ..sample("a", 1, Work::Touch, 1000) };
        let all = of_transfers(&Summary::of(&[whole]));
        assert_eq!(all.len(), 1);
        let (name, parts) = &all[0].bars[0];
        assert_eq!(name, "a");
        assert!((parts.iter().sum::<f64>() - 1e-6).abs() < 1e-12, "{parts:?}");
        assert_eq!(all[0].meaning, "a spends 10 % of its time on serialization, more than any other.");
    }
}
