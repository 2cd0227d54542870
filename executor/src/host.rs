//! The host's half of the guest contract: the imports of module `roadrunner`, and the pushing of payloads into a handler.
//!
//! `guest_abi` says what each function means; this file says nothing of it a second time. Invariants:
//! - whatever a guest passes, the answer is a status: no path in here panics, and no `RefCell` is borrowed while
//!   an instruction of the guest runs, but those that `inside` guards;
//! - while the host is inside the guest's allocator (`inside`), every import answers `BUSY`;
//! - a trap or an exit inside a call of the host's into the guest ends the outer call the same way;
//! - a payload that the guest has not completed when it ends is reported to its sender as `TRAPPED`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use guest_abi::{Received, Region, Status, exports, imports};
use hose::{Fate, Held, Incoming, Name, Receiver, Sender};

use crate::engine::{FuncType, Guest, Instance, Stop, Val, ValType};
use crate::error::Result;
use crate::link::Contract;
use crate::memory::{self, Refused, Regions};

type Outcome<T> = std::result::Result<T, Stop>;
/// A status in place of a value, or the end of the guest.
type Answer<T> = Outcome<std::result::Result<T, Status>>;

/// Longest name that `send_to` reads; the hose's own are shorter.
const MAX_NAME: u32 = 256;
/// Payloads that a guest may have pulled and not completed: each keeps a connection and a region.
const MAX_HELD: usize = 1024;

/// A function's end of the hose.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) sender: RefCell<Sender>,
    pub(crate) receiver: Option<RefCell<Receiver>>,
    pub(crate) targets: Vec<Name>,
    pub(crate) max_size: u64,
}

/// What the host's functions know.
#[derive(Debug)]
pub(crate) struct Host {
    ends: Option<Ends>,
    contract: Contract,
    regions: RefCell<Regions>,
    /// Pulled and not completed, by address.
    held: RefCell<BTreeMap<u32, Held>>,
    /// The payload that the handler is looking at.
    pushing: RefCell<Option<Pushing>>,
    last_error: RefCell<String>,
    /// The host is inside the guest's allocator.
    inside: Cell<bool>,
    /// The guest pulls, so nothing is pushed.
    pulls: Cell<bool>,
}

#[derive(Debug)]
struct Pushing {
    address: u32,
    peer: Name,
    status: Status,
}

/// A function of the host: its name, its type, itself.
struct Function {
    name: &'static str,
    params: &'static [ValType],
    result: ValType,
    call: fn(&Host, &Guest<'_>, &[Val]) -> Outcome<Option<Val>>,
}

const I32: ValType = ValType::I32;

const FUNCTIONS: [Function; 9] = [
    Function { name: imports::SEND_TO_HOST, params: &[I32, I32], result: I32, call: send_to_host },
    Function { name: imports::SEND_TO, params: &[I32, I32, I32, I32], result: I32, call: send_to },
    Function { name: imports::RECEIVE, params: &[I32], result: ValType::I64, call: receive },
    Function { name: imports::COMPLETE, params: &[I32, I32], result: I32, call: complete },
    Function { name: imports::SET_STATUS, params: &[I32], result: I32, call: set_status },
    Function { name: imports::PEER_NAME, params: &[I32, I32, I32], result: I32, call: peer_name },
    Function { name: imports::LAST_ERROR, params: &[I32, I32], result: I32, call: last_error },
    Function { name: imports::REGISTER_MEMORY, params: &[I32, I32], result: I32, call: register_memory },
    Function { name: imports::UNREGISTER_MEMORY, params: &[I32], result: I32, call: unregister_memory },
];

impl Function {
    fn ty(&self) -> FuncType {
        FuncType { params: self.params.to_vec(), results: vec![self.result] }
    }
}

/// The type of an import, if there is one of that name.
pub(crate) fn function_type(name: &str) -> Option<FuncType> {
    FUNCTIONS.iter().find(|function| function.name == name).map(Function::ty)
}

/// The module `roadrunner` for one guest.
pub(crate) fn instance(host: &Rc<Host>) -> Result<Instance> {
    let instance = Instance::named(guest_abi::MODULE)?;
    for function in &FUNCTIONS {
        instance.add_function(function.name, &function.ty(), host, function.call)?;
    }
    Ok(instance)
}

impl Host {
    pub(crate) fn new(ends: Option<Ends>, contract: Contract) -> Rc<Self> {
        Rc::new(Self {
            ends,
            contract,
            regions: RefCell::default(),
            held: RefCell::default(),
            pushing: RefCell::new(None),
            last_error: RefCell::default(),
            inside: Cell::new(false),
            pulls: Cell::new(false),
        })
    }

    /// Whether payloads are pushed into the guest after its entry point has returned.
    pub(crate) fn pushes(&self) -> bool {
        let receives = self.ends.as_ref().is_some_and(|ends| ends.receiver.is_some());
        receives && self.contract.read && self.contract.can_receive() && !self.pulls.get()
    }

    /// Tells the senders of what the guest never completed that it will not.
    pub(crate) fn abandon(&self) {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        let Some(receiver) = self.ends.as_ref().and_then(|ends| ends.receiver.as_ref()) else { return };
        for held in held.into_values() {
            // The function is over: nobody is left whom a failure would interest.
            let _ = receiver.borrow_mut().handled(held, hose::Status(Status::TRAPPED.0), None);
        }
    }

    /// Gives payloads to the guest's handler, one after the other, until every sender has closed.
    ///
    /// The first is waited for without end: peers start in any order. A function that shall end earlier exits, or has a
    /// time limit.
    pub(crate) fn serve(&self, guest: &Guest<'_>) -> Outcome<()> {
        let Some(receiver) = self.ends.as_ref().and_then(|ends| ends.receiver.as_ref()) else {
            return Ok(());
        };
        let mut next = receiver.borrow_mut().next(None);
        loop {
            match next {
                Ok(Some(incoming)) => self.push(guest, receiver, incoming)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.remember(&error);
                    return Err(Stop::HOST_FAILED);
                }
            }
            next = receiver.borrow_mut().next_while_connected();
        }
    }

    /// Pushes one payload into the guest's handler. One that the guest has no memory for, or whose sender goes away in its midst,
    /// is none: the sender knows, and the handler never sees it.
    fn push(&self, guest: &Guest<'_>, receiver: &RefCell<Receiver>, incoming: Incoming) -> Outcome<()> {
        let Ok((region, held)) = self.take_in(guest, receiver, incoming)? else { return Ok(()) };
        let peer = held.sender().clone();
        *self.pushing.borrow_mut() = Some(Pushing { address: region.address, peer, status: Status::OK });
        let args = [Val::from_u32(region.address), Val::from_u32(region.len)];
        let outcome = guest.call(exports::READ_MEMORY_WASM, &args).unwrap_or(Err(Stop::HOST_FAILED));
        let said = self.pushing.borrow_mut().take().map_or(Status::OK, |pushing| pushing.status);
        let status = if outcome.is_ok() { said } else { Status::TRAPPED };
        self.regions.borrow_mut().unregister(region.address);
        let told = receiver.borrow_mut().handled(held, hose::Status(status.0), None);
        if let Err(error) = told {
            self.remember(&error);
        }
        outcome?;
        self.deallocate(guest, region.address)
    }

    /// Takes a payload into a region of the guest's. On a status its sender has been told.
    fn take_in(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        incoming: Incoming,
    ) -> Answer<(Region, Held)> {
        let region = match self.allocate(guest, &incoming) {
            Ok(Ok(region)) => region,
            Ok(Err(status)) => {
                receiver.borrow_mut().refuse(incoming);
                return Ok(Err(status));
            }
            Err(stop) => {
                receiver.borrow_mut().refuse(incoming);
                return Err(stop);
            }
        };
        let read = memory::write_memory_host(guest, &self.regions.borrow(), region, |bytes| {
            receiver.borrow_mut().read_into(incoming, bytes)
        });
        let status = match read {
            Ok(Ok(held)) => return Ok(Ok((region, held))),
            Ok(Err(error)) => {
                self.remember(&error);
                Status::LOST
            }
            Err(refused) => status_of(refused),
        };
        self.regions.borrow_mut().unregister(region.address);
        self.deallocate(guest, region.address)?;
        Ok(Err(status))
    }

    /// A registered region of the guest's own making for a payload.
    fn allocate(&self, guest: &Guest<'_>, incoming: &Incoming) -> Answer<Region> {
        let Ok(len) = u32::try_from(incoming.len()) else { return Ok(Err(Status::TOO_LARGE)) };
        let values = self.inside(|| guest.call(exports::ALLOCATE_MEMORY, &[Val::from_u32(len)]))?;
        let Some(address) = values.first().and_then(|value| value.as_u32()) else {
            return Ok(Err(Status::NO_EXPORT));
        };
        let region = Region { address, len };
        let usable = address != 0 && address != u32::MAX && memory::in_bounds(guest, region);
        if !usable || self.regions.borrow_mut().register(region).is_err() {
            self.complain("allocate_memory returned no region of this guest's that is free");
            return Ok(Err(Status::NO_MEMORY));
        }
        Ok(Ok(region))
    }

    fn deallocate(&self, guest: &Guest<'_>, address: u32) -> Outcome<()> {
        self.inside(|| guest.call(exports::DEALLOCATE_MEMORY, &[Val::from_u32(address)])).map(drop)
    }

    /// Calls the guest with every import answering `BUSY`.
    pub(crate) fn inside(&self, call: impl FnOnce() -> Option<Outcome<Vec<Val>>>) -> Outcome<Vec<Val>> {
        self.inside.set(true);
        let outcome = call();
        self.inside.set(false);
        outcome.unwrap_or(Ok(Vec::new()))
    }

    /// Runs `send` on the bytes of a region that is registered, or that the guest vouches for.
    fn with_region<R>(&self, guest: &Guest<'_>, region: Region, send: impl FnOnce(&[u8]) -> R) -> Answer<R> {
        let vouched = if self.regions.borrow().covers(region) { None } else { self.locate(guest, region)? };
        let sent = memory::read_memory_host(guest, &self.regions.borrow(), region, send);
        if let Some(vouched) = vouched {
            self.regions.borrow_mut().unregister(vouched.address);
        }
        Ok(sent.map_err(status_of))
    }

    /// Asks the guest for the region around `region`, and registers what it answers if that makes sense.
    fn locate(&self, guest: &Guest<'_>, region: Region) -> Outcome<Option<Region>> {
        if !self.contract.locate {
            return Ok(None);
        }
        let values =
            self.inside(|| guest.call(exports::LOCATE_MEMORY_REGION, &[Val::from_u32(region.address)]))?;
        let Some(Val::I64(packed)) = values.first() else { return Ok(None) };
        let answer = Region::from_i64(*packed);
        let sensible = answer.contains(region) && memory::in_bounds(guest, answer);
        if *packed == 0 || !sensible || self.regions.borrow_mut().register(answer).is_err() {
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// The end to send from, for a payload that may be sent.
    fn sending(&self, len: u32) -> std::result::Result<&Ends, Status> {
        if self.inside.get() {
            return Err(Status::BUSY);
        }
        let ends = self.ends.as_ref().ok_or(Status::NO_HOSE)?;
        if ends.targets.is_empty() {
            return Err(Status::NO_TARGET);
        }
        if u64::from(len) > ends.max_size {
            self.complain(&format!("a payload of {len} bytes, the limit is {}", ends.max_size));
            return Err(Status::TOO_LARGE);
        }
        Ok(ends)
    }

    fn complain(&self, text: &str) {
        text.clone_into(&mut self.last_error.borrow_mut());
    }

    fn remember(&self, error: &hose::Error) -> Status {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(error) {
            text = format!("{text}: {cause}");
        }
        self.complain(&text);
        status_of_error(error)
    }

    fn verdict(&self, result: hose::Result<hose::Delivery>) -> Status {
        match result {
            Ok(delivery) => Status(delivery.status.0),
            Err(error) => self.remember(&error),
        }
    }
}

/// What a failed send means to a guest.
fn status_of_error(error: &hose::Error) -> Status {
    use hose::ErrorKind as Kind;
    if error.fate() == Fate::Unknown {
        return Status::UNKNOWN;
    }
    match error.kind() {
        Kind::Invalid => Status::INVALID_ARGUMENT,
        Kind::Target => Status::NO_TARGET,
        Kind::Timeout => Status::TIMEOUT,
        Kind::Auth => Status::UNAUTHENTICATED,
        Kind::Protocol => Status::PROTOCOL,
        Kind::TooLarge => Status::TOO_LARGE,
        Kind::Refused => Status::REFUSED,
        Kind::Lost => Status::LOST,
        _ => Status::HOST,
    }
}

fn status_of(refused: Refused) -> Status {
    match refused {
        Refused::NotRegistered | Refused::OutOfBounds => Status::INVALID_REGION,
        Refused::TooMany => Status::HOST,
    }
}

fn unsigned(args: &[Val], index: usize) -> u32 {
    args.get(index).and_then(|value| value.as_u32()).unwrap_or(0)
}

fn signed(args: &[Val], index: usize) -> i32 {
    unsigned(args, index).cast_signed()
}

fn answer(status: Status) -> Outcome<Option<Val>> {
    Ok(Some(Val::I32(status.0)))
}

fn send_to_host(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 0), len: unsigned(args, 1) };
    let ends = match host.sending(region.len) {
        Ok(ends) => ends,
        Err(status) => return answer(status),
    };
    let sent = host.with_region(guest, region, |bytes| ends.sender.borrow_mut().send_to_all(bytes))?;
    answer(match sent {
        Err(status) => status,
        Ok(verdicts) => verdicts
            .into_iter()
            .map(|(_, verdict)| host.verdict(verdict))
            .find(|status| !status.is_ok())
            .unwrap_or(Status::OK),
    })
}

fn send_to(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 2), len: unsigned(args, 3) };
    let ends = match host.sending(region.len) {
        Ok(ends) => ends,
        Err(status) => return answer(status),
    };
    let Ok(name) = memory::copy_argument(guest, unsigned(args, 0), unsigned(args, 1), MAX_NAME) else {
        return answer(Status::INVALID_ARGUMENT);
    };
    let Ok(name) = String::from_utf8(name) else { return answer(Status::INVALID_ARGUMENT) };
    let Some(target) = ends.targets.iter().find(|target| target.as_str() == name) else {
        return answer(Status::NO_TARGET);
    };
    let sent = host.with_region(guest, region, |bytes| ends.sender.borrow_mut().send(target, bytes))?;
    answer(match sent {
        Err(status) => status,
        Ok(verdict) => host.verdict(verdict),
    })
}

fn receive(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let received = match receivable(host) {
        Err(status) => Received::Status(status),
        Ok(receiver) => {
            host.pulls.set(true);
            let timeout = u64::try_from(signed(args, 0)).ok().map(Duration::from_millis);
            match pull(host, guest, receiver, timeout)? {
                Err(status) => Received::Status(status),
                Ok((region, held)) => {
                    host.held.borrow_mut().insert(region.address, held);
                    Received::Payload(region)
                }
            }
        }
    };
    Ok(Some(Val::I64(received.to_i64())))
}

/// The next payload within `timeout`. A sender that goes away in the midst of one is passed over.
fn pull(
    host: &Host,
    guest: &Guest<'_>,
    receiver: &RefCell<Receiver>,
    timeout: Option<Duration>,
) -> Answer<(Region, Held)> {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let next = receiver.borrow_mut().next(left);
        let incoming = match next {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return Ok(Err(Status::TIMEOUT)),
            Err(error) => return Ok(Err(host.remember(&error))),
        };
        match host.take_in(guest, receiver, incoming)? {
            Err(Status::LOST) => {}
            answer => return Ok(answer),
        }
    }
}

fn receivable(host: &Host) -> std::result::Result<&RefCell<Receiver>, Status> {
    if host.inside.get() || host.pushing.borrow().is_some() {
        return Err(Status::BUSY);
    }
    let receiver = host.ends.as_ref().and_then(|ends| ends.receiver.as_ref()).ok_or(Status::NO_HOSE)?;
    if !host.contract.can_receive() {
        return Err(Status::NO_EXPORT);
    }
    if host.held.borrow().len() >= MAX_HELD {
        host.complain("too many payloads are received and not completed");
        return Err(Status::BUSY);
    }
    Ok(receiver)
}

fn complete(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let (address, status) = (unsigned(args, 0), Status(signed(args, 1)));
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    if status.is_host() {
        return answer(Status::INVALID_ARGUMENT);
    }
    let receiver = host.ends.as_ref().and_then(|ends| ends.receiver.as_ref());
    let held = host.held.borrow_mut().remove(&address);
    let (Some(receiver), Some(held)) = (receiver, held) else { return answer(Status::INVALID_REGION) };
    host.regions.borrow_mut().unregister(address);
    let told = receiver.borrow_mut().handled(held, hose::Status(status.0), None);
    host.deallocate(guest, address)?;
    answer(told.map_or_else(|error| host.remember(&error), |()| Status::OK))
}

fn set_status(host: &Host, _: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let status = Status(signed(args, 0));
    if status.is_host() {
        return answer(Status::INVALID_ARGUMENT);
    }
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    answer(match host.pushing.borrow_mut().as_mut() {
        None => Status::BUSY,
        Some(pushing) => {
            pushing.status = status;
            Status::OK
        }
    })
}

fn peer_name(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let address = unsigned(args, 0);
    let pushed =
        host.pushing.borrow().as_ref().filter(|pushing| pushing.address == address).map(|p| p.peer.clone());
    let peer = pushed.or_else(|| host.held.borrow().get(&address).map(|held| held.sender().clone()));
    match peer {
        None => answer(Status::INVALID_REGION),
        Some(peer) => give_text(guest, peer.as_str(), unsigned(args, 1), unsigned(args, 2)),
    }
}

fn last_error(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    give_text(guest, &host.last_error.borrow(), unsigned(args, 0), unsigned(args, 1))
}

/// Writes a text where it fits, and returns its length.
fn give_text(guest: &Guest<'_>, text: &str, buffer: u32, capacity: u32) -> Outcome<Option<Val>> {
    let Ok(len) = i32::try_from(text.len()) else { return answer(Status::HOST) };
    let needed = len.cast_unsigned();
    if capacity >= needed {
        let written = memory::fill_callers_buffer(guest, buffer, needed, |bytes| {
            bytes.copy_from_slice(text.as_bytes())
        });
        if written.is_err() {
            return answer(Status::INVALID_REGION);
        }
    }
    Ok(Some(Val::I32(len)))
}

fn register_memory(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 0), len: unsigned(args, 1) };
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    if !memory::in_bounds(guest, region) {
        return answer(Status::INVALID_REGION);
    }
    answer(match host.regions.borrow_mut().register(region) {
        Ok(()) => Status::OK,
        Err(refused) => {
            host.complain("the region overlaps one that is registered, or too many are");
            status_of(refused)
        }
    })
}

fn unregister_memory(host: &Host, _: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let address = unsigned(args, 0);
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let pushed = host.pushing.borrow().as_ref().is_some_and(|pushing| pushing.address == address);
    // What the host got from allocate_memory stays registered until the host gives it back.
    if pushed || host.held.borrow().contains_key(&address) {
        return answer(Status::INVALID_REGION);
    }
    answer(host.regions.borrow_mut().unregister(address).map_or(Status::INVALID_REGION, |_| Status::OK))
}
