//! Keys of the hose across hosts: where a container listens, and where its targets do.
//!
//! `listen` is `tcp://IP:PORT` in the container's own network; `address` a comma list of `TARGET=tcp://IP:PORT`. Names of hosts are not
//! looked up: a manager knows its addresses, and a runtime that asks a name server waits for it.

use std::net::SocketAddr;

use hose::Name;

use super::hose::{item_name, items};
use super::{HOSE, Keys, Value};
use crate::error::{Error, ErrorKind, Result};

/// How a container meets others across hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    listen: Option<SocketAddr>,
    addresses: Vec<(Name, SocketAddr)>,
    preferred: bool,
}

impl Network {
    /// Where it takes connections.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// Where its targets do.
    #[must_use]
    pub fn addresses(&self) -> &[(Name, SocketAddr)] {
        &self.addresses
    }

    /// Whether it is tried before the sockets of this host.
    #[must_use]
    pub fn is_preferred(&self) -> bool {
        self.preferred
    }

    /// Whether a target has an address.
    pub(super) fn knows(&self, target: &Name) -> bool {
        self.addresses.iter().any(|(name, _)| name == target)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listen.is_none() && self.addresses.is_empty()
    }

    pub(super) fn preferring(self, preferred: bool) -> Self {
        Self { preferred, ..self }
    }
}

/// Reads both keys.
pub(super) fn parse(keys: &Keys<'_>, targets: &[Name]) -> Result<Network> {
    let listen = keys.get(HOSE, "listen").map(|value| socket_address(value, value.text)).transpose()?;
    let Some(value) = keys.get(HOSE, "address") else {
        return Ok(Network { listen, addresses: Vec::new(), preferred: false });
    };
    let mut addresses: Vec<(Name, SocketAddr)> = Vec::new();
    for item in items(value) {
        let (name, address) = item
            .split_once('=')
            .ok_or_else(|| value.invalid("has an item that is not TARGET=tcp://IP:PORT"))?;
        let name = item_name(value, name)?;
        if !targets.contains(&name) {
            return Err(value.invalid(format_args!("speaks of {name}, which is not in {HOSE}target")));
        }
        if addresses.iter().any(|(other, _)| *other == name) {
            return Err(value.invalid(format_args!("names {name} twice")));
        }
        addresses.push((name, socket_address(value, address)?));
    }
    Ok(Network { listen, addresses, preferred: false })
}

fn socket_address(value: &Value<'_>, text: &str) -> Result<SocketAddr> {
    let address = text.trim().strip_prefix("tcp://").and_then(|rest| rest.parse::<SocketAddr>().ok());
    match address {
        Some(address) if address.port() != 0 => Ok(address),
        _ => {
            let why = format!("has {text:?} where tcp://IP:PORT belongs");
            Err(Error::new(ErrorKind::Annotation, format!("annotation {}: {why}", value.key)))
        }
    }
}
