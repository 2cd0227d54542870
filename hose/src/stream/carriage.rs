//! How a payload crosses: as bytes of the stream, or as a sealed memfd.

use std::cell::{Cell, OnceCell, RefCell};

use super::outgoing::{LET_GO, Outgoing, Payload};
use super::statistics::How;
use crate::config::Transfer;
use crate::sealed::{FROZEN_MIN, Frozen, GIVEN_MIN, Pool, View};
use crate::{Error, ErrorKind, Result};

/// One in ordinary memory from this length on is copied into a memfd, if one waits in the pool: to make one takes as long as copying twice, and
/// where the system has to look for the memory far longer (`examples/transfer.rs`, `warm` and `cold` against `inline`).
const WARM_MIN: usize = 1 << 20;
/// From this length on one is made for the next payload, between two sends.
const STOCK_MIN: usize = 8 << 20;

/// Of a payload in ordinary memory that goes to so many targets at once, one memfd is made for all (`examples/transfer.rs`: of 10 MB it takes
/// as long as one target's bytes, and is then mapped by each in a fifth of that).
const SHARED_FROM: usize = 3;

/// Bytes of buffers that may wait in the pool of one end.
pub(super) const POOL: usize = 256 << 20;

/// What all tasks of one send share: the payload, once in each form that one of them needs.
pub(super) struct Cargo<'a> {
    pub(super) outgoing: Outgoing<'a>,
    transfer: Transfer,
    pool: &'a RefCell<Pool>,
    /// A payload that was in ordinary memory, frozen: `None` inside when that failed.
    frozen: RefCell<Option<Option<Frozen>>>,
    view: OnceCell<View>,
    /// Whether a descriptor could be passed to one of the targets.
    passable: Cell<bool>,
    /// Whether there are so many targets that one memfd for all is made sooner than they read bytes.
    shared: bool,
}

/// What a frame is written from.
pub(super) enum Carriage {
    Bytes,
    /// As bytes, from pages that are lent.
    Spliced,
    Sealed(Frozen),
}

impl Carriage {
    pub(super) fn how(&self) -> How {
        match self {
            Self::Bytes => How::Inline,
            Self::Spliced => How::Spliced,
            Self::Sealed(_) => How::Sealed,
        }
    }
}

impl<'a> Cargo<'a> {
    pub(super) fn new(
        outgoing: Outgoing<'a>,
        transfer: Transfer,
        pool: &'a RefCell<Pool>,
        targets: usize,
    ) -> Self {
        Self {
            outgoing,
            transfer,
            pool,
            frozen: RefCell::new(None),
            view: OnceCell::new(),
            passable: Cell::new(false),
            shared: targets >= SHARED_FROM,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.outgoing.payload.len()
    }

    pub(super) fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// Whether it lies in ordinary memory, and is long enough for a memfd to be made for the next one like it.
    pub(super) fn may_want_buffer(&self) -> bool {
        let seals = !matches!(self.transfer, Transfer::Copy | Transfer::Splice);
        seals && matches!(self.outgoing.payload, Payload::Bytes(_)) && self.len() >= STOCK_MIN
    }

    /// Whether a memfd was of use for it, or would have been.
    pub(super) fn wanted_buffer(&self) -> bool {
        self.may_want_buffer() && self.passable.get()
    }

    /// Notes that a descriptor can be passed to one of the targets.
    pub(super) fn can_pass(&self) {
        self.passable.set(true);
    }

    /// The payload as bytes.
    pub(super) fn bytes(&self) -> Result<&[u8]> {
        match self.outgoing.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            Payload::Frozen(_) | Payload::Gift(_) => {
                match (self.view.get(), self.outgoing.payload.frozen()) {
                    (Some(view), _) => Ok(view),
                    (None, Some(frozen)) => {
                        let view = frozen.view()?;
                        Ok(self.view.get_or_init(|| view))
                    }
                    // It is let go of when no target needs it any more.
                    (None, None) => Err(Error::new(ErrorKind::Invalid, LET_GO)),
                }
            }
        }
    }

    /// For a connection that can pass descriptors, or not.
    pub(super) fn carriage(&self, passes: bool) -> Carriage {
        let (min_frozen, min_bytes) = match self.transfer {
            Transfer::Auto | Transfer::Move if self.pool.borrow().has(self.len()) => (GIVEN_MIN, WARM_MIN),
            Transfer::Auto | Transfer::Move if self.shared => (GIVEN_MIN, FROZEN_MIN),
            Transfer::Auto | Transfer::Move => (GIVEN_MIN, usize::MAX),
            Transfer::Memfd => (1, 1),
            Transfer::Copy | Transfer::Splice => (usize::MAX, usize::MAX),
        };
        let frozen = match self.outgoing.payload {
            _ if !passes => None,
            Payload::Frozen(_) | Payload::Gift(_) if self.len() >= min_frozen => {
                self.outgoing.payload.frozen()
            }
            // Without the memory for a copy there is still the plain way.
            Payload::Bytes(bytes) if bytes.len() >= min_bytes => {
                let mut frozen = self.frozen.borrow_mut();
                frozen.get_or_insert_with(|| self.freeze(bytes).unwrap_or(None)).clone()
            }
            _ => None,
        };
        frozen.map_or(Carriage::Bytes, Carriage::Sealed)
    }

    /// It is on its way to every target: what is sealed of it is theirs alone.
    pub(super) fn let_go(&self) {
        self.frozen.replace(Some(None));
        if let Payload::Gift(gift) = self.outgoing.payload {
            gift.let_go();
        }
    }

    /// `None` where no buffer waits, and the plain way is as fast.
    fn freeze(&self, bytes: &[u8]) -> Result<Option<Frozen>> {
        let mut pool = self.pool.borrow_mut();
        let buffer = if self.transfer == Transfer::Memfd || self.shared {
            Some(pool.take(bytes.len())?)
        } else {
            pool.take_ready(bytes.len())?
        };
        let Some(mut buffer) = buffer else { return Ok(None) };
        buffer.fill(bytes)?;
        buffer.freeze(bytes.len()).map(Some)
    }
}
