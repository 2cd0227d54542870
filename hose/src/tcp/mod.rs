//! The network transport: TCP between the inits of two containers of different hosts (section 4.3 of the paper, and its Algorithm 1).
//!
//! ```no_run
//! # fn f(config: hose::Config, target: hose::Name) -> hose::Result<()> {
//! use hose::tcp::{Keys, Network};
//! use hose::{Local, Receiver, Sender, Way};
//!
//! let keys: Keys = std::fs::read_to_string("/etc/rr-runtime/hose.keys").expect("a key file").parse()?;
//! let network = Network::new().with_keys(keys).with_target(target.clone(), "10.0.0.2:7000".parse().expect("an address"));
//! let listener = network.listen("10.0.0.1:7000".parse().expect("an address"))?;
//! let local = Local::with(config, [Way::Tcp(network)]);
//! let mut receiver = Receiver::new(&local, listener)?;
//! Sender::new(&local).send(&target, b"payload")?;
//! # Ok(()) }
//! ```
//!
//! # Who
//!
//! Every name has a pre-shared key. Both ends prove theirs by HMAC-SHA256 over the handshake's transcript, and every header and every payload
//! after it carries a tag, of BLAKE3 keyed with a key that HKDF-SHA256 derives for this connection and this direction. A payload whose tag is
//! wrong is not handed over. Whoever can check a name's proof has its key: a key file is a circle of hosts that trust
//! each other, and keeps everyone else out.
//!
//! Without keys an end connects to, and takes connections from, loopback and the networks that its configuration lists, and believes the names
//! that it is told there. With keys it does nothing without them.
//!
//! **No secrecy is claimed**, with or without keys: payloads cross the network in the clear. Where that matters, lay the hose through an encrypted
//! network (WireGuard, IPsec).
//!
//! # How a payload is written
//!
//! *Plain*: `sendmsg` copies it into the socket. *Spliced*: vmsplice(2) lends its pages to a pipe and splice(2) passes them on to the socket, so that the
//! network stack reads them where they are. The second spares a copy and costs page by page: which is faster, this connection measures, and
//! keeps measuring. [`Transfer`](crate::Transfer) forces one or the other; [`Statistics`](crate::Statistics) counts which it was.
//!
//! Pages that were lent are read by the kernel *after* the call has returned: for a retransmission, or by a receiver on the same host. So a spliced
//! frame is announced as lent, and its receiver does not hand it over before it has said that it has all of it, and its sender has confirmed that the region
//! had not changed until then. A sender that has given up never confirms: what it does with the region then is seen by nobody. The region
//! is borrowed meanwhile:
//!
//! ```compile_fail,E0506
//! # fn f(mut sender: hose::Sender, target: hose::Name) {
//! let mut region = [0; 100_000];
//! let outgoing = hose::Outgoing::from(&region);
//! region[0] = 1; // lent until it is sent
//! sender.send(&target, outgoing);
//! # }
//! ```
//!
//! The receiver reads straight into its region. (Algorithm 1 has it splice into a pipe and vmsplice from there into memory, which is a
//! copy as well, and one call more.)

mod keys;
mod network;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

pub(crate) use keys::Key;
pub use keys::Keys;
pub use network::{Network, Trusted};
pub(crate) use network::{connected, prepare};
