//! The keys that say how long a function lives that is given payloads, and how many may wait for it.

use std::time::Duration;

use super::{HOSE, Keys};
use crate::error::{Error, ErrorKind, Result};

/// How long what runs may take once the function was asked to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Payloads that wait for one function.
const MAX_INFLIGHT: u32 = 256;
const MOST_INFLIGHT: u64 = 65_536;

/// How long a function lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifecycle {
    /// Until the last of those who have sent to it has closed its connection, or it fails.
    #[default]
    Oneshot,
    /// Until it is asked to end.
    Serve,
}

impl Lifecycle {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oneshot => "oneshot",
            Self::Serve => "serve",
        }
    }
}

/// How long it lives, how long it may take to end, and what may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    lifecycle: Lifecycle,
    drain_timeout: Duration,
    max_inflight: u32,
}

impl Service {
    /// How long it lives.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// How long what runs may take once it was asked to end.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// How many payloads may wait while one is handled.
    #[must_use]
    pub fn max_inflight(&self) -> u32 {
        self.max_inflight
    }

    /// A function that nobody but itself gives payloads to cannot serve.
    pub(super) fn check(&self, keys: &Keys<'_>, reaches_containers: bool) -> Result<()> {
        match keys.get(HOSE, "lifecycle") {
            Some(value) if self.lifecycle == Lifecycle::Serve && !reaches_containers => {
                Err(value.invalid(format_args!("needs kernel, network or auto in {HOSE}mode")))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn parse(keys: &Keys<'_>) -> Result<Service> {
    let lifecycle =
        keys.one_of(HOSE, "lifecycle", &[("oneshot", Lifecycle::Oneshot), ("serve", Lifecycle::Serve)])?;
    Ok(Service { lifecycle, drain_timeout: drain_timeout(keys)?, max_inflight: max_inflight(keys)? })
}

fn drain_timeout(keys: &Keys<'_>) -> Result<Duration> {
    let Some(timeout) = keys.duration(HOSE, "drain-timeout")? else { return Ok(DRAIN_TIMEOUT) };
    if timeout > hose::config::MAX_TIMEOUT {
        return Err(out_of_bounds(keys, "drain-timeout", "is longer than 24h"));
    }
    Ok(timeout)
}

fn max_inflight(keys: &Keys<'_>) -> Result<u32> {
    match keys.integer(HOSE, "max-inflight")? {
        None => Ok(MAX_INFLIGHT),
        Some(number) if number > MOST_INFLIGHT => {
            Err(out_of_bounds(keys, "max-inflight", "is more than 65536"))
        }
        // It fits.
        Some(number) => Ok(u32::try_from(number).unwrap_or(MAX_INFLIGHT)),
    }
}

fn out_of_bounds(keys: &Keys<'_>, name: &'static str, why: &str) -> Error {
    let failed = || Error::new(ErrorKind::Annotation, format!("annotation {HOSE}{name}: {why}"));
    keys.get(HOSE, name).map_or_else(failed, |value| value.invalid(why))
}
