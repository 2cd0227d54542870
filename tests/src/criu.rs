//! criu(8), by which runtimes make checkpoints.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::command::bare_output;
use crate::{Invocation, cache};

/// A criu that works on this kernel.
#[derive(Clone, Copy, Debug)]
pub struct Criu {
    /// With which it is found before any other.
    path: &'static OsString,
}

impl Criu {
    /// That of `scripts/setup-criu`, or the one that is installed. Nothing, having said so, when neither works.
    #[must_use]
    pub fn find() -> Option<Self> {
        static PATH: OnceLock<Result<OsString, String>> = OnceLock::new();
        match PATH.get_or_init(look) {
            Ok(path) => Some(Self { path }),
            Err(why) => {
                crate::announce_skip(why);
                None
            }
        }
    }

    /// A runtime that finds it.
    #[must_use]
    pub fn with(self, invocation: Invocation) -> Invocation {
        invocation.env("PATH", self.path)
    }

    /// criu itself.
    #[must_use]
    pub fn command(self) -> Invocation {
        // Found by the shell, as only the child has that PATH.
        self.with(Invocation::new("/bin/sh").args(["-c", "exec criu \"$@\"", "sh"]))
    }
}

fn look() -> Result<OsString, String> {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = set_up().into_iter().chain(std::env::split_paths(&before));
    let path = std::env::join_paths(folders).map_err(|error| error.to_string())?;
    let mut check = std::process::Command::new("/bin/sh");
    let output = bare_output(check.args(["-c", "exec criu check 2>&1"]).env("PATH", &path));
    let output = output.map_err(|error| format!("criu check: {error}"))?;
    if output.status.success() {
        return Ok(path);
    }
    Err(format!("no criu works here: {}", String::from_utf8_lossy(&output.stdout).trim()))
}

/// Where `scripts/setup-criu` puts it.
fn set_up() -> Option<PathBuf> {
    cache().map(|cache| cache.join("criu/bin")).filter(|folder| folder.is_dir())
}
