//! `run`: create, start, wait, delete, in one process.

use std::os::fd::OwnedFd;

use nix::sys::signal::SigSet;

use crate::bundle::Bundle;
use crate::create::{CreateOptions, Created, Terminal, check_terminal, create_locked, workload};
use crate::delete::{clear_ran, end_and_clear};
use crate::error::{Error, ErrorKind, Result};
use crate::foreground::Foreground;
use crate::id::ContainerId;
use crate::notify::Notify;
use crate::signals::Inherited;
use crate::start::{poststart, release, wait_until_ready};
use crate::state::{State, Store};
use crate::terminal::{Caller, Relay};

/// What `run` is told besides what `create` is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Return once the container runs.
    pub detach: bool,
    /// Leave the stopped container to `delete`.
    pub keep: bool,
}

/// Runs a container and returns its exit code; 0 when it was detached.
///
/// # Errors
///
/// Any kind; afterwards nothing of the container is left.
pub fn run(store: &Store, id: &ContainerId, create: &CreateOptions, options: RunOptions) -> Result<i32> {
    let bundle = Bundle::load(&create.bundle)?;
    check_terminal(bundle.process().terminal(), create.console_socket.is_some(), options.detach)?;
    let workload = workload(&bundle, create)?;
    if options.detach {
        let terminal = create.console_socket.clone().map_or(Terminal::None, Terminal::Socket);
        let created = create_locked(store, id, create, &bundle, workload, &terminal, Inherited::now()?)?;
        let (state, notify) = started(store, created)?;
        return wait_until_ready(notify, &state).map(|()| 0);
    }
    let (signals, blocked) = Inherited::block_all()?;
    let terminal = if bundle.process().terminal() == Some(true) { Terminal::Relayed } else { Terminal::None };
    let mut created = create_locked(store, id, create, &bundle, workload, &terminal, signals)?;
    // Before the program runs: what it writes first has to find the terminal as it will be.
    let relay = created.master.take().map(take_over).transpose();
    let (state, notify) = started(store, created)?;
    attend(store, &state, relay, notify, &blocked, options.keep)
}

/// Waits for a container's end, removes it unless it is to be kept, and gives its exit code.
pub(crate) fn attend(
    store: &Store,
    state: &State,
    relay: Result<Option<Relay>>,
    notify: Option<Notify>,
    blocked: &SigSet,
    keep: bool,
) -> Result<i32> {
    let waited = relay.and_then(|relay| wait(state, relay, notify, blocked));
    if waited.is_ok() && keep {
        return waited;
    }
    clear_ran(store, state).and(waited)
}

/// Starts the container, and gives back its lock: others may act on it while it runs.
fn started(store: &Store, created: Created) -> Result<(State, Option<Notify>)> {
    let Created { claim, mut state, turn, .. } = created;
    drop(turn);
    // The first error is the one to tell; what these leave, `delete` removes.
    let notify = match release(store, &claim, &mut state) {
        Ok(notify) => notify,
        Err(error) => {
            let _ = end_and_clear(store, claim, &state);
            return Err(error);
        }
    };
    poststart(store, claim, &state)?;
    Ok((state, notify))
}

/// The terminal of a container that runs in the foreground, and this process's.
pub(crate) fn take_over(master: OwnedFd) -> Result<Relay> {
    Relay::new(master, Caller::take_over()?)
}

fn wait(state: &State, relay: Option<Relay>, notify: Option<Notify>, blocked: &SigSet) -> Result<i32> {
    let init =
        state.init.ok_or_else(|| Error::new(ErrorKind::Container, "a started container has no init"))?;
    Foreground::new(init.pid, blocked, relay)?.with_notify(notify).wait()
}
