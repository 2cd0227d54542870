//! A container's end of the hose: the ways to other containers and other hosts, made of what a request gave.
//!
//! Both directions of an end belong to the thread that connects it. A thread that only sends gets an end of its own
//! ([`Outside::sending`]), which proves itself by the same secret and the same keys.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use hose::{Config, Listener, Local, Receiver, Sender, Way, unix};

use crate::error::{Error, ErrorKind, Result};
use crate::host::Remote;
use crate::prepare::{Endpoint, Network};
use crate::stop;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) config: Config,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) network: Option<Network>,
    pub(crate) max_inflight: usize,
    /// At which waiting for a payload ends when it is readable.
    pub(crate) wake: Option<OwnedFd>,
}

impl Outside {
    /// The same, for another thread, which only sends.
    pub(crate) fn sending(&self) -> Result<Self> {
        let endpoint = self.endpoint.as_ref().map(Endpoint::sending).transpose();
        let endpoint = endpoint.map_err(|error| Error::with(ErrorKind::System, "dup", error))?;
        let network = self.network.as_ref().map(Network::sending);
        Ok(Self {
            config: self.config.clone(),
            endpoint,
            network,
            max_inflight: self.max_inflight,
            wake: None,
        })
    }

    /// The ends, for the calling thread.
    pub(crate) fn connect(self) -> Result<Remote> {
        let (mut ways, mut listeners) = (Vec::new(), Vec::<Listener>::new());
        if let Some(Endpoint { secret, rendezvous, listener }) = self.endpoint {
            ways.push(Way::Unix(unix::Host::new(secret, rendezvous)));
            listeners.extend(listener.map(Listener::from));
        }
        if let Some(Network { means, listener, preferred }) = self.network {
            ways.insert(if preferred { 0 } else { ways.len() }, Way::Tcp(means));
            listeners.extend(listener.map(Listener::from));
        }
        let own = Local::with(self.config, ways);
        let failed = |error| Error::with(ErrorKind::System, "hose", error);
        let mut listeners = listeners.into_iter();
        let receiver = listeners.next().map(|first| Receiver::new(&own, first));
        let mut receiver = receiver.transpose().map_err(failed)?;
        if let Some(receiver) = &mut receiver {
            for listener in listeners {
                receiver.listen(listener).map_err(failed)?;
            }
            if self.max_inflight < hose::MAX_CONNECTIONS {
                receiver.refuse_beyond(self.max_inflight);
            }
            if let Some(wake) = self.wake {
                receiver.stop_when(&stop::STOPPED, wake);
            }
        }
        Ok(Remote { sender: RefCell::new(Sender::new(&own)), receiver: receiver.map(RefCell::new) })
    }
}
