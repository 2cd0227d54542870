//! Installed as `PREFIX/bin/rr-runtime`: executes one of the two programs in `PREFIX/lib/rr-runtime`, for verbs that make a process of a container
//! through a read-only clone of its mount that belongs to no namespace, as `runtime::sealed` would. Which one, is [`first_stage::choose`]'s to say.
//!
//! To do so needs no C library. A dynamic program costs a virtual machine half a millisecond before its `main`, most of it for questions to
//! the processor; this one takes the kernel's word. Where the clone is not permitted the runtime is executed as it is, and sees to it itself.

#![no_std]
#![no_main]
#![no_builtins]
#![expect(
    unsafe_code,
    reason = "a program without a C library: its entry, its system calls, its arguments as the kernel leaves them"
)]

mod bytes;

use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::panic::PanicInfo;
use core::ptr;

use first_stage::{
    Choice, NATIVE, ORIGIN, SEALED, WHOLE, WORD, bundle, choose, is_kept, speaks_of_functions,
};
use syscalls::{Errno, Sysno, syscall};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {begin}",
    "brk #1",
    begin = sym begin,
);

/// Below the folder that holds `bin/`.
const FOLDER: &[u8] = b"/lib/rr-runtime/";
/// Below a bundle's folder.
const CONFIGURATION: &[u8] = b"/config.json\0";
/// Longer than any path, and room for the variable's name before it and for what comes behind it.
const SIZE: usize = 4096 + 128;
/// What is read at once.
const PIECE: usize = 8 * 1024;
/// More of a configuration is not looked at.
const PIECES: usize = 256;

const AT_FDCWD: isize = -100;
const AT_EMPTY_PATH: usize = 0x1000;
const OPEN_TREE_CLONE: usize = 1;
const OPEN_TREE_CLOEXEC: usize = OPEN_CLOEXEC;
const OPEN_CLOEXEC: usize = 0o2_000_000;
/// What is no file may be one that nobody writes to.
const OPEN_NONBLOCK: usize = 0o4000;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const STDERR: usize = 2;

/// The argument of `mount_setattr(2)`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Strings as the kernel lays them out on a new process's stack: pointers, then a null.
#[derive(Clone, Copy)]
struct Strings(*mut *const c_char);

impl Strings {
    fn get(self, index: usize) -> Option<&'static CStr> {
        // SAFETY: nobody asks beyond the null, and the stack stays until the process ends.
        let string = unsafe { *self.0.wrapping_add(index) };
        // SAFETY: the kernel ends each string.
        (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) })
    }

    fn iter(self) -> impl Iterator<Item = &'static CStr> {
        (0..).map_while(move |index| self.get(index))
    }

    fn set(self, index: usize, string: *const c_char) {
        // SAFETY: as in `get`, or right behind the null, where the auxiliary vector is, which nobody reads here.
        unsafe { *self.0.wrapping_add(index) = string };
    }

    /// Leaves out what is not passed on, and adds one.
    fn replace(self, origin: *const c_char) {
        let mut kept = 0;
        for string in self.iter() {
            if is_kept(string.to_bytes()) {
                self.set(kept, string.as_ptr());
                kept += 1;
            }
        }
        self.set(kept, origin);
        self.set(kept + 1, ptr::null());
    }
}

/// Bytes one after the other.
struct Text<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Text<ROOM> {
    const fn new() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }

    fn push(&mut self, more: &[u8]) -> Option<()> {
        let end = self.length + more.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(more);
        self.length = end;
        Some(())
    }
}

/// Where the second stage is: `_RR_RUNTIME_ORIGIN=/usr/local/lib/rr-runtime/rr-runtime`.
struct Origin {
    variable: Text<SIZE>,
}

impl Origin {
    const PATH: usize = ORIGIN.len() + 1;

    fn find(program: &str) -> Option<Self> {
        let mut variable = Text::new();
        variable.push(ORIGIN.as_bytes())?;
        variable.push(b"=")?;
        let room = variable.bytes.get_mut(Self::PATH..)?;
        // SAFETY: there is so much room.
        let length = unsafe {
            syscall!(Sysno::readlinkat, AT_FDCWD, c"/proc/self/exe".as_ptr(), room.as_mut_ptr(), room.len())
        };
        variable.length += length.ok()?;
        // The binary's name, and that of its folder.
        for _ in 0..2 {
            variable.length =
                variable.bytes.get(..variable.length)?.iter().rposition(|&byte| byte == b'/')?;
        }
        variable.push(FOLDER)?;
        variable.push(program.as_bytes())?;
        variable.push(b"\0")?;
        Some(Self { variable })
    }

    fn path(&self) -> *const c_char {
        self.variable.bytes[Self::PATH..].as_ptr().cast()
    }

    /// Executes it, where it shall be from a place that nobody can write to if that is permitted. Returns why that failed.
    fn execute(&self, is_sealed: bool, arguments: Strings, environment: Strings) -> Errno {
        if is_sealed && let Ok(binary) = read_only_clone(self) {
            environment.replace(self.variable.bytes.as_ptr().cast());
            // SAFETY: every pointer is to strings that end, and stay.
            let _ = unsafe {
                syscall!(Sysno::execveat, binary, c"".as_ptr(), arguments.0, environment.0, AT_EMPTY_PATH)
            };
        }
        // SAFETY: as above.
        let result = unsafe { syscall!(Sysno::execve, self.path(), arguments.0, environment.0) };
        result.err().unwrap_or(Errno::ENOEXEC)
    }
}

/// Whether the configuration of the bundle that a command line names speaks of functions. One that cannot be read does not: who wants it will say so.
fn bundle_speaks_of_functions(arguments: Strings) -> bool {
    let mut path = Text::<SIZE>::new();
    let named =
        path.push(bundle(arguments.iter().map(CStr::to_bytes))).and_then(|()| path.push(CONFIGURATION));
    if named.is_none() {
        return false;
    }
    // SAFETY: the path ends.
    let opened =
        unsafe { syscall!(Sysno::openat, AT_FDCWD, path.bytes.as_ptr(), OPEN_CLOEXEC | OPEN_NONBLOCK) };
    let Ok(file) = opened else { return false };
    let mut piece = [0; PIECE];
    // Of the piece before, as the word may stand across.
    let mut kept = 0;
    for _ in 0..PIECES {
        let (room, left) = (piece[kept..].as_mut_ptr(), PIECE - kept);
        // SAFETY: there is so much room.
        let read = unsafe { syscall!(Sysno::read, file, room, left) };
        let Ok(count @ 1..) = read else { return false };
        let end = kept + count;
        if speaks_of_functions(&piece[..end]) {
            return true;
        }
        kept = end.min(WORD - 1);
        for index in 0..kept {
            piece[index] = piece[end - kept + index];
        }
    }
    false
}

/// What the kernel calls, by way of `_start`: the stack begins with the count of the arguments.
unsafe extern "C" fn begin(stack: *mut usize) -> ! {
    // SAFETY: that is the layout, on every architecture.
    let count = unsafe { *stack };
    let arguments = Strings(stack.wrapping_add(1).cast());
    // Behind the null that ends them.
    let environment = Strings(stack.wrapping_add(count + 2).cast());

    let words = || arguments.iter().map(CStr::to_bytes);
    let is_sealed = words().any(|word| SEALED.iter().any(|verb| word == verb.as_bytes()));
    let is_native = match choose(words()) {
        Choice::Native => true,
        Choice::ByBundle => !bundle_speaks_of_functions(arguments),
        Choice::Whole => false,
    };
    if is_native && let Some(origin) = Origin::find(NATIVE) {
        // Where it could not be built, the other one does the same.
        origin.execute(is_sealed, arguments, environment);
    }
    let Some(origin) = Origin::find(WHOLE) else {
        fail(b"where it is installed cannot be read", Errno::ENOENT)
    };
    let errno = origin.execute(is_sealed, arguments, environment);
    let path =
        origin.variable.bytes.get(Origin::PATH..).and_then(|path| CStr::from_bytes_until_nul(path).ok());
    fail(path.unwrap_or_default().to_bytes(), errno)
}

/// The binary by a mount of its own, which is read-only and belongs to no namespace, so that nobody can remount it.
fn read_only_clone(origin: &Origin) -> Result<usize, Errno> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    // SAFETY: the path ends.
    let tree = unsafe { syscall!(Sysno::open_tree, AT_FDCWD, origin.path(), flags) }?;
    let attributes = MountAttributes {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let (pointer, size) = (&raw const attributes, size_of::<MountAttributes>());
    // SAFETY: the kernel reads so many bytes.
    unsafe { syscall!(Sysno::mount_setattr, tree, c"".as_ptr(), AT_EMPTY_PATH, pointer, size) }?;
    Ok(tree)
}

/// Says what cannot be executed, and ends.
fn fail(what: &[u8], errno: Errno) -> ! {
    let (name, description) = (errno.name().unwrap_or("unknown"), errno.description().unwrap_or_default());
    for part in [b"rr-runtime: ", what, b": ", description.as_bytes(), b" (", name.as_bytes(), b")\n"] {
        // SAFETY: the kernel reads so many bytes.
        let _ = unsafe { syscall!(Sysno::write, STDERR, part.as_ptr(), part.len()) };
    }
    end()
}

fn end() -> ! {
    loop {
        // SAFETY: it has no pointers.
        let _ = unsafe { syscall!(Sysno::exit_group, 1) };
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    end()
}
