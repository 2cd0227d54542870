//! Gives back the pages of the runtime's own binary once a function runs: init is a clone of the runtime, which has done its
//! work by then, and a host with hundreds of resting functions shall not count its code for each.
//!
//! Only pages that are the file's own, byte for byte, are given back (segments that are not writable); whoever touches one
//! again gets it from the page cache. See madvise(2), MADV_DONTNEED.

#![expect(unsafe_code, reason = "the program's own segments are known to dl_iterate_phdr(3) only")]

use std::ffi::{c_int, c_void};

/// Gives them back. A refusal, by the container's seccomp profile say, costs memory and nothing else.
pub(crate) fn forget_the_runtime() {
    // SAFETY: `visit` matches the signature that dl_iterate_phdr(3) asks for, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(visit), std::ptr::null_mut()) };
}

/// Called for each loaded object, the main program first; there it ends the iteration.
extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) hands over a valid object, which lives during the call.
    let info = unsafe { &*info };
    // SAFETY: the two fields describe the object's program headers, which stay mapped as long as it is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let page = rustix::param::page_size() as u64;
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let first = info.dlpi_addr + header.p_vaddr;
        let start = first / page * page;
        // The last page may be shared with the next segment's file contents, but it is a mapping of its own.
        let len = (first + header.p_memsz).next_multiple_of(page) - start;
        // SAFETY: the range is a private mapping of a file that was never written to (not writable, and the linker
        // makes no text relocations): dropping its pages changes no byte that anybody can read.
        unsafe { libc::madvise(start as *mut c_void, len as usize, libc::MADV_DONTNEED) };
    }
    1
}
