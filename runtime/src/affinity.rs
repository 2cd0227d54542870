//! On which processors a container's processes run: as under runc on all that its cgroup has, whatever the caller was bound to.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Takes away what the caller was bound to. What `execCPUAffinity` says, libcontainer sets later.
pub(crate) fn reset() {
    let mut all = CpuSet::new();
    let set = (0..CpuSet::count()).try_for_each(|processor| all.set(processor));
    // A caller without the privilege stays where it is, and so does what it runs.
    if let Err(errno) = set.and_then(|()| sched_setaffinity(Pid::this(), &all)) {
        tracing::debug!("the caller's CPU affinity is kept: {errno}");
    }
}

/// How many processors this process may use; at least one.
pub(crate) fn count() -> u32 {
    rustix::thread::sched_getaffinity(Some(rustix::process::getpid())).map_or(1, |set| set.count())
}

/// The first 64 processors of this process.
pub(crate) fn mask() -> u64 {
    let set = sched_getaffinity(Pid::this()).unwrap_or_default();
    (0..64).filter(|processor| set.is_set(*processor).unwrap_or(false)).map(|processor| 1 << processor).sum()
}

/// The first 64 processors of a list, as `0-3,7`; `None` for what is none.
pub(crate) fn mask_of(list: &str) -> Option<u64> {
    let mut mask = 0;
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first..=last.min(63)).for_each(|processor| mask |= 1 << processor);
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_bound_is_let_go() {
        // Of this thread alone.
        let before = mask();
        let first = usize::try_from(before.trailing_zeros()).expect("a small number");
        let mut one = CpuSet::new();
        one.set(first).expect("a processor");
        sched_setaffinity(Pid::this(), &one).expect("it is allowed");
        assert_eq!((mask(), count()), (1 << first, 1));
        reset();
        assert_eq!(mask() & before, before);
    }

    #[test]
    fn lists_are_read_as_the_kernel_reads_them() {
        assert_eq!(["0", "1-2", "0,3-4", "", "60-99"].map(mask_of), [1, 6, 25, 0, 15 << 60].map(Some));
        assert_eq!(["x", "1-", "-1"].map(mask_of), [None; 3]);
    }
}
