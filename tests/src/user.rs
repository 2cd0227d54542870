//! Another user than root, for whom a case's containers are made.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Nobody's number, user and group.
pub const USER: u32 = 64_321;
/// The first of the numbers that are subordinate to it, and how many there are.
pub const SUBORDINATE: (u32, u32) = (700_000, 1_000);

/// Where users and what is subordinate to them are listed.
const LISTS: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"];

/// Words before a program that make it the user's, with a mount namespace of its own in which the user is listed, and may reach this program's folder,
/// wherever it is: the tests' runtime may lie in a folder of root's. `folder` is the case's.
pub(crate) fn words(program: &Path, folder: &Path) -> Vec<OsString> {
    let lists = folder.join("etc");
    fs::create_dir_all(&lists).expect("a folder");
    let (first, count) = SUBORDINATE;
    let mut script = String::from("set -e\n");
    for list in LISTS {
        let line = match list {
            "/etc/passwd" => format!("rrtests:x:{USER}:{USER}::/:/bin/sh\n"),
            "/etc/group" => format!("rrtests:x:{USER}:\n"),
            _ => format!("rrtests:{first}:{count}\n"),
        };
        let text = fs::read_to_string(list).unwrap_or_default() + &line;
        let file = lists.join(Path::new(list).file_name().expect("a name"));
        fs::write(&file, text).expect("write");
        script += &format!("[ ! -e {list} ] || mount --bind {} {list}\n", file.display());
    }
    let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    if let Some(closed) = closed(prefix) {
        let hold = folder.join("hold");
        fs::create_dir_all(&hold).expect("a folder");
        let (closed, hold, prefix) = (closed.display(), hold.display(), prefix.display());
        script += &format!(
            "mount --bind {prefix} {hold}\nmount -t tmpfs -o mode=755 none {closed}\nmkdir -p {prefix}\nmount --bind {hold} {prefix}\numount {hold}\n"
        );
    }
    script += &format!("exec setpriv --reuid {USER} --regid {USER} --clear-groups -- \"$@\"\n");
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"];
    words.map(OsString::from).to_vec()
}

/// The outermost folder on the way to this one that others cannot pass.
fn closed(folder: &Path) -> Option<PathBuf> {
    let mut way: Vec<&Path> = folder.ancestors().collect();
    way.reverse();
    let is_closed =
        |folder: &Path| fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0);
    way.into_iter().find(|folder| is_closed(folder)).map(Path::to_owned)
}
