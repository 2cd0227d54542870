//! The host's functions, with Rust's types. `loopback.rs` stands in for this file where there is no host.
//!
//! Addresses and lengths of wasm32 have 32 bits: no cast here loses any.

#![expect(unsafe_code, reason = "calls of the host")]

use guest_abi::{Received, Region, Status};

mod host {
    #[link(wasm_import_module = "roadrunner")]
    unsafe extern "C" {
        pub(super) safe fn send_to_host(address: u32, len: u32) -> i32;
        pub(super) safe fn send_to(name: u32, name_len: u32, address: u32, len: u32) -> i32;
        pub(super) safe fn give_to_host(name: u32, name_len: u32, address: u32, len: u32) -> i32;
        pub(super) safe fn call(name: u32, name_len: u32, address: u32, len: u32) -> i64;
        pub(super) safe fn answer(payload: u32, address: u32, len: u32) -> i32;
        pub(super) safe fn targets() -> i32;
        pub(super) fn target_name(index: u32, buffer: u32, capacity: u32) -> i32;
        pub(super) safe fn target_status(index: u32) -> i32;
        pub(super) safe fn prepare_memory(address: u32, len: u32) -> i32;
        pub(super) safe fn receive(timeout_ms: i32) -> i64;
        pub(super) safe fn complete(address: u32, status: i32) -> i32;
        pub(super) safe fn set_status(status: i32) -> i32;
        // These, and `target_name`, write into the buffer, and nowhere else.
        pub(super) fn peer_name(address: u32, buffer: u32, capacity: u32) -> i32;
        pub(super) fn last_error(buffer: u32, capacity: u32) -> i32;
        pub(super) safe fn register_memory(address: u32, len: u32) -> i32;
        pub(super) safe fn unregister_memory(address: u32) -> i32;
    }

    unsafe extern "C" {
        /// Runs the constructors; made by the linker.
        pub(super) fn __wasm_call_ctors();
    }
}

/// Nothing is read of the bytes here: they need not have been written.
fn parts(bytes: *const [u8]) -> (u32, u32) {
    (bytes.cast::<u8>().expose_provenance() as u32, bytes.len() as u32)
}

pub(crate) fn send_to_host(payload: &[u8]) -> Status {
    let (address, len) = parts(payload);
    Status(host::send_to_host(address, len))
}

pub(crate) fn send_to(name: &str, payload: &[u8]) -> Status {
    let (name, name_len) = parts(name.as_bytes());
    let (address, len) = parts(payload);
    Status(host::send_to(name, name_len, address, len))
}

/// To all targets without a name.
pub(crate) fn give_to_host(name: Option<&str>, payload: &[u8]) -> Status {
    let (name, name_len) = parts(name.unwrap_or_default().as_bytes());
    let (address, len) = parts(payload);
    Status(host::give_to_host(name, name_len, address, len))
}

/// Address and length of the answer.
pub(crate) fn call(name: &str, payload: &[u8]) -> Result<(usize, usize), Status> {
    let (name, name_len) = parts(name.as_bytes());
    let (address, len) = parts(payload);
    region(host::call(name, name_len, address, len))
}

pub(crate) fn answer(payload: usize, bytes: &[u8]) -> Status {
    let (address, len) = parts(bytes);
    Status(host::answer(payload as u32, address, len))
}

pub(crate) fn targets() -> usize {
    usize::try_from(host::targets()).unwrap_or(0)
}

pub(crate) fn target_name(index: usize, buffer: &mut [u8]) -> i32 {
    let (start, capacity) = parts(buffer);
    // SAFETY: the host writes into the buffer at most, which is borrowed mutably.
    unsafe { host::target_name(index as u32, start, capacity) }
}

pub(crate) fn target_status(index: usize) -> Status {
    Status(host::target_status(index as u32))
}

pub(crate) fn prepare_memory(bytes: *const [u8]) -> Status {
    let (address, len) = parts(bytes);
    Status(host::prepare_memory(address, len))
}

/// Address and length of the payload.
pub(crate) fn receive(timeout_ms: i32) -> Result<(usize, usize), Status> {
    region(host::receive(timeout_ms))
}

fn region(packed: i64) -> Result<(usize, usize), Status> {
    match Received::from_i64(packed) {
        Received::Payload(Region { address, len }) => Ok((address as usize, len as usize)),
        Received::Status(status) => Err(status),
    }
}

pub(crate) fn complete(address: usize, status: i32) -> Status {
    Status(host::complete(address as u32, status))
}

pub(crate) fn set_status(status: i32) -> Status {
    Status(host::set_status(status))
}

pub(crate) fn peer_name(address: usize, buffer: &mut [u8]) -> i32 {
    let (start, capacity) = parts(buffer);
    // SAFETY: the host writes into the buffer at most, which is borrowed mutably.
    unsafe { host::peer_name(address as u32, start, capacity) }
}

pub(crate) fn last_error(buffer: &mut [u8]) -> i32 {
    let (start, capacity) = parts(buffer);
    // SAFETY: the host writes into the buffer at most, which is borrowed mutably.
    unsafe { host::last_error(start, capacity) }
}

pub(crate) fn register_memory(bytes: *const [u8]) -> Status {
    let (address, len) = parts(bytes);
    Status(host::register_memory(address, len))
}

pub(crate) fn unregister_memory(bytes: *const [u8]) -> Status {
    Status(host::unregister_memory(parts(bytes).0))
}

/// What a reactor's `_initialize` has to do. Because it is called here, the linker does not wrap every export in
/// constructors and destructors, as it does for a command.
pub fn initialize() {
    // SAFETY: the host calls `_initialize` once, before anything else.
    unsafe { host::__wasm_call_ctors() }
}
