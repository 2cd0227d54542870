//! Containers as units of systemd's: a scope that is started with a process in it, has properties that say the limits, and ends with its last process.
//!
//! As under runc (its docs/systemd.md) `cgroupsPath` is SLICE:PREFIX:NAME for PREFIX-NAME.scope in that slice. The limits are written to the cgroup, too:
//! systemd rounds some, and does not know all.

mod bus;
mod devices;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bus::Writer;
pub(crate) use bus::{Bus, Property, Value};
pub(crate) use devices::devices;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::trust;

/// How long a unit of the same name may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// Annotations that are properties of the unit.
const ANNOTATION: &str = "org.systemd.property.";
/// What a second of a processor is granted in steps of, in microseconds: systemd knows whole percent only.
const STEP: u64 = 10_000;
const SECOND: u64 = 1_000_000;

/// A container's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    slice: String,
    pub(crate) name: String,
}

impl Unit {
    /// # Errors
    ///
    /// [`ErrorKind::Bundle`] when the path has another form.
    pub(crate) fn of(cgroups_path: &Path) -> Result<Self> {
        let text = cgroups_path.to_str().unwrap_or_default();
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = *parts.as_slice() else {
            let message = format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead"
            );
            return Err(Error::new(ErrorKind::Bundle, message));
        };
        let slice = match slice {
            "" if trust::is_rootless() => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        let name = match name {
            // It holds units, and no processes.
            name if name.ends_with(".slice") => {
                return Err(Error::new(
                    ErrorKind::Bundle,
                    format!("cgroupsPath {text:?}: {name} is no name of a scope"),
                ));
            }
            name if prefix.is_empty() => format!("{name}.scope"),
            name => format!("{prefix}-{name}.scope"),
        };
        Ok(Self { slice: slice.to_owned(), name })
    }

    /// Where its cgroup will be, as far as that can be told before: a slice's name has those that it is in, and a user's manager is in a service of its own.
    pub(crate) fn place(&self) -> PathBuf {
        let mut place = PathBuf::from("/");
        if trust::is_rootless() {
            let user = trust::host_uid();
            place.push(format!("user.slice/user-{user}.slice/user@{user}.service"));
        }
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        for end in ends.filter(|end| *end > 0 && stem != "-") {
            place.push(format!("{}.slice", &stem[..end]));
        }
        place.join(&self.name)
    }

    /// Starts it with a process in it.
    pub(crate) fn start(&self, bus: &mut Bus, id: &ContainerId, pid: i32, own: &[Property]) -> Result<()> {
        let flag = |name: &str, value| (name.to_owned(), Value::Flag(value));
        let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
        let mut properties = vec![
            text("Description", &format!("rr-runtime container {id}")),
            text("Slice", &self.slice),
            // One that fails goes, too, as one does that is not there any more when it is to be started.
            text("CollectMode", "inactive-or-failed"),
            ("PIDs".to_owned(), Value::Numbers(vec![pid.cast_unsigned()])),
            flag("Delegate", true),
            flag("DefaultDependencies", false),
        ];
        for what in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
            properties.push(flag(what, true));
        }
        properties.extend(own.iter().cloned());
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("replace");
        body.properties(&properties);
        body.array(8, |_| {});
        let began = Instant::now();
        loop {
            match bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", &body.0) {
                // One that has failed stays until it is forgotten, and one that ends goes in a moment.
                Err(error) if exists(&error) && began.elapsed() < GONE_WITHIN => {
                    Self::forget(&self.name, bus);
                    thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }

    /// Sets properties of one of that name, until it ends.
    pub(crate) fn set(name: &str, bus: &mut Bus, properties: &[Property]) -> Result<()> {
        let mut body = Writer::default();
        body.text(name);
        body.number(1);
        body.properties(properties);
        bus.call("SetUnitProperties", "sba(sv)", &body.0)
    }

    /// Ends one. Best effort: what has no process any more ends by itself.
    pub(crate) fn stop(name: &str) {
        let mut bus = match Bus::connect() {
            Ok(bus) => bus,
            Err(error) => return tracing::debug!("{error}"),
        };
        let mut body = Writer::default();
        body.text(name);
        body.text("replace");
        if let Err(error) = bus.call("StopUnit", "ss", &body.0) {
            tracing::debug!("{error}");
        }
        Self::forget(name, &mut bus);
    }

    /// Has systemd forget that it has failed.
    fn forget(name: &str, bus: &mut Bus) {
        let mut body = Writer::default();
        body.text(name);
        if let Err(error) = bus.call("ResetFailedUnit", "s", &body.0) {
            tracing::debug!("{error}");
        }
    }
}

fn exists(error: &Error) -> bool {
    error.to_string().contains(": UnitExists: ")
}

/// The properties that a container's annotations name.
///
/// # Errors
///
/// [`ErrorKind::Annotation`] for a value that is none of a string in quotes, a truth value, a number and a list of strings.
pub(crate) fn annotated(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let named = annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(ANNOTATION)?, text)));
    let sorted: BTreeMap<_, _> = named.collect();
    sorted.into_iter().map(|(name, text)| property(name, text.trim())).collect()
}

fn property(name: &str, text: &str) -> Result<Property> {
    let refused = || {
        Error::new(
            ErrorKind::Annotation,
            format!("annotation {ANNOTATION}{name}: {text:?} is no value of a property"),
        )
    };
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = format!("annotation {ANNOTATION}{name}: is no name of a property");
        return Err(Error::new(ErrorKind::Annotation, message));
    }
    let value = value(text).ok_or_else(refused)?;
    // Times are asked for in seconds, and known in microseconds.
    if let Some(stem) =
        name.strip_suffix("Sec").filter(|stem| stem.ends_with(|last: char| last.is_lowercase()))
    {
        let micros = match value {
            Value::Signed(seconds) => {
                u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(SECOND))
            }
            Value::Number(seconds) => seconds.checked_mul(SECOND),
            _ => None,
        };
        return Ok((format!("{stem}USec"), Value::Number(micros.ok_or_else(refused)?)));
    }
    Ok((name.to_owned(), value))
}

/// As GVariant writes it.
fn value(text: &str) -> Option<Value> {
    let quoted = |text: &str| {
        let text = text.trim();
        let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(['\'', '"', '\\'])).then(|| inner.to_owned())
    };
    match text {
        "true" => return Some(Value::Flag(true)),
        "false" => return Some(Value::Flag(false)),
        _ => {}
    }
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return list.split(',').map(quoted).collect::<Option<_>>().map(Value::Texts);
    }
    if let Some(number) = text.strip_prefix("uint64 ") {
        return number.trim().parse().ok().map(Value::Number);
    }
    if let Some(number) = text.strip_prefix("int32 ") {
        return number.trim().parse().ok().map(Value::Signed);
    }
    quoted(text).map(Value::Text).or_else(|| text.parse().ok().map(Value::Signed))
}

/// The properties that say what files of a cgroup say; nothing for those that systemd has none for. Of version 1 a quota is said with its period, as `cpu.max` of version 2.
pub(crate) fn properties(file: &str, value: &str) -> Vec<Property> {
    let number = |text: &str| if ["max", "-1"].contains(&text) { Some(u64::MAX) } else { text.parse().ok() };
    let one =
        |name: &str, value: Option<Value>| value.map(|value| (name.to_owned(), value)).into_iter().collect();
    let value = value.trim();
    let plain = match file {
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "memory.limit_in_bytes" => "MemoryLimit",
        "cpu.shares" => "CPUShares",
        "blkio.weight" | "blkio.bfq.weight" => "BlockIOWeight",
        "cpu.weight" => "CPUWeight",
        "cpu.idle" => return one("CPUWeight", (value == "1").then_some(Value::Number(0))),
        "cpuset.cpus" => return one("AllowedCPUs", bits(value).map(Value::Bytes)),
        "cpuset.mems" => return one("AllowedMemoryNodes", bits(value).map(Value::Bytes)),
        "cpu.max" => return share(value),
        _ => return Vec::new(),
    };
    one(plain, number(value).map(Value::Number))
}

/// `QUOTA PERIOD` as a share of a second, and the period.
fn share(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let quota = words.next().and_then(|quota| quota.parse::<u64>().ok());
    let Ok(period) = words.next().unwrap_or("100000").parse::<u64>() else { return Vec::new() };
    let each_second = quota.map_or(u64::MAX, |quota| per_second(quota, period));
    vec![
        ("CPUQuotaPeriodUSec".to_owned(), Value::Number(period)),
        ("CPUQuotaPerSecUSec".to_owned(), Value::Number(each_second)),
    ]
}

fn per_second(quota: u64, period: u64) -> u64 {
    (quota.saturating_mul(SECOND) / period.max(1)).div_ceil(STEP).saturating_mul(STEP)
}

/// `cpu.max` as systemd will write it.
pub(crate) fn rounded(value: &str) -> String {
    let mut words = value.split_whitespace();
    match (words.next().map(str::parse::<u64>), words.next().map(str::parse::<u64>)) {
        (Some(Ok(quota)), Some(Ok(period))) => {
            let quota = u128::from(per_second(quota, period)) * u128::from(period) / u128::from(SECOND);
            format!("{quota} {period}")
        }
        _ => value.to_owned(),
    }
}

/// A list as `0-3,7` as a bit for each number, the lowest first.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel has.
    const MOST: usize = 1 << 16;
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0_u8);
        }
        for number in first..=last {
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_slice_and_a_scope() {
        let unit = |path: &str| Unit::of(Path::new(path)).map(|unit| unit.name);
        assert_eq!(unit("machine.slice:libpod:1").expect("a unit"), "libpod-1.scope");
        assert_eq!(unit("machine.slice::1").expect("a unit"), "1.scope");
        for wrong in ["/a/b", "a:b", "a:b:c:d", "", "::pod.slice"] {
            assert!(unit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_slice_is_in_those_that_its_name_begins_with() {
        let end = |path: &str| {
            let place = Unit::of(Path::new(path)).expect("a unit").place();
            place
                .to_str()
                .expect("a path")
                .rsplit_once("service")
                .map_or(place.clone(), |(_, end)| end.into())
        };
        assert_eq!(end("a-b-c.slice:x:1"), Path::new("/a.slice/a-b.slice/a-b-c.slice/x-1.scope"));
        assert_eq!(end("machine.slice:x:1"), Path::new("/machine.slice/x-1.scope"));
        assert_eq!(end("-.slice:x:1"), Path::new("/x-1.scope"));
    }

    #[test]
    fn annotations_become_properties() {
        let given = [
            ("RuntimeMaxSec", "2", Value::Number(2_000_000)),
            ("TimeoutStopUSec", "uint64 123", Value::Number(123)),
            ("CollectMode", "'inactive-or-failed'", Value::Text("inactive-or-failed".to_owned())),
            ("SendSIGHUP", "true", Value::Flag(true)),
            (
                "After",
                "['a.service', \"b.service\"]",
                Value::Texts(vec!["a.service".into(), "b.service".into()]),
            ),
        ];
        for (name, text, expected) in given {
            assert_eq!(property(name, text).expect(name).1, expected);
        }
        for (name, text) in [("X", "1"), ("A b", "1"), ("Name", "a'b"), ("StopSec", "'x'"), ("StopSec", "-1")]
        {
            assert!(property(name, text).is_err(), "{name} {text}");
        }
    }

    #[test]
    fn files_become_properties() {
        let one = |file: &str, value: &str| {
            properties(file, value).into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(one("memory.max", "max"), [Value::Number(u64::MAX)]);
        assert_eq!(one("pids.max", " 7\n"), [Value::Number(7)]);
        assert_eq!(one("memory.limit_in_bytes", "-1"), [Value::Number(u64::MAX)]);
        assert_eq!(one("cpuset.cpus", "0-1,9"), [Value::Bytes(vec![3, 2])]);
        assert_eq!(one("cpu.max", "500000 900000"), [Value::Number(900_000), Value::Number(560_000)]);
        assert_eq!(one("cpu.max", "max 900000"), [Value::Number(900_000), Value::Number(u64::MAX)]);
        for (file, value) in [
            ("cpuset.cpus", "3-1"),
            ("cpuset.cpus", "0-99999999"),
            ("pids.max", "x"),
            ("hugetlb.2MB.max", "1"),
        ] {
            assert_eq!(properties(file, value), []);
        }
    }

    #[test]
    fn quotas_are_whole_percents() {
        assert_eq!(rounded("500000 900000"), "504000 900000");
        assert_eq!(rounded("max 900000"), "max 900000");
        assert_eq!(rounded("20000 100000"), "20000 100000");
    }
}
