//! Work of several parts that is shared among threads, once it has turned out to take long enough: to begin a thread and to wait for its end
//! takes some 200 µs, in which a short payload is handled by a hundred functions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

use rustix::thread::sched_getaffinity;

use crate::chain::Chain;
use crate::process;
use crate::workflow::STACK;

/// What is left has to take as long, by what the parts before have taken, to be shared. Two threads save half of it.
const WORTH: Duration = Duration::from_micros(500);

/// Before that nothing is concluded: of short parts the first, which finds nothing in the caches, takes several times as long as the others.
const CONCLUSIVE: Duration = Duration::from_micros(50);

/// Does `work` with each of `items`, begun in their order; the results are in it too. It may run on other threads, as many at once as
/// there are processors, which are in the call that this one is in.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let begun = Instant::now();
    let mut results = Vec::with_capacity(items.len());
    for (done, item) in (1..).zip(items) {
        results.push(work(item));
        let left = &items[done as usize..];
        let taken = begun.elapsed();
        let takes = taken * u32::try_from(left.len()).unwrap_or(u32::MAX) / done;
        if left.len() > 1 && taken >= CONCLUSIVE && takes >= WORTH {
            results.extend(shared(left, processors(), &work));
            break;
        }
    }
    results
}

/// How many this thread may use.
fn processors() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

fn shared<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < items.len());
        std::iter::from_fn(take).map(|index| (index, work(&items[index]))).collect::<Vec<_>>()
    };
    let chain = Chain::current();
    let help = || {
        let run = || chain.as_ref().map_or_else(&run, |chain| chain.hold(run));
        // Without one it leaves its part to the others.
        process::with_a_stack_for_handlers(run).unwrap_or_default()
    };
    let mut results = scope(|scope| {
        let helpers = threads.min(items.len()).saturating_sub(1);
        // Where there can be no more threads, fewer do.
        let start = |_| Builder::new().stack_size(STACK).spawn_scoped(scope, help).ok();
        let helpers: Vec<_> = (0..helpers).map_while(start).collect();
        let mut results = run();
        results.extend(helpers.into_iter().flat_map(|helper| helper.join().unwrap_or_default()));
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

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
        // Nobody passes alone.
        let all = Barrier::new(3);
        let chain = Chain::beginning();
        let meet = |item: &usize| {
            all.wait();
            (*item, Chain::current().is_some_and(|current| current.is_within(&chain)))
        };
        let done = chain.hold(|| shared(&[0, 1, 2, 3, 4, 5], 3, meet));
        assert_eq!(done, [0, 1, 2, 3, 4, 5].map(|item| (item, true)));
        assert_eq!(shared(&[7], 8, |item| *item), [7]);
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
}
