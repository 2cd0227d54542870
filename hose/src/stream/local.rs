//! Who this end is, and its ways to the others.

use std::borrow::Cow;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::link::Link;
use super::transcript::Prover;
use super::wire::{Hello, Scheme};
use crate::{Config, Error, ErrorKind, Name, PublicKey, Result, Secret, tcp, unix};

/// A way to others.
#[derive(Debug)]
pub enum Way {
    /// On the same host, through its rendezvous folder.
    Unix(unix::Host),
    /// Across hosts, by address.
    Tcp(tcp::Network),
}

/// Who this end is, and where it looks for the others. One a container; a sender and a receiver share it.
#[derive(Debug)]
pub struct Local {
    config: Config,
    ways: Vec<Way>,
}

/// What became of one attempt to connect.
pub(crate) enum Attempt {
    Connected(Link, Box<Prover>),
    /// Begun; the socket can be written to when it is known what became of it.
    Connecting(Link, Box<Prover>),
    /// Nobody there yet: why.
    Absent(Cow<'static, str>),
}

/// Which way a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Unix,
    Tcp(IpAddr),
}

impl Local {
    /// An end that meets others on its host only. `rendezvous` is the descriptor of [`crate::rendezvous::Published`].
    pub fn new(config: Config, secret: Secret, rendezvous: OwnedFd) -> Rc<Self> {
        Self::with(config, [Way::Unix(unix::Host::new(secret, rendezvous))])
    }

    /// An end that looks for each target by these ways, in this order, whenever it has to connect: a target that comes back elsewhere is found
    /// there. It takes connections by all of them.
    pub fn with(config: Config, ways: impl IntoIterator<Item = Way>) -> Rc<Self> {
        Rc::new(Self { config, ways: ways.into_iter().collect() })
    }

    /// What this end was configured to be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether others on the same host may be met, to whom memory can be given.
    pub(super) fn meets_on_its_host(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, Way::Unix(_)))
    }

    /// Tries to reach `target` once, by the first way on which it seems to be, without waiting.
    pub(super) fn connect(&self, target: &Name) -> Result<Attempt> {
        let mut whys: Vec<Cow<'static, str>> = Vec::new();
        for way in &self.ways {
            let attempt = match way {
                Way::Unix(host) => host.connect(self.config.workflow(), target)?,
                Way::Tcp(network) => network.connect(self.config.name(), target)?,
            };
            match attempt {
                Attempt::Absent(why) => whys.push(why),
                found => return Ok(found),
            }
        }
        if whys.is_empty() {
            return Err(Error::new(ErrorKind::Target, format!("there is no way to function {target}")));
        }
        Ok(Attempt::Absent(whys.join(", and ").into()))
    }

    /// Whether the peer of this host that had this key is no longer there.
    pub(super) fn is_gone(&self, name: &Name, key: &PublicKey) -> bool {
        self.ways.iter().any(|way| match way {
            Way::Unix(host) => host.is_gone(self.config.workflow(), name, key),
            Way::Tcp(_) => false,
        })
    }

    /// How to answer `hello`, which came from there: `None` for a peer that is not known, or not by that way.
    pub(super) fn prover(&self, from: From, hello: &Hello) -> Result<Option<Prover>> {
        for way in &self.ways {
            match (way, from, hello.scheme) {
                (Way::Unix(host), From::Unix, Scheme::Signatures) => {
                    return host.prover(self.config.workflow(), &hello.sender);
                }
                (Way::Tcp(network), From::Tcp(address), Scheme::SharedKeys | Scheme::Unproved) => {
                    let keyed = hello.scheme == Scheme::SharedKeys;
                    return Ok(network.prover(self.config.name(), &hello.sender, keyed, address));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}
