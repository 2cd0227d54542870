//! Sending, calling, and receiving by asking for it.

#![expect(unsafe_code, reason = "a received region becomes a slice")]

use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use guest_abi::Status;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::text_of;
use crate::{Buffer, Error, Result, imports, memory};

/// Sends `payload` to every target of this function, and returns when the function of each has handled it.
///
/// The error is the first target's, in the order of the container's configuration; the others may have handled the payload.
pub fn send(payload: &[u8]) -> Result<()> {
    registered(payload, imports::send_to_host)
}

/// Sends `payload` to one target of this function, by its name, and returns when its function has handled it.
pub fn send_to(target: &str, payload: &[u8]) -> Result<()> {
    registered(payload, |payload| imports::send_to(target, payload))
}

/// Sends `payload` to every target (fan-out), and tells what became of it at each, in the order of the container's configuration.
pub fn send_to_each(payload: &[u8]) -> Vec<(String, Result<()>)> {
    // What it says is one of the statuses that are asked for below.
    let _ = send(payload);
    // The text of an error is the last target's that failed; the status is each one's own.
    targets()
        .into_iter()
        .zip(0..)
        .map(|(name, index)| (name, Error::check(imports::target_status(index))))
        .collect()
}

/// The names of this function's targets.
pub fn targets() -> Vec<String> {
    (0..imports::targets()).map(|index| text_of(|buffer| imports::target_name(index, buffer))).collect()
}

/// Sends `payload` to one target, and waits for what that answers.
pub fn call(target: &str, payload: &[u8]) -> Result<Message> {
    let mut answered = Err(Status::OK);
    registered(payload, |payload| {
        answered = imports::call(target, payload);
        answered.err().unwrap_or(Status::OK)
    })?;
    answered.map_err(Error::host).and_then(|(address, len)| message(address, len))
}

/// Calls `send` with a payload that is registered with the host for as long as that takes.
fn registered(payload: &[u8], send: impl FnOnce(&[u8]) -> Status) -> Result<()> {
    // Where an empty slice lies may be nowhere.
    static SOMEWHERE: [u8; 1] = [0];
    let region = if payload.is_empty() { &SOMEWHERE[..] } else { payload };
    let payload = &region[..payload.len()];
    if memory::is_registered(region.as_ptr().addr(), region.len()) {
        return Error::check(send(payload));
    }
    // A part of a buffer is registered already: then the host refuses, and sends it all the same.
    let registered = imports::register_memory(region).is_ok();
    let sent = Error::check(send(payload));
    if !registered {
        return sent;
    }
    let unregistered = imports::unregister_memory(region);
    // The first failure is the one to report; its text was asked for before it is replaced.
    sent.and_then(|()| Error::check(unregistered))
}

/// Waits for the next payload, of any function that sends to this one.
pub fn recv() -> Result<Message> {
    receive(-1)
}

/// Waits for the next payload for up to `timeout` (in milliseconds, rounded up; 24 days at most): `None` when none came.
pub fn recv_timeout(timeout: Duration) -> Result<Option<Message>> {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX);
    match receive(milliseconds) {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.status() == Status::TIMEOUT => Ok(None),
        Err(error) => Err(error),
    }
}

fn receive(timeout_ms: i32) -> Result<Message> {
    let (address, len) = imports::receive(timeout_ms).map_err(Error::host)?;
    message(address, len)
}

fn message(address: usize, len: usize) -> Result<Message> {
    // SAFETY: the host has filled the region, and frees it only when `Message` completes it.
    match unsafe { memory::lend(address, len) } {
        Some(bytes) => Ok(Message { bytes }),
        None => Err(Error::host(Status::INVALID_REGION)),
    }
}

/// A received payload, or the answer to a [`call`]: its bytes, which may be written to, too. A payload's sender waits until it is
/// done with, which is when it is dropped at the latest; a function that ends while it has one counts as failed.
pub struct Message {
    /// The whole region, from its first byte; this function's until [`Message::complete`].
    bytes: &'static mut [u8],
}

impl Message {
    /// Name of the function that sent it; empty if the host cannot say.
    pub fn sender(&self) -> String {
        text_of(|buffer| imports::peer_name(self.address(), buffer))
    }

    /// Handled: the sender's call returns with success.
    pub fn done(self) -> Result<()> {
        self.complete(0)
    }

    /// Not acceptable: the sender's call returns [`Error::Rejected`] with `code`, which is lowered to 2³¹−1 if it is larger.
    pub fn reject(self, code: NonZeroU32) -> Result<()> {
        self.complete(code.get().try_into().unwrap_or(i32::MAX))
    }

    /// Handled, and answered: a sender that called is given the buffer.
    pub fn answer(self, answer: Buffer) -> Result<()> {
        Error::check(imports::answer(self.address(), &answer))?;
        // The host has it when this returns; then the buffer may go.
        self.complete(0)
    }

    /// A view of the payload as plain old data, where it lies: nothing if it is not exactly one, or not aligned for it.
    pub fn view<T: FromBytes + KnownLayout + Immutable>(&self) -> Option<&T> {
        T::ref_from_bytes(self).ok()
    }

    /// The same for any number of one after the other.
    pub fn views<T: FromBytes + KnownLayout + Immutable>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(self).ok()
    }

    fn address(&self) -> usize {
        self.bytes.as_ptr().addr()
    }

    fn complete(self, status: i32) -> Result<()> {
        // The region is gone when `complete` returns, and `self` must not complete it again.
        let this = std::mem::ManuallyDrop::new(self);
        Error::check(imports::complete(this.address(), status))
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // Nobody is left to be told that the sender could not be told.
        let _ = imports::complete(self.address(), 0);
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl DerefMut for Message {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("sender", &self.sender()).field("len", &self.len()).finish()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::imports::completed;

    #[test]
    fn what_is_sent_is_received_and_completed_once() {
        for payload in [&b""[..], b"x", &[7; 100_000]] {
            send(payload).unwrap();
            let message = recv().unwrap();
            assert_eq!(&*message, payload);
            assert_eq!(message.sender(), "loopback");
            assert_eq!(message.as_ptr().addr() % crate::ALIGNMENT, 0);
            message.done().unwrap();
            assert_eq!(completed(), [0]);
        }
    }

    #[test]
    fn dropping_completes_and_rejecting_gives_the_code() {
        send(b"a").unwrap();
        drop(recv().unwrap());
        send(b"b").unwrap();
        recv().unwrap().reject(NonZeroU32::MIN).unwrap();
        send(b"c").unwrap();
        recv().unwrap().reject(NonZeroU32::MAX).unwrap();
        assert_eq!(completed(), [0, 1, i32::MAX]);
    }

    #[test]
    fn a_part_of_a_message_is_sent_on_from_where_it_lies() {
        send(b"0123456789").unwrap();
        let mut message = recv().unwrap();
        message[3] = b'x';
        send(&message[2..5]).unwrap();
        assert_eq!(&*recv().unwrap(), b"2x4");
    }

    #[test]
    fn a_call_is_answered() {
        let answer = call("loopback", b"over and back").unwrap();
        assert_eq!(&*answer, b"over and back");
        drop(answer);
        assert_eq!(call("nobody", b"x").unwrap_err().status(), Status::NO_TARGET);
    }

    #[test]
    fn each_target_has_its_result() {
        assert_eq!(targets(), ["loopback"]);
        assert_eq!(send_to_each(b"x"), [("loopback".to_owned(), Ok(()))]);
        recv().unwrap().answer(Buffer::from(&b"y"[..])).unwrap();
    }

    #[test]
    fn nothing_there_is_a_timeout() {
        assert!(recv_timeout(Duration::ZERO).unwrap().is_none());
        assert_eq!(recv().unwrap_err().status(), Status::TIMEOUT);
    }

    #[test]
    fn an_unknown_target_is_an_error_and_leaves_nothing_registered() {
        let payload = b"x";
        assert_eq!(send_to("nobody", payload).unwrap_err().status(), Status::NO_TARGET);
        assert_eq!(imports::unregister_memory(payload), Status::INVALID_REGION);
        send_to("loopback", payload).unwrap();
        assert_eq!(&*recv().unwrap(), payload);
    }
}
