//! Which devices a unit may use, where there is version 1: see systemd.resource-control(5), "DeviceAllow=". In version 2 a filter of ours stands beside systemd's.

use std::fs;

use super::{Property, Value};
use crate::cgroup::{Permitted, Rules};
use crate::error::{Context, ErrorKind, Result};

/// The properties that say what a container's rules say. Where all devices are permitted but for some, systemd can only be told all.
///
/// # Errors
///
/// [`ErrorKind::System`] when `/proc/devices` cannot be read, where systemd's names of devices come from.
pub(crate) fn devices(rules: &Rules) -> Result<Vec<Property>> {
    let text = |name: &str, value: &str| (name.to_owned(), Value::Text(value.to_owned()));
    let Some(permitted) = rules.permitted() else {
        tracing::debug!("systemd knows no devices that are forbidden while others are permitted");
        return Ok(vec![text("DevicePolicy", "auto")]);
    };
    let path = "/proc/devices";
    let known = fs::read_to_string(path).context(ErrorKind::System, || format!("{path}: cannot be read"))?;
    let pairs = permitted.into_iter().filter_map(|device| Some((name(&device, &known)?, device.access)));
    Ok(vec![text("DevicePolicy", "strict"), ("DeviceAllow".to_owned(), Value::Pairs(pairs.collect()))])
}

/// systemd's name for them, `known` being what `/proc/devices` says; `None` for what it has no name for: devices of a driver that is not there, and those of one minor
/// number whatever their driver.
fn name(device: &Permitted, known: &str) -> Option<String> {
    let (kind, heading) =
        if device.block { ("block", "Block devices:") } else { ("char", "Character devices:") };
    match (device.major, device.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => {
            let listed = known.lines().skip_while(|line| *line != heading).skip(1);
            let mut named =
                listed.take_while(|line| !line.is_empty()).filter_map(|line| line.trim().split_once(' '));
            let (_, driver) = named.find(|(number, _)| number.parse() == Ok(major))?;
            Some(format!("{kind}-{driver}"))
        }
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        let known = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  1 ramdisk\n259 blkext\n";
        let of =
            |block, major, minor| name(&Permitted { block, major, minor, access: "r".to_owned() }, known);
        assert_eq!(of(false, Some(1), Some(3)).as_deref(), Some("/dev/char/1:3"));
        assert_eq!(of(true, Some(1), Some(3)).as_deref(), Some("/dev/block/1:3"));
        assert_eq!(of(false, Some(136), None).as_deref(), Some("char-pts"));
        assert_eq!(of(true, Some(1), None).as_deref(), Some("block-ramdisk"));
        assert_eq!(of(true, Some(136), None), None);
        assert_eq!(of(true, None, None).as_deref(), Some("block-*"));
        assert_eq!(of(false, None, Some(3)), None);
    }
}
