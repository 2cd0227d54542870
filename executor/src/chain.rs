//! Which call is made within which, on whatever thread: what tells a circle of calls.

use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static CURRENT: RefCell<Option<Chain>> = const { RefCell::new(None) };
}

/// One call of a function, and all that it is made within.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Arc<Link>);

#[derive(Debug)]
struct Link {
    within: Option<Chain>,
}

impl Chain {
    /// The run of a function that nobody calls.
    pub(crate) fn beginning() -> Self {
        Self(Arc::new(Link { within: None }))
    }

    /// The same; this thread is in it from now on.
    pub(crate) fn begin() -> Self {
        let run = Self::beginning();
        CURRENT.set(Some(run.clone()));
        run
    }

    /// A call within what this thread is in.
    pub(crate) fn call() -> Self {
        Self(Arc::new(Link { within: Self::current() }))
    }

    /// What this thread is in.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// This thread is in it while `work` runs.
    pub(crate) fn hold<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(Some(self.clone()));
        let done = work();
        CURRENT.set(before);
        done
    }

    /// Whether it is `other`, or made within it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let mut at = Some(self);
        while let Some(Self(link)) = at {
            if Arc::ptr_eq(link, &other.0) {
                return true;
            }
            at = link.within.as_ref();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_within_those_that_it_is_made_in_on_another_thread_too_and_within_no_other() {
        let beginning = Chain::beginning();
        let (outer, inner, there) = beginning.hold(|| {
            let outer = Chain::call();
            let inner = outer.hold(Chain::call);
            let there = std::thread::scope(|scope| scope.spawn(|| outer.hold(Chain::call)).join());
            (outer.clone(), inner, there)
        });
        assert!(inner.is_within(&inner) && inner.is_within(&outer) && inner.is_within(&beginning));
        assert!(there.is_ok_and(|there| there.is_within(&outer) && !there.is_within(&inner)));
        assert!(!outer.is_within(&inner) && !Chain::call().is_within(&beginning));
        assert!(Chain::current().is_none());
    }
}
