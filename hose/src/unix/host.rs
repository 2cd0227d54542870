//! An end's means to meet others on its host: its secret, the rendezvous folder, and the way from a name to a connected
//! socket.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::fchdir;

use crate::rendezvous::Record;
use crate::stream::{Attempt, Link, Prover};
use crate::{Error, Name, PublicKey, Result, Secret, Workflow};

/// Bytes of a sender's socket buffer, which the kernel doubles. With 100 MB from 100 KiB to 1 MiB make no difference, and 4 MiB
/// is slower, as the bytes no longer fit the cache between the two copies (`examples/transfer.rs`).
const SEND_BUFFER: usize = 208 << 10;

/// Why a peer that is there does not take a connection.
const BUSY: &str = "too many others are waiting for it";

/// Held while the working directory is not what the process thinks it is.
static WORKING_DIRECTORY: Mutex<()> = Mutex::new(());

/// What a container's init is given to meet others on its host.
#[derive(Debug)]
pub struct Host {
    secret: Secret,
    rendezvous: OwnedFd,
}

impl Host {
    /// `rendezvous` is the descriptor of [`crate::rendezvous::Published`], and `secret` the one it was published with.
    pub fn new(secret: Secret, rendezvous: OwnedFd) -> Self {
        Self { secret, rendezvous }
    }

    /// How to prove oneself to `peer`, when it is published.
    pub(crate) fn prover(&self, workflow: &Workflow, peer: &Name) -> Result<Option<Prover>> {
        Ok(Record::read(&self.rendezvous, workflow, peer)?.map(|record| self.prover_to(record.key)))
    }

    fn prover_to(&self, peer: PublicKey) -> Prover {
        Prover::Signatures { own: self.secret.clone(), peer }
    }

    /// Connects to the socket that the record of `name` gives, if there is one.
    pub(crate) fn connect(&self, workflow: &Workflow, name: &Name) -> Result<Attempt> {
        let Some(record) = Record::read(&self.rendezvous, workflow, name)? else {
            return Ok(Attempt::Absent("it is not published".into()));
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| Error::system("socket", e))?;
        // A matter of speed: what the system grants is enough.
        let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
        let address = SocketAddrUnix::new(&record.socket)
            .map_err(|e| Error::system(format!("address of socket {}", record.socket), e))?;
        match self.connect_there(&socket, &address)? {
            Ok(()) => Ok(Attempt::Connected(
                Link::passing_descriptors(socket),
                Box::new(self.prover_to(record.key)),
            )),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(Attempt::Absent("its process is gone".into())),
            Err(Errno::AGAIN) => Ok(Attempt::Absent(BUSY.into())),
            Err(e) => Err(Error::system(format!("connect to function {name}"), e)),
        }
    }

    /// Whether the peer that had this key is no longer there, as far as can be told. One that has closed its listening socket counts as gone.
    pub(crate) fn is_gone(&self, workflow: &Workflow, name: &Name, key: &PublicKey) -> bool {
        match self.connect(workflow, name) {
            Ok(Attempt::Connected(_, prover)) => prover.peer_key() != Some(*key),
            Ok(Attempt::Absent(why)) => why != BUSY,
            Ok(Attempt::Connecting(..)) | Err(_) => false,
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
