//! What came of a payload that was sent.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::link::{Broken, Progress, wait};
use super::mapped::{Lease, Mapped};
use super::task::{Route, Routes};
use crate::sealed::{Placed, Range, Sealed};
use crate::{Error, ErrorKind, Fate, Name, Result, Status};

/// Bytes that are thrown away at once.
const PIECE: usize = 64 << 10;

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
    pub(super) sealed: Option<Sealed>,
    pub(super) by: Instant,
    pub(super) pending: Pending,
}

/// Counts an answer as long as it is not read.
#[derive(Debug)]
pub(super) struct Pending(Rc<Cell<usize>>);

impl Pending {
    pub(super) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
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
        self.check_length(region.len())?;
        match &self.sealed {
            Some(sealed) => sealed.read_into(region).map_err(|e| self.unmappable("read", e))?,
            None => self.fill(region).map_err(|e| e.with_fate(Fate::Handled))?,
        }
        self.end(true);
        Ok(())
    }

    /// Ends it, and keeps nothing of it: for a sender that did not ask for one, and wants to keep its connection.
    pub fn discard(mut self) -> Result<()> {
        if self.sealed.is_none() {
            let mut piece = vec![0; self.len.min(PIECE)];
            let mut left = self.len;
            while left > 0 {
                let count = left.min(piece.len());
                self.fill(&mut piece[..count]).map_err(|e| e.with_fate(Fate::Handled))?;
                left -= count;
            }
        }
        self.end(true);
        Ok(())
    }

    /// As [`Answer::read_into`], but a sealed answer's whole pages are mapped in place of those of `range`, as by
    /// [`Receiver::map_into`](crate::Receiver::map_into).
    pub fn map_into(mut self, mut range: Range) -> Result<Mapped> {
        self.check_length(range.len())?;
        let Some(sealed) = &self.sealed else {
            let copied = self.len;
            self.fill(range.bytes_mut()).map_err(|e| e.with_fate(Fate::Handled))?;
            self.end(true);
            return Ok(Mapped { mapping: None, mapped: 0, copied, lease: None });
        };
        let Placed { mapping, mapped, copied } =
            sealed.map_into(range).map_err(|e| self.unmappable("map", e))?;
        let lease = mapping.is_some().then(|| {
            Rc::new(Lease {
                connection: self.route.id,
                sequence: self.route.sequence,
                releases: self.routes.releases(),
                ended: Cell::new(false),
                told: Cell::new(true),
            })
        });
        self.end(lease.is_none());
        Ok(Mapped { mapping, mapped, copied, lease })
    }

    /// Whether it can be mapped. It can be read in any case.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    fn check_length(&self, len: usize) -> Result<()> {
        if len == self.len {
            return Ok(());
        }
        let message = format!("a region of {len} bytes for an answer of {}", self.len);
        Err(Error::new(ErrorKind::Invalid, message).with_fate(Fate::Handled))
    }

    fn unmappable(&self, what: &str, e: Errno) -> Error {
        Error::system(format!("{what} a sealed answer of function {}", self.target), e)
            .with_fate(Fate::Handled)
    }

    /// Its connection is free for the next frame. `released` says that the peer's memory, if it was that, is no longer needed.
    fn end(self, released: bool) {
        let Self { mut route, routes, target, sealed, pending, .. } = self;
        let sequence = route.sequence;
        // A connection that is lost is found to be when it is used.
        if sealed.is_none() || !released || route.release(sequence).is_ok() {
            routes.give_back(target, route);
        }
        drop(pending);
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
