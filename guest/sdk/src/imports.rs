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
        pub(super) safe fn receive(timeout_ms: i32) -> i64;
        pub(super) safe fn complete(address: u32, status: i32) -> i32;
        pub(super) safe fn set_status(status: i32) -> i32;
        // These write into the buffer, and nowhere else.
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

fn parts(bytes: &[u8]) -> (u32, u32) {
    (bytes.as_ptr().expose_provenance() as u32, bytes.len() as u32)
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

/// Address and length of the payload.
pub(crate) fn receive(timeout_ms: i32) -> Result<(usize, usize), Status> {
    match Received::from_i64(host::receive(timeout_ms)) {
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

pub(crate) fn register_memory(bytes: &[u8]) -> Status {
    let (address, len) = parts(bytes);
    Status(host::register_memory(address, len))
}

pub(crate) fn unregister_memory(bytes: &[u8]) -> Status {
    Status(host::unregister_memory(parts(bytes).0))
}

/// What a reactor's `_initialize` has to do. Because it is called here, the linker does not wrap every export in
/// constructors and destructors, as it does for a command.
pub fn initialize() {
    // SAFETY: the host calls `_initialize` once, before anything else.
    unsafe { host::__wasm_call_ctors() }
}
