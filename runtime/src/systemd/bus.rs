//! As much of D-Bus as it takes to call systemd's manager: one call at a time, over the socket that the manager itself listens on, or where that is not to be had a bus.
//!
//! Follows the D-Bus specification ("Message Protocol", "Authentication Protocol"). Not a client for anything else: no signals, no descriptors, no
//! answers of other types than strings and object paths.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::trust;

/// How long the manager may take for one answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(25);
/// No answer that is read here comes near it.
const LONGEST: usize = 1 << 20;
/// What the manager is called on a bus.
const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";

// Types of messages, and fields of their headers.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// What a property of a unit is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    Signed(i32),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
    Texts(Vec<String>),
    Pairs(Vec<(String, String)>),
}

/// A named one.
pub(crate) type Property = (String, Value);

/// A connection.
#[derive(Debug)]
pub(crate) struct Bus {
    socket: UnixStream,
    serial: u32,
}

impl Bus {
    /// Connects to the manager of the system for root, or to that of the user.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Container`] where there is none.
    pub(crate) fn connect() -> Result<Self> {
        let places = places();
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (path, is_bus) in &places {
            match Self::open(path, *is_bus) {
                Ok(bus) => return Ok(bus),
                Err(error) => {
                    tracing::debug!("systemd at {}: {error}", path.display());
                    last = error;
                }
            }
        }
        let tried: Vec<_> = places.iter().map(|(path, _)| path.display().to_string()).collect();
        Err(last)
            .context(ErrorKind::Container, || format!("systemd: cannot connect to {}", tried.join(" or ")))
    }

    fn open(path: &Path, is_bus: bool) -> io::Result<Self> {
        let mut socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(ANSWERED_WITHIN))?;
        // Who this is the peer knows from the socket: in a user namespace a number of ours would be another one for it.
        // BEGIN does not wait for the answer, as systemd's own clients do not: a call that systemd reads together with it is left until something else comes.
        socket.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut answer = Vec::new();
        while answer.iter().filter(|byte| **byte == b'\n').count() < 2 {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > 1024 {
                return Err(io::Error::other("the answer to AUTH has no end"));
            }
        }
        if !answer.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"OK ")) {
            return Err(io::Error::other(format!("AUTH: {}", String::from_utf8_lossy(&answer).trim_end())));
        }
        let mut bus = Self { socket, serial: 0 };
        if is_bus {
            let hello = Call {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                signature: "",
            };
            bus.send(&hello, &[]).map_err(io::Error::other)?;
        }
        Ok(bus)
    }

    /// Calls a method of the manager's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Container`], with the name and the words of the manager's error.
    pub(super) fn call(&mut self, member: &'static str, signature: &'static str, body: &[u8]) -> Result<()> {
        let interface = "org.freedesktop.systemd1.Manager";
        let call = Call { destination: NAME, path: OBJECT, interface, member, signature };
        self.send(&call, body)
    }

    fn send(&mut self, call: &Call, body: &[u8]) -> Result<()> {
        self.serial += 1;
        let message = call.message(self.serial, body);
        let failed = || format!("systemd: {}", call.member);
        self.socket.write_all(&message).context(ErrorKind::Container, failed)?;
        loop {
            let answer = self.receive().context(ErrorKind::Container, failed)?;
            if answer.reply_to != Some(self.serial) {
                continue;
            }
            return match answer.kind {
                RETURN => Ok(()),
                _ => {
                    let name = answer.error.rsplit('.').next().unwrap_or_default().to_owned();
                    let message = format!("systemd: {}: {name}: {}", call.member, answer.text);
                    Err(Error::new(ErrorKind::Container, message))
                }
            };
        }
    }

    fn receive(&mut self) -> io::Result<Answer> {
        let mut start = [0; 16];
        self.socket.read_exact(&mut start)?;
        let little = start[0] == b'l';
        let number = |at: usize| {
            let bytes = [start[at], start[at + 1], start[at + 2], start[at + 3]];
            (if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }) as usize
        };
        let (body, fields) = (number(4), number(12));
        if body > LONGEST || fields > LONGEST {
            return Err(io::Error::other("a message is too long"));
        }
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        self.socket.read_exact(&mut rest)?;
        Answer::parse(start[1], little, &rest[..fields], &rest[fields.next_multiple_of(8)..])
            .ok_or_else(|| io::Error::other("a message cannot be read"))
    }
}

/// Where managers listen, the likeliest first, and whether that is a bus.
fn places() -> Vec<(PathBuf, bool)> {
    let mut places = Vec::new();
    let named = |variable: &str| {
        let given = env::var(variable).ok()?;
        given
            .split(';')
            .find_map(|one| Some(PathBuf::from(one.strip_prefix("unix:path=")?.split(',').next()?)))
    };
    if trust::is_rootless() {
        let folder = env::var_os("XDG_RUNTIME_DIR")
            .map_or_else(|| PathBuf::from(format!("/run/user/{}", trust::host_uid())), PathBuf::from);
        places.push((folder.join("systemd/private"), false));
        places.extend(named("DBUS_SESSION_BUS_ADDRESS").map(|path| (path, true)));
        places.push((folder.join("bus"), true));
    } else {
        places.push((PathBuf::from("/run/systemd/private"), false));
        let bus = named("DBUS_SYSTEM_BUS_ADDRESS");
        places.push((bus.unwrap_or_else(|| PathBuf::from("/run/dbus/system_bus_socket")), true));
    }
    places
}

struct Call {
    destination: &'static str,
    path: &'static str,
    interface: &'static str,
    member: &'static str,
    signature: &'static str,
}

impl Call {
    fn message(&self, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Writer::default();
        out.0.extend([b'l', CALL, 0, 1]);
        out.number(u32::try_from(body.len()).unwrap_or(u32::MAX));
        out.number(serial);
        out.array(8, |out| {
            for (field, kind, value) in [
                (PATH, "o", self.path),
                (INTERFACE, "s", self.interface),
                (MEMBER, "s", self.member),
                (DESTINATION, "s", self.destination),
            ] {
                out.align(8);
                out.0.push(field);
                out.signature(kind);
                out.text(value);
            }
            if !self.signature.is_empty() {
                out.align(8);
                out.0.push(SIGNATURE);
                out.signature("g");
                out.signature(self.signature);
            }
        });
        out.align(8);
        out.0.extend(body);
        out.0
    }
}

/// What comes back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    kind: u8,
    reply_to: Option<u32>,
    error: String,
    /// The first argument, where it is a string.
    text: String,
}

impl Answer {
    fn parse(kind: u8, little: bool, fields: &[u8], body: &[u8]) -> Option<Self> {
        let mut answer = Self { kind, ..Self::default() };
        let mut signature = String::new();
        let mut reader = Reader { bytes: fields, at: 0, little };
        while reader.at < fields.len() {
            reader.align(8);
            let field = reader.byte()?;
            match (field, reader.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => answer.reply_to = Some(reader.number()?),
                (ERROR_NAME, "s") => answer.error = reader.text()?,
                (SIGNATURE, "g") => signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                _ => return None,
            }
        }
        if kind == ERROR && signature.starts_with('s') {
            answer.text = Reader { bytes: body, at: 0, little }.text()?;
        }
        Some(answer)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..self.at + 4)?.try_into().ok()?;
        self.at += 4;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn text(&mut self) -> Option<String> {
        let len = self.number()? as usize;
        self.words(len)
    }

    fn signature(&mut self) -> Option<String> {
        let len = self.byte()? as usize;
        self.words(len)
    }

    fn words(&mut self, len: usize) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes.get(self.at..self.at.checked_add(len)?)?).into_owned();
        self.at += len + 1;
        Some(text)
    }
}

/// Writes values as they are sent: each at a multiple of its size.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// An array of things of that alignment. Its length counts from where the first one begins.
    pub(super) fn array(&mut self, alignment: usize, write: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        write(self);
        let len = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[place..place + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |out| {
            for (name, value) in properties {
                out.align(8);
                out.text(name);
                out.value(value);
            }
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.signature("s");
                self.text(text);
            }
            Value::Flag(flag) => {
                self.signature("b");
                self.number(u32::from(*flag));
            }
            Value::Number(number) => {
                self.signature("t");
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::Signed(number) => {
                self.signature("i");
                self.number(number.cast_unsigned());
            }
            Value::Bytes(bytes) => {
                self.signature("ay");
                self.array(1, |out| out.0.extend(bytes));
            }
            Value::Numbers(numbers) => {
                self.signature("au");
                self.array(4, |out| numbers.iter().for_each(|number| out.number(*number)));
            }
            Value::Texts(texts) => {
                self.signature("as");
                self.array(4, |out| texts.iter().for_each(|text| out.text(text)));
            }
            Value::Pairs(pairs) => {
                self.signature("a(ss)");
                self.array(8, |out| {
                    for (first, second) in pairs {
                        out.align(8);
                        out.text(first);
                        out.text(second);
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn values_are_aligned_and_arrays_say_their_length() {
        let mut out = Writer::default();
        out.text("a");
        out.properties(&[("P".to_owned(), Value::Number(1)), ("Q".to_owned(), Value::Bytes(vec![7]))]);
        // A string of one letter, and where the array begins, whose length does not count what comes before the first of it.
        assert_eq!(out.0[..12], [1, 0, 0, 0, b'a', 0, 0, 0, 41, 0, 0, 0]);
        assert_eq!(
            out.0[16..40],
            [1, 0, 0, 0, b'P', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(out.0[40..], [1, 0, 0, 0, b'Q', 0, 2, b'a', b'y', 0, 0, 0, 1, 0, 0, 0, 7]);
    }

    /// A manager that answers each call with one of these: an error's name and words, or nothing.
    fn manager(
        answers: Vec<Option<(&'static str, &'static str)>>,
    ) -> (tempfile::TempDir, thread::JoinHandle<Vec<Vec<u8>>>) {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("private")).expect("a socket");
        let serve = move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut hello = [0; 29];
            socket.read_exact(&mut hello).expect("its greeting, which waits for no answer");
            assert!(hello.ends_with(b"BEGIN\r\n"));
            socket.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").expect("an answer");
            let mut calls = Vec::new();
            for (serial, answer) in (1_u32..).zip(answers) {
                let mut start = [0; 16];
                socket.read_exact(&mut start).expect("a call");
                let number = |at: usize| {
                    u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]) as usize
                };
                let mut rest = vec![0; number(12).next_multiple_of(8) + number(4)];
                socket.read_exact(&mut rest).expect("its rest");
                calls.push(rest);
                let mut body = Writer::default();
                let mut out = Writer::default();
                if let Some((_, words)) = answer {
                    body.text(words);
                }
                out.0.extend([b'l', if answer.is_some() { ERROR } else { RETURN }, 1, 1]);
                out.number(u32::try_from(body.0.len()).expect("a short one"));
                out.number(serial);
                out.array(8, |out| {
                    out.0.push(REPLY_SERIAL);
                    out.signature("u");
                    out.number(serial);
                    if let Some((name, _)) = answer {
                        out.align(8);
                        out.0.push(ERROR_NAME);
                        out.signature("s");
                        out.text(name);
                        out.align(8);
                        out.0.push(SIGNATURE);
                        out.signature("g");
                        out.signature("s");
                    }
                });
                out.align(8);
                out.0.extend(body.0);
                socket.write_all(&out.0).expect("the answer");
            }
            calls
        };
        (folder, thread::spawn(serve))
    }

    #[test]
    fn a_call_is_answered_or_fails_with_the_managers_words() {
        let (folder, thread) =
            manager(vec![None, Some(("org.freedesktop.systemd1.UnitExists", "there it is"))]);
        let mut bus = Bus::open(&folder.path().join("private"), false).expect("a manager");
        let mut body = Writer::default();
        body.text("x.scope");
        bus.call("StopUnit", "s", &body.0).expect("an answer");
        let error = bus.call("StopUnit", "s", &body.0).expect_err("an error").to_string();
        assert_eq!(error, "systemd: StopUnit: UnitExists: there it is");
        let calls = thread.join().expect("what it was asked");
        assert!(calls.iter().all(|call| call.ends_with(b"x.scope\0")));
    }

    #[test]
    fn what_is_no_message_is_none() {
        for fields in [&[5, 1, b'u', 0][..], &[5, 200, b'u'], &[4, 1, b's', 0, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(Answer::parse(RETURN, true, fields, &[]), None);
        }
    }
}
