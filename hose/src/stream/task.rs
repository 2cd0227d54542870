//! One payload on its way to one target: it moves through its stages as far as it gets without waiting.
//!
//! ```text
//! Seek ─connect─► (Connect ─►) Greet ─Challenge─► Prove ─Welcome─► Write ─last byte─► Verdict ─Handled─► done
//!  ▲ ◄── peer closed ─┴─────────┘ ◄───────────────┘               │
//!  └◄──────────── peer gone before the first byte ────────────────┘
//! ```
//!
//! The arrows back to Seek are the only retries, and none of them starts after a byte of the frame has left.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::fcntl_dupfd_cloexec;

use super::carriage::{Cargo, Carriage};
use super::chooser::{Chooser, Writing};
use super::delivery::{Answer, Delivery, Pending};
use super::kept::{Kept, Memory};
use super::link::{Broken, Link, Message, Outbound, Progress};
use super::local::{Attempt, Local};
use super::mapped::Releases;
use super::outgoing::Payload;
use super::statistics::{How, Statistics};
use super::tags::SessionKey;
use super::transcript::{Prover, Role, Transcript};
use super::wire::{Challenge, Flags, Header, Hello, Kind, NONCE_LEN, Refusal, TOLD_MIN, message};
use crate::identity::random;
use crate::sealed::Sealed;
use crate::tcp::connected;
use crate::{Error, ErrorKind, Fate, Name, PublicKey, Result, Status};

/// First and longest pause between two looks for a peer that is not there. A look is one `openat` that fails.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(8));

/// A connection on which both ends have proved themselves, and on which no frame is under way.
#[derive(Debug)]
pub(super) struct Route {
    /// Tells it from every other one of its sender.
    pub(super) id: u64,
    pub(super) link: Link,
    max_size: u64,
    /// Of the last frame.
    pub(super) sequence: u64,
    kept: Kept,
    chooser: Chooser,
    /// What it said of the frame that is under way, if it was asked.
    chosen: Option<Writing>,
}

impl Route {
    /// Tells the peer that it has the memory of its answer to that frame back.
    pub(super) fn release(&mut self, sequence: u64) -> Result<(), Broken> {
        self.link.send(&message(Kind::Released, 0, sequence, &[]))
    }

    /// Whether the peer is still there and has nothing to say but that payloads are given back.
    fn is_quiet(&mut self) -> bool {
        loop {
            match self.link.receive() {
                Ok(Some(message)) if message.header.kind == Kind::Released => {
                    self.kept.give_back(message.header.sequence);
                }
                Ok(None) => return !self.link.is_midway(),
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }
}

/// The idle connections of one sender. Answers that are still to be read hold on to them, to give theirs back.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes(Rc<Table>);

#[derive(Debug, Default)]
struct Table {
    idle: RefCell<BTreeMap<Name, Route>>,
    statistics: RefCell<BTreeMap<Name, Statistics>>,
    kept: Rc<RefCell<Memory>>,
    last_id: Cell<u64>,
    /// Sealed answers that are not mapped any more: route and sequence.
    releases: Releases,
    /// Answers that are not read, and have a route.
    pending: Rc<Cell<usize>>,
}

impl Routes {
    fn take(&self, target: &Name) -> Option<Route> {
        let mut route = self.0.idle.borrow_mut().remove(target)?;
        // All that a peer could have to say is that payloads are given back, which will be read with its verdict; and a Unix socket tells with the first byte
        // whether there is a peer.
        (route.link.passes_descriptors() || route.is_quiet()).then_some(route)
    }

    pub(super) fn statistics(&self, target: &Name) -> Statistics {
        self.0.statistics.borrow().get(target).copied().unwrap_or_default()
    }

    pub(super) fn kept(&self) -> u64 {
        self.0.kept.borrow().bytes()
    }

    /// Sockets of idle connections whose peers have payloads of this sender's still; descriptors of their own. What cannot be had is left out.
    pub(super) fn keepers(&self) -> Vec<OwnedFd> {
        let idle = self.0.idle.borrow();
        let keepers = idle.values().filter(|route| route.kept.is_some());
        keepers.filter_map(|route| fcntl_dupfd_cloexec(route.link.as_fd(), 3).ok()).collect()
    }

    fn count(&self, target: &Name, bytes: usize, copied: usize, how: How, unix: bool) {
        self.0.statistics.borrow_mut().entry(target.clone()).or_default().count(bytes, copied, how, unix);
    }

    fn next_id(&self) -> u64 {
        self.0.last_id.set(self.0.last_id.get() + 1);
        self.0.last_id.get()
    }

    pub(super) fn releases(&self) -> Releases {
        Rc::clone(&self.0.releases)
    }

    pub(super) fn tell_releases(&self) {
        let mut idle = self.0.idle.borrow_mut();
        for (id, sequence) in self.0.releases.take() {
            let route = idle.iter_mut().find(|(_, route)| route.id == id);
            match route.map(|(name, route)| (name.clone(), route.release(sequence))) {
                Some((name, Err(_))) => drop(idle.remove(&name)),
                Some((_, Ok(()))) => {}
                // Perhaps with an answer that is still to be read.
                None if self.0.pending.get() > 0 => self.0.releases.borrow_mut().push((id, sequence)),
                None => {}
            }
        }
    }

    pub(super) fn give_back(&self, target: Name, route: Route) {
        self.0.idle.borrow_mut().insert(target, route);
    }
}

/// What a task waits for: a socket, if it has one, and until when.
pub(super) type Wait<'a> = (Option<(BorrowedFd<'a>, PollFlags)>, Instant);

/// One payload on its way to one target.
pub(super) struct Task<'a> {
    local: &'a Local,
    routes: &'a Routes,
    target: &'a Name,
    cargo: &'a Cargo<'a>,
    connect_by: Instant,
    by: Option<Instant>,
    stage: Stage<'a>,
}

enum Stage<'a> {
    Seek {
        again: Instant,
        pause: Duration,
        why: Cow<'static, str>,
    },
    Connect {
        link: Link,
        prover: Box<Prover>,
    },
    Greet {
        link: Link,
        greeting: Box<Greeting>,
    },
    Prove {
        link: Link,
        max_size: u64,
        peer_key: Option<PublicKey>,
        keys: Option<[SessionKey; 2]>,
    },
    Write {
        route: Route,
        frame: Outbound<'a>,
        carriage: Carriage,
        started: Instant,
    },
    Verdict {
        route: Route,
        how: How,
        started: Instant,
        received: Option<Duration>,
    },
    Done(Result<Delivery>),
    /// Between two stages only.
    Moving,
}

impl Stage<'_> {
    fn seek_at_once() -> Self {
        Self::Seek { again: Instant::now(), pause: PAUSE.0, why: Cow::Borrowed("it is not published") }
    }
}

/// What this end has said, and to whom it believes it is speaking.
struct Greeting {
    hello: Hello,
    prover: Box<Prover>,
}

/// What a stage came to, when it is not an error.
enum Step<'a> {
    /// To the next stage, at once.
    On(Stage<'a>),
    /// Wait in this one.
    Stay(Stage<'a>),
}

fn earlier(at: Instant, by: Option<Instant>) -> Instant {
    by.map_or(at, |by| by.min(at))
}

impl<'a> Task<'a> {
    /// `by` is when it has to be over, whatever the limits say.
    pub(super) fn new(
        local: &'a Local,
        routes: &'a Routes,
        target: &'a Name,
        cargo: &'a Cargo<'a>,
        by: Option<Instant>,
    ) -> Self {
        let now = Instant::now();
        let limits = local.config().limits();
        let mut task = Self {
            local,
            routes,
            target,
            cargo,
            connect_by: earlier(now + limits.connect_timeout(), by),
            by,
            stage: Stage::seek_at_once(),
        };
        if !local.config().targets().contains(target) {
            task.fail(Error::new(ErrorKind::Target, format!("function {target} is not among the targets")));
        } else if cargo.len() as u64 > limits.max_size() {
            task.fail(too_large(cargo.len(), limits.max_size(), "this function"));
        } else if let Some(route) = routes.take(target) {
            task.stage = Stage::Moving;
            task.stage = task.write(route).unwrap_or_else(|e| Stage::Done(Err(e)));
        }
        task
    }

    /// As far as it goes without waiting.
    pub(super) fn advance(&mut self) {
        loop {
            let fate = self.fate();
            let step = match std::mem::replace(&mut self.stage, Stage::Moving) {
                Stage::Seek { again, pause, why } => self.seek(again, pause, why),
                Stage::Connect { link, prover } => self.connecting(link, prover),
                Stage::Greet { link, greeting } => self.greet(link, greeting),
                Stage::Prove { link, max_size, peer_key, keys } => self.prove(link, max_size, peer_key, keys),
                Stage::Write { route, frame, carriage, started } => {
                    self.writing(route, frame, carriage, started)
                }
                Stage::Verdict { route, how, started, received } => {
                    self.verdict(route, how, started, received)
                }
                stage @ (Stage::Done(_) | Stage::Moving) => {
                    self.stage = stage;
                    return;
                }
            };
            match step {
                Ok(Step::On(stage)) => self.stage = stage,
                Ok(Step::Stay(stage)) => {
                    self.stage = stage;
                    if Instant::now() < self.deadline() {
                        return;
                    }
                    self.fail(self.late());
                }
                // The stage's own errors say more than it can.
                Err(e) if e.fate() == Fate::NotSent => self.stage = Stage::Done(Err(e.with_fate(fate))),
                Err(e) => self.stage = Stage::Done(Err(e)),
            }
        }
    }

    pub(super) fn fail(&mut self, error: Error) {
        if !matches!(self.stage, Stage::Done(_)) {
            let fate = self.fate();
            self.stage = Stage::Done(Err(error.with_fate(fate)));
        }
    }

    pub(super) fn finish(self) -> Result<Delivery> {
        match self.stage {
            Stage::Done(result) => result,
            _ => Err(Error::new(ErrorKind::Lost, format!("sending to function {} ended early", self.target))),
        }
    }

    /// Whether the payload is on its way: `None` when it will never be.
    pub(super) fn is_on_its_way(&self) -> Option<bool> {
        match &self.stage {
            Stage::Done(Err(e)) if e.fate() == Fate::NotSent => None,
            Stage::Verdict { .. } | Stage::Done(_) => Some(true),
            _ => Some(false),
        }
    }

    pub(super) fn waits_for(&self) -> Option<Wait<'_>> {
        let socket = match &self.stage {
            Stage::Done(_) | Stage::Moving => return None,
            Stage::Seek { again, .. } => return Some((None, (*again).min(self.connect_by))),
            Stage::Greet { link, .. } | Stage::Prove { link, .. } => link.readable(),
            Stage::Connect { link, .. } => link.writable(),
            Stage::Write { route, .. } => route.link.writable(),
            Stage::Verdict { route, .. } => route.link.readable(),
        };
        Some((Some(socket), self.deadline()))
    }

    fn deadline(&self) -> Instant {
        match &self.stage {
            Stage::Write { started, .. } | Stage::Verdict { started, .. } => {
                earlier(*started + self.local.config().limits().io_timeout(), self.by)
            }
            _ => self.connect_by,
        }
    }

    /// What is known of the payload, should the task fail in this stage.
    fn fate(&self) -> Fate {
        match &self.stage {
            Stage::Write { frame, .. } if frame.sent() > 0 => Fate::NotHandled,
            // Not confirmed, so not handed over.
            Stage::Verdict { received: None, how: How::Spliced, .. } => Fate::NotHandled,
            Stage::Verdict { .. } => Fate::Unknown,
            _ => Fate::NotSent,
        }
    }

    fn late(&self) -> Error {
        let (target, limits) = (self.target, self.local.config().limits());
        let (connect, io) = (limits.connect_timeout(), limits.io_timeout());
        if self.by.is_some_and(|by| by <= Instant::now()) {
            let message = format!("function {target} was not done when the time of the caller was over");
            return Error::new(ErrorKind::Timeout, message);
        }
        let message = match &self.stage {
            Stage::Seek { why, .. } => format!("function {target} did not come within {connect:?}: {why}"),
            Stage::Write { frame, .. } => {
                let (sent, total) = (frame.sent_payload(), self.cargo.len());
                format!("function {target} took {sent} of {total} bytes within {io:?}")
            }
            Stage::Verdict { received: None, how, .. }
                if *how != How::Sealed && self.cargo.len() >= TOLD_MIN =>
            {
                format!("function {target} did not acknowledge a payload within {io:?}")
            }
            Stage::Verdict { .. } => format!("function {target} did not handle a payload within {io:?}"),
            _ => format!("function {target} did not answer within {connect:?}"),
        };
        Error::new(ErrorKind::Timeout, message)
    }

    fn seek(&self, again: Instant, pause: Duration, why: Cow<'static, str>) -> Result<Step<'a>> {
        let now = Instant::now();
        if now < again {
            return Ok(Step::Stay(Stage::Seek { again, pause, why }));
        }
        match self.local.connect(self.target)? {
            Attempt::Connected(link, prover) => self.hello(link, prover),
            Attempt::Connecting(link, prover) => Ok(Step::On(Stage::Connect { link, prover })),
            Attempt::Absent(why) => {
                let pause = (pause * 2).min(PAUSE.1);
                Ok(Step::Stay(Stage::Seek { again: now + pause, pause, why }))
            }
        }
    }

    fn connecting(&self, link: Link, prover: Box<Prover>) -> Result<Step<'a>> {
        match connected(link.as_fd()) {
            None => Ok(Step::Stay(Stage::Connect { link, prover })),
            Some(Ok(())) => self.hello(link, prover),
            Some(Err(e)) => Ok(self.pause(format!("its address does not answer: {e}").into())),
        }
    }

    fn hello(&self, mut link: Link, prover: Box<Prover>) -> Result<Step<'a>> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let config = self.local.config();
        let hello = Hello {
            nonce,
            scheme: prover.scheme(),
            max_answer: config.limits().max_size(),
            workflow: config.workflow().clone(),
            sender: config.name().clone(),
            receiver: self.target.clone(),
        };
        match link.send(&message(Kind::Hello, 0, 0, &hello.encode())) {
            Ok(()) => Ok(Step::On(Stage::Greet { link, greeting: Box::new(Greeting { hello, prover }) })),
            Err(broken) => self.retry(broken),
        }
    }

    fn greet(&self, mut link: Link, greeting: Box<Greeting>) -> Result<Step<'a>> {
        let answer = match link.receive() {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(Step::Stay(Stage::Greet { link, greeting })),
            Err(broken) => return self.retry(broken),
        };
        if answer.header.kind != Kind::Challenge {
            return self.unwelcome(&answer);
        }
        let Greeting { hello, prover } = *greeting;
        let challenge = Challenge::decode(answer.body(), hello.scheme)
            .ok_or_else(|| self.nonsense("a malformed challenge"))?;
        let transcript = Transcript { hello, receiver_nonce: challenge.nonce, max_size: challenge.max_size };
        if !prover.verifies(&transcript, Role::Sender, &challenge.proof) {
            let message = format!("function {} did not prove its identity", self.target);
            return Err(Error::new(ErrorKind::Auth, message));
        }
        let proof = prover.prove(&transcript, Role::Sender);
        let keys = prover.session_keys(&transcript, Role::Sender);
        match link.send(&message(Kind::Proof, 0, 0, &proof)) {
            Ok(()) => {
                let (max_size, peer_key) = (challenge.max_size, prover.peer_key());
                Ok(Step::On(Stage::Prove { link, max_size, peer_key, keys }))
            }
            Err(broken) => self.retry(broken),
        }
    }

    fn prove(
        &self,
        mut link: Link,
        max_size: u64,
        peer_key: Option<PublicKey>,
        keys: Option<[SessionKey; 2]>,
    ) -> Result<Step<'a>> {
        match link.receive() {
            Ok(Some(answer)) if answer.header.kind == Kind::Welcome => {
                if let Some(keys) = keys {
                    link.authenticate(keys);
                }
                let mut kept = Kept::new(&self.routes.0.kept);
                kept.belongs_to(self.target, peer_key);
                self.write(Route {
                    id: self.routes.next_id(),
                    link,
                    max_size,
                    sequence: 0,
                    kept,
                    chooser: Chooser::new(),
                    chosen: None,
                })
                .map(Step::On)
            }
            Ok(Some(answer)) => self.unwelcome(&answer),
            Ok(None) => Ok(Step::Stay(Stage::Prove { link, max_size, peer_key, keys })),
            Err(broken) => self.retry(broken),
        }
    }

    /// Begins to write on an authenticated connection.
    fn write(&self, mut route: Route) -> Result<Stage<'a>> {
        let length = self.cargo.len() as u64;
        if length > route.max_size {
            let peer = format!("function {}", self.target);
            return Err(too_large(self.cargo.len(), route.max_size, &peer));
        }
        // 2^64 frames are beyond anyone's patience.
        route.sequence += 1;
        let started = Instant::now();
        let unix = route.link.passes_descriptors();
        let payload = self.cargo.outgoing.payload;
        let has_room = |kept: &Kept| kept.has_room(payload, |name, key| self.local.is_gone(name, key));
        let passes = unix && (has_room(&route.kept) || (route.is_quiet() && has_room(&route.kept)));
        if passes {
            self.cargo.can_pass();
        }
        // Over TCP there are two ways for bytes; which is taken is decided by what they took before.
        route.chosen = (!unix).then(|| route.chooser.choose(self.cargo.len(), self.cargo.transfer()));
        let mut carriage = self.cargo.carriage(passes);
        if route.chosen == Some(Writing::Spliced) && route.link.can_lend() {
            carriage = Carriage::Spliced;
        }
        let flags = match carriage {
            Carriage::Bytes => Flags::NONE,
            Carriage::Spliced => Flags::LENT,
            Carriage::Sealed(_) => Flags::SEALED,
        };
        let trace = self.cargo.outgoing.trace;
        let header = Header { flags, trace, ..Header::new(Kind::Data, route.sequence, length) };
        let payload = match carriage {
            Carriage::Sealed(_) => &[],
            Carriage::Bytes | Carriage::Spliced => self.cargo.bytes()?,
        };
        let frame = route.link.outbound(&header, payload);
        Ok(Stage::Write { route, frame, carriage, started })
    }

    fn writing(
        &self,
        mut route: Route,
        mut frame: Outbound<'a>,
        carriage: Carriage,
        started: Instant,
    ) -> Result<Step<'a>> {
        let written = match &carriage {
            Carriage::Bytes | Carriage::Spliced => route.link.send_frame(&mut frame),
            Carriage::Sealed(frozen) => route.link.send_descriptor(&mut frame, frozen.as_fd()),
        };
        match written {
            Ok(Progress::Done) => {
                if let Carriage::Sealed(frozen) = &carriage {
                    route.kept.lend(route.sequence, frozen);
                }
                // Nothing can have come yet.
                let how = carriage.how();
                Ok(Step::Stay(Stage::Verdict { route, how, started, received: None }))
            }
            Ok(Progress::Later) => Ok(Step::Stay(Stage::Write { route, frame, carriage, started })),
            // It has gone since the last frame: perhaps there is another one by now.
            Err(Broken::Closed) if frame.sent() == 0 && route.sequence > 1 => {
                Ok(Step::On(Stage::seek_at_once()))
            }
            Err(broken) if frame.sent() == 0 => self.retry(broken),
            Err(broken) => {
                // Cut short, so never handed over. The peer may have said why before it closed.
                let error = match route.link.receive() {
                    Ok(Some(last)) if last.header.kind == Kind::Refused => Some(self.refused(&last)),
                    Ok(_) | Err(_) => None,
                };
                let total = self.cargo.len();
                let lost = || self.lost(&format!("in the middle of a payload of {total} bytes"), broken);
                Err(error.unwrap_or_else(lost).with_fate(Fate::NotHandled))
            }
        }
    }

    fn verdict(
        &self,
        mut route: Route,
        how: How,
        started: Instant,
        received: Option<Duration>,
    ) -> Result<Step<'a>> {
        let answer = match route.link.receive() {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(Step::Stay(Stage::Verdict { route, how, started, received })),
            Err(Broken::Nonsense(what) | Broken::Version(what)) => return Err(self.nonsense(&what)),
            Err(broken) => return Err(self.lost("before it had answered", broken)),
        };
        if answer.header.kind == Kind::Released {
            route.kept.give_back(answer.header.sequence);
            return Ok(Step::On(Stage::Verdict { route, how, started, received }));
        }
        if answer.header.kind == Kind::Refused {
            route.kept.give_back(route.sequence);
            return Err(self.refused(&answer).with_fate(Fate::NotHandled));
        }
        if answer.header.sequence != route.sequence {
            return Err(self.nonsense("an answer to another frame"));
        }
        let now = started.elapsed();
        match (answer.header.kind, received) {
            (Kind::Received, None) => {
                // A way that turned out not to be open is charged with what finding that out took.
                if let Some(chosen) = route.chosen {
                    route.chooser.record(chosen, self.cargo.len(), now);
                }
                if how == How::Spliced
                    && let Err(broken) = route.link.send(&message(Kind::Confirmed, 0, route.sequence, &[]))
                {
                    let error = self.lost("before its payload was confirmed", broken);
                    return Err(error.with_fate(Fate::NotHandled));
                }
                Ok(Step::On(Stage::Verdict { route, how, started, received: Some(now) }))
            }
            (Kind::Handled, received) if received.is_some() || how != How::Spliced => {
                let received_after = received.unwrap_or(now);
                if !answer.header.flags.has(Flags::KEPT) {
                    route.kept.give_back(route.sequence);
                }
                self.count(how, route.link.passes_descriptors());
                let delivery = Delivery {
                    status: Status(answer.header.code),
                    received_after,
                    handled_after: now,
                    answer: None,
                };
                self.handled(route, answer, delivery).map_err(|e| e.with_fate(Fate::Handled))
            }
            _ => Err(self.nonsense("an answer out of order")),
        }
    }

    fn count(&self, how: How, unix: bool) {
        let len = self.cargo.len();
        let copied = match (how, self.cargo.outgoing.payload) {
            (How::Sealed, Payload::Frozen(_) | Payload::Gift(_)) | (How::Spliced, _) => 0,
            (How::Sealed, Payload::Bytes(_)) | (How::Inline, _) => len,
        };
        self.routes.count(self.target, len, copied, how, unix);
    }

    /// The end of a payload that was handled: with an answer, its connection goes with that.
    fn handled(&self, route: Route, mut message: Message, mut delivery: Delivery) -> Result<Step<'a>> {
        let header = message.header;
        let limits = self.local.config().limits();
        if header.flags.has(Flags::OMITTED) {
            let message = format!("function {} answered more than this function accepts", self.target);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        if header.flags.has(Flags::ANSWER) {
            let len = match usize::try_from(header.length) {
                Ok(len) if header.length <= limits.max_size() => len,
                _ => return Err(self.nonsense("an answer larger than this end takes")),
            };
            let sealed =
                message.descriptor.take().map(|descriptor| Sealed::check(descriptor, len)).transpose();
            let sealed = sealed.map_err(|what| self.nonsense(what))?;
            let by = Instant::now() + limits.io_timeout();
            let (routes, target) = (self.routes.clone(), self.target.clone());
            let pending = Pending::new(&self.routes.0.pending);
            delivery.answer = Some(Answer { route, routes, target, len, sealed, by, pending });
        } else {
            self.routes.give_back(self.target.clone(), route);
        }
        Ok(Step::On(Stage::Done(Ok(delivery))))
    }

    /// Back to the beginning, for a connection that ended before a byte of the frame was on it.
    fn retry(&self, broken: Broken) -> Result<Step<'a>> {
        match broken {
            Broken::Closed => Ok(self.pause("it closed the connection".into())),
            Broken::Nonsense(what) | Broken::Version(what) => Err(self.nonsense(&what)),
            Broken::Call(call, e) => Err(Error::system(format!("{call} to function {}", self.target), e)),
        }
    }

    fn pause(&self, why: Cow<'static, str>) -> Step<'a> {
        let again = Instant::now() + PAUSE.1;
        Step::Stay(Stage::Seek { again, pause: PAUSE.1, why })
    }

    /// For what came in place of the next message of the handshake. Being turned away for want of room is a reason to try
    /// again; the frame has not been touched.
    fn unwelcome(&self, answer: &Message) -> Result<Step<'a>> {
        match answer.header.kind {
            Kind::Refused if answer.header.code == Refusal::Busy as i32 => {
                Ok(self.pause("it has too many connections".into()))
            }
            Kind::Refused => Err(self.refused(answer)),
            _ => Err(self.nonsense("an answer out of order")),
        }
    }

    fn refused(&self, answer: &Message) -> Error {
        let (kind, why) = match Refusal::from_code(answer.header.code) {
            Some(Refusal::Busy) => (ErrorKind::Refused, "it is busy, or about to end"),
            Some(Refusal::Unproved) => (ErrorKind::Auth, "it does not believe who this function is"),
            Some(Refusal::WrongPeer) => (ErrorKind::Protocol, "it is another function"),
            Some(Refusal::TooLarge) => (ErrorKind::TooLarge, "the payload is too large for it"),
            Some(Refusal::NotSealed) => (ErrorKind::Protocol, "the payload is no sealed memory of its size"),
            Some(Refusal::Version) => (ErrorKind::Protocol, "it does not speak this version of the protocol"),
            Some(Refusal::NoRoom) => (ErrorKind::Refused, "it has no room for the payload"),
            None => (ErrorKind::Refused, "for a reason that this version does not know"),
        };
        Error::new(kind, format!("function {} refused: {why}", self.target))
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Protocol,
            format!("function {} does not keep to the protocol: {what}", self.target),
        )
    }

    fn lost(&self, when: &str, broken: Broken) -> Error {
        let error = Error::new(ErrorKind::Lost, format!("function {} was lost {when}", self.target));
        match broken {
            Broken::Call(_, e) => error.caused_by(e),
            Broken::Closed | Broken::Nonsense(_) | Broken::Version(_) => error,
        }
    }
}

fn too_large(len: usize, max: u64, whose: &str) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("a payload of {len} bytes is larger than the {max} that {whose} accepts"),
    )
}
