//! What the two stages of a command agree on.
//!
//! A process that enters a container must not show it a binary that it could write to (`runtime::sealed`), so a command that makes one
//! executes the runtime from a sealed place. Whoever does so first has nothing else to do: that is the program of this package, which is
//! installed under the runtime's name. Started by itself, the runtime does it.

#![no_std]

/// The variable that tells the second stage where the binary is installed that it runs from a sealed place.
pub const ORIGIN: &str = "_RR_RUNTIME_ORIGIN";

/// Verbs that have a first stage. Where another one's container has such a name, it has one for nothing.
pub const SEALED: [&str; 4] = ["create", "run", "exec", "restore"];

/// Variables that would change what is loaded into the runtime.
const DROPPED: [&str; 2] = ["LD_", "WASMEDGE_"];

/// Whether a variable, by its name or as `NAME=VALUE`, is passed on to the second stage.
#[must_use]
pub fn is_kept(variable: &[u8]) -> bool {
    let is_origin =
        variable.strip_prefix(ORIGIN.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'=');
    !is_origin && !DROPPED.iter().any(|prefix| variable.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_change_what_is_loaded_are_dropped() {
        for name in
            ["LD_PRELOAD", "LD_LIBRARY_PATH=/x", "WASMEDGE_PLUGIN_PATH", ORIGIN, "_RR_RUNTIME_ORIGIN=/x"]
        {
            assert!(!is_kept(name.as_bytes()), "{name}");
        }
        for name in ["PATH", "LISTEN_FDS=1", "OLD_LD_", "NOTIFY_SOCKET", "_RR_RUNTIME_ORIGINS=", ""] {
            assert!(is_kept(name.as_bytes()), "{name}");
        }
    }
}
