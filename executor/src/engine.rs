//! WasmEdge's C interface behind types that own what they point to.
//!
//! Why not `wasmedge-sdk` all the way: its calls return what the engine left uninitialised when a function
//! leaves by `proc_exit`, its statistics are used after they are freed, and its host functions allocate on
//! each call. The configuration comes from it; the rest is the C interface.
//!
//! Invariants:
//! - every pointer in here came from the engine's constructor of its type, is not null, and is freed once;
//! - the configuration is explicit everywhere: the engine's own default permits memory64, whose compiled code
//!   has no bounds checks;
//! - one thread at a time. Nothing in here is `Send` but a [`Canceller`]; `vm` says why a whole instance may move.
//!
//! Not here: what a module may import (`link`), how linear memory may be touched (`memory`).

#![expect(unsafe_code, reason = "the boundary to WasmEdge's C interface")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Once;

use wasmedge_sdk::RunMode;
use wasmedge_sys::{Config, ffi};

use crate::error::{Error, ErrorKind, Result};

/// Bytes in a page of linear memory.
pub(crate) const PAGE: u64 = 65536;

/// Proposals that modules may use, as `describe` lists them. What Rust's, C's, Go's and AssemblyScript's
/// compilers emit without being asked to, and nothing more: each one is code of the engine that untrusted
/// bytes can reach.
pub(crate) const PROPOSALS: [&str; 7] = [
    "mutable-globals",
    "nontrapping-float-to-int",
    "sign-extension",
    "multi-value",
    "bulk-memory",
    "reference-types",
    "simd",
];

/// What of the configuration differs between functions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Run ahead-of-time code where the module has it.
    pub(crate) aot: bool,
    /// Largest linear memory, in pages.
    pub(crate) max_pages: u32,
    /// Count instructions.
    pub(crate) fuel: bool,
}

/// The one configuration that loader, validator, executor and compiler are given.
pub(crate) fn config(settings: Settings) -> Result<Config> {
    let mut config =
        Config::create().map_err(|error| Error::with(ErrorKind::Engine, "create configuration", error))?;
    config.mutable_globals(true);
    config.non_trap_conversions(true);
    config.sign_extension_operators(true);
    config.multi_value(true);
    config.bulk_memory_operations(true);
    config.reference_types(true);
    config.simd(true);
    config.relax_simd(false);
    config.multi_memories(false);
    config.threads(false);
    config.tail_call(false);
    config.extended_const(false);
    config.annotations(false);
    config.memory64(false);
    config.exception_handling(false);
    config.component_model(false);
    config.gc(false);
    config.function_references(false);
    config.allow_afunix(false);
    config.set_max_memory_pages(settings.max_pages);
    config.set_run_mode(if settings.aot { RunMode::Aot } else { RunMode::Interpreter });
    config.count_instructions(false);
    config.measure_time(false);
    config.measure_cost(settings.fuel);
    Ok(config)
}

/// Somewhere in the engine's library.
pub(crate) fn an_address() -> usize {
    ffi::WasmEdge_VersionGet as *const () as usize
}

/// Version of the engine's library, as loaded.
pub(crate) fn version() -> String {
    // SAFETY: takes nothing, and returns a pointer to a static string with a terminating zero.
    let version = unsafe { ffi::WasmEdge_VersionGet() };
    // SAFETY: as above.
    let version = unsafe { CStr::from_ptr(version) };
    version.to_string_lossy().into_owned()
}

thread_local! {
    /// The last lines that the engine logged at level *error* in this thread; see [`capture_log`].
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether the engine has refused this thread's function more linear memory: it answers -1 there, and only its log says why.
    static REFUSED_MEMORY: Cell<bool> = const { Cell::new(false) };
}
const REFUSED_MEMORY_LINE: &str = "Memory grow page failed, exceeded limited";
/// Lines kept: a failure writes five at most, and what a module makes the engine say is bounded.
const LOG_LINES: usize = 32;

/// Sends the engine's log to [`take_log`] instead of standard error. Safe to call again.
pub(crate) fn capture_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the callback is a function, which lives as long as the process (the library is never unloaded).
        unsafe { ffi::WasmEdge_LogSetCallback(Some(keep_line)) };
        // SAFETY: takes nothing.
        unsafe { ffi::WasmEdge_LogSetErrorLevel() };
    });
}

/// Whether the function of this thread has asked for more linear memory than its limit; from now on it has as `now` says.
pub(crate) fn replace_refused_memory(now: bool) -> bool {
    REFUSED_MEMORY.replace(now)
}

/// What the engine logs when it loads a module and leaves its ahead-of-time code unused. It goes on without a word otherwise.
const CODE_UNUSED: &str = "use interpreter mode instead";

/// Whether a log says that ahead-of-time code is there and is not used.
pub(crate) fn leaves_code_unused(log: &[String]) -> bool {
    log.iter().any(|line| line.contains(CODE_UNUSED))
}

/// Takes what the engine logged in this thread since the last call.
pub(crate) fn take_log() -> Vec<String> {
    LOG.take()
}

unsafe extern "C" fn keep_line(message: *const ffi::WasmEdge_LogMessage) {
    // SAFETY: the engine passes a pointer to a message that lives until this call returns.
    let message = unsafe { &*message };
    // SAFETY: the message's text is `Length` bytes at `Buf`, which live as long as the message.
    let text = unsafe { borrow(message.Message) };
    let text = String::from_utf8_lossy(text);
    if text.contains(REFUSED_MEMORY_LINE) {
        REFUSED_MEMORY.set(true);
        return;
    }
    LOG.with_borrow_mut(|log| {
        if log.len() == LOG_LINES {
            log.remove(0);
        }
        log.push(text.trim().to_owned());
    });
}

/// Borrows the bytes of a string of the engine.
///
/// # Safety
/// `string` describes live memory for the whole of `'a`, or is empty.
unsafe fn borrow<'a>(string: ffi::WasmEdge_String) -> &'a [u8] {
    if string.Buf.is_null() || string.Length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(string.Buf.cast::<u8>(), string.Length as usize) }
}

/// Lends `name` to the engine for one call. Names longer than `u32` do not occur: modules are smaller.
fn lend(name: &str) -> ffi::WasmEdge_String {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    ffi::WasmEdge_String { Length: length, Buf: name.as_ptr().cast::<c_char>() }
}

/// A result of the engine that is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Category and code, as the engine packs them.
    raw: u32,
}

impl Stop {
    /// Ends a call from a host function like a trap of the engine's kind *host function failed*.
    pub(crate) const HOST_FAILED: Self = Self { raw: ffi::WasmEdge_ErrCode_HostFuncError };

    fn check(result: ffi::WasmEdge_Result) -> std::result::Result<(), Self> {
        if result.Code == ffi::WasmEdge_ErrCode_Success { Ok(()) } else { Err(Self { raw: result.Code }) }
    }

    /// The function left by `proc_exit`: the code is in the WASI instance.
    pub(crate) fn is_exit(self) -> bool {
        self.raw == ffi::WasmEdge_ErrCode_Terminated
    }

    /// A [`Canceller`] has stopped it.
    pub(crate) fn is_cancelled(self) -> bool {
        self.raw == ffi::WasmEdge_ErrCode_Interrupted
    }

    /// The instructions that were granted are used up.
    pub(crate) fn is_out_of_fuel(self) -> bool {
        self.raw == ffi::WasmEdge_ErrCode_CostLimitExceeded
    }

    /// Raised by an instruction of compiled code itself, not by a function of the engine that it calls.
    pub(crate) fn is_inline(self) -> bool {
        matches!(
            self.raw,
            ffi::WasmEdge_ErrCode_Unreachable
                | ffi::WasmEdge_ErrCode_DivideByZero
                | ffi::WasmEdge_ErrCode_IntegerOverflow
                | ffi::WasmEdge_ErrCode_InvalidConvToInt
        )
    }

    /// An access outside of linear memory.
    pub(crate) fn is_out_of_bounds(self) -> bool {
        self.raw == ffi::WasmEdge_ErrCode_MemoryOutOfBounds
    }

    /// The engine's words for it.
    pub(crate) fn message(self) -> String {
        // SAFETY: takes a number, and returns a pointer to a static string with a terminating zero.
        let message = unsafe { ffi::WasmEdge_ResultGetMessage(ffi::WasmEdge_Result { Code: self.raw }) };
        // SAFETY: as above.
        let message = unsafe { CStr::from_ptr(message) };
        message.to_string_lossy().into_owned()
    }
}

/// Types of values; `Other` stands for all that no function of the host has (vectors, references).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValType {
    I32,
    I64,
    F32,
    F64,
    Other,
}

impl ValType {
    /// Its name in the text format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Other => "v128 or ref",
        }
    }

    fn from_raw(raw: ffi::WasmEdge_ValType) -> Self {
        // SAFETY: each of the four takes a plain value and returns a bool.
        if unsafe { ffi::WasmEdge_ValTypeIsI32(raw) } {
            return Self::I32;
        }
        // SAFETY: as above.
        if unsafe { ffi::WasmEdge_ValTypeIsI64(raw) } {
            return Self::I64;
        }
        // SAFETY: as above.
        if unsafe { ffi::WasmEdge_ValTypeIsF32(raw) } {
            return Self::F32;
        }
        // SAFETY: as above.
        if unsafe { ffi::WasmEdge_ValTypeIsF64(raw) } {
            return Self::F64;
        }
        Self::Other
    }

    fn into_raw(self) -> Option<ffi::WasmEdge_ValType> {
        Some(match self {
            // SAFETY: takes nothing, returns a plain value.
            Self::I32 => unsafe { ffi::WasmEdge_ValTypeGenI32() },
            // SAFETY: as above.
            Self::I64 => unsafe { ffi::WasmEdge_ValTypeGenI64() },
            // SAFETY: as above.
            Self::F32 => unsafe { ffi::WasmEdge_ValTypeGenF32() },
            // SAFETY: as above.
            Self::F64 => unsafe { ffi::WasmEdge_ValTypeGenF64() },
            Self::Other => return None,
        })
    }
}

/// A number that crosses between host and guest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Val {
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
}

impl Val {
    /// A 32-bit address, length or handle, which Wasm carries as `i32`.
    pub(crate) fn from_u32(value: u32) -> Self {
        Self::I32(value.cast_signed())
    }

    /// The bits of an `i32` as the unsigned number that addresses and lengths are.
    pub(crate) fn as_u32(self) -> Option<u32> {
        match self {
            Self::I32(value) => Some(value.cast_unsigned()),
            _ => None,
        }
    }

    fn into_raw(self) -> ffi::WasmEdge_Value {
        match self {
            // SAFETY: takes and returns a plain value.
            Self::I32(value) => unsafe { ffi::WasmEdge_ValueGenI32(value) },
            // SAFETY: as above.
            Self::I64(value) => unsafe { ffi::WasmEdge_ValueGenI64(value) },
            // SAFETY: as above.
            Self::F32(value) => unsafe { ffi::WasmEdge_ValueGenF32(value) },
            // SAFETY: as above.
            Self::F64(value) => unsafe { ffi::WasmEdge_ValueGenF64(value) },
        }
    }

    fn from_raw(raw: ffi::WasmEdge_Value) -> Option<Self> {
        Some(match ValType::from_raw(raw.Type) {
            // SAFETY: takes and returns a plain value.
            ValType::I32 => Self::I32(unsafe { ffi::WasmEdge_ValueGetI32(raw) }),
            // SAFETY: as above.
            ValType::I64 => Self::I64(unsafe { ffi::WasmEdge_ValueGetI64(raw) }),
            // SAFETY: as above.
            ValType::F32 => Self::F32(unsafe { ffi::WasmEdge_ValueGetF32(raw) }),
            // SAFETY: as above.
            ValType::F64 => Self::F64(unsafe { ffi::WasmEdge_ValueGetF64(raw) }),
            ValType::Other => return None,
        })
    }
}

/// Type of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FuncType {
    pub(crate) params: Vec<ValType>,
    pub(crate) results: Vec<ValType>,
}

impl FuncType {
    /// Reads a type of the engine.
    ///
    /// # Safety
    /// `raw` is null or points to a live function type.
    unsafe fn read(raw: *const ffi::WasmEdge_FunctionTypeContext) -> Option<Self> {
        if raw.is_null() {
            return None;
        }
        let empty = ffi::WasmEdge_ValType { Data: [0; 8] };
        // SAFETY: the caller's promise.
        let count = unsafe { ffi::WasmEdge_FunctionTypeGetParametersLength(raw) };
        let mut params = vec![empty; count as usize];
        // SAFETY: as above, and `params` has room for `count`.
        unsafe { ffi::WasmEdge_FunctionTypeGetParameters(raw, params.as_mut_ptr(), count) };
        // SAFETY: the caller's promise.
        let count = unsafe { ffi::WasmEdge_FunctionTypeGetReturnsLength(raw) };
        let mut results = vec![empty; count as usize];
        // SAFETY: as above, and `results` has room for `count`.
        unsafe { ffi::WasmEdge_FunctionTypeGetReturns(raw, results.as_mut_ptr(), count) };
        Some(Self {
            params: params.into_iter().map(ValType::from_raw).collect(),
            results: results.into_iter().map(ValType::from_raw).collect(),
        })
    }
}

impl std::fmt::Display for FuncType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |types: &[ValType]| types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" ");
        write!(f, "({}) -> ({})", list(&self.params), list(&self.results))
    }
}

/// What kind of thing an import is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Extern {
    Function(FuncType),
    Table,
    Memory,
    Global,
    Tag,
}

/// An import of a module.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) ty: Extern,
}

/// A parsed module.
#[derive(Debug)]
pub(crate) struct Ast(NonNull<ffi::WasmEdge_ASTModuleContext>);

impl Drop for Ast {
    fn drop(&mut self) {
        // SAFETY: made by the loader, freed here only.
        unsafe { ffi::WasmEdge_ASTModuleDelete(self.0.as_ptr()) };
    }
}

impl Ast {
    /// Parses a module. Nothing of it is validated yet, and no instruction runs.
    pub(crate) fn parse(config: &Config, bytes: &[u8]) -> std::result::Result<Self, Stop> {
        let failed = Stop { raw: ffi::WasmEdge_ErrCode_RuntimeError };
        let length = u32::try_from(bytes.len()).map_err(|_| failed)?;
        // SAFETY: the configuration outlives the call, which copies it.
        let loader = unsafe { ffi::WasmEdge_LoaderCreate(config.as_ptr()) };
        let loader = NonNull::new(loader).ok_or(failed)?;
        let mut module = ptr::null_mut();
        let code = ffi::WasmEdge_Bytes { Length: length, Buf: bytes.as_ptr() };
        // SAFETY: the loader was just made; `code` describes `bytes`, which the engine copies from; `module` is a
        // place for one pointer.
        let result = unsafe { ffi::WasmEdge_LoaderParseFromBytes(loader.as_ptr(), &raw mut module, code) };
        // SAFETY: made above, freed here only.
        unsafe { ffi::WasmEdge_LoaderDelete(loader.as_ptr()) };
        Stop::check(result)?;
        NonNull::new(module).map(Self).ok_or(failed)
    }

    /// Validates the module, without which it cannot be instantiated.
    pub(crate) fn validate(&self, config: &Config) -> std::result::Result<(), Stop> {
        // SAFETY: the configuration outlives the call, which copies it.
        let validator = unsafe { ffi::WasmEdge_ValidatorCreate(config.as_ptr()) };
        let validator = NonNull::new(validator).ok_or(Stop { raw: ffi::WasmEdge_ErrCode_RuntimeError })?;
        // SAFETY: both are live.
        let result = unsafe { ffi::WasmEdge_ValidatorValidate(validator.as_ptr(), self.0.as_ptr()) };
        // SAFETY: made above, freed here only.
        unsafe { ffi::WasmEdge_ValidatorDelete(validator.as_ptr()) };
        Stop::check(result)
    }

    /// Everything that the module imports.
    pub(crate) fn imports(&self) -> Vec<Import> {
        // SAFETY: the module is live.
        let count = unsafe { ffi::WasmEdge_ASTModuleListImportsLength(self.0.as_ptr()) };
        let mut list = vec![ptr::null(); count as usize];
        // SAFETY: as above, and `list` has room for `count`.
        let count = unsafe { ffi::WasmEdge_ASTModuleListImports(self.0.as_ptr(), list.as_mut_ptr(), count) };
        list.truncate(count as usize);
        list.into_iter().map(|import| self.import(import)).collect()
    }

    fn import(&self, import: *const ffi::WasmEdge_ImportTypeContext) -> Import {
        // SAFETY: `import` came from this module's list and lives as long as it.
        let module = unsafe { ffi::WasmEdge_ImportTypeGetModuleName(import) };
        // SAFETY: as above.
        let name = unsafe { ffi::WasmEdge_ImportTypeGetExternalName(import) };
        // SAFETY: the name points into the module, and is copied before it can go.
        let module = unsafe { text(module) };
        // SAFETY: as above.
        let name = unsafe { text(name) };
        // SAFETY: as above.
        let ty = match unsafe { ffi::WasmEdge_ImportTypeGetExternalType(import) } {
            ffi::WasmEdge_ExternalType_Table => Extern::Table,
            ffi::WasmEdge_ExternalType_Memory => Extern::Memory,
            ffi::WasmEdge_ExternalType_Global => Extern::Global,
            ffi::WasmEdge_ExternalType_Tag => Extern::Tag,
            _ => {
                // SAFETY: as above; a null answer is handled by `read`.
                let ty = unsafe { ffi::WasmEdge_ImportTypeGetFunctionType(self.0.as_ptr(), import) };
                // SAFETY: null, or a type that belongs to the module.
                let ty = unsafe { FuncType::read(ty) };
                Extern::Function(ty.unwrap_or(FuncType { params: vec![ValType::Other], results: vec![] }))
            }
        };
        Import { module, name, ty }
    }

    /// Every function that the module exports, with its type.
    pub(crate) fn exported_functions(&self) -> Vec<(String, FuncType)> {
        // SAFETY: the module is live.
        let count = unsafe { ffi::WasmEdge_ASTModuleListExportsLength(self.0.as_ptr()) };
        let mut list = vec![ptr::null(); count as usize];
        // SAFETY: as above, and `list` has room for `count`.
        let count = unsafe { ffi::WasmEdge_ASTModuleListExports(self.0.as_ptr(), list.as_mut_ptr(), count) };
        list.truncate(count as usize);
        list.into_iter().filter_map(|export| self.exported_function(export)).collect()
    }

    fn exported_function(
        &self,
        export: *const ffi::WasmEdge_ExportTypeContext,
    ) -> Option<(String, FuncType)> {
        // SAFETY: `export` came from this module's list and lives as long as it; null when it is no function.
        let ty = unsafe { ffi::WasmEdge_ExportTypeGetFunctionType(self.0.as_ptr(), export) };
        // SAFETY: null, or a type that belongs to the module.
        let ty = unsafe { FuncType::read(ty) }?;
        // SAFETY: as above.
        let name = unsafe { ffi::WasmEdge_ExportTypeGetExternalName(export) };
        // SAFETY: the name points into the module, and is copied before it can go.
        Some((unsafe { text(name) }, ty))
    }
}

/// Copies a string of the engine.
///
/// # Safety
/// As for [`borrow`], for the duration of the call.
unsafe fn text(string: ffi::WasmEdge_String) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { borrow(string) }).into_owned()
}

/// What executes: the engine's executor, its store, and the counter of instructions that it borrows.
#[derive(Debug)]
pub(crate) struct Executor {
    executor: NonNull<ffi::WasmEdge_ExecutorContext>,
    store: NonNull<ffi::WasmEdge_StoreContext>,
    statistics: Option<NonNull<ffi::WasmEdge_StatisticsContext>>,
}

impl Drop for Executor {
    fn drop(&mut self) {
        // SAFETY: made in `create`, freed here only. The executor goes before the statistics that it points to.
        unsafe { ffi::WasmEdge_ExecutorDelete(self.executor.as_ptr()) };
        // SAFETY: as above.
        unsafe { ffi::WasmEdge_StoreDelete(self.store.as_ptr()) };
        if let Some(statistics) = self.statistics {
            // SAFETY: as above.
            unsafe { ffi::WasmEdge_StatisticsDelete(statistics.as_ptr()) };
        }
    }
}

impl Executor {
    /// Makes an executor that stops after `fuel` instructions, if that is given.
    pub(crate) fn create(config: &Config, fuel: Option<u64>) -> Result<Self> {
        let out_of_memory = || Error::new(ErrorKind::Engine, "create executor: the engine is out of memory");
        let statistics = match fuel {
            None => None,
            Some(limit) => {
                // SAFETY: takes nothing.
                let statistics =
                    NonNull::new(unsafe { ffi::WasmEdge_StatisticsCreate() }).ok_or_else(out_of_memory)?;
                Some((statistics, limit))
            }
        };
        let counter = statistics.map_or(ptr::null_mut(), |(statistics, _)| statistics.as_ptr());
        // SAFETY: the configuration is copied; the statistics live until after the executor (see `drop`).
        let executor = unsafe { ffi::WasmEdge_ExecutorCreate(config.as_ptr(), counter) };
        if let Some((statistics, limit)) = statistics {
            // After the executor, which resets it when it is made.
            // SAFETY: just made.
            unsafe { ffi::WasmEdge_StatisticsSetCostLimit(statistics.as_ptr(), limit) };
        }
        let statistics = statistics.map(|(statistics, _)| statistics);
        // SAFETY: takes nothing.
        let store = unsafe { ffi::WasmEdge_StoreCreate() };
        match (NonNull::new(executor), NonNull::new(store)) {
            (Some(executor), Some(store)) => Ok(Self { executor, store, statistics }),
            _ => Err(out_of_memory()),
        }
    }

    /// Offers the exports of `instance` to modules that are instantiated afterwards.
    pub(crate) fn register(&self, instance: &Instance) -> std::result::Result<(), Stop> {
        // SAFETY: all three are live.
        Stop::check(unsafe {
            ffi::WasmEdge_ExecutorRegisterImport(
                self.executor.as_ptr(),
                self.store.as_ptr(),
                instance.raw.as_ptr(),
            )
        })
    }

    /// Instantiates a validated module: its data segments are copied and its start function runs.
    pub(crate) fn instantiate(&self, module: &Ast) -> std::result::Result<Instance, Stop> {
        let mut instance = ptr::null_mut();
        // SAFETY: all are live, and `instance` is a place for one pointer.
        Stop::check(unsafe {
            ffi::WasmEdge_ExecutorInstantiate(
                self.executor.as_ptr(),
                &raw mut instance,
                self.store.as_ptr(),
                module.0.as_ptr(),
            )
        })?;
        NonNull::new(instance).map(Instance::new).ok_or(Stop { raw: ffi::WasmEdge_ErrCode_RuntimeError })
    }

    /// The guest that `instance` is, for calls that the host starts.
    pub(crate) fn guest<'a>(&'a self, instance: &'a Instance) -> Guest<'a> {
        Guest { executor: self.executor, instance: instance.raw, lifetime: PhantomData }
    }
}

/// Stops what an executor runs, from another thread.
///
/// The interface has no call for that but one on an asynchronous run, which it serves by telling the executor. So one is made
/// of a function that does nothing, waited for, and kept. An executor that is told while it runs nothing stops its next
/// call: see [`Executor::forget_cancel`].
#[derive(Debug)]
pub(crate) struct Canceller(NonNull<ffi::WasmEdge_Async>);

// SAFETY: the run has ended, and what `cancel` reaches of it is a function that stores to an atomic of the executor's. Its
// owner keeps the executor as long (`vm::Vm`).
unsafe impl Send for Canceller {}
// SAFETY: as above.
unsafe impl Sync for Canceller {}

impl Drop for Canceller {
    fn drop(&mut self) {
        // SAFETY: made by `Executor::canceller`, freed here only; the run that it stands for has ended.
        unsafe { ffi::WasmEdge_AsyncDelete(self.0.as_ptr()) };
    }
}

impl Canceller {
    /// Stops what the executor runs at its next loop or call.
    pub(crate) fn cancel(&self) {
        // SAFETY: the run is live, and the executor, too.
        unsafe { ffi::WasmEdge_AsyncCancel(self.0.as_ptr()) };
    }
}

/// Name of the function that does nothing.
const IDLE: &str = "idle";

impl Executor {
    /// What stops this executor. `idle` is an instance made by [`Instance::idle`]. Starts a thread, and waits for its end.
    pub(crate) fn canceller(&self, idle: &Instance) -> Result<Canceller> {
        let failed = || Error::new(ErrorKind::Engine, "create canceller: the engine gives none");
        let function = idle.function(IDLE).ok_or_else(failed)?;
        // SAFETY: executor and function are live, and there are no parameters.
        let run = unsafe {
            ffi::WasmEdge_ExecutorAsyncInvoke(self.executor.as_ptr(), function.as_ptr(), ptr::null(), 0)
        };
        let run = NonNull::new(run).ok_or_else(failed)?;
        // SAFETY: just made.
        unsafe { ffi::WasmEdge_AsyncWait(run.as_ptr()) };
        Ok(Canceller(run))
    }

    /// Takes back a cancel that came too late to stop anything.
    pub(crate) fn forget_cancel(&self, idle: &Instance) {
        if let Some(function) = idle.function(IDLE) {
            // SAFETY: executor and function are live, and there are neither parameters nor results. Whether it was stopped or
            // has returned, the executor has forgotten.
            unsafe {
                ffi::WasmEdge_ExecutorInvoke(
                    self.executor.as_ptr(),
                    function.as_ptr(),
                    ptr::null(),
                    0,
                    ptr::null_mut(),
                    0,
                )
            };
        }
    }
}

/// An instance of a module: the guest's, or one whose functions are the host's.
#[derive(Debug)]
pub(crate) struct Instance {
    raw: NonNull<ffi::WasmEdge_ModuleInstanceContext>,
    /// What the engine passes to the host's functions; freed after the instance.
    entries: RefCell<Vec<Entry>>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: made by the engine for the caller, freed here only. The engine unlinks it from its stores.
        unsafe { ffi::WasmEdge_ModuleInstanceDelete(self.raw.as_ptr()) };
    }
}

/// A `HostEntry` of some type, as it was given to the engine.
struct Entry {
    data: NonNull<c_void>,
    free: unsafe fn(NonNull<c_void>),
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: `free` is that of `data`'s type (see `Entry::new`), and the instance whose functions used it is gone.
        unsafe { (self.free)(self.data) };
    }
}

impl Entry {
    fn new<S>(entry: HostEntry<S>) -> Self {
        unsafe fn free<S>(data: NonNull<c_void>) {
            // SAFETY: made by `Box::into_raw` of this type, and freed once.
            drop(unsafe { Box::from_raw(data.cast::<HostEntry<S>>().as_ptr()) });
        }
        let raw = Box::into_raw(Box::new(entry));
        // SAFETY: a box is not null.
        let data = unsafe { NonNull::new_unchecked(raw) }.cast();
        Self { data, free: free::<S> }
    }
}

impl Instance {
    /// An empty instance of a module called `name`.
    pub(crate) fn named(name: &str) -> Result<Self> {
        // SAFETY: the name is copied.
        let instance = unsafe { ffi::WasmEdge_ModuleInstanceCreate(lend(name)) };
        NonNull::new(instance)
            .map(Self::new)
            .ok_or_else(|| Error::new(ErrorKind::Engine, format!("create module {name}")))
    }

    fn new(raw: NonNull<ffi::WasmEdge_ModuleInstanceContext>) -> Self {
        Self { raw, entries: RefCell::default() }
    }

    /// A module with one function that does nothing, for [`Executor::canceller`].
    pub(crate) fn idle() -> Result<Self> {
        let instance = Self::named(IDLE)?;
        let ty = FuncType { params: Vec::new(), results: Vec::new() };
        instance.add_function(IDLE, &ty, &Rc::new(()), |(), _, _| Ok(None))?;
        Ok(instance)
    }

    /// The engine's WASI, without arguments, environment or directories so far.
    pub(crate) fn wasi() -> Result<Self> {
        // SAFETY: null with a length of 0 is how the interface spells an empty list.
        let instance =
            unsafe { ffi::WasmEdge_ModuleInstanceCreateWASI(ptr::null(), 0, ptr::null(), 0, ptr::null(), 0) };
        NonNull::new(instance).map(Self::new).ok_or_else(|| Error::new(ErrorKind::Engine, "create WASI"))
    }

    /// The same with other standard streams than the process's own. They stay the caller's, who keeps them open for as long as the instance
    /// lives.
    pub(crate) fn wasi_with_streams([stdin, stdout, stderr]: [RawFd; 3]) -> Result<Self> {
        // SAFETY: as above; what is no descriptor is refused.
        let instance = unsafe {
            ffi::WasmEdge_ModuleInstanceCreateWASIWithFds(
                ptr::null(),
                0,
                ptr::null(),
                0,
                ptr::null(),
                0,
                stdin,
                stdout,
                stderr,
            )
        };
        NonNull::new(instance).map(Self::new).ok_or_else(|| Error::new(ErrorKind::Engine, "create WASI"))
    }

    /// Gives an instance made by [`Self::wasi`] what a program is started with; opens the directories.
    pub(crate) fn init_wasi(&self, args: &[CString], env: &[CString], preopens: &[CString]) {
        let pointers = |list: &[CString]| list.iter().map(|item| item.as_ptr()).collect::<Vec<_>>();
        let length = |list: &[*const c_char]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        let (args, env, preopens) = (pointers(args), pointers(env), pointers(preopens));
        // SAFETY: each list has the length that is given with it, of strings with a terminating zero; all are
        // copied. An instance that is not WASI's is left alone by the engine.
        unsafe {
            ffi::WasmEdge_ModuleInstanceInitWASI(
                self.raw.as_ptr(),
                args.as_ptr(),
                length(&args),
                env.as_ptr(),
                length(&env),
                preopens.as_ptr(),
                length(&preopens),
            );
        };
    }

    /// The code that a function gave to `proc_exit`.
    pub(crate) fn wasi_exit_code(&self) -> u32 {
        // SAFETY: the instance is live.
        unsafe { ffi::WasmEdge_ModuleInstanceWASIGetExitCode(self.raw.as_ptr()) }
    }

    /// The host's descriptor behind descriptor `fd` of the guest.
    pub(crate) fn wasi_native(&self, fd: i32) -> Option<u64> {
        let mut native = 0;
        // SAFETY: the instance is live, and `native` is a place for one number.
        let status = unsafe {
            ffi::WasmEdge_ModuleInstanceWASIGetNativeHandler(self.raw.as_ptr(), fd, &raw mut native)
        };
        (status == 0).then_some(native)
    }

    fn function(&self, name: &str) -> Option<NonNull<ffi::WasmEdge_FunctionInstanceContext>> {
        find_function(self.raw, name)
    }

    /// The type of an exported function.
    pub(crate) fn function_type(&self, name: &str) -> Option<FuncType> {
        let function = self.function(name)?;
        // SAFETY: the function belongs to this instance, which is live.
        let ty = unsafe { ffi::WasmEdge_FunctionInstanceGetFunctionType(function.as_ptr()) };
        // SAFETY: null, or a type that belongs to the function.
        unsafe { FuncType::read(ty) }
    }

    /// Adds a function of the host. One of the same name is replaced.
    pub(crate) fn add_function<S: 'static>(
        &self,
        name: &str,
        ty: &FuncType,
        state: &Rc<S>,
        call: HostCall<S>,
    ) -> Result<()> {
        let failed = || Error::new(ErrorKind::Engine, format!("create host function {name}"));
        let raw = |types: &[ValType]| types.iter().map(|ty| ty.into_raw()).collect::<Option<Vec<_>>>();
        let params = raw(&ty.params).ok_or_else(failed)?;
        let results = raw(&ty.results).ok_or_else(failed)?;
        let count = |list: &[ffi::WasmEdge_ValType]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        if params.len() > MAX_PARAMS || results.len() > 1 {
            return Err(failed());
        }
        // SAFETY: both lists have the length that is given with them, and are copied.
        let raw_type = unsafe {
            ffi::WasmEdge_FunctionTypeCreate(
                params.as_ptr(),
                count(&params),
                results.as_ptr(),
                count(&results),
            )
        };
        let raw_type = NonNull::new(raw_type).ok_or_else(failed)?;
        let entry = Entry::new(HostEntry { params: params.len(), state: Rc::clone(state), call });
        let data = entry.data.as_ptr();
        // SAFETY: the type is live; `enter::<S>` takes `data` for the `HostEntry<S>` that it is, and that is freed after the
        // instance which has the function.
        let function =
            unsafe { ffi::WasmEdge_FunctionInstanceCreate(raw_type.as_ptr(), Some(enter::<S>), data, 0) };
        self.entries.borrow_mut().push(entry);
        // SAFETY: made above, freed here only; the function has a copy.
        unsafe { ffi::WasmEdge_FunctionTypeDelete(raw_type.as_ptr()) };
        let function = NonNull::new(function).ok_or_else(failed)?;
        // SAFETY: both are live; the instance takes the function.
        unsafe { ffi::WasmEdge_ModuleInstanceAddFunction(self.raw.as_ptr(), lend(name), function.as_ptr()) };
        Ok(())
    }
}

fn find_function(
    instance: NonNull<ffi::WasmEdge_ModuleInstanceContext>,
    name: &str,
) -> Option<NonNull<ffi::WasmEdge_FunctionInstanceContext>> {
    // SAFETY: every instance that this module hands out is live, and the name outlives the call.
    NonNull::new(unsafe { ffi::WasmEdge_ModuleInstanceFindFunction(instance.as_ptr(), lend(name)) })
}

/// Most parameters that a function of the host has.
const MAX_PARAMS: usize = 6;

/// A function of the host: state, the guest that calls, its arguments. What it returns has the declared type.
pub(crate) type HostCall<S> = fn(&S, &Guest<'_>, &[Val]) -> std::result::Result<Option<Val>, Stop>;

struct HostEntry<S> {
    params: usize,
    state: Rc<S>,
    call: HostCall<S>,
}

/// Where the engine enters the host.
unsafe extern "C" fn enter<S>(
    data: *mut c_void,
    frame: *const ffi::WasmEdge_CallingFrameContext,
    params: *const ffi::WasmEdge_Value,
    returns: *mut ffi::WasmEdge_Value,
) -> ffi::WasmEdge_Result {
    // SAFETY: `data` is what `add_function::<S>` passed: an entry that lives as long as the instance, shared only.
    let entry = unsafe { &*data.cast::<HostEntry<S>>() };
    let mut args = [Val::I32(0); MAX_PARAMS];
    let params: &[ffi::WasmEdge_Value] = if entry.params == 0 {
        &[]
    } else {
        // SAFETY: the engine passes as many values as the function's type has parameters, live during the call.
        unsafe { std::slice::from_raw_parts(params, entry.params) }
    };
    for (arg, raw) in args.iter_mut().zip(params) {
        match Val::from_raw(*raw) {
            Some(value) => *arg = value,
            None => return ffi::WasmEdge_Result { Code: Stop::HOST_FAILED.raw },
        }
    }
    // SAFETY: the frame is live during the call, and so is what it names.
    let executor = NonNull::new(unsafe { ffi::WasmEdge_CallingFrameGetExecutor(frame) });
    // SAFETY: as above.
    let instance = NonNull::new(unsafe { ffi::WasmEdge_CallingFrameGetModuleInstance(frame) }.cast_mut());
    let (Some(executor), Some(instance)) = (executor, instance) else {
        return ffi::WasmEdge_Result { Code: Stop::HOST_FAILED.raw };
    };
    let guest = Guest { executor, instance, lifetime: PhantomData };
    match (entry.call)(&entry.state, &guest, &args[..entry.params]) {
        Ok(value) => {
            if let Some(value) = value {
                // SAFETY: a function that returns a value was declared with one result, for which this is the place.
                unsafe { returns.write(value.into_raw()) };
            }
            ffi::WasmEdge_Result { Code: ffi::WasmEdge_ErrCode_Success }
        }
        Err(stop) => ffi::WasmEdge_Result { Code: stop.raw },
    }
}

/// A guest that can be called: an executor and an instance in it, both live for `'a`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest<'a> {
    executor: NonNull<ffi::WasmEdge_ExecutorContext>,
    instance: NonNull<ffi::WasmEdge_ModuleInstanceContext>,
    lifetime: PhantomData<(&'a Executor, Cell<()>)>,
}

/// An exported function that was looked up once. It is live as long as its instance, of which it tells nobody: only a [`Guest`]
/// of that instance calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export {
    function: NonNull<ffi::WasmEdge_FunctionInstanceContext>,
    instance: NonNull<ffi::WasmEdge_ModuleInstanceContext>,
}

/// A guest's linear memory, likewise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    memory: NonNull<ffi::WasmEdge_MemoryInstanceContext>,
    instance: NonNull<ffi::WasmEdge_ModuleInstanceContext>,
}

impl Guest<'_> {
    /// An exported function, for calls that are made often.
    pub(crate) fn export(&self, name: &str) -> Option<Export> {
        let function = find_function(self.instance, name)?;
        Some(Export { function, instance: self.instance })
    }

    /// Calls an exported function. `None` when there is none of that name.
    ///
    /// A function that leaves by `proc_exit` is a [`Stop`], never a value.
    pub(crate) fn call(&self, name: &str, args: &[Val]) -> Option<std::result::Result<Vec<Val>, Stop>> {
        let export = self.export(name)?;
        // SAFETY: the function belongs to the instance, which is live.
        let ty = unsafe { ffi::WasmEdge_FunctionInstanceGetFunctionType(export.function.as_ptr()) };
        // SAFETY: a type of a live function.
        let results = unsafe { ffi::WasmEdge_FunctionTypeGetReturnsLength(ty) };
        let mut returns = vec![Val::I32(0).into_raw(); results as usize];
        let called = self.invoke(export, args, &mut returns);
        Some(called.map(|()| returns.into_iter().filter_map(Val::from_raw).collect()))
    }

    /// Calls a function of this guest's that returns one value, without a look-up and without memory of its own.
    pub(crate) fn call_for_value(
        &self,
        export: Export,
        args: &[Val],
    ) -> std::result::Result<Option<Val>, Stop> {
        let mut returns = [Val::I32(0).into_raw()];
        self.invoke(export, args, &mut returns)?;
        Ok(Val::from_raw(returns[0]))
    }

    /// Likewise, for a function that returns nothing.
    pub(crate) fn call_for_nothing(&self, export: Export, args: &[Val]) -> std::result::Result<(), Stop> {
        self.invoke(export, args, &mut [])
    }

    /// `returns` has as many places as the function has results.
    fn invoke(
        &self,
        export: Export,
        args: &[Val],
        returns: &mut [ffi::WasmEdge_Value],
    ) -> std::result::Result<(), Stop> {
        if export.instance != self.instance {
            return Err(Stop::HOST_FAILED);
        }
        let mut few = [Val::I32(0).into_raw(); MAX_PARAMS];
        let many: Vec<_>;
        let params = if args.len() <= MAX_PARAMS {
            for (place, arg) in few.iter_mut().zip(args) {
                *place = arg.into_raw();
            }
            &few[..args.len()]
        } else {
            many = args.iter().map(|arg| arg.into_raw()).collect();
            &many[..]
        };
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        // SAFETY: executor and function are live (the function belongs to this guest's instance), both lists have the length
        // given with them, and `returns` is initialised whether or not the engine writes to it.
        let result = unsafe {
            ffi::WasmEdge_ExecutorInvoke(
                self.executor.as_ptr(),
                export.function.as_ptr(),
                params.as_ptr(),
                count(params.len()),
                returns.as_mut_ptr(),
                count(returns.len()),
            )
        };
        Stop::check(result)
    }

    /// The guest's linear memory, if it has one. Modules have one at most: further ones are a proposal that is off.
    pub(crate) fn memory(&self) -> Option<Memory> {
        // SAFETY: the instance is live.
        if unsafe { ffi::WasmEdge_ModuleInstanceListMemoryLength(self.instance.as_ptr()) } == 0 {
            return None;
        }
        let mut name = ffi::WasmEdge_String { Length: 0, Buf: ptr::null() };
        // SAFETY: as above, and `name` is a place for one string.
        unsafe { ffi::WasmEdge_ModuleInstanceListMemory(self.instance.as_ptr(), &raw mut name, 1) };
        // SAFETY: as above; the name points into the instance.
        let memory = unsafe { ffi::WasmEdge_ModuleInstanceFindMemory(self.instance.as_ptr(), name) };
        Some(Memory { memory: NonNull::new(memory)?, instance: self.instance })
    }

    /// Size of a memory of this guest's in pages, as granted; 0 for another's.
    pub(crate) fn pages_of(&self, memory: Memory) -> u64 {
        if memory.instance != self.instance {
            return 0;
        }
        // SAFETY: the memory belongs to the instance, which is live.
        unsafe { ffi::WasmEdge_MemoryInstanceGetPageSize(memory.memory.as_ptr()) }
    }

    /// Where `len` bytes at `offset` of a memory of this guest's lie in this process; nothing when they are not in bounds.
    pub(crate) fn pointer(&self, memory: Memory, offset: u64, len: u64) -> Option<NonNull<u8>> {
        if memory.instance != self.instance {
            return None;
        }
        // SAFETY: as above; the engine checks the bounds, and answers null.
        NonNull::new(unsafe { ffi::WasmEdge_MemoryInstanceGetPointer(memory.memory.as_ptr(), offset, len) })
    }

    /// Size of the guest's memory in pages, as granted.
    pub(crate) fn pages(&self) -> Option<u64> {
        Some(self.pages_of(self.memory()?))
    }
}
