//! Starting, resting and computing, against runc and crun and the engine alone. Everything is timed as a whole process, from the
//! spawn to the exit.

use std::fs;
use std::process::{Command, Stdio};

use tests::{Case, Runtime};

use crate::report::{Figure, Pair, Report, median, milliseconds, pair};
use crate::{command, covered, example, example_guest, guest, run, time};

/// How often a run computes fib(32), so that it stands out from the noise of starting.
const FIBS: u32 = 20;

pub(crate) fn measure(report: &mut Report, ours: &Runtime, peer: &Runtime) {
    state(report, ours, peer);
    native_run(report, ours, peer);
    wasm_run(report, ours, peer);
    memory_at_rest(report, ours);
    fib(report, ours);
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
        name: "resident memory of a hello function at rest, without libc".to_owned(),
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
        name: "fib(32) from the cache, less start-up, against the engine alone".to_owned(),
        value,
        unit: "ratio",
        bar: Some(("≤ 1.1", value <= 1.1)),
        samples: ours.a.iter().zip(&ours.b).map(|(fib, hello)| (fib - hello) / f64::from(FIBS)).collect(),
        detail: format!("{:.2} ms / {:.2} ms", net(&ours) * 1e3, net(&alone) * 1e3),
    });
    let slow: Vec<f64> = (0..5).map(|_| run(&case, &interpreted).as_secs_f64()).collect();
    let value = (median(&slow) - median(&ours.b)) / net(&ours);
    report.add(Figure {
        name: "fib(32) from the cache, against interpreted".to_owned(),
        value,
        unit: "times faster",
        bar: Some(("≥ 20", value >= 20.0)),
        detail: format!("{} / {:.2} ms", milliseconds(&slow), net(&ours) * 1e3),
        samples: slow,
    });
}
