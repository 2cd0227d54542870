//! Where the hierarchies of cgroups are mounted on this host, and where this process is in them: cgroups(7), proc_pid_mountinfo(5).

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Context, ErrorKind, Result};
use crate::mountinfo::{self, Mount};

/// Whether version 2 is all there is.
pub(crate) fn is_version2() -> bool {
    own_version2().is_some()
}

/// This process's cgroup where version 2 is all there is.
pub(super) fn own_version2() -> Option<PathBuf> {
    let mut lines = Host::now().ok()?.own.lines();
    let path = lines.next()?.strip_prefix("0::")?;
    lines.next().is_none().then(|| PathBuf::from(path))
}

/// The hierarchies of this host, and this process's places in them. Neither changes while one command runs.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) hierarchies: Vec<Hierarchy>,
    /// `/proc/self/cgroup`.
    pub(super) own: String,
}

impl Host {
    pub(super) fn now() -> Result<&'static Self> {
        static HOST: OnceLock<Host> = OnceLock::new();
        if let Some(host) = HOST.get() {
            return Ok(host);
        }
        let hierarchies = Hierarchy::all(&mountinfo::read()?);
        let own = read("/proc/self/cgroup")?;
        Ok(HOST.get_or_init(|| Self { hierarchies, own }))
    }

    /// Version 2's.
    pub(super) fn version2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.is(&[]))
    }
}

pub(super) fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).context(ErrorKind::System, || format!("{path}: cannot be read"))
}

/// Where a hierarchy is mounted.
#[derive(Debug)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    pub(super) root: PathBuf,
    /// Names of version 1's controllers; empty for version 2.
    controllers: Vec<String>,
}

impl Hierarchy {
    /// Those of a whole mountinfo, each where it is mounted first: others may be anybody's, and gone in a moment, as criu's are.
    pub(super) fn all(mountinfo: &str) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for hierarchy in Mount::all(mountinfo).filter_map(|mount| Self::of(&mount)) {
            if !all.iter().any(|other| other.controllers == hierarchy.controllers) {
                all.push(hierarchy);
            }
        }
        all
    }

    /// If it is a mount of one.
    fn of(mount: &Mount<'_>) -> Option<Self> {
        let options = mount.options.split(',').filter(|option| !["rw", "ro"].contains(option));
        let controllers = match mount.kind {
            "cgroup" => options.map(str::to_owned).collect(),
            "cgroup2" => Vec::new(),
            _ => return None,
        };
        Some(Self { mount: mount.point(), root: mount.root(), controllers })
    }

    /// Where a cgroup of that path is. A relative one is below the caller's, which `own` is the list of.
    pub(super) fn folder(&self, own: &str, path: &Path) -> Option<PathBuf> {
        if path.is_absolute() {
            return Some(self.mount.join(within(path)));
        }
        let line = own.lines().find(|line| {
            let names = line.split(':').nth(1).unwrap_or_default();
            self.is(&names.split(',').filter(|name| !name.is_empty()).collect::<Vec<_>>())
        })?;
        let own = Path::new(line.splitn(3, ':').nth(2)?).strip_prefix(&self.root).ok()?;
        Some(self.mount.join(own).join(within(path)))
    }

    pub(super) fn is(&self, controllers: &[&str]) -> bool {
        match controllers {
            [] => self.controllers.is_empty(),
            names => names.iter().all(|name| self.controllers.iter().any(|controller| controller == name)),
        }
    }
}
/// A path whose `..` lead nowhere but to where it begins, as runc and libcgroups read it.
pub(super) fn within(path: &Path) -> PathBuf {
    let mut within = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => within.push(name),
            Component::ParentDir => {
                within.pop();
            }
            _ => {}
        }
    }
    within
}
