//! What a test left on the machine.
//!
//! A case puts its name into everything that it makes: ids, cgroup paths, folders, hose names, and a variable
//! in the environment of every program. Whatever bears that name after the case, and is still there after a
//! few seconds of grace, was left behind. Things of other tests, and of whoever else works on the machine,
//! bear other names and are not looked at; System V IPC objects, which have no names, are compared with what
//! was there before.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{poll, reap_orphans};
use crate::proc;

/// Variable that marks a case's programs and whatever they start.
pub const MARK: &str = "RR_TEST_CASE";

/// How long things may take to vanish: processes that were just killed, a cgroup that is busy for a moment.
const GRACE: Duration = Duration::from_secs(5);

/// A watch over everything that bears one case's name.
pub struct Leftovers {
    /// Ends in `-`, so that no name is a prefix of another's.
    name: String,
    /// Ids that a manager gave.
    others: RefCell<Vec<String>>,
    root: PathBuf,
    ipc: BTreeSet<String>,
}

impl Leftovers {
    /// Starts to watch. `root` is the case's folder of container states.
    #[must_use]
    pub fn watch(name: &str, root: &Path) -> Self {
        assert!(name.ends_with('-'), "a case's name ends in '-': {name}");
        Self { name: name.to_owned(), others: RefCell::default(), root: root.to_owned(), ipc: ipc_objects() }
    }

    /// Watches another name too: an id that a manager gave, long enough to be nobody else's.
    pub fn also(&self, name: &str) {
        assert!(name.len() >= 16, "too short to be unique: {name}");
        self.others.borrow_mut().push(name.to_owned());
    }

    fn bears(&self, text: &str) -> bool {
        text.contains(&self.name) || self.others.borrow().iter().any(|name| text.contains(name))
    }

    /// Fails the test when something is left, naming it.
    #[track_caller]
    pub fn check(&self) {
        self.check_all_but(|_| false);
    }

    /// As [`Leftovers::check`], but for mounts.
    #[track_caller]
    pub fn check_but_mounts(&self) {
        self.check_all_but(|thing| thing.starts_with("mount "));
    }

    #[track_caller]
    fn check_all_but(&self, excused: impl Fn(&String) -> bool) {
        let mut left = Vec::new();
        let clean = poll(GRACE, || {
            left = self.found();
            left.retain(|thing| !excused(thing));
            left.is_empty().then_some(())
        });
        assert!(clean.is_some(), "left behind by {}*:\n  {}", self.name, left.join("\n  "));
    }

    /// Everything that is left right now, one line each.
    #[must_use]
    pub fn found(&self) -> Vec<String> {
        reap_orphans();
        let mut found = Vec::new();
        found.extend(self.states());
        found.extend(self.cgroups().into_iter().map(|path| format!("cgroup {}", path.display())));
        found.extend(self.processes().into_iter().map(|pid| format!("process {}", proc::describe(pid))));
        found.extend(self.mounts().into_iter().map(|line| format!("mount {line}")));
        found.extend(self.run_entries().into_iter().map(|path| format!("entry {}", path.display())));
        found.extend(self.sockets());
        found.extend(ipc_objects().difference(&self.ipc).map(|object| format!("ipc {object}")));
        found
    }

    fn states(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.flatten().map(|entry| format!("state {}", entry.path().display())).collect()
    }

    /// Cgroups with the case's name in their path, children before parents.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.named_folders(Path::new("/sys/fs/cgroup"), false, &mut found);
        found
    }

    fn named_folders(&self, dir: &Path, inside: bool, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let named = inside || self.bears(&entry.file_name().to_string_lossy());
            self.named_folders(&entry.path(), named, found);
            if named {
                found.push(entry.path());
            }
        }
    }

    /// Processes that bear the name in their arguments, environment or cgroup.
    fn processes(&self) -> Vec<u32> {
        let this = std::process::id();
        proc::all().into_iter().filter(|&pid| pid != this && proc::alive(pid) && self.owns(pid)).collect()
    }

    fn owns(&self, pid: u32) -> bool {
        let named = |text: &String| self.bears(text);
        proc::cmdline(pid).iter().any(named)
            || proc::environ(pid).iter().any(named)
            || fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| named(&text))
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo is readable");
        table.lines().filter(|line| self.bears(line)).map(ToOwned::to_owned).collect()
    }

    /// Files and folders below `/run` with the name in their own, or, below `/run/rr-runtime`, in their text.
    fn run_entries(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.walk_run(Path::new("/run"), &mut found);
        found
    }

    fn walk_run(&self, dir: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            let ours = path.starts_with("/run/rr-runtime") && kind.is_file();
            if self.bears(&entry.file_name().to_string_lossy())
                || ours && fs::read(&path).is_ok_and(|text| self.bears(&String::from_utf8_lossy(&text)))
            {
                found.push(path);
            } else if kind.is_dir() {
                self.walk_run(&path, found);
            }
        }
    }

    /// Unix sockets that are bound to a path or an abstract name with the case's name in it.
    fn sockets(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        table.lines().filter(|line| self.bears(line)).map(|line| format!("socket {line}")).collect()
    }

    /// Ends and removes what is left, after a failed test. By pid and by path, and only what bears the name.
    pub fn clean(&self) {
        for pid in self.processes() {
            if let Some(id) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
        for line in self.mounts().iter().rev() {
            if let Some(target) = line.split(' ').nth(4) {
                let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
            }
        }
        self.remove_cgroups();
        for path in self.run_entries() {
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }

    /// Removes the cgroups that bear the name.
    pub fn remove_cgroups(&self) {
        let _ = poll(GRACE, || {
            reap_orphans();
            self.thaw();
            let left = self.cgroups();
            left.iter().for_each(|path| drop(fs::remove_dir(path)));
            left.is_empty().then_some(())
        });
    }

    /// A killed process of a frozen cgroup does not die before it is thawed.
    fn thaw(&self) {
        for path in self.cgroups() {
            let _ = fs::write(path.join("freezer.state"), "THAWED");
            let _ = fs::write(path.join("cgroup.freeze"), "0");
        }
    }
}

/// Kind, key and id of the System V IPC objects of this IPC namespace.
fn ipc_objects() -> BTreeSet<String> {
    let mut objects = BTreeSet::new();
    for kind in ["shm", "sem", "msg"] {
        let table = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().take(2).collect();
            objects.insert(format!("{kind} {}", fields.join(" ")));
        }
    }
    objects
}
