//! A socket that connections are taken from.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, accept_with, acceptfrom_with};

use super::link::Link;
use super::local;
use crate::{Error, Result, tcp};

/// A socket that connections are taken from.
#[derive(Debug)]
pub enum Listener {
    /// That of [`crate::rendezvous::Published`].
    Unix(OwnedFd),
    /// That of [`crate::tcp::Network::listen`].
    Tcp(TcpListener),
}

impl From<OwnedFd> for Listener {
    fn from(socket: OwnedFd) -> Self {
        Self::Unix(socket)
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl Listener {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(socket) => socket.as_fd(),
            Listener::Tcp(socket) => socket.as_fd(),
        }
    }

    pub(super) fn unblock(&self) -> Result<()> {
        let failed = |e| Error::system("fcntl the listening socket", e);
        let flags = fcntl_getfl(self.as_fd()).map_err(failed)?;
        fcntl_setfl(self.as_fd(), flags | OFlags::NONBLOCK).map_err(failed)
    }

    /// The next connection: `None` for one that has no address any more.
    pub(super) fn accept(&self) -> rustix::io::Result<Option<(Link, local::From)>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match self {
            Listener::Unix(socket) => {
                let socket = accept_with(socket, flags)?;
                Ok(Some((Link::passing_descriptors(socket), local::From::Unix)))
            }
            Listener::Tcp(socket) => {
                let (socket, address) = acceptfrom_with(socket, flags)?;
                tcp::prepare(&socket);
                let address = address.and_then(|a: SocketAddrAny| std::net::SocketAddr::try_from(a).ok());
                let from = address.ok_or(Errno::AFNOSUPPORT);
                Ok(from.ok().map(|address| (Link::new(socket), local::From::Tcp(address.ip()))))
            }
        }
    }
}
