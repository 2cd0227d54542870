//! A container can never write to the runtime's own binary (CVE-2019-5736).
//!
//! Init and `exec`'s processes are clones of the runtime before they become something else, and a Wasm init stays one: all of
//! them show the binary as `/proc/PID/exe`, which a container may open again. Before anything is created the runtime
//! therefore executes itself once more from a place that nobody can make writable:
//!
//! - a clone of the mount that the binary's folder lies on (`open_tree(2)` with `OPEN_TREE_CLONE`), made read-only
//!   (`mount_setattr(2)`) and then detached: it belongs to no namespace, so that no one can remount it, and no byte is copied;
//! - where that needs a privilege that the caller has not, a sealed copy in memory (`memfd_create(2)`).
//!
//! There are two programs: the whole runtime, and a native one that is linked statically, which has less to map and cannot load the engine
//! (DESIGN.md, "The engine's folder"). The latter executes the former when a workload turns out to be a function.
//!
//! What is passed on of the environment has neither `LD_*` nor `WASMEDGE_*`. An installed runtime has had a first stage that does the former
//! (`runtime/first-stage`), and begins here only where that was not permitted.

#![expect(unsafe_code, reason = "removing a variable is unsafe: another thread may read them")]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};

use first_stage::{NATIVE, ORIGIN, WHOLE};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::mount;

const EXE: &str = "/proc/self/exe";
/// Nobody can change a file with these, nor take them off.
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Where the runtime is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The path of its whole program. It comes through the environment: whoever loads something from its folder checks whose that is.
    pub binary: PathBuf,
}

impl Origin {
    /// As the program that runs says, for what needs no sealed place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when it does not.
    pub fn here() -> Result<Self> {
        let program =
            std::env::current_exe().context(ErrorKind::System, || format!("{EXE}: cannot be read"))?;
        Ok(Self::of(&program))
    }

    /// The two programs lie in one folder.
    fn of(program: &Path) -> Self {
        let is_native = program.file_name().is_some_and(|name| name == NATIVE);
        Self { binary: if is_native { program.with_file_name(WHOLE) } else { program.to_owned() } }
    }
}

/// Which of the two programs this process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// The one that can do everything.
    #[default]
    Whole,
    /// The one that cannot load the engine.
    Native,
}

impl Program {
    /// Returns in the whole program. The other one [executes](Self::execute_whole) that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when that cannot be executed.
    pub fn need_engine(self, binary: &Path) -> Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Native => Err(Self::execute_whole(binary)),
        }
    }

    /// Executes the whole program, whose installed path is `binary`, with the words of this one: nothing must have been made yet, nor signals been
    /// blocked. Returns only when that fails.
    #[must_use]
    pub fn execute_whole(binary: &Path) -> Error {
        let exe = rustix::fs::open(binary, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        // It finds a sealed place by itself, where it needs one.
        let error = exe.map_or_else(io::Error::from, |exe| execute(&exe, environment()).into());
        let message = format!("{}: cannot be executed, which loads the engine", binary.display());
        Error::with_source(ErrorKind::System, message, error)
    }
}

/// Returns once this process runs from a sealed place. The first time it does not return but executes itself.
///
/// To be called while there is one thread.
///
/// # Errors
///
/// [`ErrorKind::System`] when neither way works.
pub fn seal() -> Result<Origin> {
    let Some(binary) = std::env::var_os(ORIGIN) else { return execute_again() };
    // SAFETY: the process has only this thread.
    unsafe { std::env::remove_var(ORIGIN) };
    if is_read_only()? || is_sealed_copy()? {
        return Ok(Origin::of(Path::new(&binary)));
    }
    execute_again()
}

/// Does the same ahead of everything else for a command line that will need it, so that what is done twice is little. What fails here is
/// [`seal`]'s to tell.
pub fn seal_ahead(mut words: impl Iterator<Item = OsString>) {
    let needs_it = words.any(|word| first_stage::SEALED.iter().any(|verb| word == *verb));
    if needs_it && std::env::var_os(ORIGIN).is_none() {
        let _ = execute_again();
    }
}

/// Names this process as the installed command. It may have the other program's name, or, as older kernels call what is executed by its descriptor,
/// a number; and who looks for the runtime looks for one name.
pub fn take_name() {
    // It is a matter of looks.
    let _ = rustix::thread::set_name(c"rr-runtime");
}

fn execute_again() -> Result<Origin> {
    let path = std::fs::read_link(EXE).context(ErrorKind::System, || format!("{EXE}: cannot be read"))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let exe = match read_only_clone(&path, folder) {
        Ok(exe) => exe,
        Err(_) => sealed_copy()
            .context(ErrorKind::System, || format!("{}: cannot be copied to memory", path.display()))?,
    };
    let mut origin = OsString::from(format!("{ORIGIN}="));
    origin.push(&path);
    let error = execute(&exe, environment().chain([origin]));
    Err(Error::with_source(
        ErrorKind::System,
        format!("{}: cannot be executed from a sealed place", path.display()),
        error,
    ))
}

/// The binary through a read-only clone of its mount that belongs to no namespace.
fn read_only_clone(path: &Path, folder: &Path) -> io::Result<OwnedFd> {
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
    let tree = mount::read_only_clone(folder)?;
    if !rustix::fs::fstatvfs(&tree)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        // Not permitted: what came back is the folder itself.
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let exe =
        rustix::fs::openat(&tree, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let (ours, its) = (rustix::fs::stat(EXE)?, rustix::fs::fstat(&exe)?);
    if (ours.st_dev, ours.st_ino) != (its.st_dev, its.st_ino) {
        // Another binary has taken its place since this one was started.
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(exe)
}

/// A copy in memory that nobody can write to.
fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that a memory file is to be executed, and need not be told.
    let copy = match rustix::fs::memfd_create("rr-runtime", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("rr-runtime", flags),
        other => other,
    }?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(EXE)?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SEALS)?;
    Ok(OwnedFd::from(copy))
}

/// Replaces this process; returns only when that fails.
fn execute(exe: &OwnedFd, environment: impl IntoIterator<Item = OsString>) -> nix::errno::Errno {
    let strings = |texts: &mut dyn Iterator<Item = OsString>| -> Option<Vec<CString>> {
        texts.map(|text| CString::new(text.into_vec()).ok()).collect()
    };
    let args = strings(&mut std::env::args_os());
    let env = strings(&mut environment.into_iter());
    let (Some(args), Some(env)) = (args, env) else { return nix::errno::Errno::EINVAL };
    match nix::unistd::execveat(Some(exe.as_raw_fd()), c"", &args, &env, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

fn environment() -> impl Iterator<Item = OsString> {
    std::env::vars_os().filter(|(name, _)| first_stage::is_kept(name.as_bytes())).map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    })
}

/// Whether the binary lies on a read-only mount. Who set the variable by hand and has the binary on a read-only mount of the
/// host's gets no clone of it, and needs none: a container cannot make that writable either.
fn is_read_only() -> Result<bool> {
    let mount = rustix::fs::statvfs(EXE).context(ErrorKind::System, || format!("statvfs of {EXE}"))?;
    Ok(mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_sealed_copy() -> Result<bool> {
    let exe = File::open(EXE).context(ErrorKind::System, || format!("{EXE}: cannot be opened"))?;
    // A file that is not in memory has no seals, and says so by an error.
    Ok(rustix::fs::fcntl_get_seals(exe.as_fd()).is_ok_and(|seals| seals.contains(SEALS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_clone_can_be_read_and_not_written() {
        let path = std::fs::read_link(EXE).expect("a path");
        let exe = match read_only_clone(&path, path.parent().expect("a folder")) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                crate::announce_skip("open_tree(2) is not permitted here");
                return;
            }
            other => other.expect("a clone"),
        };
        let through = format!("/proc/self/fd/{}", exe.as_raw_fd());
        File::open(&through).expect("readable");
        let error = File::options().write(true).open(&through).expect_err("not writable");
        assert!(matches!(error.raw_os_error(), Some(libc::EROFS | libc::ETXTBSY)), "{error}");
    }

    #[test]
    fn a_sealed_copy_can_be_read_and_not_written() {
        let copy = sealed_copy().expect("a copy");
        let error = rustix::io::pwrite(&copy, b"x", 0).expect_err("sealed");
        assert_eq!(error, rustix::io::Errno::PERM);
        assert_eq!(rustix::fs::fcntl_get_seals(&copy).expect("seals") & SEALS, SEALS);
    }
}
