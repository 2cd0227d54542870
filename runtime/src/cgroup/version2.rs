//! What a container's cgroup is where version 2 is all there is, before anything enters it: made, with every controller that there is, limited, and with a
//! filter for devices. libcontainer then has nothing to do but to enter it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::devices::Rules;
use super::hierarchy::{Hierarchy, Host};
use super::prepared::{Prepared, Wanted, start};
use super::{Cgroup, not_made};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::systemd::Bus;
use crate::{trust, update};

/// Makes it; `None` where the user may have none, and needs none. Where systemd makes it the process `pid` is in it.
///
/// # Errors
///
/// [`ErrorKind::Container`] when the kernel, or systemd, refuses.
pub(super) fn make(wanted: Wanted<'_>, pid: Option<i32>) -> Result<Option<Prepared>> {
    let host = Host::now()?;
    let hierarchy =
        host.version2().ok_or_else(|| Error::new(ErrorKind::Container, "cgroup: none is mounted"))?;
    let mut bus = if wanted.systemd { Some(Bus::connect()?) } else { None };
    let (unit, path) = match (&mut bus, pid) {
        (Some(bus), Some(pid)) => {
            let (unit, path) = start(wanted, bus, pid, Vec::new(), "")?;
            (Some(unit), path)
        }
        _ => (None, wanted.path.to_owned()),
    };
    let folder = hierarchy.folder(&host.own, &path).ok_or_else(|| {
        Error::new(ErrorKind::Container, format!("cgroup {}: is not mounted", path.display()))
    })?;
    let fleeting = unit.is_some() || !folder.exists();
    if let Err(error) = make_folder(hierarchy, &folder) {
        return without(wanted, &folder, error).map(|()| None);
    }
    let path = Path::new("/").join(folder.strip_prefix(&hierarchy.mount).unwrap_or(&folder));
    let path = may_enter(&folder).then_some(path);
    let prepared = Prepared::new(Cgroup::of_version2(&folder), path, unit, fleeting);
    let empty = LinuxResources::default();
    let resources = wanted.resources.unwrap_or(&empty);
    update::limit(&folder, resources, prepared.unit().zip(bus.as_mut()))?;
    filter(&folder, resources)?;
    if let Some(owner) = wanted.owner.filter(|_| wanted.systemd) {
        hand_over(&folder, owner)?;
    }
    Ok(Some(prepared))
}

fn filter(folder: &Path, resources: &LinuxResources) -> Result<()> {
    let rules = Rules::of(resources.devices().as_deref().unwrap_or_default());
    let attached = File::open(folder).and_then(|folder| rules.attach(folder.as_fd()));
    match attached {
        // Such a user has no devices of the host's in reach but those that are theirs.
        Err(error) if trust::is_rootless() => {
            tracing::debug!("cgroup {}: no device filter: {error}", folder.display());
            Ok(())
        }
        other => other.context(ErrorKind::Container, || {
            format!("cgroup {}: the device filter cannot be attached", folder.display())
        }),
    }
}

/// Gives it, and of its files those that are to be delegated, to a user.
fn hand_over(folder: &Path, owner: u32) -> Result<()> {
    let listed = fs::read_to_string("/sys/kernel/cgroup/delegate");
    let listed = listed.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads".to_owned());
    for name in std::iter::once("").chain(listed.lines()) {
        let path = folder.join(name);
        match chown(&path, Some(owner), None) {
            Err(error) if error.kind() != io::ErrorKind::NotFound || name.is_empty() => {
                return Err(error)
                    .context(ErrorKind::Container, || format!("{}: chown {owner}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a cgroup, and gives every controller to those above it that may have it: one that cannot be had is missed only by who limits it.
fn make_folder(hierarchy: &Hierarchy, folder: &Path) -> io::Result<()> {
    let available = fs::read_to_string(hierarchy.mount.join("cgroup.controllers"))?;
    let mut current = hierarchy.mount.clone();
    let below = folder.strip_prefix(&hierarchy.mount).map_err(io::Error::other)?;
    for component in below.components() {
        let file = current.join("cgroup.subtree_control");
        let there = fs::read_to_string(&file).unwrap_or_default();
        for controller in
            available.split_whitespace().filter(|one| !there.split_whitespace().any(|other| other == *one))
        {
            if let Err(error) = fs::write(&file, format!("+{controller}")) {
                tracing::debug!("{}: +{controller}: {error}", file.display());
            }
        }
        current.push(component);
        match fs::create_dir(&current) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !current.is_dir() => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A user who may make no cgroup has containers without one, unless they ask for it; in runc's words.
fn without(wanted: Wanted<'_>, folder: &Path, error: io::Error) -> Result<()> {
    if !trust::is_rootless() || wanted.named {
        return Err(not_made(folder, error));
    }
    if wanted.resources.is_some_and(update::has_limits) {
        let why = "unable to apply cgroup configuration: rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
        return Err(not_made(folder, error)).context(ErrorKind::Container, || why.to_owned());
    }
    tracing::debug!("no cgroup: mkdir {}: {error}", folder.display());
    Ok(())
}

/// Whether this process may move there by itself (cgroup-v2.rst, "Delegation Containment"): it may write to the list of processes there, and to that of the
/// cgroup that both are below.
pub(crate) fn may_enter(folder: &Path) -> bool {
    let Ok(host) = Host::now() else { return false };
    let Some(own) = host.version2().and_then(|hierarchy| hierarchy.folder(&host.own, Path::new(""))) else {
        return false;
    };
    let common = own.ancestors().find(|above| folder.starts_with(above)).unwrap_or(&own);
    [folder, common]
        .iter()
        .all(|folder| accessat(CWD, folder.join("cgroup.procs"), Access::WRITE_OK, AtFlags::EACCESS).is_ok())
}
