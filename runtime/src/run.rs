//! `run`: create, start, wait, delete, in one process.

use std::os::fd::OwnedFd;

use nix::sys::signal::SigSet;

use crate::bundle::Bundle;
use crate::create::{CreateOptions, Created, Terminal, check_terminal, create_locked};
use crate::delete::end_and_clear;
use crate::error::{Error, ErrorKind, Result};
use crate::foreground::Foreground;
use crate::id::ContainerId;
use crate::notify::Notify;
use crate::signals::Inherited;
use crate::start::{release, wait_until_ready};
use crate::state::Store;
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
    if options.detach {
        let terminal = create.console_socket.clone().map_or(Terminal::None, Terminal::Socket);
        let created = create_locked(store, id, create, &bundle, &terminal, Inherited::now()?)?;
        let (created, notify) = started(store, created)?;
        drop(created.claim);
        return wait_until_ready(notify, &created.state).map(|()| 0);
    }
    let (signals, blocked) = Inherited::block_all()?;
    let terminal = if bundle.process().terminal() == Some(true) { Terminal::Relayed } else { Terminal::None };
    let mut created = create_locked(store, id, create, &bundle, &terminal, signals)?;
    // Before the program runs: what it writes first has to find the terminal as it will be.
    let relay = created.master.take().map(take_over).transpose();
    let (created, notify) = started(store, created)?;
    let waited = relay.and_then(|relay| wait(&created, relay, notify, &blocked));
    if waited.is_ok() && options.keep {
        return waited;
    }
    end_and_clear(store, created.claim, &created.state).and(waited)
}

fn started(store: &Store, mut created: Created) -> Result<(Created, Option<Notify>)> {
    match release(store, &created.claim, &mut created.state) {
        Ok(notify) => Ok((created, notify)),
        Err(error) => {
            // The first error is the one to tell; what this leaves, `delete` removes.
            let _ = end_and_clear(store, created.claim, &created.state);
            Err(error)
        }
    }
}

fn take_over(master: OwnedFd) -> Result<Relay> {
    Relay::new(master, Caller::take_over()?)
}

fn wait(created: &Created, relay: Option<Relay>, notify: Option<Notify>, blocked: &SigSet) -> Result<i32> {
    let init = created
        .state
        .init
        .ok_or_else(|| Error::new(ErrorKind::Container, "a started container has no init"))?;
    Foreground::new(init.pid, blocked, relay)?.with_notify(notify).wait()
}
