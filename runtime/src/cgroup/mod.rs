//! A container's folders in the cgroup hierarchies: which they are, who is in them, freezing, removing.
//!
//! libcontainer makes them and sets the limits. What is done with them later needs no manager, only their paths, which are
//! found once, when init exists, by what the kernel says of it (`/proc/PID/cgroup`, see cgroups(7)), and kept in the state.

mod beside;
mod devices;
mod door;
mod enter;
mod filter;
mod hierarchy;
mod placeholder;
mod prepared;
mod version1;
mod version2;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use hierarchy::{Hierarchy, Host, own_version2, read, within};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::process::{Identity, read_line};

pub(crate) use beside::Beside;
pub(crate) use devices::{Permitted, Rules};
pub(crate) use door::Door;
pub(crate) use enter::{enter, places};
pub(crate) use hierarchy::is_version2;
pub(crate) use prepared::{Prepared, Wanted, unit_to_be};

/// How long a killed process may take to leave its cgroup.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);
/// How long the freezer may take.
const FROZEN_WITHIN: Duration = Duration::from_secs(2);

/// A container's folders in the cgroup hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// All of them, each of which is the container's own.
    folders: BTreeSet<PathBuf>,
    /// The one that freezes.
    freezer: Option<PathBuf>,
}

/// The path that a configuration names: an empty one is none.
pub(crate) fn named(given: Option<&Path>) -> Option<&Path> {
    given.filter(|path| !path.as_os_str().is_empty())
}

/// The path that libcontainer is handed for a container's cgroup.
///
/// As under runc an absolute path starts at a hierarchy's root, a relative one below the caller's own cgroup, and none
/// means the container's name. In version 2 a cgroup with processes in it gives no controllers to those below, so
/// there the caller's parent is taken.
pub(crate) fn path(given: Option<&Path>, id: &ContainerId, systemd: bool) -> PathBuf {
    let given = named(given);
    if systemd {
        return given.map_or_else(|| PathBuf::from(format!(":rr-runtime:{id}")), Path::to_path_buf);
    }
    // None but the caller's own is none, too.
    let root = |path: &Path| Path::new(if path.is_absolute() { "/" } else { "" }).to_owned();
    let given =
        given.map(|given| root(given).join(within(given))).filter(|path| !path.as_os_str().is_empty());
    let relative = given.unwrap_or_else(|| PathBuf::from(id.as_str()));
    if relative.is_absolute() {
        return relative;
    }
    match own_version2() {
        Some(own) => own.parent().unwrap_or(Path::new("/")).join(relative),
        None => relative,
    }
}

/// Checks the cgroup of a container that is to be, where it is there already: what enters a frozen one never gets anywhere, and one that has
/// processes is another container's.
///
/// # Errors
///
/// [`ErrorKind::Container`] in runc's words when it is frozen, or has processes.
pub(crate) fn check_before(path: &Path) -> Result<()> {
    let host = Host::now()?;
    let Some(folder) =
        folder_that_freezes(&host.hierarchies, &host.own, path).filter(|folder| folder.is_dir())
    else {
        return Ok(());
    };
    let cgroup = Cgroup { folders: BTreeSet::from([folder.clone()]), freezer: Some(folder) };
    if cgroup.is_frozen() {
        return Err(Error::new(ErrorKind::Container, "container's cgroup unexpectedly frozen"));
    }
    let count = cgroup.pids()?.len();
    if count > 0 {
        let message = format!("container's cgroup is not empty: {count} process(es) found");
        return Err(Error::new(ErrorKind::Container, message));
    }
    Ok(())
}

/// Checks that the caller may make the cgroup that a configuration names. One that nobody has named is done without where the caller may not make it, as
/// under runc.
///
/// # Errors
///
/// [`ErrorKind::Container`], in runc's words.
pub(crate) fn check_permitted(path: &Path) -> Result<()> {
    let host = Host::now()?;
    // Version 2 beside version 1 limits nothing.
    let limiting = host.hierarchies.iter().filter(|hierarchy| is_version2() || !hierarchy.is(&[]));
    for folder in limiting.filter_map(|hierarchy| hierarchy.folder(&host.own, path)) {
        let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(&folder);
        accessat(CWD, there, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(|errno| not_made(&folder, errno.into()))?;
    }
    Ok(())
}

/// A cgroup that cannot be made, in runc's words and its small letters.
fn not_made(folder: &Path, error: io::Error) -> Error {
    let message = format!("unable to apply cgroup configuration: mkdir {}", folder.display());
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::new(ErrorKind::Container, format!("{message}: permission denied"));
    }
    Error::with_source(ErrorKind::Container, message, error)
}

/// Where a cgroup has its freezer: version 1's, or version 2 where that is all there is. A relative path is below the caller's cgroup.
fn folder_that_freezes(hierarchies: &[Hierarchy], own: &str, path: &Path) -> Option<PathBuf> {
    let hierarchy = hierarchies
        .iter()
        .find(|hierarchy| hierarchy.is(&["freezer"]))
        .or_else(|| hierarchies.iter().find(|hierarchy| hierarchy.is(&[])))?;
    hierarchy.folder(own, path)
}

impl Cgroup {
    /// The folders that a container's init was moved to.
    ///
    /// A hierarchy in which it still is where this process is was not touched, and is not the container's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when `/proc` cannot be read.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let host = Host::now()?;
        Ok(Self::match_up(&host.hierarchies, &host.own, &read(&format!("/proc/{pid}/cgroup"))?))
    }

    /// The folders that a container of that path will have, which are not there yet: for who is killed while they are made.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when `/proc` cannot be read.
    pub(crate) fn planned(path: &Path) -> Result<Self> {
        let host = Host::now()?;
        let mut planned = Self::default();
        for hierarchy in &host.hierarchies {
            let callers = hierarchy.folder(&host.own, Path::new(""));
            let folder = hierarchy.folder(&host.own, path);
            // A hierarchy itself, and what the caller is in, is never a container's own.
            let Some(folder) =
                folder.filter(|folder| *folder != hierarchy.mount && Some(folder) != callers.as_ref())
            else {
                continue;
            };
            if hierarchy.is(&["freezer"]) {
                planned.freezer = Some(folder.clone());
            }
            planned.folders.insert(folder);
        }
        Ok(planned)
    }

    /// Those of its folders that are not there yet.
    pub(crate) fn missing(&self) -> Self {
        let missing = |folder: &&PathBuf| !folder.exists();
        let folders = self.folders.iter().filter(missing).cloned().collect();
        Self { folders, freezer: self.freezer.as_ref().filter(missing).cloned() }
    }

    fn match_up(hierarchies: &[Hierarchy], own: &str, theirs: &str) -> Self {
        let own: BTreeSet<&str> = own.lines().collect();
        let mut cgroup = Self::default();
        let mut version2 = None;
        for line in theirs.lines().filter(|line| !own.contains(line)) {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let names: Vec<&str> = controllers.split(',').filter(|name| !name.is_empty()).collect();
            let Some(hierarchy) = hierarchies.iter().find(|hierarchy| hierarchy.is(&names)) else { continue };
            let Ok(below) = Path::new(path).strip_prefix(&hierarchy.root) else { continue };
            if below.as_os_str().is_empty() {
                continue;
            }
            let folder = hierarchy.mount.join(below);
            if names.contains(&"freezer") {
                cgroup.freezer = Some(folder.clone());
            } else if names.is_empty() && folder.join("cgroup.freeze").exists() {
                version2 = Some(folder.clone());
            }
            cgroup.folders.insert(folder);
        }
        // Where both have one, version 1's is the one that others look at.
        cgroup.freezer = cgroup.freezer.or(version2);
        cgroup
    }

    /// The doors by which a further process joins cgroups below the container's, which are there already: as runc's `--cgroup`, one PATH for all
    /// controllers, or `CONTROLLER[,CONTROLLER]:PATH`s.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] in runc's words where there is no such cgroup or controller, or the path leads out.
    pub(crate) fn doors_below(&self, given: &[String]) -> Result<Vec<Door>> {
        if given.is_empty() {
            return Ok(Vec::new());
        }
        let folders = self.folders_below(&Host::now()?.hierarchies, given)?;
        folders.iter().map(|folder| Door::open(folder).map_err(refused)).collect()
    }

    fn folders_below(&self, hierarchies: &[Hierarchy], given: &[String]) -> Result<BTreeSet<PathBuf>> {
        let mut folders = BTreeSet::new();
        for argument in given {
            let parts: Vec<&str> = argument.split(':').collect();
            match *parts.as_slice() {
                [path] if given.len() == 1 => {
                    let below = below(path)?;
                    folders.extend(self.folders.iter().map(|folder| folder.join(&below)));
                }
                [_] => {
                    let message =
                        format!("invalid --cgroup argument: {argument} (missing <controller>: prefix)");
                    return Err(refused(message));
                }
                [controllers, path] => {
                    let below = below(path)?;
                    for controller in controllers.split(',') {
                        let folder = self.folder_of(hierarchies, controller).ok_or_else(|| {
                            refused(format!("unknown controller {controller} in --cgroup {argument}"))
                        })?;
                        folders.insert(folder.join(&below));
                    }
                }
                _ => return Err(refused(format!("invalid --cgroup argument: {argument}"))),
            }
        }
        Ok(folders)
    }

    /// The container's folder in the hierarchy of a controller; of version 2 by the empty name.
    fn folder_of(&self, hierarchies: &[Hierarchy], controller: &str) -> Option<&PathBuf> {
        let names = [controller];
        let names = if controller.is_empty() { &names[..0] } else { &names[..] };
        let hierarchy = hierarchies.iter().find(|hierarchy| hierarchy.is(names))?;
        self.folders.iter().find(|folder| folder.starts_with(&hierarchy.mount))
    }

    /// A file of one of them, where its controller is there.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.exists())
    }

    /// One where version 2 is all there is.
    fn of_version2(folder: &Path) -> Self {
        Self { folders: BTreeSet::from([folder.to_owned()]), freezer: Some(folder.to_owned()) }
    }

    /// How a further process enters it: by a path, and then through doors. `None` where it is systemd that has to move it, or there is none.
    ///
    /// Once the container has given its controllers to cgroups below, no process may be in its own: then the place of init is taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] when a door cannot be opened.
    pub(crate) fn way_in(&self, init: Identity) -> Result<Option<(PathBuf, Vec<Door>)>> {
        let host = Host::now()?;
        if is_version2() {
            return Ok(self.place(host, init).map(|path| (path, Vec::new())));
        }
        self.way_into_version1(&host.hierarchies)
    }

    /// Where a caller was in one cgroup here and in another there, so is a container below it, and no path is that of all hierarchies.
    fn way_into_version1(&self, hierarchies: &[Hierarchy]) -> Result<Option<(PathBuf, Vec<Door>)>> {
        let version1 = hierarchies.iter().filter(|hierarchy| !hierarchy.is(&[]));
        let folders = version1.filter_map(|hierarchy| {
            let within = |folder: &&PathBuf| folder.starts_with(&hierarchy.mount);
            self.folders.iter().find(within).map(|folder| (folder, folder.strip_prefix(&hierarchy.mount)))
        });
        let folders: Vec<_> = folders.collect();
        let [(_, Ok(first)), rest @ ..] = folders.as_slice() else { return Ok(None) };
        if rest.iter().all(|(_, path)| *path == Ok(*first)) {
            return Ok(Some((Path::new("/").join(first), Vec::new())));
        }
        let doors = folders.iter().map(|(folder, _)| Door::open(folder).map_err(refused));
        Ok(Some((PathBuf::from("/"), doors.collect::<Result<_>>()?)))
    }

    /// Its path where version 2 is all there is, and a process may enter it by itself.
    fn place(&self, host: &Host, init: Identity) -> Option<PathBuf> {
        let folder = self.folders.iter().next()?;
        let hierarchy = host.version2()?;
        let parted = fs::read_to_string(folder.join("cgroup.subtree_control"));
        let folder = if parted.is_ok_and(|controllers| !controllers.trim().is_empty()) {
            let place = places(init.pid).ok()?.into_iter().next()?.1;
            hierarchy.folder(&host.own, Path::new(&place)).filter(|place| place.starts_with(folder))?
        } else {
            folder.clone()
        };
        let path = Path::new("/").join(folder.strip_prefix(&hierarchy.mount).ok()?);
        version2::may_enter(&folder).then_some(path)
    }

    /// One with a single folder.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folders: BTreeSet::from([folder.to_owned()]), freezer: None }
    }

    /// Whether it has no folder: a container that shares its caller's cgroups.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.folders.is_empty()
    }

    /// The folder that freezes, where there is one.
    pub(crate) fn freezer(&self) -> Option<&Path> {
        self.freezer.as_deref()
    }

    /// For each hierarchy of version 1: the name that it is mounted by, and the folder that the container's processes are in.
    pub(crate) fn in_version1(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let host = Host::now()?;
        let mut folders = Vec::new();
        for hierarchy in host.hierarchies.iter().filter(|hierarchy| !hierarchy.is(&[])) {
            let own = self.folders.iter().find(|folder| folder.starts_with(&hierarchy.mount)).cloned();
            // Where it has none it is where its caller was.
            let folder = own.or_else(|| hierarchy.folder(&host.own, Path::new("")));
            folders.extend(hierarchy.mount.file_name().map(PathBuf::from).zip(folder));
        }
        Ok(folders)
    }

    /// Every process in them and below.
    pub(crate) fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = BTreeSet::new();
        // Any hierarchy holds them all; the freezer's is there in both versions.
        for folder in self.freezer.iter().chain(self.folders.iter()).take(1) {
            collect_pids(folder, &mut pids)
                .context(ErrorKind::System, || format!("{}: processes cannot be listed", folder.display()))?;
        }
        Ok(pids.into_iter().collect())
    }

    /// Whether its processes are frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        let Some(freezer) = &self.freezer else { return false };
        let says = |file: &str, words: &[&[u8]]| {
            read_line(freezer.join(file)).map(|line| words.contains(&line.trim_ascii()))
        };
        says("freezer.state", &[b"FROZEN", b"FREEZING"])
            .or_else(|_| says("cgroup.freeze", &[b"1"]))
            .unwrap_or(false)
    }

    /// Freezes or thaws its processes, and waits until they are.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let freezer = self
            .freezer
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Container, "cgroup: this system has no freezer for it"))?;
        let (file, text, done) = if freezer.join("freezer.state").exists() {
            (
                "freezer.state",
                if frozen { "FROZEN" } else { "THAWED" },
                ("freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
            )
        } else {
            (
                "cgroup.freeze",
                if frozen { "1" } else { "0" },
                ("cgroup.events", if frozen { "frozen 1" } else { "frozen 0" }),
            )
        };
        let path = freezer.join(file);
        let started = Instant::now();
        loop {
            // Version 1 may stay FREEZING until it is asked again.
            fs::write(&path, text)
                .context(ErrorKind::Container, || format!("{}: cannot be written", path.display()))?;
            let reached = fs::read_to_string(freezer.join(done.0))
                .is_ok_and(|now| now.lines().any(|line| line.trim() == done.1));
            if reached {
                return Ok(());
            }
            if started.elapsed() > FROZEN_WITHIN {
                if frozen {
                    let _ = fs::write(&path, if file == "freezer.state" { "THAWED" } else { "0" });
                }
                return Err(Error::new(
                    ErrorKind::Container,
                    format!("{}: not {text} in time", path.display()),
                ));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Signals every process in them, and thaws them: a frozen process of version 1 does not even die.
    ///
    /// As runc, frozen meanwhile: what forks could otherwise get ahead of the list. Where there is no freezer, or it takes too
    /// long, the list is all there is.
    pub(crate) fn signal_all(&self, signal: Signal) -> Result<()> {
        let frozen = self.freeze(true);
        let signalled = self.signal_listed(signal);
        if self.freezer.as_ref().is_some_and(|freezer| freezer.exists()) {
            self.freeze(false)?;
        }
        if let Err(error) = frozen {
            tracing::debug!("the container is not frozen while it is signalled: {error}");
        }
        signalled
    }

    fn signal_listed(&self, signal: Signal) -> Result<()> {
        for pid in self.pids()? {
            // The pid was read a moment ago: its identity is what is alive and still listed.
            if let Ok(identity) = Identity::of(pid) {
                identity.signal(signal)?;
            }
        }
        Ok(())
    }

    /// Kills what is left in them and removes them.
    pub(crate) fn remove(&self) -> Result<()> {
        let started = Instant::now();
        for folder in &self.folders {
            let mut pause = Duration::from_micros(200);
            loop {
                match remove_tree(folder) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if started.elapsed() > EMPTY_WITHIN => {
                        return Err(error).context(ErrorKind::Container, || {
                            format!("cgroup {}: cannot be removed", folder.display())
                        });
                    }
                    Err(_) => {
                        if self.is_frozen() {
                            self.freeze(false)?;
                        }
                        // Again and again: what forks meanwhile is listed the next time.
                        self.signal_listed(Signal::KILL)?;
                        thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(50));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A path below a cgroup, without `.` and `..`.
fn below(path: &str) -> Result<PathBuf> {
    let mut below = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::ParentDir if !below.pop() => {
                return Err(refused(format!("{path} is not a sub cgroup path")));
            }
            _ => {}
        }
    }
    Ok(below)
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn collect_pids(folder: &Path, pids: &mut BTreeSet<i32>) -> io::Result<()> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A threaded cgroup of version 2 lists its processes only at its domain.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    for child in children(folder)? {
        collect_pids(&child, pids)?;
    }
    Ok(())
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Removes, right below each hierarchy, the cgroups that are named `prefix` and the pid of a process that is no more. One that has processes stays: the kernel sees to it.
pub(crate) fn sweep(prefix: &str) {
    let Ok(host) = Host::now() else { return };
    let folders =
        host.hierarchies.iter().flat_map(|hierarchy| children(&hierarchy.mount).unwrap_or_default());
    for folder in folders {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let pid = name.strip_prefix(prefix).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir(&folder);
        }
    }
}

/// Only folders can be removed from a cgroup file system, and those from the leaves up.
fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
            for child in children(folder)? {
                remove_tree(&child)?;
            }
            fs::remove_dir(folder)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 /docker/x /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 24 0:29 / /mnt rw - ext4 /dev/sda rw";

    #[test]
    fn only_folders_that_init_was_moved_to_are_the_containers() {
        let hierarchies = Hierarchy::all(MOUNTS);
        assert_eq!(hierarchies.len(), 3);
        let own = "3:freezer:/docker/x\n2:cpu,cpuacct:/\n0::/\n";
        let theirs = "3:freezer:/docker/x/c1\n2:cpu,cpuacct:/c1\n0::/\n";
        let cgroup = Cgroup::match_up(&hierarchies, own, theirs);
        let expected = ["/sys/fs/cgroup/cpu,cpuacct/c1", "/sys/fs/cgroup/freezer/c1"].map(PathBuf::from);
        assert_eq!(cgroup.folders, BTreeSet::from(expected));
        assert_eq!(cgroup.freezer.as_deref(), Some(Path::new("/sys/fs/cgroup/freezer/c1")));
    }

    #[test]
    fn a_hierarchy_that_is_mounted_again_is_where_it_was_first() {
        let again = "40 33 0:27 / /images/.criu.cgyard.x/freezer ro - cgroup cgroup ro,freezer";
        let all = Hierarchy::all(&format!("{MOUNTS}\n{again}"));
        let freezers: Vec<_> = all.iter().filter(|one| one.is(&["freezer"])).map(|one| &one.mount).collect();
        assert_eq!(freezers, [Path::new("/sys/fs/cgroup/freezer")]);
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_cgroup_is_looked_for_where_the_container_will_be() {
        let own = "3:freezer:/docker/x/me\n2:cpu,cpuacct:/\n0::/\n";
        let folder = |path: &str| folder_that_freezes(&Hierarchy::all(MOUNTS), own, Path::new(path));
        assert_eq!(folder("/a/b").as_deref(), Some(Path::new("/sys/fs/cgroup/freezer/a/b")));
        assert_eq!(folder("c1").as_deref(), Some(Path::new("/sys/fs/cgroup/freezer/me/c1")));
        for (outside, inside) in [("/../../etc/x", "etc/x"), ("../../x", "me/x"), ("/a/../..", "")] {
            assert_eq!(folder(outside), Some(Path::new("/sys/fs/cgroup/freezer").join(inside)), "{outside}");
        }
        let version2 = "32 24 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let found = folder_that_freezes(&Hierarchy::all(version2), "0::/me\n", Path::new("/a"));
        assert_eq!(found.as_deref(), Some(Path::new("/sys/fs/cgroup/a")));
    }

    #[test]
    fn a_further_process_enters_by_the_path_that_all_hierarchies_have() {
        let mount = tempfile::tempdir().expect("a folder");
        let mounts = MOUNTS.replace("/sys/fs/cgroup", mount.path().to_str().expect("a path"));
        let hierarchies = Hierarchy::all(&mounts);
        let way = |theirs: &str| {
            let cgroup = Cgroup::match_up(&hierarchies, "", theirs);
            for folder in &cgroup.folders {
                fs::create_dir_all(folder).expect("mkdir");
                fs::write(folder.join("tasks"), "").expect("a file");
            }
            let way = cgroup.way_into_version1(&hierarchies).expect("a way");
            way.map(|(path, doors)| (path, doors.len()))
        };
        let same = "3:freezer:/docker/x/a/c1\n2:cpu,cpuacct:/a/c1\n0::/elsewhere\n";
        assert_eq!(way(same), Some((PathBuf::from("/a/c1"), 0)));
        let scattered = "3:freezer:/docker/x/a/c1\n2:cpu,cpuacct:/b/c1\n0::/elsewhere\n";
        assert_eq!(way(scattered), Some((PathBuf::from("/"), 2)));
        assert_eq!(way("0::/c1\n"), None);
    }

    #[test]
    fn a_hierarchys_own_root_is_never_taken_for_a_containers_folder() {
        let hierarchies = Hierarchy::all(MOUNTS);
        let cgroup = Cgroup::match_up(&hierarchies, "0::/x\n", "0::/\n");
        assert_eq!(cgroup, Cgroup::default());
    }
}
