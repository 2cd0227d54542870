//! A function that stays (`hose/lifecycle: serve`): one payload after the other, in an instance whose memory persists.
//!
//! ```text
//! instance ──► its entry point ──► payload ──► handler ──► payload … ──► asked to end: 0
//!    ▲                                 └── traps, exits, is late: its sender knows ──┐
//!    └─────────────────────────────── dropped, and made anew ◄──────────────────────┘
//! ```
//!
//! Invariants: a call that fails costs that call, whose sender is told `TRAPPED` or `TIMEOUT`, and the instance; an entry point that
//! fails, first or later, ends the function as it would without serving. The ends of the hose are the process's: no connection is lost
//! with an instance. There is never more than one instance.
//!
//! A function that asks for payloads itself, instead of being given them, decides for itself when it ends; asked to end, it is
//! told that there will be no more (`CLOSED`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hose::Name;

use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Hose, Host};
use crate::process;
use crate::run::enter;
use crate::vm::{Ended, Loaded, Vm};
use crate::wasi::Streams;
use crate::watch::{Keeper, Watchdog};
use crate::workflow;

/// Number of the container's own function, for the watchdog.
const OWN: usize = 0;

/// What serving needs beside the function.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) name: Name,
    pub(crate) io_timeout: Duration,
    /// None where there can be no thread: then nobody keeps deadlines but the senders.
    pub(crate) dog: Option<Arc<Watchdog>>,
}

/// Runs the container's own function until it is asked to end, and returns its exit code.
pub(crate) fn run(loaded: &Loaded, hose: &Hose, serving: &Serving) -> Result<i32> {
    let code = run_instances(loaded, hose, serving);
    if let Some(receiver) = hose.remote.as_ref().and_then(|remote| remote.receiver.as_ref()) {
        receiver.borrow_mut().close();
    }
    code
}

fn run_instances(loaded: &Loaded, hose: &Hose, serving: &Serving) -> Result<i32> {
    loop {
        let host = Host::new(Some(hose.clone()), loaded.entry.contract);
        let vm = match Vm::create(loaded, Rc::clone(&host), serving.dog.is_some(), Streams::inherited())? {
            Ok(vm) => vm,
            Err(ended) => return Ok(workflow::say(loaded, ended)),
        };
        let entered = enter(loaded, &vm, &host, Streams::inherited());
        host.abandon();
        if let Err(stop) = entered? {
            return Ok(workflow::say(loaded, vm.ended(stop)));
        }
        if !host.pushes() {
            return Ok(0);
        }
        let Some((ended, late)) = serve(&vm, serving)? else { return Ok(0) };
        drop(vm);
        let (_, text) = workflow::fail(&serving.name, loaded, ended, late, serving.io_timeout);
        if ended.is_exit() {
            process::say(&format!("{} stopped: {text}", loaded.source.path()));
        }
    }
}

/// Gives payloads to an instance until it fails, and says how it did; nothing when the function was asked to end.
fn serve(vm: &Vm, serving: &Serving) -> Result<Option<(Ended, bool)>> {
    let guest = vm.guest();
    loop {
        let call = Kept::new(vm, serving);
        // What the last call was refused is no matter of the next one's.
        engine::replace_refused_memory(false);
        let served = vm.host().serve_next(&guest, &call);
        match served.map_err(|error| Error::with(ErrorKind::System, "hose", error))? {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(stop) => return Ok(Some((vm.ended(stop), call.was_late()))),
        }
    }
}

/// The calls into an instance for one payload.
pub(crate) struct Kept<'a> {
    vm: &'a Vm,
    serving: &'a Serving,
    late: Cell<bool>,
    deadline: Cell<Option<Instant>>,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(vm: &'a Vm, serving: &'a Serving) -> Self {
        Self { vm, serving, late: Cell::new(false), deadline: Cell::new(None) }
    }
}

impl Keeper for Kept<'_> {
    /// Counted from the first time that it is asked for: waiting for a payload is no part of it.
    fn deadline(&self) -> Option<Instant> {
        if self.deadline.get().is_none() {
            self.deadline.set(Instant::now().checked_add(self.serving.io_timeout));
        }
        self.deadline.get()
    }

    fn keep<R>(&self, call: impl FnOnce() -> R) -> R {
        let (Some(dog), Some(canceller), Some(deadline)) =
            (&self.serving.dog, self.vm.canceller(), self.deadline())
        else {
            return call();
        };
        dog.arm(OWN, canceller, deadline);
        let outcome = call();
        if dog.disarm(OWN) {
            self.late.set(true);
            self.vm.forget_cancel();
        }
        outcome
    }

    fn was_late(&self) -> bool {
        self.late.get()
    }
}
