//! A process that is there already enters the cgroup of a container that is to be.

use std::fs;
use std::path::Path;

use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use nix::unistd::Pid;

use super::beside::Beside;
use super::hierarchy::{is_version2, read};
use super::prepared::{Prepared, Wanted};
use crate::error::{Context, Error, ErrorKind, Result};

/// Makes a container's cgroup, moves a process to it, and sets its limits: what libcontainer does for a process that it makes itself.
///
/// # Errors
///
/// [`ErrorKind::Container`] when the kernel, or systemd, refuses.
pub(crate) fn enter(wanted: Wanted<'_>, pid: i32) -> Result<()> {
    let prepared = Prepared::around(wanted, Some(pid))?;
    if !is_version2() {
        let path = prepared.as_ref().and_then(Prepared::path).unwrap_or(wanted.path);
        enter_version1(Wanted { path, ..wanted }, pid)?;
    } else if let Some(prepared) = prepared.as_ref().filter(|_| !wanted.systemd) {
        prepared.cgroup().folders.iter().try_for_each(|folder| take_in(folder, pid))?;
    }
    if let Some(prepared) = prepared {
        prepared.keep();
    }
    Ok(())
}

/// Moves a process that has begun elsewhere.
///
/// # Errors
///
/// [`ErrorKind::Container`] when the kernel refuses it.
pub(super) fn take_in(folder: &Path, pid: i32) -> Result<()> {
    let file = folder.join("cgroup.procs");
    fs::write(&file, pid.to_string())
        .context(ErrorKind::Container, || format!("{}: cannot be written", file.display()))
}

fn enter_version1(wanted: Wanted<'_>, pid: i32) -> Result<()> {
    let Wanted { path, id, resources, .. } = wanted;
    let cannot = || format!("cgroup {}: cannot be made", path.display());
    let config =
        CgroupConfig { cgroup_path: path.to_owned(), systemd_cgroup: false, container_name: id.to_string() };
    let manager = create_cgroup_manager(config).context(ErrorKind::Container, cannot)?;
    manager.add_task(Pid::from_raw(pid)).context(ErrorKind::Container, cannot)?;
    if let Some(resources) = resources {
        let memory = resources.memory().as_ref();
        let limits = ControllerOpt {
            resources,
            freezer_state: None,
            oom_score_adj: None,
            disable_oom_killer: memory.and_then(|memory| memory.disable_oom_killer()).unwrap_or(false),
        };
        manager.apply(&limits).context(ErrorKind::Container, cannot)?;
    }
    Beside::make(path).map_or(Ok(()), |beside| beside.take_in(pid))
}

/// Where a process is: for each controller, which of version 2 is none, its path. See cgroups(7).
///
/// # Errors
///
/// [`ErrorKind::System`] when there is no such process.
pub(crate) fn places(pid: i32) -> Result<Vec<(String, String)>> {
    let file = format!("/proc/{pid}/cgroup");
    let mut places = Vec::new();
    for line in read(&file)?.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            return Err(Error::new(ErrorKind::System, format!("{file}: {line:?} has another form")));
        };
        places.extend(controllers.split(',').map(|controller| (controller.to_owned(), path.to_owned())));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_place() {
        let places = places(std::process::id().cast_signed()).expect("own cgroups");
        assert!(!places.is_empty() && places.iter().all(|(_, path)| path.starts_with('/')), "{places:?}");
        assert!(super::places(i32::MAX).is_err());
    }
}
