//! What hostile bytes are parsed by, one function each, for `tests/fuzz.rs`: `make fuzz`.
//!
//! Each takes any bytes, checks what has to be true of whatever is accepted, and says whether anything was. None of them is part of the crate's
//! interface.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::config::Transfer;
use crate::rendezvous::Record;
use crate::stream::fuzzed;
use crate::tcp::{Keys, Network, Trusted};
use crate::{Config, Limits, Local, Receiver, Status, TraceContext, Way};

/// A function of this module.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by name, with inputs to begin with.
pub fn targets() -> Vec<(&'static str, Target, Vec<Vec<u8>>)> {
    let hex = "0123456789abcdef".repeat(4);
    let text = |text: String| vec![text.into_bytes()];
    vec![
        ("header", fuzz_header as Target, fuzzed::headers()),
        ("hello", fuzz_hello, vec![fuzzed::hello()]),
        ("challenge", fuzz_challenge, vec![vec![1; 104], vec![2; 72], vec![3; 40]]),
        // The first announces a descriptor, which does not come here.
        ("stream", fuzz_stream, fuzzed::headers().split_off(1)),
        ("receiver", fuzz_receiver, fuzzed::conversations()),
        ("record", fuzz_record, text(Record::sample().unwrap_or_default())),
        ("keys", fuzz_keys, text(format!("# keys\na {hex}\n\nb-1.c {hex}\n"))),
        ("trusted", fuzz_trusted, text("10.1.0.0/16, fd00:1::/32,127.0.0.0/8".into())),
        ("trace", fuzz_trace, text(format!("00-{}-{}-01", &hex[..32], &hex[..16]))),
    ]
}

fn fuzz_header(bytes: &[u8]) -> bool {
    fuzzed::header(bytes)
}

fn fuzz_hello(bytes: &[u8]) -> bool {
    fuzzed::decodes_hello(bytes)
}

fn fuzz_challenge(bytes: &[u8]) -> bool {
    fuzzed::decodes_challenge(bytes)
}

/// A connection's messages, up to the first that is none.
fn fuzz_stream(bytes: &[u8]) -> bool {
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return false };
    if ours.set_nonblocking(true).is_err() || std::io::Write::write_all(&mut theirs, bytes).is_err() {
        return false;
    }
    drop(theirs);
    fuzzed::reads(OwnedFd::from(ours))
}

/// A receiver that believes everyone, and whom a peer tells these bytes.
fn fuzz_receiver(bytes: &[u8]) -> bool {
    let receive = || -> crate::Result<bool> {
        let network = Network::new();
        let listener = network.listen(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr().map_err(|e| crate::Error::system("getsockname", e))?;
        let limits = Limits::new(Duration::from_secs(1), Duration::from_millis(1), 1 << 20)?;
        let config =
            Config::new("b".try_into()?, "w".try_into()?, vec![], limits)?.with_transfer(Transfer::Copy);
        let mut receiver = Receiver::new(&Local::with(config, [Way::Tcp(network)]), listener)?;
        let mut peer =
            std::net::TcpStream::connect(address).map_err(|e| crate::Error::system("connect", e))?;
        let _ = std::io::Write::write_all(&mut peer, bytes);
        let _ = peer.shutdown(std::net::Shutdown::Write);
        let mut taken = false;
        // The first looks may be earlier than the bytes.
        for _ in 0..3 {
            while let Some(incoming) = receiver.next(Some(Duration::from_millis(1)))? {
                let mut region = vec![0; incoming.len()];
                let Ok(held) = receiver.read_into(incoming, &mut region) else { continue };
                taken = true;
                let _ = receiver.handled(held, Status::OK, None);
            }
            if receiver.connections() == 0 {
                break;
            }
        }
        assert_eq!(receiver.connections(), 0, "a peer that has closed is still here");
        Ok(taken)
    };
    receive().unwrap_or(false)
}

fn fuzz_record(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let record = Record::decode(text);
    if let Some(record) = &record {
        assert_eq!(record.encode(), text, "two files for one record");
    }
    record.is_some()
}

fn fuzz_keys(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let keys = text.parse::<Keys>();
    if let Err(e) = &keys {
        assert!(e.to_string().starts_with("line "), "an error without its line: {e}");
    }
    keys.is_ok_and(|keys| !keys.is_empty())
}

fn fuzz_trusted(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    text.parse::<Trusted>().is_ok_and(|trusted| trusted != Trusted::default())
}

fn fuzz_trace(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let trace = text.parse::<TraceContext>();
    if let Ok(trace) = &trace {
        assert_eq!(trace.to_string().parse::<TraceContext>().ok().as_ref(), Some(trace));
    }
    trace.is_ok()
}
