//! What a container's cgroup is where version 2 is all there is, before anything enters it: made, with every controller that there is, limited, and with a
//! filter for devices. libcontainer then has nothing to do but to enter it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Mount, Spec};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::filter::Rules;
use super::hierarchy::{Hierarchy, Host, read};
use super::placeholder::Placeholder;
use super::{Cgroup, check_before, named, not_made};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::systemd::{self, Bus, Unit};
use crate::{trust, update};

/// How long systemd may take to move a process.
const MOVED_WITHIN: Duration = Duration::from_secs(10);

/// What is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a ContainerId,
    /// Absolute, or systemd's SLICE:PREFIX:NAME.
    pub(crate) path: &'a Path,
    /// Whether the configuration says that path.
    pub(crate) named: bool,
    pub(crate) systemd: bool,
    pub(crate) annotations: Option<&'a HashMap<String, String>>,
    pub(crate) resources: Option<&'a LinuxResources>,
    /// Whose it becomes, see [`owner`].
    pub(crate) owner: Option<u32>,
}

impl<'a> Wanted<'a> {
    /// What `spec`, which is carried out, wants of the cgroup at `path`, where `asked` is the configuration as it was given.
    pub(crate) fn new(
        id: &'a ContainerId,
        asked: &Spec,
        spec: &'a Spec,
        path: &'a Path,
        systemd: bool,
    ) -> Self {
        let given = asked.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
        Self {
            id,
            path,
            named: named(given).is_some(),
            systemd,
            annotations: spec.annotations().as_ref(),
            resources: spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()),
            owner: owner(spec),
        }
    }
}

/// Whose a container's cgroup becomes where systemd makes it, as under runc: its user's, when it has a cgroup namespace and may write to the hierarchy.
fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let writable = |mount: &Mount| {
        let read_only = mount.options().iter().flatten().any(|option| option == "ro");
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !read_only
    };
    let mut namespaces = linux.namespaces().iter().flatten();
    let own = namespaces.any(|one| one.typ() == LinuxNamespaceType::Cgroup && one.path().is_none());
    if !own || !spec.mounts().iter().flatten().any(writable) {
        return None;
    }
    let user = spec.process().as_ref()?.user().uid();
    match linux.uid_mappings().as_deref() {
        None | Some([]) => Some(user),
        Some(mappings) => mappings.iter().find_map(|mapping| {
            let offset = user.checked_sub(mapping.container_id())?;
            (offset < mapping.size()).then(|| mapping.host_id().checked_add(offset))?
        }),
    }
}

/// A cgroup that is ready. Dropped before it is kept, it goes.
#[derive(Debug)]
pub(crate) struct Prepared {
    folder: PathBuf,
    /// As seen from the hierarchy's mount point.
    path: PathBuf,
    /// systemd's name for it.
    unit: Option<String>,
    placeholder: Option<Placeholder>,
    fleeting: bool,
}

impl Prepared {
    /// Makes it; `None` where the user may have none, and needs none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Container`] when the kernel, or systemd, refuses.
    pub(crate) fn make(wanted: Wanted<'_>) -> Result<Option<Self>> {
        let placeholder = if wanted.systemd {
            let failed = || "fork: a process for the scope".to_owned();
            Some(Placeholder::new().context(ErrorKind::System, failed)?)
        } else {
            None
        };
        let pid = placeholder.as_ref().map(Placeholder::pid);
        let mut prepared = Self::around(wanted, pid)?;
        if let Some(prepared) = &mut prepared {
            prepared.placeholder = placeholder;
        }
        Ok(prepared)
    }

    /// Makes it with a process in it.
    pub(super) fn enter(wanted: Wanted<'_>, pid: i32) -> Result<Option<String>> {
        let Some(mut prepared) = Self::around(wanted, Some(pid))? else { return Ok(None) };
        if !wanted.systemd {
            let file = prepared.folder.join("cgroup.procs");
            fs::write(&file, pid.to_string())
                .context(ErrorKind::Container, || format!("{}: cannot be written", file.display()))?;
        }
        prepared.fleeting = false;
        Ok(prepared.unit())
    }

    fn around(wanted: Wanted<'_>, pid: Option<i32>) -> Result<Option<Self>> {
        let host = Host::now()?;
        let hierarchy = host.version2();
        let hierarchy =
            hierarchy.ok_or_else(|| Error::new(ErrorKind::Container, "cgroup: none is mounted"))?;
        let mut bus = if wanted.systemd { Some(Bus::connect()?) } else { None };
        let none = HashMap::new();
        let (path, unit) = match (&mut bus, pid) {
            (Some(bus), Some(pid)) => {
                let unit = Unit::of(wanted.path)?;
                check_before(&unit.place())?;
                unit.start(bus, wanted.id, pid, &systemd::annotated(wanted.annotations.unwrap_or(&none))?)?;
                (moved(pid, &unit.name)?, Some(unit.name))
            }
            _ => (wanted.path.to_owned(), None),
        };
        let folder = hierarchy.folder(&host.own, &path).ok_or_else(|| {
            Error::new(ErrorKind::Container, format!("cgroup {}: is not mounted", path.display()))
        })?;
        let fleeting = unit.is_some() || !folder.exists();
        if let Err(error) = make(hierarchy, &folder) {
            return without(wanted, &folder, error).map(|()| None);
        }
        let path = folder.strip_prefix(&hierarchy.mount).unwrap_or(&folder);
        let prepared = Self { path: Path::new("/").join(path), folder, unit, placeholder: None, fleeting };
        let empty = LinuxResources::default();
        let resources = wanted.resources.unwrap_or(&empty);
        let unit = prepared.unit.as_deref().zip(bus.as_mut());
        update::limit(&prepared.folder, resources, unit)?;
        prepared.filter(resources)?;
        if let Some(owner) = wanted.owner.filter(|_| wanted.systemd) {
            prepared.hand_over(owner)?;
        }
        Ok(Some(prepared))
    }

    fn filter(&self, resources: &LinuxResources) -> Result<()> {
        let rules = Rules::of(resources.devices().as_deref().unwrap_or_default());
        let attached = File::open(&self.folder).and_then(|folder| rules.attach(folder.as_fd()));
        match attached {
            // Such a user has no devices of the host's in reach but those that are theirs.
            Err(error) if trust::is_rootless() => {
                tracing::debug!("cgroup {}: no device filter: {error}", self.folder.display());
                Ok(())
            }
            other => other.context(ErrorKind::Container, || {
                format!("cgroup {}: the device filter cannot be attached", self.folder.display())
            }),
        }
    }

    /// Gives it, and of its files those that are to be delegated, to a user.
    fn hand_over(&self, owner: u32) -> Result<()> {
        let listed = fs::read_to_string("/sys/kernel/cgroup/delegate");
        let listed =
            listed.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads".to_owned());
        for name in std::iter::once("").chain(listed.lines()) {
            let path = self.folder.join(name);
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

    /// Where it is, for the state.
    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::of_version2(&self.folder)
    }

    pub(crate) fn unit(&self) -> Option<String> {
        self.unit.clone()
    }

    /// The path by which a process enters it by itself; `None` where it is systemd that has to move it.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        may_enter(&self.folder).then(|| self.path.clone())
    }

    /// The container has come to be.
    pub(crate) fn keep(mut self) {
        self.fleeting = false;
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.placeholder = None;
        if !self.fleeting {
            return;
        }
        if let Err(error) = self.cgroup().remove() {
            tracing::warn!("{error}");
        }
        if let Some(name) = &self.unit {
            Unit::stop(name);
        }
    }
}

/// The path of the cgroup of that name, once systemd has moved the process there.
fn moved(pid: i32, name: &str) -> Result<PathBuf> {
    let began = Instant::now();
    loop {
        let text = read(&format!("/proc/{pid}/cgroup"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::")).map(Path::new);
        if let Some(path) = path.filter(|path| path.ends_with(name)) {
            return Ok(path.to_owned());
        }
        if began.elapsed() > MOVED_WITHIN {
            return Err(Error::new(
                ErrorKind::Container,
                format!("systemd: {name}: pid {pid} is not moved there"),
            ));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a cgroup, and gives every controller to those above it that may have it: one that cannot be had is missed only by who limits it.
fn make(hierarchy: &Hierarchy, folder: &Path) -> io::Result<()> {
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
