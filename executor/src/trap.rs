//! What is said when a function ends in a way that it did not choose.
//!
//! The engine's result is a number; where it happened is only in what it logs: a line with an offset into the module
//! (interpreter), and one with the indices of the functions on the stack. The name comes from the module's own name section, read
//! again only now: a function that runs keeps none of its module's bytes.

use crate::engine::Stop;
use crate::module::{Function, Place, Source, locate};

/// Describes a trap in one line, without the module's path in front.
pub(crate) fn describe(stop: Stop, log: &[String], source: &Source, compiled: bool) -> String {
    let place = if compiled { compiled_place(Kind::of(stop, log), log) } else { place(log) };
    let reason = stop.message();
    let found = place
        .and_then(|place| source.reread().map_or_else(|| index_only(place), |bytes| locate(&bytes, place)));
    match found {
        Some(function) => format!("{reason} in {}", title(&function)),
        None => reason,
    }
}

fn title(function: &Function) -> String {
    match &function.name {
        Some(name) => format!("function '{name}' (index {})", function.index),
        None => format!("function {}", function.index),
    }
}

/// The module's file is gone or another one: an index is all there is.
fn index_only(place: Place) -> Option<Function> {
    match place {
        Place::Function(index) => Some(Function { index, name: None }),
        Place::Offset(_) => None,
    }
}

/// The innermost place that the log tells. The first lines are those of the innermost call.
fn place(log: &[String]) -> Option<Place> {
    log.iter().find_map(|line| offset(line)).or_else(|| log.iter().find_map(|line| innermost(line)))
}

fn offset(line: &str) -> Option<Place> {
    let (_, rest) = line.split_once("Bytecode offset: 0x")?;
    let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(&digits, 16).ok().map(Place::Offset)
}

fn innermost(line: &str) -> Option<Place> {
    stack(line)?.first().copied().map(Place::Function)
}

fn stack(line: &str) -> Option<Vec<u32>> {
    let (_, rest) = line.split_once("calling stack:")?;
    // Later versions put the module's ordinal before the index.
    let index = |entry: &str| entry.rsplit(':').next()?.trim().parse().ok();
    Some(rest.split(',').map_while(index).collect())
}

/// How compiled code trapped, on which depends what the engine puts in front of the function in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// By an instruction: through a helper at the end of the code, which counts as the last function.
    Inline,
    /// By a page that is not there: through a signal handler.
    Fault,
    /// In a function of the engine that the code calls (bulk memory, tables, indirect calls).
    Called,
}

impl Kind {
    fn of(stop: Stop, log: &[String]) -> Self {
        // A function of the engine says why it fails, and what called it says so once more.
        let said = log.iter().filter(|line| line.starts_with("execution failed")).count();
        match stop {
            stop if stop.is_inline() => Self::Inline,
            stop if stop.is_out_of_bounds() && said < 2 => Self::Fault,
            _ => Self::Called,
        }
    }
}

/// The function in compiled code that trapped.
///
/// WasmEdge 0.17.1 attributes every address above the code to the function that lies highest. Where its own library lies above the
/// code, which the kernel decides anew for each process, its frames stand in front of the function as that one (three of them,
/// four in a signal handler) and behind it. `tests/aot.rs` sees both.
fn compiled_place(kind: Kind, log: &[String]) -> Option<Place> {
    let stack = log.iter().find_map(|line| stack(line))?;
    let helper = usize::from(kind == Kind::Inline);
    let engine = if kind == Kind::Fault { 4 } else { 3 };
    let around = stack.len() > engine + helper
        && stack[..engine].iter().all(|index| *index == stack[0])
        && stack.last() == stack.first();
    if around && kind == Kind::Called && stack.len() == engine + 1 {
        // Nothing but the engine: the function has left its frame to what it called last.
        return None;
    }
    stack.get(if around { engine + helper } else { helper }).copied().map(Place::Function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn an_offset_is_better_than_an_index() {
        let log = lines(&[
            "unreachable, Code: 0x40a",
            "In instruction: unreachable (0x00) , Bytecode offset: 0x0000002f",
            "calling stack:3, 4",
        ]);
        assert_eq!(place(&log), Some(Place::Offset(0x2f)));
        assert_eq!(place(&log[2..]), Some(Place::Function(3)));
        assert_eq!(place(&lines(&["calling stack:module[0]:7, module[0]:1"])), Some(Place::Function(7)));
    }

    #[test]
    fn frames_of_the_engine_are_not_taken_for_the_functions() {
        for (kind, list, index) in [
            (Kind::Fault, "0", 0),
            (Kind::Fault, "4, 4, 4, 4, 0, 4", 0),
            (Kind::Fault, "1, 1, 2", 1),
            (Kind::Fault, "4, 4, 4, 4, 1, 1, 2, 4", 1),
            (Kind::Inline, "6, 5", 5),
            (Kind::Inline, "3, 3, 3, 6, 0, 3", 0),
            (Kind::Inline, "4, 4, 4, 4, 4, 4", 4),
            (Kind::Called, "2", 2),
            (Kind::Called, "5, 5, 5, 2, 5", 2),
        ] {
            let log = lines(&[&format!("calling stack:{list}")]);
            assert_eq!(compiled_place(kind, &log), Some(Place::Function(index)), "{kind:?} {list}");
        }
        assert_eq!(compiled_place(Kind::Inline, &lines(&["calling stack:7"])), None);
        assert_eq!(compiled_place(Kind::Called, &lines(&["calling stack:2, 2, 2, 2"])), None);
        assert_eq!(compiled_place(Kind::Called, &[]), None);
    }

    #[test]
    fn a_log_that_tells_nothing_gives_no_place() {
        for log in [&[][..], &["calling stack:"], &["Bytecode offset: 0xzz"], &["calling stack:-1"]] {
            assert_eq!(place(&lines(log)), None, "{log:?}");
        }
    }
}
