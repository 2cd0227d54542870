//! The boundary between `runtime` and the executor's shared object.
//!
//! `runtime` loads `librr_executor.so` for a Wasm workload only, and takes from it one symbol,
//! [`TABLE_SYMBOL`]: a function that returns a pointer to a static [`Table`]. Everything else goes through
//! that table. Requests and answers are JSON in byte buffers, so that neither side depends on the other's
//! layout of anything but the table; the table itself carries [`ABI_VERSION`] first, and is not read
//! further when the version differs.
//!
//! Who calls what, where, and in which order:
//!
//! | call | process | privileges |
//! | --- | --- | --- |
//! | [`Table::describe`] | any | any |
//! | [`Table::prepare`] | container's init, after pivot_root | the spec's user, capabilities, seccomp |
//! | [`Table::run`] | the same, after `start` | the same |
//! | [`Table::compile`] | the compiler child | none, in a sandbox of its own |
//!
//! Not here: anything of OCI (the runtime translates it), anything of WasmEdge.

pub mod request;
pub mod statistics;

use std::ffi::c_void;

/// Version of [`Table`] and of the requests. Changed with every incompatible change of either.
pub const ABI_VERSION: u32 = 2;

/// Name of the one exported function, of type [`TableFn`].
pub const TABLE_SYMBOL: &[u8] = b"rr_executor_table\0";

/// File name of the executor's shared object.
pub const LIBRARY: &str = "librr_executor.so";

/// Signature of the function that [`TABLE_SYMBOL`] names.
pub type TableFn = unsafe extern "C" fn() -> *const Table;

/// Bytes lent for the duration of one call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// First byte; may dangle when `len` is 0.
    pub data: *const u8,
    /// Length in bytes.
    pub len: usize,
}

impl Slice {
    /// Lends `bytes` to a call; they have to outlive it.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }
}

/// Bytes given by the executor: to be given back with [`Table::free`] exactly once.
#[repr(C)]
#[derive(Debug)]
pub struct Buffer {
    /// First byte, null when there is none.
    pub data: *mut u8,
    /// Length in bytes.
    pub len: usize,
    /// Capacity of the allocation, for [`Table::free`] only.
    pub capacity: usize,
}

impl Buffer {
    /// A buffer that holds nothing and needs no [`Table::free`].
    #[must_use]
    pub const fn empty() -> Self {
        Self { data: std::ptr::null_mut(), len: 0, capacity: 0 }
    }
}

/// A function that was loaded, validated and linked, but of which no instruction ran yet. Opaque.
pub type Prepared = c_void;

/// The functions of the executor. All are safe to call from one thread at a time.
#[repr(C)]
pub struct Table {
    /// [`ABI_VERSION`] of the executor. Read before anything else.
    pub abi_version: u32,
    /// Size of this struct in bytes, as the executor knows it.
    pub size: u32,
    /// Writes a JSON [`request::Description`] of the engine.
    pub describe: unsafe extern "C" fn(answer: *mut Buffer),
    /// Takes a JSON [`request::Prepare`]. Returns a function that is ready to run, or null and a UTF-8
    /// message in `error`. Opens the module itself, relative to the caller's root and working directory.
    pub prepare: unsafe extern "C" fn(request: Slice, error: *mut Buffer) -> *mut Prepared,
    /// Runs it, consuming it, and returns the exit code of the process (0..=255). Everything that the
    /// user shall read (a trap, a limit that was hit) has been written to standard error by then.
    pub run: unsafe extern "C" fn(prepared: *mut Prepared) -> i32,
    /// Takes a JSON [`request::Compile`] and writes the compiled module (a universal Wasm file with
    /// native code in a custom section) to `answer`; returns 0, or 1 and a UTF-8 message in `answer`.
    pub compile: unsafe extern "C" fn(request: Slice, answer: *mut Buffer) -> i32,
    /// Frees a buffer that this table gave.
    pub free: unsafe extern "C" fn(buffer: Buffer),
}
