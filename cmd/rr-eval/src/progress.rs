//! How far a run is, and how long it still takes.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

/// A bar on a terminal; elsewhere a line for each cell.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For this much work, in any unit.
    pub(crate) fn of(work: u64) -> Self {
        let bar = ProgressBar::new(work);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent} %, {eta} left: {msg}") {
            let eta = |state: &ProgressState, to: &mut dyn Write| {
                let left = left(state.elapsed(), state.pos(), state.len().unwrap_or_default());
                // Whoever draws it has room for it.
                let _ = write!(to, "{}", HumanDuration(left.unwrap_or_default()));
            };
            bar.set_style(style.with_key("eta", eta));
        }
        Self { bar }
    }

    /// Says what is done now.
    pub(crate) fn at(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() {
            let left = left(self.bar.elapsed(), self.bar.position(), self.bar.length().unwrap_or_default());
            let left = left.map(|left| format!(", {} left", HumanDuration(left))).unwrap_or_default();
            eprintln!("rr-eval: {what}{left}");
        }
    }

    pub(crate) fn done(&self, work: u64) {
        self.bar.inc(work);
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("rr-eval: {line}"));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// As the work done so far went, its pauses included (to compile something, say); nothing before any was done.
fn left(elapsed: Duration, done: u64, all: u64) -> Option<Duration> {
    let share = (done > 0).then(|| all.saturating_sub(done) as f64 / done as f64)?;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * share).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let minute = Duration::from_secs(60);
        assert_eq!(left(minute, 0, 10), None);
        assert_eq!(left(minute, 5, 15), Some(2 * minute));
        assert_eq!(left(minute, 10, 10), Some(Duration::ZERO));
    }
}
