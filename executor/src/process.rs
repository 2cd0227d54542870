//! What makes this process look and end like the function's own: its descriptors, its signals, its clock, and what
//! `/proc/PID` tells of it.
//!
//! Invariants:
//! - a handler of a signal does nothing but write(2), poll(2) and _exit(2), and reads only what was stored before it was
//!   installed;
//! - handlers run on a stack of their own, because the guest's may be used up;
//! - nothing in here needs a capability, and what the container's seccomp profile denies is worked around or
//!   reported, never ignored where a guarantee hangs on it.
//!
//! The function may be process 1 of its pid namespace, for which the kernel discards every signal that has no handler:
//! so each signal whose default is to end a process gets one that exits with 128 + its number.

#![expect(
    unsafe_code,
    reason = "signal handlers, timers and the process's own memory map have no safe interface"
)]

use std::ffi::{CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Exit code of a function that used up its time or its instructions.
pub(crate) const EXIT_LIMIT: i32 = 124;
/// Exit code of a function that trapped: what a shell reports for SIGABRT.
pub(crate) const EXIT_TRAP: i32 = 128 + libc::SIGABRT;

pub(crate) fn failed(call: &str) -> Error {
    Error::with(ErrorKind::System, call.to_owned(), std::io::Error::last_os_error())
}

/// Takes a descriptor that the request gives to the executor.
pub(crate) fn own(fd: i32) -> Option<OwnedFd> {
    if fd <= 2 {
        return None;
    }
    // SAFETY: the boundary's contract is that a descriptor in a request belongs to the executor from then on. The
    // caller takes each field of a request once. A number that is not open makes calls fail, not memory unsafe.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor above 2 that is not in `keep`.
pub(crate) fn close_descriptors(keep: &[RawFd]) -> Result<()> {
    let mut keep: Vec<u32> =
        keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: closes descriptors by number; every owner of one of them in this process has given it up (the
    // process only ever leaves by _exit from here on).
    let status = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if status == 0 {
        return Ok(());
    }
    // A kernel before 5.9, or a seccomp profile of that time.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(failed("getrlimit RLIMIT_NOFILE"));
    }
    // Descriptors above the soft limit exist only where it was lowered afterwards; the hard one bounds those too.
    let end = u32::try_from(limit.rlim_max.min(1 << 20)).unwrap_or(1 << 20);
    for fd in first..=last.min(end) {
        // SAFETY: as above; EBADF is what most of them answer.
        unsafe { libc::close(fd.cast_signed()) };
    }
    Ok(())
}

/// Puts the reading end of a pipe without a writer in the place of a standard input that is `/dev/null`.
///
/// C libraries for WASI take a character device that cannot seek for a terminal, and the engine lets no standard stream
/// seek: an interpreter would greet nobody and prompt. Reading either gives the end of the file at once.
pub(crate) fn mend_input() -> Result<()> {
    use rustix::fs::FileType;
    let input = std::io::stdin();
    // A standard input that is closed is no matter of ours.
    let Ok(stat) = rustix::fs::fstat(&input) else { return Ok(()) };
    let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !null {
        return Ok(());
    }
    let (reader, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| {
        Error::with(ErrorKind::System, "pipe2 for standard input", std::io::Error::from(error))
    })?;
    // SAFETY: standard input has no owner in this process that could be surprised: it is read by number.
    let status = unsafe { libc::dup2(reader.as_raw_fd(), libc::STDIN_FILENO) };
    if status < 0 {
        return Err(failed("dup2 for standard input"));
    }
    Ok(())
}

/// Signals whose default action is not to end the process, and those that cannot be handled.
const NOT_FATAL: [c_int; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// Bytes of the handlers' stack: poll, write and _exit need a few hundred beside the frame of the signal, which
/// holds the whole vector state.
const HANDLER_STACK: usize = 64 * 1024;

/// Makes signals end the process as they end a native one, and unblocks them all.
///
/// Signals that were ignored stay so, as they do across execve(2); SIGPIPE does not, because it is this binary's own start-up
/// code that ignores it. SIGSEGV, SIGBUS and SIGFPE belong to the engine while compiled code runs.
pub(crate) fn install_signals() -> Result<()> {
    give_handlers_a_stack()?;
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| is_fatal(*signal)) {
        if signal == libc::SIGPIPE || !is_ignored(signal) {
            install(signal)?;
        }
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes an empty set to `none`.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: `none` was just written.
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) } != 0 {
        return Err(failed("sigprocmask"));
    }
    Ok(())
}

/// Gives the handlers a stack on the calling thread, which is one that runs functions.
pub(crate) fn give_handlers_a_stack() -> Result<()> {
    use_for_handlers(Box::leak(vec![0_u8; HANDLER_STACK].into_boxed_slice()))
}

/// The same while `work` runs, which does not where there can be none.
pub(crate) fn with_a_stack_for_handlers<R>(work: impl FnOnce() -> R) -> Result<R> {
    let mut stack = vec![0_u8; HANDLER_STACK];
    use_for_handlers(&mut stack)?;
    let done = work();
    let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: takes the stack from the thread, which is not on it.
    if unsafe { libc::sigaltstack(&raw const none, ptr::null_mut()) } != 0 {
        // It stays the thread's: the work is done all the same.
        std::mem::forget(stack);
    }
    Ok(done)
}

/// `stack` has to stay where it is until the thread has another one, or ends.
fn use_for_handlers(stack: &mut [u8]) -> Result<()> {
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the memory is there for as long as it is in use, by both callers' doing: one leaks it, the other takes it back before.
    if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } != 0 {
        return Err(failed("sigaltstack"));
    }
    Ok(())
}

/// A thread of this process, by its number. (The C library's number of the first thread is that of the runtime's, which was cloned without its knowing.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread(rustix::process::Pid);

impl Thread {
    /// The calling one.
    pub(crate) fn this() -> Self {
        Self(rustix::thread::gettid())
    }
}

/// Interrupts the system call that a thread waits in, if it does: the call fails with EINTR. The thread must be one that is
/// known to run: whoever it makes a call for holds it there.
pub(crate) fn interrupt(thread: Thread) {
    let process = rustix::process::getpid().as_raw_pid();
    // SAFETY: takes numbers. The thread runs (the caller's word), and the signal has a handler that does nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread.0.as_raw_pid(), interrupting_signal()) };
}

fn interrupting_signal() -> c_int {
    libc::SIGRTMAX() - 1
}

/// Makes [`interrupt`] harmless. After [`install_signals`].
pub(crate) fn allow_interrupts() -> Result<()> {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: all zero is a valid sigaction; without SA_RESTART a call that was interrupted fails.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that is asked for, and does nothing.
    if unsafe { libc::sigaction(interrupting_signal(), &raw const action, ptr::null_mut()) } != 0 {
        return Err(failed("sigaction of the interrupting signal"));
    }
    Ok(())
}

fn is_fatal(signal: c_int) -> bool {
    // Between the last classic signal and SIGRTMIN lie those that the C library keeps for itself.
    let known = signal <= libc::SIGSYS || signal >= libc::SIGRTMIN();
    known && !NOT_FATAL.contains(&signal)
}

/// Whether this process was started with a signal ignored, and has left it so.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only, into a place for the answer.
    let status = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all zero is a valid sigaction, whether or not the call wrote another.
    let action = unsafe { action.assume_init() };
    status == 0 && action.sa_sigaction == libc::SIG_IGN
}

fn install(signal: c_int) -> Result<()> {
    // SAFETY: all zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `sa_mask` is a set; filling it keeps a second signal from interrupting the handler.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe (see `on_signal`).
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
        return Err(failed(&format!("sigaction {signal}")));
    }
    Ok(())
}

/// What the timer's signal writes; set before the timer is armed, never freed.
static TIMEOUT_TEXT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static TIMEOUT_LEN: AtomicUsize = AtomicUsize::new(0);

/// Ends the process. Async-signal-safe: it calls poll, write and _exit, and loads two atomics.
extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a siginfo that lives during the call.
    let from_timer = unsafe { (*info).si_code } == libc::SI_TIMER;
    if !from_timer || signal != timeout_signal() {
        // SAFETY: ends the process; nothing else runs.
        unsafe { libc::_exit(128 + signal) };
    }
    let text = TIMEOUT_TEXT.load(Ordering::Acquire);
    let len = TIMEOUT_LEN.load(Ordering::Acquire);
    // A full pipe that nobody reads must not keep the function alive.
    let mut stderr = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one descriptor, and no waiting.
    if !text.is_null() && unsafe { libc::poll(&raw mut stderr, 1, 0) } == 1 {
        // SAFETY: `text` and `len` describe a leaked buffer (see `arm_timeout`).
        unsafe { libc::write(2, text.cast(), len) };
    }
    // SAFETY: as above.
    unsafe { libc::_exit(EXIT_LIMIT) };
}

fn timeout_signal() -> c_int {
    libc::SIGRTMAX()
}

/// Ends the process with [`EXIT_LIMIT`] after `limit` of wall-clock time, writing `text` to standard error. Works in an
/// endless loop as well as in a blocking call. [`install_signals`] comes first.
pub(crate) fn arm_timeout(limit: Duration, text: String) -> Result<()> {
    let text = Box::leak(text.into_bytes().into_boxed_slice());
    TIMEOUT_LEN.store(text.len(), Ordering::Release);
    TIMEOUT_TEXT.store(text.as_mut_ptr(), Ordering::Release);
    // SAFETY: all zero is a valid sigevent.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = timeout_signal();
    let mut timer: libc::timer_t = ptr::null_mut();
    // SAFETY: both are places that live during the call.
    if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } != 0 {
        return Err(failed("timer_create"));
    }
    let limit = limit.max(Duration::from_nanos(1));
    let once = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        },
    };
    // SAFETY: the timer was just made, and `once` lives during the call.
    if unsafe { libc::timer_settime(timer, 0, &raw const once, ptr::null_mut()) } != 0 {
        return Err(failed("timer_settime"));
    }
    Ok(())
}

/// Most that the engine may take beside linear memory and what it held already: the interpreter's stacks and tables. A
/// million calls deep, as the interpreter's stacks double when they are full.
const BESIDE: u64 = 256 << 20;
/// Most that the native stack may grow to, where the container's own limit is higher or there is none.
const STACK: u64 = 64 << 20;

/// What is said when the engine has no memory; set before the limits are, never freed.
static EXHAUSTED_TEXT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static EXHAUSTED_LEN: AtomicUsize = AtomicUsize::new(0);

/// Bounds the memory of the process beside `linear` bytes.
///
/// The interpreter's stacks and the tables of a module are the engine's vectors, which have no limit of their own: endless recursion
/// would take what the host has. Past RLIMIT_DATA an allocation throws, which the engine does not catch; the process writes
/// `text` and ends as by a trap. Growing linear memory past it fails inside the guest. What a module has been parsed into is
/// granted twice more, because instantiation copies it.
pub(crate) fn bound_memory(linear: u64, text: String) -> Result<()> {
    let text = Box::leak(text.into_bytes().into_boxed_slice());
    EXHAUSTED_LEN.store(text.len(), Ordering::Release);
    EXHAUSTED_TEXT.store(text.as_mut_ptr(), Ordering::Release);
    // SAFETY: a string with a terminating zero; the handle stands for every library that this one depends on.
    let set_terminate = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_ZSt13set_terminatePFvvE".as_ptr()) };
    if !set_terminate.is_null() {
        // SAFETY: this is the mangled name of `std::set_terminate`, which takes a function without parameters and
        // returns another.
        let set_terminate: extern "C" fn(extern "C" fn()) -> *const c_void =
            unsafe { std::mem::transmute(set_terminate) };
        set_terminate(on_terminate);
    }
    let data = linear.saturating_add(heap().saturating_mul(3)).saturating_add(BESIDE);
    let given = lower_limit(libc::RLIMIT_DATA, "RLIMIT_DATA", data)?;
    DATA_GIVEN.store(given, Ordering::Relaxed);
    lower_limit(libc::RLIMIT_STACK, "RLIMIT_STACK", STACK).map(drop)
}

/// `RLIMIT_DATA` as the process was given it, in bytes.
static DATA_GIVEN: AtomicU64 = AtomicU64::new(0);

/// [`bound_memory`]'s bound, lifted until this is dropped or settled.
#[derive(Debug)]
pub(crate) struct Lifted {
    bound: libc::rlimit,
    held: u64,
}

/// Lifts the bound to what the process was given, for a module that is loaded while others run.
pub(crate) fn lift_memory_bound() -> Result<Lifted> {
    let bound = current_limit(libc::RLIMIT_DATA, "RLIMIT_DATA")?;
    let given = DATA_GIVEN.load(Ordering::Relaxed).max(bound.rlim_cur);
    set_limit(libc::RLIMIT_DATA, "RLIMIT_DATA", libc::rlimit { rlim_cur: given, ..bound })?;
    Ok(Lifted { bound, held: heap() })
}

impl Lifted {
    /// Sets the bound as [`bound_memory`] would have, had the module been there from the beginning: `linear` bytes more, and what it was
    /// parsed into three times.
    pub(crate) fn settle(mut self, linear: u64) -> Result<()> {
        let parsed = heap().saturating_sub(self.held);
        let most = self.bound.rlim_cur.saturating_add(linear).saturating_add(parsed.saturating_mul(3));
        self.bound.rlim_cur = most.min(DATA_GIVEN.load(Ordering::Relaxed).max(self.bound.rlim_cur));
        set_limit(libc::RLIMIT_DATA, "RLIMIT_DATA", self.bound)
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        // It was in force a moment ago.
        let _ = set_limit(libc::RLIMIT_DATA, "RLIMIT_DATA", self.bound);
    }
}

/// Bytes that the allocator holds.
fn heap() -> u64 {
    // SAFETY: takes nothing, returns numbers.
    let heap = unsafe { libc::mallinfo2() };
    u64::try_from(heap.arena.saturating_add(heap.hblkhd)).unwrap_or(u64::MAX)
}

/// Gives the soft limit as it was.
fn lower_limit(resource: libc::__rlimit_resource_t, name: &str, most: u64) -> Result<u64> {
    let limit = current_limit(resource, name)?;
    if limit.rlim_cur > most {
        set_limit(resource, name, libc::rlimit { rlim_cur: most, ..limit })?;
    }
    Ok(limit.rlim_cur)
}

fn current_limit(resource: libc::__rlimit_resource_t, name: &str) -> Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a place for the answer.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(failed(&format!("getrlimit {name}")));
    }
    Ok(limit)
}

fn set_limit(resource: libc::__rlimit_resource_t, name: &str, limit: libc::rlimit) -> Result<()> {
    // SAFETY: reads `limit` during the call.
    if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
        return Err(failed(&format!("setrlimit {name}")));
    }
    Ok(())
}

/// Where C++ ends for an exception that nobody catches. Of the engine's, that is the one of an allocation that failed, thrown
/// through functions that must not throw.
extern "C" fn on_terminate() {
    let text = EXHAUSTED_TEXT.load(Ordering::Acquire);
    let len = EXHAUSTED_LEN.load(Ordering::Acquire);
    if !text.is_null() {
        // SAFETY: `text` and `len` describe a leaked buffer (see `bound_memory`).
        unsafe { libc::write(2, text.cast(), len) };
    }
    // SAFETY: ends the process; nothing else runs.
    unsafe { libc::_exit(EXIT_TRAP) };
}

/// Where the kernel believes that this process's parts lie (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug)]
struct Layout {
    start_code: u64,
    end_code: u64,
    start_stack: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
}

static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();

/// Reads this process's layout while `/proc` is the host's: the container may have none, and clone(2) keeps the
/// layout. Called when the table is fetched, before the clone.
pub(crate) fn remember_layout() {
    LAYOUT.get_or_init(|| std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse_layout));
}

fn parse_layout(stat: &str) -> Option<Layout> {
    // The second field is the name, which may hold blanks and brackets; what follows its last bracket is numbers.
    let rest = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc_pid_stat(5) counts from 1; the third field is the first here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Layout {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
    })
}

/// Argument of `PR_SET_MM_MAP` (linux/prctl.h).
#[repr(C)]
struct MmMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: *mut u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Makes `/proc/PID/comm`, `cmdline` and `environ` those of the function.
///
/// `name` is what execve(2) would make the name: the last component of the program's path. Where the kernel refuses to move the
/// areas (no checkpoint support, or seccomp), the old ones are overwritten in place, as far as they reach.
pub(crate) fn take_identity(name: &str, args: &[CString], env: &[CString]) {
    if let Ok(name) = CString::new(name) {
        // The kernel cuts it to 15 bytes; the prctl cannot fail for a readable string.
        // SAFETY: a string with a terminating zero, read during the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
    let Some(Some(layout)) = LAYOUT.get() else { return };
    let (args, env) = (join(args), join(env));
    if !move_areas(layout, &args, &env) {
        overwrite(layout.arg_start, layout.arg_end, &args);
        overwrite(layout.env_start, layout.env_end, &env);
    }
}

fn join(strings: &[CString]) -> Vec<u8> {
    strings.iter().flat_map(|string| string.as_bytes_with_nul()).copied().collect()
}

fn move_areas(layout: &Layout, args: &[u8], env: &[u8]) -> bool {
    let block = Box::leak([args, env].concat().into_boxed_slice());
    let start = block.as_ptr() as u64;
    let middle = start + args.len() as u64;
    // SAFETY: a break of 0 is refused, and the kernel answers with the present one.
    let brk = unsafe { libc::syscall(libc::SYS_brk, 0) };
    let map = MmMap {
        start_code: layout.start_code,
        end_code: layout.end_code,
        start_data: layout.start_data,
        end_data: layout.end_data,
        start_brk: layout.start_brk,
        brk: brk.cast_unsigned(),
        start_stack: layout.start_stack,
        arg_start: start,
        arg_end: middle,
        env_start: middle,
        env_end: middle + env.len() as u64,
        auxv: ptr::null_mut(),
        auxv_size: 0,
        exe_fd: u32::MAX,
    };
    // SAFETY: every field but the four of the arguments is what the kernel has already; those describe a leaked block.
    let status =
        unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of::<MmMap>(), 0) };
    status == 0
}

fn overwrite(start: u64, end: u64, text: &[u8]) {
    let Ok(room) = usize::try_from(end.saturating_sub(start)) else { return };
    if start == 0 || room == 0 {
        return;
    }
    let count = text.len().min(room - 1);
    // SAFETY: [start, end) is the area into which the kernel copied this process's strings at execve; it is on
    // the stack's far end, writable, and nothing of this library points into it.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, room) };
    area[..count].copy_from_slice(&text[..count]);
    area[count..].fill(0);
}

/// Writes one line to standard error, in one write, without Rust's buffers.
pub(crate) fn say(line: &str) {
    let line = format!("rr-runtime: {line}\n");
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        // SAFETY: `rest` is readable for its length.
        let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(count) if count > 0 => rest = &rest[count..],
            _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            // Nobody can be told.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_brackets_in_its_name_is_read() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let line = format!("17 (a) b) S {}", numbers.join(" "));
        let layout = parse_layout(&line).expect("a layout");
        assert_eq!(
            (layout.start_code, layout.start_stack, layout.start_data, layout.env_end),
            (26, 28, 45, 51)
        );
        assert!(parse_layout("17 (short) S 1").is_none());
        assert!(parse_layout("").is_none());
    }

    #[test]
    fn the_signals_that_end_a_process_are_handled_and_no_others() {
        for signal in
            [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE, libc::SIGUSR1, libc::SIGRTMIN()]
        {
            assert!(is_fatal(signal), "{signal}");
        }
        for signal in [libc::SIGKILL, libc::SIGCHLD, libc::SIGWINCH, libc::SIGTSTP, 32, 33] {
            assert!(!is_fatal(signal), "{signal}");
        }
    }
}
