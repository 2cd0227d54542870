//! What the machine itself could do: the page remap and the memory copies of a program of its own (`hose/examples/pages.rs`), run before a
//! run's first cell, and the wire. Nothing that carries a payload to a receiver's memory can be faster.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::paper::Curve;
use crate::protocol::Work;

/// Of the output folder: a line of JSON for each size.
const FILE: &str = "limits.jsonl";

/// Medians in nanoseconds.
#[derive(Deserialize)]
struct Line {
    /// In bytes.
    size: f64,
    remap: f64,
    copy: f64,
    /// A remap, and a look at each page.
    remap_touch: Option<f64>,
    /// A remap, and a look at every byte.
    remap_read: Option<f64>,
}

/// The least that it takes to hand a payload over, and to do this work with it, on this machine.
pub(crate) struct Limit {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) work: Work,
    pub(crate) seconds: f64,
}

/// What payloads of [`BARE`] bytes are held against.
const BARE: u64 = 100_000_000;

/// Runs the program, unless the output folder has its results already.
pub(crate) fn measure(program: &Path, out: &Path) -> Result<()> {
    let file = out.join(FILE);
    if file.is_file() {
        return Ok(());
    }
    let output = Command::new(program).arg("5").output().with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{} failed: {}", program.display(), output.status);
    std::fs::write(&file, output.stdout).with_context(|| format!("write {}", file.display()))
}

fn lines(out: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(out.join(FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The limits of a large payload; none where they were not measured.
pub(crate) fn bare(out: &Path) -> Vec<Limit> {
    let line = lines(out).into_iter().find(|line| line.size == BARE as f64);
    let works = line.map(|line| [(Work::Touch, line.remap_touch), (Work::Read, line.remap_read)]);
    let limit = |(work, ns): (Work, Option<f64>)| Some(Limit { size: BARE, work, seconds: ns? * 1e-9 });
    works.into_iter().flatten().filter_map(limit).collect()
}

/// The machine's limits by size, in seconds; none where they were not measured.
pub(crate) fn curves(out: &Path) -> Vec<Curve> {
    let lines = lines(out);
    if lines.is_empty() {
        return Vec::new();
    }
    let curve = |name, of: fn(&Line) -> f64| Curve {
        name,
        points: lines.iter().map(|line| (line.size, of(line) * 1e-9)).collect(),
    };
    vec![curve("limit: page remap", |line| line.remap), curve("limit: one copy", |line| line.copy)]
}

/// How long bytes are on a wire of so many bits per second.
pub(crate) fn wire(rate: f64, points: impl Iterator<Item = (f64, f64)>) -> Curve {
    Curve { name: "limit: wire", points: points.map(|(x, bytes)| (x, bytes * 8.0 / rate)).collect() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_wire_takes_its_time() {
        assert_eq!(wire(1e8, [(1.0, 1e6)].into_iter()).points, [(1.0, 0.08)]);
    }

    #[test]
    fn limits_are_read_from_what_was_measured() {
        let out = tempfile::tempdir().unwrap();
        assert!(curves(out.path()).is_empty());
        std::fs::write(
            out.path().join(FILE),
            "{\"size\": 64, \"remap\": 1000, \"move\": 5, \"copy\": 2000}\n",
        )
        .unwrap();
        let points: Vec<_> = curves(out.path()).into_iter().map(|curve| curve.points).collect();
        let seconds: Vec<f64> = points.iter().map(|points| points[0].1).collect();
        assert!((seconds[0] - 1e-6).abs() < 1e-12 && (seconds[1] - 2e-6).abs() < 1e-12, "{seconds:?}");
    }
}
