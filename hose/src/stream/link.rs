//! One connected socket, and the only place where EINTR, EAGAIN and short transfers are dealt with.
//!
//! Descriptors are taken only with what goes through the inbox, one at most; the kernel closes what comes with a payload.
//!
//! Nothing here blocks but [`wait`]. A link never reads further than the message that is being read, so that the bytes
//! of a payload stay in the socket until there is a region to put them into.

use std::borrow::Cow;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg,
};

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

#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    inbox: Box<[u8; HEADER_LEN + MAX_BODY]>,
    filled: usize,
    /// Whether the socket can pass descriptors.
    passes: bool,
    /// Which came with what is in the inbox.
    descriptor: Option<OwnedFd>,
}

impl Link {
    /// `socket` must be non-blocking.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let inbox = Box::new([0; HEADER_LEN + MAX_BODY]);
        Self { socket, inbox, filled: 0, passes: false, descriptor: None }
    }

    /// For a Unix socket.
    pub(crate) fn passing_descriptors(socket: OwnedFd) -> Self {
        Self { passes: true, ..Self::new(socket) }
    }

    pub(crate) fn passes_descriptors(&self) -> bool {
        self.passes
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
        if self.fill(HEADER_LEN)? == Progress::Later {
            return Ok(None);
        }
        let mut head = [0; HEADER_LEN];
        head.copy_from_slice(&self.inbox[..HEADER_LEN]);
        let header = Header::decode(&head).map_err(|e| match e {
            Malformed::Version(_) => Broken::Version(e.text()),
            Malformed::Other(_) => Broken::Nonsense(e.text()),
        })?;
        if header.flags.has(Flags::SEALED) != self.descriptor.is_some() {
            return Err(Broken::Nonsense(
                "a descriptor without its frame, or a frame without its descriptor".into(),
            ));
        }
        if !header.kind.has_payload() && self.fill(HEADER_LEN + header.length as usize)? == Progress::Later {
            return Ok(None);
        }
        self.filled = 0;
        let mut body = [0; MAX_BODY];
        body.copy_from_slice(&self.inbox[HEADER_LEN..]);
        Ok(Some(Message { header, descriptor: self.descriptor.take(), body }))
    }

    fn fill(&mut self, until: usize) -> Result<Progress, Broken> {
        while self.filled < until {
            let room = &mut self.inbox[self.filled..until];
            let read = match self.passes {
                true => read_with_descriptor(self.socket.as_fd(), room, &mut self.descriptor)?,
                false => read(self.socket.as_fd(), room)?,
            };
            match read {
                Some(n) => self.filled += n,
                None => return Ok(Progress::Later),
            }
        }
        Ok(Progress::Done)
    }

    /// Reads payload into `region` from `filled` on.
    pub(crate) fn receive_payload(
        &mut self,
        region: &mut [u8],
        filled: &mut usize,
    ) -> Result<Progress, Broken> {
        while *filled < region.len() {
            match read(self.socket.as_fd(), &mut region[*filled..])? {
                Some(n) => *filled += n,
                None => return Ok(Progress::Later),
            }
        }
        Ok(Progress::Done)
    }

    /// Sends a message without payload. A peer that leaves so much unread that a few hundred bytes do not fit is at
    /// fault: no end that keeps to the protocol has more than two such messages under way.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        loop {
            return match send(&self.socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(n) if n == message.len() => Ok(()),
                Ok(_) | Err(Errno::AGAIN) => Err(Broken::Nonsense("no reads, only writes".into())),
                Err(Errno::INTR) => continue,
                Err(e) => Err(broken("send", e)),
            };
        }
    }

    /// Sends a header and its payload, of which `sent` bytes together have been sent already.
    pub(crate) fn send_frame(
        &mut self,
        header: &[u8; HEADER_LEN],
        payload: &[u8],
        sent: &mut usize,
    ) -> Result<Progress, Broken> {
        while *sent < HEADER_LEN + payload.len() {
            let parts = [
                IoSlice::new(&header[(*sent).min(HEADER_LEN)..]),
                IoSlice::new(&payload[sent.saturating_sub(HEADER_LEN)..]),
            ];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
                Ok(n) => *sent += n,
                Err(Errno::AGAIN) => return Ok(Progress::Later),
                Err(Errno::INTR) => {}
                Err(e) => return Err(broken("sendmsg", e)),
            }
        }
        Ok(Progress::Done)
    }

    /// Sends a header with a descriptor in place of its payload.
    pub(crate) fn send_descriptor(
        &mut self,
        header: &[u8; HEADER_LEN],
        descriptor: BorrowedFd<'_>,
        sent: &mut usize,
    ) -> Result<Progress, Broken> {
        if *sent == 0 {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let descriptors = [descriptor];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // There is room for one.
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            *sent = loop {
                match sendmsg(&self.socket, &[IoSlice::new(header)], &mut control, flags) {
                    Ok(n) => break n,
                    // ETOOMANYREFS: too many are under way, of all processes of this user.
                    Err(Errno::AGAIN) => return Ok(Progress::Later),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(broken("sendmsg", e)),
                }
            };
        }
        self.send_frame(header, &[], sent)
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

/// The same, with the descriptor that may come along. A second one is nonsense, and so are more than there is room for; none of
/// them stays open.
fn read_with_descriptor(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptor: &mut Option<OwnedFd>,
) -> Result<Option<usize>, Broken> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
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
    let more = came.count() > 0 || received.flags.contains(ReturnFlags::CTRUNC);
    if more || (first.is_some() && descriptor.is_some()) {
        return Err(Broken::Nonsense("more descriptors than one".into()));
    }
    if first.is_some() {
        *descriptor = first;
    }
    match received.bytes {
        0 => Err(Broken::Closed),
        n => Ok(Some(n)),
    }
}

fn broken(call: &'static str, e: Errno) -> Broken {
    match e {
        Errno::PIPE | Errno::CONNRESET => Broken::Closed,
        e => Broken::Call(call, e.into()),
    }
}

/// Waits until one of the sockets is ready or `until` has come; for ever without one.
pub(crate) fn wait(sockets: &[(BorrowedFd<'_>, PollFlags)], until: Option<Instant>) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> =
        sockets.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    loop {
        let timeout = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    // Timeouts are a day at most (`config::MAX_TIMEOUT`); a caller's own may be longer.
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
