//! Which devices the processes of a container may open and make.
//!
//! The rules are those of the specification, in their order, and then the standard devices, which nobody can forbid, as under runc.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

pub(super) const MAKE: i32 = 1;
pub(super) const READ: i32 = 2;
pub(super) const WRITE: i32 = 4;

pub(super) const BLOCK: i32 = 1;
pub(super) const CHARACTER: i32 = 2;

/// Type, major, minor: what every container may use. Of all others it may make nodes.
const STANDARD: [(i32, i32, Option<i32>); 9] = [
    (CHARACTER, 1, Some(3)),
    (CHARACTER, 1, Some(5)),
    (CHARACTER, 1, Some(7)),
    (CHARACTER, 1, Some(8)),
    (CHARACTER, 1, Some(9)),
    (CHARACTER, 5, Some(0)),
    (CHARACTER, 5, Some(2)),
    (CHARACTER, 10, Some(200)),
    (CHARACTER, 136, None),
];

/// A rule for one type of devices, whose numbers may be left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) kind: i32,
    pub(super) major: Option<i32>,
    pub(super) minor: Option<i32>,
    pub(super) access: i32,
}

/// All rules of a container.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What becomes of that which no rule fits.
    pub(super) allow: bool,
    pub(super) rules: Vec<Rule>,
}

/// Devices that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permitted {
    pub(crate) block: bool,
    /// Any where there is none.
    pub(crate) major: Option<i32>,
    /// Any where there is none.
    pub(crate) minor: Option<i32>,
    /// Some of `rwm`.
    pub(crate) access: String,
}

impl Rules {
    pub(crate) fn of(given: &[LinuxDeviceCgroup]) -> Self {
        let mut all = Self { allow: false, rules: Vec::new() };
        for rule in given {
            all.add(rule);
        }
        let node = |kind| Rule { allow: true, kind, major: None, minor: None, access: MAKE };
        all.rules.extend([node(CHARACTER), node(BLOCK)]);
        all.rules.extend(STANDARD.map(|(kind, major, minor)| Rule {
            allow: true,
            kind,
            major: Some(major),
            minor,
            access: MAKE | READ | WRITE,
        }));
        all
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) {
        let kind = match rule.typ().unwrap_or_default() {
            // One for all devices: what was said before counts no more, nor what else it says.
            LinuxDeviceType::A => {
                self.allow = rule.allow();
                self.rules.clear();
                return;
            }
            LinuxDeviceType::B => BLOCK,
            LinuxDeviceType::C | LinuxDeviceType::U => CHARACTER,
            LinuxDeviceType::P => return,
        };
        let letter = |letter| match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MAKE,
            _ => 0,
        };
        let access =
            rule.access().as_deref().unwrap_or_default().chars().map(letter).fold(0, |all, one| all | one);
        // As in runc a negative number is any, as is none.
        let number = |given: Option<i64>| {
            given.and_then(|given| i32::try_from(given).ok()).filter(|number| *number >= 0)
        };
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        self.rules.push(Rule { allow: rule.allow(), kind, major, minor, access });
    }

    /// What version 1 makes of them: there a rule changes what was said of the very same devices, and nothing of others. `None` where all are permitted but for some.
    pub(crate) fn permitted(&self) -> Option<Vec<Permitted>> {
        if self.allow {
            return None;
        }
        let mut all = BTreeMap::new();
        for rule in &self.rules {
            let access = all.entry((rule.kind, rule.major, rule.minor)).or_insert(0);
            *access = if rule.allow { *access | rule.access } else { *access & !rule.access };
        }
        let letters = |access| {
            let letters = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')];
            letters.into_iter().filter(|(one, _)| access & one != 0).map(|(_, letter)| letter).collect()
        };
        let used = all.into_iter().filter(|(_, access)| *access != 0);
        let permitted = used.map(|((kind, major, minor), access)| Permitted {
            block: kind == BLOCK,
            major,
            minor,
            access: letters(access),
        });
        Some(permitted.collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn in_version_1_a_rule_is_of_its_own_devices_only() {
        let permitted = |given: serde_json::Value| {
            let given: Vec<LinuxDeviceCgroup> = serde_json::from_value(given).expect("rules");
            Rules::of(&given).permitted()
        };
        let some = permitted(json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "b", "major": 8, "minor": 0, "access": "rw" },
            { "allow": true, "type": "c", "major": 10, "access": "rw" },
            { "allow": false, "type": "c", "major": 10, "minor": 229, "access": "w" },
            { "allow": false, "type": "b", "major": 8, "minor": 0, "access": "w" },
            { "allow": true, "type": "c", "major": 7, "minor": 1, "access": "r" },
            { "allow": false, "type": "c", "major": 7, "minor": 1, "access": "rw" },
        ]));
        let some = some.expect("not all");
        let device = |block, major: i32, minor: Option<i32>, access: &str| Permitted {
            block,
            major: Some(major),
            minor,
            access: access.to_owned(),
        };
        assert!(some.contains(&device(true, 8, Some(0), "r")));
        assert!(some.contains(&device(false, 10, None, "rw")));
        assert!(!some.iter().any(|one| one.major == Some(7) || one.minor == Some(229)), "{some:?}");
        // Beside those are the standard ones, and nodes of all.
        assert!(some.contains(&device(false, 1, Some(3), "rwm")));
        assert_eq!(some.len(), 2 + STANDARD.len() + 2);
        assert_eq!(permitted(json!([{ "allow": true, "type": "a" }])), None);
    }
}
