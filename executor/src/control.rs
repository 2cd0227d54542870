//! Functions that are added to a running workflow, over a socket that only the runtime reaches.
//!
//! ```text
//! rr-runtime hose add ── Add, and compiled code ──► a thread of this process: loads it, as `create` does ──► joins the workflow
//!                     ◄───────── Added ────────────
//! ```
//!
//! The socket listens in the container's state folder, which is the runtime's user's alone and no part of the container's root: who can
//! connect is who could have written the annotations. What comes over it is checked as those are, all the same, and the module is read
//! in here, with the container's privileges.
//!
//! One connection at a time, one packet each way: `executor_abi::request` has both.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use executor_abi::request::{Add, Added, MAX_PACKET};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags,
    accept_with, recvmsg, sendmsg,
};

use crate::error::{Error, ErrorKind, Result};
use crate::prepare::{Loader, names};
use crate::process;
use crate::workflow::{self, Workflow};

/// Bytes of the stack on which modules are parsed.
const STACK: usize = 8 << 20;
/// How long a connection may take for its packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes further functions from `socket` for as long as the process lives. Where there can be no thread nothing listens, and who
/// connects is refused.
pub(crate) fn listen(socket: OwnedFd, loader: Loader, workflow: Arc<Workflow>) {
    let serve = move || {
        loop {
            match accept_with(&socket, SocketFlags::CLOEXEC) {
                Ok(connection) => answer(&connection, &loader, &workflow),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // The container's own profile may forbid it.
                Err(_) => return,
            }
        }
    };
    let _ = std::thread::Builder::new().name("control".to_owned()).stack_size(STACK).spawn(serve);
}

fn answer(connection: &OwnedFd, loader: &Loader, workflow: &Arc<Workflow>) {
    let added = receive(connection).and_then(|(add, code)| take(&add, code, loader, workflow));
    let added = added.map_or_else(|error| Added::Refused(error.report()), |()| Added::Joined);
    if let Ok(text) = serde_json::to_vec(&added) {
        // Who has asked may be gone: the workflow is what it is by now.
        let _ = sendmsg(
            connection,
            &[IoSlice::new(&text)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }
}

fn receive(connection: &OwnedFd) -> Result<(Add, Option<OwnedFd>)> {
    let failed = |error| Error::with(ErrorKind::System, "control socket", std::io::Error::from(error));
    set_socket_timeout(connection, Timeout::Recv, Some(PATIENCE)).map_err(failed)?;
    let mut packet = vec![0; MAX_PACKET + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut packet)];
        match recvmsg(connection, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.map_err(failed)?,
        }
    };
    let code = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if received.bytes > MAX_PACKET {
        return Err(Error::new(ErrorKind::Request, format!("control socket: more than {MAX_PACKET} bytes")));
    }
    let add = serde_json::from_slice(&packet[..received.bytes])
        .map_err(|error| Error::with(ErrorKind::Request, "control socket", error))?;
    Ok((add, code))
}

fn take(add: &Add, code: Option<OwnedFd>, loader: &Loader, workflow: &Arc<Workflow>) -> Result<()> {
    let senders = names(&add.senders)?;
    // What parsing takes is not known before, and past the bound it would be the end of all functions.
    let lifted = process::lift_memory_bound()?;
    let further = loader.load(&add.function, code)?;
    let room = workflow::room(&further.loaded);
    workflow.add(further, &senders)?;
    lifted.settle(room)
}
