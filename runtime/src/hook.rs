//! Hooks as under runc: they run in the bundle's folder, and those of the host's side have the command's environment where they bring none.
//!
//! Follows the OCI runtime specification, "POSIX-platform Hooks"; of folder and environment it says nothing.

use std::collections::HashMap;
use std::env;
use std::path::Path;

use libcontainer::container::Container;
use libcontainer::hooks::{HookError, run_hooks};
use oci_spec::runtime::{Hook, Hooks};

use crate::error::{Context, ErrorKind, Result};

/// What of the command's environment can be said in a configuration.
fn callers() -> HashMap<String, String> {
    let text = |pair: (std::ffi::OsString, std::ffi::OsString)| {
        pair.0.into_string().ok().zip(pair.1.into_string().ok())
    };
    env::vars_os().filter_map(text).collect()
}

/// Gives the hooks that libcontainer runs on the host's side their environment.
pub(crate) fn complete(hooks: &mut Hooks) {
    let environment: Vec<String> = callers().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let complete = |hooks: &mut Option<Vec<Hook>>| {
        for hook in hooks.iter_mut().flatten().filter(|hook| hook.env().is_none()) {
            hook.set_env(Some(environment.clone()));
        }
    };
    complete(hooks.prestart_mut());
    complete(hooks.create_runtime_mut());
}

/// Does something in the bundle's folder: who is forked there begins there.
///
/// # Errors
///
/// [`ErrorKind::Bundle`] if it cannot be entered.
pub(crate) fn within<T>(bundle: &Path, what: impl FnOnce() -> T) -> Result<T> {
    let before = env::current_dir();
    env::set_current_dir(bundle).context(ErrorKind::Bundle, || format!("chdir {}", bundle.display()))?;
    let done = what();
    // Nobody is at a loss where it is gone.
    let _ = before.map(env::set_current_dir);
    Ok(done)
}

/// Runs hooks of the host's side one after the other.
///
/// # Errors
///
/// The first one's that fails.
pub(crate) fn run(hooks: Option<&Vec<Hook>>, container: &Container) -> std::result::Result<(), HookError> {
    let bundle = container.bundle().as_path();
    run_hooks(
        hooks,
        Some(&container.state),
        Some(bundle).filter(|bundle| bundle.is_dir()),
        None,
        Some(&callers()),
    )
}
