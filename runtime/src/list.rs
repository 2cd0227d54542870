//! `list`, `state` and `ps`: what there is, without changing it.

use std::collections::HashMap;
use std::process::Command;

use nix::unistd::{Uid, User};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::state::{Report, Store};

/// One container.
///
/// # Errors
///
/// [`ErrorKind::NotFound`], [`ErrorKind::State`].
pub fn state(store: &Store, id: &ContainerId) -> Result<Report> {
    Ok(store.load(id)?.report(store))
}

/// All containers by name. One whose state cannot be read is warned of and left out, as under runc.
///
/// # Errors
///
/// [`ErrorKind::State`] when the state folder itself cannot be read.
pub fn list(store: &Store) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    // Each of them is looked for in the whole of /etc/passwd, or further away.
    let mut names: HashMap<u32, String> = HashMap::new();
    for id in store.ids()? {
        match store.load(&id) {
            Ok(state) => {
                let owner = store.owner(&id);
                let owner = owner.map(|uid| names.entry(uid).or_insert_with(|| name_of(uid)).clone());
                let owner = owner.unwrap_or_default();
                reports.push(Report { owner, ..state.report(store) });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, %id, "container left out"),
        }
    }
    Ok(reports)
}

fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| format!("#{uid}"), |user| user.name)
}

/// Pids of a container's processes, as the host sees them.
///
/// # Errors
///
/// [`ErrorKind::NotFound`], or when its cgroup cannot be read.
pub fn pids(store: &Store, id: &ContainerId) -> Result<Vec<i32>> {
    store.load(id)?.cgroup.pids()
}

/// The lines of ps(1) about a container's processes, heading first.
///
/// # Errors
///
/// When ps(1) cannot be run, fails, or prints no column named `PID`.
pub fn ps(store: &Store, id: &ContainerId, args: &[String]) -> Result<String> {
    let pids = pids(store, id)?;
    let args = if args.is_empty() { &["-ef".to_owned()] } else { args };
    let output = Command::new("ps")
        .args(args)
        .output()
        .context(ErrorKind::System, || "ps: cannot be run".to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(ErrorKind::System, format!("ps: {}: {}", output.status, said.trim())));
    }
    select(&String::from_utf8_lossy(&output.stdout), &pids)
}

fn select(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::new(ErrorKind::System, "ps: couldn't find PID field in ps output"))?;
    let of_container = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|text| text.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let mut selected = format!("{heading}\n");
    for line in lines.filter(of_container) {
        selected.push_str(line);
        selected.push('\n');
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_left() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init\nroot   17     1 sh 1\n";
        assert_eq!(select(table, &[17, 99]).expect("a table"), "UID   PID  PPID CMD\nroot   17     1 sh 1\n");
        assert!(select("UID CMD\n", &[1]).is_err());
    }
}
