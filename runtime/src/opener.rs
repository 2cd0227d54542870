//! A process on the host's side that opens mounts where a container's init is: sources that are mounts of the container's own, whose ids are to
//! be mapped. They are not there before init has made them, and init may not map them in a user namespace.
//!
//! Init asks by a mount's number over a socket, and gets a detached mount, or an error's number (`patches/libcontainer/0029`). The process enters the mount
//! namespace of whoever asks, as the kernel names it, and lives as long as its [`Opener`].

#![expect(unsafe_code, reason = "fork(2)")]

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::LinkNameSpaceType;

use crate::mount;

/// A mount that will be asked for.
pub(crate) struct Asked {
    /// Where it will be, as init sees it before it changes its root.
    pub(crate) source: PathBuf,
    /// Of `open_tree(2)`.
    pub(crate) flags: OpenTreeFlags,
    /// By whose mappings its ids are shown.
    pub(crate) ids: OwnedFd,
    /// Whether those of all mounts below it are, too.
    pub(crate) recursive: bool,
}

/// Both ends of the way to it, before there is such a process.
pub(crate) struct Line {
    asks: OwnedFd,
    answers: OwnedFd,
}

impl Line {
    /// # Errors
    ///
    /// Those of `socketpair(2)`.
    pub(crate) fn new() -> io::Result<Self> {
        let (asks, answers) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // The kernel says who has asked.
        sockopt::set_socket_passcred(&answers, true)?;
        Ok(Self { asks, answers })
    }

    /// The end that init has a copy of.
    pub(crate) fn asks(&self) -> BorrowedFd<'_> {
        self.asks.as_fd()
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// Those of `fork(2)` and `pidfd_open(2)`.
    pub(crate) fn answered(self, asked: &[Asked]) -> io::Result<Opener> {
        let Self { asks, answers } = self;
        // SAFETY: this process has one thread until a function is executed (see `detach`), so the child may do what the parent may; it leaves by
        // `_exit` alone.
        match unsafe { libc::fork() } {
            0 => {
                drop(asks);
                let _ = answer(&answers, asked);
                // SAFETY: ends this process, of which nothing has to be put away.
                unsafe { libc::_exit(0) }
            }
            pid => {
                let child = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)?;
                let handle = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
                Ok(Opener { child, handle, asks })
            }
        }
    }
}

/// The process. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Opener {
    child: Pid,
    handle: OwnedFd,
    asks: OwnedFd,
}

impl AsFd for Opener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asks.as_fd()
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        // One that is gone, and reaped, is no matter.
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
        let _ =
            rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.child), WaitOptions::empty()));
    }
}

/// Answers until nobody can ask any more.
fn answer(socket: &OwnedFd, asked: &[Asked]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    while let Some((number, pid)) = question(socket)? {
        let opened = match asked.get(number as usize) {
            Some(one) => tree(one, pid),
            None => Err(Errno::INVAL),
        };
        let errno = opened.as_ref().err().map_or(0, |errno| errno.raw_os_error()).to_ne_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let tree = opened.ok();
        let descriptors = tree.as_ref().map(AsFd::as_fd);
        let descriptors = descriptors.as_slice();
        if !descriptors.is_empty() {
            rights.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(socket, &[IoSlice::new(&errno)], &mut rights, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// A number and who sent it.
fn question(socket: &OwnedFd) -> io::Result<Option<(u32, Pid)>> {
    let mut number = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut number)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes != number.len() {
        return Ok(None);
    }
    let sender = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
        _ => None,
    });
    Ok(sender.map(|pid| (u32::from_ne_bytes(number), pid)))
}

/// Opens one in the mount namespace of `pid`, and maps its ids.
fn tree(asked: &Asked, pid: Pid) -> rustix::io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{}/ns/mnt", pid.as_raw_nonzero()));
    let namespace = namespace.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
    let tree = rustix::mount::open_tree(CWD, &asked.source, asked.flags)?;
    mount::map_ids(&tree, &asked.ids, asked.recursive)?;
    Ok(tree)
}
