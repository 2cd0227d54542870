//! Who this end is, and the way from a name to a connected socket.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::fchdir;

use super::link::Link;
use crate::rendezvous::Record;
use crate::{Config, Error, Name, PublicKey, Result, Secret};

/// Bytes of a sender's socket buffer, which the kernel doubles. With 100 MB from 100 KiB to 1 MiB make no difference, and 4 MiB
/// is slower, as the bytes no longer fit the cache between the two copies (`examples/transfer.rs`).
const SEND_BUFFER: usize = 208 << 10;

/// Held while the working directory is not what the process thinks it is.
static WORKING_DIRECTORY: Mutex<()> = Mutex::new(());

/// Who this end is, and where it looks for the others. One a container; a sender and a receiver share it.
#[derive(Debug)]
pub struct Local {
    config: Config,
    secret: Secret,
    rendezvous: OwnedFd,
}

/// What became of one attempt to connect.
pub(super) enum Attempt {
    Connected(Link, PublicKey),
    /// Nobody there yet: why.
    Absent(&'static str),
}

impl Local {
    /// `rendezvous` is the descriptor of [`crate::rendezvous::Published`].
    pub fn new(config: Config, secret: Secret, rendezvous: OwnedFd) -> Rc<Self> {
        Rc::new(Self { config, secret, rendezvous })
    }

    /// What this end was configured to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The public key of a function of the own workflow, when it is published.
    pub(super) fn key_of(&self, name: &Name) -> Result<Option<PublicKey>> {
        Ok(Record::read(&self.rendezvous, self.config.workflow(), name)?.map(|record| record.key))
    }

    /// Connects to the socket that the record of `name` gives, if there is one.
    pub(super) fn connect(&self, name: &Name) -> Result<Attempt> {
        let Some(record) = Record::read(&self.rendezvous, self.config.workflow(), name)? else {
            return Ok(Attempt::Absent("it is not published"));
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| Error::system("socket", e))?;
        // A matter of speed: what the system grants is enough.
        let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
        let address = SocketAddrUnix::new(&record.socket)
            .map_err(|e| Error::system(format!("address of socket {}", record.socket), e))?;
        match self.connect_there(&socket, &address)? {
            Ok(()) => Ok(Attempt::Connected(Link::new(socket), record.key)),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(Attempt::Absent("its process is gone")),
            Err(Errno::AGAIN) => Ok(Attempt::Absent("too many others are waiting for it")),
            Err(e) => Err(Error::system(format!("connect to function {name}"), e)),
        }
    }

    /// `connect` with the rendezvous folder as the working directory. Linux has no `connectat`, and the usual way around it,
    /// `/proc/self/fd`, is masked where this runs. Nothing else of the process looks at the working directory
    /// meanwhile: an init has one thread, and for programs that have more, there is a lock.
    fn connect_there(&self, socket: &OwnedFd, address: &SocketAddrUnix) -> Result<rustix::io::Result<()>> {
        let _lock = WORKING_DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A working directory that cannot be searched serves no relative path: `/` is no worse.
        let back = openat(CWD, ".", flags, Mode::empty())
            .or_else(|_| openat(CWD, "/", flags, Mode::empty()))
            .map_err(|e| Error::system("open the working directory", e))?;
        fchdir(&self.rendezvous).map_err(|e| Error::system("fchdir to the rendezvous folder", e))?;
        let result = loop {
            match connect(socket, address) {
                Err(Errno::INTR) => {}
                result => break result,
            }
        };
        fchdir(&back).map_err(|e| Error::system("fchdir back to the working directory", e))?;
        Ok(result)
    }
}
