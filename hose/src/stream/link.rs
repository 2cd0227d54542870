//! One connected socket, and the only place where EINTR, EAGAIN and short transfers are dealt with.
//!
//! Descriptors are taken only with what goes through the inbox, one at most; the kernel closes what comes with a payload.
//!
//! Nothing here blocks but [`wait`]. A link reads no further than the message that is being read, so that the bytes
//! of a payload stay in the socket until there is a region to put them into: but for a page, after [`Link::read_ahead`].

use std::borrow::Cow;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg,
};

use super::lent::{Lent, Pipe};
use super::tags::{CHUNK, SessionKey, TAG_LEN, Tag, Tags};
use super::wire::{Flags, HEADER_LEN, Header, MAX_BODY, Malformed};

/// Why a link is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer has closed, or is gone.
    Closed,
    /// The peer sent nonsense: what it was.
    Nonsense(Cow<'static, str>),
    /// The peer speaks another version of the protocol.
    Version(Cow<'static, str>),
    /// A call failed.
    Call(&'static str, io::Error),
}

/// Whether a call got anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// Not before the socket is ready again.
    Later,
}

/// A whole message; its payload is still in the socket.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Header,
    /// With [`Flags::SEALED`], and only then.
    pub(crate) descriptor: Option<OwnedFd>,
    body: [u8; MAX_BODY],
}

impl Message {
    pub(crate) fn body(&self) -> &[u8] {
        match self.header.kind {
            kind if kind.has_payload() => &[],
            _ => &self.body[..self.header.length as usize],
        }
    }
}

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    head: Vec<u8>,
    payload: &'a [u8],
    /// Set when the payload's pages are lent, not copied.
    lent: Option<Lent<'a>>,
    /// Of the payload, as far as `hashed`; it is in the tail when all is.
    tag: Option<Tag>,
    hashed: usize,
    tail: Vec<u8>,
    /// Bytes of head, payload and tail that the socket has.
    sent: usize,
}

impl Outbound<'_> {
    /// Bytes that the socket has.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Bytes of the payload that the socket has.
    pub(crate) fn sent_payload(&self) -> usize {
        self.sent.saturating_sub(self.head.len()).min(self.payload.len())
    }

    /// The tag's, which is in the tail or will be.
    fn tail_len(&self) -> usize {
        if self.tag.is_some() { TAG_LEN } else { self.tail.len() }
    }

    fn total(&self) -> usize {
        self.head.len() + self.payload.len() + self.tail_len()
    }

    /// Hashes the next chunk, if less than `lead` bytes are hashed that the socket has not got. Whether it did.
    fn hash_within(&mut self, lead: usize) -> bool {
        let (len, sent) = (self.payload.len(), self.sent_payload());
        let Some(tag) = &mut self.tag else { return false };
        let hashes = self.hashed < len && self.hashed - sent < lead;
        if hashes {
            let end = len.min(self.hashed + CHUNK);
            tag.update(&self.payload[self.hashed..end]);
            self.hashed = end;
        }
        hashes
    }

    /// Sees to it that the next bytes of the payload may go: up to where.
    fn hash_ahead(&mut self) -> usize {
        let len = self.payload.len();
        self.hash_within(CHUNK / 2);
        if self.tail_len() == 0 {
            return len;
        }
        if let Some(tag) = self.tag.take_if(|_| self.hashed == len) {
            self.tail = tag.finish().to_vec();
        }
        self.hashed
    }
}

/// How far hashing may be ahead of sending: what is sent shall still be in a cache.
const LEAD: usize = 2 * CHUNK;

/// Bytes that are read from TCP in one call. A call has the socket for itself while it copies, and acknowledges what has come meanwhile when it is
/// done: with ever so many at once the sender waits for room, with few it is the sender's processor that does all of the receiver's part of the protocol.
/// Of a bare pair's throughput, 100 MB, over a veth and over loopback: 0.70 and 0.86 with 32 KiB, 0.99 and 1.07 with these, 0.95 and 0.99 without a
/// limit. A Unix socket has no such lock, and is read as far as it goes.
const AT_ONCE: usize = CHUNK;

/// The tag of a payload that is being received.
#[derive(Debug)]
struct Incoming {
    tag: Tag,
    /// Bytes that it covers.
    hashed: usize,
}

impl Incoming {
    /// Whole chunks only: the hash is much faster on them.
    fn hash(&mut self, received: &[u8]) {
        while received.len() - self.hashed >= CHUNK {
            self.tag.update(&received[self.hashed..self.hashed + CHUNK]);
            self.hashed += CHUNK;
        }
    }

    fn hash_rest(&mut self, received: &[u8]) {
        self.tag.update(&received[self.hashed..]);
        self.hashed = received.len();
    }
}

/// Bytes that have come with a header: a short payload is read in the same call.
#[derive(Debug)]
struct Ahead {
    bytes: Box<[u8; AHEAD]>,
    unread: Range<usize>,
}

/// A page: a longer payload has more to wait for than a call.
const AHEAD: usize = 4096;

impl Ahead {
    /// Moves what is there, as far as it goes; says how much.
    fn take(&mut self, room: &mut [u8]) -> usize {
        let len = room.len().min(self.unread.len());
        room[..len].copy_from_slice(&self.bytes[self.unread.start..self.unread.start + len]);
        self.unread.start += len;
        len
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    inbox: Box<[u8; HEADER_LEN + TAG_LEN + MAX_BODY]>,
    filled: usize,
    /// What was read beyond a header, where that is done.
    ahead: Option<Ahead>,
    /// Whether the socket can pass descriptors.
    passes: bool,
    /// Which came with what is in the inbox.
    descriptor: Option<OwnedFd>,
    /// Whether there were more, which are closed.
    surplus: bool,
    /// To send with, and to receive with.
    tags: Option<Box<[Tags; 2]>>,
    /// Of the payload that is being received.
    incoming: Option<Incoming>,
    pipe: Option<Pipe>,
}

impl Link {
    /// `socket` must be non-blocking.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            inbox: Box::new([0; HEADER_LEN + TAG_LEN + MAX_BODY]),
            filled: 0,
            ahead: None,
            passes: false,
            descriptor: None,
            surplus: false,
            tags: None,
            incoming: None,
            pipe: None,
        }
    }

    /// For a Unix socket.
    pub(crate) fn passing_descriptors(socket: OwnedFd) -> Self {
        Self { passes: true, ..Self::new(socket) }
    }

    /// From here on a header is read with what comes behind it. Not for a handshake, nor where everything is tagged. Whoever waits for the socket has
    /// to ask for [`Link::has_unread`] first.
    pub(crate) fn read_ahead(&mut self) {
        self.ahead.get_or_insert_with(|| Ahead { bytes: Box::new([0; AHEAD]), unread: 0..0 });
    }

    /// Whether there is something that the socket does not tell of any more.
    pub(crate) fn has_unread(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.unread.is_empty())
    }

    pub(crate) fn passes_descriptors(&self) -> bool {
        self.passes
    }

    /// From here on everything is tagged; with these keys, to send with and to receive with.
    pub(crate) fn authenticate(&mut self, keys: [SessionKey; 2]) {
        self.tags = Some(Box::new(keys.map(Tags::new)));
    }

    /// Whether everything is tagged.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.tags.is_some()
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// To [`wait`] for something to read.
    pub(crate) fn readable(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.socket.as_fd(), PollFlags::IN)
    }

    /// To [`wait`] for room to write.
    pub(crate) fn writable(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.socket.as_fd(), PollFlags::OUT)
    }

    /// Whether a message has begun to arrive.
    pub(crate) fn is_midway(&self) -> bool {
        self.filled > 0
    }

    /// The next message, if all of it (but a payload) is here.
    pub(crate) fn receive(&mut self) -> Result<Option<Message>, Broken> {
        let tag_len = if self.tags.is_some() { TAG_LEN } else { 0 };
        if self.fill(HEADER_LEN + tag_len)? == Progress::Later {
            return Ok(None);
        }
        let mut head = [0; HEADER_LEN];
        head.copy_from_slice(&self.inbox[..HEADER_LEN]);
        let header = Header::decode(&head).map_err(|e| match e {
            Malformed::Version(_) => Broken::Version(e.text()),
            Malformed::Other(_) => Broken::Nonsense(e.text()),
        })?;
        let descriptor = self.descriptor_of(&header)?;
        let length = header.length;
        if !header.kind.has_payload() && length > 0 {
            // Only in the handshake.
            if self.tags.is_some() {
                return Err(nonsense("a message out of order"));
            }
            if self.fill(HEADER_LEN + length as usize)? == Progress::Later {
                return Ok(None);
            }
        }
        if let Some(tags) = &mut self.tags {
            let mut tag = [0; TAG_LEN];
            tag.copy_from_slice(&self.inbox[HEADER_LEN..HEADER_LEN + TAG_LEN]);
            if !tags[1].tag(&head).is(&tag) {
                return Err(nonsense("a header that is not authentic"));
            }
            self.incoming = (header.kind.has_payload() && length > 0)
                .then(|| Incoming { tag: tags[1].begin(), hashed: 0 });
        }
        self.filled = 0;
        let mut body = [0; MAX_BODY];
        body.copy_from_slice(&self.inbox[HEADER_LEN..HEADER_LEN + MAX_BODY]);
        Ok(Some(Message { header, descriptor, body }))
    }

    /// The descriptor of a message. One that was read with it and is not its own came with what is behind it: with a payload, then it is closed
    /// as it is when that is read, or with another message.
    fn descriptor_of(&mut self, header: &Header) -> Result<Option<OwnedFd>, Broken> {
        let unread = self.ahead.as_ref().map_or(0, |ahead| ahead.unread.len() as u64);
        if header.flags.has(Flags::SEALED) {
            let descriptor = self.descriptor.take().filter(|_| !self.surplus);
            return descriptor
                .map(Some)
                .ok_or_else(|| nonsense("a frame with more than its descriptor, or less"));
        }
        if self.descriptor.is_some() && unread == 0 {
            return Err(nonsense("a descriptor without its frame"));
        }
        if header.kind.has_payload() && (1..=header.length).contains(&unread) {
            self.descriptor = None;
            self.surplus = false;
        }
        Ok(None)
    }

    fn fill(&mut self, until: usize) -> Result<Progress, Broken> {
        while self.filled < until {
            let room = &mut self.inbox[self.filled..until];
            let wanted = room.len();
            let taken = self.ahead.as_mut().map_or(0, |ahead| ahead.take(room));
            if taken > 0 {
                self.filled += taken;
                continue;
            }
            let mut parts = [IoSliceMut::new(room), IoSliceMut::new(&mut [])];
            let [_, behind] = &mut parts;
            if let Some(ahead) = &mut self.ahead {
                *behind = IoSliceMut::new(&mut ahead.bytes[..]);
            }
            let read = read_parts(self.socket.as_fd(), &mut parts, self.passes)?;
            let Some((n, came)) = read else { return Ok(Progress::Later) };
            self.surplus |= came.surplus || (came.first.is_some() && self.descriptor.is_some());
            self.descriptor = came.first.or(self.descriptor.take());
            if self.surplus && n <= wanted {
                return Err(nonsense("more descriptors than one"));
            }
            self.filled += n.min(wanted);
            if let Some(ahead) = &mut self.ahead {
                ahead.unread = 0..n.saturating_sub(wanted);
            }
        }
        Ok(Progress::Done)
    }

    /// Reads payload into `region` from `filled` on. Done is only what is authentic, where that can be known.
    pub(crate) fn receive_payload(
        &mut self,
        region: &mut [u8],
        filled: &mut usize,
    ) -> Result<Progress, Broken> {
        while *filled < region.len() {
            // What is hashed is read as far as it will be hashed next: it is in a cache then, and the peer goes on writing meanwhile.
            let end = self.incoming.as_ref().map_or(region.len(), |i| region.len().min(i.hashed + CHUNK));
            let end = if self.passes { end } else { end.min(*filled + AT_ONCE) };
            let room = &mut region[*filled..end];
            let wanted = room.len();
            let taken = self.ahead.as_mut().map_or(0, |ahead| ahead.take(room));
            if taken > 0 {
                *filled += taken;
                continue;
            }
            let Some(n) = read(self.socket.as_fd(), room)? else { return Ok(Progress::Later) };
            *filled += n;
            if let Some(incoming) = &mut self.incoming {
                incoming.hash(&region[..*filled]);
            }
            // What was there is read: asking again would only say so.
            if n < wanted {
                return Ok(Progress::Later);
            }
        }
        if self.incoming.is_some() && self.fill(TAG_LEN)? == Progress::Later {
            return Ok(Progress::Later);
        }
        if let Some(mut incoming) = self.incoming.take() {
            self.filled = 0;
            let mut tag = [0; TAG_LEN];
            tag.copy_from_slice(&self.inbox[..TAG_LEN]);
            incoming.hash_rest(region);
            if !incoming.tag.is(&tag) {
                return Err(nonsense("a payload that is not authentic"));
            }
        }
        Ok(Progress::Done)
    }

    /// Sends a message without payload. A peer that leaves so much unread that a few hundred bytes do not fit is at
    /// fault: no end that keeps to the protocol has more than a few such messages under way.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        let tag = self.tags.as_mut().map_or(Vec::new(), |tags| tags[0].tag(message).finish().to_vec());
        let message = [message, &tag].concat();
        loop {
            return match send(&self.socket, &message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) if n == message.len() => Ok(()),
                Ok(_) | Err(Errno::AGAIN) => Err(nonsense("no reads, only writes")),
                Err(Errno::INTR) => continue,
                Err(e) => Err(broken("send", e)),
            };
        }
    }

    /// A frame to send with [`Link::send_frame`]; `payload` is empty for one whose payload is a descriptor.
    pub(crate) fn outbound<'a>(&mut self, header: &Header, payload: &'a [u8]) -> Outbound<'a> {
        let mut head = header.encode().to_vec();
        let mut tag = None;
        if let Some(tags) = &mut self.tags {
            let of_head = tags[0].tag(&head).finish();
            head.extend_from_slice(&of_head);
            tag = (!payload.is_empty()).then(|| tags[0].begin());
        }
        let lent = header.flags.has(Flags::LENT).then(|| Lent::new(payload));
        Outbound { head, payload, lent, tag, hashed: 0, tail: Vec::new(), sent: 0 }
    }

    /// Whether pages can be lent on this connection.
    pub(crate) fn can_lend(&mut self) -> bool {
        if self.pipe.is_none() && !self.passes {
            self.pipe = Pipe::new().ok();
        }
        self.pipe.is_some()
    }

    /// Sends of a frame what can be sent.
    pub(crate) fn send_frame(&mut self, frame: &mut Outbound<'_>) -> Result<Progress, Broken> {
        while frame.sent < frame.total() {
            let ready = frame.hash_ahead();
            let payload = frame.head.len()..frame.head.len() + frame.payload.len();
            let more = frame.tail_len() > 0;
            let progress = match (&mut frame.lent, &self.pipe) {
                (Some(lent), Some(pipe)) if payload.contains(&frame.sent) => {
                    let progress = lent.advance(pipe, self.socket.as_fd(), ready, more);
                    frame.sent = payload.start + lent.sent();
                    progress?
                }
                _ => self.copy_out(frame, ready)?,
            };
            // While the peer reads and hashes, this end hashes too: were it asleep, the two would take turns for good.
            if progress == Progress::Later && !frame.hash_within(LEAD) {
                return Ok(Progress::Later);
            }
        }
        Ok(Progress::Done)
    }

    /// One `sendmsg` of what is next: of the payload up to `ready`, or nothing of it if that is lent.
    fn copy_out(&self, frame: &mut Outbound<'_>, ready: usize) -> Result<Progress, Broken> {
        let (head, end) = (frame.head.len(), frame.head.len() + frame.payload.len());
        let lends = frame.lent.is_some() && frame.sent < end;
        let (from, to) = (frame.sent_payload(), if lends { frame.sent_payload() } else { ready });
        // The tail may go when all of the payload is before it.
        let tail = if !lends && ready == frame.payload.len() {
            &frame.tail[frame.sent.saturating_sub(end)..]
        } else {
            &[]
        };
        let before = frame.sent;
        let parts = [
            IoSlice::new(&frame.head[frame.sent.min(head)..]),
            IoSlice::new(&frame.payload[from..to]),
            IoSlice::new(tail),
        ];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let flags = if lends { flags | SendFlags::MORE } else { flags };
        match sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
            Ok(n) => frame.sent += n,
            Err(Errno::AGAIN) => return Ok(Progress::Later),
            Err(Errno::INTR) => return Ok(Progress::Done),
            Err(e) => return Err(broken("sendmsg", e)),
        }
        // There was no room for more: asking again would only say so.
        let offered: usize = parts.iter().map(|part| part.len()).sum();
        Ok(if frame.sent - before < offered { Progress::Later } else { Progress::Done })
    }

    /// Sends of a frame without payload what can be sent, its first byte with a descriptor.
    pub(crate) fn send_descriptor(
        &mut self,
        frame: &mut Outbound<'_>,
        descriptor: BorrowedFd<'_>,
    ) -> Result<Progress, Broken> {
        if frame.sent == 0 {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let descriptors = [descriptor];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // There is room for one.
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            frame.sent = loop {
                match sendmsg(&self.socket, &[IoSlice::new(&frame.head)], &mut control, flags) {
                    Ok(n) => break n,
                    Err(Errno::AGAIN) => return Ok(Progress::Later),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(broken("sendmsg", e)),
                }
            };
        }
        self.send_frame(frame)
    }
}

/// Reads at least one byte: `None` when there is none yet.
fn read(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<usize>, Broken> {
    loop {
        return match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(Broken::Closed),
            Ok((n, _)) => Ok(Some(n)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::INTR) => continue,
            Err(e) => Err(broken("recv", e)),
        };
    }
}

/// What came along with bytes.
#[derive(Debug)]
struct Came {
    first: Option<OwnedFd>,
    /// Whether there were further ones, of which none is open any more.
    surplus: bool,
}

/// The same in parts, with the descriptor that may come along where the socket `passes` such.
fn read_parts(
    socket: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    passes: bool,
) -> Result<Option<(usize, Came)>, Broken> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(if passes { &mut space[..] } else { &mut [] });
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(socket, parts, &mut control, flags) {
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(e) => return Err(broken("recvmsg", e)),
            Ok(received) => break received,
        }
    };
    let mut came = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut came = came.by_ref().flatten();
    let first = came.next();
    let surplus = came.count() > 0 || received.flags.contains(ReturnFlags::CTRUNC);
    match received.bytes {
        0 => Err(Broken::Closed),
        n => Ok(Some((n, Came { first, surplus }))),
    }
}

fn nonsense(what: &'static str) -> Broken {
    Broken::Nonsense(what.into())
}

pub(super) fn broken(call: &'static str, e: Errno) -> Broken {
    match e {
        Errno::PIPE | Errno::CONNRESET => Broken::Closed,
        e => Broken::Call(call, e.into()),
    }
}

/// Waits until one of the sockets is ready or `until` has come; for ever without one. Which are ready.
pub(crate) fn wait(sockets: &[(BorrowedFd<'_>, PollFlags)], until: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut fds = watched(sockets);
    loop {
        let timeout = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => return Ok(ready(&fds)),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// As [`wait`], but without sleeping: `None` when none was ready until then.
pub(super) fn look(sockets: &[(BorrowedFd<'_>, PollFlags)], until: Instant) -> io::Result<Option<Vec<bool>>> {
    let mut fds = watched(sockets);
    loop {
        match poll(&mut fds, Some(&timespec(Duration::ZERO))) {
            Ok(0) | Err(Errno::INTR) if Instant::now() >= until => return Ok(None),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(Some(ready(&fds))),
            Err(e) => return Err(e.into()),
        }
    }
}

fn watched<'a>(sockets: &'a [(BorrowedFd<'a>, PollFlags)]) -> Vec<PollFd<'a>> {
    sockets.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect()
}

fn ready(fds: &[PollFd<'_>]) -> Vec<bool> {
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

fn timespec(duration: Duration) -> Timespec {
    // Timeouts are a day at most (`config::MAX_TIMEOUT`); a caller's own may be longer.
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
