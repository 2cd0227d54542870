//! `pause` and `resume`: the freezer.

use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::state::{Status, Store};

/// Freezes every process of a running container.
///
/// # Errors
///
/// [`ErrorKind::Status`] in runc's words unless it runs.
pub fn pause(store: &Store, id: &ContainerId) -> Result<()> {
    let state = store.lock(id)?.load()?;
    match state.status_under_lock() {
        Status::Running | Status::Created => state.cgroup.freeze(true),
        _ => Err(Error::new(ErrorKind::Status, "container not running")),
    }
}

/// Thaws every process of a paused container.
///
/// # Errors
///
/// [`ErrorKind::Status`] in runc's words unless it is paused.
pub fn resume(store: &Store, id: &ContainerId) -> Result<()> {
    let state = store.lock(id)?.load()?;
    match state.status_under_lock() {
        Status::Paused => state.cgroup.freeze(false),
        _ => Err(Error::new(ErrorKind::Status, "container not paused")),
    }
}
