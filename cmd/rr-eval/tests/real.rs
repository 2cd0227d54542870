//! Cold starts, idle functions, warm calls and workflows of pictures by the runtime itself, a few of each; and what is left of runs that are interrupted.
//!
//! They need root, a runtime (`RR_RUNTIME`) and the functions that `scripts/build-guests` makes; without them they are skipped.

mod left;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

/// What a run works with.
struct Setup {
    runtime: PathBuf,
    functions: PathBuf,
    out: TempDir,
}

type Row = BTreeMap<String, String>;

/// How long a run may take until its first container is there.
const PATIENCE: Duration = Duration::from_secs(300);

impl Setup {
    /// Says why there is none.
    fn find() -> Option<Self> {
        Self::look().map_err(|why| left::announce_skip(&why)).ok()
    }

    fn look() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("containers need root here".to_owned());
        }
        let runtime = std::env::var_os("RR_RUNTIME").map(PathBuf::from).filter(|path| path.is_file());
        let runtime = runtime.ok_or("RR_RUNTIME names no runtime")?;
        let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest/examples/target");
        for name in ["hello", "handler", "eval-hose-source", "eval_hose_sink", "eval-pictures-camera"] {
            let module = functions.join(format!("wasm32-wasip1/release/{name}.wasm"));
            if !module.is_file() {
                return Err(format!("{} is not built (scripts/build-guests)", module.display()));
            }
        }
        Ok(Self { runtime, functions, out: tempfile::tempdir().map_err(|error| error.to_string())? })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rr-eval"));
        command.args(words).arg("--runtime").arg(&self.runtime).arg("--functions").arg(&self.functions);
        command.arg("--out").arg(self.out.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end, which has to be a good one; gives what was said.
    fn run(&self, words: &[&str]) -> String {
        let child = self.command(words).spawn().expect("rr-eval runs");
        let pid = child.id();
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {text}");
        assert_eq!(left::of(pid), Vec::<PathBuf>::new(), "{words:?} has left something");
        text
    }

    /// In an order of their own.
    fn rows(&self, file: &str) -> Vec<Row> {
        let mut reader = csv::Reader::from_path(self.out.path().join(file)).expect("rows");
        let mut rows: Vec<Row> = reader.deserialize().map(|row| row.expect("a row")).collect();
        rows.sort_unstable();
        rows
    }
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?} is no number"))
}

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

#[test]
fn cold_starts_are_measured_once() {
    let Some(setup) = Setup::find() else { return };
    let words = ["cold", "--workload", "hello", "--starts", "3"];
    setup.run(&words);
    let rows = setup.rows("cold.csv");
    for series in ["at-once", "in-a-row"] {
        let ours = rows.iter().filter(|row| row["contestant"] == "rr" && row["series"] == series);
        assert_eq!(ours.count(), 3, "{series}: {rows:?}");
    }
    for row in &rows {
        let (first, ended) = (number(row, "first_ns"), number(row, "ended_ns"));
        assert!(row["failure"].is_empty() && row["workload"] == "hello", "{row:?}");
        // No program starts in less, and none takes longer on any machine.
        assert!((MILLISECOND / 2..10 * SECOND).contains(&first) && first < ended, "{row:?}");
    }
    setup.run(&words);
    assert_eq!(setup.rows("cold.csv"), rows, "what was measured is measured again");
}

#[test]
fn idle_functions_have_memory_and_answer() {
    let Some(setup) = Setup::find() else { return };
    setup.run(&["idle", "--count", "3"]);
    let rows = setup.rows("idle.csv");
    let (looks, calls): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row["invoke_ns"].is_empty());
    let before = looks.iter().filter(|row| row["called"] == "false").count();
    assert_eq!((before, looks.len()), (3, 6), "{looks:?}");
    assert!(looks.iter().all(|row| (100_000..100_000_000).contains(&number(row, "pss_bytes"))), "{looks:?}");
    for running in ["1", "3"] {
        let times = calls.iter().filter(|row| row["running"] == running);
        let times: Vec<u64> = times.map(|row| number(row, "invoke_ns")).collect();
        assert!(times.len() >= 100, "{running}: {} calls", times.len());
        assert!(times.iter().all(|time| (MILLISECOND / 2..10 * SECOND).contains(time)), "{times:?}");
    }
    setup.run(&["idle", "--count", "3"]);
    assert_eq!(setup.rows("idle.csv"), rows, "what was measured is measured again");
}

#[test]
fn warm_calls_have_a_histogram_of_all() {
    let Some(setup) = Setup::find() else { return };
    let words = ["warm", "--only", "rr ", "--size", "64", "--calls", "500"];
    setup.run(&words);
    let rows = setup.rows("warm.csv");
    for contestant in ["rr user", "rr kernel", "rr network"] {
        for rate in ["2000", "10000"] {
            let ours = rows.iter().filter(|row| row["contestant"] == contestant && row["rate"] == rate);
            let calls: u64 = ours.map(|row| number(row, "count")).sum();
            assert_eq!(calls, 500, "{contestant}, {rate}: {rows:?}");
        }
    }
    assert!(rows.iter().all(|row| (200..10 * SECOND).contains(&number(row, "latency_ns"))), "{rows:?}");
    setup.run(&words);
    assert_eq!(setup.rows("warm.csv"), rows, "what was measured is measured again");
}

/// The folder of photographs, and the native program that knows the answers; or why there is none.
fn photographs(setup: &Setup) -> Result<String, String> {
    let native = format!("twins/{}-unknown-linux-gnu/release/eval-native", std::env::consts::ARCH);
    let native = setup.functions.join(native);
    if !native.is_file() {
        return Err(format!("{} is not built (scripts/build-native)", native.display()));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fetch-samples");
    let output = Command::new(script).output().map_err(|error| error.to_string())?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        Ok(folder)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn photographs_go_through_each_workflow_and_all_make_the_same_of_them() {
    let Some(setup) = Setup::find() else { return };
    let samples = match photographs(&setup) {
        Ok(samples) => samples,
        Err(why) => return left::announce_skip(&why),
    };
    let words = ["pictures", "--only", "rr ", "--samples", &samples];
    let said = setup.run(&words);
    assert!(!said.contains("is out of"), "{said}");
    let rows = setup.rows("pictures.csv");
    for workflow in ["chain", "fan-out", "fan-in"] {
        for contestant in ["rr user", "rr kernel", "rr network"] {
            let of = |row: &&Row| row["workflow"] == workflow && row["contestant"] == contestant;
            let ours = rows.iter().filter(|row| row["pictures"] == "photographs").filter(of);
            assert_eq!(ours.count(), 10, "{contestant}, {workflow}: {said}");
        }
    }
    for row in &rows {
        let (whole, handed) = (number(row, "whole_ns"), number(row, "handed_ns"));
        assert!(handed < whole && (MILLISECOND / 2..10 * SECOND).contains(&whole), "{row:?}");
    }
    setup.run(&words);
    assert_eq!(setup.rows("pictures.csv"), rows, "what was measured is measured again");
}

#[test]
fn nothing_is_left_of_an_interrupted_run() {
    let Some(setup) = Setup::find() else { return };
    for words in [
        &["cold", "--workload", "hello"] as &[&str],
        &["idle", "--count", "100"],
        &["warm", "--only", "rr kernel"],
    ] {
        let mut run = setup.command(words).spawn().expect("rr-eval runs");
        let begun = Instant::now();
        // In the midst of it: its folder is there, and a container of it runs. First its functions are compiled, beside those of the other tests.
        while !left::of(run.id()).iter().any(|path| path.starts_with("/sys/fs/cgroup")) {
            assert!(begun.elapsed() < PATIENCE, "{words:?} has no container within {PATIENCE:?}");
            assert!(run.try_wait().expect("it runs").is_none(), "{words:?} has ended early");
            std::thread::sleep(Duration::from_millis(1));
        }
        left::send(&run, Signal::INT);
        let status = run.wait().expect("it ends");
        assert!(!status.success() && status.code().is_some(), "{words:?}: {status}");
        assert_eq!(left::of(run.id()), Vec::<PathBuf>::new(), "{words:?} has left something");
        let names = fs::read_dir(setup.out.path()).expect("a folder").flatten();
        assert!(names.count() > 0, "{words:?} has written nothing");
    }
}
