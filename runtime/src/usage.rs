//! What a container uses: the numbers of its cgroups, in the form of runc's `events`. What a version of cgroups, or this kernel, does not
//! tell is 0 or left out, as there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::cgroup::Cgroup;

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Usage {
    cpu: Cpu,
    cpuset: CpuSet,
    memory: Memory,
    pids: Pids,
    blkio: BlockIo,
    hugetlb: BTreeMap<String, HugePages>,
    intel_rdt: BTreeMap<String, String>,
    network_interfaces: Option<Vec<()>>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Cpu {
    usage: CpuTime,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
struct CpuTime {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: MemoryEntry,
    swap: MemoryEntry,
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// Bytes, and how often the limit was met.
#[derive(Clone, Debug, Default, Serialize)]
struct MemoryEntry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlockEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    io_queued_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct BlockEntry {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct HugePages {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

/// How much time was lost waiting for something (the kernel's accounting/psi.rst).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Pressure {
    some: Lost,
    full: Lost,
}

/// Percent over so many seconds, and microseconds in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Lost {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One of a container's cgroups' files: those that are missing are empty.
struct Files<'a>(&'a Cgroup);

impl Usage {
    /// What these cgroups say now.
    pub(crate) fn of(cgroup: &Cgroup) -> Self {
        let files = Files(cgroup);
        let version2 = files.is_there("cpu.stat") && !files.is_there("cpuacct.usage");
        Self {
            cpu: if version2 { Cpu::version2(&files) } else { Cpu::version1(&files) },
            cpuset: CpuSet::of(&files),
            memory: if files.is_there("memory.current") {
                Memory::version2(&files)
            } else {
                Memory::version1(&files)
            },
            pids: Pids { current: files.number("pids.current"), limit: files.number("pids.max") },
            blkio: if files.is_there("io.stat") {
                BlockIo::version2(&files)
            } else {
                BlockIo::version1(&files)
            },
            hugetlb: huge_pages(&files),
            intel_rdt: BTreeMap::new(),
            network_interfaces: None,
        }
    }
}

impl Files<'_> {
    fn is_there(&self, name: &str) -> bool {
        self.0.file(name).is_some()
    }

    fn text(&self, name: &str) -> String {
        self.0.file(name).and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// 0 for what is none, as `max`.
    fn number(&self, name: &str) -> u64 {
        self.text(name).trim().parse().unwrap_or_default()
    }

    /// A limit, where none is the largest number.
    fn bound(&self, name: &str) -> u64 {
        match self.text(name).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or_default(),
        }
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        self.text(name).split_whitespace().filter_map(|word| word.parse().ok()).collect()
    }

    fn keyed(&self, name: &str) -> BTreeMap<String, u64> {
        keyed(&self.text(name))
    }

    fn pressure(&self, name: &str) -> Option<Pressure> {
        pressure(&self.text(name))
    }
}

/// Lines of a key and a number.
pub(crate) fn keyed(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let lost = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let mut lost = Lost::default();
        for word in line.split_whitespace() {
            let (key, value) = word.split_once('=')?;
            match key {
                "avg10" => lost.avg10 = value.parse().ok()?,
                "avg60" => lost.avg60 = value.parse().ok()?,
                "avg300" => lost.avg300 = value.parse().ok()?,
                "total" => lost.total = value.parse().ok()?,
                _ => {}
            }
        }
        Some(lost)
    };
    Some(Pressure { some: lost("some ")?, full: lost("full ").unwrap_or_default() })
}

impl Cpu {
    fn version1(files: &Files<'_>) -> Self {
        let stat = files.keyed("cpuacct.stat");
        let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or_default() * tick();
        let (mut percpu_kernel, mut percpu_user) = (Vec::new(), Vec::new());
        // A head, then a line of processor, user and system for each.
        for line in files.text("cpuacct.usage_all").lines().skip(1) {
            let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [_, user, system] = numbers[..] {
                percpu_user.push(user);
                percpu_kernel.push(system);
            }
        }
        let throttled = files.keyed("cpu.stat");
        let of = |key: &str| throttled.get(key).copied().unwrap_or_default();
        Self {
            usage: CpuTime {
                total: files.number("cpuacct.usage"),
                percpu: files.numbers("cpuacct.usage_percpu"),
                percpu_kernel,
                percpu_user,
                kernel: nanoseconds("system"),
                user: nanoseconds("user"),
            },
            throttling: Throttling {
                periods: of("nr_periods"),
                throttled_periods: of("nr_throttled"),
                throttled_time: of("throttled_time"),
            },
            psi: None,
        }
    }

    fn version2(files: &Files<'_>) -> Self {
        let stat = files.keyed("cpu.stat");
        let of = |key: &str| stat.get(key).copied().unwrap_or_default();
        Self {
            usage: CpuTime {
                total: of("usage_usec") * 1000,
                kernel: of("system_usec") * 1000,
                user: of("user_usec") * 1000,
                ..CpuTime::default()
            },
            throttling: Throttling {
                periods: of("nr_periods"),
                throttled_periods: of("nr_throttled"),
                throttled_time: of("throttled_usec") * 1000,
            },
            psi: files.pressure("cpu.pressure"),
        }
    }
}

/// Nanoseconds of one tick, in which version 1 counts.
fn tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

impl CpuSet {
    fn of(files: &Files<'_>) -> Self {
        Self {
            cpus: list(&files.text("cpuset.cpus")),
            cpu_exclusive: files.number("cpuset.cpu_exclusive"),
            mems: list(&files.text("cpuset.mems")),
            mem_hardwall: files.number("cpuset.mem_hardwall"),
            mem_exclusive: files.number("cpuset.mem_exclusive"),
            memory_migrate: files.number("cpuset.memory_migrate"),
            memory_spread_page: files.number("cpuset.memory_spread_page"),
            memory_spread_slab: files.number("cpuset.memory_spread_slab"),
            memory_pressure: files.number("cpuset.memory_pressure"),
            sched_load_balance: files.number("cpuset.sched_load_balance"),
            sched_relax_domain_level: files
                .text("cpuset.sched_relax_domain_level")
                .trim()
                .parse()
                .unwrap_or_default(),
        }
    }
}

/// `0-2,5`.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

impl Memory {
    fn version1(files: &Files<'_>) -> Self {
        let entry = |prefix: &str| MemoryEntry {
            limit: files.number(&format!("{prefix}.limit_in_bytes")),
            usage: files.number(&format!("{prefix}.usage_in_bytes")),
            max: files.number(&format!("{prefix}.max_usage_in_bytes")),
            failcnt: files.number(&format!("{prefix}.failcnt")),
        };
        let raw = files.keyed("memory.stat");
        Self {
            cache: raw.get("cache").copied().unwrap_or_default(),
            usage: entry("memory"),
            swap: entry("memory.memsw"),
            kernel: entry("memory.kmem"),
            kernel_tcp: entry("memory.kmem.tcp"),
            raw,
            psi: None,
        }
    }

    fn version2(files: &Files<'_>) -> Self {
        let entry = |prefix: &str| MemoryEntry {
            limit: files.bound(&format!("{prefix}.max")),
            usage: files.number(&format!("{prefix}.current")),
            max: files.number(&format!("{prefix}.peak")),
            failcnt: files.keyed(&format!("{prefix}.events")).get("max").copied().unwrap_or_default(),
        };
        let raw = files.keyed("memory.stat");
        let usage = entry("memory");
        // As in version 1: of memory and swap together.
        let mut swap = entry("memory.swap");
        swap.usage += usage.usage;
        swap.limit = if swap.limit == u64::MAX { u64::MAX } else { swap.limit.saturating_add(usage.limit) };
        Self {
            cache: raw.get("file").copied().unwrap_or_default(),
            usage,
            swap,
            raw,
            psi: files.pressure("memory.pressure"),
            ..Self::default()
        }
    }
}

impl BlockIo {
    fn version1(files: &Files<'_>) -> Self {
        let entries = |name: &str| {
            // With CFQ's successor the files have its name.
            let bfq = name.replacen("blkio.", "blkio.bfq.", 1);
            let text = files.text(if files.is_there(&bfq) { &bfq } else { name });
            text.lines().filter_map(BlockEntry::version1).collect::<Vec<_>>()
        };
        let throttled = |name: &str, file: &str| {
            let all = entries(file);
            if all.is_empty() { entries(name) } else { all }
        };
        Self {
            io_service_bytes_recursive: throttled(
                "blkio.throttle.io_service_bytes_recursive",
                "blkio.io_service_bytes_recursive",
            ),
            io_serviced_recursive: throttled(
                "blkio.throttle.io_serviced_recursive",
                "blkio.io_serviced_recursive",
            ),
            io_queued_recursive: entries("blkio.io_queued_recursive"),
            io_service_time_recursive: entries("blkio.io_service_time_recursive"),
            io_wait_time_recursive: entries("blkio.io_wait_time_recursive"),
            io_merged_recursive: entries("blkio.io_merged_recursive"),
            io_time_recursive: entries("blkio.time_recursive"),
            sectors_recursive: entries("blkio.sectors_recursive"),
            psi: None,
        }
    }

    fn version2(files: &Files<'_>) -> Self {
        let (mut bytes, mut operations) = (Vec::new(), Vec::new());
        // `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
        for line in files.text("io.stat").lines() {
            let mut words = line.split_whitespace();
            let device = words.next().and_then(|word| word.split_once(':'));
            let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else { continue };
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                let (op, all) = match key {
                    "rbytes" => ("Read", &mut bytes),
                    "wbytes" => ("Write", &mut bytes),
                    "rios" => ("Read", &mut operations),
                    "wios" => ("Write", &mut operations),
                    _ => continue,
                };
                let value = value.parse().unwrap_or_default();
                all.push(BlockEntry { major, minor, op: op.to_owned(), value });
            }
        }
        Self {
            io_service_bytes_recursive: bytes,
            io_serviced_recursive: operations,
            psi: files.pressure("io.pressure"),
            ..Self::default()
        }
    }
}

impl BlockEntry {
    /// `8:0 Read 123`, or without the operation; a total has no device.
    fn version1(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            [device, op, value] => (device, op, value),
            [device, value] => (device, "", value),
            _ => return None,
        };
        let (major, minor) = device.split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    }
}

/// By the size of a page, as `2MB`: the kernel has those that it knows in a folder.
fn huge_pages(files: &Files<'_>) -> BTreeMap<String, HugePages> {
    let sizes = fs::read_dir(Path::new("/sys/kernel/mm/hugepages")).into_iter().flatten().flatten();
    let entry = |name: String| {
        let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let size = match kilobytes {
            0..1024 => format!("{kilobytes}KB"),
            1024..1_048_576 => format!("{}MB", kilobytes >> 10),
            _ => format!("{}GB", kilobytes >> 20),
        };
        let file = |what: &str| format!("hugetlb.{size}.{what}");
        let pages = if files.is_there(&file("usage_in_bytes")) {
            HugePages {
                usage: files.number(&file("usage_in_bytes")),
                max: files.number(&file("max_usage_in_bytes")),
                failcnt: files.number(&file("failcnt")),
            }
        } else if files.is_there(&file("current")) {
            let failcnt = files.keyed(&file("events")).get("max").copied().unwrap_or_default();
            HugePages { usage: files.number(&file("current")), max: 0, failcnt }
        } else {
            return None;
        };
        Some((size, pages))
    };
    sizes.filter_map(|folder| entry(folder.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn cgroup(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let cgroup = Cgroup::in_folder(folder.path());
        (folder, cgroup)
    }

    #[test]
    fn version_2s_numbers_stand_where_runc_has_them() {
        let (_folder, cgroup) = cgroup(&[
            ("cpu.stat", "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_throttled 2\n"),
            ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "0\n"),
            ("memory.events", "low 0\nmax 3\n"),
            ("memory.stat", "anon 1\nfile 2\n"),
            ("pids.current", "4\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"),
            ("cpuset.cpus", "0-1,4\n"),
        ]);
        let value = serde_json::to_value(Usage::of(&cgroup)).unwrap();
        assert_eq!(value["cpu"]["usage"]["total"], 30_000);
        assert_eq!(value["cpu"]["psi"]["some"]["avg10"], 1.5);
        assert_eq!(value["cpu"]["throttling"]["throttledPeriods"], 2);
        assert_eq!(value["memory"]["usage"]["limit"], u64::MAX);
        assert_eq!((&value["memory"]["usage"]["failcnt"], &value["memory"]["cache"]), (&3.into(), &2.into()));
        assert_eq!(value["memory"]["swap"]["usage"], 4106);
        assert_eq!(value["pids"], serde_json::json!({"current": 4}));
        assert_eq!(value["blkio"]["ioServicedRecursive"][1]["value"], 4);
        assert_eq!(value["cpuset"]["cpus"], serde_json::json!([0, 1, 4]));
        assert!(value["network_interfaces"].is_null());
    }

    #[test]
    fn version_1s_devices_are_told_apart_and_totals_left_out() {
        assert_eq!(
            BlockEntry::version1("8:16 Write 77"),
            Some(BlockEntry { major: 8, minor: 16, op: "Write".into(), value: 77 })
        );
        assert_eq!(BlockEntry::version1("Total 77"), None);
        assert_eq!(BlockEntry::version1("8:0 9").map(|entry| entry.value), Some(9));
    }

    #[test]
    fn without_any_file_all_is_nothing() {
        let (_folder, cgroup) = cgroup(&[]);
        let value = serde_json::to_value(Usage::of(&cgroup)).unwrap();
        assert_eq!(value["memory"]["usage"], serde_json::json!({"limit": 0, "failcnt": 0}));
        assert_eq!(pressure("nonsense"), None);
    }
}
