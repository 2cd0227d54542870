//! Jobs that are done at the same time, as long as there is room for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;

use anyhow::{Result, anyhow};

/// What jobs take, or may take together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    /// In bytes.
    pub(crate) memory: u64,
    /// In bits per second.
    pub(crate) rate: u64,
}

const NONE: Room = Room { memory: 0, rate: 0 };

impl Room {
    /// What is left of it without the other; none if that needs more.
    fn without(self, other: Self) -> Option<Self> {
        let memory = self.memory.checked_sub(other.memory)?;
        Some(Self { memory, rate: self.rate.checked_sub(other.rate)? })
    }

    fn with(self, other: Self) -> Self {
        Self { memory: self.memory + other.memory, rate: self.rate + other.rate }
    }
}

/// Does each job in a thread, those first that come first, unless a later one fits in where they do not. One that needs more than all the room is
/// done alone. After a failure none is begun any more.
///
/// # Errors
/// The first failure, when all that were begun have ended.
pub(crate) fn run<T: Send>(
    room: Room,
    mut jobs: Vec<(Room, T)>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let (ended, ends) = channel();
    let (mut free, mut running, mut result) = (room, 0, Ok(()));
    std::thread::scope(|scope| {
        loop {
            let fits = |(needed, _): &(Room, T)| running == 0 || free.without(*needed).is_some();
            if let (Ok(()), Some(next)) = (&result, jobs.iter().position(fits)) {
                let (needed, job) = jobs.remove(next);
                let (needed, left) = free.without(needed).map_or((free, NONE), |left| (needed, left));
                free = left;
                running += 1;
                let (ended, work) = (ended.clone(), &work);
                scope.spawn(move || {
                    let done = catch_unwind(AssertUnwindSafe(|| work(job)));
                    // The other end waits for each.
                    let _ =
                        ended.send((needed, done.unwrap_or_else(|_| Err(anyhow!("a thread has panicked")))));
                });
            } else if running == 0 {
                break;
            } else if let Ok((needed, done)) = ends.recv() {
                running -= 1;
                free = free.with(needed);
                result = std::mem::replace(&mut result, Ok(())).and(done);
            }
        }
    });
    result
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const ROOM: Room = Room { memory: 10, rate: 10 };

    fn job(memory: u64, rate: u64) -> (Room, Room) {
        let needed = Room { memory, rate };
        (needed, needed)
    }

    #[test]
    fn all_are_done_and_never_more_at_once_than_there_is_room_for() {
        let (memory, rate, most, count) = <(AtomicU64, AtomicU64, AtomicU64, AtomicU64)>::default();
        let jobs = (0..40).map(|index| job(1 + index % 7, 1 + index % 4)).collect();
        run(ROOM, jobs, |taken| {
            let now = memory.fetch_add(taken.memory, Ordering::SeqCst) + taken.memory;
            let rate_now = rate.fetch_add(taken.rate, Ordering::SeqCst) + taken.rate;
            assert!(now <= ROOM.memory && rate_now <= ROOM.rate, "{now} {rate_now}");
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            memory.fetch_sub(taken.memory, Ordering::SeqCst);
            rate.fetch_sub(taken.rate, Ordering::SeqCst);
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(count.into_inner(), 40);
        assert!(most.into_inner() > 7, "none was done beside another");
    }

    #[test]
    fn what_needs_more_than_there_is_is_done_alone() {
        let (running, done) = <(AtomicU64, Mutex<Vec<u64>>)>::default();
        run(ROOM, vec![job(5, 1), job(50, 50), job(5, 1)], |taken| {
            let beside = running.fetch_add(1, Ordering::SeqCst);
            assert!(taken.memory < 50 || beside == 0);
            std::thread::sleep(std::time::Duration::from_millis(5));
            running.fetch_sub(1, Ordering::SeqCst);
            done.lock().unwrap().push(taken.memory);
            Ok(())
        })
        .unwrap();
        assert_eq!(done.into_inner().unwrap(), [5, 5, 50], "a smaller one goes before");
    }

    #[test]
    fn a_failure_and_a_panic_are_told_when_all_have_ended() {
        let begun = AtomicU64::new(0);
        let failures: [fn() -> Result<()>; 2] = [|| Err(anyhow!("no")), || panic!("no")];
        for (fails, told) in failures.into_iter().zip(["no", "a thread has panicked"]) {
            begun.store(0, Ordering::SeqCst);
            let jobs = vec![job(10, 10), job(10, 10)];
            let error = run(ROOM, jobs, |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                fails()
            })
            .unwrap_err();
            assert_eq!(error.to_string(), told);
            assert_eq!(begun.load(Ordering::SeqCst), 1, "none is begun after a failure");
        }
    }
}
