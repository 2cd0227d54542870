//! Whether a path can be changed by anybody but root and the user who runs the runtime.
//!
//! What the runtime loads into itself, believes, or keeps code in (the engine's folder, the administrator's file, the cache) is
//! refused unless every component of its path passes: owned by root or by the caller, and not writable by others. A directory
//! that is writable by everybody but sticky (`/tmp`) may lie on the way, because there nobody can rename or replace what
//! belongs to somebody else; it may not be the end.
//!
//! In a user namespace the host's root is not mapped and shows as the overflow id; it is accepted there. Another
//! unmapped user of the host would be too, but cannot have put anything between the components that are checked
//! unless the path leads through a folder of theirs in the first place.
//!
//! Not here: symbolic links. The path is made canonical first, and what is checked is what is used.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;

/// Checks a path, which has to exist, and gives back its canonical form.
///
/// # Errors
///
/// Of the given kind, naming the component at fault.
pub fn check(path: &Path, kind: ErrorKind) -> Result<PathBuf> {
    Checks::new(kind).check(path)
}

/// Several checks at one time: what has passed already, on the way to another path, is not examined again.
pub(crate) struct Checks {
    kind: ErrorKind,
    accepted: Accepted,
    /// Folders in canonical form, each with those above it.
    passed: Vec<PathBuf>,
}

impl Checks {
    /// Whose errors are of the given kind.
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, accepted: Accepted::now(), passed: Vec::new() }
    }

    /// Checks a path as [`check`] does.
    ///
    /// # Errors
    ///
    /// Those of [`check`].
    pub(crate) fn check(&mut self, path: &Path) -> Result<PathBuf> {
        let path = if self.is_canonical(path) { path.to_owned() } else { self.canonical(path)? };
        for (depth, component) in path.ancestors().enumerate() {
            if depth > 0 && self.has_passed(component) {
                break;
            }
            self.accept(component, &self.examine(component)?, depth == 0)?;
        }
        self.passed.extend(path.ancestors().map(Path::to_owned));
        Ok(path)
    }

    /// Checks a folder, and what lies directly in it.
    ///
    /// # Errors
    ///
    /// Those of [`check`], naming the entry at fault.
    pub(crate) fn check_entries(&mut self, folder: &Path) -> Result<()> {
        let folder = self.check(folder)?;
        let unreadable = || format!("{}: cannot be read", folder.display());
        for entry in fs::read_dir(&folder).context(self.kind, unreadable)? {
            let path = entry.context(self.kind, unreadable)?.path();
            let meta = self.examine(&path)?;
            if meta.is_symlink() {
                self.check(&path)?;
            } else {
                self.accept(&path, &meta, true)?;
            }
        }
        Ok(())
    }

    fn has_passed(&self, folder: &Path) -> bool {
        self.passed.iter().any(|passed| passed == folder)
    }

    /// Whether a path is known to be in canonical form: no link, in a folder that has passed.
    fn is_canonical(&self, path: &Path) -> bool {
        path.file_name().is_some()
            && path.parent().is_some_and(|parent| self.has_passed(parent))
            && fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_symlink())
    }

    fn canonical(&self, path: &Path) -> Result<PathBuf> {
        path.canonicalize().context(self.kind, || format!("{}: cannot be found", path.display()))
    }

    fn examine(&self, path: &Path) -> Result<Metadata> {
        fs::symlink_metadata(path).context(self.kind, || format!("{}: cannot be examined", path.display()))
    }

    fn accept(&self, path: &Path, meta: &Metadata, is_end: bool) -> Result<()> {
        match self.accepted.fault(meta, is_end) {
            None => Ok(()),
            Some(why) => {
                Err(Error::new(self.kind, format!("{}: {why}, so it is not trusted", path.display())))
            }
        }
    }
}

/// Whether the caller is someone else than the host's root: another user, or anybody in a user namespace.
#[must_use]
pub fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || UserNamespace::current().is_some()
}

/// Whether the caller's states are not root's. Those of who is root in a user namespace are not (podman's, of another user, calls from one), unless
/// that one's environment says so or has no place of its own: as under runc.
#[must_use]
pub fn has_own_states() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    // The kernel is asked last: every command asks this, and root's mostly have no such place.
    let has_place = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|place| !place.is_empty());
    let is_roots = || std::env::var_os("USER").is_some_and(|user| user == "root");
    has_place && !is_roots() && UserNamespace::current().is_some()
}

/// The caller's user id as the host knows it.
#[must_use]
pub fn host_uid() -> u32 {
    let uid = rustix::process::geteuid().as_raw();
    UserNamespace::current().and_then(|namespace| namespace.outside(uid)).unwrap_or(uid)
}

/// Owners whose files are believed.
struct Accepted {
    caller: u32,
    overflow: Option<u32>,
}

impl Accepted {
    fn now() -> Self {
        let overflow = || {
            let text = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
            text.trim().parse().ok()
        };
        let caller = rustix::process::geteuid().as_raw();
        Self { caller, overflow: UserNamespace::current().and_then(|_| overflow()) }
    }

    fn fault(&self, meta: &Metadata, is_end: bool) -> Option<String> {
        let owner = meta.uid();
        if owner != 0 && owner != self.caller && Some(owner) != self.overflow {
            return Some(format!("belongs to user {owner}"));
        }
        let passable = !is_end && meta.is_dir() && meta.mode() & STICKY != 0;
        (meta.mode() & OTHERS_WRITE != 0 && !passable).then(|| "can be written by others".to_owned())
    }
}

/// The mapping of a user namespace other than the host's.
struct UserNamespace {
    /// First id within, first id without, count.
    ranges: Vec<[u32; 3]>,
}

impl UserNamespace {
    /// Nothing in the host's own.
    fn current() -> Option<Self> {
        let namespace = Self::parse(&fs::read_to_string("/proc/self/uid_map").ok()?)?;
        (namespace.ranges != [[0, 0, u32::MAX]]).then_some(namespace)
    }

    fn parse(map: &str) -> Option<Self> {
        let range = |line: &str| {
            let numbers: Vec<u32> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
            numbers.try_into().ok()
        };
        Some(Self { ranges: map.lines().map(range).collect::<Option<_>>()? })
    }

    fn outside(&self, uid: u32) -> Option<u32> {
        let inside = |[first, outer, count]: [u32; 3]| {
            let offset = uid.checked_sub(first).filter(|offset| *offset < count)?;
            outer.checked_add(offset)
        };
        self.ranges.iter().find_map(|range| inside(*range))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_of_the_callers_own_is_trusted_even_below_a_sticky_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        mode(&path, 0o755);
        mode(&dir.path().join("a"), 0o1777);
        assert_eq!(check(&path, ErrorKind::Engine).unwrap(), path.canonicalize().unwrap());
    }

    #[test]
    fn what_others_can_write_is_not() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        for (end, parent, at_fault) in
            [(0o775, 0o755, "a/b"), (0o757, 0o755, "a/b"), (0o1777, 0o755, "a/b"), (0o755, 0o777, "a")]
        {
            mode(&path, end);
            mode(&dir.path().join("a"), parent);
            let error = check(&path, ErrorKind::Engine).unwrap_err();
            let expected = format!(
                "{}: can be written by others, so it is not trusted",
                dir.path().join(at_fault).display()
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn what_a_link_leads_to_is_what_counts() {
        let dir = TempDir::new().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        mode(&open, 0o777);
        symlink(&open, dir.path().join("link")).unwrap();
        let error = check(&dir.path().join("link"), ErrorKind::Engine).unwrap_err().to_string();
        assert!(error.starts_with(&open.display().to_string()), "{error}");
        assert!(check(&dir.path().join("none"), ErrorKind::Engine).is_err());
    }

    #[test]
    fn somebody_elses_folder_is_not() {
        if !rustix::process::geteuid().is_root() {
            crate::announce_skip("needs root, to give a folder away");
            return;
        }
        let dir = TempDir::new().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
        let error = check(dir.path(), ErrorKind::Engine).unwrap_err().to_string();
        assert!(error.contains("belongs to user 12345"), "{error}");
    }

    #[test]
    fn ids_are_mapped_to_the_outside() {
        let namespace =
            UserNamespace::parse("         0       1000          1\n         1     100000      65536\n")
                .unwrap();
        assert_eq!(namespace.outside(0), Some(1000));
        assert_eq!(namespace.outside(1), Some(100_000));
        assert_eq!(namespace.outside(65536), Some(165_535));
        assert_eq!(namespace.outside(65537), None);
        assert!(UserNamespace::parse("rubbish").is_none());
    }
}
