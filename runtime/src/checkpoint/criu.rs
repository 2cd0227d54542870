//! A conversation with criu(8): one process of `criu swrk`, a request, and what it tells on the way to its answer.
//!
//! The messages are those of criu's `rpc.proto` (<https://criu.org/RPC>), each of them one packet.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use protobuf::{Message as _, MessageField};
use rust_criu::rust_criu_protobuf::rpc::{
    Criu_features, Criu_notify, Criu_opts, Criu_req, Criu_req_type, Criu_resp,
};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown, SocketFlags,
    SocketType,
};

use crate::detach::mark_close_on_exec;
use crate::error::{Context, Error, ErrorKind, Result};

/// The program, which is looked for in `PATH`.
const PROGRAM: &str = "criu";
/// Longer than any answer that criu gives.
const LONGEST: usize = 64 << 10;

/// A criu at work. When this is dropped it has ended.
#[derive(Debug)]
pub(super) struct Criu {
    process: Child,
    socket: OwnedFd,
}

/// What criu's own standard streams are, which it gives to a process that it restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// `/dev/null`.
    None,
    /// This process's.
    Ours,
}

impl Criu {
    /// Starts it. It inherits `passed`, each under its own number, and nothing else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Container`] when there is no criu.
    pub(super) fn start(streams: Streams, passed: &[BorrowedFd<'_>]) -> Result<Self> {
        let failed = || "criu: cannot be started".to_owned();
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .context(ErrorKind::System, failed)?;
        mark_close_on_exec(3);
        for fd in passed.iter().copied().chain([theirs.as_fd()]) {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).context(ErrorKind::System, failed)?;
        }
        let mut command = Command::new(PROGRAM);
        command.args(["swrk", &theirs.as_raw_fd().to_string()]);
        if streams == Streams::None {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let process = command.spawn().context(ErrorKind::Container, failed)?;
        Ok(Self { process, socket })
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Asks, lets `hear` act on each notification, with the descriptor that may come with it, and gives the answer.
    ///
    /// # Errors
    ///
    /// What `hear` failed by, upon which criu gives up; [`ErrorKind::Container`] in runc's words when criu failed itself.
    pub(super) fn ask(
        &mut self,
        request: &Criu_req,
        hear: &mut dyn FnMut(&Criu_notify, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Criu_resp> {
        self.say(request)?;
        let mut refused = None;
        loop {
            let (answer, descriptor) = self.listen()?;
            let kind = answer.type_();
            if !answer.success() {
                let failed = || failed(format!("criu failed: type {kind:?} errno {}", answer.cr_errno()));
                return Err(refused.take().unwrap_or_else(failed));
            }
            if kind != Criu_req_type::NOTIFY {
                let expected = kind == request.type_();
                return if expected { Ok(answer) } else { Err(failed(format!("criu: answers {kind:?}"))) };
            }
            tracing::debug!("criu: notify: {}", answer.notify.script());
            let heard = hear(&answer.notify, descriptor);
            let mut reply = asking(Criu_req_type::NOTIFY);
            reply.notify_success = Some(heard.is_ok());
            refused = heard.err();
            self.say(&reply)?;
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Container`] when it ended with another code than 0.
    pub(super) fn end(mut self) -> Result<()> {
        match self.hang_up() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(format!("criu failed: {status}"))),
            Err(error) => Err(Error::with_source(ErrorKind::System, "wait for criu", error)),
        }
    }

    fn hang_up(&mut self) -> std::io::Result<std::process::ExitStatus> {
        // It may have done so first.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        self.process.wait()
    }

    fn say(&self, request: &Criu_req) -> Result<()> {
        let failed = || "criu: request: cannot be sent".to_owned();
        let packet = request.write_to_bytes().context(ErrorKind::Container, failed)?;
        match rustix::net::send(&self.socket, &packet, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(gone()),
            Err(error) => Err(error).context(ErrorKind::Container, failed),
        }
    }

    fn listen(&self) -> Result<(Criu_resp, Option<OwnedFd>)> {
        let broken = || "criu: answer: cannot be read".to_owned();
        let mut packet = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let packets = &mut [IoSliceMut::new(&mut packet)];
            rustix::net::recvmsg(&self.socket, packets, &mut control, RecvFlags::CMSG_CLOEXEC)
        })
        .map(|received| received.bytes);
        let length = match received {
            // What it had not read when it ended makes the difference.
            Ok(0) | Err(Errno::CONNRESET) => return Err(gone()),
            received => received.context(ErrorKind::Container, broken)?,
        };
        let answer = Criu_resp::parse_from_bytes(&packet[..length]).context(ErrorKind::Container, broken)?;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((answer, descriptor))
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        // What it was asked for has been answered, or has failed, which is what is told.
        let _ = self.hang_up();
    }
}

fn gone() -> Error {
    failed("criu: has ended without an answer".to_owned())
}

fn failed(message: String) -> Error {
    Error::new(ErrorKind::Container, message)
}

fn asking(kind: Criu_req_type) -> Criu_req {
    Criu_req { type_: Some(kind.into()), ..Criu_req::default() }
}

/// A request with options.
pub(super) fn request(kind: Criu_req_type, options: Criu_opts) -> Criu_req {
    Criu_req { opts: MessageField::some(options), ..asking(kind) }
}

/// Asks a criu of its own.
fn ask_once(request: &Criu_req) -> Result<Criu_resp> {
    let mut criu = Criu::start(Streams::None, &[])?;
    criu.ask(request, &mut |_, _| Ok(()))
}

/// The version of criu that is installed, as runc counts it: 4.2.1 is 40201. One that is built of a checkout counts as the next minor.
///
/// # Errors
///
/// [`ErrorKind::Container`] when there is none.
pub(super) fn version() -> Result<u32> {
    let answer = ask_once(&asking(Criu_req_type::VERSION));
    let answer = answer.context(ErrorKind::Container, || "CRIU version check failed".to_owned())?;
    let version = &answer.version;
    let [major, minor, sublevel] = [version.major_number(), version.minor_number(), version.sublevel()]
        .map(|number| u32::try_from(number).unwrap_or(0));
    let (minor, sublevel) = if version.gitid.is_some() { (minor + 1, 0) } else { (minor, sublevel) };
    Ok(major * 10_000 + minor * 100 + sublevel)
}

/// What criu, or the kernel below it, may lack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feature {
    /// Pages that were written to since are known (soft-dirty).
    MemTrack,
    /// Pages are brought when they are touched (userfaultfd(2)).
    LazyPages,
}

impl Feature {
    /// Checks that it is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Container`], in runc's words.
    pub(super) fn check(self) -> Result<()> {
        let mut wanted = Criu_features::default();
        match self {
            Self::MemTrack => wanted.mem_track = Some(true),
            Self::LazyPages => wanted.lazy_pages = Some(true),
        }
        let mut request = asking(Criu_req_type::FEATURE_CHECK);
        request.features = MessageField::some(wanted);
        let answer =
            ask_once(&request).context(ErrorKind::Container, || "CRIU feature check failed".to_owned())?;
        let has = match self {
            Self::MemTrack => answer.features.mem_track,
            Self::LazyPages => answer.features.lazy_pages,
        };
        if has == Some(false) {
            return Err(failed(format!("criu is missing features: [{self:?}]")));
        }
        Ok(())
    }
}
