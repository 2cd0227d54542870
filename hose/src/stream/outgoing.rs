//! What is sent.

use crate::sealed::Frozen;
use crate::{Result, TraceContext};

/// The bytes of a payload or an answer, and where they are.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// In ordinary memory.
    Bytes(&'a [u8]),
    /// Frozen: where a descriptor can be passed, no byte is copied.
    Frozen(&'a Frozen),
}

impl<'a> Payload<'a> {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Frozen(frozen) => frozen.len(),
        }
    }

    /// The bytes themselves, copied.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes.to_vec()),
            Payload::Frozen(frozen) => Ok(frozen.view()?.to_vec()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a Frozen> for Payload<'a> {
    fn from(frozen: &'a Frozen) -> Self {
        Payload::Frozen(frozen)
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
