//! A container's cgroup that is made before anything of the container is there: always where version 2 is all there is, and where systemd makes it. The others
//! are made by libcontainer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Mount, Spec};

use super::hierarchy::is_version2;
use super::placeholder::Placeholder;
use super::{Cgroup, check_before, named, places, version1, version2};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::systemd::{self, Bus, Property, Unit};
use crate::trust;

/// How long systemd may take to move a process.
const MOVED_WITHIN: Duration = Duration::from_secs(10);

/// What is wanted of a cgroup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a ContainerId,
    /// Absolute, or systemd's SLICE:PREFIX:NAME.
    pub(crate) path: &'a Path,
    /// Whether the configuration says that path.
    pub(crate) named: bool,
    /// Whether systemd makes it.
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
            systemd: systemd && systemd_makes(),
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

/// Whether systemd makes cgroups for this user: where there is version 1 it does for nobody but root.
fn systemd_makes() -> bool {
    is_version2() || !trust::is_rootless()
}

/// The name of the unit that systemd will be asked for, where it is asked: for who is killed while it is made. It is nobody else's.
///
/// # Errors
///
/// [`ErrorKind::Bundle`] when the path has another form than systemd's, [`ErrorKind::Container`] when a container is there.
pub(crate) fn unit_to_be(path: &Path, systemd: bool) -> Result<Option<String>> {
    if !systemd || !systemd_makes() {
        return Ok(None);
    }
    let unit = Unit::of(path)?;
    check_before(&unit.place())?;
    Ok(Some(unit.name))
}

/// A cgroup that is ready. Dropped before it is kept, it goes.
#[derive(Debug)]
pub(crate) struct Prepared {
    cgroup: Cgroup,
    /// As seen from the mount points of its hierarchies; `None` where a process does not enter it by itself, but has to be moved by systemd.
    path: Option<PathBuf>,
    /// systemd's name for it.
    unit: Option<String>,
    placeholder: Option<Placeholder>,
    fleeting: bool,
}

impl Prepared {
    pub(super) fn new(cgroup: Cgroup, path: Option<PathBuf>, unit: Option<String>, fleeting: bool) -> Self {
        Self { cgroup, path, unit, placeholder: None, fleeting }
    }

    /// Makes it; `None` where that is left to libcontainer, and where the user may have none, and needs none.
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

    /// Makes it; where systemd does, with that process in it.
    pub(super) fn around(wanted: Wanted<'_>, pid: Option<i32>) -> Result<Option<Self>> {
        match pid.filter(|_| wanted.systemd) {
            pid if is_version2() => version2::make(wanted, pid),
            Some(pid) => version1::make(wanted, pid).map(Some),
            None => Ok(None),
        }
    }

    /// Where it is, for the state.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    pub(crate) fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The path by which a process enters it by itself; `None` where it is systemd that has to move it.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
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
        if let Err(error) = self.cgroup.remove() {
            tracing::warn!("{error}");
        }
        if let Some(name) = &self.unit {
            Unit::stop(name);
        }
    }
}

/// Has systemd start a container's unit with a process in it, and with these properties beside those that its annotations name. Gives the unit's name, and the path
/// of its cgroup in the hierarchy by which systemd knows whose a process is: what /proc/PID/cgroup calls that, see cgroups(7).
pub(super) fn start(
    wanted: Wanted<'_>,
    bus: &mut Bus,
    pid: i32,
    mut properties: Vec<Property>,
    hierarchy: &str,
) -> Result<(String, PathBuf)> {
    let unit = Unit::of(wanted.path)?;
    if let Some(annotations) = wanted.annotations {
        properties.extend(systemd::annotated(annotations)?);
    }
    unit.start(bus, wanted.id, pid, &properties)?;
    let began = Instant::now();
    loop {
        let place = places(pid)?.into_iter().find(|(name, _)| name == hierarchy);
        if let Some((_, path)) = place.filter(|(_, path)| Path::new(path).ends_with(&unit.name)) {
            return Ok((unit.name, path.into()));
        }
        if began.elapsed() > MOVED_WITHIN {
            return Err(Error::new(
                ErrorKind::Container,
                format!("systemd: {}: pid {pid} is not moved there", unit.name),
            ));
        }
        thread::sleep(Duration::from_millis(1));
    }
}
