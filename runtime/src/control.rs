//! The socket over which a running workflow is told of a further function, in its container's state folder.
//!
//! Init inherits it listening, and takes one packet from whoever connects (`executor_abi::request::Add`). The state folder is the
//! runtime's user's alone and lies outside of every container's root: that is what keeps others away. It goes with the folder.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use executor_abi::request::{Add, Added, MAX_PACKET};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, bind, connect, listen, recv, sendmsg, socket_with,
};

use crate::error::{Context, Error, ErrorKind, Result};

/// Its name in the state folder.
const NAME: &str = "hose.control";
/// How long loading a module may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the listening socket of the container whose state lies in `folder`.
///
/// # Errors
///
/// [`ErrorKind::Hose`].
pub(crate) fn create(folder: &Path) -> Result<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let socket = new()?;
        at(folder, |address| bind(&socket, address))?;
        listen(&socket, 1)?;
        Ok(socket)
    };
    make().context(ErrorKind::Hose, || format!("{}/{NAME}: cannot be made", folder.display()))
}

/// Tells the workflow whose container's state lies in `folder` of a function, with its compiled code.
///
/// # Errors
///
/// [`ErrorKind::Hose`]: what the workflow answers, or that it does not.
pub(crate) fn add(folder: &Path, add: &Add, code: Option<BorrowedFd<'_>>) -> Result<()> {
    match ask(folder, add, code).context(ErrorKind::Hose, || "the workflow does not answer".to_owned())? {
        Added::Joined => Ok(()),
        Added::Refused(why) => Err(Error::new(ErrorKind::Hose, why)),
    }
}

fn ask(folder: &Path, add: &Add, code: Option<BorrowedFd<'_>>) -> io::Result<Added> {
    let text = serde_json::to_vec(add)?;
    if text.len() > MAX_PACKET {
        return Err(io::Error::other(format!(
            "it takes {MAX_PACKET} bytes at once, these are {}",
            text.len()
        )));
    }
    let socket = new()?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    at(folder, |address| connect(&socket, address))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(code) = &code {
        // There is room for one.
        ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(code)));
    }
    sendmsg(&socket, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut answer = vec![0; MAX_PACKET];
    let (received, _) = rustix::io::retry_on_intr(|| recv(&socket, &mut answer[..], RecvFlags::empty()))?;
    if received == 0 {
        return Err(io::Error::other("it has ended"));
    }
    Ok(serde_json::from_slice(&answer[..received])?)
}

fn new() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Through procfs, because the folder's own path may be too long for `sun_path` (unix(7)).
fn at<R>(folder: &Path, with: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<R>) -> io::Result<R> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))?;
    Ok(with(&address)?)
}
