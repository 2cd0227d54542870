//! What the two stages of a command agree on, and which program the second is.
//!
//! A process that enters a container must not show it a binary that it could write to (`runtime::sealed`), so a command that makes one
//! executes the runtime from a sealed place. Whoever does so first has nothing else to do: that is the program of this package, which is
//! installed under the runtime's name. Started by itself, the runtime does it.

#![no_std]

/// The variable that tells the second stage where the binary is installed that it runs from a sealed place.
pub const ORIGIN: &str = "_RR_RUNTIME_ORIGIN";

/// Verbs that have a first stage. Where another one's container has such a name, it has one for nothing.
pub const SEALED: [&str; 4] = ["create", "run", "exec", "restore"];

/// The program that can do everything.
pub const WHOLE: &str = "rr-runtime";

/// The one that is linked statically and cannot load the engine. It lies beside the other, where it could be built.
pub const NATIVE: &str = "rr-runtime-native";

/// Verbs that need the engine where they make a function, which the bundle says.
const BY_BUNDLE: [&str; 2] = ["create", "run"];

/// Verbs that hardly ever need it: for an `exec` that does [`NATIVE`] executes [`WHOLE`].
const WITHOUT_ENGINE: [&str; 16] = [
    "checkpoint",
    "delete",
    "events",
    "exec",
    "features",
    "help",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "spec",
    "start",
    "state",
    "update",
];

/// Verbs that runc has not: they need it, or look up names of hosts, for which a C library loads others.
pub const OWN: [&str; 7] =
    ["cache", "check", "compile", "compiler-background", "compiler-child", "hose", "invoke"];

/// The program that a command line is for, as far as that can be told of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// [`NATIVE`].
    Native,
    /// [`NATIVE`], unless the bundle's configuration [speaks of functions](speaks_of_functions).
    ByBundle,
    /// [`WHOLE`].
    Whole,
}

/// Decides by the first word that is a verb. A value that has the name of one makes it a wrong guess, which costs memory or time and nothing else.
#[must_use]
pub fn choose<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Choice {
    let is_one_of = |verbs: &[&str], word: &[u8]| verbs.iter().any(|verb| word == verb.as_bytes());
    let choice = words.find_map(|word| {
        if is_one_of(&BY_BUNDLE, word) {
            Some(Choice::ByBundle)
        } else if is_one_of(&WITHOUT_ENGINE, word) {
            Some(Choice::Native)
        } else {
            is_one_of(&OWN, word).then_some(Choice::Whole)
        }
    });
    choice.unwrap_or(Choice::Whole)
}

/// The bundle's folder that a command line names.
#[must_use]
pub fn bundle<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    let mut folder: &[u8] = b".";
    while let Some(word) = words.next() {
        let after = |option: &str| word.strip_prefix(option.as_bytes());
        if let Some(rest) = after("--bundle").or_else(|| after("-bundle")).or_else(|| after("-b")) {
            folder = match rest {
                [] => words.next().unwrap_or(folder),
                [b'=', value @ ..] | value => value,
            };
        }
    }
    folder
}

/// Whether a piece of a bundle's configuration has words that those of functions have. Where one has none, [`NATIVE`] finds out.
#[must_use]
pub fn speaks_of_functions(piece: &[u8]) -> bool {
    piece.windows(WORD).any(|window| window == b"wasm")
}

/// What [`speaks_of_functions`] looks for is so long.
pub const WORD: usize = 4;

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

    fn chosen(line: &str) -> Choice {
        choose(line.split(' ').map(str::as_bytes))
    }

    fn named(line: &str) -> &str {
        core::str::from_utf8(bundle(line.split(' ').map(str::as_bytes))).expect("text")
    }

    #[test]
    fn the_first_verb_tells_which_program_a_command_is_for() {
        assert_eq!(chosen("rr-runtime --root /r state create"), Choice::Native);
        assert_eq!(chosen("rr-runtime exec a hose"), Choice::Native);
        assert_eq!(chosen("rr-runtime --debug create state"), Choice::ByBundle);
        assert_eq!(chosen("rr-runtime invoke a --data list"), Choice::Whole);
        assert_eq!(chosen("rr-runtime --version"), Choice::Whole);
    }

    #[test]
    fn a_bundle_is_named_in_each_way_that_an_option_has() {
        for line in ["run -b /b a", "run -b/b a", "run -b=/b a", "run --bundle /b a", "run a --bundle=/b"] {
            assert_eq!(named(line), "/b", "{line}");
        }
        assert_eq!(named("run -bundle /b a"), "/b");
        assert_eq!(named("run a"), ".");
        assert_eq!(named("run a -b"), ".");
    }

    #[test]
    fn a_configuration_speaks_of_functions_by_name() {
        assert!(speaks_of_functions(br#"{"module.wasm.image/variant":"compat"}"#));
        assert!(speaks_of_functions(b"wasm"));
        assert!(!speaks_of_functions(b"was m"));
        assert!(!speaks_of_functions(b""));
    }

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
