//! A function that takes bytes and gives bytes: standard input in, standard output out.
//!
//! `(i32 address, i32 len) -> i64`, the answer's address in the upper and its length in the lower half, is how plug-ins
//! of many hosts are written, and how `locate_memory_region` of the guest contract answers. Standard input is read whole, because
//! the guest's allocator has to be told its length, and copied once; what the function answers is written from where it lies.
//! Neither region is given back: the process ends.

use std::io::{Read, Write};

use guest_abi::Region;

use crate::engine::{Guest, Stop, Val};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::memory::{self, Covered, Linear, Regions};
use crate::module::printable;
use crate::wasi::{Stream, Streams};

/// Calls `function` with standard input, at most `max` bytes of it, in a region from `allocator`, and writes what it answers to
/// standard output.
///
/// # Errors
/// When standard input cannot be read or is longer, standard output cannot be written, or the guest names a region that is
/// not in its memory.
pub(crate) fn call(
    guest: &Guest<'_>,
    host: &Host,
    path: &str,
    function: &str,
    allocator: &str,
    max: u64,
    streams: Streams<'_>,
) -> Result<std::result::Result<(), Stop>> {
    let refused = |who: &str, what: String| {
        Error::new(ErrorKind::Link, format!("module {path}: function {}: {what}", printable(who)))
    };
    let input = read_input(streams, max)?;
    let len = u32::try_from(input.len())
        .map_err(|_| Error::new(ErrorKind::Limit, "standard input: longer than a linear memory"))?;
    // Not all allocators have an address for nothing.
    let asked = [Val::from_u32(len.max(1))];
    let values = match host.inside(|| guest.call(allocator, &asked)) {
        Some(Ok(values)) => values,
        None => Vec::new(),
        Some(Err(stop)) => return Ok(Err(stop)),
    };
    let address = values.first().and_then(|value| value.as_u32()).unwrap_or(0);
    if address == 0 {
        return Err(refused(allocator, format!("no memory for {len} bytes")));
    }
    let region = Region { address, len };
    let copied = registered(region, |covered| {
        memory::write_memory_host(Linear::of(*guest), covered, |bytes| bytes.copy_from_slice(&input))
    });
    copied.ok_or_else(|| refused(allocator, format!("its region {region:?} is not in memory")))?;
    drop(input);
    let answer = match guest.call(function, &[Val::from_u32(address), Val::from_u32(len)]).transpose() {
        Ok(values) => match values.as_deref() {
            Some([Val::I64(packed)]) => Region::from_i64(*packed),
            _ => return Err(refused(function, "no i64 came back".to_owned())),
        },
        Err(stop) => return Ok(Err(stop)),
    };
    if answer.len == 0 {
        return Ok(Ok(()));
    }
    registered(answer, |covered| {
        memory::read_memory_host(Linear::of(*guest), covered, |bytes| write_output(streams, bytes))
    })
    .ok_or_else(|| refused(function, format!("its answer {answer:?} is not in memory")))??;
    Ok(Ok(()))
}

/// Runs `touch` with nothing registered but a region that the guest has just named for this very call.
fn registered<R>(
    region: Region,
    touch: impl FnOnce(Covered) -> std::result::Result<R, memory::Refused>,
) -> Option<R> {
    let mut regions = Regions::default();
    regions.register(region).ok()?;
    touch(regions.check(region).ok()?).ok()
}

fn read_input(streams: Streams<'_>, max: u64) -> Result<Vec<u8>> {
    let mut input = Vec::new();
    Stream(streams.input)
        .take(max.saturating_add(1))
        .read_to_end(&mut input)
        .map_err(|error| Error::with(ErrorKind::System, "read standard input", error))?;
    if input.len() as u64 > max {
        let message = format!("standard input: more than the {max} bytes that linear memory may have");
        return Err(Error::new(ErrorKind::Limit, message));
    }
    Ok(input)
}

fn write_output(streams: Streams<'_>, bytes: &[u8]) -> Result<()> {
    Stream(streams.output)
        .write_all(bytes)
        .map_err(|error| Error::with(ErrorKind::System, "write standard output", error))
}
