//! The guest contract: the seven functions of the paper's Table 1 (section 3.1), what this runtime adds to
//! them, and the status codes. The executor, the SDK and `guest/c/roadrunner.h` follow this file; nothing of it is
//! said a second time elsewhere.
//!
//! All addresses are offsets into the guest's own linear memory (exported as [`MEMORY`]), all lengths are in bytes,
//! both are unsigned 32-bit numbers carried in an `i32`. The host hands out no address of its own, and takes
//! every number from a guest as hostile: whatever does not lie inside a *registered region* is answered with
//! [`Status::INVALID_REGION`], never followed.
//!
//! # The seven functions
//!
//! | Table 1 | direction | Wasm signature | constant |
//! | --- | --- | --- | --- |
//! | `allocate_memory(len)` | export | `(i32 len) -> i32 address` | [`exports::ALLOCATE_MEMORY`] |
//! | `deallocate_memory(address)` | export | `(i32 address)` | [`exports::DEALLOCATE_MEMORY`] |
//! | `read_memory_wasm(address, len)` | export | `(i32 address, i32 len)` | [`exports::READ_MEMORY_WASM`] |
//! | `locate_memory_region(data)` | export | `(i32 data) -> i64 region` | [`exports::LOCATE_MEMORY_REGION`] |
//! | `send_to_host(address, len)` | import | `(i32 address, i32 len) -> i32 status` | [`imports::SEND_TO_HOST`] |
//! | `read_memory_host` | host, Rust | in the executor; no guest can call it | |
//! | `write_memory_host` | host, Rust | in the executor; no guest can call it | |
//!
//! # Regions, and who owns them
//!
//! A *region* is an (address, length) of linear memory. The host reads and writes only regions that are
//! *registered*, and a region becomes registered in one of three ways:
//!
//! 1. the guest's `allocate_memory(len)` returned it to the host: `(address, len)`, until the host has called
//!    `deallocate_memory(address)`;
//! 2. the guest named it with [`imports::REGISTER_MEMORY`], until [`imports::UNREGISTER_MEMORY`];
//! 3. the guest exports [`exports::LOCATE_MEMORY_REGION`], and upon `send_to_host(address, len)` the host asks it
//!    `locate_memory_region(address)`: the region it answers is registered for that one call (Algorithm 1 of
//!    the paper: LOCATE_MEMORY_REGION, then SEND_TO_HOST). A plain guest needs nothing else.
//!
//! A send may cover a registered region or any part of it. Registering two overlapping regions is
//! [`Status::INVALID_REGION`].
//!
//! | moment | the region belongs to |
//! | --- | --- |
//! | `send_to_host` called … returned | the host; the guest may not touch it (it cannot: it is blocked) |
//! | after that, whatever the status | the guest, unchanged |
//! | [`imports::GIVE_TO_HOST`] called … returned | the host |
//! | after that | the guest; zero and no longer registered if its bytes have changed hands, else unchanged |
//! | host: `allocate_memory(len)` returned … `read_memory_wasm` called | the host, which fills it |
//! | `read_memory_wasm(address, len)` called … returned | the guest, which may read and write it |
//! | after that | the host, which calls `deallocate_memory(address)` |
//! | [`imports::RECEIVE`] returned … [`imports::COMPLETE`] called | the guest |
//! | after that | the host, which calls `deallocate_memory(address)` before `complete` returns |
//! | [`imports::ANSWER`] called … the payload is handled | the host |
//! | [`imports::CALL`] returned a region … [`imports::COMPLETE`] called | the guest |
//!
//! # How a function receives
//!
//! *Pushed* (the paper's way): a module that exports `read_memory_wasm` is a handler. After its entry point
//! (`_start`, or `_initialize` for a reactor) has returned with success, the host calls `allocate_memory(len)`, fills the region,
//! acknowledges *received*, and calls `read_memory_wasm(address, len)`; when that returns the payload is *handled* with the status that the
//! guest set by [`imports::SET_STATUS`], or [`Status::OK`]. A trap is [`Status::TRAPPED`] to the sender. How many
//! payloads a handler is given before its container ends is the workload's configuration, not the guest's.
//!
//! *Pulled*: a command calls [`imports::RECEIVE`] when it is ready, and [`imports::COMPLETE`] when it has handled the payload.
//! It may export `read_memory_wasm` for nothing but the toolchain's comfort: what it has pulled is not pushed.
//!
//! # Host functions are not re-entrant
//!
//! While the host is inside a guest's `allocate_memory`, `deallocate_memory` or `locate_memory_region`, every
//! import of this module answers [`Status::BUSY`]. Inside `read_memory_wasm` all of them may be called but `receive`.

#![no_std]

/// The module that all imports come from.
pub const MODULE: &str = "roadrunner";

/// Name under which a guest exports its linear memory.
pub const MEMORY: &str = "memory";

/// What the host looks for in a guest. All are optional as far as linking goes; see each for what needs it.
pub mod exports {
    /// `(i32 len) -> i32`: address of a region of at least `len` bytes, which is from now on registered and the
    /// host's; 0 for none. `len` may be 0: the answer is then any address but 0. For a payload that is mapped, the host
    /// asks for whole huge pages, up to 2 MiB more than the payload has, and is content with less. Needed for receiving.
    pub const ALLOCATE_MEMORY: &str = "allocate_memory";

    /// `(i32 address)`: the host has done with a region that `allocate_memory` returned; it is no longer registered.
    /// Needed for receiving.
    pub const DEALLOCATE_MEMORY: &str = "deallocate_memory";

    /// `(i32 address, i32 len)`: the guest's entry for input. The host has filled the region and lends it to
    /// the guest until it returns. Needed for receiving by push.
    pub const READ_MEMORY_WASM: &str = "read_memory_wasm";

    /// `(i32 data) -> i64`: where the value named by `data` lies: the address in the upper, the length in the lower
    /// 32 bits ([`Region::from_i64`](crate::Region::from_i64)); 0 for "not mine". `data` is 0 for the guest's
    /// result, or the address of a value. Needed by a guest that sends and registers nothing itself.
    pub const LOCATE_MEMORY_REGION: &str = "locate_memory_region";
}

/// What the host gives a guest, all in [`MODULE`]. All but `receive` return a [`Status`] or, where said so,
/// a length; a negative value is always a status.
pub mod imports {
    /// `(i32 address, i32 len) -> i32`: sends a registered region to every configured target, and blocks until each
    /// target's function has handled it. [`Status::OK`](crate::Status::OK) when all said so; else the first target's complaint, in the order of
    /// the configuration. Table 1.
    pub const SEND_TO_HOST: &str = "send_to_host";

    /// `(i32 name, i32 name_len, i32 address, i32 len) -> i32`: like `send_to_host`, to one configured target. The name
    /// is UTF-8 and need not lie in a registered region: it is copied during the call.
    pub const SEND_TO: &str = "send_to";

    /// `(i32 name, i32 name_len, i32 address, i32 len) -> i32`: like `send_to`, or with a `name_len` of 0 like `send_to_host`, and
    /// the bytes change hands instead of being lent: whole pages are not copied but moved, where the transport and the
    /// addresses allow it (both a multiple of 64 KiB; at a multiple of 2 MiB with the least work). When the bytes have left, the region is
    /// zero and no longer registered, whatever the status; a status that says that nothing was sent
    /// leaves it as it was.
    pub const GIVE_TO_HOST: &str = "give_to_host";

    /// `(i32 name, i32 name_len, i32 address, i32 len) -> i64`: like `send_to`, and waits for what the target answers. The result is as
    /// that of `receive`: the answer in a region from the guest's own `allocate_memory`, to be passed to `complete` when the guest
    /// has read it (a target that answers nothing gives an empty one), or a status; a positive one is the target's own.
    pub const CALL: &str = "call";

    /// `(i32 payload, i32 address, i32 len) -> i32`: the answer to the payload at `payload` (pulled and not completed, or being
    /// pushed): a registered region, which is the host's from now until the payload is handled. Only a sender that asked by `call`
    /// is given it. The last one counts. Afterwards the region is the guest's, unregistered, and may read as zeros.
    pub const ANSWER: &str = "answer";

    /// `(i32 address, i32 len) -> i32`: says that a registered region will be filled and then given away, so that the host can
    /// lay it on pages that are cheap to fill and to give. Nothing depends on it but speed, and what the region
    /// held before is lost.
    pub const PREPARE_MEMORY: &str = "prepare_memory";

    /// `() -> i32`: the number of this function's targets.
    pub const TARGETS: &str = "targets";

    /// `(i32 index, i32 buffer, i32 capacity) -> i32`: name of a target, in the order of the configuration, like `peer_name`.
    pub const TARGET_NAME: &str = "target_name";

    /// `(i32 index) -> i32`: what became of the last send to all targets at this one: a fan-out's single results. If that was refused
    /// before any target saw it, the status that says why.
    pub const TARGET_STATUS: &str = "target_status";

    /// `(i32 timeout_ms) -> i64`: waits for a payload; a negative timeout waits for ever, 0 only looks. The answer is a region
    /// that the host got from the guest's own `allocate_memory` and filled (address in the upper, length in the lower
    /// 32 bits), the guest's until it passes the address to `complete`. A negative answer is a status, sign-extended:
    /// [`Status::TIMEOUT`](crate::Status::TIMEOUT) when nothing came. An address at or above 2 GiB makes the answer look
    /// negative; a status is one whose upper half is -1 ([`Received::from_i64`](crate::Received::from_i64)).
    pub const RECEIVE: &str = "receive";

    /// `(i32 address, i32 status) -> i32`: the payload that `receive` returned at `address` is handled with `status`; that is what its
    /// sender's call returns. For the answer that `call` returned at `address`: it has been read, and the status is ignored. The host calls `deallocate_memory(address)` before this returns. Guests say 0 or positive numbers;
    /// a negative one is [`Status::INVALID_ARGUMENT`](crate::Status::INVALID_ARGUMENT).
    pub const COMPLETE: &str = "complete";

    /// `(i32 status) -> i32`: what the running `read_memory_wasm` will have said when it returns: 0 or positive.
    pub const SET_STATUS: &str = "set_status";

    /// `(i32 address, i32 buffer, i32 capacity) -> i32`: name of the sender of the payload at `address` (pulled and not
    /// completed, or being pushed), in UTF-8. Returns the name's length; writes it only when it fits, so a capacity of 0 asks.
    /// The buffer need not be registered: this is the guest's own call.
    pub const PEER_NAME: &str = "peer_name";

    /// `(i32 buffer, i32 capacity) -> i32`: text of the last error of an import, in UTF-8, like `peer_name`; 0 when there was none.
    pub const LAST_ERROR: &str = "last_error";

    /// `(i32 address, i32 len) -> i32`: registers a region of the guest's.
    pub const REGISTER_MEMORY: &str = "register_memory";

    /// `(i32 address) -> i32`: takes back what `register_memory` registered at `address`. The bytes of a region that was prepared are
    /// lost. (Whether what was to be given away has left is asked by registering it again: a region that is still registered is refused.)
    pub const UNREGISTER_MEMORY: &str = "unregister_memory";
}

/// An answer of an import, and what a handler says of a payload.
///
/// 0 is success. Negative numbers are the host's and listed here. Positive numbers belong to functions: what
/// a handler says, its sender gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Status(pub i32);

impl Status {
    /// Done. For a send: every target's function has handled the payload and had no complaint.
    pub const OK: Self = Self(0);
    /// An argument makes no sense (a name that is none, a negative status to `complete`).
    pub const INVALID_ARGUMENT: Self = Self(-1);
    /// The region is not registered, not in bounds, or overlaps one that is.
    pub const INVALID_REGION: Self = Self(-2);
    /// The function has no hose: its container was created without `hose/mode`.
    pub const NO_HOSE: Self = Self(-3);
    /// The function has no such target, or none at all.
    pub const NO_TARGET: Self = Self(-4);
    /// The payload is larger than one of the two ends allows.
    pub const TOO_LARGE: Self = Self(-5);
    /// Nothing came, or the peer did not appear or answer in time. After a send see [`Status::UNKNOWN`].
    pub const TIMEOUT: Self = Self(-6);
    /// The peer, or this function, could not prove who it is.
    pub const UNAUTHENTICATED: Self = Self(-7);
    /// The peer does not speak the protocol.
    pub const PROTOCOL: Self = Self(-8);
    /// The connection was lost before any byte had left: sending again delivers at most once.
    pub const LOST: Self = Self(-9);
    /// Bytes had left and no verdict came back: the payload may or may not have been handled.
    pub const UNKNOWN: Self = Self(-10);
    /// The receiver had no memory for the payload, or would not take it.
    pub const REFUSED: Self = Self(-11);
    /// The receiver's function trapped, or exited, while it had the payload.
    pub const TRAPPED: Self = Self(-12);
    /// Called from where it may not be called, such as from inside `allocate_memory`.
    pub const BUSY: Self = Self(-13);
    /// This guest lacks an export that the call needs, or has it with another signature.
    pub const NO_EXPORT: Self = Self(-14);
    /// This guest's `allocate_memory` gave none, or a region that is not its own.
    pub const NO_MEMORY: Self = Self(-15);
    /// The host's operating system refused something; `last_error` has the text.
    pub const HOST: Self = Self(-16);
    /// Nothing will come any more: every function that could send has ended.
    pub const CLOSED: Self = Self(-17);

    /// Whether it is [`Status::OK`].
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether a host said it (a negative number), not a function.
    #[must_use]
    pub const fn is_host(self) -> bool {
        self.0 < 0
    }

    /// A short English text; for a function's own number, `the function's own status`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::OK => "success",
            Self::INVALID_ARGUMENT => "invalid argument",
            Self::INVALID_REGION => "region is not registered or not in bounds",
            Self::NO_HOSE => "this function has no hose",
            Self::NO_TARGET => "no such target",
            Self::TOO_LARGE => "payload too large",
            Self::TIMEOUT => "timed out",
            Self::UNAUTHENTICATED => "identity not proved",
            Self::PROTOCOL => "peer does not speak the protocol",
            Self::LOST => "connection lost before anything was sent",
            Self::UNKNOWN => "connection lost, fate of the payload unknown",
            Self::REFUSED => "receiver refused the payload",
            Self::TRAPPED => "receiver's function failed",
            Self::BUSY => "called from where it may not be called",
            Self::NO_EXPORT => "this function lacks an export that is needed",
            Self::NO_MEMORY => "this function gave no memory for a payload",
            Self::HOST => "host error",
            Self::CLOSED => "every function that could send has ended",
            Self(code) if code < 0 => "unknown status of a newer host",
            Self(_) => "the function's own status",
        }
    }
}

/// An (address, length) of linear memory, both in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Region {
    /// Offset of the first byte.
    pub address: u32,
    /// Bytes.
    pub len: u32,
}

impl Region {
    /// From the answer of `locate_memory_region` or `receive`.
    #[must_use]
    pub const fn from_i64(packed: i64) -> Self {
        let packed = packed as u64;
        Self { address: (packed >> 32) as u32, len: packed as u32 }
    }

    /// Address in the upper, length in the lower 32 bits.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        (((self.address as u64) << 32) | self.len as u64) as i64
    }

    /// Whether `other` lies in it. No sum overflows: ends are computed in 64 bits.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.address <= other.address && other.end() <= self.end()
    }

    /// Whether the two share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.len > 0
            && other.len > 0
            && (self.address as u64) < other.end()
            && (other.address as u64) < self.end()
    }

    /// Offset after the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.address as u64 + self.len as u64
    }
}

/// What `receive` answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// A payload, in a region that is the guest's until `complete`.
    Payload(Region),
    /// Why there is none.
    Status(Status),
}

impl Received {
    /// From the import's answer. No region is mistaken for a status: one whose upper half is -1 would begin in the
    /// last byte of a 4 GiB memory, and the host accepts none there.
    #[must_use]
    pub const fn from_i64(packed: i64) -> Self {
        if packed >> 32 == -1 {
            Self::Status(Status(packed as i32))
        } else {
            Self::Payload(Region::from_i64(packed))
        }
    }

    /// For the host: the import's answer.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        match self {
            Self::Payload(region) => region.to_i64(),
            Self::Status(status) => (-1_i64 << 32) | (status.0 as u32 as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_survives_packing() {
        for region in [
            Region { address: 0, len: 0 },
            Region { address: 1, len: u32::MAX },
            Region { address: 0x8000_0000, len: 0x7fff_ffff },
            Region { address: u32::MAX, len: u32::MAX },
        ] {
            assert_eq!(Region::from_i64(region.to_i64()), region);
        }
    }

    #[test]
    fn a_status_and_a_region_are_never_taken_for_each_other() {
        for code in [i32::MIN, -16, -6, -1] {
            let received = Received::Status(Status(code));
            assert!(received.to_i64() < 0);
            assert_eq!(Received::from_i64(received.to_i64()), received);
        }
        for address in [0, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe] {
            let received = Received::Payload(Region { address, len: 0xffff_ffff });
            assert_eq!(Received::from_i64(received.to_i64()), received);
        }
    }

    #[test]
    fn bounds_do_not_wrap() {
        let whole = Region { address: 0, len: u32::MAX };
        let wrapping = Region { address: 16, len: u32::MAX };
        assert!(!whole.contains(wrapping));
        assert!(whole.overlaps(wrapping));
        let low = Region { address: 0, len: 16 };
        assert!(!low.overlaps(Region { address: 16, len: u32::MAX }));
        assert!(low.contains(Region { address: 16, len: 0 }));
        assert!(!low.contains(Region { address: 17, len: 0 }));
        assert!(!low.overlaps(Region { address: 4, len: 0 }));
    }

    #[test]
    fn every_host_status_has_its_own_text() {
        for a in -16..=0 {
            assert_ne!(Status(a).text(), "unknown status of a newer host");
            assert_eq!(Status(a).is_host(), a < 0);
            for b in a + 1..=0 {
                assert_ne!(Status(a).text(), Status(b).text());
            }
        }
        assert_eq!(Status(7).text(), "the function's own status");
    }
}
