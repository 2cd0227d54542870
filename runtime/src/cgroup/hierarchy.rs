//! Where the hierarchies of cgroups are mounted on this host, and where this process is in them: cgroups(7), proc_pid_mountinfo(5).

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Context, ErrorKind, Result};

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
        let hierarchies = Hierarchy::all(&read("/proc/self/mountinfo")?);
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

/// One line of `/proc/self/mountinfo` that mounts a hierarchy.
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
        for hierarchy in mountinfo.lines().filter_map(Self::parse) {
            if !all.iter().any(|other| other.controllers == hierarchy.controllers) {
                all.push(hierarchy);
            }
        }
        all
    }

    /// See proc_pid_mountinfo(5): `id parent dev root mount options [fields] - type source super-options`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let version2 = match right.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let mut left = left.split(' ').skip(3);
        let (root, mount) = (left.next()?, left.next()?);
        let options = right.nth(1).unwrap_or_default();
        let controllers = options.split(',').filter(|option| !["rw", "ro"].contains(option));
        let controllers = if version2 { Vec::new() } else { controllers.map(str::to_owned).collect() };
        Some(Self { mount: unescape(mount), root: unescape(root), controllers })
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

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let replaced = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    PathBuf::from(replaced.replace("\\134", "\\"))
}
