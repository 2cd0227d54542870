//! The box in which untrusted modules are compiled.
//!
//! After [`enter`] the process has: no network, no file system but an empty tmpfs of bounded size, no descriptor but the module, the
//! result and standard error, no capability, no way to gain one, no user of the host's but `nobody`, bounded memory, time and
//! file sizes, and of the system calls those that a compiler needs to calculate, to use memory, to start threads and to write its
//! own files. It can still use the processor, and say something on standard error.
//!
//! Each step either holds or is an error: there is no half a sandbox. The one choice is where the caller is no root: then a user
//! namespace gives the rights for the steps, and the user behind it is the caller.
//!
//! Follows `namespaces(7)`, `pivot_root(2)`, `capabilities(7)`, `seccomp(2)`.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use caps::CapSet;
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::{detach, trust};

/// The compiler's folder for its own files, which is all the file system it has.
pub(crate) const SCRATCH: &str = "/tmp";

/// The first descriptor after standard error.
pub(crate) const FIRST: i32 = 3;
const NOBODY: u32 = 65534;
/// An empty place to build the new root on that every system has.
const SPOT: &str = "/proc";

/// Bounds of one compilation.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bounds {
    /// Address space in bytes.
    pub(crate) memory: u64,
    /// Processor time; the clock on the wall is the parent's to watch.
    pub(crate) seconds: u64,
    /// Largest file in bytes.
    pub(crate) code: u64,
}

/// Gives up everything but the standard streams and `keep`, which have to be the descriptors that come right after.
pub(crate) fn enter(bounds: &Bounds, keep: &[BorrowedFd<'_>]) -> Result<()> {
    for (expected, fd) in (FIRST..).zip(keep) {
        if fd.as_raw_fd() != expected {
            let message = format!("sandbox: descriptor {} is not the expected {expected}", fd.as_raw_fd());
            return Err(Error::new(ErrorKind::System, message));
        }
    }
    detach::close_from(FIRST.unsigned_abs() + u32::try_from(keep.len()).unwrap_or(0));
    // The first to go when memory runs out.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    own_namespaces()?;
    empty_root(bounds)?;
    limits(bounds)?;
    nobody()?;
    rustix::thread::set_no_new_privs(true).context(ErrorKind::System, || failed("PR_SET_NO_NEW_PRIVS"))?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .context(ErrorKind::System, || failed("PR_SET_DUMPABLE"))?;
    // Changing the user has forgotten any earlier wish of this kind.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context(ErrorKind::System, || failed("PR_SET_PDEATHSIG"))?;
    let filter = filter().context(ErrorKind::System, || failed("the filter"))?;
    filter.load().context(ErrorKind::System, || failed("seccomp"))
}

fn failed(what: &str) -> String {
    format!("sandbox: {what}")
}

/// Namespaces of its own, by right, or else by way of a user namespace.
fn own_namespaces() -> Result<()> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (uid, gid) = (Uid::effective(), Gid::effective());
    // In a user namespace root is a user like others, and `nobody` need not be mapped there.
    if !trust::is_rootless() {
        match unshare(flags) {
            Err(nix::errno::Errno::EPERM) => {}
            done => return done.context(ErrorKind::System, || failed("unshare")),
        }
    }
    unshare(flags | CloneFlags::CLONE_NEWUSER)
        .context(ErrorKind::System, || failed("unshare CLONE_NEWUSER"))?;
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{NOBODY} {uid} 1")),
        ("gid_map", format!("{NOBODY} {gid} 1")),
    ];
    maps.iter().try_for_each(|(file, text)| {
        fs::write(Path::new("/proc/self").join(file), text).context(ErrorKind::System, || failed(file))
    })
}

/// An empty root of bounded size.
fn empty_root(bounds: &Bounds) -> Result<()> {
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context(ErrorKind::System, || failed("mount --make-rprivate /"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("mode=0755,size={}", bounds.memory.min(2 * bounds.code + (64 << 20)));
    mount(Some("tmpfs"), SPOT, Some("tmpfs"), flags, Some(options.as_str()))
        .context(ErrorKind::System, || failed("mount tmpfs"))?;
    nix::unistd::chdir(SPOT).context(ErrorKind::System, || failed("chdir"))?;
    let scratch = SCRATCH.trim_start_matches('/');
    fs::create_dir(scratch).context(ErrorKind::System, || failed("mkdir"))?;
    // Its user becomes nobody, who has to be able to write here and nowhere else.
    fs::set_permissions(scratch, std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .context(ErrorKind::System, || failed("chmod"))?;
    match nix::unistd::pivot_root(".", ".") {
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).context(ErrorKind::System, || failed("umount"))?,
        // The root is the initial ramfs, which cannot be pivoted away from: it is covered instead.
        Err(nix::errno::Errno::EINVAL) => {
            mount(Some("."), "/", none, MsFlags::MS_MOVE, none)
                .context(ErrorKind::System, || failed("mount --move"))?;
            nix::unistd::chroot(".").context(ErrorKind::System, || failed("chroot"))?;
        }
        Err(errno) => return Err(Error::with_source(ErrorKind::System, failed("pivot_root"), errno)),
    }
    nix::unistd::chdir(SCRATCH).context(ErrorKind::System, || failed("chdir"))
}

fn limits(bounds: &Bounds) -> Result<()> {
    // Processor time is bounded for all threads together, so it may be some more than the clock's.
    let limits = [
        (Resource::RLIMIT_AS, bounds.memory, "RLIMIT_AS"),
        (Resource::RLIMIT_CPU, bounds.seconds.saturating_mul(2), "RLIMIT_CPU"),
        (Resource::RLIMIT_FSIZE, bounds.code, "RLIMIT_FSIZE"),
        (Resource::RLIMIT_NOFILE, 64, "RLIMIT_NOFILE"),
        (Resource::RLIMIT_CORE, 0, "RLIMIT_CORE"),
        (Resource::RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK"),
    ];
    limits.iter().try_for_each(|(resource, limit, name)| {
        setrlimit(*resource, *limit, *limit).context(ErrorKind::System, || failed(name))
    })
}

/// No groups, no user of the host's, no capabilities.
fn nobody() -> Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    // While there is still a right to.
    caps::clear(None, CapSet::Bounding).context(ErrorKind::System, || failed("bounding capabilities"))?;
    if Uid::effective().is_root() {
        nix::unistd::setgroups(&[]).context(ErrorKind::System, || failed("setgroups"))?;
        nix::unistd::setresgid(gid, gid, gid).context(ErrorKind::System, || failed("setresgid"))?;
        nix::unistd::setresuid(uid, uid, uid).context(ErrorKind::System, || failed("setresuid"))?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).context(ErrorKind::System, || failed("capabilities"))?;
    }
    Ok(())
}

/// What a compiler needs, as measured with large and small modules, and what the C library may use in its place on
/// other architectures and in other versions. The rest is EPERM.
const ALLOWED: &[&str] = &[
    // Memory.
    "brk",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    // Threads of its own, and waiting for them.
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "gettid",
    "rseq",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    // Signals to itself: abort(3).
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    // Its own files.
    "access",
    "close",
    "faccessat",
    "faccessat2",
    "fallocate",
    "fcntl",
    "fstat",
    "ftruncate",
    "getcwd",
    "getdents64",
    "lseek",
    "lstat",
    "newfstatat",
    "open",
    "openat",
    "pread64",
    "pwrite64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "stat",
    "statfs",
    "statx",
    "unlink",
    "unlinkat",
    "write",
    "writev",
    // Clocks, chance, and what it runs on.
    "clock_gettime",
    "clock_nanosleep",
    "getrandom",
    "getrusage",
    "gettimeofday",
    "nanosleep",
    "sysinfo",
    "uname",
];

fn filter() -> Result<ScmpFilterContext, libseccomp::error::SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(libc::EPERM))?;
    for name in ALLOWED {
        // A name that this architecture does not have needs no rule.
        if let Ok(call) = ScmpSyscall::from_name(name) {
            filter.add_rule(ScmpAction::Allow, call)?;
        }
    }
    let equal = |argument, value| ScmpArgCompare::new(argument, ScmpCompareOp::Equal, value);
    // Threads, but no processes; clone3 hides its flags, and the C library falls back from ENOSYS.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let is_thread = ScmpArgCompare::new(0, ScmpCompareOp::MaskedEqual(thread), thread);
    filter.add_rule(ScmpAction::Errno(libc::ENOSYS), ScmpSyscall::from_name("clone3")?)?;
    let own = u64::from(std::process::id());
    let conditional = [
        ("clone", is_thread),
        // Is it a terminal?
        ("ioctl", equal(1, libc::TCGETS)),
        ("prctl", equal(0, u64::from(libc::PR_SET_NAME.unsigned_abs()))),
        // Ask for limits, not set them.
        ("prlimit64", equal(2, 0)),
        // To itself, and not to another of nobody's processes.
        ("tgkill", equal(0, own)),
    ];
    for (name, condition) in conditional {
        filter.add_rule_conditional(ScmpAction::Allow, ScmpSyscall::from_name(name)?, &[condition])?;
    }
    Ok(filter)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;
    use std::process::{Command, Stdio};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    const BOUNDS: Bounds = Bounds { memory: 4 << 30, seconds: 60, code: 1 << 20 };
    const MARK: &str = "RR_TEST_SANDBOX";

    /// Says what can be done in the sandbox; runs in a process of its own, which `the_sandbox_holds` starts.
    #[test]
    #[ignore = "gives up the process's rights; started by the_sandbox_holds"]
    fn inside() {
        if std::env::var_os(MARK).is_none() {
            return;
        }
        if let Err(error) = enter(&BOUNDS, &[]) {
            say(
                "enter",
                Err::<(), _>(std::io::Error::other(format!(
                    "{error}: {:?}",
                    std::error::Error::source(&error)
                ))),
            );
            return;
        }
        say("root", fs::read_dir("/").map(|entries| assert_eq!(entries.count(), 1)));
        say("passwd", fs::read("/etc/passwd").map(drop));
        say("proc", fs::read("/proc/self/status").map(drop));
        say("root-write", fs::write("/x", "x"));
        say("scratch", fs::write("/tmp/x", "x"));
        say("descriptor", nix::sys::stat::fstat(3).map(drop).map_err(Into::into));
        say(
            "inet",
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
                .map(drop)
                .map_err(Into::into),
        );
        say(
            "unix",
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)
                .map(drop)
                .map_err(Into::into),
        );
        say("kill", nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None).map_err(Into::into));
        say(
            "mount",
            mount(Some("x"), "/tmp", Some("tmpfs"), MsFlags::empty(), None::<&str>).map_err(Into::into),
        );
        say("unshare", unshare(CloneFlags::CLONE_NEWUSER).map_err(Into::into));
        say("setuid", nix::unistd::setuid(Uid::from_raw(0)).map_err(Into::into));
        say("limit", setrlimit(Resource::RLIMIT_CORE, 1, 1).map_err(Into::into));
        say("exec", nix::unistd::execv(c"/tmp/x", &[c"x"]).map(drop).map_err(Into::into));
        say("process", Command::new("/tmp/x").spawn().map(drop));
        say("thread", std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()));
    }

    fn say(what: &str, result: std::io::Result<()>) {
        let result = result.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        eprintln!("sandbox {what}: {result}");
    }

    #[test]
    fn the_sandbox_holds() {
        let output = Command::new("/proc/self/exe")
            .args(["--exact", "sandbox::tests::inside", "--ignored", "--nocapture", "--test-threads=1"])
            .env(MARK, "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let said: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("sandbox ")?.split_once(": ")).collect();
        if let Some(why) = said.get("enter") {
            assert!(!Uid::effective().is_root(), "root can make a sandbox: {why}");
            crate::announce_skip(&format!("this user cannot make namespaces here: {why}"));
            return;
        }
        for what in ["root", "scratch", "thread"] {
            assert_eq!(said.get(what), Some(&"done"), "{what}: {text}");
        }
        for what in [
            "passwd",
            "proc",
            "root-write",
            "descriptor",
            "inet",
            "unix",
            "kill",
            "mount",
            "unshare",
            "setuid",
            "limit",
            "exec",
            "process",
        ] {
            assert!(said.get(what).is_some_and(|result| *result != "done"), "{what} was possible: {text}");
        }
    }
}
