//! From a function that is ready to the exit code of its process.
//!
//! | how it ends | exit code |
//! | --- | --- |
//! | its entry point returns | 0 |
//! | `proc_exit(n)`, wherever it is called | the low 8 bits of n |
//! | it traps | 134 |
//! | it is out of time or of instructions | 124 |
//! | a signal ends it | 128 + the signal |
//! | it serves, SIGTERM or SIGINT asks it to end, and what runs is finished in time | 0 |
//! | what the host needs for it fails | 1 |

use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use executor_abi::request::Lifecycle;
use hose::Name;

use crate::bound::{self, Ends};
use crate::bytes;
use crate::confine::{self, Needs};
use crate::control;
use crate::engine::{Stop, Val};
use crate::error::{Error, ErrorKind, Result};
use crate::faults;
use crate::host::{Hose, Host, Local};
use crate::link::{Call, START};
use crate::outside::Outside;
use crate::prepare::{Prepared, Ready};
use crate::process;
use crate::resident;
use crate::serve::{self, Serving};
use crate::stop;
use crate::vm::{Loaded, Vm};
use crate::wasi::{Stream, Streams};
use crate::watch::Watchdog;
use crate::workflow::{self, Targets, Workflow};

/// Exit code when the host could not do its part.
const EXIT_HOST: i32 = 1;

impl Prepared {
    /// Whether it runs code that was compiled ahead of time.
    #[must_use]
    pub fn compiled(&self) -> bool {
        self.main.compiled
    }

    /// Runs the function to its end and returns the exit code of the process, which the caller passes to `_exit`.
    ///
    /// Closes every descriptor of the process but the standard streams and the request's own; installs handlers
    /// for every signal whose default is to end a process. What the user shall read is on standard error by then.
    #[must_use]
    pub fn run(self) -> i32 {
        match self.guarded() {
            Ok(code) => code,
            Err(error) => {
                process::say(&error.report());
                EXIT_HOST
            }
        }
    }

    fn guarded(self) -> Result<i32> {
        process::close_descriptors(&self.descriptors())?;
        process::mend_input()?;
        process::install_signals()?;
        faults::keep_handlers();
        resident::forget_the_runtime();
        self.limit()?;
        let bound = self.hose.as_ref().map(|hose| hose.bound).unwrap_or_default();
        let serves = self.hose.as_ref().and_then(|hose| match hose.lifecycle {
            Lifecycle::Oneshot => None,
            Lifecycle::Serve { drain_timeout_ms } => {
                Some((hose.name.clone(), hose.limits.io_timeout(), Duration::from_millis(drain_timeout_ms)))
            }
        });
        let wake = serves.is_some().then(stop::ask_by_signals).transpose()?;
        if self.confine {
            confine::apply(self.needs())?;
        }
        let (workflow, hose, streams) = match self.hose {
            Some(ready) => connect(ready, wake.as_ref())?,
            None => (None, None, Ends::default()),
        };
        let serving = match (serves, wake) {
            (Some((name, io_timeout, drain)), Some(wake)) => {
                stop::drain_within(wake, drain, self.main.source.path())?;
                Some(serving(name, io_timeout, workflow.as_deref())?)
            }
            _ => None,
        };
        let code = match (serving, &hose) {
            (serving, Some(hose)) if bound.is_any() => {
                bound::run(&self.main, hose, bound, streams, serving.as_ref())
            }
            (Some(serving), Some(hose)) => serve::run(&self.main, hose, &serving),
            _ => run_main(&self.main, Host::new(hose, self.main.entry.contract)),
        };
        let others = workflow.map_or(0, |workflow| workflow.close());
        code.map(|code| if code == 0 { others } else { code })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.hose.as_ref().map(Ready::descriptors).unwrap_or_default()
    }

    /// What the functions and the hose have to ask the kernel for.
    fn needs(&self) -> Needs {
        let hose = self.hose.as_ref();
        let within = hose.and_then(|hose| hose.within.as_ref());
        let further = within.iter().flat_map(|within| &within.functions).map(|function| &function.loaded);
        Needs {
            hose: hose.is_some(),
            unix: hose.is_some_and(|hose| hose.endpoint.is_some()),
            network: hose.is_some_and(|hose| hose.network.is_some()),
            additions: within.is_some_and(|within| within.control.is_some()),
            ..Needs::of(further.chain([&self.main]).map(|loaded| loaded.uses))
        }
    }

    /// Sets the clock, and bounds the memory.
    fn limit(&self) -> Result<()> {
        let path = self.main.source.path();
        if let Some(limit) = self.limits.timeout_ms {
            let text = format!("rr-runtime: {path} stopped: time limit of {limit} ms reached\n");
            process::arm_timeout(Duration::from_millis(limit), text)?;
        }
        let text = format!("rr-runtime: {path} trapped: call stack exhausted, or tables too large\n");
        // Standard input is held beside linear memory, in a buffer that doubles.
        let buffers = if matches!(self.main.entry.call, Call::Bytes { .. }) { 3 } else { 1 };
        let further = self.hose.iter().flat_map(|hose| &hose.within).flat_map(|within| &within.functions);
        let others = further.map(|function| workflow::room(&function.loaded)).fold(0, u64::saturating_add);
        process::bound_memory(self.main.max_linear().saturating_mul(buffers).saturating_add(others), text)
    }
}

/// Runs the container's own function to its end.
fn run_main(loaded: &Loaded, host: Rc<Host>) -> Result<i32> {
    let streams = Streams::inherited();
    let vm = match Vm::create(loaded, Rc::clone(&host), false, streams)? {
        Err(ended) => return Ok(workflow::say(loaded, ended)),
        Ok(vm) => vm,
    };
    let outcome = enter(loaded, &vm, &host, streams)
        .map(|entered| entered.and_then(|()| if host.pushes() { host.serve(&vm.guest()) } else { Ok(()) }));
    host.abandon();
    match outcome? {
        Ok(()) => Ok(0),
        Err(stop) => Ok(workflow::say(loaded, vm.ended(stop))),
    }
}

/// What keeps the calls of a serving function.
fn serving(name: Name, io_timeout: Duration, workflow: Option<&Workflow>) -> Result<Serving> {
    let dog = match workflow {
        Some(workflow) => workflow.dog().cloned(),
        None => {
            process::allow_interrupts()?;
            Some(Watchdog::start()?)
        }
    };
    Ok(Serving { name, io_timeout, dog })
}

/// Runs the entry point of an instance.
pub(crate) fn enter(
    loaded: &Loaded,
    vm: &Vm,
    host: &Host,
    streams: Streams<'_>,
) -> Result<std::result::Result<(), Stop>> {
    let guest = vm.guest();
    Ok(match &loaded.entry.call {
        Call::Handler => Ok(()),
        Call::Start => guest.call(START, &[]).transpose().map(drop),
        Call::Numbers { function, args } => {
            guest.call(function, args).transpose().map(|results| print(streams, &results.unwrap_or_default()))
        }
        Call::Bytes { function, allocator } => bytes::call(
            &guest,
            host,
            loaded.source.path(),
            function,
            allocator,
            loaded.max_linear(),
            streams,
        )?,
    })
}

/// Connects a function with the others of its process, and with its container's end, at which waiting ends when `wake` is readable.
fn connect(ready: Ready, wake: Option<&OwnedFd>) -> Result<(Option<Arc<Workflow>>, Option<Hose>, Ends)> {
    let Ready {
        name,
        workflow,
        targets,
        limits,
        transfer,
        endpoint,
        network,
        within,
        max_inflight,
        bound,
        statistics,
        ..
    } = ready;
    let inside = |target: &Name| {
        within.iter().flat_map(|within| &within.functions).any(|function| function.name == *target)
    };
    let outside = targets.iter().filter(|target| !inside(target)).cloned().collect();
    let targets: Arc<Targets> = Arc::new(targets.iter().cloned().collect());
    let config = hose::Config::new(name.clone(), workflow, outside, limits)
        .map_err(|error| Error::with(ErrorKind::Request, "hose", error))?
        .with_transfer(transfer);
    let reaches = endpoint.is_some() || network.is_some();
    let wake = wake.map(OwnedFd::try_clone).transpose();
    let wake = wake.map_err(|error| Error::with(ErrorKind::System, "dup", error))?;
    let outside = reaches.then(|| Outside { config, endpoint, network, max_inflight, wake });
    let (own, ends) = bound.divide(outside)?;
    let remote = own.map(Outside::connect).transpose()?.map(Rc::new);
    let max_size = limits.max_size();
    let Some(within) = within else {
        return Ok((None, Some(Hose { local: None, remote, targets, max_size, statistics }), ends));
    };
    let workflow =
        Workflow::new(name, Arc::clone(&targets), transfer, max_size, limits.io_timeout(), statistics);
    within.functions.into_iter().for_each(|function| workflow.join(function));
    process::allow_interrupts()?;
    workflow.start()?;
    if let Some(socket) = within.control {
        control::listen(socket, within.loader, Arc::clone(&workflow));
    }
    let local = Some(Local { workflow: Arc::clone(&workflow), index: 0 });
    Ok((Some(workflow), Some(Hose { local, remote, targets, max_size, statistics }), ends))
}

/// Prints the results of a function that was called by name, one a line.
fn print(streams: Streams<'_>, results: &[Val]) {
    use std::io::Write;
    let mut out = Stream(streams.output);
    for value in results {
        // A closed standard output is the reader's wish.
        let _ = match value {
            Val::I32(value) => writeln!(out, "{value}"),
            Val::I64(value) => writeln!(out, "{value}"),
            Val::F32(value) => writeln!(out, "{value}"),
            Val::F64(value) => writeln!(out, "{value}"),
        };
    }
}
