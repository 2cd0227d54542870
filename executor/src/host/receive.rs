//! Whatever receives: a payload that the guest asks for, one that its handler is called with, and what either says of it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_abi::{Received, Region, Status, exports};
use hose::pages::{self, Crossing};
use hose::sealed::{self, Frozen};
use hose::{Held, Incoming, Name, Payload, Receiver, Transfer};

use super::mappings::Mapping;
use super::{
    Answer, Guest, Host, Local, Outcome, Val, answer as tell, give_text, signed, status_of, unsigned,
};
use crate::engine::Stop;
use crate::memory::{self, Covered, Linear, Refused};
use crate::parcel::{self, Parcel};
use crate::statistics;
use crate::watch::{Keeper, Unkept};
use crate::workflow::{self, Pulled, Sink};

/// Payloads that a guest may have pulled and not completed: each keeps a connection or a sender, and a region.
const MAX_HELD: usize = 1024;

/// What stands in a region that the guest has to complete.
#[derive(Debug)]
pub(super) enum Item {
    /// A payload of another container's.
    Remote { held: Held, answer: Option<Region>, since: Option<Instant> },
    /// A payload of another function's of this process.
    Local { parcel: Arc<Parcel>, answer: Option<Region> },
    /// What a call was answered.
    Answer,
}

/// The payload that the handler is looking at.
#[derive(Debug)]
pub(super) struct Pushing {
    address: u32,
    peer: Name,
    status: Status,
    answer: Option<Region>,
}

/// What a handler made of a payload that stands in its region.
struct Pushed {
    status: Status,
    answer: Option<Region>,
    outcome: Outcome<()>,
}

impl Host {
    /// Whether a container's own function is given what other containers send, after its entry point has returned.
    pub(crate) fn pushes(&self) -> bool {
        let receives = self.remote().is_some_and(|remote| remote.receiver.is_some());
        receives && self.is_handler()
    }

    /// Tells the senders of what the guest never completed that it will not.
    pub(crate) fn abandon(&self) {
        for item in std::mem::take(&mut *self.held.borrow_mut()).into_values() {
            match item {
                Item::Remote { held, since, .. } => {
                    self.statistics().handled(held.sender(), held.is_unix(), since, true);
                    if let Some(receiver) = self.receiver() {
                        // The function is over: nobody is left whom a failure would interest.
                        let _ = receiver.borrow_mut().handled(held, hose::Status(Status::TRAPPED.0), None);
                    }
                }
                Item::Local { parcel, .. } => parcel.handled(Status::TRAPPED, None, Duration::ZERO),
                Item::Answer => {}
            }
        }
    }

    fn receiver(&self) -> Option<&RefCell<Receiver>> {
        self.remote()?.receiver.as_ref()
    }

    /// Gives payloads to the guest's handler, one after the other, until every sender has closed.
    ///
    /// The first is waited for without end: peers start in any order. A function that shall end earlier exits, or has a
    /// time limit.
    pub(crate) fn serve(&self, guest: &Guest<'_>) -> Outcome<()> {
        let Some(receiver) = self.receiver() else { return Ok(()) };
        let mut next = receiver.borrow_mut().next(None);
        loop {
            match next {
                Ok(Some(incoming)) => self.push(guest, receiver, incoming, &Unkept)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.remember(&error);
                    return Err(Stop::HOST_FAILED);
                }
            }
            next = receiver.borrow_mut().next_while_connected();
        }
    }

    /// Waits for a payload of another container's, and gives it to the guest's handler; `false` when waiting was ended from outside. The
    /// error is the operating system's.
    pub(crate) fn serve_next(&self, guest: &Guest<'_>, keeper: &impl Keeper) -> hose::Result<Outcome<bool>> {
        let Some(receiver) = self.receiver() else { return Ok(Ok(false)) };
        let next = receiver.borrow_mut().next(None)?;
        Ok(next.map_or(Ok(false), |incoming| self.push(guest, receiver, incoming, keeper).map(|()| true)))
    }

    /// Pushes one payload of another container's into the guest's handler. One that the guest has no memory for, or whose sender
    /// goes away in its midst, is none: the sender knows, and the handler never sees it.
    fn push(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        incoming: Incoming,
        keeper: &impl Keeper,
    ) -> Outcome<()> {
        let since = self.statistics().now();
        let Ok((region, held)) = self.take_in(guest, receiver, incoming, keeper)? else { return Ok(()) };
        let sender = since.map(|_| (held.sender().clone(), held.is_unix()));
        self.deadline.set(keeper.deadline());
        let pushed = keeper.keep(|| self.run_handler(guest, region, held.sender().clone()));
        self.deadline.set(None);
        let late = pushed.outcome.is_err() && keeper.was_late();
        let status = if late { Status::TIMEOUT } else { pushed.status };
        self.tell(guest, receiver, held, status, pushed.answer.filter(|_| pushed.outcome.is_ok()));
        if let Some((sender, unix)) = sender {
            self.statistics().handled(&sender, unix, since, pushed.outcome.is_err());
        }
        pushed.outcome?;
        self.release_answer(pushed.answer);
        keeper.keep(|| self.release(guest, region.address))
    }

    /// Tells a sender in another container what its function's handler said, and answered.
    fn tell(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        held: Held,
        status: Status,
        answer: Option<Region>,
    ) -> Status {
        let status = hose::Status(status.0);
        // One whose region is gone by now is none.
        let covered = answer.and_then(|region| self.regions.borrow().check(region).ok());
        let mut held = Some(held);
        let mut tell = |answer: Option<Payload<'_>>| match held.take() {
            Some(held) => receiver.borrow_mut().handled(held, status, answer),
            None => Ok(()),
        };
        if let (Some(region), Some(covered)) = (answer, covered) {
            self.note_read(region);
            let told =
                memory::read_memory_host(self.linear(guest), covered, |bytes| tell(Some(bytes.into())));
            if let Ok(told) = told {
                return told.map_or_else(|error| self.remember(&error), |()| Status::OK);
            }
        }
        tell(None).map_or_else(|error| self.remember(&error), |()| Status::OK)
    }

    /// Pushes a payload of another function's of this process into the guest's handler: what that said, and whether the
    /// bytes have left the sender's region.
    pub(crate) fn handle(
        &self,
        guest: &Guest<'_>,
        peer: &Name,
        payload: workflow::Payload<'_>,
        deadline: Instant,
        sink: Option<Sink<'_>>,
    ) -> (Outcome<Status>, bool) {
        self.deadline.set(Some(deadline));
        let mut left = false;
        let handled = self.handle_within(guest, peer, payload, sink, &mut left);
        self.deadline.set(None);
        (handled, left)
    }

    fn handle_within(
        &self,
        guest: &Guest<'_>,
        peer: &Name,
        payload: workflow::Payload<'_>,
        sink: Option<Sink<'_>>,
        left: &mut bool,
    ) -> Outcome<Status> {
        let region = match self.allocate_room(guest, payload.len(), payload.room())? {
            Ok(region) => region,
            Err(Status::NO_MEMORY) => return Ok(Status::REFUSED),
            Err(status) => return Ok(status),
        };
        let mapped = matches!(payload, workflow::Payload::Frozen(_));
        let crossing = match self.bring_within(guest, region, payload) {
            Ok(crossing) => crossing,
            Err(status) => {
                self.release(guest, region.address)?;
                return Ok(status);
            }
        };
        *left = true;
        let pushed = self.run_handler(guest, region, peer.clone());
        pushed.outcome?;
        if let (Some(sink), Some(answer)) = (sink, pushed.answer) {
            self.lend_answer(guest, answer, sink);
        }
        self.release_answer(pushed.answer);
        if crossing.moved > 0 && !mapped {
            self.give_back(guest, region);
        }
        self.release(guest, region.address)?;
        Ok(pushed.status)
    }

    /// Brings a payload of another function's of this process into a region.
    fn bring_within(
        &self,
        guest: &Guest<'_>,
        region: Region,
        payload: workflow::Payload<'_>,
    ) -> std::result::Result<Crossing, Status> {
        let covered = self.regions.borrow().check(region).map_err(status_of)?;
        self.note_write(region);
        let linear = self.linear(guest);
        let crossed = match payload {
            workflow::Payload::Frozen(frozen) => return self.map_within(linear, region, covered, frozen),
            workflow::Payload::Lent(range) => {
                memory::lend_range(linear, covered, |mut target| pages::copy(range, &mut target))
            }
            workflow::Payload::Given(range) => {
                memory::lend_range(linear, covered, |target| parcel::give(range, target, self.moves()))
            }
        };
        let crossing = crossed.map_err(status_of)?;
        self.count_crossing(crossing, false);
        Ok(crossing)
    }

    fn map_within(
        &self,
        linear: Linear<'_>,
        region: Region,
        covered: Covered,
        frozen: &Frozen,
    ) -> std::result::Result<Crossing, Status> {
        let failed = |error: hose::Error| self.remember(&error);
        let crossing = match self.pages_around(linear, region).map_err(status_of)? {
            Some((room, pages)) => {
                let mapped = frozen.map_into(pages).map_err(failed)?;
                let crossing = Crossing { moved: mapped.mapped() as u64, copied: mapped.copied() as u64 };
                self.mappings.borrow_mut().insert(room, Mapping::Payload { _mapped: mapped });
                crossing
            }
            None => {
                let read = memory::write_memory_host(linear, covered, |bytes| frozen.read_into(bytes));
                read.map_err(status_of)?.map_err(failed)?;
                Crossing { moved: 0, copied: frozen.len() as u64 }
            }
        };
        self.count_crossing(crossing, true);
        Ok(crossing)
    }

    /// The pages of all that the guest gave for a payload, where nothing is mapped yet.
    fn pages_around(
        &self,
        linear: Linear<'_>,
        region: Region,
    ) -> std::result::Result<Option<(Region, sealed::Range)>, Refused> {
        let regions = self.regions.borrow();
        let room = regions.at(region.address).unwrap_or(region);
        if self.mappings.borrow().overlaps(room) {
            return Ok(None);
        }
        let pages = memory::pages_of(linear, regions.check(room)?)?;
        Ok(pages.map(|pages| (room, pages)))
    }

    fn run_handler(&self, guest: &Guest<'_>, region: Region, peer: Name) -> Pushed {
        let pushing = Pushing { address: region.address, peer, status: Status::OK, answer: None };
        *self.pushing.borrow_mut() = Some(pushing);
        let args = [Val::from_u32(region.address), Val::from_u32(region.len)];
        let read = self.exports(guest).read;
        self.note(exports::READ_MEMORY_WASM, [region.address, region.len]);
        let outcome = read.map_or(Err(Stop::HOST_FAILED), |read| guest.call_for_nothing(read, &args));
        let pushing = self.pushing.borrow_mut().take();
        let (said, answer) = pushing.map_or((Status::OK, None), |pushing| (pushing.status, pushing.answer));
        let status = if outcome.is_ok() { said } else { Status::TRAPPED };
        Pushed { status, answer, outcome }
    }

    /// Lends an answer to `read`, if the guest still has it.
    fn lend_answer(&self, guest: &Guest<'_>, answer: Region, read: impl FnOnce(hose::pages::Range<'_>)) {
        let covered = self.regions.borrow().check(answer);
        self.note_read(answer);
        let _ = covered.and_then(|covered| memory::lend_range(self.linear(guest), covered, read));
    }

    /// An answer has been read: its region is the guest's again.
    fn release_answer(&self, answer: Option<Region>) {
        if let Some(answer) = answer {
            self.regions.borrow_mut().unregister(answer.address);
        }
    }

    /// A payload of another function's of this process has come.
    fn count_crossing(&self, crossing: Crossing, sealed: bool) {
        if let Some(local) = self.local() {
            statistics::crossed_within(local.workflow.counter(local.index), crossing, sealed);
        }
    }

    fn moves(&self) -> bool {
        self.local().is_some_and(|local| local.workflow.transfer != Transfer::Copy)
    }

    /// Takes a payload of another container's into a region of the guest's. On a status its sender has been told.
    fn take_in(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        incoming: Incoming,
        keeper: &impl Keeper,
    ) -> Answer<(Region, Held)> {
        let since = self.statistics().now();
        let sender = since.map(|_| (incoming.sender().clone(), incoming.is_unix()));
        let taken = self.take_in_uncounted(guest, receiver, incoming, keeper);
        if let Some((sender, unix)) = sender.filter(|_| !matches!(taken, Ok(Ok(_)))) {
            self.statistics().handled(&sender, unix, since, true);
        }
        taken
    }

    fn take_in_uncounted(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        incoming: Incoming,
        keeper: &impl Keeper,
    ) -> Answer<(Region, Held)> {
        let before = receiver.borrow().statistics();
        let region = match keeper.keep(|| self.allocate_room(guest, incoming.len(), incoming.room())) {
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
        let status = match self.bring_in(guest, receiver, incoming, region) {
            Ok(Ok(held)) => {
                self.statistics().received(held.sender(), [before, receiver.borrow().statistics()]);
                return Ok(Ok((region, held)));
            }
            Ok(Err(error)) => {
                self.remember(&error);
                Status::LOST
            }
            Err(refused) => status_of(refused),
        };
        keeper.keep(|| self.release(guest, region.address))?;
        Ok(Err(status))
    }

    /// Reads a payload into a region, or maps it there.
    fn bring_in(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        incoming: Incoming,
        region: Region,
    ) -> std::result::Result<hose::Result<Held>, Refused> {
        let covered = self.regions.borrow().check(region)?;
        self.note_write(region);
        if incoming.is_sealed()
            && let Some((room, pages)) = self.pages_around(self.linear(guest), region)?
        {
            return Ok(receiver.borrow_mut().map_into(incoming, pages).map(|(held, mapped)| {
                let mapping = Mapping::Payload { _mapped: mapped };
                self.mappings.borrow_mut().insert(room, mapping);
                held
            }));
        }
        memory::write_memory_host(self.linear(guest), covered, |bytes| {
            receiver.borrow_mut().read_into(incoming, bytes)
        })
    }

    /// Whether a region is the host's to unregister.
    pub(super) fn holds(&self, address: u32) -> bool {
        let answers = |answer: &Option<Region>| answer.is_some_and(|region| region.address == address);
        let pushing = self.pushing.borrow();
        let pushed = pushing.as_ref().is_some_and(|p| p.address == address || answers(&p.answer));
        let held = self.held.borrow();
        let is_answer = |item: &Item| matches!(item, Item::Local { answer, .. } | Item::Remote { answer, .. } if answers(answer));
        pushed || held.contains_key(&address) || held.values().any(is_answer)
    }

    /// Where payloads come from, for a guest that may ask now.
    fn receivable(&self) -> std::result::Result<Source<'_>, Status> {
        if self.inside.get() || self.pushing.borrow().is_some() {
            return Err(Status::BUSY);
        }
        let hose = self.hose.as_ref().ok_or(Status::NO_HOSE)?;
        let source = match (self.receiver(), &hose.local) {
            (Some(receiver), _) => Source::Containers(receiver),
            // The container's own function has no inbox: nobody of its process could be waited for by it.
            (None, Some(local)) if local.index != 0 => Source::Functions(local),
            (None, _) => return Err(Status::NO_HOSE),
        };
        if !self.contract.can_receive() {
            return Err(Status::NO_EXPORT);
        }
        if self.held.borrow().len() >= MAX_HELD {
            self.complain("too many payloads are received and not completed");
            return Err(Status::BUSY);
        }
        Ok(source)
    }

    /// The next payload within `timeout`. A sender that goes away in the midst of one is passed over.
    fn pull(
        &self,
        guest: &Guest<'_>,
        source: &Source<'_>,
        timeout: Option<Duration>,
    ) -> Answer<(Region, Item)> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let pulled = match source {
                Source::Containers(receiver) => self.pull_from_containers(guest, receiver, until)?,
                Source::Functions(local) => self.pull_from_functions(guest, local, until)?,
            };
            match pulled {
                Err(Status::LOST) => {}
                answer => return Ok(answer),
            }
        }
    }

    fn pull_from_containers(
        &self,
        guest: &Guest<'_>,
        receiver: &RefCell<Receiver>,
        until: Option<Instant>,
    ) -> Answer<(Region, Item)> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let next = receiver.borrow_mut().next(left);
        match next {
            Ok(Some(incoming)) => {
                let since = self.statistics().now();
                let taken = self.take_in(guest, receiver, incoming, &Unkept)?;
                Ok(taken.map(|(region, held)| (region, Item::Remote { held, answer: None, since })))
            }
            Ok(None) if receiver.borrow().is_stopped() => Ok(Err(Status::CLOSED)),
            Ok(None) => Ok(Err(Status::TIMEOUT)),
            Err(error) => Ok(Err(self.remember(&error))),
        }
    }

    fn pull_from_functions(
        &self,
        guest: &Guest<'_>,
        local: &Local,
        until: Option<Instant>,
    ) -> Answer<(Region, Item)> {
        let parcel = match local.workflow.pull(local.index, until) {
            Pulled::Parcel(parcel) => parcel,
            Pulled::Late => return Ok(Err(Status::TIMEOUT)),
            Pulled::Closed => return Ok(Err(Status::CLOSED)),
        };
        let region = match self.allocate_room(guest, parcel.len(), parcel.room()) {
            Ok(Ok(region)) => region,
            Ok(Err(status)) => {
                parcel.refuse();
                return Ok(Err(status));
            }
            Err(stop) => {
                parcel.refuse();
                return Err(stop);
            }
        };
        match parcel.take(|payload| self.bring_within(guest, region, payload)) {
            Some(Ok(_)) => Ok(Ok((region, Item::Local { parcel, answer: None }))),
            other => {
                self.release(guest, region.address)?;
                Ok(Err(other.and_then(Result::err).unwrap_or(Status::LOST)))
            }
        }
    }

    /// Tells a sender that its payload was handled.
    fn finish(&self, guest: &Guest<'_>, item: Item, status: Status) -> Status {
        match item {
            Item::Answer => Status::OK,
            Item::Remote { held, answer, since } => {
                let Some(receiver) = self.receiver() else { return Status::INVALID_REGION };
                self.statistics().handled(held.sender(), held.is_unix(), since, false);
                let told = self.tell(guest, receiver, held, status, answer);
                self.release_answer(answer);
                told
            }
            Item::Local { parcel, answer } => {
                let wait = self.local().map_or(Duration::ZERO, |local| local.workflow.io_timeout);
                match answer {
                    None => parcel.handled(status, None, wait),
                    Some(region) => {
                        self.lend_answer(guest, region, |range| parcel.handled(status, Some(&range), wait));
                        // If the region is gone, the sender gets no answer, but its verdict.
                        parcel.handled(status, None, wait);
                    }
                }
                self.release_answer(answer);
                Status::OK
            }
        }
    }
}

/// Where payloads come from.
enum Source<'a> {
    Containers(&'a RefCell<Receiver>),
    Functions(&'a Local),
}

pub(super) fn receive(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let received = match host.receivable() {
        Err(status) => Received::Status(status),
        Ok(source) => {
            host.pulls.set(true);
            let timeout = u64::try_from(signed(args, 0)).ok().map(Duration::from_millis);
            match host.pull(guest, &source, timeout)? {
                Err(status) => Received::Status(status),
                Ok((region, item)) => {
                    host.held.borrow_mut().insert(region.address, item);
                    Received::Payload(region)
                }
            }
        }
    };
    Ok(Some(Val::I64(received.to_i64())))
}

pub(super) fn complete(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let (address, status) = (unsigned(args, 0), Status(signed(args, 1)));
    if host.inside.get() {
        return tell(Status::BUSY);
    }
    if status.is_host() {
        return tell(Status::INVALID_ARGUMENT);
    }
    let item = host.held.borrow_mut().remove(&address);
    let Some(item) = item else { return tell(Status::INVALID_REGION) };
    let told = host.finish(guest, item, status);
    host.release(guest, address)?;
    tell(told)
}

pub(super) fn answer(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let address = unsigned(args, 0);
    let region = Region { address: unsigned(args, 1), len: unsigned(args, 2) };
    if host.inside.get() {
        return tell(Status::BUSY);
    }
    if !host.linear(guest).has(region) || !host.regions.borrow().covers(region) {
        return tell(Status::INVALID_REGION);
    }
    if let Some(pushing) = host.pushing.borrow_mut().as_mut().filter(|pushing| pushing.address == address) {
        pushing.answer = Some(region);
        return tell(Status::OK);
    }
    tell(match host.held.borrow_mut().get_mut(&address) {
        Some(Item::Local { answer, .. } | Item::Remote { answer, .. }) => {
            *answer = Some(region);
            Status::OK
        }
        Some(Item::Answer) | None => Status::INVALID_REGION,
    })
}

pub(super) fn set_status(host: &Host, _: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let status = Status(signed(args, 0));
    if status.is_host() {
        return tell(Status::INVALID_ARGUMENT);
    }
    if host.inside.get() {
        return tell(Status::BUSY);
    }
    tell(match host.pushing.borrow_mut().as_mut() {
        None => Status::BUSY,
        Some(pushing) => {
            pushing.status = status;
            Status::OK
        }
    })
}

pub(super) fn peer_name(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return tell(Status::BUSY);
    }
    let address = unsigned(args, 0);
    let pushed = host.pushing.borrow().as_ref().filter(|p| p.address == address).map(|p| p.peer.clone());
    let peer = pushed.or_else(|| match host.held.borrow().get(&address)? {
        Item::Remote { held, .. } => Some(held.sender().clone()),
        Item::Local { parcel, .. } => Some(parcel.sender().clone()),
        Item::Answer => None,
    });
    match peer {
        None => tell(Status::INVALID_REGION),
        Some(peer) => give_text(host.linear(guest), peer.as_str(), unsigned(args, 1), unsigned(args, 2)),
    }
}
