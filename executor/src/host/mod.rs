//! The host's half of the guest contract: the imports of module `roadrunner`, and the pushing of payloads into a handler.
//!
//! `guest_abi` says what each function means; nothing is said of it here a second time. Invariants:
//! - whatever a guest passes, the answer is a status: no path in here panics, and no `RefCell` is borrowed while
//!   an instruction of the guest runs, but those that `inside` guards;
//! - while the host is inside the guest's allocator (`inside`), every import answers `BUSY`;
//! - a trap or an exit inside a call of the host's into the guest ends the outer call the same way;
//! - a payload that the guest has not completed when it ends is reported to its sender as `TRAPPED`.
//!
//! | module | has |
//! | --- | --- |
//! | `mod` | what a host knows of its guest, regions, texts |
//! | `send` | whatever sends |
//! | `receive` | whatever receives, pulled and pushed |
//! | `mappings` | what lies in the guest's memory in place of its own pages |

mod mappings;
mod receive;
mod send;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use guest_abi::{Region, Status, exports, imports};
use hose::sealed::Buffer;
use hose::{Fate, Name, Receiver, Sender};

use crate::calls;
use crate::engine::{Export, FuncType, Guest, Instance, Memory, Val, ValType};
use crate::error::Result;
use crate::link::Contract;
use crate::memory::{self, Covered, Linear, Refused, Regions};
use crate::statistics::Statistics;
use crate::workflow::{Outcome, Targets, Workflow};

use mappings::{Mapping, Mappings};

/// A status in place of a value, or the end of the guest.
type Answer<T> = Outcome<std::result::Result<T, Status>>;

/// A function's hose. Its copies reach the same ends.
#[derive(Clone, Debug)]
pub(crate) struct Hose {
    /// Its place among the functions of its process.
    pub(crate) local: Option<Local>,
    /// The way to other containers.
    pub(crate) remote: Option<Rc<Remote>>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) max_size: u64,
    pub(crate) statistics: Statistics,
}

/// A function's place in its process.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) index: usize,
}

/// A container's end.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) sender: RefCell<Sender>,
    pub(crate) receiver: Option<RefCell<Receiver>>,
}

/// What the host's functions know.
#[derive(Debug)]
pub(crate) struct Host {
    hose: Option<Hose>,
    contract: Contract,
    exports: OnceCell<Exports>,
    regions: RefCell<Regions>,
    mappings: RefCell<Mappings>,
    /// Payloads that were pulled and not completed, and answers that were not yet read, by address.
    held: RefCell<BTreeMap<u32, receive::Item>>,
    /// The payload that the handler is looking at.
    pushing: RefCell<Option<receive::Pushing>>,
    /// Of the last send to all targets, in their order.
    statuses: RefCell<Vec<Status>>,
    last_error: RefCell<String>,
    /// Until when the call that is being handled has time.
    deadline: Cell<Option<Instant>>,
    /// The host is inside the guest's allocator.
    inside: Cell<bool>,
    /// The guest pulls, so nothing is pushed.
    pulls: Cell<bool>,
}

/// What the host calls of the guest, looked up once.
#[derive(Clone, Copy, Debug)]
struct Exports {
    allocate: Option<Export>,
    deallocate: Option<Export>,
    read: Option<Export>,
    locate: Option<Export>,
    memory: Option<Memory>,
}

/// A function of the host: its name, its type, itself.
struct Function {
    name: &'static str,
    params: &'static [ValType],
    result: ValType,
    call: fn(&Host, &Guest<'_>, &[Val]) -> Outcome<Option<Val>>,
}

/// Bytes from which the memory of a payload is given back: what is shorter is copied into the pages that are there.
const GIVEN_BACK_FROM: usize = hose::pages::MOVE_FROM;

const I32: ValType = ValType::I32;
const I64: ValType = ValType::I64;

const FUNCTIONS: [Function; 16] = [
    Function { name: imports::SEND_TO_HOST, params: &[I32, I32], result: I32, call: send::send_to_host },
    Function { name: imports::SEND_TO, params: &[I32, I32, I32, I32], result: I32, call: send::send_to },
    Function {
        name: imports::GIVE_TO_HOST,
        params: &[I32, I32, I32, I32],
        result: I32,
        call: send::give_to_host,
    },
    Function { name: imports::CALL, params: &[I32, I32, I32, I32], result: I64, call: send::call },
    Function { name: imports::TARGETS, params: &[], result: I32, call: send::targets },
    Function { name: imports::TARGET_NAME, params: &[I32, I32, I32], result: I32, call: send::target_name },
    Function { name: imports::TARGET_STATUS, params: &[I32], result: I32, call: send::target_status },
    Function { name: imports::RECEIVE, params: &[I32], result: I64, call: receive::receive },
    Function { name: imports::COMPLETE, params: &[I32, I32], result: I32, call: receive::complete },
    Function { name: imports::ANSWER, params: &[I32, I32, I32], result: I32, call: receive::answer },
    Function { name: imports::SET_STATUS, params: &[I32], result: I32, call: receive::set_status },
    Function { name: imports::PEER_NAME, params: &[I32, I32, I32], result: I32, call: receive::peer_name },
    Function { name: imports::LAST_ERROR, params: &[I32, I32], result: I32, call: last_error },
    Function { name: imports::REGISTER_MEMORY, params: &[I32, I32], result: I32, call: register_memory },
    Function { name: imports::UNREGISTER_MEMORY, params: &[I32], result: I32, call: unregister_memory },
    Function { name: imports::PREPARE_MEMORY, params: &[I32, I32], result: I32, call: prepare_memory },
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
        let offered = Rc::new(Offered { host: Rc::clone(host), function });
        instance.add_function(function.name, &function.ty(), &offered, enter)?;
    }
    Ok(instance)
}

/// A function of the host as one guest has it.
struct Offered {
    host: Rc<Host>,
    function: &'static Function,
}

fn enter(offered: &Offered, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let Offered { host, function } = offered;
    if calls::are_asked_for() {
        calls::tell(host.name(), function.name, args.iter().map(|value| value.as_u32().unwrap_or(0)));
    }
    (function.call)(host, guest, args)
}

impl Host {
    pub(crate) fn new(hose: Option<Hose>, contract: Contract) -> Rc<Self> {
        Rc::new(Self {
            hose,
            contract,
            exports: OnceCell::new(),
            regions: RefCell::default(),
            mappings: RefCell::default(),
            held: RefCell::default(),
            pushing: RefCell::new(None),
            statuses: RefCell::default(),
            last_error: RefCell::default(),
            deadline: Cell::new(None),
            inside: Cell::new(false),
            pulls: Cell::new(false),
        })
    }

    /// Whether its guest can be called with payloads.
    pub(crate) fn is_handler(&self) -> bool {
        self.contract.read && self.contract.can_receive() && !self.pulls.get()
    }

    /// A function that the contract asks for is looked up only if it has the contract's type.
    fn exports(&self, guest: &Guest<'_>) -> Exports {
        let find = |there: bool, name| if there { guest.export(name) } else { None };
        let contract = self.contract;
        *self.exports.get_or_init(|| Exports {
            allocate: find(contract.allocate, exports::ALLOCATE_MEMORY),
            deallocate: find(contract.deallocate, exports::DEALLOCATE_MEMORY),
            read: find(contract.read, exports::READ_MEMORY_WASM),
            locate: find(contract.locate, exports::LOCATE_MEMORY_REGION),
            memory: guest.memory(),
        })
    }

    fn linear<'a>(&self, guest: &Guest<'a>) -> Linear<'a> {
        Linear::new(*guest, self.exports(guest).memory)
    }

    /// The function's name, where a process has several.
    fn name(&self) -> Option<&Name> {
        self.local().map(|local| local.workflow.name(local.index))
    }

    /// A call of the host's into the guest, or into a region of its memory, is about to be made.
    fn note<const COUNT: usize>(&self, call: &str, numbers: [u32; COUNT]) {
        if calls::are_asked_for() {
            calls::tell(self.name(), call, numbers);
        }
    }

    /// `read_memory_host` of a region follows.
    fn note_read(&self, region: Region) {
        self.note("read_memory_host", [region.address, region.len]);
    }

    /// `write_memory_host` of a region follows.
    fn note_write(&self, region: Region) {
        self.note("write_memory_host", [region.address, region.len]);
    }

    fn statistics(&self) -> Statistics {
        self.hose.as_ref().map(|hose| hose.statistics).unwrap_or_default()
    }

    fn remote(&self) -> Option<&Remote> {
        self.hose.as_ref()?.remote.as_deref()
    }

    fn local(&self) -> Option<&Local> {
        self.hose.as_ref()?.local.as_ref()
    }

    /// Calls the guest with every import answering `BUSY`.
    pub(crate) fn inside<R>(&self, call: impl FnOnce() -> R) -> R {
        self.inside.set(true);
        let outcome = call();
        self.inside.set(false);
        outcome
    }

    /// A registered region of the guest's own making for a payload of `len` bytes.
    fn allocate(&self, guest: &Guest<'_>, len: usize) -> Answer<Region> {
        let Ok(len) = u32::try_from(len) else { return Ok(Err(Status::TOO_LARGE)) };
        let Some(allocate) = self.exports(guest).allocate else { return Ok(Err(Status::NO_EXPORT)) };
        self.note(exports::ALLOCATE_MEMORY, [len]);
        let value = self.inside(|| guest.call_for_value(allocate, &[Val::from_u32(len)]))?;
        let Some(address) = value.and_then(Val::as_u32) else { return Ok(Err(Status::NO_EXPORT)) };
        let region = Region { address, len };
        let usable = address != 0 && address != u32::MAX && self.linear(guest).has(region);
        if !usable || self.regions.borrow_mut().register(region).is_err() {
            self.complain("allocate_memory returned no region of this guest's that is free");
            return Ok(Err(Status::NO_MEMORY));
        }
        Ok(Ok(region))
    }

    /// The same for a payload that is the soonest mapped into a region of `room` bytes, if the guest has so much.
    fn allocate_room(&self, guest: &Guest<'_>, len: usize, room: usize) -> Answer<Region> {
        if let (true, Ok(of_len)) = (room > len, u32::try_from(len))
            && let Ok(region) = self.allocate(guest, room)?
        {
            return Ok(Ok(Region { len: of_len, ..region }));
        }
        self.allocate(guest, len)
    }

    /// Gives the memory of a payload that has come by moving back to the system: what comes into its place next meets no old
    /// pages. (What is copied into its place next finds them, which is faster.)
    fn give_back(&self, guest: &Guest<'_>, region: Region) {
        if region.len as usize >= GIVEN_BACK_FROM && self.regions.borrow().covers(region) {
            // A guest whose memory has it no more has nothing to give back.
            let _ = memory::clear(self.linear(guest), region);
        }
    }

    /// Gives a region back that [`Host::allocate`] has made.
    fn release(&self, guest: &Guest<'_>, address: u32) -> Outcome<()> {
        self.mappings.borrow_mut().remove(address);
        self.regions.borrow_mut().unregister(address);
        let Some(deallocate) = self.exports(guest).deallocate else { return Ok(()) };
        self.note(exports::DEALLOCATE_MEMORY, [address]);
        self.inside(|| guest.call_for_nothing(deallocate, &[Val::from_u32(address)]))
    }

    /// Asks the guest for the region around `region`, and registers what it answers if that makes sense.
    fn locate(&self, guest: &Guest<'_>, region: Region) -> Outcome<Option<Region>> {
        let Some(locate) = self.exports(guest).locate else { return Ok(None) };
        self.note(exports::LOCATE_MEMORY_REGION, [region.address]);
        let value = self.inside(|| guest.call_for_value(locate, &[Val::from_u32(region.address)]))?;
        let Some(Val::I64(packed)) = value else { return Ok(None) };
        let answer = Region::from_i64(packed);
        let sensible = answer.contains(region) && self.linear(guest).has(answer);
        if packed == 0 || !sensible || self.regions.borrow_mut().register(answer).is_err() {
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// Takes everything out of the guest's memory that is not its own: its instance is about to go.
    pub(crate) fn unmap(&self) {
        self.mappings.borrow_mut().clear();
    }

    /// Lays a region on memory that can be frozen and given to functions of other containers, where that is all that its bytes can
    /// become. Whether it lies there now.
    fn make_sealable(&self, guest: &Guest<'_>, covered: Covered, region: Region) -> bool {
        let sealable = self.hose.as_ref().is_some_and(Hose::gives_sealed_memory);
        if !sealable
            || (region.len as usize) < hose::sealed::GIVEN_MIN
            || self.mappings.borrow().overlaps(region)
        {
            return false;
        }
        let Ok(Some(pages)) = memory::pages_of(self.linear(guest), covered) else { return false };
        // Not every region has pages of its own, and not every system has the memory: then it stays what it is.
        let Ok(buffer) = Buffer::over(pages) else { return false };
        self.mappings.borrow_mut().insert(region, Mapping::Buffer(buffer));
        true
    }

    fn complain(&self, text: &str) {
        text.clone_into(&mut self.last_error.borrow_mut());
    }

    fn remember(&self, error: &hose::Error) -> Status {
        self.complain(&chain(error));
        status_of_error(error)
    }
}

/// An error and its cause.
pub(crate) fn chain(error: &hose::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What a failed send means to a guest.
fn status_of_error(error: &hose::Error) -> Status {
    use hose::ErrorKind as Kind;
    if matches!(error.fate(), Fate::Unknown | Fate::Handled) {
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

fn last_error(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let text = host.last_error.borrow();
    give_text(host.linear(guest), &text, unsigned(args, 0), unsigned(args, 1))
}

/// Writes a text where it fits, and returns its length.
fn give_text(linear: Linear<'_>, text: &str, buffer: u32, capacity: u32) -> Outcome<Option<Val>> {
    let Ok(len) = i32::try_from(text.len()) else { return answer(Status::HOST) };
    let needed = len.cast_unsigned();
    if capacity >= needed {
        let written = memory::fill_callers_buffer(linear, buffer, needed, |bytes| {
            bytes.copy_from_slice(text.as_bytes());
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
    if !host.linear(guest).has(region) {
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
    // What the host got from allocate_memory stays registered until the host gives it back; so does what it is to answer.
    if host.holds(address) {
        return answer(Status::INVALID_REGION);
    }
    host.mappings.borrow_mut().remove(address);
    answer(host.regions.borrow_mut().unregister(address).map_or(Status::INVALID_REGION, |_| Status::OK))
}

fn prepare_memory(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 0), len: unsigned(args, 1) };
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let covered = host.regions.borrow().check(region);
    let prepared = covered.and_then(|covered| {
        if host.make_sealable(guest, covered, region) || host.mappings.borrow().overlaps(region) {
            return Ok(());
        }
        memory::lend_range(host.linear(guest), covered, |mut range| range.prefer_huge_pages())
    });
    answer(prepared.map_or_else(status_of, |()| Status::OK))
}
