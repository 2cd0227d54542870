//! Both directions against each other, and each against a peer that does what it should not.
//!
//! The hostile peers speak through [`Raw`], which can say anything.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::transcript::{Prover, Role, Transcript};
use super::wire::{Challenge, Flags, HEADER_LEN, Header, Hello, Kind, Refusal, Scheme, message};
use super::{Answer, Delivery, Gift, Local, Outgoing, Payload, Receiver, Sender};
use crate::config::Transfer;
use crate::rendezvous::{Folder, Published, Record};
use crate::sealed::tests::{Place, frauds, frozen};
use crate::sealed::{Buffer, GIVEN_MIN, Pages};
use crate::{Config, Error, ErrorKind, Fate, Limits, Name, Result, Secret, Status, TraceContext};

/// Long enough for a loaded machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn name(s: &str) -> Name {
    s.try_into().unwrap()
}

/// A tenant of its own.
struct Scene {
    base: tempfile::TempDir,
}

/// One published end, from which a thread can make its [`Local`].
struct End {
    config: Config,
    secret: Secret,
    published: Published,
}

impl End {
    /// Most tests are about payloads in the stream; this one is about descriptors.
    fn transfer(self, transfer: Transfer) -> Self {
        Self { config: self.config.with_transfer(transfer), ..self }
    }

    fn local(self) -> (std::rc::Rc<Local>, OwnedFd) {
        (Local::new(self.config, self.secret, self.published.mount), self.published.listener)
    }

    fn sender(self) -> Sender {
        // The listener goes: a sender in these tests is nobody's target.
        Sender::new(&self.local().0)
    }

    fn receiver(self) -> Receiver {
        let (local, listener) = self.local();
        Receiver::new(&local, listener).unwrap()
    }
}

impl Scene {
    fn new() -> Self {
        Self { base: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> Folder {
        Folder::open(&self.base.path().join("hose"), &"t".try_into().unwrap()).unwrap()
    }

    fn end(&self, me: &str, targets: &[&str], connect: Duration, io: Duration) -> End {
        self.end_with(me, targets, Limits::new(connect, io, 1 << 30).unwrap())
    }

    fn end_with(&self, me: &str, targets: &[&str], limits: Limits) -> End {
        let targets = targets.iter().map(|t| name(t)).collect();
        let config = Config::new(name(me), "w".try_into().unwrap(), targets, limits).unwrap();
        let config = config.with_transfer(Transfer::Copy);
        let secret = Secret::generate().unwrap();
        let published = self.folder().publish(&config, &secret, me).unwrap();
        End { config, secret, published }
    }

    fn record(&self, of: &str) -> Record {
        let folder = std::fs::File::open(self.base.path().join("hose/t")).unwrap();
        Record::read(&folder, &"w".try_into().unwrap(), &name(of)).unwrap().unwrap()
    }

    fn path(&self, of: &str) -> PathBuf {
        self.base.path().join("hose/t").join(self.record(of).socket)
    }

    /// Speaks to the receiver `to`, without having proved anything.
    fn raw(&self, to: &str) -> Raw {
        let stream = UnixStream::connect(self.path(to)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Raw(stream)
    }
}

/// A connection on which anything can be said.
struct Raw(UnixStream);

impl Raw {
    fn say(&mut self, bytes: &[u8]) {
        // A peer that has hung up already is the point of some tests.
        let _ = self.0.write_all(bytes);
    }

    /// The same, with descriptors.
    fn pass(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let sent = sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()));
    }

    fn hear(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut header = [0; HEADER_LEN];
        self.0.read_exact(&mut header).ok()?;
        let header = Header::decode(&header).unwrap();
        let mut body = vec![0; header.length as usize];
        self.0.read_exact(&mut body).ok()?;
        Some((header, body))
    }

    /// Whether the other side has hung up, without another word.
    fn ended(&mut self) -> bool {
        self.0.read(&mut [0]).map_or_else(|e| e.kind() == std::io::ErrorKind::ConnectionReset, |n| n == 0)
    }

    fn refusal(&mut self) -> Option<Refusal> {
        let (header, _) = self.hear()?;
        assert_eq!(header.kind, Kind::Refused);
        Refusal::from_code(header.code)
    }

    /// The sender's part of the handshake, as `from` with any secret; the messages that it sent.
    fn shake(&mut self, scene: &Scene, from: &str, to: &str, secret: &Secret) -> Vec<Vec<u8>> {
        let hello = Hello {
            nonce: [7; 32],
            scheme: Scheme::Signatures,
            max_answer: 1 << 20,
            workflow: "w".try_into().unwrap(),
            sender: name(from),
            receiver: name(to),
        };
        let first = message(Kind::Hello, 0, 0, &hello.encode());
        self.say(&first);
        let Some((Header { kind: Kind::Challenge, .. }, body)) = self.hear() else { panic!("no challenge") };
        let challenge = Challenge::decode(&body, Scheme::Signatures).unwrap();
        let transcript = Transcript { hello, receiver_nonce: challenge.nonce, max_size: challenge.max_size };
        let prover = Prover::Signatures { own: secret.clone(), peer: scene.record(to).key };
        let second = message(Kind::Proof, 0, 0, &prover.prove(&transcript, Role::Sender));
        self.say(&second);
        vec![first, second]
    }

    fn welcome(&mut self) {
        assert_eq!(self.hear().unwrap().0.kind, Kind::Welcome);
    }
}

fn data(sequence: u64, length: u64) -> [u8; HEADER_LEN] {
    Header::new(Kind::Data, sequence, length).encode()
}

/// Receives and handles `n` frames; what came and from whom.
fn take(receiver: &mut Receiver, n: usize) -> Vec<(String, Vec<u8>)> {
    let mut frames = vec![];
    while frames.len() < n {
        let incoming = receiver.next(Some(LONG)).unwrap().expect("a frame within the time");
        let mut region = vec![0xee; incoming.len()];
        // A peer that fails midway is the point of some tests; the receiver goes on.
        let Ok(held) = receiver.read_into(incoming, &mut region) else { continue };
        frames.push((held.sender().to_string(), region));
        let _ = receiver.handled(held, Status(frames.len() as i32), None);
    }
    frames
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn payloads_of_every_size_arrive_unharmed_and_in_order() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    let sizes = [0, 1, 31, 32, 33, 4096, 65_537, 10_000_019];
    thread::scope(|s| {
        let received = s.spawn(|| take(&mut b.receiver(), sizes.len()));
        let mut sender = a.sender();
        for (i, size) in sizes.iter().enumerate() {
            let delivery = sender.send(&name("b"), &pattern(*size)).unwrap();
            assert_eq!(delivery.status, Status(i as i32 + 1));
            assert!(delivery.received_after <= delivery.handled_after);
        }
        let received = received.join().unwrap();
        for ((sender, payload), size) in received.iter().zip(sizes) {
            assert_eq!(sender, "a");
            assert!(*payload == pattern(size), "{size} bytes");
        }
    });
}

#[test]
fn a_sender_waits_for_a_peer_that_is_not_published_yet() {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], LONG, LONG);
    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(SHORT);
            let b = scene.end("b", &[], LONG, LONG);
            // Published, as by `create`, and only later listened to, as after `start`.
            thread::sleep(SHORT);
            take(&mut b.receiver(), 1);
        });
        let started = Instant::now();
        a.sender().send(&name("b"), b"x").unwrap();
        assert!(started.elapsed() >= 2 * SHORT);
    });
}

#[test]
fn a_sender_finds_the_successor_of_a_dead_peer() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        let (died, death) = mpsc::channel();
        s.spawn(move || {
            take(&mut b.receiver(), 1);
            died.send(()).unwrap();
        });
        let mut sender = a.sender();
        sender.send(&name("b"), b"to the first").unwrap();
        death.recv().unwrap();
        s.spawn(|| {
            thread::sleep(SHORT);
            let frames = take(&mut scene.end("b", &[], LONG, LONG).receiver(), 1);
            assert_eq!(frames[0].1, b"to the second");
        });
        sender.send(&name("b"), b"to the second").unwrap();
    });
}

#[test]
fn a_peer_that_never_comes_ends_in_its_timeout() {
    let scene = Scene::new();
    let mut sender = scene.end("a", &["b"], SHORT, LONG).sender();
    let started = Instant::now();
    let error = sender.send(&name("b"), b"x").unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent));
    assert_eq!(error.to_string(), "function b did not come within 300ms: it is not published");
    assert!(started.elapsed() >= SHORT && started.elapsed() < SHORT * 4);
    drop(scene.end("b", &[], LONG, LONG));
    let error = sender.send(&name("b"), b"x").unwrap_err();
    assert_eq!(error.to_string(), "function b did not come within 300ms: its process is gone");
}

#[test]
fn many_senders_to_one_receiver_are_told_apart_and_all_served() {
    let scene = Scene::new();
    let b = scene.end("b", &[], LONG, LONG);
    let senders: Vec<End> = (0..6).map(|i| scene.end(&format!("a{i}"), &["b"], LONG, LONG)).collect();
    thread::scope(|s| {
        for (i, end) in senders.into_iter().enumerate() {
            s.spawn(move || {
                let mut sender = end.sender();
                (0..20).for_each(|n| {
                    sender.send(&name("b"), &pattern(1000 * i + n)).unwrap();
                });
            });
        }
        let mut receiver = b.receiver();
        let frames = take(&mut receiver, 120);
        for i in 0..6 {
            let of_one: Vec<_> = frames.iter().filter(|(from, _)| *from == format!("a{i}")).collect();
            assert_eq!(of_one.len(), 20);
            for (n, (_, payload)) in of_one.iter().enumerate() {
                assert!(*payload == pattern(1000 * i + n), "frame {n} of a{i}");
            }
        }
    });
}

#[test]
fn peers_take_turns() {
    let scene = Scene::new();
    let b = scene.end("b", &[], LONG, LONG);
    // Nobody takes what it sends last.
    let greedy = scene.end("a0", &["b"], SHORT * 5, SHORT * 5);
    let modest = scene.end("a1", &["b"], LONG, LONG);
    thread::scope(|s| {
        s.spawn(move || {
            let mut sender = greedy.sender();
            while sender.send(&name("b"), b"more").is_ok() {}
        });
        s.spawn(move || modest.sender().send(&name("b"), b"please").unwrap().status);
        let mut receiver = b.receiver();
        let mut turns = 0;
        while take(&mut receiver, 1)[0].0 != "a1" {
            turns += 1;
            assert!(turns < 100_000, "a1 is starved");
        }
    });
}

#[test]
fn what_waits_beyond_the_bound_is_refused_as_busy_and_the_rest_is_served() {
    let scene = Scene::new();
    let b = scene.end("b", &[], LONG, LONG);
    let ends: Vec<End> = (0..4).map(|i| scene.end(&format!("a{i}"), &["b"], LONG, LONG)).collect();
    thread::scope(|s| {
        let mut receiver = b.receiver();
        let senders: Vec<_> = (0..)
            .zip(ends)
            .map(|(i, end)| {
                s.spawn(move || {
                    let mut sender = end.sender();
                    sender.send(&name("b"), b"to be connected").unwrap();
                    thread::sleep(SHORT * (i + 1));
                    sender.send(&name("b"), &pattern(1000)).map(|delivery| delivery.status)
                })
            })
            .collect();
        take(&mut receiver, 4);
        receiver.refuse_beyond(1);
        let mut region = [0; 1000];
        let first = receiver.next(Some(LONG)).unwrap().unwrap();
        let held = receiver.read_into(first, &mut region).unwrap();
        thread::sleep(SHORT * 5);
        receiver.handled(held, Status::OK, None).unwrap();
        take(&mut receiver, 2);
        let results: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3, "{results:?}");
        let error = results.into_iter().find_map(Result::err).unwrap();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotHandled));
        assert_eq!(error.to_string(), "function b refused: it is busy, or about to end");
    });
}

#[test]
fn a_receiver_that_is_stopped_answers_at_once_and_refuses_what_waits() {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    thread::scope(|s| {
        let sender = s.spawn(|| {
            let mut sender = a.sender();
            sender.send(&name("b"), b"first").unwrap();
            thread::sleep(SHORT * 3);
            sender.send(&name("b"), b"too late").map(|delivery| delivery.status)
        });
        let mut receiver = b.receiver();
        receiver.stop_when(&STOPPED, reader);
        take(&mut receiver, 1);
        s.spawn(|| {
            thread::sleep(SHORT);
            STOPPED.store(true, Ordering::Relaxed);
            rustix::io::write(&writer, b"x").unwrap();
        });
        let started = Instant::now();
        assert!(receiver.next(None).unwrap().is_none() && receiver.is_stopped());
        assert!(receiver.next_while_connected().unwrap().is_none());
        assert!(started.elapsed() < SHORT * 2);
        thread::sleep(SHORT * 4);
        receiver.close();
        let error = sender.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotHandled), "{error}");
    });
}

#[test]
fn one_sender_to_many_waits_for_the_slowest_only() {
    let scene = Scene::new();
    let a = scene.end("a", &["b0", "b1", "absent", "b2"], SHORT * 4, LONG);
    let receivers: Vec<End> = (0..3).map(|i| scene.end(&format!("b{i}"), &[], LONG, LONG)).collect();
    thread::scope(|s| {
        for end in receivers {
            s.spawn(move || {
                let mut receiver = end.receiver();
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                let mut region = vec![0; incoming.len()];
                let held = receiver.read_into(incoming, &mut region).unwrap();
                thread::sleep(SHORT);
                receiver.handled(held, Status::OK, None).unwrap();
            });
        }
        let started = Instant::now();
        let results = a.sender().send_to_all(&pattern(3_000_000));
        let took = started.elapsed();
        let order: Vec<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["b0", "b1", "absent", "b2"]);
        for (target, result) in &results {
            match target.as_str() {
                "absent" => assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Timeout),
                _ => assert_eq!(result.as_ref().unwrap().status, Status::OK),
            }
        }
        assert!(took < SHORT * 7, "one after the other: {took:?}");
    });
}

#[test]
fn only_targets_are_sent_to_and_only_what_fits() {
    let scene = Scene::new();
    let small = Limits::new(LONG, LONG, 10).unwrap();
    let smaller = Limits::new(LONG, LONG, 5).unwrap();
    let (a, b) = (scene.end_with("a", &["b"], small), scene.end_with("b", &[], smaller));
    thread::scope(|s| {
        let mut sender = a.sender();
        assert_eq!(sender.send(&name("c"), b"").unwrap_err().kind(), ErrorKind::Target);
        let error = sender.send(&name("b"), &[0; 11]).unwrap_err();
        let expected = "a payload of 11 bytes is larger than the 10 that this function accepts";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::TooLarge, expected));
        s.spawn(|| take(&mut b.receiver(), 1));
        let error = sender.send(&name("b"), &[0; 6]).unwrap_err();
        let expected = "a payload of 6 bytes is larger than the 5 that function b accepts";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::TooLarge, expected));
        assert_eq!(error.fate(), Fate::NotSent);
        sender.send(&name("b"), &[0; 5]).unwrap();
    });
}

#[test]
fn a_receiver_without_room_says_so_and_the_next_payload_arrives() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        s.spawn(|| {
            let mut receiver = b.receiver();
            let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
            receiver.refuse(incoming);
            let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
            let error = receiver.read_into(incoming, &mut [0; 3]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(take(&mut receiver, 1)[0].1, b"third");
        });
        let mut sender = a.sender();
        // Too large for the socket's buffer: the refusal comes while it is being written.
        for payload in [&pattern(5_000_000)[..], b"second"] {
            let error = sender.send(&name("b"), payload).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Refused, Fate::NotHandled), "{error}");
        }
        sender.send(&name("b"), b"third").unwrap();
    });
}

#[test]
fn a_handler_that_takes_too_long_leaves_the_fate_unknown_and_its_answer_is_not_anothers() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, SHORT), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        s.spawn(|| {
            let mut receiver = b.receiver();
            let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
            let mut region = vec![0; incoming.len()];
            let held = receiver.read_into(incoming, &mut region).unwrap();
            thread::sleep(SHORT * 2);
            assert_eq!(receiver.handled(held, Status(111), None).unwrap_err().kind(), ErrorKind::Lost);
            take(&mut receiver, 1);
        });
        let mut sender = a.sender();
        let error = sender.send(&name("b"), b"slow").unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown));
        let expected = "function b did not handle a payload within 300ms (fate of the payload unknown)";
        assert_eq!(error.to_string(), expected);
        // The receiver is busy for another 300 ms; the connect timeout covers that.
        assert_eq!(sender.send(&name("b"), b"quick").unwrap().status, Status(1));
    });
}

#[test]
fn two_frames_of_two_peers_can_be_held_at_once() {
    let scene = Scene::new();
    let b = scene.end("b", &[], LONG, LONG);
    let senders = [scene.end("a0", &["b"], LONG, LONG), scene.end("a1", &["b"], LONG, LONG)];
    thread::scope(|s| {
        let sends = senders.map(|end| s.spawn(move || end.sender().send(&name("b"), b"x").unwrap().status));
        let mut receiver = b.receiver();
        let mut held: Vec<_> = (0..2)
            .map(|_| {
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                receiver.read_into(incoming, &mut [0]).unwrap()
            })
            .collect();
        // In the other order.
        while let Some(held) = held.pop() {
            let status = Status(held.sender().as_str().len() as i32);
            receiver.handled(held, status, None).unwrap();
        }
        sends.into_iter().for_each(|send| assert_eq!(send.join().unwrap(), Status(2)));
    });
}

#[test]
fn a_frame_that_is_forgotten_ends_its_connection_not_the_senders_patience() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        s.spawn(|| {
            let mut receiver = b.receiver();
            drop(receiver.next(Some(LONG)).unwrap().expect("the first"));
            let incoming = receiver.next(Some(LONG)).unwrap().expect("the second");
            drop(receiver.read_into(incoming, &mut [0; 6]).unwrap());
            assert_eq!(take(&mut receiver, 1)[0].1, b"third");
        });
        let mut sender = a.sender();
        for payload in [&b"first"[..], b"second"] {
            let error = sender.send(&name("b"), payload).unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Lost, Fate::Unknown));
        }
        sender.send(&name("b"), b"third").unwrap();
    });
}

#[test]
fn serving_while_connected_ends_when_the_last_peer_has_gone() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        s.spawn(|| {
            let mut sender = a.sender();
            sender.send(&name("b"), b"first").unwrap();
            thread::sleep(SHORT);
            sender.send(&name("b"), b"second").unwrap();
        });
        let mut receiver = b.receiver();
        take(&mut receiver, 1);
        // Idle, but connected: it waits for the second.
        let incoming = receiver.next_while_connected().unwrap().expect("the second frame");
        let held = receiver.read_into(incoming, &mut [0; 6]).unwrap();
        receiver.handled(held, Status::OK, None).unwrap();
        assert!(receiver.next_while_connected().unwrap().is_none());
    });
}

#[test]
fn waiting_for_nobody_ends_in_time() {
    let mut receiver = Scene::new().end("b", &[], LONG, LONG).receiver();
    assert!(receiver.next(Some(Duration::ZERO)).unwrap().is_none());
    let started = Instant::now();
    assert!(receiver.next(Some(SHORT)).unwrap().is_none());
    assert!(started.elapsed() >= SHORT && started.elapsed() < SHORT * 4);
}

/// A receiver `b`, a well-behaved sender `a`, and a connection of someone else's, who is published as `m`.
/// Whatever `attack` does, `a`'s payload arrives, and nothing but it and `expected` more.
fn receiver_survives(expected: usize, attack: impl FnOnce(&Scene, &mut Raw, &Secret) + Send) {
    let scene = Scene::new();
    let b = scene.end_with("b", &[], Limits::new(LONG, SHORT, 1 << 20).unwrap());
    let (a, m) = (scene.end("a", &["b"], LONG, LONG), scene.end("m", &["b"], LONG, LONG));
    thread::scope(|s| {
        let frames = s.spawn(|| take(&mut b.receiver(), expected + 1));
        let mut raw = scene.raw("b");
        attack(&scene, &mut raw, &m.secret);
        a.sender().send(&name("b"), b"the honest one").unwrap();
        let frames = frames.join().unwrap();
        assert_eq!(
            frames.iter().filter(|(from, payload)| from == "a" && payload == b"the honest one").count(),
            1
        );
    });
}

#[test]
fn a_peer_that_proves_itself_is_served() {
    // The tests below are worth something only if `Raw` can do it right.
    receiver_survives(1, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 3));
        raw.say(b"abc");
        assert_eq!(raw.hear().unwrap().0.kind, Kind::Handled);
    });
}

#[test]
fn rubbish_is_hung_up_on() {
    receiver_survives(0, |_, raw, _| {
        raw.say(&[0xff; 4096]);
        assert!(raw.ended());
    });
    receiver_survives(0, |_, raw, _| {
        raw.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(raw.ended());
    });
}

#[test]
fn another_version_is_refused_by_name() {
    receiver_survives(0, |_, raw, _| {
        let mut hello = message(Kind::Welcome, 0, 0, &[]);
        hello[4] = 2;
        raw.say(&hello);
        assert_eq!(raw.refusal(), Some(Refusal::Version));
        assert!(raw.ended());
    });
}

#[test]
fn data_before_a_proof_is_hung_up_on() {
    receiver_survives(0, |_, raw, _| {
        raw.say(&data(1, 3));
        raw.say(b"abc");
        assert!(raw.ended());
    });
}

#[test]
fn a_wrong_key_is_refused() {
    receiver_survives(0, |scene, raw, _| {
        raw.shake(scene, "m", "b", &Secret::generate().unwrap());
        assert_eq!(raw.refusal(), Some(Refusal::Unproved));
        assert!(raw.ended());
    });
}

#[test]
fn a_forged_name_is_refused() {
    // m has a key, but not a's.
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "a", "b", secret);
        assert_eq!(raw.refusal(), Some(Refusal::Unproved));
    });
}

#[test]
fn an_unknown_name_is_refused() {
    receiver_survives(0, |_, raw, _| {
        let hello = Hello {
            nonce: [0; 32],
            scheme: Scheme::Signatures,
            max_answer: 1 << 20,
            workflow: "w".try_into().unwrap(),
            sender: name("nobody"),
            receiver: name("b"),
        };
        raw.say(&message(Kind::Hello, 0, 0, &hello.encode()));
        assert_eq!(raw.refusal(), Some(Refusal::Unproved));
    });
}

#[test]
fn a_proof_meant_for_another_is_refused() {
    receiver_survives(0, |_, raw, _| {
        let hello = Hello {
            nonce: [0; 32],
            scheme: Scheme::Signatures,
            max_answer: 1 << 20,
            workflow: "w".try_into().unwrap(),
            sender: name("m"),
            receiver: name("a"),
        };
        raw.say(&message(Kind::Hello, 0, 0, &hello.encode()));
        assert_eq!(raw.refusal(), Some(Refusal::WrongPeer));
    });
}

#[test]
fn a_replayed_handshake_is_refused() {
    receiver_survives(0, |scene, raw, secret| {
        let recorded = raw.shake(scene, "m", "b", secret);
        raw.welcome();
        let mut replay = scene.raw("b");
        replay.say(&recorded[0]);
        assert_eq!(replay.hear().unwrap().0.kind, Kind::Challenge);
        replay.say(&recorded[1]);
        assert_eq!(replay.refusal(), Some(Refusal::Unproved));
    });
}

#[test]
fn a_receivers_own_signature_does_not_come_back_as_a_proof() {
    receiver_survives(0, |_, raw, _| {
        let hello = Hello {
            nonce: [7; 32],
            scheme: Scheme::Signatures,
            max_answer: 1 << 20,
            workflow: "w".try_into().unwrap(),
            sender: name("m"),
            receiver: name("b"),
        };
        raw.say(&message(Kind::Hello, 0, 0, &hello.encode()));
        let challenge = Challenge::decode(&raw.hear().unwrap().1, Scheme::Signatures).unwrap();
        raw.say(&message(Kind::Proof, 0, 0, &challenge.proof));
        assert_eq!(raw.refusal(), Some(Refusal::Unproved));
    });
}

#[test]
fn an_announced_size_above_the_maximum_is_refused() {
    for length in [(1 << 20) + 1, u64::MAX, 1 << 40] {
        receiver_survives(0, |scene, raw, secret| {
            raw.shake(scene, "m", "b", secret);
            raw.welcome();
            raw.say(&data(1, length));
            assert_eq!(raw.refusal(), Some(Refusal::TooLarge));
            assert!(raw.ended());
        });
    }
}

#[test]
fn a_sequence_that_does_not_follow_is_hung_up_on() {
    for sequence in [0, 2, u64::MAX] {
        receiver_survives(0, |scene, raw, secret| {
            raw.shake(scene, "m", "b", secret);
            raw.welcome();
            raw.say(&data(sequence, 0));
            assert!(raw.ended());
        });
    }
    // The same frame twice.
    receiver_survives(1, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 0));
        assert_eq!(raw.hear().unwrap().0.kind, Kind::Handled);
        raw.say(&data(1, 0));
        assert!(raw.ended());
    });
}

#[test]
fn half_a_frame_and_then_death_is_handed_to_nobody() {
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 1000));
        raw.say(&[1; 500]);
        raw.0.shutdown(Shutdown::Both).unwrap();
    });
}

#[test]
fn half_a_frame_and_then_silence_ends_in_the_io_timeout() {
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 1000));
        raw.say(&[1; 500]);
        assert!(raw.ended());
    });
}

#[test]
fn half_a_header_and_then_silence_holds_up_nobody() {
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 1000)[..20]);
        // The honest sender is served before this one's time is up: `receiver_survives` goes on at once.
    });
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 1000)[..20]);
        assert!(raw.ended());
    });
}

#[test]
fn a_crowd_that_never_proves_itself_does_not_keep_others_out() {
    receiver_survives(0, |scene, raw, _| {
        let crowd: Vec<Raw> = (0..100)
            .map(|_| {
                // The backlog may be full for a moment.
                loop {
                    match UnixStream::connect(scene.path("b")) {
                        Ok(stream) => return Raw(stream),
                        Err(_) => thread::sleep(Duration::from_millis(1)),
                    }
                }
            })
            .collect();
        assert!(raw.ended(), "the oldest makes room");
        drop(crowd);
    });
}

#[test]
fn one_name_does_not_take_all_the_connections() {
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        let mut more: Vec<Raw> = (0..4).map(|_| scene.raw("b")).collect();
        for raw in &mut more {
            raw.shake(scene, "m", "b", secret);
        }
        more[..3].iter_mut().for_each(Raw::welcome);
        assert_eq!(more[3].refusal(), Some(Refusal::Busy));
    });
}

/// The sender `a` against a receiver `b` that does what `answer` says, once for each connection, and counts the frames
/// that it was sent.
fn sender_against(answer: impl Fn(&mut Raw, &Receiving) + Send + 'static) -> (Result<Delivery>, usize) {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], SHORT * 2, SHORT);
    let End { config: _, secret, published } = scene.end("b", &[], LONG, LONG);
    let key = a.secret.public();
    let frames = thread::spawn(move || {
        let listener = UnixListener::from(published.listener);
        let receiving = Receiving { secret, sender_key: key, frames: 0.into() };
        listener.set_nonblocking(true).unwrap();
        let end = Instant::now() + SHORT * 5;
        while Instant::now() < end {
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(SHORT * 3)).unwrap();
            answer(&mut Raw(stream), &receiving);
        }
        receiving.frames.into_inner()
    });
    let result = a.sender().send(&name("b"), &pattern(1_000_000));
    (result, frames.join().unwrap())
}

struct Receiving {
    secret: Secret,
    sender_key: crate::PublicKey,
    frames: std::cell::Cell<usize>,
}

impl Receiving {
    /// The receiver's part of the handshake, with any secret.
    fn shake(&self, raw: &mut Raw, secret: &Secret) {
        let (_, body) = raw.hear().unwrap();
        let hello = Hello::decode(&body).unwrap();
        let transcript = Transcript { hello, receiver_nonce: [9; 32], max_size: 1 << 30 };
        let prover = Prover::Signatures { own: secret.clone(), peer: self.sender_key };
        let proof = prover.prove(&transcript, Role::Receiver);
        let body = Challenge { nonce: [9; 32], max_size: 1 << 30, proof }.encode();
        raw.say(&message(Kind::Challenge, 0, 0, &body));
    }

    fn welcome(&self, raw: &mut Raw) {
        self.shake(raw, &self.secret);
        assert_eq!(raw.hear().unwrap().0.kind, Kind::Proof);
        raw.say(&message(Kind::Welcome, 0, 0, &[]));
    }

    fn header(&self, raw: &mut Raw) -> u64 {
        let mut header = [0; HEADER_LEN];
        raw.0.read_exact(&mut header).unwrap();
        self.frames.set(self.frames.get() + 1);
        Header::decode(&header).unwrap().sequence
    }

    /// All of it right, and an answer that begins with `bytes` and is said to have `length`.
    fn answer(&self, raw: &mut Raw, flags: Flags, length: u64, bytes: &[u8]) {
        self.welcome(raw);
        let sequence = self.frame(raw);
        raw.say(&message(Kind::Received, 0, sequence, &[]));
        raw.say(&Header { flags, ..Header::new(Kind::Handled, sequence, length) }.encode());
        raw.say(bytes);
    }

    fn frame(&self, raw: &mut Raw) -> u64 {
        let sequence = self.header(raw);
        raw.0.read_exact(&mut vec![0; 1_000_000]).unwrap();
        sequence
    }
}

fn failed(result: Result<Delivery>) -> (ErrorKind, Fate, String) {
    let error: Error = result.unwrap_err();
    (error.kind(), error.fate(), error.to_string())
}

#[test]
fn a_receiver_that_keeps_to_the_protocol_is_sent_to_once() {
    let (result, frames) = sender_against(|raw, me| {
        me.welcome(raw);
        let sequence = me.frame(raw);
        raw.say(&message(Kind::Received, 0, sequence, &[]));
        raw.say(&message(Kind::Handled, 5, sequence, &[]));
    });
    assert_eq!((result.unwrap().status, frames), (Status(5), 1));
}

#[test]
fn an_impostor_is_not_sent_to() {
    let (result, frames) = sender_against(|raw, me| me.shake(raw, &Secret::generate().unwrap()));
    let (kind, fate, text) = failed(result);
    assert_eq!((kind, fate, frames), (ErrorKind::Auth, Fate::NotSent, 0));
    assert_eq!(text, "function b did not prove its identity");
}

#[test]
fn a_receiver_that_never_answers_ends_in_the_connect_timeout() {
    let (result, frames) = sender_against(|_, _| thread::sleep(SHORT * 4));
    assert_eq!((failed(result).0, frames), (ErrorKind::Timeout, 0));
}

#[test]
fn a_receiver_that_answers_rubbish_is_a_protocol_error() {
    let (result, frames) = sender_against(|raw, _| raw.say(&[0x55; 400]));
    let (kind, fate, text) = failed(result);
    assert_eq!((kind, fate, frames), (ErrorKind::Protocol, Fate::NotSent, 0));
    assert_eq!(text, "function b does not keep to the protocol: bytes that are no header");
}

#[test]
fn a_receiver_that_hangs_up_in_the_handshake_is_tried_again() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let (result, frames) = sender_against(move |raw, me| {
        if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3 {
            return;
        }
        me.welcome(raw);
        let sequence = me.frame(raw);
        raw.say(&message(Kind::Received, 0, sequence, &[]));
        raw.say(&message(Kind::Handled, 0, sequence, &[]));
    });
    assert_eq!((result.unwrap().status, frames), (Status::OK, 1));
}

#[test]
fn a_receiver_that_dies_in_the_middle_is_not_sent_to_again() {
    let (result, frames) = sender_against(|raw, me| {
        me.welcome(raw);
        me.header(raw);
        raw.0.read_exact(&mut [0; 1000]).unwrap();
    });
    let (kind, fate, text) = failed(result);
    assert_eq!((kind, fate, frames), (ErrorKind::Lost, Fate::NotHandled, 1));
    assert_eq!(text, "function b was lost in the middle of a payload of 1000000 bytes");
}

#[test]
fn a_receiver_that_dies_before_or_after_its_first_answer_is_not_sent_to_again() {
    for received in [false, true] {
        let (result, frames) = sender_against(move |raw, me| {
            me.welcome(raw);
            let sequence = me.frame(raw);
            if received {
                raw.say(&message(Kind::Received, 0, sequence, &[]));
            }
        });
        let (kind, fate, text) = failed(result);
        assert_eq!((kind, fate, frames), (ErrorKind::Lost, Fate::Unknown, 1));
        assert_eq!(text, "function b was lost before it had answered (fate of the payload unknown)");
    }
}

#[test]
fn no_refusal_makes_a_sender_send_again() {
    for refusal in [Refusal::Busy, Refusal::TooLarge, Refusal::NoRoom] {
        let (result, frames) = sender_against(move |raw, me| {
            me.welcome(raw);
            let sequence = me.frame(raw);
            raw.say(&message(Kind::Refused, refusal as i32, sequence, &[]));
        });
        assert_eq!((failed(result).1, frames), (Fate::NotHandled, 1), "{refusal:?}");
    }
}

#[test]
fn a_receiver_that_stalls_ends_in_the_io_timeout() {
    let (result, frames) = sender_against(|raw, me| {
        me.welcome(raw);
        me.header(raw);
        thread::sleep(SHORT * 2);
    });
    let (kind, fate, text) = failed(result);
    assert_eq!((kind, fate, frames), (ErrorKind::Timeout, Fate::NotHandled, 1));
    assert!(text.ends_with("of 1000000 bytes within 300ms"), "{text}");
}

#[test]
fn answers_that_do_not_fit_are_protocol_errors() {
    let answers = [(Kind::Received, 2), (Kind::Handled, 2), (Kind::Welcome, 1), (Kind::Data, 1)];
    for (kind, sequence) in answers {
        let (result, frames) = sender_against(move |raw, me| {
            me.welcome(raw);
            me.frame(raw);
            raw.say(&message(kind, 0, sequence, &[]));
        });
        let (error, fate, _) = failed(result);
        assert_eq!((error, fate, frames), (ErrorKind::Protocol, Fate::Unknown, 1), "{kind:?}");
    }
}

#[test]
fn connecting_leaves_the_working_directory_alone() {
    let scene = Scene::new();
    let before = std::env::current_dir().unwrap();
    let (a, _b) = (scene.end("a", &["b"], SHORT, SHORT), scene.end("b", &[], LONG, LONG));
    let error = a.sender().send(&name("b"), b"x").unwrap_err();
    assert_eq!(error.to_string(), "function b did not answer within 300ms");
    // Other tests connect in threads of this process at the same time: look until it is quiet.
    let end = Instant::now() + LONG;
    while std::env::current_dir().unwrap() != before && Instant::now() < end {
        thread::yield_now();
    }
    assert_eq!(std::env::current_dir().unwrap(), before);
}

#[test]
fn a_receiver_of_another_version_is_named() {
    let (result, frames) = sender_against(|raw, _| {
        raw.hear();
        let mut answer = message(Kind::Refused, 0, 0, &[]);
        answer[4] = 7;
        raw.say(&answer);
    });
    let (kind, fate, text) = failed(result);
    assert_eq!((kind, fate, frames), (ErrorKind::Protocol, Fate::NotSent, 0));
    let expected =
        "function b does not keep to the protocol: version 7 of the protocol, where this end has version 3";
    assert_eq!(text, expected);
}

#[test]
fn a_trace_travels_with_its_frame_and_with_no_other() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    let trace = TraceContext::new([1; 16], [2; 8], 1).unwrap();
    thread::scope(|s| {
        s.spawn(move || {
            let mut sender = a.sender();
            sender.send(&name("b"), Outgoing::from(b"x").traced(trace)).unwrap();
            sender.send(&name("b"), b"y").unwrap();
        });
        let mut receiver = b.receiver();
        for expected in [Some(trace), None] {
            let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
            assert_eq!(incoming.trace(), expected);
            let held = receiver.read_into(incoming, &mut [0]).unwrap();
            receiver.handled(held, Status::OK, None).unwrap();
        }
    });
}

/// Receives one frame and answers it.
fn answer_one(receiver: &mut Receiver, answer: Option<&[u8]>) -> Result<()> {
    let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
    let mut region = vec![0; incoming.len()];
    let held = receiver.read_into(incoming, &mut region).unwrap();
    receiver.handled(held, Status(3), answer.map(Payload::Bytes))
}

fn read(answer: Answer) -> Result<Vec<u8>> {
    let mut region = vec![0xee; answer.len()];
    answer.read_into(&mut region).map(|()| region)
}

#[test]
fn answers_of_every_size_come_back_and_the_connection_goes_on() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    let sizes = [None, Some(0), Some(1), Some(4096), Some(3_000_001), None];
    thread::scope(|s| {
        s.spawn(move || {
            let mut receiver = b.receiver();
            for size in sizes {
                answer_one(&mut receiver, size.map(pattern).as_deref()).unwrap();
            }
            assert_eq!(receiver.connections(), 1);
        });
        let mut sender = a.sender();
        for size in sizes {
            let delivery = sender.send(&name("b"), b"question").unwrap();
            assert_eq!(delivery.status, Status(3));
            assert_eq!(delivery.answer.map(|a| read(a).unwrap()), size.map(pattern));
        }
    });
}

#[test]
fn an_answer_that_is_not_read_ends_its_connection_and_the_next_frame_has_another() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        s.spawn(move || {
            let mut receiver = b.receiver();
            let error = answer_one(&mut receiver, Some(&pattern(3_000_000))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Lost);
            answer_one(&mut receiver, Some(b"short")).unwrap();
            answer_one(&mut receiver, None).unwrap();
        });
        let mut sender = a.sender();
        drop(sender.send(&name("b"), b"1").unwrap().answer.unwrap());
        let answer = sender.send(&name("b"), b"2").unwrap().answer.unwrap();
        // The second answer is not read yet: the third frame does not go where it would come from.
        sender.send(&name("b"), b"3").unwrap();
        assert_eq!(read(answer).unwrap(), b"short");
    });
}

#[test]
fn an_answer_above_the_senders_maximum_is_left_out() {
    let scene = Scene::new();
    let a = scene.end_with("a", &["b"], Limits::new(LONG, LONG, 10).unwrap());
    let b = scene.end("b", &[], LONG, LONG);
    thread::scope(|s| {
        s.spawn(move || {
            let mut receiver = b.receiver();
            let error = answer_one(&mut receiver, Some(&[0; 11])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            answer_one(&mut receiver, Some(&[1; 10])).unwrap();
        });
        let mut sender = a.sender();
        let error = sender.send(&name("b"), b"x").unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::TooLarge, Fate::Handled), "{error}");
        assert_eq!(read(sender.send(&name("b"), b"x").unwrap().answer.unwrap()).unwrap(), [1; 10]);
    });
}

#[test]
fn a_region_of_another_length_is_no_region_for_an_answer() {
    let (result, _) = sender_against(|raw, me| me.answer(raw, Flags::ANSWER, 4, b"four"));
    let error = result.unwrap().answer.unwrap().read_into(&mut [0; 3]).unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Invalid, Fate::Handled));
}

#[test]
fn an_announced_answer_above_the_maximum_is_a_protocol_error() {
    for length in [(1 << 30) + 1, u64::MAX] {
        let (result, frames) = sender_against(move |raw, me| me.answer(raw, Flags::ANSWER, length, b""));
        let (kind, fate, _) = failed(result);
        assert_eq!((kind, fate, frames), (ErrorKind::Protocol, Fate::Handled, 1));
    }
}

#[test]
fn an_answer_that_ends_in_the_middle_is_an_error_of_its_own() {
    let (result, _) = sender_against(|raw, me| me.answer(raw, Flags::ANSWER, 8, b"four"));
    let error = read(result.unwrap().answer.unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Lost, Fate::Handled));
    let expected = "function b was lost after 4 of 8 bytes of an answer (the payload was handled)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_answer_that_stalls_ends_in_the_io_timeout() {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, SHORT), scene.end("b", &[], LONG, LONG));
    let key = a.secret.public();
    thread::scope(|s| {
        s.spawn(move || {
            let End { config: _, secret, published } = b;
            let receiving = Receiving { secret, sender_key: key, frames: 0.into() };
            let listener = UnixListener::from(published.listener);
            listener.set_nonblocking(false).unwrap();
            let mut raw = Raw(listener.accept().unwrap().0);
            receiving.answer(&mut raw, Flags::ANSWER, 8, b"four");
            assert!(raw.ended());
        });
        let delivery = a.sender().send(&name("b"), &pattern(1_000_000)).unwrap();
        let error = read(delivery.answer.unwrap()).unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Handled));
    });
}

fn sealed_data(sequence: u64, length: u64) -> [u8; HEADER_LEN] {
    Header { flags: Flags::SEALED, ..Header::new(Kind::Data, sequence, length) }.encode()
}

#[test]
fn a_frozen_payload_serves_a_whole_fan_out_without_a_copy() {
    let scene = Scene::new();
    let a = scene.end("a", &["b0", "b1", "b2"], LONG, LONG).transfer(Transfer::Auto);
    let receivers: Vec<End> = (0..3).map(|i| scene.end(&format!("b{i}"), &[], LONG, LONG)).collect();
    let payload = pattern(5_000_001);
    thread::scope(|s| {
        for end in receivers {
            s.spawn(|| {
                let mut receiver = end.receiver();
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                assert!(incoming.is_sealed());
                let place = Place::new(incoming.len());
                let (held, mapped) = receiver.map_into(incoming, place.range(0, 5_000_001)).unwrap();
                assert_eq!((mapped.mapped(), mapped.copied()), (5_000_001 / 4096 * 4096, 5_000_001 % 4096));
                assert!(place.bytes(0, 5_000_001) == payload);
                // What one receiver writes, no other sees.
                place.fill(0, 5_000_001, 0x77);
                mapped.unmap().unwrap();
                receiver.handled(held, Status::OK, None).unwrap();
                assert_eq!(receiver.statistics().sealed, 1);
            });
        }
        let mut sender = a.sender();
        let results = sender.send_to_all(&frozen(&payload));
        results.into_iter().for_each(|(_, result)| assert_eq!(result.unwrap().status, Status::OK));
        let statistics = sender.statistics(&name("b1"));
        assert_eq!((statistics.sealed, statistics.copied, statistics.bytes), (1, 0, 5_000_001));
        assert_eq!(sender.kept(), 0);
    });
}

#[test]
fn a_gift_is_let_go_of_when_it_is_on_its_way_and_only_then() {
    let scene = Scene::new();
    let a = scene.end("a", &["b", "nobody"], SHORT, LONG).transfer(Transfer::Memfd);
    let b = scene.end("b", &[], LONG, LONG);
    let payload = pattern(3 << 20);
    let gift = || Gift::new(frozen(&payload));
    thread::scope(|s| {
        s.spawn(|| {
            let mut receiver = b.receiver();
            for _ in 0..2 {
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                let mut region = vec![0; incoming.len()];
                let held = receiver.read_into(incoming, &mut region).unwrap();
                assert!(region == payload);
                receiver.handled(held, Status::OK, None).unwrap();
            }
        });
        let mut sender = a.sender();
        let sent = gift();
        sender.send(&name("b"), &sent).unwrap();
        assert!(sent.into_frozen().is_none());
        let stays = gift();
        assert_eq!(sender.send(&name("nobody"), &stays).unwrap_err().fate(), Fate::NotSent);
        assert!(*stays.into_frozen().unwrap().view().unwrap() == payload[..]);
        // One of two has it.
        let sent = gift();
        let results = sender.send_to_all(&sent);
        assert_eq!(results.iter().filter(|(_, result)| result.is_ok()).count(), 1);
        assert!(sent.into_frozen().is_none());
        assert_eq!(sender.statistics(&name("b")).copied, 0);
    });
}

#[test]
fn sealed_payloads_of_every_size_arrive_read_or_mapped() {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], LONG, LONG).transfer(Transfer::Memfd);
    let b = scene.end("b", &[], LONG, LONG);
    let sizes = [1, 4095, 4096, 4097, 65_537, 2 << 20, (2 << 20) + 1, 10_000_019];
    thread::scope(|s| {
        s.spawn(move || {
            let mut receiver = b.receiver();
            for size in sizes {
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                assert!(incoming.is_sealed());
                let mut region = vec![0xee; incoming.len()];
                let held = receiver.read_into(incoming, &mut region).unwrap();
                assert!(region == pattern(size));
                receiver.handled(held, Status::OK, None).unwrap();
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                let place = Place::new(size);
                let (held, mapped) = receiver.map_into(incoming, place.range(4096, size)).unwrap();
                assert!(place.bytes(4096, size) == pattern(size));
                drop(mapped);
                receiver.handled(held, Status::OK, None).unwrap();
            }
        });
        let mut sender = a.sender();
        assert!(sender.prepare(10_000_019).unwrap());
        for size in sizes {
            sender.send(&name("b"), &pattern(size)).unwrap();
            sender.send(&name("b"), &frozen(&pattern(size))).unwrap();
        }
        assert_eq!(sender.buffers_taken(), (1, 7));
    });
}

#[test]
fn small_payloads_and_large_ones_go_different_ways() {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], LONG, LONG).transfer(Transfer::Auto);
    let b = scene.end("b", &[], LONG, LONG);
    thread::scope(|s| {
        s.spawn(|| take(&mut b.receiver(), 5));
        let mut sender = a.sender();
        let large = pattern(8 << 20);
        for payload in [&pattern(100), &large] {
            sender.send(&name("b"), payload).unwrap();
            sender.send(&name("b"), &frozen(payload)).unwrap();
        }
        // No memfd waited for what lies in ordinary memory. Now one does.
        assert!(sender.prepare(large.len()).unwrap());
        sender.send(&name("b"), &large).unwrap();
        let statistics = sender.statistics(&name("b"));
        assert_eq!((statistics.inline, statistics.sealed, statistics.copied), (3, 2, 200 + (16 << 20)));
    });
}

#[test]
fn a_buffer_is_sealed_from_a_length_on_and_the_same_in_ordinary_memory_is_not() {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], LONG, LONG).transfer(Transfer::Auto);
    let b = scene.end("b", &[], LONG, LONG);
    thread::scope(|s| {
        s.spawn(|| take(&mut b.receiver(), 3));
        let mut sender = a.sender();
        let payload = pattern(GIVEN_MIN);
        sender.send(&name("b"), &payload).unwrap();
        sender.send(&name("b"), &frozen(&payload[1..])).unwrap();
        let ways = |sender: &Sender| sender.statistics(&name("b"));
        assert_eq!((ways(&sender).inline, ways(&sender).sealed), (2, 0));
        sender.send(&name("b"), &frozen(&payload)).unwrap();
        assert_eq!((ways(&sender).inline, ways(&sender).sealed), (2, 1));
    });
}

#[test]
fn what_a_receiver_keeps_is_counted_until_it_gives_it_back() {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], LONG, LONG).transfer(Transfer::Memfd);
    let b = scene.end("b", &[], LONG, LONG);
    let (kept, keeps) = mpsc::channel();
    thread::scope(|s| {
        s.spawn(move || {
            let mut receiver = b.receiver();
            let place = Place::new(1 << 20);
            let mut all = vec![];
            for i in 0..65 {
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                // No more than so many are out: the last comes as bytes.
                assert_eq!(incoming.is_sealed(), i < 64);
                let (held, mapped) = receiver.map_into(incoming, place.range(i * 8192, 8192)).unwrap();
                receiver.handled(held, Status::OK, None).unwrap();
                all.push(mapped);
            }
            keeps.recv().unwrap();
            drop(all);
            receiver.tell_releases();
            take(&mut receiver, 1);
        });
        let mut sender = a.sender();
        (0..65).for_each(|_| drop(sender.send(&name("b"), &frozen(&[7; 8192])).unwrap()));
        assert_eq!(sender.kept(), 64 * 8192);
        kept.send(()).unwrap();
        thread::sleep(SHORT);
        sender.send(&name("b"), &frozen(&[7; 8192])).unwrap();
        assert_eq!(sender.kept(), 0);
        assert_eq!(sender.statistics(&name("b")).sealed, 65);
    });
}

#[test]
fn a_mapped_payload_outlives_its_sender() {
    let scene = Scene::new();
    let (a, b) =
        (scene.end("a", &["b"], LONG, LONG).transfer(Transfer::Memfd), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        let sent = s.spawn(|| a.sender().send(&name("b"), &pattern(3 << 20)).unwrap().status);
        let mut receiver = b.receiver();
        let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
        let place = Place::new(3 << 20);
        let (held, mapped) = receiver.map_into(incoming, place.range(0, 3 << 20)).unwrap();
        receiver.handled(held, Status::OK, None).unwrap();
        sent.join().unwrap();
        assert!(place.bytes(0, 3 << 20) == pattern(3 << 20));
        mapped.unmap().unwrap();
    });
}

/// Sends payloads of these lengths from ordinary memory, each mapped and given back, with a pause after each or none: how many found a buffer, and how
/// many did not.
fn buffers_for(lengths: &[usize], transfer: Transfer, pause: bool) -> (u64, u64) {
    let scene = Scene::new();
    let (a, b) = (scene.end("a", &["b"], LONG, LONG).transfer(transfer), scene.end("b", &[], LONG, LONG));
    thread::scope(|s| {
        let sent = s.spawn(|| {
            let mut sender = a.sender();
            let payloads: Vec<_> = lengths.iter().map(|len| pattern(*len)).collect();
            for (len, payload) in lengths.iter().zip(&payloads) {
                sender.send(&name("b"), payload).unwrap();
                if !pause {
                    continue;
                }
                // Until the next buffer is there, if there will be one.
                thread::sleep(5 * MOMENT);
                let had = (0..200).any(|_| {
                    sender.has_buffer(*len) || {
                        thread::sleep(MOMENT);
                        false
                    }
                });
                assert!(!had || lengths.len() > 1, "a buffer for somebody who sends once");
            }
            sender.buffers_taken()
        });
        let mut receiver = b.receiver();
        let place = Place::new(32 << 20);
        for len in lengths {
            let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
            let (held, mapped) = receiver.map_into(incoming, place.range(0, *len)).unwrap();
            assert!(place.bytes(0, *len) == pattern(*len));
            receiver.handled(held, Status::OK, None).unwrap();
            drop(mapped);
            receiver.tell_releases();
        }
        sent.join().unwrap()
    })
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn who_sends_large_payloads_again_and_again_finds_buffers_made() {
    if Buffer::new(10 << 20).unwrap().pages() != Pages::Huge {
        return crate::announce_skip("no huge pages");
    }
    assert_eq!(buffers_for(&[10 << 20], Transfer::Memfd, true), (0, 1));
    assert_eq!(buffers_for(&[10 << 20, 9 << 20, 10 << 20, 9 << 20], Transfer::Memfd, true), (2, 2));
    // Lengths that have nothing to do with each other are no reason.
    assert_eq!(buffers_for(&[10 << 20, 30 << 20, 10 << 20], Transfer::Memfd, true), (0, 3));
    assert_eq!(buffers_for(&[10 << 20; 3], Transfer::Copy, true), (0, 0));
    // Who sends without a pause would only be kept waiting.
    // (On a busy machine there may be one that nobody meant.)
    assert!((0..5).any(|_| buffers_for(&[10 << 20; 4], Transfer::Memfd, false) == (0, 4)));
}

#[test]
fn a_sealed_payload_that_keeps_to_the_protocol_is_taken() {
    receiver_survives(1, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.pass(&sealed_data(1, 100_000), &[frozen(&[1; 100_000]).as_fd()]);
        // Nothing comes before.
        let handled = raw.hear().unwrap().0;
        assert_eq!((handled.kind, handled.flags), (Kind::Handled, Flags::NONE));
    });
}

#[test]
fn a_descriptor_that_is_not_what_it_should_be_is_refused() {
    for (descriptor, what) in frauds(12_287) {
        receiver_survives(0, |scene, raw, secret| {
            raw.shake(scene, "m", "b", secret);
            raw.welcome();
            raw.pass(&sealed_data(1, 12_287), &[descriptor.as_fd()]);
            assert_eq!(raw.refusal(), Some(Refusal::NotSealed), "{what}");
            assert!(raw.ended());
        });
    }
}

#[test]
fn a_sealed_size_above_the_maximum_is_refused_whatever_comes_with_it() {
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.pass(&sealed_data(1, 1 << 40), &[frozen(&[1; 5000]).as_fd()]);
        assert_eq!(raw.refusal(), Some(Refusal::TooLarge));
    });
}

#[test]
fn descriptors_that_do_not_belong_end_the_connection_and_none_stays_open() {
    let count = |header: [u8; HEADER_LEN], descriptors: usize, parts: usize| {
        receiver_survives(0, |scene, raw, secret| {
            let (read, write) = rustix::pipe::pipe().unwrap();
            raw.shake(scene, "m", "b", secret);
            raw.welcome();
            for part in header.chunks(HEADER_LEN.div_ceil(parts)) {
                raw.pass(part, &vec![write.as_fd(); descriptors]);
            }
            assert!(raw.ended());
            drop(write);
            let mut fds = [rustix::event::PollFd::new(&read, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            // The end of file: no other copy of the write end is open.
            assert_eq!(rustix::event::poll(&mut fds, Some(&limit)), Ok(1));
            assert_eq!(rustix::io::read(&read, &mut [0]), Ok(0));
        });
    };
    // With a frame that announces none, more than one, hundreds, and one with each of several parts of a header.
    count(data(1, 100), 1, 1);
    count(sealed_data(1, 100), 2, 1);
    count(sealed_data(1, 100), 253, 1);
    count(sealed_data(1, 100), 1, 4);
}

#[test]
fn descriptors_among_the_bytes_of_a_payload_are_closed_and_do_no_harm() {
    receiver_survives(1, |scene, raw, secret| {
        let (read, write) = rustix::pipe::pipe().unwrap();
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&data(1, 1000));
        (0..10).for_each(|_| raw.pass(&[1; 100], &vec![write.as_fd(); 253]));
        assert_eq!(raw.hear().unwrap().0.kind, Kind::Handled);
        drop(write);
        assert_eq!(rustix::io::read(&read, &mut [0]), Ok(0));
    });
}

#[test]
fn what_comes_at_once_is_taken_apart() {
    receiver_survives(4, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        let released = message(Kind::Released, 0, 1, &[]);
        // What is behind a payload is told of by no socket any more, and its descriptor has come with the first message.
        let frames = [&data(1, 5)[..], b"first", &released, &data(2, 6), b"second", &released];
        raw.say(&frames.concat());
        for sequence in [1, 2] {
            let (answer, _) = raw.hear().unwrap();
            assert_eq!((answer.kind, answer.sequence), (Kind::Handled, sequence));
        }
        let frames = [&released[..], &released, &sealed_data(3, 5000)];
        raw.pass(&frames.concat(), &[frozen(&[1; 5000]).as_fd()]);
        assert_eq!(raw.hear().unwrap().0.sequence, 3);
        // Half of a header is waited for.
        raw.say(&[&data(4, 3)[..], b"xyz", &data(5, 3)[..10]].concat());
        assert_eq!(raw.hear().unwrap().0.sequence, 4);
        assert!(raw.ended());
    });
}

#[test]
fn a_sealed_frame_without_its_descriptor_is_hung_up_on() {
    receiver_survives(0, |scene, raw, secret| {
        raw.shake(scene, "m", "b", secret);
        raw.welcome();
        raw.say(&sealed_data(1, 100));
        assert!(raw.ended());
    });
}

#[test]
fn a_peer_that_is_slow_by_the_byte_is_waited_for_as_long_as_the_whole_may_take() {
    for header in [data(1, 100), sealed_data(1, 100)] {
        receiver_survives(0, |scene, raw, secret| {
            raw.shake(scene, "m", "b", secret);
            raw.welcome();
            let started = Instant::now();
            for byte in header.iter().chain(&[0; 99]) {
                raw.say(&[*byte]);
                thread::sleep(SHORT / 20);
                if started.elapsed() > SHORT * 8 {
                    break;
                }
            }
            assert!(raw.ended());
        });
    }
}

#[test]
fn a_frozen_answer_comes_back_without_a_copy_and_is_given_back() {
    let scene = Scene::new();
    let a = scene.end("a", &["b"], LONG, LONG).transfer(Transfer::Auto);
    let b = scene.end("b", &[], LONG, LONG).transfer(Transfer::Auto);
    let answer = pattern(5_000_001);
    thread::scope(|s| {
        s.spawn(|| {
            let mut receiver = b.receiver();
            let frozen = frozen(&answer);
            for kept in [0, 0, 6 << 20] {
                let incoming = receiver.next(Some(LONG)).unwrap().unwrap();
                assert_eq!(receiver.kept(), kept);
                let held = receiver.read_into(incoming, &mut [0]).unwrap();
                receiver.handled(held, Status::OK, Some(Payload::Frozen(&frozen))).unwrap();
            }
            assert!(receiver.next_while_connected().unwrap().is_none());
            assert_eq!(receiver.kept(), 0);
        });
        let mut sender = a.sender();
        // Read: given back at once.
        let sealed = sender.send(&name("b"), b"1").unwrap().answer.unwrap();
        assert!(sealed.is_sealed());
        assert!(read(sealed).unwrap() == answer);
        let place = Place::new(2 * answer.len() + (4 << 20));
        let mut map = |offset| {
            let mapped = sender.send(&name("b"), b"2").unwrap().answer.unwrap();
            mapped.map_into(place.range(offset, answer.len())).unwrap()
        };
        let (first, second) = (map(0), map(6 << 20));
        assert_eq!((first.mapped(), second.copied()), (5_000_001 / 4096 * 4096, 5_000_001 % 4096));
        assert!(place.bytes(0, answer.len()) == answer && place.bytes(6 << 20, answer.len()) == answer);
        drop((first, second));
        sender.tell_releases();
        thread::sleep(SHORT / 3);
    });
}

#[test]
fn an_answer_that_is_no_sealed_memory_is_a_protocol_error() {
    let answered_with = |descriptor: OwnedFd, what: &str| {
        let (result, _) = sender_against(move |raw, me| {
            me.welcome(raw);
            let sequence = me.frame(raw);
            raw.say(&message(Kind::Received, 0, sequence, &[]));
            let flags = Flags::SEALED | Flags::ANSWER;
            raw.pass(
                &Header { flags, ..Header::new(Kind::Handled, sequence, 12_287) }.encode(),
                &[descriptor.as_fd()],
            );
        });
        let (kind, fate, text) = failed(result);
        assert_eq!((kind, fate), (ErrorKind::Protocol, Fate::Handled));
        assert_eq!(
            text,
            format!("function b does not keep to the protocol: {what} (the payload was handled)")
        );
    };
    thread::scope(|s| {
        for (descriptor, what) in frauds(12_287) {
            s.spawn(move || answered_with(descriptor, what));
        }
    });
}
