//! WASI preview 1 as a program in the container expects it: arguments, environment, standard streams, directories.
//!
//! # Directories
//!
//! A WASI program opens nothing by a path of its own; its C library turns a path into a *preopened* directory and
//! the rest. Preopens are matched by name, the longest first, after leading `/` and `./` have been taken off both: so `/`
//! and `.` are the same name to wasi-libc (and to Rust's `std`, which uses it), and `/etc/x` and `etc/x` are the
//! same path. Hence the rule of [`preopens`]:
//!
//! - working directory `/`: the one preopen `/` gives everything, absolute and relative alike;
//! - another one: `.` is the working directory, and every directory that lies directly in the root is a
//!   preopen by its own longer name. Absolute paths then reach all but plain files that lie directly in `/`; a relative path that starts
//!   with the name of a directory of the root means that one. `PWD` is set where the spec does not, because Go's
//!   library resolves relative paths by it.
//!
//! Writing is refused by the kernel where a mount is read-only, not by preopens.
//!
//! # Faults of the engine that are mended here
//!
//! - The engine's form `guest:host[:readonly]` has no way to write a colon: such paths are refused by name.
//! - Its `random_get` is a 64-bit counter hashed, seeded once: whoever sees eight bytes of it knows the rest. It is
//!   replaced by getrandom(2).
//! - It lets no standard stream seek, by which C libraries recognise a terminal among character devices: `/dev/null` is taken for one.
//!   Standard input is another end of the file then (`process::mend_input`); as standard output it stays what it is.
//! - A preopen that cannot be opened is skipped with a line in a log; here it is an error.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use executor_abi::request::Preopen;
use rustix::fs::{Mode, OFlags};

use crate::engine::{FuncType, Guest, Instance, Stop, Val, ValType};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;

/// Module name of WASI preview 1.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Top-level directories that are never preopened: the kernel's, through which a process reaches itself.
const KERNEL: [&str; 2] = ["proc", "sys"];

/// The types of their file systems, wherever one is mounted (linux/magic.h).
const KERNEL_TYPES: [(rustix::fs::FsWord, &str); 2] = [(0x9fa0, "proc"), (0x6265_6572, "sysfs")];

/// Standard error is the process's own.
const STDERR: RawFd = 2;

/// `EFAULT` and `EIO` of WASI.
const ERRNO_FAULT: i32 = 21;
const ERRNO_IO: i32 = 29;

/// The WASI instance for a program, with the engine's faults mended; without arguments so far.
pub(crate) fn instance(streams: Streams<'_>) -> Result<Instance> {
    // The engine lets the streams of an instance be chosen when it is made, and not later.
    let instance = match [streams.input.as_raw_fd(), streams.output.as_raw_fd()] {
        [0, 1] => Instance::wasi()?,
        [input, output] => Instance::wasi_with_streams([input, output, STDERR])?,
    };
    let ty = FuncType { params: vec![ValType::I32, ValType::I32], results: vec![ValType::I32] };
    instance.add_function("random_get", &ty, &Rc::new(()), random_get)?;
    Ok(instance)
}

/// `(i32 buffer, i32 len) -> i32 errno`: fills the caller's buffer from the kernel's generator.
fn random_get(_: &(), guest: &Guest<'_>, args: &[Val]) -> std::result::Result<Option<Val>, Stop> {
    let (Some(address), Some(len)) = (args[0].as_u32(), args[1].as_u32()) else {
        return Err(Stop::HOST_FAILED);
    };
    let filled = memory::fill_callers_buffer(memory::Linear::of(*guest), address, len, |mut buffer| {
        while !buffer.is_empty() {
            match rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => buffer = &mut buffer[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return ERRNO_IO,
            }
        }
        0
    });
    Ok(Some(Val::I32(filled.unwrap_or(ERRNO_FAULT))))
}

/// Standard input and output. They have to outlive the instance that they are given to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) input: BorrowedFd<'a>,
    pub(crate) output: BorrowedFd<'a>,
}

impl Streams<'_> {
    /// The process's own.
    pub(crate) fn inherited() -> Self {
        Self { input: rustix::stdio::stdin(), output: rustix::stdio::stdout() }
    }
}

/// Reads or writes one of them, for the host itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream<'a>(pub(crate) BorrowedFd<'a>);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a program is started with, in the engine's form.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    args: Vec<CString>,
    env: Vec<CString>,
    preopens: Vec<CString>,
}

impl Start {
    /// Checks and translates. Nothing is opened.
    pub(crate) fn new(args: &[String], env: &[String], preopens: &[Preopen]) -> Result<Self> {
        let strings = |what: &str, list: &[String]| {
            list.iter().map(|item| c_string(what, item)).collect::<Result<Vec<_>>>()
        };
        let preopens = preopens.iter().map(directory).collect::<Result<Vec<_>>>()?;
        Ok(Self { args: strings("argument", args)?, env: strings("environment", env)?, preopens })
    }

    /// The argument vector.
    pub(crate) fn args(&self) -> &[CString] {
        &self.args
    }

    /// The environment.
    pub(crate) fn env(&self) -> &[CString] {
        &self.env
    }

    /// Gives it to `instance`, which opens the directories.
    pub(crate) fn apply(&self, instance: &Instance) -> Result<()> {
        instance.init_wasi(&self.args, &self.env, &self.preopens);
        let opened = (3..).take(self.preopens.len()).filter(|fd| instance.wasi_native(*fd).is_some()).count();
        if opened == self.preopens.len() {
            return Ok(());
        }
        let names = self.preopens.iter().map(|entry| entry.to_string_lossy()).collect::<Vec<_>>().join(", ");
        Err(Error::new(
            ErrorKind::System,
            format!("only {opened} of these directories could be opened: {names}"),
        ))
    }
}

fn c_string(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|error| Error::with(ErrorKind::Request, format!("{what} {text:?}"), error))
}

fn directory(preopen: &Preopen) -> Result<CString> {
    for path in [&preopen.guest, &preopen.host] {
        if path.contains(':') {
            let message = format!("directory {path:?}: the engine cannot take a path with a colon");
            return Err(Error::new(ErrorKind::Request, message));
        }
    }
    let mode = if preopen.read_only { ":readonly" } else { "" };
    c_string("directory", &format!("{}:{}{mode}", preopen.guest, preopen.host))
}

/// The directories that make absolute paths reach the root file system, and relative ones `cwd`.
///
/// `asked` is the runtime's list. Where it holds `/` and the working directory is another one, `/` is replaced by what the
/// module's documentation describes; everything else stays.
pub(crate) fn preopens(asked: &[Preopen], cwd: &Path) -> Result<Vec<Preopen>> {
    let root = asked.iter().position(|preopen| preopen.guest == "/");
    let Some(root) = root.filter(|_| cwd != Path::new("/")) else {
        return Ok(asked.to_vec());
    };
    let here = cwd.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Request, format!("working directory {}: not UTF-8", cwd.display()))
    })?;
    let mut list =
        vec![Preopen { guest: ".".to_owned(), host: here.to_owned(), read_only: asked[root].read_only }];
    list.extend(top_level(&asked[root])?);
    list.extend(
        asked.iter().enumerate().filter(|(index, _)| *index != root).map(|(_, preopen)| preopen.clone()),
    );
    Ok(list)
}

/// One preopen for each directory directly in `root` that can be opened.
fn top_level(root: &Preopen) -> Result<Vec<Preopen>> {
    let failed = |error| Error::with(ErrorKind::System, format!("list directory {}", root.host), error);
    let mut list = Vec::new();
    for entry in std::fs::read_dir(&root.host).map_err(failed)? {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        // A name with a colon is left out rather than refused: it is one folder among many, not what was asked for.
        if KERNEL.contains(&name.as_str()) || name.contains(':') {
            continue;
        }
        let host = format!("{}/{name}", root.host.trim_end_matches('/'));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable =
            rustix::fs::access(&host, rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK).is_ok();
        if readable && rustix::fs::open(&host, flags, Mode::empty()).is_ok() {
            list.push(Preopen { guest: format!("/{name}"), host, read_only: root.read_only });
        }
    }
    list.sort_by(|a, b| a.guest.cmp(&b.guest));
    Ok(list)
}

/// Refuses a working directory in a file system of the kernel's, which would become a preopen: through `/proc/self` a function
/// reaches its own process.
pub(crate) fn check_cwd(cwd: &Path) -> Result<()> {
    let refuse = |what: &str| {
        let message =
            format!("working directory {}: {what}; a function may not have one there", cwd.display());
        Err(Error::new(ErrorKind::Request, message))
    };
    if let Some(name) = KERNEL.iter().find(|name| cwd.starts_with(Path::new("/").join(name))) {
        return refuse(&format!("in /{name}"));
    }
    let stat = rustix::fs::statfs(".").map_err(|error| {
        let what = format!("statfs working directory {}", cwd.display());
        Error::with(ErrorKind::System, what, std::io::Error::from(error))
    })?;
    match KERNEL_TYPES.iter().find(|(magic, _)| *magic == stat.f_type) {
        Some((_, name)) => refuse(&format!("on a file system of type {name}")),
        None => Ok(()),
    }
}

/// The environment, with `PWD` where it is missing and the working directory is not the root.
pub(crate) fn environment(env: &[String], cwd: &Path) -> Vec<String> {
    let mut env = env.to_vec();
    if cwd != Path::new("/") && !env.iter().any(|entry| entry.starts_with("PWD=")) {
        env.extend(cwd.to_str().map(|cwd| format!("PWD={cwd}")));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preopen(guest: &str, host: &str) -> Preopen {
        Preopen { guest: guest.to_owned(), host: host.to_owned(), read_only: false }
    }

    #[test]
    fn colons_are_refused_by_name() {
        for bad in [preopen("/a:b", "/x"), preopen("/a", "/x:readonly")] {
            let error = Start::new(&[], &[], &[bad]).expect_err("a colon");
            assert_eq!(error.kind(), ErrorKind::Request);
            assert!(error.to_string().contains("colon"), "{error}");
        }
    }

    #[test]
    fn zero_bytes_are_refused() {
        let error = Start::new(&["a\0b".to_owned()], &[], &[]).expect_err("a zero byte");
        assert!(error.to_string().contains("argument"), "{error}");
    }

    #[test]
    fn the_root_as_working_directory_needs_one_preopen() {
        let asked = [preopen("/", "/")];
        assert_eq!(preopens(&asked, Path::new("/")).expect("no system call"), asked);
    }

    #[test]
    fn another_working_directory_is_the_dot_and_the_kernels_folders_are_left_out() {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["etc", "proc", "sys", "with:colon", "work"] {
            std::fs::create_dir(root.path().join(name)).expect("a folder");
        }
        std::fs::write(root.path().join("file"), "").expect("a file");
        let host = root.path().to_str().expect("UTF-8");
        let list =
            preopens(&[preopen("/", host), preopen("/extra", "/tmp")], Path::new("/work")).expect("a list");
        let guests: Vec<_> = list.iter().map(|preopen| preopen.guest.as_str()).collect();
        assert_eq!(guests, [".", "/etc", "/work", "/extra"]);
    }

    #[test]
    fn pwd_is_added_only_where_it_is_missing() {
        assert_eq!(environment(&[], Path::new("/")), Vec::<String>::new());
        assert_eq!(environment(&[], Path::new("/w")), ["PWD=/w"]);
        assert_eq!(environment(&["PWD=/x".to_owned()], Path::new("/w")), ["PWD=/x"]);
    }
}
