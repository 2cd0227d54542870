//! `invoke`: a call of a function from the host.
//!
//! The caller becomes an end of the function's workflow for as long as the call takes, under a name that no container has
//! (`invoke-` and 16 random digits): published like a container's, with a secret of its own, and withdrawn on every way out, also by a
//! signal; what a killed call has left is taken away by the next. Only who may write the rendezvous folder can do so, which is the runtime's user.

use std::time::Duration;

use guest_abi::Status as Said;
use hose::{Delivery, Sender};
use nix::sys::signal::{SigSet, Signal};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::hoses::without_hose;
use crate::id::ContainerId;
use crate::rendezvous::{Claim, Visitor};
use crate::state::{State, Status, Store};

/// Beyond the function's own limit, so that its verdict comes before the caller's.
const MARGIN: Duration = Duration::from_secs(1);

/// Sends a payload to a container's function, and gives what its handler answers; nothing where it answers nothing. `timeout` is how long
/// it may take until the function takes the call, and again until it has handled it; without one, a second more than its own
/// `hose/io-timeout`.
///
/// # Errors
///
/// [`ErrorKind::NotFound`], [`ErrorKind::Status`] for a container that does not run, [`ErrorKind::Hose`] for one that has no hose
/// and for what became of the call. Each names the container.
pub fn invoke(
    store: &Store,
    id: &ContainerId,
    payload: &[u8],
    timeout: Option<Duration>,
) -> Result<Option<Vec<u8>>> {
    let state = store.load(id).context(ErrorKind::NotFound, || format!("container {id}"))?;
    let (claim, own) = end(store, &state)?;
    let name = claim.name().context(ErrorKind::State, || format!("container {id}: its state is damaged"))?;
    let timeout = timeout.unwrap_or(own + MARGIN);
    let signals = block_signals()?;
    let visitor = Visitor::publish(claim, &name, timeout)
        .context(ErrorKind::Hose, || format!("container {id}: no end can be published beside its own"))?;
    withdraw_on_signal(signals, visitor.claim().clone())?;
    let delivery = Sender::new(visitor.local())
        .send(&name, payload)
        .context(ErrorKind::Hose, || format!("container {id}: function {name} was not called"))?;
    answer(id, delivery)
}

/// The end that a call goes to, and the function's own limit.
fn end<'a>(store: &Store, state: &'a State) -> Result<(&'a Claim, Duration)> {
    let id = &state.id;
    let refused = |kind, why: &str| Err(Error::new(kind, format!("container {id}: {why}")));
    let Some((wasm, endpoint)) = state.wasm.as_ref().and_then(|wasm| Some((wasm, wasm.endpoint.as_ref()?)))
    else {
        return refused(ErrorKind::Hose, without_hose(state));
    };
    let Some(claim) = &wasm.hose else {
        return refused(ErrorKind::Hose, "its hose reaches no further than its own process (hose/mode user)");
    };
    match state.status(store) {
        Status::Running => Ok((claim, Duration::from_millis(endpoint.io_timeout_ms))),
        other => refused(ErrorKind::Status, &format!("is {}, not running", other.as_str())),
    }
}

fn answer(id: &ContainerId, delivery: Delivery) -> Result<Option<Vec<u8>>> {
    let status = Said(delivery.status.0);
    let failed = |what: String| Error::new(ErrorKind::Hose, format!("container {id}: {what}"));
    if status.is_host() {
        return Err(failed(format!("the call failed: {}", status.text())));
    }
    if !status.is_ok() {
        return Err(failed(format!("the function's handler said {}", status.0)));
    }
    let Some(answer) = delivery.answer else { return Ok(None) };
    let mut bytes = vec![0; answer.len()];
    answer
        .read_into(&mut bytes)
        .context(ErrorKind::Hose, || format!("container {id}: the answer cannot be read"))?;
    Ok(Some(bytes))
}

/// Signals that end a command.
fn block_signals() -> Result<SigSet> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        set.add(signal);
    }
    set.thread_block().context(ErrorKind::System, || "signal mask: cannot be set".to_owned())?;
    Ok(set)
}

/// Takes the end back when one of the blocked signals comes, and ends as the signal would.
fn withdraw_on_signal(signals: SigSet, claim: Claim) -> Result<()> {
    let wait = move || {
        if let Ok(signal) = signals.wait() {
            // Nobody is left who could be told.
            let _ = claim.withdraw();
            std::process::exit(128 + signal as i32);
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
        .context(ErrorKind::System, || "signals: no thread can be started".to_owned())
}
