//! `update`: other limits for a container that runs, written to the files of its cgroups.
//!
//! As under runc a limit of 0 stays as it is, −1 takes one away, and all or nothing is changed: what was written before a
//! limit is refused is written back. The order of writing, and what each version of cgroups makes of a limit, follow the kernel's
//! cgroup-v1/ and cgroup-v2.rst.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::spelling;
use crate::state::{Status, Store};
use crate::systemd::{self, Bus, Unit};

/// Largest file of resources.
const MAX_FILE: u64 = 1 << 20;

/// The kernel's own period of a CPU quota, in microseconds.
const PERIOD: u64 = 100_000;

/// Limits that are to change; 0 or nothing is one that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Weight for block devices, 10 to 1000.
    pub blkio_weight: u16,
    /// Limits of single block devices.
    pub devices: Vec<Device>,
    /// Microseconds.
    pub cpu_period: u64,
    /// Microseconds in each period; negative for no limit.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_burst: Option<u64>,
    /// As in version 1: 2 to 262144, 1024 by default.
    pub cpu_shares: u64,
    /// Microseconds.
    pub cpu_rt_period: u64,
    /// Microseconds.
    pub cpu_rt_runtime: i64,
    /// 1 for SCHED_IDLE, 0 for none of it.
    pub cpu_idle: Option<i64>,
    /// A list, as `0-3,7`.
    pub cpuset_cpus: String,
    /// The same of memory nodes.
    pub cpuset_mems: String,
    /// Bytes; −1 for no limit.
    pub memory: i64,
    /// Bytes; −1 for none.
    pub memory_reservation: i64,
    /// Bytes of memory and swap together; −1 for no limit.
    pub memory_swap: i64,
    /// Whether a memory limit below what is used is refused.
    pub check_before_update: bool,
    /// Tasks; negative for no limit.
    pub pids: i64,
    /// Files of version 2, and what is written to them.
    pub unified: BTreeMap<String, String>,
}

/// What is limited of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceLimit {
    /// Its share of the disk's time against others'.
    Weight,
    /// Bytes a second that are read.
    ReadBytes,
    /// Bytes a second that are written.
    WriteBytes,
    /// Reads a second.
    Reads,
    /// Writes a second.
    Writes,
}

/// A limit of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which one.
    pub limit: DeviceLimit,
    /// The device's number.
    pub major: i64,
    /// The device's number.
    pub minor: i64,
    /// As the limit counts; 0 is none.
    pub value: u64,
}

/// A file of a cgroup, and what it is to hold.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    file: Cow<'static, str>,
    value: String,
}

/// Reads limits as JSON: the specification's `linux.resources`.
///
/// # Errors
///
/// [`ErrorKind::Usage`].
pub fn read(path: &Path) -> Result<Limits> {
    let failed = || format!("--resources {}", path.display());
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(MAX_FILE).read_to_string(&mut text).context(ErrorKind::Usage, failed)?;
    } else {
        let file = fs::File::open(path).context(ErrorKind::Usage, failed)?;
        file.take(MAX_FILE).read_to_string(&mut text).context(ErrorKind::Usage, failed)?;
    }
    parse(&text).context(ErrorKind::Usage, failed)
}

fn parse(text: &str) -> serde_json::Result<Limits> {
    let mut resources = serde_json::from_str(text)?;
    if spelling::is_doubtful(text.as_bytes()) {
        spelling::mend(&mut resources);
    }
    Ok(limits_of(&serde_json::from_value(resources)?))
}

fn limits_of(resources: &LinuxResources) -> Limits {
    let mut limits = Limits::default();
    if let Some(cpu) = resources.cpu() {
        limits.cpu_period = cpu.period().unwrap_or_default();
        limits.cpu_quota = cpu.quota().unwrap_or_default();
        limits.cpu_burst = cpu.burst();
        limits.cpu_shares = cpu.shares().unwrap_or_default();
        limits.cpu_rt_period = cpu.realtime_period().unwrap_or_default();
        limits.cpu_rt_runtime = cpu.realtime_runtime().unwrap_or_default();
        limits.cpu_idle = cpu.idle();
        limits.cpuset_cpus = cpu.cpus().clone().unwrap_or_default();
        limits.cpuset_mems = cpu.mems().clone().unwrap_or_default();
    }
    if let Some(memory) = resources.memory() {
        limits.memory = memory.limit().unwrap_or_default();
        limits.memory_reservation = memory.reservation().unwrap_or_default();
        limits.memory_swap = memory.swap().unwrap_or_default();
        limits.check_before_update = memory.check_before_update().unwrap_or_default();
    }
    if let Some(block) = resources.block_io() {
        limits.blkio_weight = block.weight().unwrap_or_default();
        limits.devices = devices(block);
    }
    limits.pids = resources.pids().as_ref().map_or(0, |pids| pids.limit());
    limits.unified =
        resources.unified().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    limits
}

/// Whether a new container's configuration limits anything but its devices.
pub(crate) fn has_limits(resources: &LinuxResources) -> bool {
    limits_of(resources) != Limits::default()
        || resources.hugepage_limits().iter().flatten().next().is_some()
        || resources.rdma().iter().flatten().next().is_some()
}

/// Limits a cgroup of version 2 that is new, and the unit of systemd's that it may be of.
///
/// # Errors
///
/// As [`update`].
pub(crate) fn limit(folder: &Path, resources: &LinuxResources, unit: Option<(&str, &mut Bus)>) -> Result<()> {
    let group = Files { find: &|file| Some(folder.join(file)).filter(|path| path.exists()) };
    let mut writes = group.plan(&limits_of(resources))?;
    for limit in resources.hugepage_limits().iter().flatten() {
        let value = limit.limit().to_string();
        // Reserved pages are counted by newer kernels only.
        let reserved = format!("hugetlb.{}.rsvd.max", limit.page_size());
        put(&mut writes, format!("hugetlb.{}.max", limit.page_size()), value.clone());
        if group.has(&reserved) {
            put(&mut writes, reserved, value);
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let named =
            |name, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
        let value = format!(
            "{device}{}{}",
            named("hca_handle", limit.hca_handles()),
            named("hca_object", limit.hca_objects())
        );
        put(&mut writes, "rdma.max", value);
    }
    group.write_all(writes, unit, &mut Vec::new())
}

/// Has a unit of systemd's say the limits of a new container, whose cgroup is of version 1. They are written to its files by libcontainer.
///
/// # Errors
///
/// As [`update`].
pub(crate) fn announce(cgroup: &Cgroup, resources: &LinuxResources, unit: (&str, &mut Bus)) -> Result<()> {
    let group = Files { find: &|file| cgroup.file(file) };
    let writes = group.plan(&limits_of(resources))?;
    group.announce(&writes, unit.0, unit.1)
}

/// The limits of single devices, in the order that runc writes them in.
fn devices(block: &LinuxBlockIo) -> Vec<Device> {
    let weights = block.weight_device().iter().flatten().filter_map(|device| {
        let value = u64::from(device.weight()?);
        Some(Device { limit: DeviceLimit::Weight, major: device.major(), minor: device.minor(), value })
    });
    let throttled = [
        (DeviceLimit::ReadBytes, block.throttle_read_bps_device()),
        (DeviceLimit::WriteBytes, block.throttle_write_bps_device()),
        (DeviceLimit::Reads, block.throttle_read_iops_device()),
        (DeviceLimit::Writes, block.throttle_write_iops_device()),
    ];
    let throttled = throttled.into_iter().flat_map(|(limit, devices)| {
        let device = move |device: &LinuxThrottleDevice| Device {
            limit,
            major: device.major(),
            minor: device.minor(),
            value: device.rate(),
        };
        devices.iter().flatten().map(device)
    });
    weights.chain(throttled).collect()
}

/// Changes the limits of a container that is not stopped.
///
/// # Errors
///
/// [`ErrorKind::Status`] in runc's words when it is, [`ErrorKind::Usage`] for limits that cannot be, [`ErrorKind::Container`] when
/// the kernel refuses one.
pub fn update(store: &Store, id: &ContainerId, limits: &Limits) -> Result<()> {
    let state = store.lock(id)?.load()?;
    if state.status_under_lock() == Status::Stopped {
        return Err(Error::new(ErrorKind::Status, "container not running"));
    }
    let group = Files { find: &|file| state.cgroup.file(file) };
    let mut bus = state.unit.as_ref().map(|_| Bus::connect()).transpose()?;
    let unit = state.unit.as_deref().zip(bus.as_mut());
    let mut written = Vec::new();
    let result = group.plan(limits).and_then(|writes| group.write_all(writes, unit, &mut written));
    if result.is_err() {
        for (path, before) in written.into_iter().rev() {
            // Best effort: the error that is told is the first.
            if let Err(error) = fs::write(&path, before) {
                tracing::warn!("{}: cannot be written back: {error}", path.display());
            }
        }
    }
    result
}

/// The files of a container's cgroups.
struct Files<'a> {
    /// The path of one, where its controller is there.
    find: &'a dyn Fn(&str) -> Option<PathBuf>,
}

impl Files<'_> {
    fn has(&self, file: &str) -> bool {
        (self.find)(file).is_some()
    }

    fn path(&self, file: &str) -> Result<PathBuf> {
        (self.find)(file).ok_or_else(|| {
            Error::new(ErrorKind::Container, format!("cgroup: has no {file}: its controller is not there"))
        })
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.path(file)?;
        let text = fs::read_to_string(&path)
            .context(ErrorKind::Container, || format!("{}: cannot be read", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// What is to be written, in its order.
    fn plan(&self, limits: &Limits) -> Result<Vec<Write>> {
        let memory = if self.has("memory.limit_in_bytes") || !self.has("memory.max") {
            self.memory_version1(limits)?
        } else {
            self.memory_version2(limits)?
        };
        let all = [
            self.cpu(limits)?,
            cpuset(limits),
            memory,
            pids(limits),
            self.block(limits),
            self.unified(limits)?,
        ];
        Ok(all.into_iter().flatten().collect())
    }

    /// Writes all, and has it said by a unit's properties; what a file had before goes to `written`.
    fn write_all(
        &self,
        mut writes: Vec<Write>,
        unit: Option<(&str, &mut Bus)>,
        written: &mut Vec<(PathBuf, String)>,
    ) -> Result<()> {
        if let Some((name, bus)) = unit {
            self.weigh_or_idle(&mut writes);
            for Write { file, value } in &mut writes {
                if file == "cpu.max" {
                    *value = systemd::rounded(value);
                }
            }
            self.announce(&writes, name, bus)?;
        }
        for Write { file, value } in writes {
            self.write(&self.path(&file)?, &value, written)?;
        }
        Ok(())
    }

    /// Has a unit's properties say what is to be written.
    fn announce(&self, writes: &[Write], unit: &str, bus: &mut Bus) -> Result<()> {
        let properties = writes.iter().flat_map(|write| systemd::properties(&write.file, &write.value));
        let mut properties: Vec<_> = properties.collect();
        let given =
            |file: &str| writes.iter().find(|write| write.file == file).map(|write| write.value.clone());
        let (quota, period) = (given("cpu.cfs_quota_us"), given("cpu.cfs_period_us"));
        if quota.is_some() || period.is_some() {
            let now = |given: Option<String>, file| given.map_or_else(|| self.read(file), Ok);
            let (quota, period) = (now(quota, "cpu.cfs_quota_us")?, now(period, "cpu.cfs_period_us")?);
            properties.extend(systemd::properties("cpu.max", &format!("{quota} {period}")));
        }
        if properties.is_empty() { Ok(()) } else { Unit::set(unit, bus, &properties) }
    }

    /// To systemd a group that is idle is one whose weight is 0: it has either, and a weight ends the other.
    fn weigh_or_idle(&self, writes: &mut Vec<Write>) {
        let Some(weight) = writes.iter().position(|write| write.file == "cpu.weight") else { return };
        match writes.iter().find(|write| write.file == "cpu.idle").map(|write| write.value.trim() == "1") {
            Some(true) => {
                tracing::warn!("unable to apply both CPU weight and CPU idle, the weight is ignored");
                writes.retain(|write| write.file != "cpu.weight");
            }
            None if self.read("cpu.idle").is_ok_and(|now| now == "1") => {
                writes.insert(weight, Write { file: "cpu.idle".into(), value: "0".to_owned() });
            }
            _ => {}
        }
    }

    fn write(&self, path: &Path, value: &str, written: &mut Vec<(PathBuf, String)>) -> Result<()> {
        let before = fs::read_to_string(path).unwrap_or_default();
        fs::write(path, value)
            .context(ErrorKind::Container, || format!("{}: {value:?} cannot be written", path.display()))?;
        written.push((path.to_owned(), before));
        Ok(())
    }

    fn cpu(&self, limits: &Limits) -> Result<Vec<Write>> {
        let mut all = Vec::new();
        let version2 = self.has("cpu.max");
        if limits.cpu_shares != 0 {
            if version2 {
                put(&mut all, "cpu.weight", weight_of_shares(limits.cpu_shares).to_string());
            } else {
                put(&mut all, "cpu.shares", limits.cpu_shares.to_string());
            }
        }
        if version2 {
            if limits.cpu_rt_period != 0 || limits.cpu_rt_runtime != 0 {
                let message = "cgroup: version 2 has no limits for realtime scheduling";
                return Err(Error::new(ErrorKind::Usage, message));
            }
            if limits.cpu_period != 0 || limits.cpu_quota != 0 {
                let now = self.read("cpu.max")?;
                let mut now = now.split(' ');
                let (quota, period) =
                    (now.next().unwrap_or("max"), now.next().and_then(|it| it.parse().ok()));
                let quota = match limits.cpu_quota {
                    0 => quota.to_owned(),
                    quota if quota < 0 => "max".to_owned(),
                    quota => quota.to_string(),
                };
                let period =
                    if limits.cpu_period == 0 { period.unwrap_or(PERIOD) } else { limits.cpu_period };
                put(&mut all, "cpu.max", format!("{quota} {period}"));
            }
        } else {
            all.extend(self.in_periods(
                ("cpu.cfs_period_us", limits.cpu_period),
                ("cpu.cfs_quota_us", limits.cpu_quota),
            )?);
            all.extend(self.in_periods(
                ("cpu.rt_period_us", limits.cpu_rt_period),
                ("cpu.rt_runtime_us", limits.cpu_rt_runtime),
            )?);
        }
        if let Some(burst) = limits.cpu_burst {
            put(&mut all, if version2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" }, burst.to_string());
        }
        if let Some(idle) = limits.cpu_idle {
            put(&mut all, "cpu.idle", idle.to_string());
        }
        Ok(all)
    }

    /// A period, and what is granted in each. Together they may be refused in one order: what is granted in the old period is above what the parent has, or the
    /// other way round. Smaller periods come last.
    fn in_periods(&self, period: (&'static str, u64), granted: (&'static str, i64)) -> Result<Vec<Write>> {
        let smaller = granted.1 != 0
            && period.1 != 0
            && self.read(period.0)?.parse().is_ok_and(|now: u64| period.1 < now);
        let number = |file: &'static str, given: bool, value: String| {
            given.then(|| Write { file: file.into(), value })
        };
        let mut both = vec![
            number(period.0, period.1 != 0, period.1.to_string()),
            number(granted.0, granted.1 != 0, granted.1.to_string()),
        ];
        if smaller {
            both.reverse();
        }
        Ok(both.into_iter().flatten().collect())
    }

    fn memory_version1(&self, limits: &Limits) -> Result<Vec<Write>> {
        let (limit, swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
        let mut memory_swap = limits.memory_swap;
        if limits.memory == -1 && memory_swap == 0 && self.has(swap) {
            memory_swap = -1;
        }
        let number = |file: &'static str, value: i64| {
            (value != 0).then(|| Write { file: file.into(), value: value.to_string() })
        };
        let mut pair = vec![number(limit, limits.memory), number(swap, memory_swap)];
        // Memory may never exceed memory and swap, not even between the two.
        if limits.memory != 0 && memory_swap != 0 {
            let now: u64 = self.read(limit)?.parse().unwrap_or(u64::MAX);
            if memory_swap == -1 || now < memory_swap.unsigned_abs() {
                pair.reverse();
            }
        }
        pair.push(number("memory.soft_limit_in_bytes", limits.memory_reservation));
        if limits.check_before_update && limits.memory > 0 {
            self.check_usage("memory.usage_in_bytes", "memory", limits.memory)?;
        }
        Ok(pair.into_iter().flatten().collect())
    }

    fn memory_version2(&self, limits: &Limits) -> Result<Vec<Write>> {
        let limit = limits.memory;
        let usage = |message: &str| Err(Error::new(ErrorKind::Usage, message.to_owned()));
        let swap = match limits.memory_swap {
            0 if limit == -1 => Some(-1),
            0 => None,
            -1 => Some(-1),
            _ if limit == 0 || limit == -1 => return usage("unable to set swap limit without memory limit"),
            swap if swap < limit => return usage("memory+swap limit should be >= memory limit"),
            swap => Some(swap - limit),
        };
        let text = |value: i64| if value == -1 { "max".to_owned() } else { value.to_string() };
        let mut all = Vec::new();
        if let Some(swap) = swap {
            // A kernel without swap has no such file, and needs none where there is to be no limit.
            if self.has("memory.swap.max") || swap > 0 {
                put(&mut all, "memory.swap.max", text(swap));
            }
        }
        for (name, limit) in [("memory+swap", limits.memory_swap), ("memory", limit)] {
            if limits.check_before_update && limit > 0 {
                self.check_usage("memory.current", name, limit)?;
            }
        }
        if limit != 0 {
            put(&mut all, "memory.max", text(limit));
        }
        if limits.memory_reservation != 0 {
            put(&mut all, "memory.low", text(limits.memory_reservation));
        }
        Ok(all)
    }

    /// In runc's words.
    fn check_usage(&self, file: &str, name: &str, limit: i64) -> Result<()> {
        let used: u64 = self.read(file)?.parse().unwrap_or_default();
        if limit.unsigned_abs() <= used {
            let message = format!("rejecting {name} limit {limit} <= usage {used}");
            return Err(Error::new(ErrorKind::Container, message));
        }
        Ok(())
    }

    fn block(&self, limits: &Limits) -> Vec<Write> {
        let mut all = self.block_weight(limits.blkio_weight);
        all.extend(limits.devices.iter().filter_map(|device| self.device(device)));
        all
    }

    /// Version 2 has all limits of a device in one file, each by its name, and weights where BFQ is only: as under runc they are passed over elsewhere.
    fn device(&self, device: &Device) -> Option<Write> {
        let Device { limit, major, minor, value } = device;
        let (version1, name): (&[&str], _) = match limit {
            DeviceLimit::Weight => (&["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight"], ""),
            DeviceLimit::ReadBytes => (&["blkio.throttle.read_bps_device"], "rbps="),
            DeviceLimit::WriteBytes => (&["blkio.throttle.write_bps_device"], "wbps="),
            DeviceLimit::Reads => (&["blkio.throttle.read_iops_device"], "riops="),
            DeviceLimit::Writes => (&["blkio.throttle.write_iops_device"], "wiops="),
        };
        match version1.iter().find(|file| self.has(file)) {
            Some(file) => Some(Write { file: (*file).into(), value: format!("{major}:{minor} {value}") }),
            None if *limit == DeviceLimit::Weight => None,
            None => Some(Write { file: "io.max".into(), value: format!("{major}:{minor} {name}{value}") }),
        }
    }

    fn block_weight(&self, weight: u16) -> Vec<Write> {
        if weight == 0 {
            return Vec::new();
        }
        // BFQ's own weight goes from 1 to 1000, as version 1's; version 2's from 1 to 10000.
        let files = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight"];
        match files.into_iter().find(|file| self.has(file)) {
            Some(file) => vec![Write { file: file.into(), value: weight.to_string() }],
            None => {
                let weight = 1 + (u32::from(weight).saturating_sub(10)) * 9_999 / 990;
                vec![Write { file: "io.weight".into(), value: weight.to_string() }]
            }
        }
    }

    /// Some files take one line at a time.
    fn unified(&self, limits: &Limits) -> Result<Vec<Write>> {
        let mut all = Vec::new();
        for (file, value) in &limits.unified {
            if file.contains('/') || file.starts_with('.') {
                let message = format!("unified: {file:?} is no file of a cgroup");
                return Err(Error::new(ErrorKind::Usage, message));
            }
            if !self.has("cgroup.controllers") {
                return Err(Error::new(ErrorKind::Usage, "unified: this is cgroup version 1"));
            }
            for line in value.lines() {
                put(&mut all, file.clone(), line.to_owned());
            }
        }
        Ok(all)
    }
}

fn cpuset(limits: &Limits) -> Vec<Write> {
    let all = [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)];
    let given = all.into_iter().filter(|(_, list)| !list.is_empty());
    given.map(|(file, list)| Write { file: file.into(), value: list.clone() }).collect()
}

fn pids(limits: &Limits) -> Vec<Write> {
    let value = match limits.pids {
        0 => return Vec::new(),
        count if count < 0 => "max".to_owned(),
        count => count.to_string(),
    };
    vec![Write { file: "pids.max".into(), value }]
}

fn put(all: &mut Vec<Write>, file: impl Into<Cow<'static, str>>, value: String) {
    all.push(Write { file: file.into(), value });
}

/// Version 2's weight (1 to 10000, 100 by default) of version 1's shares (2 to 262144, 1024 by default), as runc has it since 1.3.2: a curve
/// through the least, the default and the largest.
fn weight_of_shares(shares: u64) -> u64 {
    const MOST: u64 = 262_144;
    if shares <= 2 {
        return 1;
    }
    if shares >= MOST {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn writes(folder: &Path, limits: &Limits) -> Result<Vec<(String, String)>> {
        let find = |file: &str| Some(folder.join(file)).filter(|path| path.exists());
        let mut written = Vec::new();
        let group = Files { find: &find };
        group.write_all(group.plan(limits)?, None, &mut written)?;
        let now = |(path, _): (PathBuf, String)| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        };
        Ok(written.into_iter().map(now).collect())
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    const V1: [(&str, &str); 7] = [
        ("memory.limit_in_bytes", "1000\n"),
        ("memory.memsw.limit_in_bytes", "2000\n"),
        ("memory.soft_limit_in_bytes", "0\n"),
        ("cpu.cfs_period_us", "100000\n"),
        ("cpu.cfs_quota_us", "-1\n"),
        ("cpu.shares", "1024\n"),
        ("pids.max", "max\n"),
    ];
    const V2: [(&str, &str); 7] = [
        ("cgroup.controllers", "cpu memory pids\n"),
        ("memory.max", "1000\n"),
        ("memory.swap.max", "max\n"),
        ("memory.current", "900\n"),
        ("cpu.max", "max 50000\n"),
        ("cpu.weight", "100\n"),
        ("pids.max", "max\n"),
    ];

    #[test]
    fn memory_never_exceeds_memory_and_swap_meanwhile() {
        let folder = folder(&V1);
        let both = |memory, memory_swap| Limits { memory, memory_swap, ..Limits::default() };
        let limit = "memory.limit_in_bytes";
        let swap = "memory.memsw.limit_in_bytes";
        assert_eq!(
            writes(folder.path(), &both(1500, 3000)).unwrap(),
            pairs(&[(swap, "3000"), (limit, "1500")])
        );
        assert_eq!(writes(folder.path(), &both(500, 600)).unwrap(), pairs(&[(limit, "500"), (swap, "600")]));
        assert_eq!(writes(folder.path(), &both(-1, 0)).unwrap(), pairs(&[(swap, "-1"), (limit, "-1")]));
        assert_eq!(writes(folder.path(), &both(700, 0)).unwrap(), pairs(&[(limit, "700")]));
    }

    #[test]
    fn a_quota_and_a_smaller_period_are_written_in_an_order_that_fits() {
        let folder = folder(&V1);
        let cpu = |cpu_period, cpu_quota| Limits { cpu_period, cpu_quota, ..Limits::default() };
        let (period, quota) = ("cpu.cfs_period_us", "cpu.cfs_quota_us");
        let written = writes(folder.path(), &cpu(50_000, 20_000)).unwrap();
        assert_eq!(written, pairs(&[(quota, "20000"), (period, "50000")]));
        let written = writes(folder.path(), &cpu(200_000, 20_000)).unwrap();
        assert_eq!(written, pairs(&[(period, "200000"), (quota, "20000")]));
    }

    #[test]
    fn version_2_has_its_own_words() {
        let folder = folder(&V2);
        let limits = Limits {
            memory: 5000,
            memory_swap: 7000,
            cpu_quota: 20_000,
            cpu_shares: 1024,
            pids: -1,
            unified: BTreeMap::from([("pids.max".to_owned(), "7".to_owned())]),
            ..Limits::default()
        };
        let expected = [
            ("cpu.weight", "100"),
            ("cpu.max", "20000 50000"),
            ("memory.swap.max", "2000"),
            ("memory.max", "5000"),
            ("pids.max", "7"),
            ("pids.max", "7"),
        ];
        assert_eq!(writes(folder.path(), &limits).unwrap(), pairs(&expected));
        let period = Limits { cpu_period: 80_000, ..Limits::default() };
        assert_eq!(writes(folder.path(), &period).unwrap(), pairs(&[("cpu.max", "20000 80000")]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let [v1, v2] = [folder(&V1), folder(&V2)];
        let unified = BTreeMap::from([("pids.max".to_owned(), "7".to_owned())]);
        let refused = [
            (&v1, Limits { unified, ..Limits::default() }, "version 1"),
            (&v1, Limits { cpuset_cpus: "0".into(), ..Limits::default() }, "cpuset.cpus"),
            (&v2, Limits { memory_swap: 9, ..Limits::default() }, "without memory limit"),
            (&v2, Limits { memory: 9, memory_swap: 8, ..Limits::default() }, ">= memory limit"),
            (&v2, Limits { cpu_rt_period: 9, ..Limits::default() }, "realtime"),
            (&v2, Limits { memory: 800, check_before_update: true, ..Limits::default() }, "usage 900"),
        ];
        for (folder, limits, why) in refused {
            let error = writes(folder.path(), &limits).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
        let path = BTreeMap::from([("../x".to_owned(), String::new())]);
        assert!(writes(v2.path(), &Limits { unified: path, ..Limits::default() }).is_err());
    }

    #[test]
    fn resources_are_those_of_the_specification() {
        let text = r#"{"memory": {"limit": 10, "swap": -1}, "cpu": {"quota": 5, "cpus": "0-1", "idle": 1},
            "pids": {"limit": 20}, "blockIO": {"weight": 100}, "unified": {"a.b": "c"}}"#;
        let limits = parse(text).unwrap();
        assert_eq!((limits.memory, limits.memory_swap, limits.cpu_quota), (10, -1, 5));
        assert_eq!((limits.cpuset_cpus.as_str(), limits.cpu_idle, limits.pids), ("0-1", Some(1), 20));
        assert_eq!((limits.blkio_weight, limits.unified.len()), (100, 1));
        assert_eq!(parse("{}").unwrap(), Limits::default());
        assert!(parse("{\"memory\": 1}").is_err());
    }

    #[test]
    fn shares_become_weights_on_runcs_curve() {
        assert_eq!([0, 2, 1024, 262_144].map(weight_of_shares), [1, 1, 100, 10_000]);
    }
}
