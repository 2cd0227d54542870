//! The figures of docs/benchmarks.md: `make bench`.
//!
//! Each figure compares two things in one run, turn by turn, and its value is the ratio of their medians, so
//! that a machine whose speed drifts drifts for both. Absolute times are printed for orientation only.
//! Everything is timed as a whole process, from the spawn to the exit.
//!
//! Needs root, `runc`, the examples' guests (`scripts/build-guests`) and, for the engine alone,
//! the executor's example `engine-alone`. `crun` is compared where it runs: it refuses a hybrid cgroup hierarchy, so its
//! processes are given a mount namespace in which the unified one is covered.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Bundle, Case, Runtime};

/// Runs counted of each contestant, after [`WARM_UP`] that are not.
const RUNS: usize = 40;
const WARM_UP: usize = 5;
/// How often a run computes fib(32), so that it stands out from the noise of starting.
const FIBS: u32 = 20;

fn main() {
    // `cargo bench` passes flags of its own, `cargo test --benches` asks for a list.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let ours = Runtime::under_test();
    let peer = Runtime::peer().expect("runc is needed to compare with: apt-get install runc");
    let mut report = Report::default();
    state(&mut report, &ours, &peer);
    native_run(&mut report, &ours, &peer);
    wasm_run(&mut report, &ours, &peer);
    memory_at_rest(&mut report, &ours);
    fib(&mut report, &ours);
    report.write();
}

/// One row of the table.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// Text of the bar, and whether the value meets it. A figure without a bar is for orientation.
    bar: Option<(&'static str, bool)>,
    samples: Vec<f64>,
    detail: String,
}

#[derive(Default)]
struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds the ratio of the medians of two series, which shall be `at_most` the bar.
    fn ratio(&mut self, name: &'static str, pair: &Pair, bar: Option<(&'static str, f64)>) {
        let value = median(&pair.a) / median(&pair.b);
        self.add(Figure {
            name,
            value,
            unit: "ratio",
            bar: bar.map(|(text, at_most)| (text, value <= at_most)),
            samples: pair.a.iter().zip(&pair.b).map(|(a, b)| a / b).collect(),
            detail: format!("{} / {}", milliseconds(&pair.a), milliseconds(&pair.b)),
        });
    }

    fn add(&mut self, figure: Figure) {
        let verdict = match &figure.bar {
            Some((bar, true)) => format!("holds ({bar})"),
            Some((bar, false)) => format!("MISSED ({bar})"),
            None => String::new(),
        };
        eprintln!("{}: {:.2} {} [{}] {verdict}", figure.name, figure.value, figure.unit, figure.detail);
        self.figures.push(figure);
    }

    fn write(&self) {
        let folder = workspace().join("bench-output");
        fs::create_dir_all(&folder).expect("bench-output can be made");
        let rows: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let text = serde_json::to_string_pretty(&rows).expect("JSON");
        fs::write(folder.join("results.json"), text + "\n").expect("results.json can be written");
        let table = self.table();
        fs::write(folder.join("table.md"), &table).expect("table.md can be written");
        println!("{table}");
    }

    fn table(&self) -> String {
        let mut table =
            String::from("| what | value | bar | holds | medians |\n| --- | --- | --- | --- | --- |\n");
        for figure in &self.figures {
            let (bar, holds) = match figure.bar {
                Some((bar, true)) => (bar, "yes"),
                Some((bar, false)) => (bar, "**no**"),
                None => ("", ""),
            };
            let _ = writeln!(
                table,
                "| {} | {:.2} {} | {bar} | {holds} | {} |",
                figure.name, figure.value, figure.unit, figure.detail
            );
        }
        table
    }
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": self.bar.map(|(text, _)| text),
            "holds": self.bar.map(|(_, holds)| holds),
            "samples": self.samples,
        })
    }
}

/// Two series of wall times in seconds, taken in turn.
struct Pair {
    a: Vec<f64>,
    b: Vec<f64>,
}

fn pair(mut a: impl FnMut() -> Duration, mut b: impl FnMut() -> Duration) -> Pair {
    let mut pair = Pair { a: Vec::new(), b: Vec::new() };
    for run in 0..RUNS + WARM_UP {
        let (one, other) = (a(), b());
        if run >= WARM_UP {
            pair.a.push(one.as_secs_f64());
            pair.b.push(other.as_secs_f64());
        }
    }
    pair
}

fn state(report: &mut Report, ours: &Runtime, peer: &Runtime) {
    let contestant = |runtime: &Runtime| {
        let case = Case::new(runtime);
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "1000"]);
        let id = case.id();
        case.start(&bundle, &id);
        (case, id)
    };
    let (a, a_id) = contestant(ours);
    let (b, b_id) = contestant(peer);
    let times = pair(|| time(command(&a, &["state", &a_id])), || time(command(&b, &["state", &b_id])));
    report.ratio("`state` of a container, against runc", &times, Some(("≤ 0.5", 0.5)));
    a.force_delete(&a_id);
    b.force_delete(&b_id);
}

fn native_run(report: &mut Report, ours: &Runtime, peer: &Runtime) {
    let (a, b) = (Case::new(ours), Case::new(peer));
    let (a_bundle, b_bundle) = (a.busybox(), b.busybox());
    let times = pair(|| run(&a, &a_bundle), || run(&b, &b_bundle));
    report.ratio("native `run` of `true`, against runc", &times, Some(("≤ 0.7", 0.7)));
    let Some(crun) = tests::runtime::program("crun") else {
        eprintln!("SKIPPED: crun is not installed, and not compared with");
        return;
    };
    let c = Case::new(ours);
    let bundle = c.busybox();
    let crun_run = || {
        let root = c.dir().join("crun");
        let mut words: Vec<String> = covered();
        words.extend([crun.display().to_string(), "--root".into(), root.display().to_string()]);
        words.extend(["run".into(), "--bundle".into(), bundle.dir().display().to_string(), c.id()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    };
    let works = crun_run().stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("SKIPPED: crun does not run here, and is not compared with");
        return;
    }
    // The wrapper is a process or two of its own: ours gets the same.
    let wrapped = || {
        let mut words = covered();
        words.extend([ours.path().display().to_string(), "--root".into(), a.root().display().to_string()]);
        words.extend(["run".into(), "--bundle".into(), a_bundle.dir().display().to_string(), a.id()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    };
    let times = pair(|| time(wrapped()), || time(crun_run()));
    report.ratio("native `run` of `true`, against crun", &times, None);
}

/// A command line that covers the unified hierarchy for what follows it.
fn covered() -> Vec<String> {
    let script = "mount -t tmpfs none /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"].map(String::from).to_vec()
}

fn wasm_run(report: &mut Report, ours: &Runtime, peer: &Runtime) {
    let (a, b) = (Case::new(ours), Case::new(peer));
    let (hello, native) = (guest(&a, "hello", "wait"), b.busybox());
    let times = pair(|| run(&a, &hello), || run(&b, &native));
    report.ratio(
        "Wasm hello `run` from the cache, against runc's native `run` of `true`",
        &times,
        Some(("≤ 0.6", 0.6)),
    );
}

fn memory_at_rest(report: &mut Report, ours: &Runtime) {
    let case = Case::new(ours);
    let bundle = guest(&case, "hello", "wait");
    // Its standard input is a pipe that nobody writes to: it has greeted, and waits.
    bundle.args(["/hello.wasm", "--wait"]);
    let id = case.id();
    let mut running = case.run(&bundle, &id).stdin_pipe().spawn();
    running.expect_stdout("hello");
    let pid = case.state(&id)["pid"].as_u64().expect("a pid");
    let samples: Vec<f64> = (0..5).map(|_| resident_without_libc(pid)).collect();
    let value = median(&samples);
    report.add(Figure {
        name: "resident memory of a hello function at rest, without libc",
        value,
        unit: "MB",
        bar: Some(("≤ 8 MB", value <= 8.0)),
        samples,
        detail: format!("{value:.2} MB"),
    });
    drop(running.input());
    let _ = running.wait().exits(0);
}

/// Resident pages in megabytes, less those that back the C library and the loader.
fn resident_without_libc(pid: u64) -> f64 {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("smaps");
    let mut kilobytes = 0;
    let mut counted = true;
    for line in smaps.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or("");
        if !first.ends_with(':') {
            counted = !["libc.so.6", "ld-linux"].iter().any(|library| line.contains(library));
        } else if first == "Rss:" && counted {
            let value = line.split_ascii_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
            kilobytes += value.expect("a size");
        }
    }
    kilobytes as f64 * 1024.0 / 1e6
}

fn fib(report: &mut Report, ours: &Runtime) {
    let case = Case::new(ours);
    let [hello, cached, interpreted] =
        [("hello", "wait"), ("fib", "wait"), ("fib", "off")].map(|(name, aot)| guest(&case, name, aot));
    let often = FIBS.to_string();
    cached.args(["/fib.wasm", "32", &often]);
    interpreted.args(["/fib.wasm", "32"]);
    let engine = |module: &str| {
        let mut command = Command::new(example("engine-alone"));
        command.arg(case.dir().join(format!("{module}.aot"))).args(["32", &often]);
        command
    };
    for module in ["hello", "fib"] {
        let compiled = case.dir().join(format!("{module}.aot"));
        case.cmd(["compile", "--output"]).arg(&compiled).arg(example_guest(module)).ok();
    }
    let ours = pair(|| run(&case, &cached), || run(&case, &hello));
    let alone = pair(|| time(engine("fib")), || time(engine("hello")));
    // One fib(32) in seconds. Noise that outweighs the work is no result.
    let net = |pair: &Pair| {
        let net = (median(&pair.a) - median(&pair.b)) / f64::from(FIBS);
        assert!(net > 0.0, "starting outweighs {FIBS} times fib(32): the machine is too busy to tell");
        net
    };
    let value = net(&ours) / net(&alone);
    report.add(Figure {
        name: "fib(32) from the cache, less start-up, against the engine alone",
        value,
        unit: "ratio",
        bar: Some(("≤ 1.1", value <= 1.1)),
        samples: ours.a.iter().zip(&ours.b).map(|(fib, hello)| (fib - hello) / f64::from(FIBS)).collect(),
        detail: format!("{:.2} ms / {:.2} ms", net(&ours) * 1e3, net(&alone) * 1e3),
    });
    let slow: Vec<f64> = (0..5).map(|_| run(&case, &interpreted).as_secs_f64()).collect();
    let value = (median(&slow) - median(&ours.b)) / net(&ours);
    report.add(Figure {
        name: "fib(32) from the cache, against interpreted",
        value,
        unit: "times faster",
        bar: Some(("≥ 20", value >= 20.0)),
        detail: format!("{} / {:.2} ms", milliseconds(&slow), net(&ours) * 1e3),
        samples: slow,
    });
}

/// A bundle that runs one of the examples' guests.
fn guest(case: &Case, name: &str, aot: &str) -> Bundle {
    let bundle = Bundle::empty(case);
    let module = fs::read(example_guest(name)).expect("the guest can be read");
    bundle.file(&format!("{name}.wasm"), module);
    bundle.args([format!("/{name}.wasm")]);
    bundle.annotation("io.roadrunner.wasm/aot", aot);
    bundle
}

fn example_guest(name: &str) -> PathBuf {
    let path = workspace().join(format!("guest/examples/target/wasm32-wasip1/release/{name}.wasm"));
    assert!(path.is_file(), "{} is missing: scripts/build-guests makes it", path.display());
    path
}

/// An example program of the workspace, beside the runtime under test.
fn example(name: &str) -> PathBuf {
    let runtime = Runtime::under_test();
    let path = runtime.path().parent().expect("a folder").join("examples").join(name);
    assert!(path.is_file(), "{} is missing: make bench builds it", path.display());
    path
}

fn run(case: &Case, bundle: &Bundle) -> Duration {
    let bundle = bundle.dir().display().to_string();
    time(command(case, &["run", "--bundle", &bundle, &case.id()]))
}

/// A bare command: the harness's own watching and capturing would be timed with it.
fn command(case: &Case, arguments: &[&str]) -> Command {
    let mut command = Command::new(case.runtime().path());
    command.arg("--root").arg(case.root()).args(arguments);
    command
}

fn time(mut command: Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let start = Instant::now();
    let status = tests::command::bare_status(&mut command).expect("the contestant starts");
    let elapsed = start.elapsed();
    assert!(status.success(), "{command:?} failed: {status}");
    elapsed
}

fn milliseconds(seconds: &[f64]) -> String {
    format!("{:.2} ms", median(seconds) * 1e3)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}
