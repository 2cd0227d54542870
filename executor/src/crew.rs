//! Work of several parts that is shared among threads, once it has turned out to take long enough: in what it takes to begin a thread a short payload is
//! handled by a hundred functions. A thread that has helped waits for more a while, since who sends to many mostly does so again.
//!
//! Invariant: whoever has others help does not return while one of them is at a part, and none begins with one afterwards.

#![expect(
    unsafe_code,
    reason = "what helpers do is borrowed from the thread that they help, which waits for them"
)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::thread::sched_getaffinity;

use crate::chain::Chain;
use crate::process;
use crate::workflow::{STACK, lock};

/// What is left has to take as long, by what the parts before have taken, for threads to be begun: that and their first part take some 200 µs. Two threads
/// save half of it.
const WORTH_BEGINNING: Duration = Duration::from_micros(500);

/// The same where a thread waits that has only to be woken.
const WORTH_WAKING: Duration = Duration::from_micros(100);

/// Before that nothing is concluded: of short parts the first, which finds nothing in the caches, takes several times as long as the others.
const CONCLUSIVE: Duration = Duration::from_micros(50);

/// How long a thread waits for more to help with. It keeps a stack meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

static CREW: Crew = Crew::new();

/// Does `work` with each of `items`, begun in their order; the results are in it too. It may run on other threads, as many at once as
/// there are processors, which are in the call that this one is in.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let begun = Instant::now();
    let mut results = Vec::with_capacity(items.len());
    for (done, item) in (1..).zip(items) {
        results.push(work(item));
        let left = &items[done as usize..];
        let taken = begun.elapsed();
        if left.len() > 1 && taken >= CONCLUSIVE {
            let takes = taken * u32::try_from(left.len()).unwrap_or(u32::MAX) / done;
            if takes >= WORTH_BEGINNING || (takes >= WORTH_WAKING && CREW.waits()) {
                results.extend(shared(&CREW, left, processors(), &work));
                break;
            }
        }
    }
    results
}

/// How many this thread may use.
fn processors() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

fn shared<T: Sync, R: Send>(
    crew: &'static Crew,
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let run = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < items.len());
        let results: Vec<_> = std::iter::from_fn(take).map(|index| (index, work(&items[index]))).collect();
        lock(&done).extend(results);
    };
    let chain = Chain::current();
    let help = || chain.as_ref().map_or_else(&run, |chain| chain.hold(run));
    crew.helped_by(threads.min(items.len()).saturating_sub(1), &help, run);
    let mut results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Threads that help, as long as they wait for more.
#[derive(Debug)]
struct Crew {
    state: Mutex<State>,
    /// Something is to be helped with.
    called: Condvar,
}

#[derive(Debug)]
struct State {
    /// Once for each who may still come.
    calls: VecDeque<Arc<Call>>,
    waiting: usize,
}

impl Crew {
    const fn new() -> Self {
        Self { state: Mutex::new(State { calls: VecDeque::new(), waiting: 0 }), called: Condvar::new() }
    }

    /// Whether somebody would come at once.
    fn waits(&self) -> bool {
        let state = lock(&self.state);
        state.waiting > state.calls.len()
    }

    /// Does `work`, while up to so many others do `help`; who has not come when it is done does not come any more.
    fn helped_by(&'static self, helpers: usize, help: &(dyn Fn() + Sync), work: impl FnOnce()) {
        let call = Arc::new(Call::new(help));
        let _over = Over { crew: self, call: &call };
        let begin = {
            let mut state = lock(&self.state);
            state.calls.extend((0..helpers).map(|_| Arc::clone(&call)));
            state.calls.len().saturating_sub(state.waiting).min(helpers)
        };
        (begin..helpers).for_each(|_| self.called.notify_one());
        for _ in 0..begin {
            // Where there can be no more threads, fewer help.
            if Builder::new().stack_size(STACK).spawn(|| self.help()).is_err() {
                break;
            }
        }
        work();
    }

    /// A thread's life.
    fn help(&self) {
        // Without a stack for them it leaves its part to the others.
        let _ = process::with_a_stack_for_handlers(|| {
            while let Some(call) = self.next() {
                call.answer();
            }
        });
    }

    fn next(&self) -> Option<Arc<Call>> {
        let mut state = lock(&self.state);
        state.waiting += 1;
        let (mut state, _) = self
            .called
            .wait_timeout_while(state, PATIENCE, |state| state.calls.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.calls.pop_front()
    }
}

/// What somebody wants help with.
#[derive(Debug)]
struct Call {
    help: Help,
    answers: Mutex<Answers>,
    /// One has done what there was to do.
    done: Condvar,
}

/// A closure of the calling thread's, until [`Answers::over`] is said and nobody is at it.
#[derive(Debug)]
struct Help(*const (dyn Fn() + Sync));

// SAFETY: what it points to is `Sync`, and where it is used stands why it is there.
unsafe impl Send for Help {}
// SAFETY: as above.
unsafe impl Sync for Help {}

#[derive(Debug, Default)]
struct Answers {
    over: bool,
    at_it: usize,
}

impl Call {
    fn new(help: &(dyn Fn() + Sync)) -> Self {
        // SAFETY: the lifetime alone goes: as a pointer it promises nothing.
        let help: *const (dyn Fn() + Sync) =
            unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(help) };
        Self { help: Help(help), answers: Mutex::default(), done: Condvar::new() }
    }

    fn answer(&self) {
        {
            let mut answers = lock(&self.answers);
            if answers.over {
                return;
            }
            answers.at_it += 1;
        }
        let _left = Left(self);
        // SAFETY: whoever lent the closure waits in `Over::drop` until nobody is at it, and this thread was counted before that was said to be over.
        unsafe { (*self.help.0)() };
    }
}

/// One is not at it any more, however it ended.
struct Left<'a>(&'a Call);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        lock(&self.0.answers).at_it -= 1;
        self.0.done.notify_one();
    }
}

/// Ends a call: nobody comes any more, and who has come is waited for.
struct Over<'a> {
    crew: &'static Crew,
    call: &'a Arc<Call>,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        lock(&self.crew.state).calls.retain(|call| !Arc::ptr_eq(call, self.call));
        let mut answers = lock(&self.call.answers);
        answers.over = true;
        let left = self.call.done.wait_while(answers, |answers| answers.at_it > 0);
        drop(left.unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread::{self, ThreadId};

    use super::*;

    #[test]
    fn what_is_quick_stays_on_its_thread_and_in_order() {
        let items: Vec<usize> = (0..50).collect();
        let done = each(&items, |item| (*item, thread::current().id()));
        let (order, threads): (Vec<_>, BTreeSet<_>) =
            done.into_iter().map(|(item, id)| (item, format!("{id:?}"))).unzip();
        assert_eq!((order, threads.len()), (items, 1));
    }

    #[test]
    fn what_takes_long_is_done_by_several_at_once_and_its_results_are_in_order() {
        static CREW: Crew = Crew::new();
        // Nobody passes alone.
        let all = Barrier::new(3);
        let chain = Chain::beginning();
        let meet = |item: &usize| {
            all.wait();
            (*item, Chain::current().is_some_and(|current| current.is_within(&chain)))
        };
        let done = chain.hold(|| shared(&CREW, &[0, 1, 2, 3, 4, 5], 3, meet));
        assert_eq!(done, [0, 1, 2, 3, 4, 5].map(|item| (item, true)));
        assert_eq!(shared(&CREW, &[7], 8, |item| *item), [7]);
    }

    #[test]
    fn a_slow_part_is_a_reason_to_share_the_rest() {
        let here = thread::current().id();
        let slow = |_: &usize| {
            thread::sleep(Duration::from_millis(20));
            thread::current().id() == here
        };
        let done = each(&[0; 6], slow);
        assert!(done[0] && done.len() == 6);
        if processors() > 1 {
            assert!(done.contains(&false), "all on one thread, where there are {} processors", processors());
        }
    }

    /// Who does two parts that wait for each other.
    fn two(crew: &'static Crew) -> Vec<ThreadId> {
        let both = Barrier::new(2);
        let meet = |_: &usize| {
            both.wait();
            thread::current().id()
        };
        shared(crew, &[0, 1], 2, meet)
    }

    fn other(ids: &[ThreadId]) -> Option<ThreadId> {
        ids.iter().copied().find(|id| *id != thread::current().id())
    }

    #[test]
    fn a_thread_that_has_helped_waits_for_more_and_goes_when_nothing_comes() {
        static CREW: Crew = Crew::new();
        let first = other(&two(&CREW));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !CREW.waits() {
            assert!(Instant::now() < deadline, "it does not wait");
            thread::yield_now();
        }
        assert!(first.is_some() && other(&two(&CREW)) == first, "another thread was begun");
        while CREW.waits() {
            assert!(Instant::now() < deadline, "it does not go");
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn who_comes_late_finds_nothing_to_do_and_nobody_waits_for_it() {
        static CREW: Crew = Crew::new();
        let called = AtomicUsize::new(0);
        let help = || {
            called.fetch_add(1, Ordering::Relaxed);
        };
        let call = Arc::new(Call::new(&help));
        lock(&CREW.state).calls.push_back(Arc::clone(&call));
        drop(Over { crew: &CREW, call: &call });
        call.answer();
        assert_eq!((called.load(Ordering::Relaxed), lock(&CREW.state).calls.len()), (0, 0));
    }

    #[test]
    fn a_panic_of_who_is_helped_waits_for_the_others() {
        static CREW: Crew = Crew::new();
        let begun = Barrier::new(2);
        let ended = AtomicUsize::new(0);
        let help = || {
            begun.wait();
            thread::sleep(Duration::from_millis(50));
            ended.fetch_add(1, Ordering::Relaxed);
        };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            CREW.helped_by(1, &help, || {
                begun.wait();
                panic!("on purpose");
            });
        }));
        assert!(panicked.is_err() && ended.into_inner() == 1);
    }
}
