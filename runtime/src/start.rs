//! `start`: lets init go on to the container's program.

use libcontainer::container::ContainerStatus;
use rustix::process::Signal;

use crate::bundle::Bundle;
use crate::compile::Pending;
use crate::create::{container_error, container_of};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::notify::{self, Notify};
use crate::state::{Claim, Phase, State, Status, Store};
use crate::{delete, hook};

/// Starts a created container.
///
/// # Errors
///
/// [`ErrorKind::Status`] in runc's words unless it is created; a poststart hook that fails ends the container, as the
/// specification wants it.
pub fn start(store: &Store, id: &ContainerId) -> Result<()> {
    let claim = store.lock(id)?;
    let mut state = claim.load()?;
    match state.status_under_lock() {
        Status::Created => {
            let notify = release(store, &claim, &mut state)?;
            poststart(store, claim, &state)?;
            wait_until_ready(notify, &state)
        }
        Status::Stopped => Err(Error::new(ErrorKind::Status, "cannot start a container that has stopped")),
        Status::Running => Err(Error::new(ErrorKind::Status, "cannot start an already running container")),
        other => Err(Error::new(
            ErrorKind::Status,
            format!("cannot start a container in the {} state", other.as_str()),
        )),
    }
}

/// Gives the lock back, and runs the poststart hooks: as under runc they may act on the container, and it may take its time.
/// One that fails ends the container, and nothing is left of it.
pub(crate) fn poststart(store: &Store, claim: Claim, state: &State) -> Result<()> {
    let (true, Some(init)) = (state.poststart, state.init) else { return Ok(()) };
    let bundle = Bundle::parse(state.bundle.clone(), claim.load_config()?)?;
    let mut container = container_of(store, &state.id)?;
    drop(claim);
    // A short process has ended by now.
    container.set_status(ContainerStatus::Running);
    container.state.pid = Some(init.pid);
    let hooks = bundle.spec().hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
    hook::run(hooks, &container).map_err(|error| {
        let _ = init.signal(Signal::KILL);
        // The first error is the one to tell; what this leaves, `delete` removes.
        let _ = delete::clear_ran(store, state);
        // It says which of them.
        Error::new(ErrorKind::Container, format!("error running poststart {error}"))
    })
}

/// What `create` has left to compile: the first run does not compete with the compiler for its start.
fn pending(state: &mut State) -> Vec<Result<Pending>> {
    let jobs = std::mem::take(&mut state.uncompiled);
    let Some(init) = state.init else { return Vec::new() };
    jobs.into_iter().map(|job| Pending::resume(job, init)).collect()
}

/// Compiles beside what runs. Code ahead of time is a gain in speed: a function runs without it.
pub(crate) fn compile(pending: impl IntoIterator<Item = Result<Pending>>) {
    for pending in pending {
        if let Err(error) = pending.and_then(Pending::start) {
            tracing::warn!("the module is not compiled ahead of time: {}", crate::error::chain(&error));
        }
    }
}

/// As under runc who waits for a container to be ready gets that from `start`, which returns then.
pub(crate) fn wait_until_ready(notify: Option<Notify>, state: &State) -> Result<()> {
    notify.zip(state.init).map_or(Ok(()), |(notify, init)| notify.wait(init))
}

/// Who waits for a function to be ready is told; that nobody listens is no reason to end it.
fn announce(state: &State) {
    if let (Some(_), Some(init)) = (&state.wasm, state.init)
        && let Err(error) = notify::announce(init)
    {
        tracing::warn!("{}", crate::error::chain(&error));
    }
}

/// Releases the init of a container that is created and locked. Gives what its caller has to relay.
pub(crate) fn release(store: &Store, claim: &Claim, state: &mut State) -> Result<Option<Notify>> {
    let notify = state.init.map(|init| Notify::listen(claim.folder(), init)).transpose()?.flatten();
    // Opened while init waits: a short function has ended when the state is written.
    let pending = pending(state);
    let started = container_of(store, &state.id)?.start();
    state.phase = Phase::Running;
    claim.save(state)?;
    if started.is_ok() {
        compile(pending);
        announce(state);
    }
    started.map(|()| notify).map_err(|error| {
        if let Some(init) = state.init {
            let _ = init.signal(Signal::KILL);
        }
        container_error(&error)
    })
}
