//! The two functions of C's libm(3) that a cgroup's weight is computed with, as the crate `libm` has them. With them here the binary needs no libm.so, of
//! which every command would find, map and relocate 600 kB for what hardly one of them calls.
#![expect(unsafe_code, reason = "the names under which the compiler calls them")]

/// log2(3).
// SAFETY: what C's function of this name takes and returns.
#[unsafe(no_mangle)]
extern "C" fn log2(x: f64) -> f64 {
    libm::log2(x)
}

/// pow(3).
// SAFETY: what C's function of this name takes and returns.
#[unsafe(no_mangle)]
extern "C" fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use libloading::os::unix::Library;

    use super::*;

    #[test]
    fn every_weight_is_the_one_that_the_host_s_library_gives() {
        // SAFETY: it is the C library's own, with the prototypes of log2(3) and pow(3).
        let library = unsafe { Library::new("libm.so.6") }.unwrap();
        // SAFETY: as above.
        let their_log2 = unsafe { library.get::<extern "C" fn(f64) -> f64>(b"log2") }.unwrap();
        // SAFETY: as above.
        let their_pow = unsafe { library.get::<extern "C" fn(f64, f64) -> f64>(b"pow") }.unwrap();
        // runc's curve, of every number of shares that it is for.
        let exponent = |log: f64| (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
        let ours = |shares: u32| pow(10.0, exponent(log2(f64::from(shares)))).ceil() as u64;
        let theirs = |shares: u32| their_pow(10.0, exponent(their_log2(f64::from(shares)))).ceil() as u64;
        let differ = (3..262_144).find(|shares| ours(*shares) != theirs(*shares));
        assert_eq!(differ, None);
    }
}
