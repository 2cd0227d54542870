//! The paper's serialization: a payload is the string of a JSON object. Nothing in it has to be escaped, so a reader borrows the string
//! from what came; this is the fastest that JSON can be.

use std::borrow::Cow;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Message<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

/// Serializes a payload.
///
/// # Errors
///
/// When it is no text.
pub fn to_vec(payload: &[u8]) -> Result<Vec<u8>> {
    let payload = Cow::Borrowed(std::str::from_utf8(payload).context("the payload")?);
    // One allocation: the string, and what stands around it.
    let mut body = Vec::with_capacity(payload.len() + 16);
    serde_json::to_writer(&mut body, &Message { payload }).context("JSON")?;
    Ok(body)
}

/// The payload of what [`to_vec`] made.
///
/// # Errors
///
/// When it is nothing of that kind.
pub fn from_slice(body: &[u8]) -> Result<Cow<'_, str>> {
    Ok(serde_json::from_slice::<Message<'_>>(body).context("JSON")?.payload)
}
