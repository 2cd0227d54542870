//! Kernel space: payloads between the functions of two containers, against read and write on a bare Unix socket between two processes
//! (`hose/examples/transfer.rs`), which takes turns with them.
//!
//! *Touched*: until the receiver's handler has read a byte of each page, and the sender knows. *Read*: every byte.

use std::fs;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tests::{Bundle, Case, Hoses, Runtime};

use crate::memory::micro;
use crate::report::{Bar, Report, median};
use crate::{example, example_guest};

const LARGE: u64 = 100_000_000;
/// Turns of the contestants, and samples of each turn.
const TURNS: usize = 4;
const SAMPLES: usize = 10;

pub(crate) fn measure(report: &mut Report, ours: &Runtime) {
    let case = Case::new(ours);
    let hoses = Hoses::new(&case);
    large(report, &hoses);
    small(report, &hoses);
    fan_out(report, &hoses);
    growth(report, &case);
}

fn large(report: &mut Report, hoses: &Hoses<'_>) {
    let [mut given, mut given_read, mut anew, mut lent, mut bare_touched, mut bare_read] =
        [const { Vec::new() }; 6];
    for _ in 0..TURNS {
        bare_touched.extend(bare(LARGE, "touch", SAMPLES, None));
        given.extend(handled(hoses, "give", "1", LARGE, SAMPLES));
        bare_read.extend(bare(LARGE, "all", SAMPLES, None));
        given_read.extend(handled(hoses, "give", "2", LARGE, SAMPLES));
        // Not counted are the first two: a buffer is kept ready for who sends again.
        anew.extend_from_slice(&handled(hoses, "anew", "1", LARGE, SAMPLES)[2..]);
        lent.extend(handled(hoses, "lend", "1", LARGE, SAMPLES));
    }
    let (touched, read) = (median(&bare_touched), median(&bare_read));
    for (name, ours, bare, bar) in [
        (
            "unix: 100 MB from a hose buffer until touched, against read and write",
            given,
            touched,
            Bar::AtLeast("≥ 30 with huge pages", 30.0),
        ),
        (
            "unix: 100 MB from a hose buffer until read, against read and write",
            given_read,
            read,
            Bar::AtLeast("≥ 5", 5.0),
        ),
        (
            "unix: 100 MB from ordinary memory until touched, written anew between two sends, against read and write",
            anew,
            touched,
            Bar::AtLeast("≥ 3", 3.0),
        ),
        (
            "unix: 100 MB from ordinary memory until touched, one send after the other, against read and write",
            lent,
            touched,
            Bar::AtLeast("≥ 1", 1.0),
        ),
    ] {
        let (median, least) = (median(&ours), ours.iter().copied().fold(f64::MAX, f64::min));
        let detail = format!("{} (least: {}) / {}", micro(median), micro(least), micro(bare));
        report.value(name, bare / median, "times faster", bar, detail);
    }
    let filled = median(&numbers(hoses, &["fill", "0", "100000000", "15"]));
    // Once a process: memory that was freed is not fresh.
    let fresh: Vec<f64> = (0..7).flat_map(|_| numbers(hoses, &["fill-vec", "0", "100000000", "1"])).collect();
    report.value(
        "unix: making and filling a hose buffer of 100 MB, against filling fresh ordinary memory",
        filled / median(&fresh),
        "ratio",
        Bar::AtMost("≤ 0.5", 0.5),
        format!("{} / {}", micro(filled), micro(median(&fresh))),
    );
}

/// 1 kB, both contestants placed alike.
fn small(report: &mut Report, hoses: &Hoses<'_>) {
    let all = processors();
    let (first, last) = (all[0], all[all.len() - 1]);
    for (how, places) in [
        ("placed by the system", None),
        ("each end on a processor of its own", Some([first, last])),
        ("both ends on one processor", Some([first, first])),
    ] {
        let name = format!("unix: 1 kB there and its verdict back, against a bare socket pair, {how}");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            theirs.extend(bare(1000, "touch", 2001, places));
            ours.extend(placed(hoses, &["lend", "0", "1000", "2001"], places));
        }
        let (ours, theirs) = (median(&ours), median(&theirs));
        let detail = format!("{} / {}", micro(ours), micro(theirs));
        report.value(name, ours / theirs, "ratio", Bar::AtMost("≤ 1.5", 1.5), detail);
    }
}

fn fan_out(report: &mut Report, hoses: &Hoses<'_>) {
    // The paper's size (section 6, figure 9), and one that is sooner sent than its receiver is woken.
    fan_out_of(report, hoses, 10_000_000, 21, Bar::AtMost("≤ 1.2", 1.2));
    fan_out_of(report, hoses, 10_000, 101, Bar::None);
}

fn fan_out_of(report: &mut Report, hoses: &Hoses<'_>, size: u64, count: usize, bar: Bar) {
    let single = median(&handled(hoses, "lend", "0", size, 10 * count));
    let names: Vec<String> = (0..100).map(|i| format!("sink{i}")).collect();
    let sinks: Vec<_> =
        names.iter().map(|name| hoses.run(&bundle(hoses, "figure_sink", name, "", &[]))).collect();
    let (bytes, count) = (size.to_string(), count.to_string());
    let args = ["fan", "0", &bytes, &count];
    let source =
        hoses.run(&bundle(hoses, "figure-source", "source", &names.join(","), &args)).wait().success();
    for sink in sinks {
        let _ = sink.wait().success();
    }
    // The first one connects.
    let each: Vec<f64> = lines(&source.stdout).skip(1).map(|time| time / 100.0).collect();
    report.value(
        format!("unix: fan-out to 100, each target, against a single send ({} kB)", size / 1000),
        median(&each) / single,
        "ratio",
        bar,
        format!("{} / {}", micro(median(&each)), micro(single)),
    );
}

/// What a process has.
struct Held {
    kilobytes: f64,
    descriptors: usize,
    mappings: usize,
}

fn held(pid: u64) -> Held {
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
    let status = file("status");
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a field");
    Held {
        kilobytes: anonymous.trim().trim_end_matches(" kB").parse().expect("a number"),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count(),
        mappings: file("maps").lines().count(),
    }
}

/// 100,000 calls into one function that serves, of another container's.
fn growth(report: &mut Report, case: &Case) {
    let hoses = Hoses::new(case);
    let sink = bundle(&hoses, "figure_sink", "sink", "", &[]);
    sink.annotation("io.roadrunner.hose/lifecycle", "serve");
    let id = case.id();
    let run = hoses.cmd_of("tenant", &["run", "--bundle"]).arg(sink.dir()).arg(&id).spawn();
    let calls = |count: &str| {
        let source = bundle(&hoses, "figure-source", "source", "sink", &["lend", "0", "4096", count]);
        let source = hoses.run(&source).wait().success();
        assert_eq!(lines(&source.stdout).count().to_string(), count, "calls");
    };
    calls("1000");
    let pid = case.state(&id)["pid"].as_u64().expect("a pid");
    let few = held(pid);
    calls("99000");
    let many = held(pid);
    case.cmd(["kill", &id, "TERM"]).ok();
    let _ = run.wait().success();
    // The allocator's own arenas come and go by one.
    let same = few.descriptors == many.descriptors && many.mappings <= few.mappings + 2;
    report.value(
        "unix: 100,000 calls into one serving function, growth of its anonymous memory after the first 1,000",
        many.kilobytes - few.kilobytes,
        "kB",
        Bar::AtMost("none (≤ 64 kB, and no descriptor or mapping)", if same { 64.0 } else { f64::MIN }),
        format!(
            "descriptors {} / {}, mappings {} / {}",
            many.descriptors, few.descriptors, many.mappings, few.mappings
        ),
    );
}

/// The processors that this program may use.
pub(crate) fn processors() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("an affinity");
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Starts what `start` starts on one processor: affinity is inherited.
pub(crate) fn on<R>(cpu: Option<usize>, start: impl FnOnce() -> R) -> R {
    let Some(cpu) = cpu else { return start() };
    let had = sched_getaffinity(None).expect("an affinity");
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).expect("one of its own");
    let started = start();
    sched_setaffinity(None, &had).expect("what it had");
    started
}

/// Nanoseconds of the baseline.
pub(crate) fn bare(size: u64, how: &str, count: usize, places: Option<[usize; 2]>) -> Vec<f64> {
    let mut command = Command::new(example("transfer"));
    command.args(["bare-unix", &size.to_string(), how, &count.to_string()]);
    command.args(places.iter().flatten().map(usize::to_string));
    let output = tests::command::bare_output(&mut command).expect("transfer runs");
    assert!(output.status.success(), "transfer: {}", output.status);
    lines(&String::from_utf8(output.stdout).expect("UTF-8")).collect()
}

fn lines(text: &str) -> impl Iterator<Item = f64> + '_ {
    text.lines().map(|line| line.parse().expect("a number"))
}

fn bundle(hoses: &Hoses<'_>, module: &str, name: &str, target: &str, args: &[&str]) -> Bundle {
    let module = fs::read(example_guest(module)).expect("a guest");
    let bundle = hoses.function_of(&module, name, target, args);
    bundle.annotation("io.roadrunner.wasm/aot", "wait");
    bundle
}

/// What the source prints, which runs beside a sink in another container, each on a processor that was chosen or not.
fn placed(hoses: &Hoses<'_>, args: &[&str], places: Option<[usize; 2]>) -> Vec<f64> {
    // It ends when its last sender has; one that nobody sends to would wait for ever.
    let sink = (!args[0].starts_with("fill")).then(|| {
        on(places.map(|[_, theirs]| theirs), || hoses.run(&bundle(hoses, "figure_sink", "sink", "", &[])))
    });
    let source = bundle(hoses, "figure-source", "source", "sink", args);
    let source = on(places.map(|[ours, _]| ours), || hoses.run(&source)).wait().success();
    if let Some(sink) = sink {
        let _ = sink.wait().success();
    }
    lines(&source.stdout).collect()
}

fn numbers(hoses: &Hoses<'_>, args: &[&str]) -> Vec<f64> {
    placed(hoses, args, None)
}

fn handled(hoses: &Hoses<'_>, how: &str, work: &str, size: u64, count: usize) -> Vec<f64> {
    numbers(hoses, &[how, work, &size.to_string(), &count.to_string()])
}
