//! Both directions against each other over loopback, and each against a peer that does what it should not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{Keys, Network};
use crate::config::Transfer;
use crate::{Config, ErrorKind, Fate, Limits, Local, Name, Payload, Receiver, Sender, Status, Way};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);
const ANY: &str = "127.0.0.1:0";

fn name(s: &str) -> Name {
    s.try_into().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn keys(names: &[&str]) -> Keys {
    let one = |keys: Keys, (i, n): (usize, &&str)| keys.with(name(n), &[i as u8 + 1; 32]).unwrap();
    names.iter().enumerate().fold(Keys::new(), one)
}

fn config(me: &str, targets: &[&str], io: Duration, transfer: Transfer) -> Config {
    let targets = targets.iter().map(|t| name(t)).collect();
    let limits = Limits::new(SHORT * 4, io, 1 << 30).unwrap();
    Config::new(name(me), "w".try_into().unwrap(), targets, limits).unwrap().with_transfer(transfer)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = Network::new().listen(ANY.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn receiver(listener: TcpListener, network: Network) -> Receiver {
    Receiver::new(&Local::with(config("b", &[], LONG, Transfer::Auto), [Way::Tcp(network)]), listener)
        .unwrap()
}

fn sender(address: SocketAddr, network: Network, transfer: Transfer) -> Sender {
    let network = network.with_target(name("b"), address);
    Sender::new(&Local::with(config("a", &["b"], LONG, transfer), [Way::Tcp(network)]))
}

/// With and without keys.
fn networks() -> [Network; 2] {
    [Network::new(), Network::new().with_keys(keys(&["a", "b"]))]
}

/// Takes `n` frames and answers each with itself.
fn echo(receiver: &mut Receiver, n: usize) -> usize {
    echo_within(receiver, n, LONG)
}

fn echo_within(receiver: &mut Receiver, n: usize, patience: Duration) -> usize {
    let mut taken = 0;
    while taken < n {
        let Some(incoming) = receiver.next(Some(patience)).unwrap() else { break };
        let mut region = vec![0xee; incoming.len()];
        let Ok(held) = receiver.read_into(incoming, &mut region) else { continue };
        taken += 1;
        let _ = receiver.handled(held, Status(taken as i32), Some(Payload::Bytes(&region)));
    }
    taken
}

#[test]
fn payloads_and_answers_of_every_size_arrive_unharmed_by_either_way() {
    let sizes = [0, 1, 31, 4096, 65_537, 1 << 20, (1 << 20) + 1, 10_000_019];
    for network in networks() {
        for transfer in [Transfer::Copy, Transfer::Splice, Transfer::Auto] {
            let (listener, address) = listener();
            thread::scope(|s| {
                s.spawn(|| echo(&mut receiver(listener, network.clone()), sizes.len()));
                let mut sender = sender(address, network.clone(), transfer);
                for (i, size) in sizes.into_iter().enumerate() {
                    let payload = pattern(size);
                    let delivery = sender.send(&name("b"), &payload).unwrap();
                    assert_eq!(delivery.status, Status(i as i32 + 1));
                    let answer = delivery.answer.unwrap();
                    let mut region = vec![0xdd; answer.len()];
                    answer.read_into(&mut region).unwrap();
                    assert!(region == payload, "{size} bytes, {transfer:?}");
                }
                let statistics = sender.statistics(&name("b"));
                let spliced = match transfer {
                    Transfer::Splice => 7,
                    Transfer::Copy => 0,
                    _ => statistics.spliced,
                };
                assert_eq!((statistics.frames, statistics.spliced), (8, spliced));
            });
        }
    }
}

#[test]
fn a_frozen_payload_goes_over_the_network_too() {
    let (listener, address) = listener();
    let payload = pattern(3_000_000);
    thread::scope(|s| {
        s.spawn(|| echo(&mut receiver(listener, Network::new()), 1));
        let frozen = crate::sealed::tests::frozen(&payload);
        let mut sender = sender(address, Network::new(), Transfer::Auto);
        let answer = sender.send(&name("b"), &frozen).unwrap().answer.unwrap();
        let mut region = vec![0; answer.len()];
        answer.read_into(&mut region).unwrap();
        assert!(region == payload);
    });
}

/// How many times the next test sends; the million of `make test` takes half a minute, optimised.
fn sends() -> usize {
    std::env::var("HOSE_LENT_SENDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

#[test]
fn a_region_that_is_overwritten_when_send_has_returned_never_arrives_changed() {
    let (listener, address) = listener();
    let sends = sends();
    thread::scope(|s| {
        s.spawn(move || {
            let mut receiver = receiver(listener, Network::new());
            let mut region = vec![0; 9000];
            for i in 0..sends {
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                let held = receiver.read_into(incoming, &mut region).unwrap();
                assert!(region.iter().all(|byte| *byte == i as u8), "send {i} arrived changed");
                receiver.handled(held, Status::OK, None).unwrap();
            }
        });
        let mut sender = sender(address, Network::new(), Transfer::Splice);
        let mut region = vec![0; 9000];
        for i in 0..sends {
            region.fill(i as u8);
            sender.send(&name("b"), &region).unwrap();
            region.fill(!i as u8);
        }
        assert_eq!(sender.statistics(&name("b")).spliced, sends as u64);
    });
}

#[test]
fn a_lent_payload_whose_sender_gave_up_is_handed_to_nobody() {
    let (listener, address) = listener();
    thread::scope(|s| {
        s.spawn(|| {
            let mut receiver = receiver(listener, Network::new());
            let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
            // All of it is in the socket's buffers, and its sender's patience ends before it is read.
            thread::sleep(SHORT * 3);
            let error = receiver.read_into(incoming, &mut vec![0; 20_000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Lost);
            assert_eq!(receiver.statistics().frames, 0);
        });
        let network = Network::new().with_target(name("b"), address);
        let local = Local::with(config("a", &["b"], SHORT, Transfer::Splice), [Way::Tcp(network)]);
        let mut region = vec![1; 20_000];
        let error = Sender::new(&local).send(&name("b"), &region).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotHandled), "{error}");
        region.fill(2);
    });
}

#[test]
fn a_peer_that_is_not_there_yet_is_waited_for_and_one_that_never_comes_is_named() {
    let (first, address) = listener();
    drop(first);
    let error = sender(address, Network::new(), Transfer::Auto).send(&name("b"), b"x").unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent));
    assert!(error.to_string().contains("its address does not answer: Connection refused"), "{error}");
    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(SHORT);
            let listener = Network::new().listen(address).unwrap();
            echo(&mut receiver(listener, Network::new()), 1)
        });
        sender(address, Network::new(), Transfer::Auto).send(&name("b"), b"x").unwrap();
    });
}

#[test]
fn keys_that_are_missing_or_wrong_are_errors_of_their_own() {
    let right = || Network::new().with_keys(keys(&["a", "b"]));
    let wrong = |who: &str| {
        let keys = ["a", "b"].iter().fold(Keys::new(), |all, n| {
            let byte = if *n == who {
                99
            } else if *n == "a" {
                1
            } else {
                2
            };
            all.with(name(n), &[byte; 32]).unwrap()
        });
        Network::new().with_keys(keys)
    };
    for (ours, theirs, why) in [
        // b cannot prove itself, or a cannot; or one of them has no keys where the other has.
        (right(), wrong("b"), "function b did not prove its identity"),
        (right(), wrong("a"), "function b refused: it does not believe who this function is"),
        (right(), Network::new(), "function b refused: it does not believe who this function is"),
        (Network::new(), right(), "function b refused: it does not believe who this function is"),
        (
            right(),
            Network::new().with_keys(keys(&["c", "b"])),
            "function b refused: it does not believe who this function is",
        ),
        (
            Network::new().with_keys(keys(&["a"])),
            right(),
            "there is no key for function b, or none for this one",
        ),
        (
            Network::new().with_keys(keys(&["b"])),
            right(),
            "there is no key for function b, or none for this one",
        ),
    ] {
        let (listener, address) = listener();
        thread::scope(|s| {
            let taken = s.spawn(|| {
                let mut receiver = receiver(listener, theirs);
                receiver.next(Some(SHORT)).unwrap().is_some()
            });
            let error = sender(address, ours, Transfer::Auto).send(&name("b"), b"x").unwrap_err();
            assert_eq!(
                (error.kind(), error.fate(), error.to_string().as_str()),
                (ErrorKind::Auth, Fate::NotSent, why)
            );
            assert!(!taken.join().unwrap());
        });
    }
}

#[test]
fn without_keys_an_address_outside_the_trusted_networks_is_not_sent_to() {
    let error = sender("192.0.2.1:7".parse().unwrap(), Network::new(), Transfer::Auto)
        .send(&name("b"), b"x")
        .unwrap_err();
    let expected = "cannot send to function b at 192.0.2.1:7 without keys: it is in no trusted network";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Auth, expected));
}

/// Lets a sender and a receiver with keys talk through a stranger in the middle, who changes byte `at` of what the sender says.
fn with_a_stranger_between(at: usize, transfer: Transfer) -> (crate::Result<Status>, usize) {
    let network = || Network::new().with_keys(keys(&["a", "b"]));
    let (listener_b, address_b) = listener();
    let (stranger, address) = listener();
    thread::scope(|s| {
        let taken = s.spawn(move || echo_within(&mut receiver(listener_b, network()), 1, SHORT * 3));
        s.spawn(move || {
            let (mut a, _) = stranger.accept().unwrap();
            let mut b = TcpStream::connect(address_b).unwrap();
            let (mut from_b, mut to_a) = (b.try_clone().unwrap(), a.try_clone().unwrap());
            thread::spawn(move || {
                std::io::copy(&mut from_b, &mut to_a).map(|_| to_a.shutdown(std::net::Shutdown::Both))
            });
            let (mut buffer, mut passed) = ([0; 4096], 0);
            while let Ok(n @ 1..) = a.read(&mut buffer) {
                if (passed..passed + n).contains(&at) {
                    buffer[at - passed] ^= 0x10;
                }
                passed += n;
                if b.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            let _ = b.shutdown(std::net::Shutdown::Both);
        });
        let network = network().with_target(name("b"), address);
        let local = Local::with(config("a", &["b"], SHORT, transfer), [Way::Tcp(network)]);
        let result = Sender::new(&local).send(&name("b"), &pattern(1000)).map(|delivery| delivery.status);
        (result, taken.join().unwrap())
    })
}

#[test]
fn whatever_a_stranger_changes_after_the_handshake_is_not_handed_over() {
    let mut tried = Vec::new();
    for transfer in [Transfer::Copy, Transfer::Splice] {
        let (result, taken) = with_a_stranger_between(usize::MAX, transfer);
        assert_eq!((result.unwrap(), taken), (Status(1), 1), "the stranger itself does no harm");
        // Hello 64 + 32 + 1 + 8 + 2 + 2 + 2, Proof 64 + 32; then header 64, tag 32, payload 1000, tag 32.
        let data = 111 + 96;
        for at in [
            data + 5,
            data + 16,
            data + 24,
            data + 70,
            data + 96,
            data + 96 + 999,
            data + 96 + 1000,
            data + 96 + 1031,
        ] {
            tried.push((at, transfer));
        }
    }
    // Side by side, because each waits for a peer that stays silent.
    thread::scope(|s| {
        for (at, transfer) in tried {
            s.spawn(move || {
                let (result, taken) = with_a_stranger_between(at, transfer);
                assert!(result.is_err(), "byte {at}");
                assert_eq!(taken, 0, "byte {at}");
            });
        }
    });
}

/// What a sender with keys says to a receiver with keys, in a conversation of one frame, and where the frame begins.
fn recorded() -> (Vec<u8>, usize) {
    let network = || Network::new().with_keys(keys(&["a", "b"]));
    let (listener_b, address_b) = listener();
    let (stranger, address) = listener();
    thread::scope(|s| {
        s.spawn(move || echo(&mut receiver(listener_b, network()), 1));
        let said = s.spawn(move || {
            let (mut a, _) = stranger.accept().unwrap();
            let mut b = TcpStream::connect(address_b).unwrap();
            let (mut from_b, mut to_a) = (b.try_clone().unwrap(), a.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from_b, &mut to_a));
            let (mut buffer, mut said) = ([0; 4096], Vec::new());
            while let Ok(n @ 1..) = a.read(&mut buffer) {
                said.extend_from_slice(&buffer[..n]);
                b.write_all(&buffer[..n]).unwrap();
            }
            let _ = b.shutdown(std::net::Shutdown::Both);
            said
        });
        drop(sender(address, network(), Transfer::Copy).send(&name("b"), b"once").unwrap());
        (said.join().unwrap(), 111 + 96)
    })
}

#[test]
fn a_recorded_handshake_is_worth_nothing_later() {
    let (said, frame) = recorded();
    let (listener, address) = listener();
    thread::scope(|s| {
        let taken = s.spawn(|| {
            let network = Network::new().with_keys(keys(&["a", "b"]));
            echo_within(&mut receiver(listener, network), 1, SHORT)
        });
        let mut replay = TcpStream::connect(address).unwrap();
        replay.write_all(&said[..frame]).unwrap();
        let _ = replay.write_all(&said[frame..]);
        let mut answers = Vec::new();
        let _ = replay.read_to_end(&mut answers);
        // A Challenge of 64 + 32 + 8 + 32 bytes, and then Refused, for reason 2.
        assert_eq!((answers[5], answers[136 + 5], answers[136 + 8], answers.len()), (2, 19, 2, 200));
        assert_eq!(taken.join().unwrap(), 0);
    });
}

#[test]
fn a_frame_that_a_stranger_repeats_is_handed_over_once() {
    let network = || Network::new().with_keys(keys(&["a", "b"]));
    let (listener_b, address_b) = listener();
    let (stranger, address) = listener();
    thread::scope(|s| {
        let taken = s.spawn(move || echo_within(&mut receiver(listener_b, network()), 2, SHORT * 3));
        s.spawn(move || {
            let (mut a, _) = stranger.accept().unwrap();
            let mut b = TcpStream::connect(address_b).unwrap();
            let (mut from_b, mut to_a) = (b.try_clone().unwrap(), a.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from_b, &mut to_a));
            let (mut buffer, mut said) = ([0; 4096], Vec::new());
            while let Ok(n @ 1..) = a.read(&mut buffer) {
                said.extend_from_slice(&buffer[..n]);
                b.write_all(&buffer[..n]).unwrap();
            }
            let _ = b.write_all(&said[111 + 96..]);
            thread::sleep(SHORT);
            let _ = b.shutdown(std::net::Shutdown::Both);
        });
        let delivery = sender(address, network(), Transfer::Copy).send(&name("b"), b"once").unwrap();
        delivery.answer.unwrap().read_into(&mut [0; 4]).unwrap();
        assert_eq!(taken.join().unwrap(), 1);
    });
}

#[test]
fn whatever_a_stranger_changes_in_the_handshake_ends_it() {
    for at in [70, 100, 106, 111 + 64, 111 + 95] {
        let (result, taken) = with_a_stranger_between(at, Transfer::Copy);
        let error = result.unwrap_err();
        assert_eq!((error.fate(), taken), (Fate::NotSent, 0), "byte {at}: {error}");
    }
}

#[test]
fn a_peer_that_dies_in_the_middle_is_an_error() {
    for transfer in [Transfer::Copy, Transfer::Splice] {
        let (listener, address) = listener();
        thread::scope(|s| {
            s.spawn(|| {
                let mut receiver = receiver(listener, Network::new());
                drop(receiver.next(Some(LONG)).unwrap().unwrap());
                drop(receiver);
            });
            let started = Instant::now();
            let error =
                sender(address, Network::new(), transfer).send(&name("b"), &pattern(30_000_000)).unwrap_err();
            assert_eq!(
                (error.kind(), error.fate()),
                (ErrorKind::Lost, Fate::NotHandled),
                "{transfer:?}: {error}"
            );
            assert!(started.elapsed() < LONG);
        });
    }
}

#[test]
fn a_sender_finds_its_peer_elsewhere_by_the_way_that_is_left() {
    let base = tempfile::tempdir().unwrap();
    let folder =
        crate::rendezvous::Folder::open(&base.path().join("hose"), &"t".try_into().unwrap()).unwrap();
    let secret = |_| crate::Secret::generate().unwrap();
    let (a, b) = (config("a", &["b"], LONG, Transfer::Auto), config("b", &[], LONG, Transfer::Auto));
    let (secret_a, secret_b) = (secret(0), secret(1));
    let published_a = folder.publish(&a, &secret_a, "a").unwrap();
    let published_b = folder.publish(&b, &secret_b, "b").unwrap();
    let (listener, address) = listener();
    let unix_ended = std::sync::mpsc::channel();
    thread::scope(|s| {
        s.spawn(move || {
            {
                // One receiver takes connections by both ways.
                let unix = Way::Unix(crate::unix::Host::new(secret_b, published_b.mount));
                let local = Local::with(b, [unix, Way::Tcp(Network::new())]);
                let mut receiver = Receiver::new(&local, published_b.listener).unwrap();
                let (other, _) = super::tests::listener();
                receiver.listen(other).unwrap();
                assert_eq!(echo(&mut receiver, 1), 1);
            }
            unix_ended.0.send(()).unwrap();
            // It comes back across the network.
            assert_eq!(echo(&mut receiver(listener, Network::new()), 1), 1);
        });
        let unix = Way::Unix(crate::unix::Host::new(secret_a, published_a.mount));
        let network = Network::new().with_target(name("b"), address);
        let mut sender = Sender::new(&Local::with(a, [unix, Way::Tcp(network)]));
        let mut answer = || {
            let answer = sender.send(&name("b"), b"x").unwrap().answer.unwrap();
            answer.read_into(&mut [0]).unwrap();
        };
        answer();
        unix_ended.1.recv().unwrap();
        answer();
        let statistics = sender.statistics(&name("b"));
        assert_eq!((statistics.unix, statistics.tcp), (1, 1));
    });
}
