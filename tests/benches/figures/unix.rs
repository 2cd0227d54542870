//! Kernel space: payloads between the functions of two containers, against read and write on a bare Unix socket between two processes
//! (`hose/examples/transfer.rs`), which is measured in the same run.
//!
//! *Touched*: until the receiver's handler has read a byte of each page, and the sender knows. *Read*: every byte.

use std::collections::BTreeMap;
use std::process::Command;

use tests::{Bundle, Case, Hoses, Runtime};

use crate::memory::micro;
use crate::report::{Bar, Report, median};
use crate::{example, example_guest};

const LARGE: u64 = 100_000_000;

pub(crate) fn measure(report: &mut Report, ours: &Runtime) {
    let bare = bare();
    let case = Case::new(ours);
    let hoses = Hoses::new(&case);
    let touched = median(&handled(&hoses, "give", "1", LARGE, 15));
    report.value(
        "unix: 100 MB from a hose buffer until touched, against read and write",
        bare[&LARGE].touched / touched,
        "times faster",
        Bar::AtLeast("≥ 30 with huge pages", 30.0),
        format!("{} / {}", micro(touched), micro(bare[&LARGE].touched)),
    );
    let read = median(&handled(&hoses, "give", "2", LARGE, 15));
    report.value(
        "unix: 100 MB from a hose buffer until read, against read and write",
        bare[&LARGE].read / read,
        "times faster",
        Bar::AtLeast("≥ 5", 5.0),
        format!("{} / {}", micro(read), micro(bare[&LARGE].read)),
    );
    let lent = median(&handled(&hoses, "lend", "1", LARGE, 15));
    report.value(
        "unix: 100 MB from ordinary memory until touched, against read and write",
        bare[&LARGE].touched / lent,
        "times faster",
        Bar::AtLeast("≥ 3 with a warm pool", 3.0),
        format!("{} / {}", micro(lent), micro(bare[&LARGE].touched)),
    );
    let filled = median(&numbers(&hoses, &["fill", "0", "100000000", "15"]));
    // Once a process: memory that was freed is not fresh.
    let fresh: Vec<f64> =
        (0..7).flat_map(|_| numbers(&hoses, &["fill-vec", "0", "100000000", "1"])).collect();
    report.value(
        "unix: making and filling a hose buffer of 100 MB, against filling fresh ordinary memory",
        filled / median(&fresh),
        "ratio",
        Bar::AtMost("≤ 0.5", 0.5),
        format!("{} / {}", micro(filled), micro(median(&fresh))),
    );
    let small = median(&handled(&hoses, "lend", "0", 1000, 5001));
    report.value(
        "unix: 1 kB there and its verdict back, against a bare socket pair",
        small / bare[&1000].touched,
        "ratio",
        Bar::AtMost("≤ 1.5", 1.5),
        format!("{} / {}", micro(small), micro(bare[&1000].touched)),
    );
}

/// Nanoseconds.
struct Bare {
    touched: f64,
    read: f64,
}

/// Medians of the baseline by size.
fn bare() -> BTreeMap<u64, Bare> {
    let output =
        Command::new(example("transfer")).args(["unix", &LARGE.to_string()]).output().expect("transfer runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Of its table: bytes first, microseconds of bare after it, and of bare with every byte read in the ninth place.
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<f64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let [size, touched, _, _, _, _, _, _, read, ..] = fields.as_slice() else { return None };
        Some((*size as u64, Bare { touched: touched * 1e3, read: read * 1e3 }))
    });
    rows.collect()
}

/// What the source prints, which runs beside a sink in another container.
fn numbers(hoses: &Hoses<'_>, args: &[&str]) -> Vec<f64> {
    let bundle = |name: &str, module: &str, target: &str, args: &[&str]| -> Bundle {
        let module = std::fs::read(example_guest(module)).expect("a guest");
        let bundle = hoses.function_of(&module, name, target, args);
        bundle.annotation("io.roadrunner.wasm/aot", "wait");
        bundle
    };
    // It ends when its last sender has; one that nobody sends to would wait for ever.
    let sink = (!args[0].starts_with("fill")).then(|| hoses.run(&bundle("sink", "figure_sink", "", &[])));
    let source = hoses.run(&bundle("source", "figure-source", "sink", args)).wait().success();
    if let Some(sink) = sink {
        let _ = sink.wait().success();
    }
    source.stdout.lines().map(|line| line.parse().expect("a number")).collect()
}

fn handled(hoses: &Hoses<'_>, how: &str, work: &str, size: u64, count: usize) -> Vec<f64> {
    numbers(hoses, &[how, work, &size.to_string(), &count.to_string()])
}
