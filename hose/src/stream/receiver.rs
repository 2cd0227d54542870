//! The receiving direction: one listener, any number of peers, one thread.
//!
//! ```text
//! accept ─► Greeted ─Hello─► Challenged ─Proof─► Idle ◄─────────── handled ──┐
//!                                                 └─Data─► Busy: Incoming ─► Held
//! ```
//!
//! A connection that fails in any state is dropped. While it is Busy it is not looked at.
//!
//! A frame that has begun stays in its socket until it is its turn, and there are as many as there are connections; with
//! [`Receiver::refuse_beyond`] they stand in a line of a length of the owner's choosing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::carriage::{Cargo, Carriage, POOL};
use super::kept::{Kept, Memory};
use super::link::{Broken, Link, Message, Outbound, Progress, wait};
use super::listener::Listener;
use super::local::{From, Local};
use super::mapped::{Lease, Mapped, Releases};
use super::outgoing::Payload;
use super::patience::Patience;
use super::statistics::{How, Statistics};
use super::tags::SessionKey;
use super::transcript::{Prover, Role, Transcript};
use super::wire::{Challenge, Flags, Header, Hello, Kind, NONCE_LEN, Refusal, TOLD_MIN, message};
use crate::identity::random;
use crate::sealed::{Placed, Pool, Range, Sealed};
#[cfg(doc)]
use crate::tcp;
use crate::{Error, ErrorKind, Name, Result, Status, TraceContext};

/// How long a peer may take to prove itself, once it is listened to.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that have not proved anything yet. The oldest makes room for a newcomer.
const MAX_UNPROVED: usize = 32;
/// Connections of peers that have proved themselves: so many payloads can wait for one receiver at most.
pub const MAX_CONNECTIONS: usize = 256;
/// Of these, with one name: functions that a container runs beside each other share its name.
const MAX_PER_NAME: usize = 4;
/// How long to leave the listener alone when there are no descriptors left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The receiving direction, from all peers.
#[derive(Debug)]
pub struct Receiver {
    local: Rc<Local>,
    listeners: Vec<Listener>,
    accept_from: Option<Instant>,
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
    last_served: u64,
    /// Connections on which there was something to read, when it was last asked.
    ready: BTreeSet<u64>,
    releases: Releases,
    /// Of sealed answers, what peers have not given back.
    kept: Rc<RefCell<Memory>>,
    pool: RefCell<Pool>,
    statistics: Statistics,
    /// Frames that wait for their turn, and how many may: only where that is bounded.
    line: VecDeque<Incoming>,
    max_line: Option<usize>,
    stop: Option<Stop>,
    patience: Patience,
    /// The same within payloads.
    within: Patience,
}

/// What ends all waiting.
#[derive(Debug)]
struct Stop {
    stopped: &'static AtomicBool,
    wake: OwnedFd,
}

#[derive(Debug)]
struct Connection {
    link: Link,
    from: From,
    state: State,
    /// Answers that were sealed.
    kept: Kept,
}

#[derive(Debug)]
enum State {
    Greeted {
        by: Instant,
    },
    Challenged {
        by: Instant,
        transcript: Box<Transcript>,
        prover: Box<Prover>,
    },
    /// `by` is set while a header is arriving.
    Idle {
        peer: Peer,
        by: Option<Instant>,
    },
    /// `token` is alive as long as the frame's [`Incoming`] or [`Held`]: a frame that is forgotten ends its connection.
    Busy {
        peer: Peer,
        token: Weak<()>,
    },
}

#[derive(Clone, Debug)]
struct Peer {
    name: Name,
    /// Longest answer that it takes.
    max_answer: u64,
    /// Of the last frame.
    sequence: u64,
}

/// A frame whose header has come; its payload is still in the socket, or in sealed memory. Hand it to [`Receiver::read_into`],
/// [`Receiver::map_into`] or [`Receiver::refuse`]; until then its sender waits. Dropped, its connection ends.
#[must_use]
#[derive(Debug)]
pub struct Incoming {
    connection: u64,
    peer: Peer,
    len: usize,
    sealed: Option<Sealed>,
    /// Whether it counts only when it is confirmed.
    lent: bool,
    unix: bool,
    by: Instant,
    trace: Option<TraceContext>,
    token: Rc<()>,
}

impl Incoming {
    /// Whether it comes over a Unix socket, not over TCP.
    pub fn is_unix(&self) -> bool {
        self.unix
    }

    /// Who sends it; proved.
    pub fn sender(&self) -> &Name {
        &self.peer.name
    }

    /// Bytes of its payload, at most the configuration's maximum.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of a region that is the soonest mapped: more than the payload's where it can be mapped by whole huge pages.
    pub fn room(&self) -> usize {
        self.sealed.as_ref().map_or(self.len, Sealed::size)
    }

    /// Whether it can be mapped. It can be read in any case.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// The trace that it belongs to, if its sender said so.
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    fn how(&self) -> How {
        match (&self.sealed, self.lent) {
            (Some(_), _) => How::Sealed,
            (None, true) => How::Spliced,
            (None, false) => How::Inline,
        }
    }

    /// Whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A frame that is wholly here and not yet handled. Hand it to [`Receiver::handled`]; until then its sender waits.
/// Dropped, its connection ends.
#[must_use]
#[derive(Debug)]
pub struct Held {
    connection: u64,
    peer: Peer,
    lease: Option<Rc<Lease>>,
    unix: bool,
    _token: Rc<()>,
}

impl Held {
    /// Whether it came over a Unix socket, not over TCP.
    pub fn is_unix(&self) -> bool {
        self.unix
    }

    /// Who sent it; proved.
    pub fn sender(&self) -> &Name {
        &self.peer.name
    }

    /// Longest answer that its sender takes, in bytes.
    pub fn max_answer(&self) -> u64 {
        self.peer.max_answer
    }
}

/// What serving one connection came to.
enum Served {
    Nothing,
    Frame(Incoming),
    Drop,
}

impl Receiver {
    /// `listener` is the socket of [`crate::rendezvous::Published`], or one of [`tcp::Network::listen`]'s.
    pub fn new(local: &Rc<Local>, listener: impl Into<Listener>) -> Result<Self> {
        let listener = listener.into();
        listener.unblock()?;
        Ok(Self {
            local: Rc::clone(local),
            listeners: vec![listener],
            accept_from: None,
            connections: BTreeMap::new(),
            next_id: 1,
            last_served: 0,
            ready: BTreeSet::new(),
            releases: Releases::default(),
            kept: Rc::default(),
            pool: RefCell::new(Pool::new(POOL)),
            statistics: Statistics::default(),
            line: VecDeque::new(),
            max_line: None,
            stop: None,
            patience: Patience::new(),
            within: Patience::within_a_payload(),
        })
    }

    /// Takes connections from another listener too.
    pub fn listen(&mut self, listener: impl Into<Listener>) -> Result<()> {
        let listener = listener.into();
        listener.unblock()?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Lets at most `max` frames wait for their turn; what is there beyond them when one is taken is refused as busy, and its sender
    /// knows that it was not handled. Without it as many may wait as there are connections.
    pub fn refuse_beyond(&mut self, max: usize) {
        self.max_line = Some(max);
    }

    /// Lets waiting be ended from outside, such as by the handler of a signal: once `stopped` is true, which whoever has set it tells
    /// by making `wake` readable for good, [`Receiver::next`] and [`Receiver::next_while_connected`] answer `None` at once.
    pub fn stop_when(&mut self, stopped: &'static AtomicBool, wake: OwnedFd) {
        self.stop = Some(Stop { stopped, wake });
    }

    /// Whether waiting was ended from outside.
    pub fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.stopped.load(Ordering::Relaxed))
    }

    /// Ends every connection, having told its peer that what it has sent and was not handed over will not be handled: to send it
    /// again, elsewhere or later, delivers it once.
    pub fn close(&mut self) {
        self.line.clear();
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.drop_with(id, Refusal::Busy);
        }
    }

    /// Waits for the next frame of any peer, serving new connections meanwhile: `None` when `timeout` passed first;
    /// for ever without one; a timeout of zero only looks. Peers take turns.
    ///
    /// A peer's faults are no error of this call: its connection is dropped. An error is the operating system's, and
    /// the receiver stays usable.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Incoming>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut looked = false;
        loop {
            if self.is_stopped() {
                return Ok(None);
            }
            if let Some(incoming) = self.serve() {
                return Ok(Some(incoming));
            }
            if looked && until.is_some_and(|until| until <= Instant::now()) {
                return Ok(None);
            }
            self.wait(until)?;
            looked = true;
        }
    }

    /// Like [`Receiver::next`] without a timeout, but `None` as soon as no peer is connected: whoever has sent has
    /// closed.
    pub fn next_while_connected(&mut self) -> Result<Option<Incoming>> {
        loop {
            if self.is_stopped() {
                return Ok(None);
            }
            if let Some(incoming) = self.serve() {
                return Ok(Some(incoming));
            }
            if !self.connections.is_empty() {
                self.wait(None)?;
                continue;
            }
            // Someone may be waiting to be let in.
            self.wait(Some(Instant::now()))?;
            if self.connections.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Reads the payload into `region`, whose length must be [`Incoming::len`], and tells the sender that it is here. The
    /// kernel copies each byte once, from the socket's buffers or the sealed memory to the region. Takes up to the io timeout.
    ///
    /// On an error the region holds a part of the payload or nothing, the connection is dropped, and the receiver goes on
    /// with other peers.
    pub fn read_into(&mut self, incoming: Incoming, region: &mut [u8]) -> Result<Held> {
        let len = incoming.len;
        let incoming = self.of_length(incoming, region.len(), len)?;
        let read = match &incoming.sealed {
            Some(sealed) => sealed.read_into(region).map_err(|e| unmappable(&incoming.peer.name, "read", e)),
            None => self.read_inline(&incoming, region),
        };
        if let Err(error) = read {
            self.connections.remove(&incoming.connection);
            return Err(error);
        }
        let (len, how, unix) = (incoming.len, incoming.how(), incoming.unix);
        let held = self.received(incoming, None)?;
        self.statistics.count(len, len, how, unix);
        Ok(held)
    }

    /// As [`Receiver::read_into`], but a sealed payload's pages are mapped, privately, in place of those of `range`, if that begins with
    /// a page; a range that begins with a multiple of 2 MiB can have huge ones, and is the soonest mapped if it has the length of
    /// [`Incoming::room`]: what it has behind the payload is the sender's choice. What is left, and what came as bytes, is copied.
    ///
    /// Every page is there when this returns: none can raise a signal later.
    pub fn map_into(&mut self, incoming: Incoming, mut range: Range) -> Result<(Held, Mapped)> {
        let most = incoming.room();
        let incoming = self.of_length(incoming, range.len(), most)?;
        let Some(sealed) = &incoming.sealed else {
            let copied = incoming.len;
            let held = self.read_into(incoming, range.bytes_mut())?;
            return Ok((held, Mapped { mapping: None, mapped: 0, copied, lease: None }));
        };
        let placed = match sealed.map_into(range) {
            Ok(placed) => placed,
            Err(e) => {
                self.drop_with(incoming.connection, Refusal::NoRoom);
                return Err(unmappable(&incoming.peer.name, "map", e));
            }
        };
        self.statistics.count(incoming.len, placed.copied, How::Sealed, incoming.unix);
        let lease = placed.mapping.is_some().then(|| {
            Rc::new(Lease {
                connection: incoming.connection,
                sequence: incoming.peer.sequence,
                releases: Rc::clone(&self.releases),
                ended: Cell::new(false),
                told: Cell::new(false),
            })
        });
        let held = self.received(incoming, lease.clone())?;
        let Placed { mapping, mapped, copied } = placed;
        Ok((held, Mapped { mapping, mapped, copied, lease }))
    }

    /// Refuses a frame for which a region is too small, or longer than `most`.
    fn of_length(&mut self, incoming: Incoming, len: usize, most: usize) -> Result<Incoming> {
        if (incoming.len..=most).contains(&len) {
            return Ok(incoming);
        }
        self.drop_with(incoming.connection, Refusal::NoRoom);
        let message = format!("a region of {len} bytes for a payload of {}", incoming.len);
        Err(Error::new(ErrorKind::Invalid, message))
    }

    fn read_inline(&mut self, incoming: &Incoming, region: &mut [u8]) -> Result<()> {
        let name = &incoming.peer.name;
        let connection = self.connections.get_mut(&incoming.connection).ok_or_else(|| gone(name))?;
        // Where both ends hash, one that were woken for every piece would make the other wait in turn.
        let patience = if connection.link.is_authenticated() { &mut self.patience } else { &mut self.within };
        read_payload(&mut connection.link, patience, name, region, incoming.by)
    }

    /// The payload is whole: it is handed over even when its sender is no longer there to be told. Of a short one, and of sealed memory, it is
    /// told when it is handled, which spares it a waking. One that was lent is handed over only when its sender has confirmed it.
    fn received(&mut self, incoming: Incoming, lease: Option<Rc<Lease>>) -> Result<Held> {
        let Incoming { connection: id, peer, token, len, sealed, lent, by, unix, .. } = incoming;
        let held = |peer| Held { connection: id, peer, lease, unix, _token: token };
        if (len < TOLD_MIN || sealed.is_some()) && !lent {
            return Ok(held(peer));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(held(peer)) };
        let told = connection.link.send(&message(Kind::Received, 0, peer.sequence, &[])).is_ok();
        let confirmed = match lent {
            true if told => confirmed(connection, &peer, by),
            true => Err(unconfirmed(&peer.name)),
            false => Ok(()),
        };
        if !told || confirmed.is_err() {
            self.connections.remove(&id);
        }
        confirmed.map(|()| held(peer))
    }

    /// As [`Sender::prepare`](crate::Sender::prepare), for an answer.
    pub fn prepare(&mut self, len: usize) -> Result<bool> {
        self.pool.get_mut().prepare(len)
    }

    /// Bytes of sealed answers that peers have not given back.
    pub fn kept(&self) -> u64 {
        self.kept.borrow().bytes()
    }

    /// What was received whole, from all peers.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Tells senders whose memory was kept that they have it back: at once, and not with the next call.
    pub fn tell_releases(&mut self) {
        for (id, sequence) in self.releases.take() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if connection.link.send(&message(Kind::Released, 0, sequence, &[])).is_err() {
                self.connections.remove(&id);
            }
        }
    }

    /// Tells the sender that there is no room for its payload, and drops the connection. The payload will never be
    /// handed over, and the sender knows.
    pub fn refuse(&mut self, incoming: Incoming) {
        self.drop_with(incoming.connection, Refusal::NoRoom);
    }

    /// Tells the sender what its function's handler said, and sends it the handler's answer, if there is one: that takes up to the
    /// io timeout, as the sender has to read it. An error means that the sender will not know all; the payload
    /// was handled all the same. A frozen answer goes as a descriptor, as a payload would. An answer above [`Held::max_answer`] is [`ErrorKind::TooLarge`]: it is left out, and the
    /// sender knows.
    pub fn handled(&mut self, held: Held, status: Status, answer: Option<Payload<'_>>) -> Result<()> {
        self.tell_releases();
        let Held { connection: id, peer, lease, _token, .. } = held;
        let io_timeout = self.local.config().limits().io_timeout();
        let Some(connection) = self.connections.get_mut(&id) else { return Err(gone(&peer.name)) };
        let fits = answer.is_none_or(|answer| answer.len() as u64 <= peer.max_answer);
        let flags = match answer {
            None => Flags::NONE,
            Some(_) if fits => Flags::ANSWER,
            Some(_) => Flags::OMITTED,
        };
        let lease = lease.filter(|lease| !lease.ended.get());
        let flags = if lease.is_some() { flags | Flags::KEPT } else { flags };
        let payload = answer.filter(|_| fits).unwrap_or(Payload::Bytes(&[]));
        let cargo = Cargo::new(payload.into(), self.local.config().transfer(), &self.pool, 1);
        let passes = connection.link.passes_descriptors()
            && connection.kept.has_room(payload, |name, key| self.local.is_gone(name, key));
        let carriage = cargo.carriage(passes);
        let flags = if let Carriage::Sealed(_) = carriage { flags | Flags::SEALED } else { flags };
        let header = Header {
            flags,
            code: status.0,
            ..Header::new(Kind::Handled, peer.sequence, payload.len() as u64)
        };
        if let Err(error) =
            write_answer(&mut connection.link, &peer.name, &header, &cargo, &carriage, io_timeout)
        {
            self.connections.remove(&id);
            return Err(error);
        }
        if let Carriage::Sealed(frozen) = &carriage {
            connection.kept.lend(peer.sequence, frozen);
        }
        if let Some(lease) = lease {
            lease.told.set(true);
        }
        let max = peer.max_answer;
        connection.state = State::Idle { peer, by: None };
        match answer {
            Some(answer) if !fits => {
                let message = format!(
                    "an answer of {} bytes is larger than the {max} that its sender accepts",
                    answer.len()
                );
                Err(Error::new(ErrorKind::TooLarge, message))
            }
            _ => Ok(()),
        }
    }

    /// Peers that are connected now, proved or not.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Accepts whoever is waiting.
    fn accept(&mut self) -> Result<()> {
        self.accept_from = None;
        let mut index = 0;
        while let Some(listener) = self.listeners.get(index) {
            match listener.accept() {
                Ok(Some((socket, from))) => self.greet(socket, from),
                Ok(None) => {}
                Err(Errno::AGAIN) => index += 1,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    // They stay in the backlog, and the peers that are here are served meanwhile.
                    self.accept_from = Some(Instant::now() + ACCEPT_PAUSE);
                    return Ok(());
                }
                Err(e) => return Err(Error::system("accept on the listening socket", e)),
            }
        }
        Ok(())
    }

    fn greet(&mut self, link: Link, from: From) {
        let unproved = |c: &Connection| matches!(c.state, State::Greeted { .. } | State::Challenged { .. });
        let mut waiting = self.connections.iter().filter(|(_, c)| unproved(c)).map(|(id, _)| *id);
        if let Some(oldest) = waiting.next()
            && waiting.count() + 1 >= MAX_UNPROVED
        {
            self.connections.remove(&oldest);
        }
        let by = Instant::now() + HANDSHAKE;
        self.connections.insert(
            self.next_id,
            Connection { link, from, state: State::Greeted { by }, kept: Kept::new(&self.kept) },
        );
        self.next_id += 1;
    }

    /// The next frame that is there: the first in the line, where there is one.
    fn serve(&mut self) -> Option<Incoming> {
        self.tell_releases();
        let Some(max) = self.max_line else { return self.serve_next() };
        while let Some(incoming) = self.serve_next() {
            self.line.push_back(incoming);
        }
        let next = self.line.pop_front();
        for beyond in self.line.split_off(self.line.len().min(max)) {
            self.drop_with(beyond.connection, Refusal::Busy);
        }
        // From now on its sender is waited for.
        let by = Instant::now() + self.local.config().limits().io_timeout();
        next.map(|incoming| Incoming { by, ..incoming })
    }

    /// Takes every connection that is ready as far as it goes without waiting, beginning after the one that was served last.
    fn serve_next(&mut self) -> Option<Incoming> {
        let after = self.connections.range(self.last_served + 1..);
        let before = self.connections.range(..=self.last_served);
        let due =
            after.chain(before).filter(|(id, c)| self.ready.contains(id) || c.is_late() || c.is_forgotten());
        let ids: Vec<u64> = due.map(|(id, _)| *id).collect();
        for id in ids {
            self.ready.remove(&id);
            match self.serve_one(id) {
                Served::Nothing => {}
                Served::Frame(incoming) => {
                    self.last_served = id;
                    return Some(incoming);
                }
                Served::Drop => {
                    self.connections.remove(&id);
                }
            }
        }
        None
    }

    fn serve_one(&mut self, id: u64) -> Served {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return Served::Nothing };
            if let State::Busy { token, .. } = &connection.state {
                return if token.strong_count() == 0 { Served::Drop } else { Served::Nothing };
            }
            match connection.link.receive() {
                Ok(Some(mut message)) => match self.take(id, &mut message) {
                    Served::Nothing => {}
                    served => return served,
                },
                // Only now: what had arrived in time counts, however late it is looked at.
                Ok(None) => return if connection.is_late() { Served::Drop } else { Served::Nothing },
                Err(Broken::Version(_)) => return self.refused(id, Some(Refusal::Version)),
                Err(_) => return Served::Drop,
            }
        }
    }

    /// One message in one state.
    fn take(&mut self, id: u64, message: &mut Message) -> Served {
        let Some(connection) = self.connections.get_mut(&id) else { return Served::Nothing };
        match (&connection.state, message.header.kind) {
            (State::Greeted { by }, Kind::Hello) => {
                let by = *by;
                match challenge(&self.local, connection.from, &mut connection.link, message.body()) {
                    Ok((transcript, prover)) => {
                        connection.state = State::Challenged {
                            by,
                            transcript: Box::new(transcript),
                            prover: Box::new(prover),
                        }
                    }
                    Err(refusal) => return self.refused(id, refusal),
                }
            }
            (State::Challenged { transcript, prover, .. }, Kind::Proof) => {
                let proved = prover.verifies(transcript, Role::Receiver, message.body());
                let name = transcript.hello.sender.clone();
                let peer = Peer { name, max_answer: transcript.hello.max_answer, sequence: 0 };
                let keys = prover.session_keys(transcript, Role::Receiver);
                connection.kept.belongs_to(&peer.name, prover.peer_key());
                return match proved {
                    true => self.welcome(id, peer, keys),
                    false => self.refused(id, Some(Refusal::Unproved)),
                };
            }
            (State::Idle { .. }, Kind::Released) => connection.kept.give_back(message.header.sequence),
            (State::Idle { peer, .. }, Kind::Data) => {
                let peer = peer.clone();
                return self.announce(id, peer, message);
            }
            _ => return Served::Drop,
        }
        Served::Nothing
    }

    fn welcome(&mut self, id: u64, newcomer: Peer, keys: Option<[SessionKey; 2]>) -> Served {
        let names = self.connections.values().filter_map(|c| match &c.state {
            State::Idle { peer, .. } | State::Busy { peer, .. } => Some(&peer.name),
            State::Greeted { .. } | State::Challenged { .. } => None,
        });
        let (all, same) =
            names.fold((0, 0), |(all, same), n| (all + 1, same + usize::from(*n == newcomer.name)));
        if all >= MAX_CONNECTIONS || same >= MAX_PER_NAME {
            return self.refused(id, Some(Refusal::Busy));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Served::Nothing };
        if connection.link.send(&message(Kind::Welcome, 0, 0, &[])).is_err() {
            return Served::Drop;
        }
        match keys {
            Some(keys) => connection.link.authenticate(keys),
            None => connection.link.read_ahead(),
        }
        connection.state = State::Idle { peer: newcomer, by: None };
        Served::Nothing
    }

    fn announce(&mut self, id: u64, mut peer: Peer, message: &mut Message) -> Served {
        let limits = self.local.config().limits();
        if Some(message.header.sequence) != peer.sequence.checked_add(1) {
            return Served::Drop;
        }
        peer.sequence = message.header.sequence;
        let len = match usize::try_from(message.header.length) {
            Ok(len) if message.header.length <= limits.max_size() => len,
            _ => return self.refused(id, Some(Refusal::TooLarge)),
        };
        let sealed = message.descriptor.take().map(|descriptor| Sealed::check(descriptor, len)).transpose();
        let Ok(sealed) = sealed else { return self.refused(id, Some(Refusal::NotSealed)) };
        let by = Instant::now() + limits.io_timeout();
        let (token, mut unix) = (Rc::new(()), false);
        if let Some(connection) = self.connections.get_mut(&id) {
            unix = connection.from == From::Unix;
            connection.state = State::Busy { peer: peer.clone(), token: Rc::downgrade(&token) };
        }
        Served::Frame(Incoming {
            connection: id,
            peer,
            len,
            sealed,
            lent: message.header.flags.has(Flags::LENT),
            unix,
            by,
            trace: message.header.trace,
            token,
        })
    }

    /// Says why, when there is something to say, and asks for the connection to be dropped.
    fn refused(&mut self, id: u64, refusal: Option<Refusal>) -> Served {
        if let Some(refusal) = refusal {
            self.drop_with(id, refusal);
        }
        Served::Drop
    }

    fn drop_with(&mut self, id: u64, refusal: Refusal) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        let sequence = match &connection.state {
            State::Busy { peer, .. } => peer.sequence,
            _ => 0,
        };
        // A peer that does not take the reason still sees the end.
        let _ = connection.link.send(&message(Kind::Refused, refusal as i32, sequence, &[]));
    }

    /// Waits until a connection is ready, and lets in who wants to.
    fn wait(&mut self, until: Option<Instant>) -> Result<()> {
        for connection in self.connections.values_mut() {
            connection.start_clock(self.local.config().limits().io_timeout());
        }
        let listens = self.accept_from.is_none_or(|from| from <= Instant::now());
        let watched = self.connections.iter().filter(|(_, c)| !matches!(c.state, State::Busy { .. }));
        self.ready = watched.clone().filter(|(_, c)| c.link.has_unread()).map(|(id, _)| *id).collect();
        if !self.ready.is_empty() {
            return Ok(());
        }
        let by = watched.clone().filter_map(|(_, c)| c.by());
        let until = by.chain(until).chain(self.accept_from.filter(|_| !listens)).min();
        let mut sockets: Vec<_> = watched.clone().map(|(_, c)| c.link.readable()).collect();
        let connected = sockets.len();
        if listens {
            sockets.extend(self.listeners.iter().map(|listener| (listener.as_fd(), PollFlags::IN)));
        }
        let accepting = sockets.len();
        sockets.extend(self.stop.iter().map(|stop| (stop.wake.as_fd(), PollFlags::IN)));
        let ready = self.patience.wait(&sockets, until).map_err(|e| Error::system("poll", e))?;
        self.ready = watched.zip(&ready).filter(|(_, ready)| **ready).map(|((id, _), _)| *id).collect();
        if ready[connected..accepting].contains(&true) { self.accept() } else { Ok(()) }
    }
}

impl Connection {
    fn by(&self) -> Option<Instant> {
        match self.state {
            State::Greeted { by } | State::Challenged { by, .. } => Some(by),
            State::Idle { by, .. } => by,
            State::Busy { .. } => None,
        }
    }

    /// A header that has begun must end.
    fn start_clock(&mut self, io_timeout: Duration) {
        if let State::Idle { by: by @ None, .. } = &mut self.state
            && self.link.is_midway()
        {
            *by = Some(Instant::now() + io_timeout);
        }
    }

    /// Whether the frame that it is busy with was dropped.
    fn is_forgotten(&self) -> bool {
        matches!(&self.state, State::Busy { token, .. } if token.strong_count() == 0)
    }

    fn is_late(&self) -> bool {
        self.by().is_some_and(|by| by <= Instant::now())
    }
}

/// Answers a `Hello`. The error is the reason to give, if any is due.
fn challenge(
    local: &Local,
    from: From,
    link: &mut Link,
    body: &[u8],
) -> std::result::Result<(Transcript, Prover), Option<Refusal>> {
    let hello = Hello::decode(body).ok_or(None)?;
    let config = local.config();
    if hello.workflow != *config.workflow() || hello.receiver != *config.name() {
        return Err(Some(Refusal::WrongPeer));
    }
    // A folder that cannot be read just now is the sender's reason to try again.
    let prover = local.prover(from, &hello).map_err(|_| None)?.ok_or(Some(Refusal::Unproved))?;
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce).map_err(|_| None)?;
    let max_size = config.limits().max_size();
    let transcript = Transcript { hello, receiver_nonce: nonce, max_size };
    let proof = prover.prove(&transcript, Role::Receiver);
    let body = Challenge { nonce, max_size, proof }.encode();
    link.send(&message(Kind::Challenge, 0, 0, &body)).map_err(|_| None)?;
    Ok((transcript, prover))
}

fn read_payload(
    link: &mut Link,
    patience: &mut Patience,
    sender: &Name,
    region: &mut [u8],
    by: Instant,
) -> Result<()> {
    let mut filled = 0;
    loop {
        let before = filled;
        let progress = link.receive_payload(region, &mut filled).map_err(|broken| match broken {
            Broken::Call(call, e) => Error::system(format!("{call} a payload of function {sender}"), e),
            Broken::Closed | Broken::Nonsense(_) | Broken::Version(_) => {
                let total = region.len();
                let message =
                    format!("function {sender} was lost after {filled} of {total} bytes of a payload");
                Error::new(ErrorKind::Lost, message)
            }
        })?;
        if progress == Progress::Done {
            return Ok(());
        }
        // What had arrived in time counts.
        if filled == before && by <= Instant::now() {
            let total = region.len();
            let message = format!("function {sender} sent {filled} of {total} bytes of a payload in time");
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        patience.wait(&[link.readable()], Some(by)).map_err(|e| Error::system("poll", e))?;
    }
}

fn write_answer(
    link: &mut Link,
    sender: &Name,
    header: &Header,
    cargo: &Cargo<'_>,
    carriage: &Carriage,
    io_timeout: Duration,
) -> Result<()> {
    let payload = if let Carriage::Sealed(_) = carriage { &[] } else { cargo.bytes()? };
    let (mut frame, by) = (link.outbound(header, payload), Instant::now() + io_timeout);
    let write = |link: &mut Link, frame: &mut Outbound<'_>| match carriage {
        Carriage::Sealed(frozen) => link.send_descriptor(frame, frozen.as_fd()),
        Carriage::Bytes | Carriage::Spliced => link.send_frame(frame),
    };
    while write(link, &mut frame).map_err(|_| gone(sender))? == Progress::Later {
        if by <= Instant::now() {
            let (sent, total) = (frame.sent_payload(), payload.len());
            let message =
                format!("function {sender} took {sent} of {total} bytes of an answer within {io_timeout:?}");
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        wait(&[link.writable()], Some(by)).map_err(|e| Error::system("poll", e))?;
    }
    Ok(())
}

/// Waits until a payload that was lent is known not to have changed before it was here.
fn confirmed(connection: &mut Connection, peer: &Peer, by: Instant) -> Result<()> {
    loop {
        match connection.link.receive() {
            Ok(Some(message)) if message.header.kind == Kind::Released => {
                connection.kept.give_back(message.header.sequence);
            }
            Ok(Some(message)) => {
                let header = message.header;
                let meant = (header.kind, header.sequence) == (Kind::Confirmed, peer.sequence);
                return if meant { Ok(()) } else { Err(unconfirmed(&peer.name)) };
            }
            Ok(None) if by > Instant::now() => {
                wait(&[connection.link.readable()], Some(by)).map_err(|e| Error::system("poll", e))?;
            }
            Ok(None) | Err(_) => return Err(unconfirmed(&peer.name)),
        }
    }
}

fn unconfirmed(sender: &Name) -> Error {
    Error::new(ErrorKind::Lost, format!("function {sender} was lost before it had confirmed a payload"))
}

fn unmappable(sender: &Name, what: &str, e: Errno) -> Error {
    Error::system(format!("{what} a sealed payload of function {sender}"), e)
}

fn gone(sender: &Name) -> Error {
    let message = format!("function {sender} was lost before it knew that its payload was handled");
    Error::new(ErrorKind::Lost, message)
}
