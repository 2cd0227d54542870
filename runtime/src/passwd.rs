//! A user's home folder, read from the container's own `/etc/passwd`.
//!
//! Never through the C library: its name service is configured by, and loads shared objects from, whatever root
//! the process has, which would be code of the container in a process that still holds the runtime's descriptors.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Lines of a container's file that are looked at, at most.
const LINES: usize = 100_000;

/// Says in a process's environment where its user's home is, unless it does.
pub(crate) fn complete(process: &mut Process, rootfs: &Path) {
    let mut env = process.env().clone().unwrap_or_default();
    let said = env.iter().rev().find_map(|pair| pair.strip_prefix("HOME="));
    if said.is_none_or(str::is_empty) {
        env.push(format!("HOME={}", home(rootfs, process.user().uid())));
        process.set_env(Some(env));
    }
}

/// The home folder of `uid` by `rootfs`'s `/etc/passwd`, or `/` as under runc.
fn home(rootfs: &Path, uid: u32) -> String {
    find(rootfs, uid).unwrap_or_else(|| "/".to_owned())
}

fn find(rootfs: &Path, uid: u32) -> Option<String> {
    let root =
        rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(&root, "etc/passwd", flags, Mode::empty(), resolve).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    BufReader::new(file).lines().take(LINES).map_while(Result::ok).find_map(|line| parse(&line, uid))
}

/// `name:password:uid:gid:comment:home:shell`, see passwd(5).
fn parse(line: &str, uid: u32) -> Option<String> {
    let fields: Vec<&str> = line.split(':').collect();
    let found = fields.get(2)?.parse::<u32>().ok()? == uid;
    let home = fields.get(5)?;
    (found && !home.is_empty()).then(|| (*home).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_the_sixth_field_of_the_users_line() {
        assert_eq!(parse("root:x:0:0:root:/root:/bin/sh", 0).as_deref(), Some("/root"));
        assert_eq!(parse("root:x:0:0:root:/root:/bin/sh", 1), None);
        assert_eq!(parse("u:x:7:7::", 7), None);
        assert_eq!(parse("u:x:7", 7), None);
    }
}
