//! The table of figures: what was measured, its bar, and whether it holds.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Runs counted of each contestant, after [`WARM_UP`] that are not.
pub(crate) const RUNS: usize = 40;
const WARM_UP: usize = 5;

/// One row of the table.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// Text of the bar, and whether the value meets it. A figure without a bar is for orientation.
    pub(crate) bar: Option<(&'static str, bool)>,
    pub(crate) samples: Vec<f64>,
    pub(crate) detail: String,
}

/// What a value is held to: the text, and the number.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    None,
    AtLeast(&'static str, f64),
    AtMost(&'static str, f64),
}

#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds the ratio of the medians of two series, which shall be `at_most` the bar.
    pub(crate) fn ratio(&mut self, name: &'static str, pair: &Pair, bar: Option<(&'static str, f64)>) {
        let value = median(&pair.a) / median(&pair.b);
        self.add(Figure {
            name: name.to_owned(),
            value,
            unit: "ratio",
            bar: bar.map(|(text, at_most)| (text, value <= at_most)),
            samples: pair.a.iter().zip(&pair.b).map(|(a, b)| a / b).collect(),
            detail: format!("{} / {}", milliseconds(&pair.a), milliseconds(&pair.b)),
        });
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        let verdict = match &figure.bar {
            Some((bar, true)) => format!("holds ({bar})"),
            Some((bar, false)) => format!("MISSED ({bar})"),
            None => String::new(),
        };
        eprintln!("{}: {:.2} {} [{}] {verdict}", figure.name, figure.value, figure.unit, figure.detail);
        self.figures.push(figure);
    }

    /// Adds a value, which is held to its bar.
    pub(crate) fn value(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        bar: Bar,
        detail: String,
    ) {
        let bar = match bar {
            Bar::None => None,
            Bar::AtLeast(text, bar) => Some((text, value >= bar)),
            Bar::AtMost(text, bar) => Some((text, value <= bar)),
        };
        self.add(Figure { name: name.into(), value, unit, bar, samples: vec![value], detail });
    }

    pub(crate) fn write(&self) {
        let folder = workspace().join("bench-output");
        fs::create_dir_all(&folder).expect("bench-output can be made");
        let rows: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let text = serde_json::to_string_pretty(&rows).expect("JSON");
        fs::write(folder.join("results.json"), text + "\n").expect("results.json can be written");
        let table = self.table();
        fs::write(folder.join("table.md"), &table).expect("table.md can be written");
        println!("{table}");
    }

    fn table(&self) -> String {
        let mut table =
            String::from("| what | value | bar | holds | medians |\n| --- | --- | --- | --- | --- |\n");
        for figure in &self.figures {
            let (bar, holds) = match figure.bar {
                Some((bar, true)) => (bar, "yes"),
                Some((bar, false)) => (bar, "**no**"),
                None => ("", ""),
            };
            let _ = writeln!(
                table,
                "| {} | {:.2} {} | {bar} | {holds} | {} |",
                figure.name, figure.value, figure.unit, figure.detail
            );
        }
        table
    }
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": self.bar.map(|(text, _)| text),
            "holds": self.bar.map(|(_, holds)| holds),
            "samples": self.samples,
        })
    }
}

/// Two series of wall times in seconds, taken in turn.
pub(crate) struct Pair {
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
}

pub(crate) fn pair(mut a: impl FnMut() -> Duration, mut b: impl FnMut() -> Duration) -> Pair {
    let mut pair = Pair { a: Vec::new(), b: Vec::new() };
    for run in 0..RUNS + WARM_UP {
        let (one, other) = (a(), b());
        if run >= WARM_UP {
            pair.a.push(one.as_secs_f64());
            pair.b.push(other.as_secs_f64());
        }
    }
    pair
}

pub(crate) fn milliseconds(seconds: &[f64]) -> String {
    format!("{:.2} ms", median(seconds) * 1e3)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}
