//! CPU time and memory of a container, from its control groups (cgroup v1 and v2), and its share of memory from /proc.

mod made;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) use made::{Made, hierarchies};

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The groups of one container's init.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pid: u32,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    One,
    Two,
}

/// CPU time in nanoseconds. All of it is exact; how it splits is told by the timer's ticks, so that it takes many samples to be right.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) all: u64,
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl Cpu {
    /// What was used since then.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

impl Groups {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let text =
            fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(|| format!("groups of {pid}"))?;
        let paths: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.splitn(3, ':').collect::<Vec<_>>().try_into().ok())
            .map(|[_, controllers, path]: [&str; 3]| (controllers, path))
            .collect();
        let v1 = |controller: &str| {
            let (controllers, path) = paths
                .iter()
                .find(|(controllers, _)| controllers.split(',').any(|name| name == controller))?;
            let below = |name: &str| Path::new(MOUNT).join(name).join(path.trim_start_matches('/'));
            [below(controllers), below(controller)].into_iter().find(|folder| folder.is_dir())
        };
        let (cpu, memory) = (v1("cpuacct"), v1("memory"));
        if cpu.is_some() || memory.is_some() {
            return Ok(Self { pid, cpu, memory, version: Version::One });
        }
        let v2 = paths.iter().find(|(controllers, _)| controllers.is_empty());
        let folder = v2.map(|(_, path)| Path::new(MOUNT).join(path.trim_start_matches('/')));
        Ok(Self { pid, cpu: folder.clone(), memory: folder, version: Version::Two })
    }

    /// Nothing where the controller is missing.
    pub(crate) fn cpu(&self) -> Option<Cpu> {
        let folder = self.cpu.as_ref()?;
        if self.version == Version::One {
            let read = |name: &str| number(&folder.join(name));
            let [all, user, system] = ["cpuacct.usage", "cpuacct.usage_user", "cpuacct.usage_sys"].map(read);
            return Some(Cpu { all: all?, user: user?, system: system? });
        }
        let text = fs::read_to_string(folder.join("cpu.stat")).ok()?;
        let micros = |key: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).map(|n| n * 1000)
        };
        Some(Cpu { all: micros("usage_usec")?, user: micros("user_usec")?, system: micros("system_usec")? })
    }

    /// What the group has now, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        number(&self.memory.as_ref()?.join(match self.version {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        }))
    }

    /// The most that it had since the last [`Groups::forget_peak`], in bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        number(&self.peak_file()?)
    }

    /// Begins a new peak. Kernels before 6.12 cannot do that with cgroup v2: there it is the peak since the start.
    pub(crate) fn forget_peak(&self) {
        if let Some(file) = self.peak_file() {
            let _ = fs::write(file, "0");
        }
    }

    fn peak_file(&self) -> Option<PathBuf> {
        let name = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        Some(self.memory.as_ref()?.join(name))
    }

    /// Init's proportional share of memory, in bytes.
    pub(crate) fn share(&self) -> Option<u64> {
        share(self.pid)
    }
}

/// A process's proportional share of memory, in bytes.
pub(crate) fn share(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
