//! What the contestants of `rr-eval` have in common, whatever road their payloads take: the payload, what a receiver has to do with
//! it, and the lines by which both talk to `rr-eval`. `cmd/rr-eval/src/protocol.rs` is the other end, and describes the lines.
//!
//! Nothing here is timed but what stands between two stamps of [`now`], the host's CLOCK_MONOTONIC in nanoseconds.

pub mod json;
pub mod pace;
pub mod payload;
pub mod sink;
pub mod source;

/// The host's CLOCK_MONOTONIC, in nanoseconds. It is one clock for all processes of a host.
#[cfg(not(target_os = "wasi"))]
#[must_use]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The same through WASI. Where there is no time stamp counter, the raw value of `quanta`'s clock is that of CLOCK_MONOTONIC.
#[cfg(target_os = "wasi")]
#[must_use]
pub fn now() -> u64 {
    thread_local! {
        static CLOCK: quanta::Clock = quanta::Clock::new();
    }
    CLOCK.with(quanta::Clock::raw)
}
