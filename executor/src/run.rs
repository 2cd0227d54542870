//! From a function that is ready to the exit code of its process.
//!
//! | how it ends | exit code |
//! | --- | --- |
//! | its entry point returns | 0 |
//! | `proc_exit(n)`, wherever it is called | the low 8 bits of n |
//! | it traps | 134 |
//! | it is out of time or of instructions | 124 |
//! | a signal ends it | 128 + the signal |
//! | what the host needs for it fails | 1 |

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hose::{Listener, Local as Own, Receiver, Sender, Way, unix};

use crate::bytes;
use crate::engine::{Stop, Val};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Hose, Host, Local, Remote};
use crate::link::{Call, START};
use crate::prepare::{Endpoint, Network, Prepared, Ready};
use crate::process;
use crate::resident;
use crate::vm::{Loaded, Vm};
use crate::workflow::{self, Function, Unit, Workflow};

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
        resident::forget_the_runtime();
        self.limit()?;
        let contract = self.main.entry.contract;
        let (workflow, hose) = self.hose.map(connect).transpose()?.unwrap_or_default();
        let host = Host::new(hose, contract);
        let unit = Unit { vm: None, loaded: self.main };
        let Some(workflow) = workflow else { return run_main(unit, host) };
        process::allow_interrupts()?;
        workflow.start()?;
        let code = run_main(unit, host);
        let others = workflow.close();
        code.map(|code| if code == 0 { others } else { code })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.hose.as_ref().map(Ready::descriptors).unwrap_or_default()
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
        let further = self.hose.iter().flat_map(|hose| &hose.functions);
        let others = further
            .map(|(_, _, loaded)| loaded.max_linear().saturating_add(workflow::STACK as u64))
            .fold(0, u64::saturating_add);
        process::bound_memory(self.main.max_linear().saturating_mul(buffers).saturating_add(others), text)
    }
}

/// Runs the container's own function to its end.
fn run_main(mut unit: Unit, host: Rc<Host>) -> Result<i32> {
    let loaded = &unit.loaded;
    let ended = match Vm::create(loaded, Rc::clone(&host), false)? {
        Err(ended) => ended,
        Ok(vm) => {
            let outcome = call(loaded, &vm, &host);
            host.abandon();
            let Err(stop) = outcome? else { return Ok(0) };
            let ended = vm.ended(stop);
            unit.vm = Some(vm);
            ended
        }
    };
    let (code, line) = loaded.report(ended);
    if let Some(line) = line {
        process::say(&line);
    }
    Ok(code)
}

fn call(loaded: &Loaded, vm: &Vm, host: &Host) -> Result<std::result::Result<(), Stop>> {
    let guest = vm.guest();
    let outcome = match &loaded.entry.call {
        Call::Handler => Ok(()),
        Call::Start => guest.call(START, &[]).transpose().map(drop),
        Call::Numbers { function, args } => {
            guest.call(function, args).transpose().map(|results| print(&results.unwrap_or_default()))
        }
        Call::Bytes { function, allocator } => {
            bytes::call(&guest, host, loaded.source.path(), function, allocator, loaded.max_linear())?
        }
    };
    Ok(outcome.and_then(|()| if host.pushes() { host.serve(&guest) } else { Ok(()) }))
}

/// Connects a function with the others of its process, and with its container's end.
fn connect(ready: Ready) -> Result<(Option<Arc<Workflow>>, Option<Hose>)> {
    let Ready { name, workflow, targets, limits, transfer, endpoint, network, functions } = ready;
    let within: Vec<_> = functions.iter().map(|(name, _, _)| name.clone()).collect();
    let outside = targets.iter().filter(|target| !within.contains(target)).cloned().collect();
    let config = hose::Config::new(name.clone(), workflow, outside, limits)
        .map_err(|error| Error::with(ErrorKind::Request, "hose", error))?
        .with_transfer(transfer);
    let reaches = endpoint.is_some() || network.is_some();
    let remote = reaches.then(|| connect_outside(config, endpoint, network)).transpose()?;
    let max_size = limits.max_size();
    if functions.is_empty() {
        return Ok((None, Some(Hose { local: None, remote, targets, max_size })));
    }
    let mut all = vec![Function::without_unit(name, targets.clone())];
    all.extend(functions.into_iter().map(|(name, targets, loaded)| Function::new(name, targets, loaded)));
    let workflow = Workflow::new(all, transfer, max_size, limits.io_timeout());
    let local = Some(Local { workflow: Arc::clone(&workflow), index: 0 });
    Ok((Some(workflow), Some(Hose { local, remote, targets, max_size })))
}

fn connect_outside(config: hose::Config, end: Option<Endpoint>, network: Option<Network>) -> Result<Remote> {
    let (mut ways, mut listeners) = (Vec::new(), Vec::<Listener>::new());
    if let Some(Endpoint { secret, rendezvous, listener }) = end {
        ways.push(Way::Unix(unix::Host::new(secret, rendezvous)));
        listeners.extend(listener.map(Listener::from));
    }
    if let Some(Network { means, listener, preferred }) = network {
        ways.insert(if preferred { 0 } else { ways.len() }, Way::Tcp(means));
        listeners.extend(listener.map(Listener::from));
    }
    let own = Own::with(config, ways);
    let failed = |error| Error::with(ErrorKind::System, "hose", error);
    let mut listeners = listeners.into_iter();
    let mut receiver =
        listeners.next().map(|first| Receiver::new(&own, first)).transpose().map_err(failed)?;
    for listener in listeners {
        receiver.as_mut().map_or(Ok(()), |receiver| receiver.listen(listener)).map_err(failed)?;
    }
    Ok(Remote { sender: RefCell::new(Sender::new(&own)), receiver: receiver.map(RefCell::new) })
}

/// Prints the results of a function that was called by name, one a line.
fn print(results: &[Val]) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    for value in results {
        // A closed standard output is the reader's wish.
        let _ = match value {
            Val::I32(value) => writeln!(out, "{value}"),
            Val::I64(value) => writeln!(out, "{value}"),
            Val::F32(value) => writeln!(out, "{value}"),
            Val::F64(value) => writeln!(out, "{value}"),
        };
    }
    let _ = out.flush();
}
