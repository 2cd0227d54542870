//! What the machine is, and how busy it is with other things.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::contestant::Workshop;

/// Above this share of the processors used by others, a run says that the machine was too busy.
pub(crate) const TOO_BUSY: f64 = 0.1;

/// Stands in `machine.json`, beside the samples.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    /// In bytes.
    memory: u64,
    runtime: String,
    runc: Option<String>,
    commit: Option<String>,
}

impl Machine {
    pub(crate) fn look(workshop: &Workshop) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let version = |path: &Path| line_of(Command::new(path).arg("--version"));
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            processor: processor.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory: memory("MemTotal:"),
            runtime: version(&workshop.runtime).unwrap_or_default(),
            runc: workshop.peer.as_deref().and_then(version),
            commit: line_of(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"])),
        }
    }
}

/// The first line that a command prints, if it ends well.
fn line_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// A field of /proc/meminfo, in bytes.
pub(crate) fn memory(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Load of the machine over a minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Share of the processors that is used now, from 0 to 1: looked at for 300 ms, in which nothing of ours runs.
pub(crate) fn others() -> f64 {
    let before = ticks();
    std::thread::sleep(Duration::from_millis(300));
    let after = ticks();
    let (busy, all) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    busy as f64 / all.max(1) as f64
}

/// Ticks of all processors in which they did something, and all.
fn ticks() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what a guest uses stands in user already (proc_stat(5)).
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|text| text.parse().ok()).collect();
    let all = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    (all - idle, all)
}
