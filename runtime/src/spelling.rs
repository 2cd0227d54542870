//! Keys of `linux.resources` that a configuration writes with other capital letters than the specification: Go's JSON, and so runc, does not tell the
//! two apart, and configurations in the field have them (`CPU`, `pagesize`).

use serde_json::{Map, Value};

/// All keys that have a meaning there.
const KEYS: [&str; 40] = [
    "access",
    "allow",
    "blockIO",
    "burst",
    "checkBeforeUpdate",
    "cpu",
    "cpus",
    "devices",
    "disableOOMKiller",
    "hcaHandles",
    "hcaObjects",
    "hugepageLimits",
    "idle",
    "kernel",
    "kernelTCP",
    "leafWeight",
    "limit",
    "major",
    "memory",
    "mems",
    "minor",
    "network",
    "pageSize",
    "period",
    "pids",
    "quota",
    "rate",
    "rdma",
    "realtimePeriod",
    "realtimeRuntime",
    "reservation",
    "shares",
    "swap",
    "swappiness",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "weight",
    "weightDevice",
];
/// Those whose own keys are names.
const NAMING: [&str; 2] = ["rdma", "unified"];

fn known(key: &[u8]) -> Option<&'static str> {
    KEYS.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(key))
}

/// Whether a document may have such a key; most have none, and need not be read again.
pub(crate) fn is_doubtful(text: &[u8]) -> bool {
    let mut strings = text.split(|byte| *byte == b'"');
    strings.any(|string| string.len() < 32 && known(string).is_some_and(|known| known.as_bytes() != string))
}

/// Renames them, all the way down. Where there are both, what they hold is put together.
pub(crate) fn mend(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(mend),
        Value::Object(all) => mend_keys(all),
        _ => {}
    }
}

fn mend_keys(all: &mut Map<String, Value>) {
    let others: Vec<String> =
        all.keys().filter(|key| known(key.as_bytes()).is_some_and(|known| known != *key)).cloned().collect();
    for other in others {
        let (Some(key), Some(value)) = (known(other.as_bytes()), all.remove(&other)) else { continue };
        match (all.get_mut(key), value) {
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => {
                all.insert(key.to_owned(), value);
            }
        }
    }
    all.iter_mut().filter(|(key, _)| !NAMING.contains(&key.as_str())).for_each(|(_, value)| mend(value));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_found_whatever_their_capital_letters() {
        let mut resources = json!({ "cpu": { "quota": 1 }, "CPU": { "Cpus": "0" }, "hugepageLimits": [{ "pagesize": "2MB", "limit": 1 }],
                                    "unified": { "CPU": "x" }, "Unknown": 1 });
        assert!(is_doubtful(resources.to_string().as_bytes()));
        mend(&mut resources);
        let expected = json!({ "cpu": { "quota": 1, "cpus": "0" }, "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }],
                               "unified": { "CPU": "x" }, "Unknown": 1 });
        assert_eq!(resources, expected);
        assert!(!is_doubtful(br#"{"cpu": {"quota": 1}, "pids": {"limit": 2}}"#));
    }
}
