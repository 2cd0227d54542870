//! What `/proc` says of processes. A process may end at any moment: then it has no children, no command line
//! and an empty status, which is never an error here.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Direct children of a process.
#[must_use]
pub fn children_of(pid: u32) -> Vec<u32> {
    all().into_iter().filter(|&child| stat(child).is_some_and(|(parent, _)| parent == pid)).collect()
}

/// All processes of this pid namespace.
#[must_use]
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc can be listed");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Parent and state letter.
fn stat(pid: u32) -> Option<(u32, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Whether there is such a process, and it is no zombie.
#[must_use]
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(_, state)| state != 'Z' && state != 'X')
}

/// State letter of a process, as in `/proc/PID/stat`.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(_, state)| state)
}

/// Arguments of a process.
#[must_use]
pub fn cmdline(pid: u32) -> Vec<String> {
    strings(&format!("/proc/{pid}/cmdline"))
}

/// Environment that a process was started with, or shows.
#[must_use]
pub fn environ(pid: u32) -> Vec<String> {
    strings(&format!("/proc/{pid}/environ"))
}

fn strings(path: &str) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// The process and everything below it, as `pid state command` lines: for messages.
#[must_use]
pub fn tree(pid: u32) -> Vec<String> {
    let mut lines = vec![describe(pid)];
    for child in children_of(pid) {
        lines.extend(tree(child));
    }
    lines
}

/// One line about a process, for messages.
#[must_use]
pub fn describe(pid: u32) -> String {
    let wchan = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{pid} {:?} ({}) {:?} in {wchan:?}", state(pid), comm.trim_end(), cmdline(pid))
}

/// `/proc/PID/status` as key and value.
#[must_use]
pub fn status(pid: u32) -> BTreeMap<String, String> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
}

/// Parses the text of a `status` file.
#[must_use]
pub fn parse_status(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// Open descriptors of a process and what they are.
#[must_use]
pub fn descriptors(pid: u32) -> BTreeMap<u32, PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?))
        })
        .collect()
}

/// Files that are mapped into a process.
#[must_use]
pub fn mapped_files(pid: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut files: Vec<_> =
        maps.lines().filter_map(|line| line.find('/').map(|at| line[at..].to_owned())).collect();
    files.sort();
    files.dedup();
    files
}
