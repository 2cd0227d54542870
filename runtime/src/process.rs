//! A process of the host, named so that a reused pid is never taken for it.
//!
//! A pid alone names whatever runs under it now. Together with the start time (`/proc/PID/stat`, field 22, in
//! clock ticks since boot) it names one process for as long as the machine runs. A signal goes through a pidfd that
//! was opened *before* the start time was compared, so that nothing can come between the check and the signal.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::receiver::Receiver;

/// One process, for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

/// A file of one short line that the kernel makes up when it is read: at once, which takes a third of the calls of `fs::read`.
pub(crate) fn read_line(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut line = vec![0; 1024];
    let count = fs::File::open(path)?.read(&mut line)?;
    line.truncate(count);
    Ok(line)
}

/// What a process's standard streams are, as readlink(2) gives them. One that is closed counts as `/dev/null`.
pub(crate) fn standard_streams(process: &str) -> Vec<String> {
    let name = |fd: i32| fs::read_link(format!("/proc/{process}/fd/{fd}"));
    (0..3)
        .map(|fd| {
            name(fd).map_or_else(|_| "/dev/null".to_owned(), |name| name.to_string_lossy().into_owned())
        })
        .collect()
}

/// Who is sent a descriptor of a process, if anybody is.
#[derive(Debug)]
pub(crate) struct PidReceiver(Option<Receiver>);

impl PidReceiver {
    /// Connects to the socket that the caller has named.
    pub(crate) fn connect(path: Option<&Path>) -> Result<Self> {
        path.map(|path| Receiver::connect("pidfd socket", path)).transpose().map(Self)
    }

    /// Sends a descriptor of a process that nobody has waited for yet.
    pub(crate) fn send(&self, pid: i32) -> Result<()> {
        let Some(receiver) = &self.0 else { return Ok(()) };
        let descriptor = open_pidfd(pid).context(ErrorKind::System, || format!("pidfd_open of pid {pid}"))?;
        receiver.send(&descriptor, "pidfd")
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    start_time: u64,
}

impl Identity {
    /// The process that has this pid now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when there is none.
    pub fn of(pid: i32) -> Result<Self> {
        let stat =
            Stat::read(pid).context(ErrorKind::System, || format!("/proc/{pid}/stat: cannot be read"))?;
        Ok(Self { pid, start_time: stat.start_time })
    }

    /// Whether the process exists and has not exited; a zombie has.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid)
            .is_ok_and(|stat| stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X'))
    }

    /// A descriptor of exactly this process; `None` when it is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] for anything but a missing process.
    pub fn open(self) -> Result<Option<OwnedFd>> {
        let fd = match open_pidfd(self.pid) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => {
                return Err(Error::with_source(
                    ErrorKind::System,
                    format!("pidfd_open of pid {}", self.pid),
                    error,
                ));
            }
        };
        Ok(self.is_alive().then_some(fd))
    }

    /// The root directory of exactly this process; `None` when it is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when it cannot be opened.
    pub(crate) fn root(self) -> Result<Option<OwnedFd>> {
        let path = format!("/proc/{}/root", self.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty())
            .context(ErrorKind::System, || format!("{path}: cannot be opened"))?;
        // Compared after it was opened: what was opened is then this process's.
        Ok(self.is_alive().then_some(root))
    }

    /// Sends a signal to exactly this process; `false` when it is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when the kernel refuses.
    pub fn signal(self, signal: Signal) -> Result<bool> {
        let Some(fd) = self.open()? else { return Ok(false) };
        match rustix::process::pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(Error::with_source(
                ErrorKind::System,
                format!("signal {} to pid {}", signal.as_raw(), self.pid),
                error,
            )),
        }
    }
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = read_line(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected format"))
    }

    /// See proc_pid_stat(5). The name, field 2, stands in parentheses and may hold any byte, also `)` and spaces.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        // Fields are counted from 1; `parent` was field 4.
        let start_time = fields.nth(22 - 5)?.parse().ok()?;
        Some(Self { state, parent, start_time })
    }
}

/// Whether this process is a child of `pid`, or a child of its children.
pub(crate) fn is_ancestor(pid: i32) -> bool {
    let mut next = std::os::unix::process::parent_id().cast_signed();
    while next > 0 && next != pid {
        next = Stat::read(next).map_or(0, |stat| stat.parent);
    }
    next > 0
}

/// Whether `pid` runs the file that this process runs, from whichever mount.
pub(crate) fn runs_this_program(pid: i32) -> bool {
    let file = |path: String| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let theirs = file(format!("/proc/{pid}/exe"));
    theirs.is_some() && theirs == file("/proc/self/exe".to_owned())
}

fn open_pidfd(pid: i32) -> rustix::io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"7 (a) b) R) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20 21";
        assert_eq!(Stat::parse(line), Some(Stat { state: b'S', parent: 1, start_time: 424_242 }));
        assert_eq!(Stat::parse(b"7 (a) S 1 2"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn parents_are_ancestors_and_others_are_not() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert!(is_ancestor(std::os::unix::process::parent_id().cast_signed()));
        assert!(!is_ancestor(own) && !is_ancestor(i32::MAX) && !is_ancestor(0));
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let me = Identity::of(pid).expect("own stat");
        assert!(me.is_alive());
        let reused = Identity { start_time: me.start_time + 1, ..me };
        assert!(!reused.is_alive());
        assert!(reused.open().expect("open").is_none());
        assert!(!reused.signal(Signal::KILL).expect("no signal is sent"));
    }
}
