//! Installed as `PREFIX/bin/rr-runtime`: executes `PREFIX/lib/rr-runtime/rr-runtime`, for verbs that make a process of a container through a
//! read-only clone of its mount that belongs to no namespace, as `runtime::sealed` would.
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

use first_stage::{ORIGIN, SEALED, is_kept};
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
const SECOND_STAGE: &[u8] = b"/lib/rr-runtime/rr-runtime\0";
/// Longer than any path, and room for the variable's name before it and for the end of [`SECOND_STAGE`].
const SIZE: usize = 4096 + 128;

const AT_FDCWD: isize = -100;
const AT_EMPTY_PATH: usize = 0x1000;
const OPEN_TREE_CLONE: usize = 1;
const OPEN_TREE_CLOEXEC: usize = 0o2_000_000;
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

/// Where the second stage is: `_RR_RUNTIME_ORIGIN=/usr/local/lib/rr-runtime/rr-runtime`.
struct Origin {
    variable: [u8; SIZE],
}

impl Origin {
    const PATH: usize = ORIGIN.len() + 1;

    fn find() -> Option<Self> {
        let mut variable = [0; SIZE];
        variable.get_mut(..ORIGIN.len())?.copy_from_slice(ORIGIN.as_bytes());
        *variable.get_mut(ORIGIN.len())? = b'=';
        let path = variable.get_mut(Self::PATH..)?;
        let room = path.len() - SECOND_STAGE.len();
        // SAFETY: there is so much room.
        let length = unsafe {
            syscall!(Sysno::readlinkat, AT_FDCWD, c"/proc/self/exe".as_ptr(), path.as_mut_ptr(), room)
        };
        let mut end = length.ok()?;
        // The binary's name, and that of its folder.
        for _ in 0..2 {
            end = path.get(..end)?.iter().rposition(|&byte| byte == b'/')?;
        }
        path.get_mut(end..end + SECOND_STAGE.len())?.copy_from_slice(SECOND_STAGE);
        Some(Self { variable })
    }

    fn path(&self) -> *const c_char {
        self.variable[Self::PATH..].as_ptr().cast()
    }
}

/// What the kernel calls, by way of `_start`: the stack begins with the count of the arguments.
unsafe extern "C" fn begin(stack: *mut usize) -> ! {
    // SAFETY: that is the layout, on every architecture.
    let count = unsafe { *stack };
    let arguments = Strings(stack.wrapping_add(1).cast());
    // Behind the null that ends them.
    let environment = Strings(stack.wrapping_add(count + 2).cast());

    let Some(origin) = Origin::find() else { fail(b"where it is installed cannot be read", Errno::ENOENT) };
    let is_sealed = |word: &CStr| SEALED.iter().any(|verb| word.to_bytes() == verb.as_bytes());
    if arguments.iter().any(is_sealed)
        && let Ok(binary) = read_only_clone(&origin)
    {
        environment.replace(origin.variable.as_ptr().cast());
        // SAFETY: every pointer is to strings that end, and stay.
        let _ = unsafe {
            syscall!(Sysno::execveat, binary, c"".as_ptr(), arguments.0, environment.0, AT_EMPTY_PATH)
        };
    }
    // SAFETY: as above.
    let result = unsafe { syscall!(Sysno::execve, origin.path(), arguments.0, environment.0) };
    let path = origin.variable.get(Origin::PATH..).and_then(|path| CStr::from_bytes_until_nul(path).ok());
    fail(path.unwrap_or_default().to_bytes(), result.err().unwrap_or(Errno::ENOEXEC))
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
