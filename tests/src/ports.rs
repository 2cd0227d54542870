//! Ports for servers that a test starts later.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that the kernel gives to whoever asks for any (`ip_local_port_range`, ip(7)): what nobody has, nobody gets by chance.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// So many ports of loopback that nobody has.
///
/// # Panics
///
/// When there are not so many.
#[must_use]
pub fn free(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(31);
    let another = |_| {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT).expect("a port");
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    };
    let held: Vec<_> = (0..COUNT).filter_map(another).take(count).collect();
    assert_eq!(held.len(), count, "ports of loopback");
    held.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
