//! What the machine itself could do: the page remap and the memory copies of a program of its own (`hose/examples/pages.rs`), run before a
//! run's first cell, and the wire. Nothing that carries a payload to a receiver's memory can be faster.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::paper::Curve;

/// Of the output folder: a line of JSON for each size.
const FILE: &str = "limits.jsonl";

/// Medians in nanoseconds.
#[derive(Deserialize)]
struct Line {
    /// In bytes.
    size: f64,
    remap: f64,
    copy: f64,
}

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

/// The machine's limits by size, in seconds; none where they were not measured.
pub(crate) fn curves(out: &Path) -> Vec<Curve> {
    let text = std::fs::read_to_string(out.join(FILE)).unwrap_or_default();
    let lines: Vec<Line> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
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
