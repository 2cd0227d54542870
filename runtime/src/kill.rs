//! `kill`: a signal to init, or to everything in the container.
//!
//! Takes no lock and writes nothing: a signal, whichever it is, does not make a container stopped; only its init's end does.

use rustix::process::Signal;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::signals;
use crate::state::{State, Status, Store};

/// Reads a signal's name or number, as runc does: `KILL`, `SIGKILL`, `kill`, `9`, `RTMIN+3`. 0 is none: it is only looked whether there is somebody to signal.
///
/// # Errors
///
/// [`ErrorKind::Usage`], in runc's words.
pub fn parse_signal(text: &str) -> Result<Option<Signal>> {
    let unknown = || Error::new(ErrorKind::Usage, format!("unknown signal {text:?}"));
    let number = match text.parse::<i32>() {
        Ok(number) => number,
        Err(_) => named(&text.to_ascii_uppercase()).ok_or_else(unknown)?,
    };
    if number == 0 {
        return Ok(None);
    }
    signals::from_number(number).map(Some).ok_or_else(unknown)
}

fn named(name: &str) -> Option<i32> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(offset) = short.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then(|| libc::SIGRTMIN() + offset);
    }
    if let Some(offset) = short.strip_prefix("RTMAX") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then(|| libc::SIGRTMAX() - offset);
    }
    let alias = match short {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        "UNUSED" => "SYS",
        other => other,
    };
    format!("SIG{alias}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// Sends a signal.
///
/// # Errors
///
/// [`ErrorKind::Status`] with runc's `container not running` when there is nothing to signal.
pub fn kill(store: &Store, id: &ContainerId, signal: Option<Signal>, all: bool) -> Result<()> {
    let state = store.load(id)?;
    match signal {
        // Of one without a cgroup there is none to know the others by.
        Some(signal) if all && !state.cgroup.is_nowhere() => state.cgroup.signal_all(signal),
        // As under runc, also for one that is stopped.
        None if all => Ok(()),
        // The end of an init of a pid namespace is that of all in it; of another one's the others have to be killed, as under runc, also when it has
        // gone before them.
        Some(Signal::KILL) if state.shares_pids && !state.cgroup.pids()?.is_empty() => {
            state.cgroup.signal_all(Signal::KILL)
        }
        signal => send(&state, state.status(store), signal),
    }
}

fn send(state: &State, status: Status, signal: Option<Signal>) -> Result<()> {
    let not_running = || Error::new(ErrorKind::Status, "container not running");
    let init = match (status, state.init) {
        (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
        _ => return Err(not_running()),
    };
    let there = match signal {
        Some(signal) => init.signal(signal)?,
        None => init.is_alive(),
    };
    if !there {
        return Err(not_running());
    }
    // A frozen process of version 1 does not even die.
    if status == Status::Paused && signal == Some(Signal::KILL) {
        state.cgroup.freeze(false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_runc_reads_them() {
        for (text, number) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("CLD", 17),
        ] {
            let signal = parse_signal(text).expect("a signal");
            assert_eq!(signal.map(Signal::as_raw), Some(number), "{text}");
        }
        assert_eq!(parse_signal("0").expect("none"), None);
        for text in ["", "65", "-1", "NOPE", "SIG", "RTMIN+99", "RTMIN3"] {
            assert_eq!(parse_signal(text).map_err(|e| e.kind()), Err(ErrorKind::Usage), "{text}");
        }
    }
}
