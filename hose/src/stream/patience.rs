//! Waiting that looks again and again for a moment before it sleeps, where that has paid lately.
//!
//! To sleep and to be woken takes longer than a short payload needs to cross and be handled (two containers on two processors of a virtual machine: 35
//! µs there and back asleep, a fifth of it awake; `make bench`). So a thread that has just waited briefly looks for [`AWAKE`] first. A look is a poll(2) that
//! does not wait. Whoever comes back to wait after a longer time than that sleeps at once: an answer that is a moment late costs it less than
//! looking. Where looking was in vain, the next waits, twice as many each time, sleep at once: the peer is slow, or cannot run meanwhile. Where this
//! thread may use one processor only, of which the peer's may be another, looking is tried late and rarely.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::thread::sched_getaffinity;

use super::link::{look, wait};

/// How long to look before sleeping.
const AWAKE: Duration = Duration::from_micros(50);
/// The same for the next piece of a payload: where memory is the limit it is there after some 10 µs, and to be woken for each slows its sender by a fifth; at 10
/// Gbit/s it takes 50, and looking would cost more than it brings.
const AWAKE_WITHIN: Duration = Duration::from_micros(20);
/// A wait that was shorter than this, being woken included, is a reason to look in the next one.
const BRIEF: Duration = Duration::from_micros(100);
/// Most waits that sleep at once after one in vain.
const MAX_PENALTY: u32 = 1 << 10;
/// As many for a thread of one processor before its first look.
const ALONE: u32 = 1 << 6;

/// See the module.
#[derive(Debug)]
pub(super) struct Patience {
    /// How long a look lasts.
    awake: Duration,
    /// Whether the last wait was brief.
    brief: bool,
    /// When it ended.
    ended: Instant,
    /// Waits that sleep at once.
    rest: u32,
    /// How many the next one in vain will cost.
    penalty: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self::of(AWAKE)
    }

    /// For what comes within a payload.
    pub(super) fn within_a_payload() -> Self {
        Self::of(AWAKE_WITHIN)
    }

    fn of(awake: Duration) -> Self {
        // A system that does not say has one.
        let processors = sched_getaffinity(None).map_or(1, |set| set.count());
        let (rest, penalty) = if processors > 1 { (0, 1) } else { (ALONE, ALONE) };
        Self { awake, brief: false, ended: Instant::now(), rest, penalty }
    }

    /// As [`wait`].
    pub(super) fn wait(
        &mut self,
        sockets: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Instant>,
    ) -> io::Result<Vec<bool>> {
        let begun = Instant::now();
        if until.is_some_and(|until| until <= begun + self.awake) {
            return wait(sockets, until);
        }
        self.brief &= begun.duration_since(self.ended) < BRIEF;
        if self.looks() {
            if let Some(ready) = look(sockets, begun + self.awake)? {
                self.penalty = 1;
                self.ended = Instant::now();
                return Ok(ready);
            }
            self.rest = self.penalty;
            self.penalty = (self.penalty * 2).min(MAX_PENALTY);
        }
        let ready = wait(sockets, until)?;
        self.ended = Instant::now();
        self.brief = self.ended - begun < BRIEF;
        Ok(ready)
    }

    fn looks(&mut self) -> bool {
        if !self.brief {
            return false;
        }
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        !rests
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LATE: Duration = Duration::from_millis(2);

    /// A wait until there is something to read, or in vain.
    fn waits(patience: &mut Patience, socket: &UnixStream) -> Vec<bool> {
        patience.wait(&[(socket.as_fd(), PollFlags::IN)], Some(Instant::now() + LATE)).unwrap()
    }

    #[test]
    fn what_is_there_is_found_awake_and_asleep() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        for (brief, rest) in [(true, 0), (false, 0), (true, 1)] {
            let mut patience = Patience { brief, rest, penalty: 4, ..Patience::new() };
            assert_eq!(waits(&mut patience, &ours), [true]);
            // Only a look that has found something takes the penalty back.
            assert_eq!(patience.penalty, if brief && rest == 0 { 1 } else { 4 });
        }
    }

    #[test]
    fn who_has_been_away_sleeps_at_once() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        let mut patience = Patience { brief: true, rest: 0, penalty: 4, ..Patience::new() };
        std::thread::sleep(2 * BRIEF);
        assert_eq!(waits(&mut patience, &ours), [true]);
        assert_eq!(patience.penalty, 4, "it has looked");
    }

    #[test]
    fn looking_in_vain_is_repeated_more_and_more_rarely() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut patience = Patience { brief: true, rest: 0, penalty: 1, ..Patience::new() };
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert_eq!(waits(&mut patience, &ours), [false]);
            assert!(!patience.brief, "a wait in vain is not brief");
            // As if it had been.
            patience.brief = true;
            pauses.push((0..).take_while(|_| !patience.looks()).count());
        }
        assert_eq!(pauses, [1, 2, 4, 8]);
    }

    #[test]
    fn a_thread_of_one_processor_looks_late() {
        // Of this thread alone.
        let had = sched_getaffinity(None).unwrap();
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| had.is_set(*cpu)).unwrap();
        let mut one = rustix::thread::CpuSet::new();
        one.set(first);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        let mut alone = Patience { brief: true, ..Patience::new() };
        rustix::thread::sched_setaffinity(None, &had).unwrap();
        assert_eq!((0..).take_while(|_| !alone.looks()).count(), ALONE as usize);
    }
}
