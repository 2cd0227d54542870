//! What came of a payload that was sent.

use std::time::{Duration, Instant};

use super::link::{Broken, Progress, wait};
use super::task::{Route, Routes};
use crate::{Error, ErrorKind, Fate, Name, Result, Status};

/// A payload that was handled.
#[derive(Debug)]
pub struct Delivery {
    /// What the peer's function said.
    pub status: Status,
    /// Time from the first byte until this end knew that the peer's host had the last.
    pub received_after: Duration,
    /// Time from the first byte until this end knew that the peer's function had returned.
    pub handled_after: Duration,
    /// What the peer's function answered, if it did.
    pub answer: Option<Answer>,
}

/// An answer that is announced, and still on its way: read it into a region, or drop it. Until then its peer waits,
/// and the connection takes no other frame; dropped, the connection ends.
#[must_use = "the peer waits until it is read or dropped"]
#[derive(Debug)]
pub struct Answer {
    pub(super) route: Route,
    pub(super) routes: Routes,
    pub(super) target: Name,
    pub(super) len: usize,
    pub(super) by: Instant,
}

impl Answer {
    /// Bytes, at most the configuration's maximum.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads it into `region`, whose length must be [`Answer::len`]. The kernel copies each byte once, from the socket's buffers to the
    /// region. The whole must be there within an io timeout of its announcement.
    ///
    /// On an error the region holds a part of the answer or nothing, and [`Error::fate`] is [`Fate::Handled`].
    pub fn read_into(mut self, region: &mut [u8]) -> Result<()> {
        if region.len() != self.len {
            let message = format!("a region of {} bytes for an answer of {}", region.len(), self.len);
            return Err(Error::new(ErrorKind::Invalid, message).with_fate(Fate::Handled));
        }
        self.fill(region).map_err(|e| e.with_fate(Fate::Handled))?;
        self.routes.give_back(self.target, self.route);
        Ok(())
    }

    fn fill(&mut self, region: &mut [u8]) -> Result<()> {
        let (target, total, mut filled) = (&self.target, self.len, 0);
        loop {
            let before = filled;
            let progress = self.route.link.receive_payload(region, &mut filled).map_err(|broken| {
                let message =
                    format!("function {target} was lost after {filled} of {total} bytes of an answer");
                let error = Error::new(ErrorKind::Lost, message);
                match broken {
                    Broken::Call(_, e) => error.caused_by(e),
                    _ => error,
                }
            })?;
            if progress == Progress::Done {
                return Ok(());
            }
            // What had arrived in time counts.
            if filled == before && self.by <= Instant::now() {
                let message =
                    format!("function {target} sent {filled} of {total} bytes of an answer in time");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            wait(&[self.route.link.readable()], Some(self.by)).map_err(|e| Error::system("poll", e))?;
        }
    }
}
