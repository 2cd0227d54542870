//! What the functions have in common: how they end, and how they say what they have done.

pub mod pattern;

use std::fmt::Display;
use std::process::ExitCode;

/// Runs a function's work; an error is one line on standard error and code 1.
pub fn run(work: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", name());
            ExitCode::FAILURE
        }
    }
}

/// The argument at `index`, or why there is none that can be used.
pub fn argument<T: std::str::FromStr<Err: Display>>(index: usize, what: &str) -> Result<T, String> {
    let text = std::env::args().nth(index).ok_or_else(|| format!("argument {index} is missing: {what}"))?;
    text.parse().map_err(|e| format!("argument {index}, {what}: {text:?}: {e}"))
}

/// Like [`argument`], for one that need not be there.
pub fn argument_or<T: std::str::FromStr<Err: Display>>(
    index: usize,
    what: &str,
    default: T,
) -> Result<T, String> {
    if std::env::args().len() > index { argument(index, what) } else { Ok(default) }
}

fn name() -> String {
    std::env::args().next().unwrap_or_default()
}
