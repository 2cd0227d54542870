//! The engine's handlers of faults stay where they are between its calls.
//!
//! It installs handlers for SIGFPE, SIGBUS and SIGSEGV with the outermost call into compiled code, and takes them away when that returns: six system
//! calls each time, and to take one payload takes three such calls. Here both calls that it makes for that are put through to functions of ours: the
//! first installation is made, with a handler that asks whether one is wanted just now, and from then on only that changes.
//!
//! The way in is what the dynamic linker has filled in for the engine's library: its table of functions of other libraries (the
//! System V ABI's relocations of type JUMP_SLOT and GLOB_DAT). Where nothing is found there, all stays as the engine does it.

#![expect(unsafe_code, reason = "the engine's own table of functions, and handlers of signals")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::engine;

/// What the engine handles.
const FAULTS: [c_int; 3] = [libc::SIGFPE, libc::SIGBUS, libc::SIGSEGV];

/// The engine's handler, one for all.
static ENGINES: AtomicUsize = AtomicUsize::new(0);
/// For which signals the handler is installed, and for which the engine wants it at the moment: bits by their numbers.
static INSTALLED: AtomicU32 = AtomicU32::new(0);
static WANTED: AtomicU32 = AtomicU32::new(0);

/// Keeps them from now on, in this process and its threads.
pub(crate) fn keep_handlers() {
    let Some(library) = Library::of_the_engine() else { return };
    for (name, function) in
        [(c"sigaction", keep_sigaction as *const () as usize), (c"signal", keep_signal as *const () as usize)]
    {
        for slot in library.slots(name) {
            // SAFETY: a slot for a function of this name, which ours replaces, with its signature.
            unsafe { library.fill(slot, function) };
        }
    }
}

fn bit(signal: c_int) -> u32 {
    1 << signal
}

/// sigaction(2), as the engine calls it.
///
/// # Safety
/// That of sigaction(2).
unsafe extern "C" fn keep_sigaction(
    signal: c_int,
    action: *const libc::sigaction,
    before: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller's promise: null, or an action.
    let wanted = unsafe { action.as_ref() }.filter(|action| action.sa_flags & libc::SA_SIGINFO != 0);
    let Some(wanted) = wanted.filter(|_| FAULTS.contains(&signal) && before.is_null()) else {
        // SAFETY: as it came.
        return unsafe { libc::sigaction(signal, action, before) };
    };
    ENGINES.store(wanted.sa_sigaction, Ordering::Release);
    if INSTALLED.load(Ordering::Acquire) & bit(signal) == 0 {
        let mut ours = *wanted;
        ours.sa_sigaction = on_fault as *const () as usize;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does what is safe in one.
        let status = unsafe { libc::sigaction(signal, &raw const ours, before) };
        if status != 0 {
            return status;
        }
        INSTALLED.fetch_or(bit(signal), Ordering::AcqRel);
    }
    WANTED.fetch_or(bit(signal), Ordering::AcqRel);
    0
}

/// signal(2), by which the engine goes back to the default.
///
/// # Safety
/// That of signal(2).
unsafe extern "C" fn keep_signal(signal: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    let kept = FAULTS.contains(&signal) && INSTALLED.load(Ordering::Acquire) & bit(signal) != 0;
    if kept && handler == libc::SIG_DFL {
        WANTED.fetch_and(!bit(signal), Ordering::AcqRel);
        return libc::SIG_DFL;
    }
    // SAFETY: as it came.
    unsafe { libc::signal(signal, handler) }
}

/// While compiled code runs, a fault is the engine's; else it ends the process as it would a native one (`process`).
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if WANTED.load(Ordering::Acquire) & bit(signal) == 0 {
        // SAFETY: ends the process; nothing else runs.
        unsafe { libc::_exit(128 + signal) };
    }
    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: what the engine gave to be installed with SA_SIGINFO, stored before this handler was.
    let handler = unsafe { std::mem::transmute::<usize, Handler>(ENGINES.load(Ordering::Acquire)) };
    handler(signal, info, context);
}

/// A library that is looked for by an address within it.
struct Search {
    within: usize,
    found: Option<Library>,
}

/// What of a loaded library is of interest here; see elf(5).
#[derive(Debug)]
struct Library {
    base: usize,
    /// Where its slots can only be read once they are filled.
    read_only: Range<usize>,
    symbols: usize,
    strings: usize,
    /// Tables of relocations, by address and bytes.
    relocations: [(usize, usize); 2],
}

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

/// An entry of a table of relocations.
#[repr(C)]
struct Relocation {
    offset: usize,
    info: u64,
    addend: i64,
}

const DT_NULL: i64 = 0;
const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

/// Relocations that are the address of a function: JUMP_SLOT and GLOB_DAT.
const OF_FUNCTIONS: [u64; 2] = if cfg!(target_arch = "aarch64") { [1026, 1025] } else { [7, 6] };

/// Called for each loaded object; ends the iteration with the one that is looked for.
extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) hands over a valid object, which lives during the call.
    let info = unsafe { &*info };
    // SAFETY: `of_the_engine` gives this, and waits.
    let search = unsafe { &mut *data.cast::<Search>() };
    // SAFETY: the two fields describe the object's program headers, which stay mapped as long as it is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = info.dlpi_addr as usize;
    let range = |header: &libc::Elf64_Phdr| {
        let start = base + header.p_vaddr as usize;
        start..start + header.p_memsz as usize
    };
    let loaded = |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD && range(h).contains(&search.within);
    if headers.iter().find(loaded).is_none() {
        return 0;
    }
    let of = |kind| headers.iter().find(|header| header.p_type == kind).map(range);
    let read_only = of(libc::PT_GNU_RELRO).unwrap_or_default();
    search.found = of(libc::PT_DYNAMIC).and_then(|dynamic| Library::of(base, dynamic, read_only));
    1
}

impl Library {
    fn of_the_engine() -> Option<Self> {
        let mut search = Search { within: engine::an_address(), found: None };
        // SAFETY: `visit` matches the signature that dl_iterate_phdr(3) asks for, and its data outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
        search.found
    }

    fn of(base: usize, dynamic: Range<usize>, read_only: Range<usize>) -> Option<Self> {
        let count = dynamic.len() / size_of::<Dynamic>();
        // SAFETY: the dynamic section of an object that is loaded, for good.
        let entries = unsafe { std::slice::from_raw_parts(dynamic.start as *const Dynamic, count) };
        let value = |tag| {
            let mut entries = entries.iter().take_while(|entry| entry.tag != DT_NULL);
            entries.find(|entry| entry.tag == tag).map(|entry| entry.value)
        };
        // The dynamic linker may have made addresses of them, or left them as they are in the file.
        let address = |tag| value(tag).map(|value| if value < base { base + value } else { value });
        let table = |at, len| (address(at).unwrap_or(0), address(at).and(value(len)).unwrap_or(0));
        Some(Self {
            base,
            read_only,
            symbols: address(DT_SYMTAB)?,
            strings: address(DT_STRTAB)?,
            relocations: [table(DT_JMPREL, DT_PLTRELSZ), table(DT_RELA, DT_RELASZ)],
        })
    }

    /// Where the address of a function of another library is kept.
    fn slots(&self, name: &CStr) -> Vec<*mut usize> {
        let mut slots = Vec::new();
        for (at, len) in self.relocations.into_iter().filter(|(_, len)| *len > 0) {
            let count = len / size_of::<Relocation>();
            // SAFETY: a table of the object's, of that length.
            let all = unsafe { std::slice::from_raw_parts(at as *const Relocation, count) };
            let of_functions = all.iter().filter(|one| OF_FUNCTIONS.contains(&(one.info & 0xffff_ffff)));
            for one in of_functions.filter(|one| self.symbol(one.info >> 32) == name) {
                slots.push((self.base + one.offset) as *mut usize);
            }
        }
        slots
    }

    fn symbol(&self, number: u64) -> &CStr {
        let symbol = (self.symbols as *const libc::Elf64_Sym).wrapping_add(number as usize);
        // SAFETY: a relocation of the object's names a symbol of its table.
        let name = unsafe { (*symbol).st_name } as usize;
        // SAFETY: and that a string of its strings, which end with a zero.
        unsafe { CStr::from_ptr((self.strings as *const c_char).wrapping_add(name)) }
    }

    /// Puts an address into a slot. Where that cannot be, it keeps the one that it has.
    ///
    /// # Safety
    /// The slot is one of this object's, and the address that of a function with the signature of the one that is there.
    unsafe fn fill(&self, slot: *mut usize, function: usize) {
        let page = rustix::param::page_size();
        let start = slot as usize / page * page;
        let protect = |protection| {
            // SAFETY: a page of the object's writable segment, which stays readable.
            unsafe { libc::mprotect(start as *mut c_void, page, protection) }
        };
        let read_only = self.read_only.contains(&(slot as usize));
        if read_only && protect(libc::PROT_READ | libc::PROT_WRITE) != 0 {
            return;
        }
        // SAFETY: it can be written, and no other thread calls the engine yet.
        unsafe { slot.write_volatile(function) };
        if read_only {
            protect(libc::PROT_READ);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_has_one_slot_for_each() {
        let library = Library::of_the_engine().expect("the engine's library");
        for name in [c"sigaction", c"signal"] {
            assert_eq!(library.slots(name).len(), 1, "{name:?}");
        }
        assert!(library.slots(c"no_such_function").is_empty());
    }
}
