//! Receiving by being called: `read_memory_wasm` of the paper's Table 1.

#![expect(unsafe_code, reason = "a pushed region becomes a slice")]

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::text_of;
use crate::{Buffer, Error, Result as OurResult, imports, memory};

thread_local! {
    /// The last answer, which the host reads when the handler has returned; it goes when the next one comes.
    static ANSWER: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

/// A payload that a handler is given, for as long as it runs. Its bytes may be written to, too.
pub struct Input<'a> {
    bytes: &'a mut [u8],
    /// The host asks for an answer on this thread.
    here: PhantomData<*const ()>,
}

impl Input<'_> {
    /// Name of the function that sent it; empty if the host cannot say.
    pub fn sender(&self) -> String {
        text_of(|buffer| imports::peer_name(self.bytes.as_ptr().addr(), buffer))
    }

    /// Answers a sender that called ([`call`](crate::call)): it is given the buffer once the handler has returned. The last answer
    /// counts; a sender that does not want one gets none.
    pub fn answer(&self, answer: Buffer) -> OurResult<()> {
        Error::check(imports::answer(self.bytes.as_ptr().addr(), &answer))?;
        ANSWER.set(Some(answer));
        Ok(())
    }

    /// A view of the payload as plain old data, where it lies: nothing if it is not exactly one, or not aligned for it.
    pub fn view<T: FromBytes + KnownLayout + Immutable>(&self) -> Option<&T> {
        T::ref_from_bytes(self).ok()
    }

    /// The same for any number of one after the other.
    pub fn views<T: FromBytes + KnownLayout + Immutable>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(self).ok()
    }
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl DerefMut for Input<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl AsRef<[u8]> for Input<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("sender", &self.sender()).field("len", &self.len()).finish()
    }
}

/// Why a handler does not accept a payload. Any error becomes one, with code 1, by `?`.
#[derive(Debug)]
pub struct Rejection {
    code: NonZeroU32,
    text: String,
}

impl Rejection {
    /// The sender gets the code (2³¹−1 at most), this function's standard error the text.
    pub fn new(code: NonZeroU32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl<E: std::error::Error> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self::new(NonZeroU32::MIN, error.to_string())
    }
}

/// Makes a `cdylib` a WASI reactor whose handler is the given function, `fn(Input<'_>) -> Result<(), Rejection>`: exports
/// `_initialize` and `read_memory_wasm`. Once in a program.
#[macro_export]
macro_rules! handler {
    ($handler:path) => {
        const _: () = {
            #[cfg_attr(target_arch = "wasm32", unsafe(export_name = "read_memory_wasm"))]
            extern "C" fn read_memory_wasm(address: u32, len: u32) {
                $crate::internal::read_memory_wasm(address, len, $handler)
            }

            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = "_initialize")]
            extern "C" fn initialize() {
                $crate::internal::initialize()
            }

            // Elsewhere nobody calls it.
            #[cfg(not(target_arch = "wasm32"))]
            const _: extern "C" fn(u32, u32) = read_memory_wasm;
        };
    };
}

/// What [`handler!`] exports: hands the region at `address` to `handle`, and tells the host what that said.
pub fn read_memory_wasm(address: u32, len: u32, handle: impl FnOnce(Input<'_>) -> Result<(), Rejection>) {
    run(address as usize, len as usize, handle);
}

fn run(address: usize, len: usize, handle: impl FnOnce(Input<'_>) -> Result<(), Rejection>) {
    // SAFETY: the host has filled the region and frees it only after this function has returned; `Input` cannot outlive
    // `handle`, which has to take one of any lifetime.
    let Some(bytes) = (unsafe { memory::lend(address, len) }) else {
        // A fault of the host's, which a trap tells it.
        panic!("the host pushed a region that it does not have");
    };
    let said = handle(Input { bytes, here: PhantomData });
    memory::give_back(address);
    if let Err(Rejection { code, text }) = said {
        eprintln!("payload rejected: {text}");
        let status = code.get().try_into().unwrap_or(i32::MAX);
        // If the host does not take it, the payload counts as handled; there is nobody else to tell.
        let _ = imports::set_status(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::completed;

    fn pushed(payload: &[u8], handle: impl FnOnce(Input<'_>) -> Result<(), Rejection>) -> Vec<i32> {
        let address = memory::allocate(payload.len());
        memory::fill(address, payload);
        run(address, payload.len(), handle);
        memory::deallocate(address);
        completed()
    }

    #[test]
    fn a_handler_sees_the_payload_and_its_sender() {
        let said = pushed(b"hello", |input| {
            assert_eq!(&*input, b"hello");
            assert_eq!(input.sender(), "loopback");
            Ok(())
        });
        assert_eq!(said, []);
    }

    #[test]
    fn an_input_is_answered_and_viewed_where_it_lies() {
        let payload: Vec<u8> = [1_u32, 2, 3].iter().flat_map(|number| number.to_le_bytes()).collect();
        let said = pushed(&payload, |input| {
            assert_eq!(input.views::<u32>(), Some(&[1_u32.to_le(), 2_u32.to_le(), 3_u32.to_le()][..]));
            assert_eq!(input.view::<[u8; 12]>().map(|bytes| bytes.as_ptr()), Some(input.as_ptr()));
            assert_eq!(input.view::<u64>(), None);
            input.answer(Buffer::from(&b"first"[..]))?;
            input.answer(Buffer::from(&b"second"[..]))?;
            Ok(())
        });
        assert_eq!(said, []);
        assert_eq!(ANSWER.take().as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn a_rejection_becomes_the_status() {
        let said = pushed(b"\xff", |input| {
            std::str::from_utf8(&input)?;
            Ok(())
        });
        assert_eq!(said, [1]);
        let forty_two = NonZeroU32::MIN.saturating_add(41);
        assert_eq!(pushed(b"", |_| Err(Rejection::new(forty_two, "no"))), [42]);
    }
}
