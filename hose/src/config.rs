//! One function's end of the hose, parsed once: nothing here is checked again later.

use std::time::Duration;

use crate::{Error, ErrorKind, Name, Result, Workflow};

/// Most targets of one function.
pub const MAX_TARGETS: usize = 256;
/// Longest timeout of either kind.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest payload that can be allowed: a linear memory's 4 GiB, less one page, as no region reaches further.
pub const MAX_SIZE: u64 = (4 << 30) - (64 << 10);

/// Bounds of one function's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    connect_timeout: Duration,
    io_timeout: Duration,
    max_size: u64,
}

impl Default for Limits {
    /// 30 seconds, 30 seconds, 1 GiB.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            io_timeout: Duration::from_secs(30),
            max_size: 1 << 30,
        }
    }
}

impl Limits {
    /// - `connect_timeout`: how long a sender waits until its peer is there and has proved itself
    /// - `io_timeout`: how long one payload may take, from its first byte until it is handled
    /// - `max_size`: largest payload in bytes, sent or received
    ///
    /// Both timeouts are between 1 ms and [`MAX_TIMEOUT`], the size is between 1 and [`MAX_SIZE`]; anything else is
    /// [`ErrorKind::Invalid`].
    pub fn new(connect_timeout: Duration, io_timeout: Duration, max_size: u64) -> Result<Self> {
        for (what, timeout) in [("connect timeout", connect_timeout), ("io timeout", io_timeout)] {
            if timeout < Duration::from_millis(1) || timeout > MAX_TIMEOUT {
                let message = format!("{what} of {timeout:?} is not between 1 ms and {MAX_TIMEOUT:?}");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
        if max_size == 0 || max_size > MAX_SIZE {
            let message = format!("maximum size of {max_size} bytes is not between 1 and {MAX_SIZE}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self { connect_timeout, io_timeout, max_size })
    }

    /// How long a sender waits until its peer is there and has proved itself.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long one payload may take, from its first byte until it is handled.
    pub fn io_timeout(&self) -> Duration {
        self.io_timeout
    }

    /// Largest payload in bytes, sent or received.
    pub fn max_size(&self) -> u64 {
        self.max_size
    }
}

/// How payloads cross, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transfer {
    /// Whatever measures best.
    #[default]
    Auto,
    /// Every byte through the kernel's buffers.
    Copy,
    /// Pages change hands, between functions of one process; elsewhere as [`Transfer::Auto`].
    Move,
    /// Sealed memory, between containers of one host, however small the payload; elsewhere as [`Transfer::Auto`].
    Memfd,
    /// By vmsplice and splice, between hosts, however small the payload; elsewhere as [`Transfer::Copy`].
    Splice,
}

impl std::fmt::Display for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Copy => "copy",
            Self::Move => "move",
            Self::Memfd => "memfd",
            Self::Splice => "splice",
        })
    }
}

impl std::str::FromStr for Transfer {
    type Err = Error;

    /// `auto`, `copy`, `move`, `memfd` or `splice`.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "copy" => Self::Copy,
            "move" => Self::Move,
            "memfd" => Self::Memfd,
            "splice" => Self::Splice,
            _ => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "transfer is none of auto, copy, move, memfd and splice",
                ));
            }
        })
    }
}

/// Who a function is on the hose, whom it sends to, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    name: Name,
    workflow: Workflow,
    targets: Vec<Name>,
    limits: Limits,
    transfer: Transfer,
}

impl Config {
    /// Fails with [`ErrorKind::Invalid`] on a target that is named twice, on the function itself as a target (it
    /// would wait for itself), and on more than [`MAX_TARGETS`].
    pub fn new(name: Name, workflow: Workflow, targets: Vec<Name>, limits: Limits) -> Result<Self> {
        let invalid = |message| Err(Error::new(ErrorKind::Invalid, message));
        if targets.len() > MAX_TARGETS {
            return invalid(format!("{} targets, {MAX_TARGETS} at most are allowed", targets.len()));
        }
        for (i, target) in targets.iter().enumerate() {
            if *target == name {
                return invalid(format!("function {name} is its own target"));
            }
            if targets[..i].contains(target) {
                return invalid(format!("target {target} is named twice"));
            }
        }
        Ok(Self { name, workflow, targets, limits, transfer: Transfer::Auto })
    }

    /// With another way for payloads to cross than [`Transfer::Auto`].
    pub fn with_transfer(self, transfer: Transfer) -> Self {
        Self { transfer, ..self }
    }

    /// How payloads cross.
    pub fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// This function's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its workflow.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// Whom it may send to, in the order given.
    pub fn targets(&self) -> &[Name] {
        &self.targets
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(s: &str) -> Name {
        Name::try_from(s).unwrap()
    }

    #[test]
    fn defaults_are_within_the_bounds() {
        let d = Limits::default();
        assert_eq!(Limits::new(d.connect_timeout, d.io_timeout, d.max_size).unwrap(), d);
    }

    #[test]
    fn limits_out_of_bounds_are_refused_by_name() {
        let s = Duration::from_secs(1);
        for (limits, what) in [
            (Limits::new(Duration::ZERO, s, 1), "connect timeout"),
            (Limits::new(s, Duration::MAX, 1), "io timeout"),
            (Limits::new(s, s, 0), "maximum size of 0"),
            (Limits::new(s, s, u64::MAX), "maximum size of 18446744073709551615"),
        ] {
            let error = limits.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    #[test]
    fn targets_are_distinct_others() {
        let config = |targets: &[&str]| {
            let targets = targets.iter().map(|t| name(t)).collect();
            Config::new(name("a"), Workflow::try_from("w").unwrap(), targets, Limits::default())
        };
        assert_eq!(config(&["b", "c"]).unwrap().targets(), [name("b"), name("c")]);
        assert_eq!(config(&["a"]).unwrap_err().to_string(), "function a is its own target");
        assert_eq!(config(&["b", "b"]).unwrap_err().to_string(), "target b is named twice");
        let many: Vec<String> = (0..=MAX_TARGETS).map(|i| format!("t{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(config(&many).unwrap_err().to_string().starts_with("257 targets"));
    }
}
