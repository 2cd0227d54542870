//! User space: payloads between the functions of one container, against bare system calls and memcpy (`hose/examples/pages.rs`), which
//! are measured in the same run.
//!
//! *Received*: from the call of `send` until the handler runs, by one clock. *Handled*: until `send` returns. What fills the payload is not
//! timed. Code is compiled ahead of time, as it is from the second run on; interpreted functions are named as such.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::command::bare_output;
use tests::{Case, Flow, Runtime};

use crate::report::{Bar, Report, median, workspace};
use crate::{example, example_guest, workflow_output};

/// Sizes of the curve, in bytes.
const SIZES: [u64; 12] = [
    1,
    64,
    4096,
    16_384,
    65_536,
    262_144,
    1_000_000,
    4_194_304,
    10_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
];

/// Turns of the contestants that take them.
const TURNS: usize = 5;

pub(crate) fn measure(report: &mut Report, ours: &Runtime) {
    let bare = bare();
    let at = |size: u64, what: &str| bare[&size][what].as_f64().expect("a number");
    let case = Case::new(ours);
    // In turns, as what a remap takes depends on where a process has got its pages.
    let (mut halves, mut remaps) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        remaps.extend(remaps_of(500_000_000));
        halves.extend(received(&case, "give", 500_000_000, 15));
    }
    let (half, remap) = (median(&halves), median(&remaps));
    let one = median(&received(&case, "give", 1_000_000, 15));
    let fresh = at(500_000_000, "copy_fresh");
    report.value(
        "memory: move of 500 MB until it is received, against memcpy into untouched pages",
        fresh / half,
        "times faster",
        Bar::AtLeast("≥ 1,000", 1000.0),
        format!("{} / {}", micro(half), micro(fresh)),
    );
    report.value(
        "memory: move of 500 MB, against the bare remap",
        half / remap,
        "ratio",
        Bar::AtMost("≤ 1.3", 1.3),
        format!("{} / {}", micro(half), micro(remap)),
    );
    let ratio = at(500_000_000, "remap") / at(1_000_000, "remap");
    report.value(
        "memory: move of 500 MB, against a move of 1 MB",
        half / one,
        "ratio",
        Bar::AtMost("≤ 10", 10.0),
        format!("{} / {}; bare remaps: {ratio:.1}", micro(half), micro(one)),
    );
    steady(report, &case);
    copies(report, &case, &bare);
    calls(report, &case);
    fan_out(report, &case);
    growth(report, &case);
    curve(&case, &bare);
}

/// Nanoseconds of bare remaps, in a process of their own.
fn remaps_of(size: u64) -> Vec<f64> {
    let args = ["15", "remap", &size.to_string()];
    let output = bare_output(Command::new(example("pages")).args(args)).expect("pages runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

/// Medians of the primitives in nanoseconds, by size.
fn bare() -> BTreeMap<u64, Value> {
    let output = bare_output(&mut Command::new(example("pages"))).expect("pages runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| (line["size"].as_u64().expect("a size"), line)).collect()
}

/// A workflow of `figure-source` and as many sinks.
fn flow(case: &Case, args: &[&str], sinks: usize, aot: &str) -> Flow {
    let [source, sink] =
        ["figure-source", "figure_sink"].map(|name| fs::read(example_guest(name)).expect("a guest"));
    let names: Vec<String> = (0..sinks).map(|i| format!("b{i}")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let flow = Flow::new(case, &source, args, &targets);
    flow.bundle().annotation("io.roadrunner.wasm/aot", aot);
    names.iter().fold(flow, |flow, name| flow.with(name, &sink, &[]))
}

/// The numbers that the functions print.
fn numbers(case: &Case, args: &[&str], aot: &str) -> Vec<f64> {
    workflow_output(case, &flow(case, args, 1, aot))
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

/// Nanoseconds until each of `count` payloads was handled.
fn handled(case: &Case, how: &str, work: &str, size: u64, count: usize) -> Vec<f64> {
    numbers(case, &[how, work, &size.to_string(), &count.to_string()], "wait")
}

/// Nanoseconds until each was received: the sink prints when it was called, the source afterwards when it began.
fn received(case: &Case, how: &str, size: u64, count: usize) -> Vec<f64> {
    received_by(case, how, size, count, "wait")
}

fn received_by(case: &Case, how: &str, size: u64, count: usize, aot: &str) -> Vec<f64> {
    let flow = flow(case, &[how, "4", &size.to_string(), &count.to_string()], 1, aot);
    // Nanoseconds since the epoch are more than a float holds.
    let output = workflow_output(case, &flow);
    let times: Vec<i128> = output.lines().map(|line| line.parse().expect("a number")).collect();
    times.chunks_exact(2).map(|pair| (pair[0] - pair[1]) as f64).collect()
}

/// A million sends, each with a buffer of its own that is freed, against one by one.
fn steady(report: &mut Report, case: &Case) {
    let single = median(&handled(case, "give", "0", 65_536, 1001));
    let total = numbers(case, &["million", "0", "65536", "1000000"], "wait")[0] / 1e6;
    report.value(
        "memory: a million moves of 64 KiB, each, filling included, against a single one",
        total / single,
        "ratio",
        Bar::None,
        format!("{} / {}", micro(total), micro(single)),
    );
}

fn copies(report: &mut Report, case: &Case, bare: &BTreeMap<u64, Value>) {
    let ours = median(&handled(case, "lend", "0", 100_000_000, 15));
    let memcpy = bare[&100_000_000]["copy"].as_f64().expect("a number");
    report.value(
        "memory: copy of 100 MB until it is handled, bandwidth against memcpy's between touched pages",
        memcpy / ours,
        "ratio",
        Bar::AtLeast("≥ 0.85", 0.85),
        format!("{} / {}", micro(ours), micro(memcpy)),
    );
}

fn calls(report: &mut Report, case: &Case) {
    let module = case.dir().join("bare.wasm");
    let code = case.dir().join("bare.aot");
    let text = r#"(module (memory (export "memory") 1)
        (func (export "f") (param i32 i32) (i32.store (i32.const 0) (local.get 0))))"#;
    fs::write(&module, wat::parse_str(text).expect("WAT")).expect("write");
    case.cmd(["compile", "--output"]).arg(&code).arg(&module).ok();
    let output = bare_output(Command::new(example("bare-call")).arg(&code).arg("f")).expect("bare-call runs");
    assert!(output.status.success(), "bare-call: {}", String::from_utf8_lossy(&output.stderr));
    let bare: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    let ours = median(&handled(case, "call", "3", 64, 20_001));
    report.value(
        "memory: `call` of 64 bytes and its answer, against a bare call through the engine",
        ours / bare,
        "ratio",
        Bar::AtMost("≤ 6", 6.0),
        format!("{} / {}", micro(ours), micro(bare)),
    );
}

fn fan_out(report: &mut Report, case: &Case) {
    // The paper's size (section 6, figure 9), and one for which it matters what a processor's caches hold: of a single target everything, of a
    // hundred what has room.
    let bar = || Bar::AtMost("≤ 1.2", 1.2);
    let (each, alone) = (each_of_hundred(case, 10_000_000, 21), single(case, 10_000_000, 210));
    fan_out_row(report, "a single send (10 MB)", each, alone, bar());
    let (each, alone) = (each_of_hundred(case, 10_000, 101), single(case, 10_000, 1010));
    fan_out_row(report, "a single send (10 kB)", each, alone, bar());
    let turns = median(&to_hundred(case, "turns", 10_000, 1010));
    fan_out_row(report, "single sends to each in turn (10 kB)", each, turns, Bar::None);
}

/// Nanoseconds of a send to the only target.
fn single(case: &Case, size: u64, count: usize) -> f64 {
    median(&handled(case, "lend", "0", size, count))
}

/// Nanoseconds that each target of a fan-out to a hundred takes.
fn each_of_hundred(case: &Case, size: u64, count: usize) -> f64 {
    median(&to_hundred(case, "fan", size, count)) / 100.0
}

/// Nanoseconds of each send of a function that has a hundred targets.
fn to_hundred(case: &Case, how: &str, size: u64, count: usize) -> Vec<f64> {
    let flow = flow(case, &[how, "0", &size.to_string(), &count.to_string()], 100, "wait");
    let output = workflow_output(case, &flow);
    output.lines().map(|line| line.parse().expect("a number")).collect()
}

fn fan_out_row(report: &mut Report, against: &str, each: f64, other: f64, bar: Bar) {
    report.value(
        format!("memory: fan-out to 100, each target, against {against}"),
        each / other,
        "ratio",
        bar,
        format!("{} / {}", micro(each), micro(other)),
    );
}

/// What a process has after some sends, while it waits.
struct Held {
    kilobytes: f64,
    peak: f64,
    descriptors: usize,
    mappings: usize,
}

fn held(case: &Case, how: &str, size: u64, count: usize) -> Held {
    let flow = flow(case, &[how, "0", &size.to_string(), &count.to_string(), "wait"], 1, "wait");
    let id = case.id();
    let mut running = case.run(flow.bundle(), &id).stdin_pipe().spawn();
    running.expect_stdout("done");
    let pid = case.state(&id)["pid"].as_u64().expect("a pid");
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
    let status = file("status");
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let held = Held {
        kilobytes: field("RssAnon:"),
        peak: field("VmHWM:"),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count(),
        mappings: file("maps").lines().count(),
    };
    drop(running.input());
    let _ = running.wait().exits(0);
    held
}

fn growth(report: &mut Report, case: &Case) {
    let (few, many) = (held(case, "lend", 4096, 1000), held(case, "lend", 4096, 100_000));
    let grown = many.kilobytes - few.kilobytes;
    // The allocator's own arenas come and go by one.
    let same = few.descriptors == many.descriptors && many.mappings <= few.mappings + 2;
    report.value(
        "memory: 100,000 sends into one function, growth of anonymous memory after the first 1,000",
        grown,
        "kB",
        Bar::AtMost("none (≤ 64 kB, and no descriptor or mapping)", if same { 64.0 } else { f64::MIN }),
        format!(
            "descriptors {} / {}, mappings {} / {}",
            many.descriptors, few.descriptors, many.mappings, few.mappings
        ),
    );
    let (given, lent, nothing) =
        (held(case, "give", 100_000_000, 3), held(case, "lend", 100_000_000, 3), held(case, "give", 1, 3));
    let payload = 100_000_000.0 / 1024.0;
    for (name, held, bar) in [
        (
            "memory: peak held by both sides of a move of 100 MB, against the payload",
            given,
            Bar::AtMost("≤ 1.1", 1.1),
        ),
        (
            "memory: peak held by both sides of a copy of 100 MB, against the payload",
            lent,
            Bar::AtMost("≤ 2.1", 2.1),
        ),
    ] {
        let more = (held.peak - nothing.peak) / payload;
        report.value(name, more, "ratio", bar, format!("{:.1} MB", (held.peak - nothing.peak) / 1000.0));
    }
}

/// `bench-output/memory.csv`: the curve over all sizes.
fn curve(case: &Case, bare: &BTreeMap<u64, Value>) {
    let mut csv =
        String::from("size,move_received,move_handled,copy_handled,move_received_interpreted,remap,memcpy\n");
    for size in SIZES {
        let count = if size > 100_000_000 { 5 } else { 15 };
        let bare = |what: &str| bare.get(&size).and_then(|row| row[what].as_f64()).unwrap_or(f64::NAN);
        let interpreted = median(&received_by(case, "give", size, 5, "off"));
        let _ = writeln!(
            csv,
            "{size},{},{},{},{interpreted},{},{}",
            median(&received(case, "give", size, count)),
            median(&handled(case, "give", "0", size, count)),
            median(&handled(case, "lend", "0", size, count)),
            bare("remap"),
            bare("copy"),
        );
    }
    let folder = workspace().join("bench-output");
    fs::create_dir_all(&folder).expect("bench-output can be made");
    fs::write(folder.join("memory.csv"), csv).expect("memory.csv can be written");
}

/// Microseconds, for people.
pub(crate) fn micro(nanoseconds: f64) -> String {
    format!("{:.1} µs", nanoseconds / 1e3)
}
