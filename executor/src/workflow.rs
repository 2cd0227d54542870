//! The functions of one process, and the memory transport between them (the paper's user space, section 4.1).
//!
//! ```text
//!                       idle: taken ──────────► called on the sender's thread ──► idle
//! a payload for it ──►  running its `_start`: waited for, until it is idle or pulls
//!                       pulling: put into its inbox ──► taken by its own thread, answered from there
//!                       ended, or waiting for this very call: refused at once
//! ```
//!
//! A handler has no thread: who sends calls it, with a deadline that the watchdog keeps. A function with a `_start` of its own
//! runs that on a thread of its own, and is a handler afterwards, if it is one.
//!
//! Invariants:
//! - whoever has taken a [`Unit`] is the only one who runs it; a function is never entered twice;
//! - a sender's region stays as it is until its bytes have left it: the sender waits for that, past every deadline;
//! - an instance that has trapped, exited or been stopped is dropped, and replaced by the next call;
//! - nothing is sent again.
//!
//! The functions hold the workflow, and the workflow the functions: they go with the process. Functions, and targets of a function,
//! are added while it runs ([`Workflow::add`]) and never taken away, so that a number once given stays what it is.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use executor_abi::statistics::Counter;
use guest_abi::Status;
use hose::pages::Range;
use hose::sealed::Frozen;
use hose::{Name, Transfer};

use crate::chain::Chain;
use crate::crew;
use crate::engine::{self, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Hose, Host, Local};
use crate::link::{Call, START};
use crate::parcel::Parcel;
use crate::process;
use crate::statistics::Statistics;
use crate::vm::{Ended, Loaded, Vm};
use crate::wasi::Streams;
use crate::watch::Watchdog;

/// Bytes of the stack of a thread that runs functions.
pub(crate) const STACK: usize = 16 << 20;

/// The functions of a process. The first is the container's own.
#[derive(Debug)]
pub(crate) struct Workflow {
    functions: boxcar::Vec<Function>,
    pub(crate) transfer: Transfer,
    pub(crate) max_size: u64,
    /// How long one payload may take until it is handled.
    pub(crate) io_timeout: Duration,
    statistics: Statistics,
    dog: OnceLock<Option<Arc<Watchdog>>>,
    quiet: Mutex<Quiet>,
    quieter: Condvar,
}

/// One function: who it is, whom it sends to, and its instance.
#[derive(Debug)]
pub(crate) struct Function {
    name: Name,
    targets: Arc<Targets>,
    /// Where there are statistics. The first is called by nobody.
    counter: Option<Counter<'static>>,
    slot: Mutex<Slot>,
    changed: Condvar,
}

/// A function beside the container's own, ready to be part of a workflow.
#[derive(Debug)]
pub(crate) struct Further {
    pub(crate) name: Name,
    pub(crate) targets: Vec<Name>,
    pub(crate) loaded: Loaded,
}

/// A module and, once it has been called, its instance.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) vm: Option<Vm>,
    pub(crate) loaded: Loaded,
}

#[derive(Debug)]
struct Slot {
    /// There while the function is idle.
    unit: Option<Box<Unit>>,
    /// What it was taken for.
    taken_by: Option<Chain>,
    /// What waits to be pulled; nothing for a function that does not pull.
    inbox: Option<VecDeque<Arc<Parcel>>>,
    /// It will never be idle again.
    over: bool,
    /// How many wait for it: nobody is woken by a system call where nobody waits.
    waiting: usize,
}

/// Who could still send.
#[derive(Debug, Default)]
struct Quiet {
    /// The container's own function has ended.
    closing: bool,
    /// Functions' own threads that have not ended, and do not wait for a payload.
    busy: usize,
    /// Functions' own threads that have not ended.
    threads: usize,
    /// First exit code but 0 of a function's own thread.
    code: i32,
}

/// A payload on its way.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// Bytes that stay as they are.
    Lent(&'a Range<'a>),
    /// Bytes whose pages may change hands.
    Given(Range<'a>),
    /// Memory that nobody can change any more, and that every target may map.
    Frozen(&'a Frozen),
}

impl Payload<'_> {
    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Lent(range) => range.len(),
            Self::Given(range) => range.len(),
            Self::Frozen(frozen) => frozen.len(),
        }
    }

    /// Bytes of a region into which it is the soonest brought.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Lent(_) | Self::Given(_) => self.len(),
            Self::Frozen(frozen) => frozen.size(),
        }
    }
}

/// What became of a payload.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) status: Status,
    /// Whether its bytes have left the sender's region.
    pub(crate) left: bool,
    /// What there is to say beside the status.
    pub(crate) text: Option<String>,
}

impl Delivered {
    pub(crate) fn refused(status: Status, text: impl Into<String>) -> Self {
        Self { status, left: false, text: Some(text.into()) }
    }
}

/// Takes the bytes of an answer.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Range<'_>);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom a function sends to. What is added comes last.
#[derive(Debug, Default)]
pub(crate) struct Targets(boxcar::Vec<Name>);

impl Targets {
    /// The targets, by their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().map(|(_, name)| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.count()
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Name> {
        self.0.get(number)
    }

    /// The number of a target.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.iter().position(|target| target.as_str() == name)
    }

    fn add(&self, name: &Name) {
        if self.find(name.as_str()).is_none() {
            self.0.push(name.clone());
        }
    }
}

impl FromIterator<Name> for Targets {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

impl Function {
    fn new(name: Name, targets: Arc<Targets>, slot: Slot) -> Self {
        Self { name, targets, counter: None, slot: Mutex::new(slot), changed: Condvar::new() }
    }

    /// The container's own function, whose instance stays with the process's first thread.
    fn own(name: Name, targets: Arc<Targets>) -> Self {
        let taken_by = Some(Chain::begin());
        Self::new(name, targets, Slot { unit: None, taken_by, inbox: None, over: false, waiting: 0 })
    }

    fn further(further: Further, counter: Option<Counter<'static>>) -> Self {
        let Further { name, targets, loaded } = further;
        let unit = Some(Box::new(Unit { vm: None, loaded }));
        let slot = Slot { unit, taken_by: None, inbox: None, over: false, waiting: 0 };
        Self { counter, ..Self::new(name, Arc::new(targets.into_iter().collect()), slot) }
    }

    /// Takes what is known to be idle, for a thread that is about to start.
    fn take_first(&self) -> Option<Box<Unit>> {
        lock(&self.slot).unit.take()
    }

    /// Gives it back: it is idle.
    pub(crate) fn put(&self, unit: Box<Unit>) {
        let mut slot = lock(&self.slot);
        slot.unit = Some(unit);
        slot.taken_by = None;
        let waited_for = slot.waiting > 0;
        drop(slot);
        if waited_for {
            self.changed.notify_one();
        }
    }

    /// It will neither be idle nor pull again. Who waits for it is told so.
    pub(crate) fn end(&self) {
        let mut slot = lock(&self.slot);
        slot.over = true;
        let left = slot.inbox.take().unwrap_or_default();
        drop(slot);
        left.iter().for_each(|parcel| parcel.refuse());
        self.changed.notify_all();
    }
}

/// What there is for a payload.
enum Found {
    Idle(Box<Unit>, Chain),
    Pulls(Arc<Parcel>),
    Not(Delivered),
}

impl Workflow {
    /// A workflow of the container's own function, and no other yet.
    pub(crate) fn new(
        own: Name,
        targets: Arc<Targets>,
        transfer: Transfer,
        max_size: u64,
        io_timeout: Duration,
        statistics: Statistics,
    ) -> Arc<Self> {
        Arc::new(Self {
            functions: std::iter::once(Function::own(own, targets)).collect(),
            statistics,
            transfer,
            max_size,
            io_timeout,
            dog: OnceLock::new(),
            quiet: Mutex::default(),
            quieter: Condvar::new(),
        })
    }

    /// Name of a function.
    pub(crate) fn name(&self, index: usize) -> &Name {
        &self.functions[index].name
    }

    /// Number of a function.
    pub(crate) fn find(&self, name: &Name) -> Option<usize> {
        self.functions.iter().find(|(_, function)| function.name == *name).map(|(index, _)| index)
    }

    /// Makes a function part of it, before it is started. Whether its targets are there is not looked at: they may come after it.
    pub(crate) fn join(&self, further: Further) {
        let counter = self.statistics.local(&further.name);
        self.functions.push(Function::further(further, counter));
    }

    /// Makes a function part of it that runs already, and a target of the functions `senders`. One at a time: names would be given twice.
    ///
    /// # Errors
    /// Names the function that is known already, or is not, or says that the workflow is about to end.
    pub(crate) fn add(self: &Arc<Self>, further: Further, senders: &[Name]) -> Result<()> {
        let name = further.name.clone();
        let refused = |why: String| Err(Error::new(ErrorKind::Request, format!("function {name}: {why}")));
        if self.find(&name).is_some() {
            return refused("there is one of that name".to_owned());
        }
        if self.functions[0].targets.find(name.as_str()).is_some() {
            return refused(format!(
                "{} has a target of that name in another container",
                self.functions[0].name
            ));
        }
        let own = &self.functions[0].name;
        if let Some(unknown) = further.targets.iter().find(|to| *to == own || self.find(to).is_none()) {
            return refused(format!("it sends to {unknown}, which is not among the further functions"));
        }
        let mut by = Vec::with_capacity(senders.len());
        for sender in senders {
            match self.find(sender) {
                Some(index) => by.push(index),
                None => {
                    return refused(format!(
                        "{sender}, which is to send to it, is no function of this process"
                    ));
                }
            }
        }
        if lock(&self.quiet).closing {
            return refused("the container's own function has ended".to_owned());
        }
        let counter = self.statistics.local(&name);
        let index = self.functions.push(Function::further(further, counter));
        self.start_one(index)?;
        // Not before it is busy with its own `_start`: a payload would find it idle.
        by.into_iter().for_each(|sender| self.functions[sender].targets.add(&name));
        Ok(())
    }

    /// Runs the functions that have a `_start`, but for the first, each on a thread of its own.
    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        (1..self.functions.count()).try_for_each(|index| self.start_one(index))
    }

    fn start_one(self: &Arc<Self>, index: usize) -> Result<()> {
        let function = &self.functions[index];
        let Some(unit) = function.take_first() else { return Ok(()) };
        if !matches!(unit.loaded.entry.call, Call::Start) {
            function.put(unit);
            return Ok(());
        }
        let mut quiet = lock(&self.quiet);
        quiet.busy += 1;
        quiet.threads += 1;
        drop(quiet);
        let workflow = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name(function.name.to_string())
            .stack_size(STACK)
            .spawn(move || workflow.run_thread(index, unit));
        started.map(drop).map_err(|error| {
            function.end();
            self.thread_ended(0);
            let what = format!("function {}: start its thread", function.name);
            Error::with(ErrorKind::System, what, error)
        })
    }

    fn run_thread(self: &Arc<Self>, index: usize, mut unit: Box<Unit>) {
        let function = &self.functions[index];
        lock(&function.slot).taken_by = Some(Chain::begin());
        let code = match process::give_handlers_a_stack().and_then(|()| self.run_start(index, &mut unit)) {
            Ok(code) => code,
            Err(error) => {
                process::say(&error.report());
                1
            }
        };
        let handler = unit.vm.as_ref().is_some_and(|vm| code == 0 && vm.host().is_handler());
        if handler {
            function.put(unit);
        } else {
            drop(unit.vm.take());
            function.end();
        }
        self.thread_ended(code);
    }

    fn thread_ended(&self, code: i32) {
        let mut quiet = lock(&self.quiet);
        quiet.busy -= 1;
        quiet.threads -= 1;
        if quiet.code == 0 {
            quiet.code = code;
        }
        drop(quiet);
        self.tell_who_waits();
    }

    fn run_start(self: &Arc<Self>, index: usize, unit: &mut Unit) -> Result<i32> {
        if let Err(ended) = self.instantiate(index, unit)? {
            return Ok(say(&unit.loaded, ended));
        }
        let Some(vm) = &unit.vm else { return Ok(1) };
        let outcome = vm.guest().call(START, &[]).transpose();
        vm.host().abandon();
        match outcome {
            Ok(_) => Ok(0),
            Err(stop) => {
                let ended = vm.ended(stop);
                Ok(say(&unit.loaded, ended))
            }
        }
    }

    /// Makes the instance of a function that has none.
    fn instantiate(
        self: &Arc<Self>,
        index: usize,
        unit: &mut Unit,
    ) -> Result<std::result::Result<(), Ended>> {
        if unit.vm.is_some() {
            return Ok(Ok(()));
        }
        let host = Host::new(Some(self.hose(index)), unit.loaded.entry.contract);
        match Vm::create(&unit.loaded, host, self.dog().is_some(), Streams::inherited())? {
            Ok(vm) => {
                unit.vm = Some(vm);
                Ok(Ok(()))
            }
            Err(ended) => Ok(Err(ended)),
        }
    }

    /// A further function's hose, which reaches the functions of this process.
    fn hose(self: &Arc<Self>, index: usize) -> Hose {
        let targets = Arc::clone(&self.functions[index].targets);
        let local = Local { workflow: Arc::clone(self), index };
        let statistics = self.statistics;
        Hose { local: Some(local), remote: None, targets, max_size: self.max_size, statistics }
    }

    /// The watchdog, once a function was called whose deadline it keeps. None where there can be no thread.
    pub(crate) fn dog(&self) -> Option<&Arc<Watchdog>> {
        self.dog.get_or_init(|| Watchdog::start().ok()).as_ref()
    }

    /// Takes a payload from one function to another, and waits until it was handled, up to `deadline`. `answer` gets what the
    /// handler answers, before it is told that it was handled.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        from: usize,
        to: usize,
        payload: Payload<'_>,
        deadline: Instant,
        answer: Option<Sink<'_>>,
    ) -> Delivered {
        let since = self.statistics.now();
        let delivered = self.deliver_uncounted(from, to, payload, deadline, answer);
        if let Some((counter, since)) = self.counter(to).zip(since) {
            counter.called(since.elapsed(), delivered.status.is_host());
        }
        delivered
    }

    /// Takes one payload to several functions, as [`Workflow::deliver`] does; to each with the time that it has then.
    pub(crate) fn deliver_to_each<'a>(
        self: &Arc<Self>,
        from: usize,
        to: &[usize],
        payload: impl Fn() -> Payload<'a> + Sync,
        deadline: impl Fn() -> Instant + Sync,
    ) -> Vec<Delivered> {
        crew::each(to, |to| self.deliver(from, *to, payload(), deadline(), None))
    }

    /// How long a payload may take that is sent now: no longer than the call has time in which it is.
    pub(crate) fn deadline(&self, of_call: Option<Instant>) -> Instant {
        let own = Instant::now() + self.io_timeout;
        of_call.map_or(own, |outer| outer.min(own))
    }

    /// What counts the calls of a function.
    pub(crate) fn counter(&self, index: usize) -> Option<Counter<'static>> {
        self.functions.get(index)?.counter
    }

    fn deliver_uncounted(
        self: &Arc<Self>,
        from: usize,
        to: usize,
        payload: Payload<'_>,
        deadline: Instant,
        answer: Option<Sink<'_>>,
    ) -> Delivered {
        let peer = &self.functions[from].name;
        match self.find_place(to, peer, &payload, deadline) {
            Found::Not(delivered) => delivered,
            Found::Pulls(parcel) => {
                let delivered = parcel.wait(&self.functions[to].name, deadline, self.io_timeout, answer);
                if !delivered.left {
                    self.withdraw(to, &parcel);
                }
                delivered
            }
            Found::Idle(mut unit, call) => {
                let delivered = call.hold(|| self.call(to, &mut unit, peer, payload, deadline, answer));
                self.functions[to].put(unit);
                delivered
            }
        }
    }

    /// Waits until the function is idle or pulls.
    fn find_place(&self, to: usize, peer: &Name, payload: &Payload<'_>, deadline: Instant) -> Found {
        let function = &self.functions[to];
        let name = &function.name;
        let mut slot = lock(&function.slot);
        loop {
            if let Some(inbox) = &mut slot.inbox {
                let parcel = Parcel::new(peer.clone(), payload);
                inbox.push_back(Arc::clone(&parcel));
                drop(slot);
                function.changed.notify_all();
                return Found::Pulls(parcel);
            }
            if slot.over {
                let text = format!("function {name} has ended");
                return Found::Not(Delivered::refused(Status::LOST, text));
            }
            if let Some(unit) = slot.unit.take() {
                let call = Chain::call();
                slot.taken_by = Some(call.clone());
                return Found::Idle(unit, call);
            }
            let current = Chain::current();
            if slot.taken_by.as_ref().zip(current).is_some_and(|(taken_by, this)| this.is_within(taken_by)) {
                let text = format!("function {name} waits for what this call would return");
                return Found::Not(Delivered::refused(Status::BUSY, text));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = format!("function {name} was not ready within {:?}", self.io_timeout);
                return Found::Not(Delivered::refused(Status::TIMEOUT, text));
            }
            slot.waiting += 1;
            slot = function.changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
            slot.waiting -= 1;
        }
    }

    /// Takes a parcel that was not taken out of its inbox.
    fn withdraw(&self, to: usize, parcel: &Arc<Parcel>) {
        if let Some(inbox) = &mut lock(&self.functions[to].slot).inbox {
            inbox.retain(|waiting| !Arc::ptr_eq(waiting, parcel));
        }
    }

    /// Calls a handler that this thread has taken.
    fn call(
        self: &Arc<Self>,
        to: usize,
        unit: &mut Unit,
        peer: &Name,
        payload: Payload<'_>,
        deadline: Instant,
        answer: Option<Sink<'_>>,
    ) -> Delivered {
        // What the sender was refused is no matter of this function's.
        let senders = engine::replace_refused_memory(false);
        let delivered = self.call_within(to, unit, peer, payload, deadline, answer);
        engine::replace_refused_memory(senders);
        delivered
    }

    fn call_within(
        self: &Arc<Self>,
        to: usize,
        unit: &mut Unit,
        peer: &Name,
        payload: Payload<'_>,
        deadline: Instant,
        answer: Option<Sink<'_>>,
    ) -> Delivered {
        match self.instantiate(to, unit) {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return self.failed(to, unit, ended, false, false),
            Err(error) => return Delivered::refused(Status::HOST, error.report()),
        }
        let Some(vm) = &unit.vm else { return Delivered::refused(Status::HOST, "no instance") };
        if !vm.host().is_handler() {
            let text = format!("function {} neither receives nor is a handler", self.functions[to].name);
            return Delivered::refused(Status::REFUSED, text);
        }
        let watched = self.dog().zip(vm.canceller());
        if let Some((dog, canceller)) = watched {
            dog.arm(to, canceller, deadline);
        }
        let handled = vm.host().handle(&vm.guest(), peer, payload, deadline, answer);
        let late = watched.is_some_and(|(dog, _)| dog.disarm(to));
        if late {
            vm.forget_cancel();
        }
        match handled {
            (Ok(status), left) => Delivered { status, left, text: None },
            (Err(stop), left) => {
                let ended = vm.ended(stop);
                self.failed(to, unit, ended, left, late)
            }
        }
    }

    /// A function ended in the midst of a call: that costs the call, and the instance.
    fn failed(&self, to: usize, unit: &mut Unit, ended: Ended, left: bool, late: bool) -> Delivered {
        unit.vm = None;
        let (status, text) = fail(&self.functions[to].name, &unit.loaded, ended, late, self.io_timeout);
        Delivered { status, left, text: Some(text) }
    }

    /// Waits for a parcel in the inbox of a function that pulls: its own thread. Nothing when `until` has come, or when nobody
    /// is left who could send.
    pub(crate) fn pull(&self, index: usize, until: Option<Instant>) -> Pulled {
        let function = &self.functions[index];
        let mut slot = lock(&function.slot);
        slot.inbox.get_or_insert_default();
        drop(slot);
        function.changed.notify_all();
        self.rest(true);
        let pulled = self.wait_for_parcel(function, until);
        self.rest(false);
        pulled
    }

    fn wait_for_parcel(&self, function: &Function, until: Option<Instant>) -> Pulled {
        let mut slot = lock(&function.slot);
        loop {
            if let Some(parcel) = slot.inbox.as_mut().and_then(VecDeque::pop_front) {
                return Pulled::Parcel(parcel);
            }
            if self.nobody_sends() {
                return Pulled::Closed;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            slot = match left {
                Some(left) if left.is_zero() => return Pulled::Late,
                Some(left) => {
                    function.changed.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => function.changed.wait(slot).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// A function's own thread begins or ends to wait for a payload.
    fn rest(&self, rests: bool) {
        let mut quiet = lock(&self.quiet);
        quiet.busy = if rests { quiet.busy.saturating_sub(1) } else { quiet.busy + 1 };
        drop(quiet);
        if rests {
            self.tell_who_waits();
        }
    }

    fn nobody_sends(&self) -> bool {
        let quiet = lock(&self.quiet);
        quiet.closing && quiet.busy == 0
    }

    fn tell_who_waits(&self) {
        self.quieter.notify_all();
        if self.nobody_sends() {
            for (_, function) in &self.functions {
                // Whoever is about to wait has the lock; then it sees that nobody sends.
                drop(lock(&function.slot));
                function.changed.notify_all();
            }
        }
    }

    /// The container's own function has ended: what the others still do may be finished for as long as a payload may take. Gives the
    /// first exit code of theirs that is not 0.
    pub(crate) fn close(&self) -> i32 {
        self.functions[0].end();
        lock(&self.quiet).closing = true;
        self.tell_who_waits();
        let until = Instant::now() + self.io_timeout;
        let mut quiet = lock(&self.quiet);
        while quiet.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                process::say(&format!(
                    "{} functions did not end within {:?}",
                    quiet.threads, self.io_timeout
                ));
                return if quiet.code == 0 { 1 } else { quiet.code };
            }
            quiet = self.quieter.wait_timeout(quiet, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        quiet.code
    }
}

/// Bytes of memory that a further function may need.
pub(crate) fn room(loaded: &Loaded) -> u64 {
    loaded.max_linear().saturating_add(STACK as u64)
}

/// What waiting for a parcel came to.
pub(crate) enum Pulled {
    Parcel(Arc<Parcel>),
    Late,
    Closed,
}

/// What the end of a function in the midst of a call means to its sender. Why it ended is on standard error then.
pub(crate) fn fail(
    name: &Name,
    loaded: &Loaded,
    ended: Ended,
    late: bool,
    io_timeout: Duration,
) -> (Status, String) {
    let (code, line) = loaded.report(ended);
    if late && ended.stop.is_cancelled() {
        let text = format!("function {name} did not handle a payload within {io_timeout:?}");
        process::say(&format!("{} stopped: {text}", loaded.source.path()));
        return (Status::TIMEOUT, text);
    }
    let text = match &line {
        Some(line) => format!("function {name} failed: {line}"),
        None => format!("function {name} exited with {code}"),
    };
    if let Some(line) = line {
        process::say(&line);
    }
    (Status::TRAPPED, text)
}

/// Says why a function ended, and gives its exit code.
pub(crate) fn say(loaded: &Loaded, ended: Ended) -> i32 {
    let (code, line) = loaded.report(ended);
    if let Some(line) = line {
        process::say(&line);
    }
    code
}

/// What ends a call from the host's side.
pub(crate) type Outcome<T> = std::result::Result<T, Stop>;
