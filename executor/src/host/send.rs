//! Whatever sends: to all targets, to one, with an answer, lent or given.
//!
//! A target is another function of this process, or of another container. Functions of other containers are sent to at once, then
//! those of this process, by this thread, and by others too when that takes long ([`crate::crew`]). What is given away to several is frozen, if it
//! lies on memory that can be, and all of them map it. Of ordinary memory a copy is frozen for all, if that is large and they are many; else it
//! is given to the last of them, if it is given, and the others get copies.

use std::time::Instant;

use guest_abi::{Received, Region, Status};
use hose::pages::Range;
use hose::sealed::{Buffer, FROZEN_MIN, Frozen};
use hose::{Delivery, Fate, Gift, Name, Outgoing, Sender, Transfer};

use super::receive::Item;
use super::{
    Answer, Guest, Hose, Host, Local, Outcome, Val, answer, chain, give_text, signed, status_of, unsigned,
};
use crate::memory::{self, Covered, Refused};
use crate::parcel;
use crate::workflow::{Delivered, Payload};

/// Longest name that is read; the hose's own are shorter.
const MAX_NAME: u32 = 256;

/// A payload in ordinary memory is copied once, to be mapped by all functions of this process that it goes to, if they are so many, and
/// copies for each would have [`SHARED_BYTES`]. On two processors and with caches of 32 MB a copy for each takes, for 2 MiB to 8 and 16 of them, 0.24 and 0.55 ms, one
/// for all 0.24 and 0.32; for 10 MB to 3, 4 and 16 0.65, 1.06 and 5.4, and 0.65, 0.65 and 1.1.
const SHARED_FROM: usize = 4;
/// Of all copies.
const SHARED_BYTES: usize = 32 << 20;

/// Whether the bytes stay the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Lend,
    Give,
}

/// Whom a send is for.
#[derive(Clone, Copy, Debug)]
enum Whom {
    All,
    One(usize),
}

pub(super) fn send_to_host(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 0), len: unsigned(args, 1) };
    host.send_and_tell(guest, Whom::All, region, How::Lend)
}

pub(super) fn send_to(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 2), len: unsigned(args, 3) };
    match host.named_target(guest, unsigned(args, 0), unsigned(args, 1)) {
        Ok(target) => host.send_and_tell(guest, Whom::One(target), region, How::Lend),
        Err(status) => answer(status),
    }
}

pub(super) fn give_to_host(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 2), len: unsigned(args, 3) };
    if unsigned(args, 1) == 0 {
        return host.send_and_tell(guest, Whom::All, region, How::Give);
    }
    match host.named_target(guest, unsigned(args, 0), unsigned(args, 1)) {
        Ok(target) => host.send_and_tell(guest, Whom::One(target), region, How::Give),
        Err(status) => answer(status),
    }
}

pub(super) fn call(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    let region = Region { address: unsigned(args, 2), len: unsigned(args, 3) };
    let answered = match host.named_target(guest, unsigned(args, 0), unsigned(args, 1)) {
        Ok(target) => host.call(guest, target, region)?,
        Err(status) => Err(status),
    };
    let received = match answered {
        Ok(region) => Received::Payload(region),
        Err(status) => Received::Status(status),
    };
    Ok(Some(Val::I64(received.to_i64())))
}

pub(super) fn targets(host: &Host, _: &Guest<'_>, _: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let count = host.hose.as_ref().map_or(0, |hose| hose.targets.len());
    Ok(Some(Val::I32(i32::try_from(count).unwrap_or(i32::MAX))))
}

pub(super) fn target_name(host: &Host, guest: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let target = host.hose.as_ref().and_then(|hose| hose.targets.get(unsigned(args, 0) as usize));
    match target {
        None => answer(Status::NO_TARGET),
        Some(name) => give_text(host.linear(guest), name.as_str(), unsigned(args, 1), unsigned(args, 2)),
    }
}

pub(super) fn target_status(host: &Host, _: &Guest<'_>, args: &[Val]) -> Outcome<Option<Val>> {
    if host.inside.get() {
        return answer(Status::BUSY);
    }
    let index = usize::try_from(signed(args, 0)).unwrap_or(usize::MAX);
    answer(host.statuses.borrow().get(index).copied().unwrap_or(Status::NO_TARGET))
}

/// What became of a payload at one target.
struct Verdict {
    status: Status,
    left: bool,
}

impl Host {
    /// The number of a target that a guest names.
    fn named_target(&self, guest: &Guest<'_>, name: u32, len: u32) -> std::result::Result<usize, Status> {
        if self.inside.get() {
            return Err(Status::BUSY);
        }
        let hose = self.hose.as_ref().ok_or(Status::NO_HOSE)?;
        if hose.targets.len() == 0 {
            return Err(Status::NO_TARGET);
        }
        let found = memory::read_argument(self.linear(guest), name, len, MAX_NAME, |name| {
            std::str::from_utf8(name).map(|name| hose.targets.find(name))
        });
        match found {
            Ok(Ok(target)) => target.ok_or(Status::NO_TARGET),
            Ok(Err(_)) | Err(_) => Err(Status::INVALID_ARGUMENT),
        }
    }

    /// The hose, for a payload that may be sent.
    fn sending(&self, len: u32) -> std::result::Result<&Hose, Status> {
        if self.inside.get() {
            return Err(Status::BUSY);
        }
        let hose = self.hose.as_ref().ok_or(Status::NO_HOSE)?;
        if hose.targets.len() == 0 {
            return Err(Status::NO_TARGET);
        }
        if u64::from(len) > hose.max_size {
            self.complain(&format!("a payload of {len} bytes, the limit is {}", hose.max_size));
            return Err(Status::TOO_LARGE);
        }
        Ok(hose)
    }

    fn send_and_tell(&self, guest: &Guest<'_>, whom: Whom, region: Region, how: How) -> Outcome<Option<Val>> {
        let hose = match self.sending(region.len) {
            Ok(hose) => hose,
            Err(status) => return self.refuse(whom, status),
        };
        let how = if hose.transfer() == Transfer::Move { How::Give } else { how };
        match self.with_region(guest, region, |host| host.send(guest, hose, whom, region, how))? {
            Err(status) => self.refuse(whom, status),
            Ok(verdicts) => {
                let statuses: Vec<Status> = verdicts.iter().map(|verdict| verdict.status).collect();
                let first = statuses.iter().copied().find(|status| !status.is_ok()).unwrap_or(Status::OK);
                if matches!(whom, Whom::All) {
                    *self.statuses.borrow_mut() = statuses;
                }
                answer(first)
            }
        }
    }

    /// What was sent to nobody. To all, that is what became of it at each.
    fn refuse(&self, whom: Whom, status: Status) -> Outcome<Option<Val>> {
        if matches!(whom, Whom::All) && !self.inside.get() {
            let targets = self.hose.as_ref().map_or(0, |hose| hose.targets.len());
            *self.statuses.borrow_mut() = vec![status; targets];
        }
        answer(status)
    }

    /// Runs `send` while a region is registered that is so already, or that the guest vouches for.
    fn with_region<R>(&self, guest: &Guest<'_>, region: Region, send: impl FnOnce(&Self) -> R) -> Answer<R> {
        if self.regions.borrow().covers(region) {
            return Ok(Ok(send(self)));
        }
        let Some(vouched) = self.locate(guest, region)? else { return Ok(Err(Status::INVALID_REGION)) };
        let sent = send(self);
        self.regions.borrow_mut().unregister(vouched.address);
        Ok(Ok(sent))
    }

    fn send(&self, guest: &Guest<'_>, hose: &Hose, whom: Whom, region: Region, how: How) -> Vec<Verdict> {
        let chosen: Vec<&Name> = match whom {
            Whom::All => hose.targets.iter().collect(),
            Whom::One(index) => hose.targets.get(index).into_iter().collect(),
        };
        let mut sealed = match self.freeze(region, how) {
            Ok(sealed) => sealed,
            Err(status) => {
                self.give_up(guest, region);
                return chosen.iter().map(|_| Verdict { status, left: true }).collect();
            }
        };
        let is_sealed = sealed.is_some();
        let here: Vec<Option<usize>> = chosen.iter().map(|name| hose.local_target(name)).collect();
        let mut verdicts: Vec<Verdict> =
            chosen.iter().map(|_| Verdict { status: Status::NO_TARGET, left: false }).collect();
        let there: Vec<usize> = (0..chosen.len()).filter(|i| here[*i].is_none()).collect();
        if !there.is_empty() {
            let names = there.iter().map(|i| chosen[*i].clone()).collect::<Vec<_>>();
            let by = self.deadline.get();
            let sent = match sealed.take() {
                // Nobody else needs it.
                Some(frozen) if names.len() == chosen.len() => {
                    let gift = Gift::new(frozen);
                    let sent = hose.send_out(&names, Outgoing::from(&gift), by);
                    sealed = gift.into_frozen();
                    sent
                }
                Some(frozen) => hose.send_out(&names, Outgoing::from(&*sealed.insert(frozen)), by),
                None => self.send_bytes_out(guest, hose, &names, region),
            };
            for (i, verdict) in there.iter().zip(self.judge(sent, names.len())) {
                verdicts[*i] = verdict;
            }
        }
        if let Some(local) = &hose.local {
            let within: Vec<usize> = here.iter().flatten().copied().collect();
            // What is mapped there is a file's: its pages are not the guest's to give.
            let give = how == How::Give && !self.mappings.borrow().overlaps(region);
            let judged = self.send_within(guest, local, &within, region, sealed.as_ref(), give);
            let places = (0..here.len()).filter(|i| here[*i].is_some());
            for (i, verdict) in places.zip(judged) {
                verdicts[i] = verdict;
            }
        }
        let left = verdicts.iter().any(|verdict| verdict.left);
        match sealed {
            // Its region is zero already.
            _ if is_sealed && left => drop(self.regions.borrow_mut().unregister(region.address)),
            Some(frozen) => self.take_back(guest, region, &frozen),
            None if how == How::Give && left => self.give_up(guest, region),
            None => {}
        }
        verdicts
    }

    /// To functions of other containers, all at once.
    fn send_bytes_out(&self, guest: &Guest<'_>, hose: &Hose, names: &[Name], region: Region) -> Sent {
        self.covered(region).and_then(|covered| {
            self.note_read(region);
            memory::read_memory_host(self.linear(guest), covered, |bytes| {
                hose.send_out(names, Outgoing::from(bytes), self.deadline.get())
            })
        })?
    }

    fn judge(&self, sent: Sent, count: usize) -> Vec<Verdict> {
        match sent {
            Err(refused) => {
                let verdict = || Verdict { status: status_of(refused), left: false };
                (0..count).map(|_| verdict()).collect()
            }
            Ok(results) => results
                .into_iter()
                .map(|result| {
                    let left = result.as_ref().map_or_else(|error| error.fate() != Fate::NotSent, |_| true);
                    let status = result.map_or_else(|error| self.remember(&error), handled);
                    Verdict { status, left }
                })
                .collect(),
        }
    }

    /// Freezes what is to be given away, if it lies on memory that can be frozen. Its region is zero then. An error has lost it.
    fn freeze(&self, region: Region, how: How) -> std::result::Result<Option<Frozen>, Status> {
        if how == How::Lend {
            return Ok(None);
        }
        let buffer = self.mappings.borrow_mut().take_buffer(region.address, region.len);
        let frozen = buffer.map(|buffer| buffer.freeze(region.len as usize)).transpose();
        frozen.map_err(|error| self.remember(&error))
    }

    /// Nobody has got what was frozen: its bytes are the guest's again.
    fn take_back(&self, guest: &Guest<'_>, region: Region, frozen: &Frozen) {
        let Ok(view) = frozen.view() else { return };
        if let Ok(covered) = self.covered(region) {
            self.note_write(region);
            // It was in bounds when it was frozen.
            let _ =
                memory::write_memory_host(self.linear(guest), covered, |bytes| bytes.copy_from_slice(&view));
        }
    }

    /// A frozen copy for all functions of this process, where it is made sooner than one for each. It is counted as the first one's.
    fn share(&self, guest: &Guest<'_>, local: &Local, to: &[usize], region: Region) -> Option<Frozen> {
        let workflow = &local.workflow;
        let shares = matches!(workflow.transfer, Transfer::Auto | Transfer::Memfd);
        let len = region.len as usize;
        let large = len >= FROZEN_MIN && len.saturating_mul(to.len()) >= SHARED_BYTES;
        if !shares || !large || to.len() < SHARED_FROM {
            return None;
        }
        let covered = self.covered(region).ok()?;
        self.note_read(region);
        let copy = |bytes: &[u8]| {
            let mut buffer = Buffer::new(bytes.len())?;
            buffer.fill(bytes)?;
            buffer.freeze(bytes.len())
        };
        // Where there is no memory for it, each gets its own copy, or not.
        let frozen = memory::read_memory_host(self.linear(guest), covered, copy).ok()?.ok()?;
        if let Some(counter) = to.first().and_then(|first| workflow.counter(*first)) {
            counter.copied(region.len.into());
        }
        Some(frozen)
    }

    /// To functions of this process: what is frozen, or a frozen copy; else the bytes of a region, which are given to the last of them if `give` says so.
    fn send_within(
        &self,
        guest: &Guest<'_>,
        local: &Local,
        to: &[usize],
        region: Region,
        sealed: Option<&Frozen>,
        give: bool,
    ) -> Vec<Verdict> {
        let (workflow, of_call) = (&local.workflow, self.deadline.get());
        let deadline = || workflow.deadline(of_call);
        let shared = if sealed.is_none() { self.share(guest, local, to, region) } else { None };
        if let Some(frozen) = sealed.or(shared.as_ref()) {
            let delivered = workflow.deliver_to_each(local.index, to, || Payload::Frozen(frozen), deadline);
            return delivered.into_iter().map(|delivered| self.verdict(delivered)).collect();
        }
        let (lent, given) = if give { to.split_at(to.len().saturating_sub(1)) } else { (to, &[][..]) };
        let sent = self.covered(region).and_then(|covered| {
            to.iter().for_each(|_| self.note_read(region));
            memory::lend_range(self.linear(guest), covered, |range| {
                let mut delivered =
                    workflow.deliver_to_each(local.index, lent, || Payload::Lent(&range), deadline);
                if let [last] = given {
                    let payload = Payload::Given(range);
                    delivered.push(workflow.deliver(local.index, *last, payload, deadline(), None));
                }
                delivered
            })
        });
        match sent {
            Err(refused) => to.iter().map(|_| Verdict { status: status_of(refused), left: false }).collect(),
            Ok(delivered) => delivered.into_iter().map(|delivered| self.verdict(delivered)).collect(),
        }
    }

    fn verdict(&self, delivered: Delivered) -> Verdict {
        if let Some(text) = delivered.text {
            self.complain(&text);
        }
        Verdict { status: delivered.status, left: delivered.left }
    }

    /// The bytes of a region are somebody else's now.
    fn give_up(&self, guest: &Guest<'_>, region: Region) {
        let mapped = self.mappings.borrow().overlaps(region);
        if let Ok(covered) = self.covered(region) {
            // It was in bounds when it was sent.
            let _ = memory::lend_range(self.linear(guest), covered, |mut range| match mapped {
                true => range.bytes_mut().fill(0),
                false => hose::pages::clear(range),
            });
        }
        self.regions.borrow_mut().unregister(region.address);
    }

    fn covered(&self, region: Region) -> std::result::Result<Covered, Refused> {
        self.regions.borrow().check(region)
    }

    fn call(&self, guest: &Guest<'_>, target: usize, region: Region) -> Answer<Region> {
        let hose = match self.sending(region.len) {
            Ok(hose) => hose,
            Err(status) => return Ok(Err(status)),
        };
        let Some(name) = hose.targets.get(target) else { return Ok(Err(Status::NO_TARGET)) };
        let (Some(local), Some(to)) = (&hose.local, hose.local_target(name)) else {
            return self.call_out(guest, hose, name, region);
        };
        let mut answered: Answer<Option<Region>> = Ok(Ok(None));
        let mut sink = |range: Range<'_>| answered = self.take_answer(guest, local, range);
        // The payload has left its region before an answer comes, for which this guest's allocator runs.
        let lent = self.with_region(guest, region, |host| {
            let covered = host.covered(region)?;
            host.note_read(region);
            memory::lend_range(host.linear(guest), covered, |range| {
                let payload = Payload::Lent(&range);
                let deadline = local.workflow.deadline(host.deadline.get());
                local.workflow.deliver(local.index, to, payload, deadline, Some(&mut sink))
            })
        })?;
        let delivered = match lent {
            Ok(Ok(delivered)) => delivered,
            Ok(Err(refused)) => return Ok(Err(status_of(refused))),
            Err(status) => return Ok(Err(status)),
        };
        let verdict = self.verdict(delivered);
        let region = match answered? {
            Ok(None) if verdict.status.is_ok() => match self.allocate(guest, 0)? {
                Ok(region) => region,
                Err(status) => return Ok(Err(status)),
            },
            Ok(None) => return Ok(Err(verdict.status)),
            Ok(Some(region)) if verdict.status.is_ok() => region,
            Ok(Some(region)) => {
                self.release(guest, region.address)?;
                return Ok(Err(verdict.status));
            }
            Err(status) => return Ok(Err(status)),
        };
        self.held.borrow_mut().insert(region.address, Item::Answer);
        Ok(Ok(region))
    }

    /// A call of a function of another container.
    fn call_out(&self, guest: &Guest<'_>, hose: &Hose, name: &Name, region: Region) -> Answer<Region> {
        let Some(remote) = &hose.remote else { return Ok(Err(Status::NO_TARGET)) };
        let sent = self.with_region(guest, region, |host| {
            let covered = host.covered(region)?;
            host.note_read(region);
            memory::read_memory_host(host.linear(guest), covered, |bytes| {
                hose.send_one(&mut remote.sender.borrow_mut(), name, bytes.into(), host.deadline.get())
            })
        })?;
        let delivery = match sent {
            Ok(Ok(Ok(delivery))) => delivery,
            Ok(Ok(Err(error))) => return Ok(Err(self.remember(&error))),
            Ok(Err(refused)) => return Ok(Err(status_of(refused))),
            Err(status) => return Ok(Err(status)),
        };
        let status = Status(delivery.status.0);
        if !status.is_ok() {
            return Ok(Err(handled(delivery)));
        }
        let region = match self.allocate(guest, delivery.answer.as_ref().map_or(0, hose::Answer::len))? {
            Ok(region) => region,
            Err(status) => return Ok(Err(status)),
        };
        if let Some(answer) = delivery.answer {
            let read = self.covered(region).and_then(|covered| {
                self.note_write(region);
                memory::write_memory_host(self.linear(guest), covered, |bytes| answer.read_into(bytes))
            });
            let status = match read {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(self.remember(&error)),
                Err(refused) => Some(status_of(refused)),
            };
            if let Some(status) = status {
                self.release(guest, region.address)?;
                return Ok(Err(status));
            }
        }
        self.held.borrow_mut().insert(region.address, Item::Answer);
        Ok(Ok(region))
    }

    /// An answer into a region of this guest's.
    fn take_answer(&self, guest: &Guest<'_>, local: &Local, source: Range<'_>) -> Answer<Option<Region>> {
        if source.len() as u64 > local.workflow.max_size {
            self.complain(&format!("an answer of {} bytes is above the limit", source.len()));
            return Ok(Err(Status::TOO_LARGE));
        }
        let region = match self.allocate(guest, source.len())? {
            Ok(region) => region,
            Err(status) => return Ok(Err(status)),
        };
        let moves = local.workflow.transfer != Transfer::Copy;
        let crossed = self.covered(region).and_then(|covered| {
            self.note_write(region);
            memory::lend_range(self.linear(guest), covered, |target| parcel::give(source, target, moves))
        });
        Ok(crossed.map(|_| Some(region)).map_err(status_of))
    }
}

/// What a payload came to that was handled. An answer that nobody asked for is read, so that the connection can be kept.
fn handled(delivery: Delivery) -> Status {
    if let Some(answer) = delivery.answer {
        // A connection that fails now is made anew by the next send.
        let _ = answer.discard();
    }
    Status(delivery.status.0)
}

/// What sending to some targets came to, if it could begin.
type Sent = std::result::Result<Vec<hose::Result<Delivery>>, Refused>;

impl Hose {
    /// Sends to some functions of other containers, at once; it has to be over `by` then, for a handler whose own time is limited.
    fn send_out(&self, names: &[Name], outgoing: Outgoing<'_>, by: Option<Instant>) -> Sent {
        let Some(remote) = &self.remote else { return Ok(Vec::new()) };
        let mut sender = remote.sender.borrow_mut();
        if let [one] = names {
            return Ok(vec![self.send_one(&mut sender, one, outgoing, by)]);
        }
        let since = self.statistics.now();
        let before: Vec<_> =
            since.iter().flat_map(|_| names.iter().map(|name| sender.statistics(name))).collect();
        sender.limit(by);
        let results = sender.send_to_all(outgoing);
        for ((name, result), before) in results.iter().zip(before) {
            self.statistics.sent(name, [before, sender.statistics(name)], since, result);
        }
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// Sends bytes of the host's own to all targets, and waits until they were handled. An error says which target has not handled them,
    /// and why; the others have been sent to all the same.
    pub(crate) fn send_to_all(&self, payload: hose::Payload<'_>) -> std::result::Result<(), String> {
        let (mut names, mut to, mut there) = (Vec::new(), Vec::new(), Vec::new());
        for name in self.targets.iter() {
            match self.local_target(name) {
                Some(index) => {
                    names.push(name);
                    to.push(index);
                }
                None => there.push(name.clone()),
            }
        }
        let mut failed = None;
        let mut judge = |name: &Name, why: Option<String>| {
            failed = failed.take().or_else(|| Some(format!("function {name}: {}", why?)));
        };
        let said = |status: Status| (!status.is_ok()).then(|| status.text().to_owned());
        if !there.is_empty() {
            let results = self.send_out(&there, Outgoing::from(payload), None);
            for (name, result) in there.iter().zip(results.into_iter().flatten()) {
                let why = result.map_or_else(|error| Some(chain(&error)), |delivery| said(handled(delivery)));
                judge(name, why);
            }
        }
        // Copied once for all, to be lent: nobody else may reach the bytes meanwhile.
        let lent = payload.bytes().filter(|_| !to.is_empty());
        let mut lent = lent.map(<[u8]>::to_vec).unwrap_or_default();
        if let Some(Local { workflow, index }) = &self.local {
            let deadline = || workflow.deadline(None);
            let delivered = match payload.frozen() {
                Some(frozen) => workflow.deliver_to_each(*index, &to, || Payload::Frozen(&frozen), deadline),
                None => memory::lend_bytes(&mut lent, |range| {
                    workflow.deliver_to_each(*index, &to, || Payload::Lent(&range), deadline)
                }),
            };
            for (name, delivered) in names.into_iter().zip(delivered) {
                judge(name, said(delivered.status).map(|said| delivered.text.unwrap_or(said)));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn send_one(
        &self,
        sender: &mut Sender,
        name: &Name,
        outgoing: Outgoing<'_>,
        by: Option<Instant>,
    ) -> hose::Result<Delivery> {
        let since = self.statistics.now();
        let before = sender.statistics(name);
        sender.limit(by);
        let result = sender.send(name, outgoing);
        self.statistics.sent(name, [before, sender.statistics(name)], since, &result);
        result
    }

    /// Whether what is given away is best given as sealed memory: to functions of other containers of this host, and to more than one of the same
    /// process. To a single one there its pages move, and to those that are met by address go bytes.
    pub(super) fn gives_sealed_memory(&self) -> bool {
        let remote = self.remote.as_ref().map(|remote| remote.sender.borrow());
        let outside = remote.as_ref().map(|sender| sender.transfer());
        let transfer = self.local.as_ref().map(|local| local.workflow.transfer).or(outside);
        let seals = matches!(transfer, Some(Transfer::Auto | Transfer::Memfd));
        let within = self.targets.iter().filter(|name| self.local_target(name).is_some()).count();
        let given = self.targets.len() > within && remote.is_some_and(|sender| sender.may_give_memory());
        seals && (within > 1 || given)
    }

    fn transfer(&self) -> Transfer {
        self.local.as_ref().map_or(Transfer::Auto, |local| local.workflow.transfer)
    }

    /// The number of a function of this process.
    fn local_target(&self, name: &Name) -> Option<usize> {
        self.local.as_ref()?.workflow.find(name)
    }
}
