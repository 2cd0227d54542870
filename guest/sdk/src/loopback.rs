//! In place of the host's functions, outside of WebAssembly: what a thread sends it receives, from a peer named `loopback`.
//!
//! It keeps to the guest contract in what it accepts, so that a test of this crate means something: a payload that is
//! not registered is refused, and so is completing what was not received. A call is answered with what it sent.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use guest_abi::Status;

use crate::memory;

const NAME: &str = "loopback";

#[derive(Default)]
struct Host {
    sent: VecDeque<Vec<u8>>,
    /// Lengths by address.
    registered: BTreeMap<usize, usize>,
    /// Addresses of payloads that were received and not completed.
    held: BTreeSet<usize>,
    completed: Vec<i32>,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// The statuses with which payloads were completed in this thread, since the last call.
#[cfg(test)]
pub(crate) fn completed() -> Vec<i32> {
    HOST.with_borrow_mut(|host| std::mem::take(&mut host.completed))
}

pub(crate) fn send_to_host(payload: &[u8]) -> Status {
    let (address, len) = (payload.as_ptr().addr(), payload.len());
    HOST.with_borrow_mut(|host| {
        let registered = host.registered.get(&address).is_some_and(|size| len <= *size);
        if !registered && !memory::is_registered(address, len) {
            return Status::INVALID_REGION;
        }
        host.sent.push_back(payload.to_vec());
        Status::OK
    })
}

pub(crate) fn send_to(name: &str, payload: &[u8]) -> Status {
    if name == NAME { send_to_host(payload) } else { Status::NO_TARGET }
}

pub(crate) fn give_to_host(name: Option<&str>, payload: &[u8]) -> Status {
    let status = name.map_or_else(|| send_to_host(payload), |name| send_to(name, payload));
    if status.is_ok() {
        HOST.with_borrow_mut(|host| host.registered.remove(&payload.as_ptr().addr()));
    }
    status
}

pub(crate) fn call(name: &str, payload: &[u8]) -> Result<(usize, usize), Status> {
    match send_to(name, payload) {
        Status::OK => receive(0),
        status => Err(status),
    }
}

/// Nobody asks for one.
pub(crate) fn answer(payload: usize, _bytes: &[u8]) -> Status {
    let held = HOST.with_borrow(|host| host.held.contains(&payload));
    if held || memory::is_registered(payload, 0) { Status::OK } else { Status::INVALID_REGION }
}

pub(crate) fn targets() -> usize {
    1
}

pub(crate) fn target_name(_index: usize, buffer: &mut [u8]) -> i32 {
    peer_name(0, buffer)
}

pub(crate) fn target_status(index: usize) -> Status {
    if index == 0 { Status::OK } else { Status::NO_TARGET }
}

pub(crate) fn prepare_memory(_bytes: *const [u8]) -> Status {
    Status::OK
}

/// Nobody else can send meanwhile, so an empty queue is a timeout at once, whatever the timeout.
pub(crate) fn receive(_timeout_ms: i32) -> Result<(usize, usize), Status> {
    let payload = HOST.with_borrow_mut(|host| host.sent.pop_front()).ok_or(Status::TIMEOUT)?;
    let address = memory::allocate(payload.len());
    if address == 0 {
        return Err(Status::NO_MEMORY);
    }
    memory::fill(address, &payload);
    HOST.with_borrow_mut(|host| host.held.insert(address));
    Ok((address, payload.len()))
}

pub(crate) fn complete(address: usize, status: i32) -> Status {
    let held = HOST.with_borrow_mut(|host| {
        host.completed.push(status);
        host.held.remove(&address)
    });
    if !held {
        return Status::INVALID_REGION;
    }
    memory::deallocate(address);
    if status < 0 { Status::INVALID_ARGUMENT } else { Status::OK }
}

/// There is no handler's sender to tell; `completed` shows it to tests.
pub(crate) fn set_status(status: i32) -> Status {
    HOST.with_borrow_mut(|host| host.completed.push(status));
    Status::OK
}

pub(crate) fn peer_name(_address: usize, buffer: &mut [u8]) -> i32 {
    if let Some(start) = buffer.get_mut(..NAME.len()) {
        start.copy_from_slice(NAME.as_bytes());
    }
    NAME.len() as i32
}

pub(crate) fn last_error(_buffer: &mut [u8]) -> i32 {
    0
}

pub(crate) fn register_memory(bytes: *const [u8]) -> Status {
    HOST.with_borrow_mut(|host| match host.registered.entry(bytes.cast::<u8>().addr()) {
        Entry::Occupied(_) => Status::INVALID_REGION,
        Entry::Vacant(free) => {
            free.insert(bytes.len());
            Status::OK
        }
    })
}

pub(crate) fn unregister_memory(bytes: *const [u8]) -> Status {
    match HOST.with_borrow_mut(|host| host.registered.remove(&bytes.cast::<u8>().addr())) {
        Some(_) => Status::OK,
        None => Status::INVALID_REGION,
    }
}
