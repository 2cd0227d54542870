//! The C boundary: the one exported symbol, and the functions behind it.
//!
//! What crosses it is described in `executor_abi`. No panic crosses it: this library is built with `panic = "abort"`.

#![expect(unsafe_code, reason = "the C boundary to the runtime")]

use std::mem::ManuallyDrop;
use std::ptr;

use executor_abi::request::{Compile, Description, Prepare};
use executor_abi::{ABI_VERSION, Buffer, Prepared as Opaque, Slice, Table};

use crate::engine;
use crate::error::{Error, ErrorKind, Result};
use crate::prepare::{Prepared, prepare};
use crate::process;

static TABLE: Table = Table {
    abi_version: ABI_VERSION,
    // A table is a few words.
    #[expect(clippy::cast_possible_truncation, reason = "the size of a struct of seven words")]
    size: size_of::<Table>() as u32,
    describe: describe_entry,
    prepare: prepare_entry,
    run: run_entry,
    compile: compile_entry,
    free: free_entry,
};

/// The function that `executor_abi::TABLE_SYMBOL` names. Call it before the clone that makes a container's init: it
/// notes where the kernel keeps this process's arguments, while `/proc` is the host's.
// SAFETY: no other library of the process exports this name.
#[unsafe(no_mangle)]
pub extern "C" fn rr_executor_table() -> *const Table {
    process::remember_layout();
    &raw const TABLE
}

/// The engine, as it is loaded.
#[must_use]
pub fn describe() -> Description {
    Description {
        engine: "wasmedge".to_owned(),
        version: engine::version(),
        executor: env!("CARGO_PKG_VERSION").to_owned(),
        proposals: engine::PROPOSALS.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// Gives bytes to the caller, who passes them to `free_entry`.
fn give(bytes: Vec<u8>) -> Buffer {
    let mut bytes = ManuallyDrop::new(bytes);
    Buffer { data: bytes.as_mut_ptr(), len: bytes.len(), capacity: bytes.capacity() }
}

/// Borrows the bytes of a request.
///
/// # Safety
/// `slice` describes memory that is live and unchanged for `'a`, or has the length 0.
unsafe fn borrow<'a>(slice: Slice) -> &'a [u8] {
    if slice.len == 0 || slice.data.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(slice.data, slice.len) }
}

/// Parses a request.
///
/// # Safety
/// As for [`borrow`].
unsafe fn request<T: for<'a> serde::Deserialize<'a>>(slice: Slice) -> Result<T> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { borrow(slice) };
    serde_json::from_slice(bytes)
        .map_err(|error| Error::with(ErrorKind::Request, "request of the runtime", error))
}

unsafe extern "C" fn describe_entry(answer: *mut Buffer) {
    let json = serde_json::to_vec(&describe()).unwrap_or_default();
    // SAFETY: the boundary's contract: `answer` is a place for one buffer.
    unsafe { answer.write(give(json)) };
}

unsafe extern "C" fn prepare_entry(slice: Slice, error: *mut Buffer) -> *mut Opaque {
    // SAFETY: the boundary's contract: the request outlives the call.
    let request = unsafe { request::<Prepare>(slice) };
    match request.and_then(prepare) {
        Ok(prepared) => Box::into_raw(Box::new(prepared)).cast(),
        Err(failure) => {
            // SAFETY: the boundary's contract: `error` is a place for one buffer.
            unsafe { error.write(give(failure.report().into_bytes())) };
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn run_entry(prepared: *mut Opaque) -> i32 {
    // SAFETY: the boundary's contract: what `prepare_entry` returned, not null, and passed to this function once.
    let prepared = unsafe { Box::from_raw(prepared.cast::<Prepared>()) };
    prepared.run()
}

unsafe extern "C" fn compile_entry(slice: Slice, answer: *mut Buffer) -> i32 {
    // SAFETY: the boundary's contract: the request outlives the call.
    let request = unsafe { request::<Compile>(slice) };
    let (status, bytes) = match request.and_then(|request| crate::compile(&request)) {
        Ok(code) => (0, code),
        Err(failure) => (1, failure.report().into_bytes()),
    };
    // SAFETY: the boundary's contract: `answer` is a place for one buffer.
    unsafe { answer.write(give(bytes)) };
    status
}

unsafe extern "C" fn free_entry(buffer: Buffer) {
    if !buffer.data.is_null() {
        // SAFETY: the boundary's contract: a buffer that `give` made, once.
        drop(unsafe { Vec::from_raw_parts(buffer.data, buffer.len, buffer.capacity) });
    }
}
