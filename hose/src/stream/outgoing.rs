//! What is sent.

use std::cell::RefCell;

use crate::TraceContext;
use crate::sealed::Frozen;

/// What is said of a gift that has left.
pub(super) const LET_GO: &str = "a payload that was let go of";

/// The bytes of a payload or an answer, and where they are.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// In ordinary memory.
    Bytes(&'a [u8]),
    /// Frozen: where a descriptor can be passed, no byte is copied.
    Frozen(&'a Frozen),
    /// The same, to be let go of.
    Gift(&'a Gift),
}

/// A frozen payload that is let go of as soon as it is on its way to every target: its last receiver gives the memory back then, and not its sender,
/// who would do it before its send returns (100 MB: 0.3 ms).
#[derive(Debug)]
pub struct Gift {
    frozen: RefCell<Option<Frozen>>,
    len: usize,
}

impl Gift {
    /// Of what nobody else has to have.
    pub fn new(frozen: Frozen) -> Self {
        Self { len: frozen.len(), frozen: RefCell::new(Some(frozen)) }
    }

    /// What is left of it when it was sent: `None` if it has left.
    pub fn into_frozen(self) -> Option<Frozen> {
        self.frozen.into_inner()
    }

    pub(super) fn frozen(&self) -> Option<Frozen> {
        self.frozen.borrow().clone()
    }

    pub(super) fn let_go(&self) {
        self.frozen.take();
    }
}

impl<'a> Payload<'a> {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Frozen(frozen) => frozen.len(),
            Payload::Gift(gift) => gift.len,
        }
    }

    /// The bytes, where they lie in ordinary memory.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Payload::Bytes(bytes) => Some(bytes),
            Payload::Frozen(_) | Payload::Gift(_) => None,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is frozen of it, if it is.
    pub fn frozen(&self) -> Option<Frozen> {
        match self {
            Payload::Bytes(_) => None,
            Payload::Frozen(frozen) => Some((*frozen).clone()),
            Payload::Gift(gift) => gift.frozen(),
        }
    }
}

impl<'a> From<&'a Frozen> for Payload<'a> {
    fn from(frozen: &'a Frozen) -> Self {
        Payload::Frozen(frozen)
    }
}

impl<'a> From<&'a Gift> for Outgoing<'a> {
    fn from(gift: &'a Gift) -> Self {
        Self { payload: Payload::Gift(gift), trace: None }
    }
}

impl<'a> From<&'a Frozen> for Outgoing<'a> {
    fn from(frozen: &'a Frozen) -> Self {
        Self { payload: frozen.into(), trace: None }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Payload::Bytes(bytes)
    }
}

/// A payload to send, and what goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub(super) payload: Payload<'a>,
    pub(super) trace: Option<TraceContext>,
}

impl Outgoing<'_> {
    /// As part of a trace.
    pub fn traced(self, trace: TraceContext) -> Self {
        Self { trace: Some(trace), ..self }
    }
}

impl<'a> From<Payload<'a>> for Outgoing<'a> {
    fn from(payload: Payload<'a>) -> Self {
        Self { payload, trace: None }
    }
}

impl<'a> From<&'a [u8]> for Outgoing<'a> {
    fn from(payload: &'a [u8]) -> Self {
        Self { payload: payload.into(), trace: None }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Outgoing<'a> {
    fn from(payload: &'a [u8; N]) -> Self {
        payload.as_slice().into()
    }
}

impl<'a> From<&'a Vec<u8>> for Outgoing<'a> {
    fn from(payload: &'a Vec<u8>) -> Self {
        payload.as_slice().into()
    }
}
