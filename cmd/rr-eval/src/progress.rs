//! How far a run is, and how long it still takes.

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// A bar on a terminal; elsewhere a line for each cell.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For this much work, in any unit.
    pub(crate) fn of(work: u64) -> Self {
        let bar = ProgressBar::new(work);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent} %, {eta} left: {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Says what is done now.
    pub(crate) fn at(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() {
            let left = if self.bar.position() == 0 {
                String::new()
            } else {
                format!(", {} left", HumanDuration(self.bar.eta()))
            };
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
