//! What the compiler calls, and a C library or the standard library would have.

/// Copies `count` bytes that do not overlap.
///
/// # Safety
///
/// As that of C: both are valid for so many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller's.
        let byte = unsafe { from.wrapping_add(index).read() };
        // SAFETY: the caller's.
        unsafe { to.wrapping_add(index).write(byte) };
    }
    to
}

/// Sets `count` bytes.
///
/// # Safety
///
/// As that of C: `to` is valid for so many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller's.
        unsafe { to.wrapping_add(index).write(byte as u8) };
    }
    to
}

/// Compares `count` bytes; what it gives is zero when they are alike, and else says which of the two has the greater one.
///
/// # Safety
///
/// As that of C: both are valid for so many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller's.
        let one = unsafe { one.wrapping_add(index).read() };
        // SAFETY: the caller's.
        let other = unsafe { other.wrapping_add(index).read() };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// Compares `count` bytes; what it gives is zero when they are alike.
///
/// # Safety
///
/// As that of C: both are valid for so many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(one, other, count) }
}

/// Counts the bytes before the first that is zero.
///
/// # Safety
///
/// As that of C: there is one.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0;
    loop {
        // SAFETY: the caller's.
        if unsafe { string.wrapping_add(length).read() } == 0 {
            return length;
        }
        length += 1;
    }
}

/// What a build without optimisation refers to, and nobody calls: a panic ends the program.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
