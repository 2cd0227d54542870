//! One workload in two forms: the C program of [`crate::guest::tool`] as a Wasm function, and a shell script that
//! has the same verbs. What a manager sees of both has to be the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Bundle, Case};

/// Which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/tool`, a script for busybox.
    Native,
    /// `/tool`, a Wasm module; nothing else is in the rootfs.
    Wasm,
}

/// The verbs that managers' tests use, as the C program has them.
const SCRIPT: &str = r#"#!/bin/sh
verb=$1
shift
case $verb in
exit) exit "$1" ;;
args) echo "[$0]"; echo "[$verb]"; for arg; do echo "[$arg]"; done ;;
env) env ;;
cat) cat "$1" 2>/dev/null ;;
put) (printf %s "$2" >"$1") 2>/dev/null ;;
ls) ls "$1" ;;
stdin) cat ;;
say) echo "$1"; echo "$2" >&2 ;;
tty) for fd in 0 1 2; do [ -t $fd ] && printf 1 || printf 0; done; echo ;;
line) echo ready; read -r line; echo "got $line" ;;
loop) trap 'exit 143' TERM; trap 'exit 130' INT; echo ready; while :; do sleep 0.05; done ;;
*) echo "no such verb: $verb" >&2; exit 99 ;;
esac
"#;

/// A rootfs with the workload at `/tool`, and `/work/here`. Nothing, having said so, when it cannot be made here.
#[must_use]
pub fn rootfs(case: &Case, form: Form) -> Option<Bundle> {
    let bundle = Bundle::empty(case);
    match form {
        Form::Native => {
            bundle.install_busybox();
            bundle.file("tool", SCRIPT);
        }
        Form::Wasm => {
            bundle.file("tool", crate::guest::tool()?);
        }
    }
    let tool = bundle.rootfs().join("tool");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).expect("chmod");
    bundle.file("work/here", "work\n");
    Some(bundle)
}

/// A folder that `podman build` and `docker build` take: `FROM scratch`, the rootfs, and `/tool` as entrypoint.
#[must_use]
pub fn image_context(case: &Case, form: Form) -> Option<Bundle> {
    let bundle = rootfs(case, form)?;
    let text = "FROM scratch\nCOPY rootfs /\nENV A=image\nENTRYPOINT [\"/tool\"]\nCMD [\"say\", \"default\", \"\"]\n";
    fs::write(bundle.dir().join("Containerfile"), text).expect("write");
    Some(bundle)
}

/// What was seen, step by step: compared as a whole, so that a difference shows where it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Steps(Vec<(String, String)>);

impl Steps {
    /// Notes what a step gave.
    pub fn note(&mut self, step: &str, seen: impl std::fmt::Display) {
        self.0.push((step.to_owned(), seen.to_string()));
    }

    /// Fails the test when a step gave something else.
    #[track_caller]
    pub fn expect(&mut self, step: &str, seen: impl std::fmt::Display, expected: &str) {
        let seen = seen.to_string();
        assert_eq!(seen, expected, "{step}; before it: {:#?}", self.0);
        self.note(step, seen);
    }
}

/// Whether a path is a folder without entries.
#[must_use]
pub fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}
