//! How a call into a function is ended from another thread.
//!
//! Compiled code does not look whether it shall go on: it would do so at each turn of each loop, of which the compiler then joins none. Instead the
//! thread that runs it is sent a signal, whose handler finds it in
//!
//! ```text
//! compiled code             ──► it goes on at `landing`
//! what that code has called ──► it returns to `landing`, in place of the code
//! what has called the code  ──► it goes on as it was, but a system call that it waited in has failed with EINTR
//! landing ──► a fault, which the engine takes for one of the function's own: the call ends as by a trap
//! ```
//!
//! So nothing but a function's own code is left without having returned: neither the engine nor the host's half. Who ends a call repeats it until the
//! call has returned.
//!
//! Invariants:
//! - machine code that lies in no loaded object is a function's: objects are loaded before [`allow`], and the engine maps the code of modules
//!   apart from them;
//! - the handler loads atomics, reads the stack of its own thread, and stores one word: into the registers that it was given, or over a return address
//!   that it has found to be one, in a frame of the call that is to end;
//! - whose call it is, is known on the thread itself ([`Call::make`]): a call within another one is ended alone.
//!
//! On processors other than x86-64 a signal interrupts system calls only, and code is compiled so that it looks.

#![expect(unsafe_code, reason = "a signal handler that changes where its thread goes on")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Pid;

use crate::error::Result;
use crate::process::failed;

/// Whether compiled code has to look for itself whether it shall go on.
pub(crate) const CODE_LOOKS: bool = cfg!(not(target_arch = "x86_64"));

/// A thread of this process, by its number. (The C library's number of the first thread is that of the runtime's, which was cloned without its knowing.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread(Pid);

impl Thread {
    /// The calling one.
    pub(crate) fn this() -> Self {
        Self(rustix::thread::gettid())
    }

    fn signal(self) {
        let process = rustix::process::getpid().as_raw_pid();
        // SAFETY: takes numbers. The signal has a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, process, self.0.as_raw_pid(), signal()) };
    }
}

/// One call at a time, which can be ended.
#[derive(Debug, Default)]
pub(crate) struct Call {
    ends: AtomicBool,
    /// Frames of the call lie below this address of its thread's stack, those of its callers above.
    top: AtomicUsize,
}

thread_local! {
    /// The call that this thread makes; the innermost one of those within each other.
    static INNERMOST: Cell<*const Call> = const { Cell::new(ptr::null()) };
}

impl Call {
    /// Makes the call. What it is made of includes [`Call::resume`] at the end, where it may have been ended.
    pub(crate) fn make<R>(&self, call: impl FnOnce() -> R) -> R {
        let here = 0_u8;
        self.top.store((&raw const here).addr(), Ordering::Relaxed);
        let outer = INNERMOST.replace(self);
        let outcome = call();
        INNERMOST.set(outer);
        outcome
    }

    /// Ends the call, or interrupts the system call in which its thread waits on its behalf. `thread` is the one that makes it, and is held in there by the
    /// caller until this has returned.
    pub(crate) fn end(&self, thread: Thread) {
        self.ends.store(true, Ordering::Release);
        thread.signal();
    }

    /// From now on the call is not ended: a signal that still comes is for nothing.
    pub(crate) fn resume(&self) {
        self.ends.store(false, Ordering::Release);
    }
}

fn signal() -> c_int {
    libc::SIGRTMAX() - 1
}

/// Where code lies that is no function's.
static OBJECTS: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// Lets calls be ended. After `process::install_signals`.
pub(crate) fn allow() -> Result<()> {
    OBJECTS.get_or_init(objects);
    // SAFETY: all zero is a valid sigaction; without SA_RESTART a call that was interrupted fails.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe (see the module).
    if unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) } != 0 {
        return Err(failed("sigaction of the interrupting signal"));
    }
    Ok(())
}

/// The executable segments of everything that is loaded, the kernel's own object among them.
fn objects() -> Vec<Range<usize>> {
    extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3) hands over a valid object, which lives during the call.
        let info = unsafe { &*info };
        // SAFETY: `objects` gives this, and waits.
        let objects = unsafe { &mut *data.cast::<Vec<Range<usize>>>() };
        // SAFETY: the two fields describe the object's program headers, which stay mapped as long as it is loaded.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let code = headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0);
        objects.extend(code.map(|header| {
            let start = (info.dlpi_addr + header.p_vaddr) as usize;
            start..start + header.p_memsz as usize
        }));
        0
    }
    let mut objects = Vec::new();
    // SAFETY: `visit` matches the signature that dl_iterate_phdr(3) asks for, and its data outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut objects).cast()) };
    objects
}

extern "C" fn on_signal(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: null, or a call that this thread is in: `Call::make` has set it, and has not returned.
    let call = unsafe { INNERMOST.get().as_ref() };
    let ending = call.filter(|call| call.ends.load(Ordering::Acquire));
    if let (Some(call), Some(objects)) = (ending, OBJECTS.get()) {
        // SAFETY: the kernel gives a handler the registers of its thread, which are valid and its own until it returns.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        divert::divert(context, call.top.load(Ordering::Relaxed), objects);
    }
}

#[cfg(target_arch = "x86_64")]
mod divert {
    use std::arch::naked_asm;
    use std::ffi::{c_int, c_void};
    use std::ops::Range;

    /// Faults. Nothing is mapped at address 0.
    #[unsafe(naked)]
    extern "C" fn landing() -> ! {
        naked_asm!("xor eax, eax", "mov eax, dword ptr [rax]", "ud2")
    }

    // The interface of a compiler's unwinder (System V ABI of x86-64, 6.2), of libgcc, by which the engine looks at the stack, too.
    unsafe extern "C" {
        fn _Unwind_Backtrace(
            visit: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
            data: *mut c_void,
        ) -> c_int;
        fn _Unwind_GetIP(frame: *mut c_void) -> usize;
        fn _Unwind_GetCFA(frame: *mut c_void) -> usize;
    }

    /// What is looked for on the stack: the innermost frame of compiled code.
    struct Search<'a> {
        objects: &'a [Range<usize>],
        /// Addresses of the stack at which the frames of the call lie.
        frames: Range<usize>,
    }

    /// Lets the thread go on at `landing` once it is back in compiled code, or at once if it is there. Frames of the call lie below `top`.
    pub(super) fn divert(context: &mut libc::ucontext_t, top: usize, objects: &[Range<usize>]) {
        let registers = &mut context.uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize].cast_unsigned() as usize;
        let stack = registers[libc::REG_RSP as usize].cast_unsigned() as usize;
        if stack >= top {
            return;
        }
        if is_compiled(at, objects) {
            registers[libc::REG_RIP as usize] = landing as *const () as i64;
            return;
        }
        let mut search = Search { objects, frames: stack..top };
        // SAFETY: `visit` has the signature that is asked for, and its data outlives the call. The unwinder reads its tables without a lock, or with
        // one that is held only while code is registered, which no call does.
        unsafe { _Unwind_Backtrace(visit, (&raw mut search).cast()) };
    }

    fn is_compiled(at: usize, objects: &[Range<usize>]) -> bool {
        at != 0 && !objects.iter().any(|object| object.contains(&at))
    }

    /// Called for each frame, the handler's first.
    extern "C" fn visit(frame: *mut c_void, data: *mut c_void) -> c_int {
        const GO_ON: c_int = 0;
        const END_OF_STACK: c_int = 5;
        // SAFETY: `divert` gives this, and waits.
        let search = unsafe { &*data.cast::<Search<'_>>() };
        // SAFETY: the unwinder's own frame, during the call.
        let at = unsafe { _Unwind_GetIP(frame) };
        if !is_compiled(at, search.objects) {
            return GO_ON;
        }
        // SAFETY: as above. It is the stack's end as it will be once what this frame has called has returned; below it lies where to.
        let end = unsafe { _Unwind_GetCFA(frame) };
        let slot = end.wrapping_sub(size_of::<usize>());
        let last = search.frames.end - size_of::<usize>();
        if !slot.is_multiple_of(align_of::<usize>()) || !(search.frames.start..last).contains(&slot) {
            return END_OF_STACK;
        }
        let slot = slot as *mut usize;
        // SAFETY: within the part of this thread's stack that is in use.
        if unsafe { slot.read_volatile() } == at {
            // SAFETY: as above. What reads it is the return of a function that compiled code has called, and `landing` is where it may go on whatever
            // is in registers and on the stack.
            unsafe { slot.write_volatile(landing as *const () as usize) };
        }
        END_OF_STACK
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod divert {
    use std::ops::Range;

    /// Nothing: see the module.
    pub(super) fn divert(_: &mut libc::ucontext_t, _: usize, _: &[Range<usize>]) {}
}
