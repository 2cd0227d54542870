//! One instance of a module with everything that it needs to run, and what it is made of.
//!
//! A [`Loaded`] is a module that was read, checked, validated and linked; a [`Vm`] is an instance of it, with an executor, a WASI
//! and a host's half of its own. The functions of a process are used by whichever thread calls them, one at a time, so
//! both can change threads as a whole.

#![expect(unsafe_code, reason = "a whole instance may change threads")]

use std::rc::Rc;
use std::sync::Arc;

use wasmedge_sys::Config;

use crate::engine::{Ast, Canceller, Executor, Guest, Instance, PAGE, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{self, Host};
use crate::link::{Entry, INITIALIZE, Uses};
use crate::module::Source;
use crate::process::{EXIT_LIMIT, EXIT_TRAP};
use crate::{engine, trap, wasi};

/// A module that is ready to be instantiated.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) config: Config,
    pub(crate) ast: Ast,
    pub(crate) entry: Entry,
    pub(crate) uses: Uses,
    pub(crate) start: wasi::Start,
    pub(crate) fuel: Option<u64>,
    pub(crate) min_pages: u64,
    pub(crate) max_pages: u32,
    /// Whether the code was compiled ahead of time.
    pub(crate) compiled: bool,
}

// SAFETY: it owns all that it points to (the engine's configuration and module), shares none of it, and the engine keeps nothing
// of either in the thread that made it.
unsafe impl Send for Loaded {}

/// An instance. The order of the fields is the order in which they are dropped: the guest before what it imports, the
/// executor last.
#[derive(Debug)]
pub(crate) struct Vm {
    instance: Instance,
    _imports: Option<Instance>,
    wasi: Instance,
    host: Rc<Host>,
    canceller: Option<Arc<Canceller>>,
    idle: Option<Instance>,
    executor: Executor,
}

// SAFETY: everything that it points to belongs to it alone: the engine's contexts, and the `Rc`s, whose only other holders are the
// host functions of these instances. (The container's own function shares its ends with `run` and `serve`; those and every instance
// of it stay on the process's first thread, as nothing but `Workflow`, which never has it, hands instances to others.) Whoever has it is the only one who calls into it; the engine keeps what is a thread's
// (the current executor and stack, the fault handler) only while a call runs.
unsafe impl Send for Vm {}

/// How a function ended that did not return.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) stop: Stop,
    /// What it gave to `proc_exit`.
    exit: Option<u32>,
}

impl Loaded {
    /// Bytes of the largest linear memory.
    pub(crate) fn max_linear(&self) -> u64 {
        u64::from(self.max_pages) * PAGE
    }

    /// Says why a function ended that did not return, and gives the exit code for it.
    pub(crate) fn report(&self, ended: Ended) -> (i32, Option<String>) {
        let path = self.source.path();
        let refused = self.refused_memory();
        if let Some(code) = ended.exit {
            // The kernel keeps the low 8 bits of a native process's code.
            let code = (code & 0xff).cast_signed();
            return (code, refused.filter(|_| code != 0).map(|refused| format!("{path}: {refused}")));
        }
        let log = engine::take_log();
        match self.fuel {
            Some(limit) if ended.stop.is_out_of_fuel() => {
                (EXIT_LIMIT, Some(format!("{path} stopped: fuel limit of {limit} instructions reached")))
            }
            _ => {
                let why = trap::describe(ended.stop, &log, &self.source, self.compiled);
                let refused = refused.map(|refused| format!("; {refused}")).unwrap_or_default();
                (EXIT_TRAP, Some(format!("{path} trapped: {why}{refused}")))
            }
        }
    }

    /// What there is to say when a limit has kept it from more memory: what a 32-bit address reaches is no limit of ours.
    fn refused_memory(&self) -> Option<String> {
        let refused = engine::replace_refused_memory(false) && self.max_linear() < 1 << 32;
        refused.then(|| format!("it was refused more memory, the limit is {} bytes", self.max_linear()))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Before the instance's memory goes: afterwards the addresses are anybody's.
        self.host.unmap();
    }
}

impl Vm {
    /// Makes an instance: its start function runs, and `_initialize` of a reactor.
    ///
    /// # Errors
    /// What is not the module's doing: no memory, no directory. A module that ends in there is an [`Ended`].
    pub(crate) fn create(
        loaded: &Loaded,
        host: Rc<Host>,
        cancellable: bool,
        streams: wasi::Streams<'_>,
    ) -> Result<std::result::Result<Self, Ended>> {
        engine::take_log();
        let wasi = wasi::instance(streams)?;
        let executor = Executor::create(&loaded.config, loaded.fuel)?;
        let idle = cancellable.then(Instance::idle).transpose()?;
        let canceller = idle.as_ref().map(|idle| executor.canceller(idle)).transpose()?.map(Arc::new);
        let imports = match offer(loaded, &executor, &wasi, &host)? {
            Ok(imports) => imports,
            Err(stop) => return Ok(Err(Ended::of(stop, &wasi))),
        };
        let instance = match executor.instantiate(&loaded.ast) {
            Ok(instance) => instance,
            Err(stop) => return Ok(Err(Ended::of(stop, &wasi))),
        };
        let vm = Self { instance, _imports: imports, wasi, host, canceller, idle, executor };
        check_pages(loaded, &vm.guest())?;
        if loaded.entry.initialize
            && let Err(stop) = vm.guest().call(INITIALIZE, &[]).transpose()
        {
            return Ok(Err(vm.ended(stop)));
        }
        Ok(Ok(vm))
    }

    /// The guest, for calls that the host starts.
    pub(crate) fn guest(&self) -> Guest<'_> {
        self.executor.guest(&self.instance)
    }

    /// The host's half.
    pub(crate) fn host(&self) -> &Rc<Host> {
        &self.host
    }

    /// What stops it from another thread, if it was made so that it can be stopped.
    pub(crate) fn canceller(&self) -> Option<&Arc<Canceller>> {
        self.canceller.as_ref()
    }

    /// Takes back a cancel that nothing was there to be stopped by.
    pub(crate) fn forget_cancel(&self) {
        if let Some(idle) = &self.idle {
            self.executor.forget_cancel(idle);
        }
    }

    /// What the end of one of its functions means.
    pub(crate) fn ended(&self, stop: Stop) -> Ended {
        Ended::of(stop, &self.wasi)
    }
}

impl Ended {
    /// Whether the function has asked for it.
    pub(crate) fn is_exit(self) -> bool {
        self.exit.is_some()
    }

    fn of(stop: Stop, wasi: &Instance) -> Self {
        Self { stop, exit: stop.is_exit().then(|| wasi.wasi_exit_code()) }
    }
}

/// Offers the host's modules to the guest. The instance that is returned has to outlive it.
fn offer(
    loaded: &Loaded,
    executor: &Executor,
    wasi: &Instance,
    host: &Rc<Host>,
) -> Result<std::result::Result<Option<Instance>, Stop>> {
    if loaded.uses.wasi {
        loaded.start.apply(wasi)?;
        if let Err(stop) = executor.register(wasi) {
            return Ok(Err(stop));
        }
    }
    if !loaded.uses.host {
        return Ok(Ok(None));
    }
    let imports = host::instance(host)?;
    Ok(executor.register(&imports).map(|()| Some(imports)))
}

/// The engine answers success when it granted fewer pages than the module declares.
fn check_pages(loaded: &Loaded, guest: &Guest<'_>) -> Result<()> {
    let Some(granted) = guest.pages() else { return Ok(()) };
    if granted >= loaded.min_pages {
        return Ok(());
    }
    let message = format!(
        "module {}: {} pages of memory declared, {granted} granted: out of address space",
        loaded.source.path(),
        loaded.min_pages,
    );
    Err(Error::new(ErrorKind::Limit, message))
}
