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
use std::rc::Rc;
use std::time::Duration;

use hose::unix::{Local, Receiver, Sender};

use crate::bytes;
use crate::engine::{self, Executor, Guest, Instance, PAGE, Stop, Val};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{self, Ends, Host};
use crate::link::{Call, INITIALIZE, START};
use crate::prepare::{End, Prepared};
use crate::process::{self, EXIT_LIMIT, EXIT_TRAP};
use crate::resident;
use crate::trap;

/// Exit code when the host could not do its part.
const EXIT_HOST: i32 = 1;

impl Prepared {
    /// Whether it runs code that was compiled ahead of time.
    #[must_use]
    pub fn compiled(&self) -> bool {
        self.compiled
    }

    /// Runs the function to its end and returns the exit code of the process, which the caller passes to `_exit`.
    ///
    /// Closes every descriptor of the process but the standard streams and the request's own; installs handlers
    /// for every signal whose default is to end a process. What the user shall read is on standard error by then.
    #[must_use]
    pub fn run(mut self) -> i32 {
        let end = self.hose.take();
        match self.guarded(end) {
            Ok(code) => code,
            Err(error) => {
                process::say(&error.report());
                EXIT_HOST
            }
        }
    }

    fn guarded(&self, end: Option<End>) -> Result<i32> {
        let keep = end.as_ref().map(End::descriptors).unwrap_or_default();
        process::close_descriptors(&keep)?;
        process::mend_input()?;
        process::install_signals()?;
        resident::forget_the_runtime();
        if let Some(limit) = self.limits.timeout_ms {
            let text =
                format!("rr-runtime: {} stopped: time limit of {limit} ms reached\n", self.source.path());
            process::arm_timeout(Duration::from_millis(limit), text)?;
        }
        let text = format!(
            "rr-runtime: {} trapped: call stack exhausted, or tables too large\n",
            self.source.path()
        );
        // Standard input is held beside linear memory, in a buffer that doubles.
        let buffers = if matches!(self.entry.call, Call::Bytes { .. }) { 3 } else { 1 };
        process::bound_memory(self.max_linear().saturating_mul(buffers), text)?;
        engine::take_log();
        let host = Host::new(end.map(ends).transpose()?, self.entry.contract);
        let executor = Executor::create(&self.config, self.limits.fuel)?;
        self.offer(&executor, &host)?
            .map_or_else(|stop| Ok(self.ended(stop)), |_imports| self.instantiate_and_call(&executor, &host))
    }

    /// Offers the host's modules to the guest. The instance that is returned has to outlive it.
    fn offer(
        &self,
        executor: &Executor,
        host: &Rc<Host>,
    ) -> Result<std::result::Result<Option<Instance>, Stop>> {
        if self.uses.wasi {
            self.start.apply(&self.wasi)?;
            if let Err(stop) = executor.register(&self.wasi) {
                return Ok(Err(stop));
            }
        }
        if !self.uses.host {
            return Ok(Ok(None));
        }
        let imports = host::instance(host)?;
        Ok(executor.register(&imports).map(|()| Some(imports)))
    }

    fn instantiate_and_call(&self, executor: &Executor, host: &Host) -> Result<i32> {
        let instance = match executor.instantiate(&self.ast) {
            Ok(instance) => instance,
            Err(stop) => return Ok(self.ended(stop)),
        };
        let guest = executor.guest(&instance);
        self.check_pages(&guest)?;
        let outcome = self.call(&guest, host);
        host.abandon();
        match outcome? {
            Ok(()) => Ok(0),
            Err(stop) => Ok(self.ended(stop)),
        }
    }

    /// The engine answers success when it granted fewer pages than the module declares.
    fn check_pages(&self, guest: &Guest<'_>) -> Result<()> {
        let Some(granted) = guest.pages() else { return Ok(()) };
        if granted >= self.min_pages {
            return Ok(());
        }
        let message = format!(
            "module {}: {} pages of memory declared, {granted} granted: out of address space",
            self.source.path(),
            self.min_pages,
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    fn call(&self, guest: &Guest<'_>, host: &Host) -> Result<std::result::Result<(), Stop>> {
        if self.entry.initialize
            && let Err(stop) = guest.call(INITIALIZE, &[]).transpose()
        {
            return Ok(Err(stop));
        }
        let outcome = match &self.entry.call {
            Call::Handler => Ok(()),
            Call::Start => guest.call(START, &[]).transpose().map(drop),
            Call::Numbers { function, args } => {
                guest.call(function, args).transpose().map(|results| print(&results.unwrap_or_default()))
            }
            Call::Bytes { function, allocator } => {
                bytes::call(guest, host, self.source.path(), function, allocator, self.max_linear())?
            }
        };
        Ok(outcome.and_then(|()| if host.pushes() { host.serve(guest) } else { Ok(()) }))
    }

    /// Bytes of the largest linear memory.
    fn max_linear(&self) -> u64 {
        u64::from(self.max_pages) * PAGE
    }

    /// Whether a limit has kept it from more memory than it has: what a 32-bit address reaches is no limit of ours.
    fn wanted_more_memory(&self) -> bool {
        self.max_linear() < 1 << 32 && engine::has_refused_memory()
    }

    fn refused_memory(&self) -> String {
        format!("it was refused more memory, the limit is {} bytes", self.max_linear())
    }

    /// Says why a function ended that did not return, and gives its exit code.
    fn ended(&self, stop: Stop) -> i32 {
        let path = self.source.path();
        if stop.is_exit() {
            // The kernel keeps the low 8 bits of a native process's code.
            let code = (self.wasi.wasi_exit_code() & 0xff).cast_signed();
            if code != 0 && self.wanted_more_memory() {
                process::say(&format!("{path}: {}", self.refused_memory()));
            }
            return code;
        }
        let log = engine::take_log();
        match self.limits.fuel {
            Some(limit) if stop.is_out_of_fuel() => {
                process::say(&format!("{path} stopped: fuel limit of {limit} instructions reached"));
                EXIT_LIMIT
            }
            _ => {
                let mut what = trap::describe(stop, &log, &self.source, self.compiled);
                if self.wanted_more_memory() {
                    what = format!("{what}; {}", self.refused_memory());
                }
                process::say(&format!("{path} trapped: {what}"));
                EXIT_TRAP
            }
        }
    }
}

/// Connects a function's end of the hose.
fn ends(end: End) -> Result<Ends> {
    let targets = end.config.targets().to_vec();
    let max_size = end.config.limits().max_size();
    let local = Local::new(end.config, end.secret, end.rendezvous);
    let receiver = end.listener.map(|listener| Receiver::new(&local, listener)).transpose();
    let receiver = receiver.map_err(|error| Error::with(ErrorKind::System, "hose", error))?;
    Ok(Ends {
        sender: RefCell::new(Sender::new(&local)),
        receiver: receiver.map(RefCell::new),
        targets,
        max_size,
    })
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
