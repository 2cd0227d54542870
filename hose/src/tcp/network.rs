//! An end's means to meet others across hosts: keys, the networks it believes without, and addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::keys::Keys;
use crate::stream::{Attempt, Link, Prover};
use crate::{Error, ErrorKind, Name, Result};

/// A peer that is silent for that long is asked whether it is there, again and again, and given up.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Networks whose hosts are believed without a key. Loopback always is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(Vec<IpNet>);

impl Trusted {
    /// Whether `address` lies in one.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Trusted {
    type Err = Error;

    /// A comma list, such as `10.1.0.0/16, fd00:1::/32`.
    fn from_str(text: &str) -> Result<Self> {
        let networks = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let parse = |item: &str| {
            item.parse::<IpNet>().map_err(|_| {
                Error::new(ErrorKind::Invalid, format!("{item:?} is not a network, such as 10.1.0.0/16"))
            })
        };
        networks.map(parse).collect::<Result<_>>().map(Self)
    }
}

/// What a container's init is given to meet others across hosts.
#[derive(Clone, Debug, Default)]
pub struct Network {
    keys: Option<Keys>,
    trusted: Trusted,
    targets: BTreeMap<Name, SocketAddr>,
}

impl Network {
    /// Without keys, loopback only, and without an address to send to.
    pub fn new() -> Self {
        Self::default()
    }

    /// With keys, its own among them: from then on nothing is done without.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// With networks that are believed as long as there are no keys.
    pub fn with_trusted(self, trusted: Trusted) -> Self {
        Self { trusted, ..self }
    }

    /// With the address of a target.
    pub fn with_target(mut self, name: Name, address: SocketAddr) -> Self {
        self.targets.insert(name, address);
        self
    }

    /// A socket to take connections from. Without keys the address must be loopback's or of a trusted network.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        if self.keys.is_none() && !self.trusted.contains(address.ip()) {
            let message = format!("cannot listen on {address} without keys: it is in no trusted network");
            return Err(Error::new(ErrorKind::Auth, message));
        }
        TcpListener::bind(address).map_err(|e| Error::system(format!("listen on {address}"), e))
    }

    /// How to prove oneself, as `me`, to `peer`, which says that it has keys or that it has none, from `address`.
    pub(crate) fn prover(&self, me: &Name, peer: &Name, keyed: bool, address: IpAddr) -> Option<Prover> {
        match &self.keys {
            Some(keys) if keyed => {
                let (own, peer) = (keys.get(me)?.clone(), keys.get(peer)?.clone());
                Some(Prover::SharedKeys { own, peer })
            }
            // Never without, just because a peer says so.
            None if !keyed && self.trusted.contains(address) => Some(Prover::Nothing),
            _ => None,
        }
    }

    /// Begins to connect to the address of `name`, if there is one.
    pub(crate) fn connect(&self, me: &Name, name: &Name) -> Result<Attempt> {
        let Some(address) = self.targets.get(name).copied() else {
            return Ok(Attempt::Absent("it has no address".into()));
        };
        let Some(prover) = self.prover(me, name, self.keys.is_some(), address.ip()) else {
            let message = match &self.keys {
                Some(_) => format!("there is no key for function {name}, or none for this one"),
                None => format!(
                    "cannot send to function {name} at {address} without keys: it is in no trusted network"
                ),
            };
            return Err(Error::new(ErrorKind::Auth, message));
        };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(family, SocketType::STREAM, flags, None).map_err(|e| Error::system("socket", e))?;
        prepare(&socket);
        loop {
            return match connect(&socket, &address) {
                Ok(()) | Err(Errno::INPROGRESS) => {
                    Ok(Attempt::Connecting(Link::new(socket), Box::new(prover)))
                }
                Err(Errno::INTR) => continue,
                Err(e) => Ok(Attempt::Absent(format!("{address}: {}", std::io::Error::from(e)).into())),
            };
        }
    }
}

/// What every socket of ours is. A matter of speed, and of how soon a dead peer is noticed: what the system grants is enough.
pub(crate) fn prepare(socket: &OwnedFd) {
    let (idle, interval, count) = KEEPALIVE;
    let _ = sockopt::set_tcp_nodelay(socket, true);
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, idle);
    let _ = sockopt::set_tcp_keepintvl(socket, interval);
    let _ = sockopt::set_tcp_keepcnt(socket, count);
}

/// What became of a connection that was begun: `None` as long as that is open.
pub(crate) fn connected(socket: impl AsFd) -> Option<std::result::Result<(), std::io::Error>> {
    match sockopt::socket_error(&socket) {
        Ok(Ok(())) => match rustix::net::getpeername(&socket) {
            Ok(_) => Some(Ok(())),
            Err(_) => None,
        },
        Ok(Err(e)) | Err(e) => Some(Err(e.into())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_and_the_listed_networks_are_trusted_and_no_others() {
        let trusted: Trusted = "10.1.0.0/16, fd00:1::/32,".parse().unwrap();
        for yes in
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "fd00:1::9"]
        {
            assert!(trusted.contains(address(yes)), "{yes}");
        }
        for no in ["10.2.0.1", "0.0.0.0", "::", "fd00:2::1", "192.168.0.1", "::ffff:10.2.0.1"] {
            assert!(!trusted.contains(address(no)), "{no}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0.0", "x", "10.0.0.0/8;fd00::/8"] {
            let error = wrong.parse::<Trusted>().unwrap_err().to_string();
            assert_eq!(error, format!("{wrong:?} is not a network, such as 10.1.0.0/16"));
        }
    }

    #[test]
    fn without_keys_only_trusted_addresses_are_listened_on() {
        let network = Network::new();
        network.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        for no in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let error = network.listen(no.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Auth, "{no}");
        }
        network.with_keys(Keys::new()).listen("0.0.0.0:0".parse().unwrap()).unwrap();
    }
}
