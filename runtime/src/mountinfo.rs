//! What this process sees mounted: `/proc/self/mountinfo`, proc_pid_mountinfo(5).

use std::path::PathBuf;

use crate::error::{Context, ErrorKind, Result};

const FILE: &str = "/proc/self/mountinfo";

/// The whole text, for [`Mount::all`].
///
/// # Errors
///
/// [`ErrorKind::System`] when it cannot be read.
pub(crate) fn read() -> Result<String> {
    std::fs::read_to_string(FILE).context(ErrorKind::System, || format!("{FILE}: cannot be read"))
}

/// A mount, of what is asked for here.
#[derive(Debug)]
pub(crate) struct Mount<'a> {
    /// The folder or file of its file system that is mounted.
    root: &'a str,
    /// Where.
    point: &'a str,
    /// The file system's type.
    pub(crate) kind: &'a str,
    /// The file system's options, with commas between.
    pub(crate) options: &'a str,
}

impl<'a> Mount<'a> {
    /// All of a text, in the kernel's order. What is no line of it is left out.
    pub(crate) fn all(mountinfo: &'a str) -> impl Iterator<Item = Self> {
        mountinfo.lines().filter_map(Self::parse)
    }

    /// `id parent device root point options [fields] - kind source options`.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        Some(Self {
            root: mount.next()?,
            point: mount.next()?,
            kind: file_system.next()?,
            options: file_system.nth(1).unwrap_or_default(),
        })
    }

    pub(crate) fn root(&self) -> PathBuf {
        unescape(self.root)
    }

    pub(crate) fn point(&self) -> PathBuf {
        unescape(self.point)
    }
}

/// The kernel writes space, tab, newline and backslash of a path as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let replaced = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    PathBuf::from(replaced.replace("\\134", "\\"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_line_is_read_with_fields_and_without() {
        let text = "22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
                    nonsense\n\
                    24 1 0:23 /c\\011d /a\\040b\\134/e rw shared:1 master:2 - cgroup none rw,cpu,cpuacct\n";
        let [proc, cgroup] = &Mount::all(text).collect::<Vec<_>>()[..] else { panic!("two mounts") };
        assert_eq!((proc.root(), proc.point()), (PathBuf::from("/"), PathBuf::from("/proc")));
        assert_eq!((proc.kind, proc.options), ("proc", "rw"));
        assert_eq!(cgroup.root(), Path::new("/c\td"));
        assert_eq!(cgroup.point(), Path::new("/a b\\/e"));
        assert_eq!((cgroup.kind, cgroup.options), ("cgroup", "rw,cpu,cpuacct"));
    }
}
