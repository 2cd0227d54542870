//! The binaries under test.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::{Case, Invocation};

/// A runtime binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    path: PathBuf,
}

impl Runtime {
    /// The runtime under test: `RR_RUNTIME`, or the `rr-runtime` that was built together with the tests.
    /// Fails the test when it is not there: a suite without its subject is no pass.
    #[track_caller]
    #[must_use]
    pub fn under_test() -> Self {
        let path = match std::env::var_os("RR_RUNTIME") {
            Some(named) => find(&named),
            None => built().filter(|path| path.is_file()),
        };
        let path = path.expect("no runtime to test: build rr-runtime, or name a binary with RR_RUNTIME");
        Self { path }
    }

    /// The runtime that it is compared with, when there is one.
    #[must_use]
    pub fn peer() -> Option<Self> {
        let named = std::env::var_os("RR_PEER").unwrap_or_else(|| "runc".into());
        Some(Self { path: find(&named)? })
    }

    /// Path of the binary.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// File name of the binary, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether this is rr-runtime: tests of what only it does, or does better, ask.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name().starts_with("rr-runtime")
    }

    /// An invocation of it, without any argument.
    #[must_use]
    pub fn command(&self) -> Invocation {
        Invocation::new(&self.path)
    }
}

/// `target/<triple>/<profile>/deps/<test>` → `target/<triple>/<profile>/rr-runtime`.
fn built() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    Some(test.parent()?.parent()?.join("rr-runtime"))
}

fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return std::fs::canonicalize(name).ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Path of a program of `PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    find(OsStr::new(name))
}

/// Runs a scenario under the peer and under the runtime under test, each on a machine of its own as far as a
/// [`Case`] gives it one, and fails unless both observed the same. Gives what was observed.
///
/// Without a peer the scenario still runs, with its own assertions, and the missing half is announced.
#[track_caller]
pub fn agree<T: PartialEq + Debug>(scenario: impl Fn(&Case) -> T) -> T {
    let ours = Runtime::under_test();
    let observed = {
        let case = Case::new(&ours);
        let observed = scenario(&case);
        case.finish();
        observed
    };
    let Some(peer) = Runtime::peer() else {
        crate::announce_skip("the half that compares with runc: it is not installed");
        return observed;
    };
    let case = Case::new(&peer);
    let expected = scenario(&case);
    case.finish();
    assert!(
        observed == expected,
        "{} differs from {}\n{}: {observed:#?}\n{}: {expected:#?}",
        ours.name(),
        peer.name(),
        ours.name(),
        peer.name()
    );
    observed
}
