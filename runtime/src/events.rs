//! `events`: what a container uses, every so often, and that it ran out of memory, as lines of JSON in runc's form.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::process::Identity;
use crate::state::{Status, Store};
use crate::usage::{self, Usage};

/// One line.
#[derive(Debug, Serialize)]
struct Event<'a> {
    r#type: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Usage>,
}

/// Writes what a container uses: once, or again and again, until it has ended.
///
/// # Errors
///
/// [`ErrorKind::Status`] when it does not run, [`ErrorKind::Usage`] for an interval of 0.
pub fn events(
    store: &Store,
    id: &ContainerId,
    interval: Option<Duration>,
    out: &mut impl Write,
) -> Result<()> {
    if interval.is_some_and(|interval| interval.is_zero()) {
        return Err(Error::new(ErrorKind::Usage, "duration interval must be greater than 0"));
    }
    let state = store.load(id)?;
    let stopped = || Error::new(ErrorKind::Status, format!("container with id {id} is not running"));
    if state.status(store) == Status::Stopped {
        return Err(stopped());
    }
    let ended = state.init.map(Identity::open).transpose()?.flatten().ok_or_else(stopped)?;
    let mut say = |r#type, data| {
        let event = Event { r#type, id: id.as_str(), data };
        let line = serde_json::to_string(&event).context(ErrorKind::System, || "events".to_owned())?;
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        written.context(ErrorKind::System, || "standard output: cannot be written".to_owned())
    };
    let Some(interval) = interval else { return say("stats", Some(Usage::of(&state.cgroup))) };
    let mut hunger = Hunger::watch(&state.cgroup)?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let time = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let (gone, hungry) = {
            let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
            fds.extend(hunger.as_ref().map(|hunger| PollFd::new(hunger, PollFlags::IN)));
            let polled = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&time)));
            polled.context(ErrorKind::System, || "poll".to_owned())?;
            let said = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            (said(0), said(1))
        };
        if let Some(hunger) = hunger.as_mut().filter(|_| hungry) {
            for _ in 0..hunger.count() {
                say("oom", None)?;
            }
        }
        if gone {
            return Ok(());
        }
        if Instant::now() >= next {
            say("stats", Some(Usage::of(&state.cgroup)))?;
            next += interval;
        }
    }
}

/// Who hears that a container has run out of memory.
enum Hunger {
    /// Version 1: cgroup-v1/memory.rst, section 10.
    Eventfd { events: OwnedFd, _control: fs::File, folder: PathBuf },
    /// Version 2: the file says how often something was killed for it.
    Inotify { events: OwnedFd, file: PathBuf, killed: u64 },
}

impl Hunger {
    /// Nothing where no controller of memory is.
    fn watch(cgroup: &Cgroup) -> Result<Option<Self>> {
        let watched = if let Some(file) = cgroup.file("memory.oom_control") {
            Self::version1(&file)
        } else if let Some(file) = cgroup.file("memory.events") {
            Self::version2(file)
        } else {
            return Ok(None);
        };
        watched.map(Some).context(ErrorKind::System, || "memory: cannot be watched".to_owned())
    }

    fn version1(file: &Path) -> std::io::Result<Self> {
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        let control = fs::File::open(file)?;
        let events = eventfd(0, EventfdFlags::CLOEXEC)?;
        let line = format!("{} {}", events.as_raw_fd(), control.as_raw_fd());
        fs::write(folder.join("cgroup.event_control"), line)?;
        Ok(Self::Eventfd { events, _control: control, folder })
    }

    fn version2(file: PathBuf) -> std::io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&events, &file, inotify::WatchFlags::MODIFY)?;
        let killed = killed(&file);
        Ok(Self::Inotify { events, file, killed })
    }

    /// How often it has happened since it was asked last.
    fn count(&mut self) -> u64 {
        match self {
            Self::Eventfd { events, folder, .. } => {
                let mut count = [0; 8];
                let read = rustix::io::read(&*events, &mut count);
                // It is told, too, that the cgroup is gone.
                let there = folder.join("cgroup.event_control").exists();
                if there && read == Ok(8) { u64::from_ne_bytes(count) } else { 0 }
            }
            Self::Inotify { events, file, killed: before } => {
                let mut changes = [0; 4096];
                while rustix::io::read(&*events, &mut changes).is_ok_and(|length| length > 0) {}
                let now = killed(file);
                now.saturating_sub(std::mem::replace(before, now))
            }
        }
    }
}

impl AsFd for Hunger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Eventfd { events, .. } | Self::Inotify { events, .. } => events.as_fd(),
        }
    }
}

fn killed(file: &Path) -> u64 {
    let events = usage::keyed(&fs::read_to_string(file).unwrap_or_default());
    events.get("oom_kill").copied().unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn version_2_counts_what_was_killed_since() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        fs::write(&file, "low 0\noom_kill 2\n").unwrap();
        let mut hunger = Hunger::version2(file.clone()).unwrap();
        fs::write(&file, "low 0\noom_kill 5\n").unwrap();
        assert_eq!((hunger.count(), hunger.count()), (3, 0));
    }
}
