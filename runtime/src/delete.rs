//! `delete`: nothing of the container is left.

use std::thread;
use std::time::{Duration, Instant};

use libcontainer::config::YoukiConfig;
use libcontainer::container::ContainerStatus;
use rustix::process::Signal;

use crate::create::container_of;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::process::Identity;
use crate::state::{Claim, State, Status, Store};
use crate::systemd::Unit;
use crate::{hook, wasm};

/// How long a killed init may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// Deletes a container that has stopped or was never started; with `force`, any.
///
/// # Errors
///
/// [`ErrorKind::Status`] in runc's words when it runs; [`ErrorKind::NotFound`] unless `force` is given.
pub fn delete(store: &Store, id: &ContainerId, force: bool) -> Result<()> {
    let claim = match store.lock(id) {
        Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let state = match claim.load() {
        // What a killed `create` left before it wrote a state has nothing to be undone.
        Err(error) if force && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::State) => {
            return claim.remove();
        }
        other => other?,
    };
    match state.status_under_lock() {
        Status::Stopped => {}
        Status::Created => end(&state)?,
        _ if force => end(&state)?,
        other => {
            let message = format!("cannot delete container {id} that is not stopped: {}", other.as_str());
            return Err(Error::new(ErrorKind::Status, message));
        }
    }
    clear(store, claim, &state)
}

/// Ends a container and removes everything of it.
pub(crate) fn end_and_clear(store: &Store, claim: Claim, state: &State) -> Result<()> {
    end(state)?;
    clear(store, claim, state)
}

/// Removes what is left of the container that ran as `ran`: nothing, where another command has deleted it meanwhile.
pub(crate) fn clear_ran(store: &Store, ran: &State) -> Result<()> {
    let locked = store.lock(&ran.id).and_then(|claim| claim.load().map(|state| (claim, state)));
    let (claim, state) = match locked {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    // By now the id may be another container's.
    if state.init != ran.init {
        return Ok(());
    }
    end_and_clear(store, claim, &state)
}

/// Removes everything of a container whose init has ended.
fn clear(store: &Store, claim: Claim, state: &State) -> Result<()> {
    state.cgroup.remove()?;
    if let Some(unit) = &state.unit {
        Unit::stop(unit);
    }
    if let Some(Err(error)) = state.wasm.as_ref().map(wasm::State::withdraw) {
        tracing::warn!(%error, id = %state.id, "the function's end of the hose is left");
    }
    if state.poststop {
        run_poststop(store, state);
    }
    claim.remove()
}

fn end(state: &State) -> Result<()> {
    let Some(init) = state.init else { return Ok(()) };
    init.signal(Signal::KILL)?;
    if state.cgroup.is_frozen() {
        state.cgroup.freeze(false)?;
    }
    wait(init)
}

/// Waits for a process that is not necessarily a child.
fn wait(process: Identity) -> Result<()> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(100);
    while process.is_alive() {
        if started.elapsed() > ENDED_WITHIN {
            return Err(Error::new(
                ErrorKind::Container,
                format!("pid {}: still alive after SIGKILL", process.pid),
            ));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(())
}

/// The specification: a poststop hook that fails is a warning, and nothing else is left undone for it.
fn run_poststop(store: &Store, state: &State) {
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        let mut container = container_of(store, &state.id)?;
        container.set_status(ContainerStatus::Stopped);
        // Another process may have it by now.
        container.state.pid = None;
        let config = YoukiConfig::load(&container.root)?;
        let hooks = config.hooks.as_ref().and_then(|hooks| hooks.poststop().clone()).unwrap_or_default();
        for hook in hooks {
            if let Err(error) = hook::run(Some(&vec![hook]), &container) {
                tracing::warn!(id = %state.id, "error running poststop {error}");
            }
        }
        Ok(())
    };
    if let Err(error) = run() {
        tracing::warn!(%error, id = %state.id, "poststop hooks could not be run");
    }
}
