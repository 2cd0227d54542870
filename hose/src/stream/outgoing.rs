//! What is sent, and what came of it.

use std::time::Duration;

use crate::{Status, TraceContext};

/// A payload to send, and what goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub(super) payload: &'a [u8],
    pub(super) trace: Option<TraceContext>,
}

impl Outgoing<'_> {
    /// As part of a trace.
    pub fn traced(self, trace: TraceContext) -> Self {
        Self { trace: Some(trace), ..self }
    }
}

impl<'a> From<&'a [u8]> for Outgoing<'a> {
    fn from(payload: &'a [u8]) -> Self {
        Self { payload, trace: None }
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

/// A payload that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What the peer's function said.
    pub status: Status,
    /// Time from the first byte until this end knew that the peer's host had the last.
    pub received_after: Duration,
    /// Time from the first byte until this end knew that the peer's function had returned.
    pub handled_after: Duration,
}
