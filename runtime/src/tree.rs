//! The files of a container as it will see them, looked at from the host.
//!
//! Before a container runs, its tree is its root file system with the spec's bind mounts laid over it in order: the last
//! mount that covers a path is the one that counts. A running container's tree is what `/proc/PID/root` leads to.
//!
//! Invariants: no path leads out of the tree. The kernel follows no symbolic link for us: every component is opened
//! beneath its mount with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, links are read and resolved here against the
//! container's root, and nothing is opened for reading before it is known to be a regular file. So neither an image
//! nor a process that swaps files while we look can show us a file of the host, make us wait on a pipe, or touch a device.
//!
//! Follows `openat2(2)`, and config.md of the OCI runtime specification on the order of mounts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::bundle::is_bind;
use crate::error::{Context, ErrorKind, Result};

/// As many as the kernel follows (`path_resolution(7)`).
const MAX_LINKS: usize = 40;
/// How often a lookup is repeated that lost a race against a rename.
const MAX_RETRIES: usize = 64;

/// The file tree of a container.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    mounts: Vec<Laid>,
}

/// A mount of the spec, at the path where it ends up after links were resolved.
#[derive(Debug)]
struct Laid {
    at: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Bind(PathBuf),
    /// A file system that is made when the container is; what is in it cannot be known before.
    Fresh(String),
}

/// Why a path leads to no file that could be read. A clause that follows the path in a message.
#[derive(Debug)]
pub enum Missing {
    /// There is nothing.
    NotFound,
    /// A symbolic link that leads to nothing.
    BrokenLink,
    /// Nothing yet: a file system of the named type will be mounted above.
    Fresh(String),
    /// It is a directory.
    Directory,
    /// It is a pipe, a socket or a device.
    Special,
    /// The system refused.
    System(io::Error),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file"),
            Self::BrokenLink => f.write_str("is a broken symbolic link"),
            Self::Fresh(kind) => write!(f, "lies on a {kind} mount, which is empty before start"),
            Self::Directory => f.write_str("is a directory"),
            Self::Special => f.write_str("is not a regular file"),
            Self::System(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl From<rustix::io::Errno> for Missing {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => Self::NotFound,
            other => Self::System(other.into()),
        }
    }
}

impl Tree {
    /// The tree of a container that does not run yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Bundle`] when `rootfs` cannot be opened.
    pub fn of_bundle(bundle: &Path, rootfs: &Path, mounts: &[Mount]) -> Result<Self> {
        let root =
            rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .context(ErrorKind::Bundle, || {
                    format!("root file system {}: cannot be opened", rootfs.display())
                })?;
        let mut tree = Self { root, mounts: Vec::with_capacity(mounts.len()) };
        for mount in mounts {
            let at = tree.destination(mount.destination());
            tree.mounts.push(Laid { at, what: what(bundle, mount) });
        }
        Ok(tree)
    }

    /// The tree of a running container, given its root directory.
    #[must_use]
    pub fn of_root(root: OwnedFd) -> Self {
        Self { root, mounts: Vec::new() }
    }

    /// Opens a regular file for reading. `path` is absolute.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn open(&self, path: &Path) -> Result<File, Missing> {
        let (fd, _) = self.walk(path)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Missing::Directory),
            _ => return Err(Missing::Special),
        }
        // The descriptor is pinned: this opens what was looked at, and no link of the tree is followed.
        let pinned = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(pinned, flags, Mode::empty())?.into())
    }

    /// Follows `path` to its end; gives the object and its path without links.
    fn walk(&self, path: &Path) -> Result<(OwnedFd, PathBuf), Missing> {
        let mut at = PathBuf::from("/");
        let mut fd = self.at(&at)?;
        let mut rest = components(path);
        let mut links = 0;
        while let Some(component) = rest.pop_front() {
            if component == ".." {
                at.pop();
                fd = self.at(&at)?;
                continue;
            }
            let next = at.join(&component);
            let object = self.at(&next).map_err(|missing| match missing {
                Missing::NotFound if links > 0 => Missing::BrokenLink,
                other => other,
            })?;
            if FileType::from_raw_mode(rustix::fs::fstat(&object)?.st_mode) == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = read_link(&object)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in components(&target).into_iter().rev() {
                    rest.push_front(part);
                }
                continue;
            }
            (fd, at) = (object, next);
        }
        Ok((fd, at))
    }

    /// Where a mount's destination ends up: links resolved as far as it exists, the rest as it is written.
    fn destination(&self, path: &Path) -> PathBuf {
        let mut at = PathBuf::from("/");
        for component in components(path) {
            if component == ".." {
                at.pop();
                continue;
            }
            let next = at.join(component);
            at = self.walk(&next).map_or(next, |(_, at)| at);
        }
        at
    }

    /// Opens the object at a path without links, as a bare reference.
    fn at(&self, path: &Path) -> Result<OwnedFd, Missing> {
        let cover = self.mounts.iter().rev().find(|mount| path.starts_with(&mount.at));
        let Some(cover) = cover else {
            return beneath(&self.root, path.strip_prefix("/").unwrap_or(path));
        };
        match &cover.what {
            // The mount point itself is there, and what is mounted within it has a mount of its own.
            What::Fresh(_) if path == cover.at => Ok(self.root.try_clone().map_err(Missing::System)?),
            What::Fresh(kind) => Err(Missing::Fresh(kind.clone())),
            What::Bind(source) => {
                let base = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                beneath(&base, path.strip_prefix(&cover.at).unwrap_or(path))
            }
        }
    }
}

fn what(bundle: &Path, mount: &Mount) -> What {
    match mount.source() {
        Some(source) if is_bind(mount) => What::Bind(bundle.join(source)),
        _ => What::Fresh(mount.typ().clone().unwrap_or_else(|| "none".to_owned())),
    }
}

/// Opens `path` beneath `base` as a bare reference, following nothing.
fn beneath(base: &OwnedFd, path: &Path) -> Result<OwnedFd, Missing> {
    if path.as_os_str().is_empty() {
        return base.try_clone().map_err(Missing::System);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut retries = 0;
    loop {
        match rustix::fs::openat2(base, path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if retries < MAX_RETRIES => retries += 1,
            opened => return Ok(opened?),
        }
    }
}

fn read_link(link: impl AsFd) -> Result<PathBuf, Missing> {
    use std::os::unix::ffi::OsStringExt;
    let target = rustix::fs::readlinkat(link, "", Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// The names in `path`, and `..`; the root and `.` say nothing.
fn components(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use oci_spec::runtime::MountBuilder;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// A bundle whose files hold their own path; `/outside` lies beside the root file system.
    struct Bundle {
        dir: TempDir,
        mounts: Vec<Mount>,
    }

    impl Bundle {
        fn new(files: &[&str]) -> Self {
            let bundle = Self { dir: TempDir::new().unwrap(), mounts: Vec::new() };
            bundle.file("outside");
            fs::create_dir(bundle.dir.path().join("rootfs")).unwrap();
            for file in files {
                bundle.file(&format!("rootfs/{file}"));
            }
            bundle
        }

        fn file(&self, path: &str) {
            let file = self.dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, path).unwrap();
        }

        fn link(self, at: &str, target: &str) -> Self {
            let at = self.dir.path().join("rootfs").join(at);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            symlink(target, at).unwrap();
            self
        }

        fn mount(mut self, destination: &str, kind: &str, source: &str) -> Self {
            let mount = MountBuilder::default().destination(destination).typ(kind).source(source);
            self.mounts.push(mount.options(Vec::<String>::new()).build().unwrap());
            self
        }

        fn read(&self, path: &str) -> Result<String, Missing> {
            let tree =
                Tree::of_bundle(self.dir.path(), &self.dir.path().join("rootfs"), &self.mounts).unwrap();
            let mut text = String::new();
            tree.open(Path::new(path))?.read_to_string(&mut text).unwrap();
            Ok(text)
        }

        fn why(&self, path: &str) -> String {
            self.read(path).unwrap_err().to_string()
        }
    }

    #[test]
    fn a_plain_path_is_read() {
        let bundle = Bundle::new(&["a/b.wasm"]);
        assert_eq!(bundle.read("/a/b.wasm").unwrap(), "rootfs/a/b.wasm");
        assert_eq!(bundle.read("/a/./../a//b.wasm").unwrap(), "rootfs/a/b.wasm");
    }

    #[test]
    fn links_are_resolved_against_the_containers_root() {
        let bundle =
            Bundle::new(&["real/m"]).link("abs", "/real/m").link("real/up", "../real/m").link("dir", "real");
        for path in ["/abs", "/real/up", "/dir/m", "/dir/up"] {
            assert_eq!(bundle.read(path).unwrap(), "rootfs/real/m", "{path}");
        }
    }

    #[test]
    fn no_link_leads_out() {
        let bundle = Bundle::new(&["x"])
            .link("up", "../outside")
            .link("far", "../../../../../../../etc/passwd")
            .link("abs", "/etc/passwd")
            .link("root", "..")
            .link("proc", "/proc/self/root/etc/passwd");
        for path in ["/up", "/far", "/abs", "/root/outside", "/../outside", "/proc"] {
            assert!(bundle.read(path).is_err(), "{path}");
        }
        assert_eq!(bundle.why("/abs"), "is a broken symbolic link");
        assert_eq!(bundle.why("/nothing"), "no such file");
        assert_eq!(bundle.why("/x/y"), "no such file");
    }

    #[test]
    fn loops_end() {
        let bundle = Bundle::new(&[]).link("a", "b").link("b", "a");
        assert!(bundle.why("/a").contains("symbolic link"), "{}", bundle.why("/a"));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let bundle = Bundle::new(&["d/x"]);
        let pipe = bundle.dir.path().join("rootfs/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(bundle.why("/pipe"), "is not a regular file");
        assert_eq!(bundle.why("/d"), "is a directory");
        assert_eq!(bundle.why("/"), "is a directory");
    }

    #[test]
    fn a_bind_mount_covers_what_is_below_it() {
        let bundle = Bundle::new(&["app/m"]).mount("/app", "bind", "volume");
        bundle.file("volume/m");
        assert_eq!(bundle.read("/app/m").unwrap(), "volume/m");
        assert_eq!(bundle.why("/app/other"), "no such file");
    }

    #[test]
    fn a_single_file_can_be_mounted() {
        let bundle = Bundle::new(&[]).mount("/m.wasm", "bind", "volume/m");
        bundle.file("volume/m");
        assert_eq!(bundle.read("/m.wasm").unwrap(), "volume/m");
    }

    #[test]
    fn the_last_mount_that_covers_a_path_wins() {
        let bundle = Bundle::new(&[]).mount("/a/b", "bind", "one").mount("/a", "bind", "two");
        bundle.file("one/m");
        bundle.file("two/b/m");
        assert_eq!(bundle.read("/a/b/m").unwrap(), "two/b/m");
        let bundle = Bundle::new(&[]).mount("/a", "bind", "two").mount("/a/b", "bind", "one");
        bundle.file("one/m");
        bundle.file("two/b/m");
        assert_eq!(bundle.read("/a/b/m").unwrap(), "one/m");
    }

    #[test]
    fn a_destination_is_resolved_through_the_links_of_the_image() {
        let bundle = Bundle::new(&["run/x"]).link("var/run", "/run").mount("/var/run/app", "bind", "volume");
        bundle.file("volume/m");
        assert_eq!(bundle.read("/run/app/m").unwrap(), "volume/m");
        assert_eq!(bundle.read("/var/run/app/m").unwrap(), "volume/m");
    }

    #[test]
    fn a_link_in_a_volume_is_resolved_in_the_container() {
        let bundle = Bundle::new(&["outside"]).mount("/v", "bind", "volume");
        bundle.file("volume/x");
        symlink("../outside", bundle.dir.path().join("volume/link")).unwrap();
        assert_eq!(bundle.read("/v/link").unwrap(), "rootfs/outside");
    }

    #[test]
    fn what_is_on_a_fresh_file_system_is_not_there() {
        let bundle =
            Bundle::new(&["tmp/m"]).mount("/tmp", "tmpfs", "tmpfs").mount("/tmp/in", "bind", "volume");
        bundle.file("volume/m");
        assert!(bundle.why("/tmp/m").contains("tmpfs"));
        assert_eq!(bundle.read("/tmp/in/m").unwrap(), "volume/m");
    }

    proptest! {
        #[test]
        fn no_combination_of_links_leads_out(
            links in prop::collection::vec(("[ab]{1,2}", "(/|\\.\\./|a/|b/|\\./){0,5}(a|b|outside|\\.\\.)"), 0..6),
            path in "/(a/|b/|\\.\\./){0,4}(a|b|ab|outside)",
        ) {
            let bundle = Bundle::new(&["aa/b", "b"]);
            for (at, target) in links {
                let _ = symlink(target, bundle.dir.path().join("rootfs").join(at));
            }
            if let Ok(text) = bundle.read(&path) {
                prop_assert!(text.starts_with("rootfs/"), "{} was read", text);
            }
        }
    }
}
