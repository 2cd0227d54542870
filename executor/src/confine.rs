//! Which system calls are left to a process that runs functions.
//!
//! A function makes none itself: the engine and this crate make them for what it imports. So the filter follows from
//! what the modules of a process import, and from how its hose reaches others. A function that computes has no way to open a
//! socket, nor has one that opens no files a way to rename any. No process can start another one or a program, make what is
//! no code executable, or reach another process, a device, a key, a mount or a namespace.
//!
//! It is installed where a container's configuration brings no filter of its own, as the last thing before the first instruction
//! of a function: modules have been read, code has been mapped, signals and limits are set by then.
//!
//! What is not permitted fails with ENOSYS, which libraries take for an older kernel, and work around.
//!
//! The lists were measured (`scripts/measure-calls`), and docs/seccomp.md gives each call its reason. See seccomp(2).

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::error::{Error, ErrorKind, Result};
use crate::link::Uses;

/// What a process has to be able to do beside computing, and talking on its standard streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Its functions open files.
    pub(crate) files: bool,
    /// Its functions open sockets.
    pub(crate) sockets: bool,
    /// It has a hose.
    pub(crate) hose: bool,
    /// Its hose reaches other containers of this host.
    pub(crate) unix: bool,
    /// Its hose reaches other hosts.
    pub(crate) network: bool,
    /// Functions can be added, of which nobody knows yet what they will import.
    pub(crate) additions: bool,
}

impl Needs {
    /// Those of a process whose modules use this.
    pub(crate) fn of(used: impl Iterator<Item = Uses>) -> Self {
        used.fold(Self::default(), |needs, uses| Self {
            files: needs.files || uses.files,
            sockets: needs.sockets || uses.sockets,
            ..needs
        })
    }
}

/// Which calls of a number are meant.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// The argument, masked, is the value.
    Masked(u8, u64, u64),
    /// The argument is one of these.
    Among(u8, &'static [c_long]),
    /// This one is zero, and that one is the value.
    OwnAnd(u8, u8, u64),
}

/// A system call by its name, its number, and when it is permitted.
type Call = (&'static str, c_long, When);

use When::{Always, Among, Masked, OwnAnd};

/// Computing, standard streams, time.
const ALWAYS: &[Call] = &[
    // Memory: the engine's, and a thread's stack.
    ("brk", libc::SYS_brk, Always),
    ("madvise", libc::SYS_madvise, Always),
    ("mincore", libc::SYS_mincore, Always),
    ("mmap", libc::SYS_mmap, NOT_EXECUTABLE),
    ("mprotect", libc::SYS_mprotect, NOT_EXECUTABLE),
    ("mremap", libc::SYS_mremap, Always),
    ("munmap", libc::SYS_munmap, Always),
    // Threads and signals.
    ("clone", libc::SYS_clone, Masked(0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64)),
    ("exit", libc::SYS_exit, Always),
    ("exit_group", libc::SYS_exit_group, Always),
    ("futex", libc::SYS_futex, Always),
    ("getpid", libc::SYS_getpid, Always),
    ("gettid", libc::SYS_gettid, Always),
    ("prctl", libc::SYS_prctl, Among(0, &[libc::PR_SET_NAME as c_long])),
    ("restart_syscall", libc::SYS_restart_syscall, Always),
    ("rseq", libc::SYS_rseq, Always),
    ("rt_sigaction", libc::SYS_rt_sigaction, Always),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask, Always),
    ("rt_sigreturn", libc::SYS_rt_sigreturn, Always),
    ("rt_sigtimedwait", libc::SYS_rt_sigtimedwait, Always),
    ("sched_getaffinity", libc::SYS_sched_getaffinity, Always),
    ("sched_yield", libc::SYS_sched_yield, Always),
    ("set_robust_list", libc::SYS_set_robust_list, Always),
    ("sigaltstack", libc::SYS_sigaltstack, Always),
    // Descriptors that are open: standard streams may be files, pipes, terminals, sockets.
    ("close", libc::SYS_close, Always),
    ("dup", libc::SYS_dup, Always),
    ("fadvise64", libc::SYS_fadvise64, Always),
    ("fallocate", libc::SYS_fallocate, Always),
    ("fcntl", libc::SYS_fcntl, Among(1, FCNTL)),
    ("fdatasync", libc::SYS_fdatasync, Always),
    ("fstat", libc::SYS_fstat, Always),
    ("fsync", libc::SYS_fsync, Always),
    ("ftruncate", libc::SYS_ftruncate, Always),
    ("ioctl", libc::SYS_ioctl, Among(1, &[libc::TCGETS as c_long])),
    ("lseek", libc::SYS_lseek, Always),
    ("newfstatat", libc::SYS_newfstatat, Always),
    #[cfg(target_arch = "x86_64")]
    ("open", libc::SYS_open, Always),
    ("openat", libc::SYS_openat, Always),
    ("pread64", libc::SYS_pread64, Always),
    ("preadv", libc::SYS_preadv, Always),
    ("pwrite64", libc::SYS_pwrite64, Always),
    ("pwritev", libc::SYS_pwritev, Always),
    ("read", libc::SYS_read, Always),
    ("readv", libc::SYS_readv, Always),
    ("utimensat", libc::SYS_utimensat, Always),
    ("write", libc::SYS_write, Always),
    ("writev", libc::SYS_writev, Always),
    // Waiting, clocks, chance.
    ("clock_getres", libc::SYS_clock_getres, Always),
    ("clock_gettime", libc::SYS_clock_gettime, Always),
    ("clock_nanosleep", libc::SYS_clock_nanosleep, Always),
    ("epoll_create1", libc::SYS_epoll_create1, Always),
    ("epoll_ctl", libc::SYS_epoll_ctl, Always),
    ("epoll_pwait", libc::SYS_epoll_pwait, Always),
    ("getrandom", libc::SYS_getrandom, Always),
    ("ppoll", libc::SYS_ppoll, Always),
    ("timerfd_create", libc::SYS_timerfd_create, Always),
    ("timerfd_settime", libc::SYS_timerfd_settime, Always),
    #[cfg(target_arch = "x86_64")]
    ("epoll_wait", libc::SYS_epoll_wait, Always),
    #[cfg(target_arch = "x86_64")]
    ("poll", libc::SYS_poll, Always),
];

/// Memory never becomes code.
const NOT_EXECUTABLE: When = Masked(2, libc::PROT_EXEC as u64, 0);

/// Flags and copies of descriptors; no locks, leases, owners or notifications.
const FCNTL: &[c_long] = &[
    libc::F_DUPFD_CLOEXEC as c_long,
    libc::F_GETFD as c_long,
    libc::F_SETFD as c_long,
    libc::F_GETFL as c_long,
    libc::F_SETFL as c_long,
];

/// Files and folders by their names.
const FILES: &[Call] = &[
    ("faccessat", libc::SYS_faccessat, Always),
    ("faccessat2", libc::SYS_faccessat2, Always),
    ("getdents64", libc::SYS_getdents64, Always),
    ("linkat", libc::SYS_linkat, Always),
    ("mkdirat", libc::SYS_mkdirat, Always),
    ("readlinkat", libc::SYS_readlinkat, Always),
    ("renameat", libc::SYS_renameat, Always),
    ("symlinkat", libc::SYS_symlinkat, Always),
    ("unlinkat", libc::SYS_unlinkat, Always),
];

/// Functions that wait for each other, and payloads that are sealed or become standard streams.
const HOSE: &[Call] = &[
    ("eventfd2", libc::SYS_eventfd2, Always),
    ("fcntl", libc::SYS_fcntl, Among(1, &[libc::F_ADD_SEALS as c_long, libc::F_GET_SEALS as c_long])),
    ("memfd_create", libc::SYS_memfd_create, Always),
    ("socketpair", libc::SYS_socketpair, Masked(0, u32::MAX as u64, libc::AF_UNIX as u64)),
];

/// Connections, whoever has them.
const CONNECTIONS: &[Call] = &[
    ("accept4", libc::SYS_accept4, Always),
    ("connect", libc::SYS_connect, Always),
    ("getpeername", libc::SYS_getpeername, Always),
    ("getsockopt", libc::SYS_getsockopt, Always),
    ("recvfrom", libc::SYS_recvfrom, Always),
    ("recvmsg", libc::SYS_recvmsg, Always),
    ("sendmsg", libc::SYS_sendmsg, Always),
    ("sendto", libc::SYS_sendto, Always),
    ("setsockopt", libc::SYS_setsockopt, Always),
    ("shutdown", libc::SYS_shutdown, Always),
];

/// The rendezvous, and what other containers give.
const UNIX: &[Call] = &[("fchdir", libc::SYS_fchdir, Always), ("fstatfs", libc::SYS_fstatfs, Always)];

/// Memory that is lent to the network.
const NETWORK: &[Call] = &[
    ("fcntl", libc::SYS_fcntl, Among(1, &[libc::F_SETPIPE_SZ as c_long])),
    ("pipe2", libc::SYS_pipe2, Always),
    ("splice", libc::SYS_splice, Always),
    ("vmsplice", libc::SYS_vmsplice, Always),
];

/// Sockets that a function opens itself.
const SOCKETS: &[Call] = &[
    ("bind", libc::SYS_bind, Always),
    ("getsockname", libc::SYS_getsockname, Always),
    ("listen", libc::SYS_listen, Always),
    ("uname", libc::SYS_uname, Always),
    #[cfg(target_arch = "x86_64")]
    ("accept", libc::SYS_accept, Always),
];

/// What can be added later may be compiled, and has to be mapped as code; and it needs room.
const ADDITIONS: &[Call] = &[
    ("getcwd", libc::SYS_getcwd, Always),
    ("mmap", libc::SYS_mmap, Always),
    ("mprotect", libc::SYS_mprotect, Always),
    ("prlimit64", libc::SYS_prlimit64, OwnAnd(0, 1, libc::RLIMIT_DATA as u64)),
    ("statfs", libc::SYS_statfs, Always),
];

/// Leaves this process and its threads what it needs, and no way to gain more.
///
/// # Errors
/// [`ErrorKind::System`]: the kernel has no filters, or an earlier one keeps this one out.
pub(crate) fn apply(needs: Needs) -> Result<()> {
    let failed = |error| Error::with(ErrorKind::System, "seccomp filter of the function", error);
    let program = program(needs).map_err(|error| failed(error.into()))?;
    seccompiler::apply_filter_all_threads(&program).map_err(failed)
}

fn program(needs: Needs) -> std::result::Result<BpfProgram, seccompiler::BackendError> {
    let calls = || lists(needs).into_iter().flatten().copied().chain(own(needs));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, number, when) in calls() {
        use SeccompCmpOp::{Eq, MaskedEq};
        // Any of these rules is enough, all conditions of one have to hold.
        let alternatives = match when {
            Always => Vec::new(),
            Masked(argument, mask, value) => vec![vec![(argument, MaskedEq(mask), value)]],
            Among(argument, values) => {
                values.iter().map(|value| vec![(argument, Eq, value.cast_unsigned())]).collect()
            }
            OwnAnd(own, argument, value) => vec![vec![(own, Eq, 0), (argument, Eq, value)]],
        };
        for conditions in alternatives {
            let conditions = conditions.into_iter().map(|(argument, operator, value)| {
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            });
            let rule = SeccompRule::new(conditions.collect::<std::result::Result<_, _>>()?)?;
            rules.entry(number).or_default().push(rule);
        }
    }
    // Without a rule it is permitted, whatever another list asks of its arguments.
    let always = calls().filter(|(_, _, when)| matches!(when, Always));
    rules.extend(always.map(|(_, number, _)| (number, Vec::new())));
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// What depends on the process: signals for itself only, and the sockets that it can make.
fn own(needs: Needs) -> impl Iterator<Item = Call> {
    let equals = |value: u32| Masked(0, u64::from(u32::MAX), u64::from(value));
    let asked = needs.sockets || needs.additions;
    let families = [
        (needs.unix || asked, libc::AF_UNIX),
        (needs.network || asked, libc::AF_INET),
        (needs.network || asked, libc::AF_INET6),
        // getaddrinfo(3) asks which addresses the host has.
        (asked, libc::AF_NETLINK),
    ];
    let families = families.into_iter().filter(|(needed, _)| *needed);
    let sockets =
        families.map(move |(_, family)| ("socket", libc::SYS_socket, equals(family.unsigned_abs())));
    sockets.chain([("tgkill", libc::SYS_tgkill, equals(std::process::id()))])
}

fn lists(needs: Needs) -> Vec<&'static [Call]> {
    let Needs { files, sockets, hose, unix, network, additions } = needs;
    let lists = [
        (true, ALWAYS),
        (files || additions, FILES),
        (hose, HOSE),
        (unix || network || sockets || additions, CONNECTIONS),
        (unix, UNIX),
        (network, NETWORK),
        (sockets || additions, SOCKETS),
        (additions, ADDITIONS),
    ];
    lists.into_iter().filter(|(needed, _)| *needed).map(|(_, list)| list).collect()
}

#[cfg(test)]
#[expect(unsafe_code, clippy::unwrap_used, reason = "tests of system calls")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    const MARK: &str = "RR_TEST_CONFINED";
    const FOLDER: &str = "RR_TEST_CONFINED_FOLDER";
    const ALL: Needs =
        Needs { files: true, sockets: true, hose: true, unix: true, network: true, additions: true };

    /// Says what a confined process can do; runs in one of its own, which [`said_with`] starts.
    #[test]
    #[ignore = "confines the process; started by other tests"]
    fn inside() {
        let Ok(needs) = std::env::var(MARK) else { return };
        let has = |need: &str| needs.contains(need);
        let needs = Needs {
            files: has("files"),
            sockets: has("sockets"),
            unix: has("unix"),
            network: has("network"),
            ..Needs::default()
        };
        let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
        let path = folder.join("file");
        std::fs::write(&path, "x").unwrap();
        apply(needs).unwrap();
        say("read", std::fs::read(&path).map(drop));
        say("write", std::fs::write(&path, "y"));
        say("thread", std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()));
        use rustix::fs::{CWD, renameat};
        say("rename", renameat(CWD, &path, CWD, folder.join("other")).map_err(Into::into));
        say("unix", UnixListener::bind(folder.join("socket")).map(drop));
        say("inet", TcpListener::bind("127.0.0.1:0").map(drop));
        say("program", Command::new("/bin/true").status().map(drop));
        let own = [std::process::id().into(), rustix::thread::gettid().as_raw_nonzero().get().into()];
        let parent = std::os::unix::process::parent_id().into();
        let (anonymous, exec) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_EXEC);
        let map =
            |protection: i32| call(libc::SYS_mmap, [0, 4096, protection.into(), anonymous.into(), -1, 0]);
        let memory = map(libc::PROT_READ | libc::PROT_WRITE).unwrap();
        say("code", map(exec).map(drop));
        for (what, number, arguments) in [
            ("netlink", libc::SYS_socket, &[libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0][..]),
            ("packet", libc::SYS_socket, &[libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0]),
            ("vsock", libc::SYS_socket, &[libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0]),
            ("process", libc::SYS_clone, &[libc::SIGCHLD.into()]),
            ("ptrace", libc::SYS_ptrace, &[libc::PTRACE_TRACEME.into()]),
            ("signal", libc::SYS_kill, &[1, 0]),
            ("signal-thread", libc::SYS_tgkill, &[parent, parent, 0]),
            ("signal-itself", libc::SYS_tgkill, &[own[0], own[1], 0]),
            ("unshare", libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()]),
            ("bpf", libc::SYS_bpf, &[]),
            ("io_uring", libc::SYS_io_uring_setup, &[1, 0]),
            ("keyring", libc::SYS_keyctl, &[]),
            ("prctl", libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1]),
            ("ioctl", libc::SYS_ioctl, &[0, libc::TIOCSTI.cast_signed()]),
            ("becomes-code", libc::SYS_mprotect, &[memory, 4096, exec.into()]),
        ] {
            let mut all = [0; 6];
            all[..arguments.len()].copy_from_slice(arguments);
            say(what, call(number, all).map(drop));
        }
    }

    fn call(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> std::io::Result<c_long> {
        // SAFETY: what the test calls takes numbers, null where a pointer is asked for, and memory that was mapped for it.
        match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
            -1 => Err(std::io::Error::last_os_error()),
            result => Ok(result),
        }
    }

    fn say(what: &str, result: std::io::Result<()>) {
        let result = result.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        eprintln!("confined {what}: {result}");
    }

    /// What could be done by a process with these needs.
    fn done_with(needs: &str) -> BTreeSet<String> {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("/proc/self/exe")
            .args(["--exact", "confine::tests::inside", "--ignored", "--nocapture", "--test-threads=1"])
            .env(MARK, needs)
            .env(FOLDER, folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let said: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("confined ")?.split_once(": ")).collect();
        assert_eq!(said.len(), 23, "{text}");
        said.into_iter().filter(|(_, result)| *result == "done").map(|(what, _)| what.to_owned()).collect()
    }

    #[test]
    fn a_process_can_do_what_it_needs_and_nothing_else() {
        let always = ["read", "signal-itself", "thread", "write"];
        for (needs, more) in [
            ("none", &[][..]),
            ("files", &["rename"]),
            ("sockets", &["inet", "netlink", "unix"]),
            // A hose binds nothing in here, and has its listening sockets already.
            ("unix", &[]),
            ("network", &[]),
        ] {
            let expected = always.iter().chain(more).map(ToString::to_string).collect::<BTreeSet<_>>();
            assert_eq!(done_with(needs), expected, "{needs}");
        }
    }

    #[test]
    fn every_call_is_told_of_and_no_other_one() {
        let page = include_str!("../../docs/seccomp.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let told: BTreeSet<&str> =
            rows.map(|(names, _)| names).flat_map(|names| names.split("`, `")).collect();
        let permitted = lists(ALL).into_iter().flatten().copied().chain(own(ALL));
        let permitted: BTreeSet<&str> = permitted.map(|(name, _, _)| name).collect();
        assert_eq!(told, permitted);
    }
}
