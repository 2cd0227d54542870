//! A trace of the guest contract: each call that crosses between a function and its host, in either direction, and each of the host's
//! into linear memory, as a line on standard error before it is made.
//!
//! For authors of functions, and for the tests of the order that the paper's figures give the calls. It is asked for by
//! `RR_TRACE=calls` in the function's environment, and shows nothing that the function does not know. Where it is not asked for, a call
//! costs one load of a flag more.

use std::sync::atomic::{AtomicBool, Ordering};

use hose::Name;

use crate::error::{Error, ErrorKind, Result};
use crate::process;

/// The variable.
const VARIABLE: &str = "RR_TRACE";

/// Whether it is asked for, by all functions of this process: they have one environment.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Looks into the environment of the functions.
///
/// # Errors
/// When the variable has another value than `calls`.
pub(crate) fn trace_if_asked(env: &[String]) -> Result<()> {
    let value = env.iter().rev().find_map(|entry| entry.strip_prefix(VARIABLE)?.strip_prefix('='));
    match value {
        None | Some("") => Ok(()),
        Some("calls") => {
            ASKED.store(true, Ordering::Relaxed);
            Ok(())
        }
        Some(other) => {
            Err(Error::new(ErrorKind::Request, format!("variable {VARIABLE}: {other:?} is not `calls`")))
        }
    }
}

/// Whether calls are to be told.
pub(crate) fn are_asked_for() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Tells a call: the function's name where a process has several, the call's, and its numbers.
pub(crate) fn tell(function: Option<&Name>, call: &str, numbers: impl IntoIterator<Item = u32>) {
    let name = function.map_or_else(String::new, |name| format!("{name}: "));
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    process::say(&format!("{name}{call}({})", numbers.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_is_an_error_that_names_the_variable() {
        let env = |entry: &str| [entry.to_owned()];
        let error = trace_if_asked(&env("RR_TRACE=all")).expect_err("no such value");
        assert!(error.report().contains("RR_TRACE") && error.report().contains("all"), "{}", error.report());
        for nothing in ["RR_TRACE=", "RR_TRACER=calls", "X=RR_TRACE=calls"] {
            trace_if_asked(&env(nothing)).expect("asks for nothing");
        }
        assert!(!are_asked_for());
    }
}
