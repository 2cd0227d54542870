//! The last steps of a native container's init: find the program, then become it.
//!
//! Runs inside the container, after pivot_root, with the user, the capabilities and the filter in force. The words of
//! its errors are those of Go's `os/exec`, which is what podman and containerd look for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use oci_spec::runtime::{Process, Spec};
use rustix::fs::FileType;

use crate::signals::Inherited;

/// Variables that libcontainer adds for socket activation, see sd_listen_fds(3).
const LISTEN: [&str; 2] = ["LISTEN_FDS", "LISTEN_PID"];

/// Executes the configuration's arguments.
#[derive(Clone)]
pub(crate) struct Native {
    signals: Inherited,
    prepared: RefCell<Prepared>,
}

#[derive(Clone, Default)]
struct Prepared {
    program: PathBuf,
    listen: Vec<String>,
}

impl Native {
    pub(crate) fn new(signals: Inherited) -> Self {
        Self { signals, prepared: RefCell::default() }
    }
}

impl Executor for Native {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref().ok_or(ExecutorValidationError::CantHandle("native"))?;
        let name = process.args().iter().flatten().next().map_or("", String::as_str);
        let program = find(name, path_of(process)).map_err(ExecutorValidationError::ArgValidationError)?;
        self.prepared.borrow_mut().program = program;
        Ok(())
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let listen = LISTEN.iter().filter_map(|name| envs.get(*name).map(|value| format!("{name}={value}")));
        self.prepared.borrow_mut().listen = listen.collect();
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let prepared = self.prepared.borrow().clone();
        let args = strings(process.args().iter().flatten().cloned())?;
        let env = strings(environment(process, prepared.listen).into_iter())?;
        let program = CString::new(prepared.program.clone().into_os_string().into_vec())
            .map_err(|_| ExecutorError::InvalidArg)?;
        let failed = match self.signals.restore() {
            Ok(()) => {
                nix::unistd::execve(&program, &args, &env).map_or_else(|errno| errno, |never| match never {})
            }
            Err(errno) => errno,
        };
        // `create` has long returned: standard error is all that is left to say it on, as under runc.
        eprintln!("exec {}: {}", prepared.program.display(), describe(failed));
        std::process::exit(1)
    }
}

/// The environment in its own order, each name once, with its last value.
fn environment(process: &Process, listen: Vec<String>) -> Vec<String> {
    let mut order: Vec<(String, String)> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for pair in process.env().iter().flatten().cloned().chain(listen) {
        let name = pair.split('=').next().unwrap_or_default().to_owned();
        match at.get(&name) {
            Some(&index) => order[index].1 = pair,
            None => {
                at.insert(name.clone(), order.len());
                order.push((name, pair));
            }
        }
    }
    order.into_iter().map(|(_, pair)| pair).collect()
}

fn strings(texts: impl Iterator<Item = String>) -> Result<Vec<CString>, ExecutorError> {
    texts.map(|text| CString::new(text).map_err(|_| ExecutorError::InvalidArg)).collect()
}

fn path_of(process: &Process) -> &str {
    process.env().iter().flatten().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default()
}

/// Finds a program as Go's `exec.LookPath` does.
fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::EACCES) => Err(format!("exec: {name:?}: permission denied")),
            Err(errno) => Err(format!("exec: {name:?}: stat {name}: {}", describe(errno))),
        };
    }
    path.split(':')
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name))
        .find(|candidate| !name.is_empty() && check(candidate).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

/// By newfstatat(2): statx(2), which the standard library asks first, is not in every filter that is in force here.
fn check(path: &Path) -> Result<(), Errno> {
    let found = rustix::fs::stat(path).map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    if FileType::from_raw_mode(found.st_mode).is_dir() || found.st_mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// Go writes the C library's words with a small first letter.
fn describe(errno: Errno) -> String {
    let text = errno.desc();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_in_gos_words() {
        assert_eq!(
            find("nope", "/nowhere").err().as_deref(),
            Some("exec: \"nope\": executable file not found in $PATH")
        );
        assert_eq!(
            find("nope", "").err().as_deref(),
            Some("exec: \"nope\": executable file not found in $PATH")
        );
        assert_eq!(
            find("/nope", "").err().as_deref(),
            Some("exec: \"/nope\": stat /nope: no such file or directory")
        );
        assert_eq!(find("/tmp", "").err().as_deref(), Some("exec: \"/tmp\": permission denied"));
        assert_eq!(describe(Errno::ENOEXEC), "exec format error");
    }

    #[test]
    fn a_variable_keeps_its_place_and_takes_its_last_value() {
        let mut process = Process::default();
        process.set_env(Some(["A=1", "B=2", "A=3"].map(str::to_owned).to_vec()));
        assert_eq!(environment(&process, vec!["LISTEN_FDS=1".into()]), ["A=3", "B=2", "LISTEN_FDS=1"]);
    }
}
