//! The sending direction, to one target or to all at once, on one thread.
//!
//! Sending to one target is a [`Task`]; those of one call take turns, so that a slow target does not hold up the others.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::carriage::{Cargo, POOL};
use super::delivery::Delivery;
use super::link::wait;
use super::local::Local;
use super::outgoing::Outgoing;
use super::patience::Patience;
use super::statistics::Statistics;
use super::task::{Routes, Task, Wait};
use crate::sealed::Pool;
use crate::{Error, ErrorKind, Name, Result, Transfer};

/// The sending direction, to all targets.
#[derive(Debug)]
pub struct Sender {
    local: Rc<Local>,
    routes: Routes,
    pool: RefCell<Pool>,
    patience: Patience,
    by: Option<Instant>,
}

impl Sender {
    /// Connects to nobody yet.
    pub fn new(local: &Rc<Local>) -> Self {
        Self {
            local: Rc::clone(local),
            routes: Routes::default(),
            pool: RefCell::new(Pool::new(POOL)),
            patience: Patience::new(),
            by: None,
        }
    }

    /// Sends a payload to one target of the configuration and blocks until it was handled: up to the connect timeout for the
    /// peer to be there and prove itself, then up to the io timeout.
    ///
    /// Errors: [`ErrorKind::Target`], [`ErrorKind::TooLarge`], [`ErrorKind::Timeout`], [`ErrorKind::Auth`], [`ErrorKind::Protocol`],
    /// [`ErrorKind::Refused`], [`ErrorKind::Lost`], [`ErrorKind::System`]; [`Error::fate`](crate::Error::fate) says what is known of the payload.
    pub fn send<'a>(&mut self, target: &Name, outgoing: impl Into<Outgoing<'a>>) -> Result<Delivery> {
        let mut results = self.run(std::slice::from_ref(target), outgoing.into());
        // One target, one result.
        results.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Target, "no target")))
    }

    /// Sends a payload to every target of the configuration at once (fan-out), each as by [`Sender::send`]; a slow one does not
    /// hold up the others. One verdict each, in the configuration's order.
    pub fn send_to_all<'a>(&mut self, outgoing: impl Into<Outgoing<'a>>) -> Vec<(Name, Result<Delivery>)> {
        let targets = self.local.config().targets().to_vec();
        let results = self.run(&targets, outgoing.into());
        targets.into_iter().zip(results).collect()
    }

    /// Sets when whatever is sent from now on has to be over, if that is earlier than the configuration's limits: for a caller whose own time is
    /// limited.
    pub fn limit(&mut self, by: Option<Instant>) {
        self.by = by;
    }

    /// Makes a buffer for a payload of `len` bytes that will lie in ordinary memory, so that sending it need not: `false` when no more may wait.
    /// Worth it from some 2 MB on, and when there is nothing else to do (100 MB: 7 ms). Who sends payloads of like size again and again, of 8
    /// MiB or more, finds that a thread has done it (`sealed::stock`).
    pub fn prepare(&mut self, len: usize) -> Result<bool> {
        self.pool.get_mut().prepare(len)
    }

    /// Whether a buffer waits for a payload of `len` bytes in ordinary memory, or is being made.
    pub fn has_buffer(&self, len: usize) -> bool {
        self.pool.borrow().has(len)
    }

    /// How payloads cross, as configured.
    pub fn transfer(&self) -> Transfer {
        self.local.config().transfer()
    }

    /// Whether a payload may get to its target as memory: not where all are met by address.
    pub fn may_give_memory(&self) -> bool {
        self.local.meets_on_its_host()
    }

    /// How often a payload in ordinary memory found a buffer in the pool, and how often one had to be made.
    pub fn buffers_taken(&self) -> (u64, u64) {
        self.pool.borrow().taken()
    }

    /// What was sent to `target`.
    pub fn statistics(&self, target: &Name) -> Statistics {
        self.routes.statistics(target)
    }

    /// Tells peers whose sealed answers were mapped, and are not any more, that they have their memory back: at once, and not with the next
    /// send.
    pub fn tell_releases(&mut self) {
        self.routes.tell_releases();
    }

    /// Bytes of frozen payloads that peers have not given back. While they exceed a bound, payloads are sent as bytes.
    pub fn kept(&self) -> u64 {
        self.routes.kept()
    }

    fn run(&mut self, targets: &[Name], outgoing: Outgoing<'_>) -> Vec<Result<Delivery>> {
        self.tell_releases();
        let cargo = Cargo::new(outgoing, self.local.config().transfer(), &self.pool, targets.len());
        if cargo.may_want_buffer() {
            self.pool.borrow_mut().recall(cargo.len());
        }
        let mut tasks: Vec<Task<'_>> = targets
            .iter()
            .map(|target| Task::new(&self.local, &self.routes, target, &cargo, self.by))
            .collect();
        let (mut held, mut due) = (true, vec![true; tasks.len()]);
        loop {
            tasks.iter_mut().zip(&due).filter(|(_, due)| **due).for_each(|(task, _)| task.advance());
            held = held && !let_go(&cargo, &tasks);
            let waits: Vec<_> = tasks.iter().map(Task::waits_for).collect();
            let Some(until) = waits.iter().flatten().map(|(_, until)| *until).min() else { break };
            let sockets: Vec<_> = waits.iter().flatten().filter_map(|(socket, _)| *socket).collect();
            // Several targets may need the processor that looking would take.
            let ready = match sockets.len() {
                1 => self.patience.wait(&sockets, Some(until)),
                _ => wait(&sockets, Some(until)),
            };
            match ready {
                Ok(ready) => due = who_is_due(&waits, &ready),
                Err(e) => {
                    let errno = e.raw_os_error().unwrap_or(0);
                    tasks.iter_mut().for_each(|t| {
                        t.fail(Error::system("poll", std::io::Error::from_raw_os_error(errno)));
                    });
                }
            }
        }
        let results = tasks.into_iter().map(Task::finish).collect();
        if cargo.wanted_buffer() {
            let (pool, len) = (&self.pool, cargo.len());
            pool.borrow_mut().restock(len, || self.routes.keepers());
        }
        results
    }
}

/// Lets go of a payload that is on its way to whoever it will ever be on its way to, if that is anyone. Whether it was.
fn let_go(cargo: &Cargo<'_>, tasks: &[Task<'_>]) -> bool {
    let mut ways = tasks.iter().filter_map(Task::is_on_its_way).peekable();
    let leaves = ways.peek().is_some() && ways.all(|on_its_way| on_its_way);
    if leaves {
        cargo.let_go();
    }
    leaves
}

/// Of tasks that wait, which can go on: those whose socket is ready, of which `ready` tells in their order, and whose time has come.
fn who_is_due(waits: &[Option<Wait<'_>>], ready: &[bool]) -> Vec<bool> {
    let (now, mut ready) = (Instant::now(), ready.iter());
    let mut is_due = |(socket, until): &Wait<'_>| {
        // Taken in any case: they are in step.
        let is_ready = socket.is_some() && ready.next() == Some(&true);
        is_ready || *until <= now
    };
    waits.iter().map(|wait| wait.as_ref().is_some_and(&mut is_due)).collect()
}
