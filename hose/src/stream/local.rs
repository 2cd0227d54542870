//! Who this end is, and its ways to the others.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::link::Link;
use super::transcript::Prover;
use super::wire::{Hello, Scheme};
use crate::{Config, Error, ErrorKind, Name, Result, Secret, unix};

/// Who this end is, and where it looks for the others. One a container; a sender and a receiver share it.
#[derive(Debug)]
pub struct Local {
    config: Config,
    unix: Option<unix::Host>,
}

/// What became of one attempt to connect.
pub(crate) enum Attempt {
    Connected(Link, Box<Prover>),
    /// Nobody there yet: why.
    Absent(Cow<'static, str>),
}

impl Local {
    /// An end that meets others on its host only. `rendezvous` is the descriptor of [`crate::rendezvous::Published`].
    pub fn new(config: Config, secret: Secret, rendezvous: OwnedFd) -> Rc<Self> {
        Rc::new(Self { config, unix: Some(unix::Host::new(secret, rendezvous)) })
    }

    /// What this end was configured to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tries to reach `target` once, without waiting.
    pub(super) fn connect(&self, target: &Name) -> Result<Attempt> {
        match &self.unix {
            Some(host) => host.connect(self.config.workflow(), target),
            None => Err(Error::new(ErrorKind::Target, format!("there is no way to function {target}"))),
        }
    }

    /// How to answer `hello`: `None` for a peer that is not known.
    pub(super) fn prover(&self, hello: &Hello) -> Result<Option<Prover>> {
        match (hello.scheme, &self.unix) {
            (Scheme::Signatures, Some(host)) => host.prover(self.config.workflow(), &hello.sender),
            _ => Ok(None),
        }
    }
}
