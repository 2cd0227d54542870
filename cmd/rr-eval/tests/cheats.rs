//! Contestants that cheat, each in its own way, beside one that does not: `contestant.py` has them. And runs that are interrupted or killed.

mod left;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

/// A run's output folder, and what it needs.
struct Run {
    folder: TempDir,
}

impl Run {
    /// With a contestant of each behaviour, called after it.
    fn of(behaviours: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contestant.py");
        let mut text = String::new();
        for name in behaviours {
            let socket = folder.path().join(name);
            let side = |side: &str| {
                format!("['python3', '{}', '{side}', '{}', '{name}']", script.display(), socket.display())
            };
            let _ = writeln!(
                text,
                "[[contestant]]\nname = \"{name}\"\nsource = {}\nsink = {}",
                side("source"),
                side("sink")
            );
        }
        fs::write(folder.path().join("contestants.toml"), text).expect("write");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        self.command_of(&["fig7", "--size", "1000"])
    }

    fn command_of(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rr-eval"));
        command.args(words).args(["--patience", "2"]);
        // There are no other contestants in an empty folder, so nobody asks the runtime for anything.
        command.arg("--runtime").arg("/bin/true").arg("--functions").arg(self.folder.path());
        command.arg("--contestants").arg(self.path("contestants.toml")).arg("--out").arg(self.path("out"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self) -> (Output, String) {
        let output = self.command().output().expect("rr-eval runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, text)
    }

    /// Starts it, and waits until it has so many samples.
    fn until_samples(&self, count: usize) -> Child {
        let running = self.command().spawn().expect("rr-eval runs");
        let deadline = Instant::now() + Duration::from_secs(30);
        let rows = || fs::read_to_string(self.path("out/samples.csv")).unwrap_or_default().lines().count();
        while rows() < 1 + count {
            assert!(Instant::now() < deadline, "no samples within 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    /// Rows of the samples that count: contestant, work, repetition.
    fn counted(&self) -> Vec<(String, String, String)> {
        let text = fs::read_to_string(self.path("out/samples.csv")).expect("samples");
        let rows = text.lines().skip(1).filter(|row| row.ends_with(",counts"));
        let fields = rows.map(|row| row.split(',').map(str::to_owned).collect::<Vec<_>>());
        fields.map(|row| (row[1].clone(), row[5].clone(), row[6].clone())).collect()
    }
}

/// Each run takes away what killed ones have left: there is one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the test can run; says so otherwise.
fn has_python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok();
    if !there {
        left::announce_skip("no python3 is installed");
    }
    there
}

fn can_make_groups() -> bool {
    let folder = format!("/sys/fs/cgroup/memory/rr-eval-test-{}", std::process::id());
    fs::create_dir(&folder).is_ok() && fs::remove_dir(&folder).is_ok()
}

#[test]
fn who_cheats_is_thrown_out_with_the_reason_and_the_run_goes_on() {
    if !has_python() {
        return;
    }
    let cheats = [
        ("silent", "nothing came within"),
        ("short", "500 bytes were delivered of 1000"),
        ("wrong", "the receipt is wrong"),
        ("half", "the receipt is wrong"),
        ("replay", "the receipt is wrong"),
        ("hasty", "the sender knew"),
        ("early", "much later than it says"),
    ];
    let mut all: Vec<&str> = cheats.iter().map(|(name, _)| *name).collect();
    all.push("honest");
    let _alone = alone();
    let run = Run::of(&all);
    let (output, text) = run.output();
    assert!(!output.status.success(), "{text}");
    let page = fs::read_to_string(run.path("out/index.html")).expect("a page");
    let (times, out) = page.split_once("Thrown out").expect("the page tells who was thrown out");
    for (name, why) in cheats {
        let line = text.lines().find(|line| line.contains(&format!("thrown out: {name}:")));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}: {why:?} is not in {line:?} of\n{text}");
        assert!(out.contains(&format!("{name}: fig7")), "{name} is not on the page");
        assert!(!times.contains(&format!("<td>{name}</td><td>")), "{name} has times");
    }
    for work in ["touch", "read"] {
        let samples = run.counted().iter().filter(|(name, what, _)| name == "honest" && what == work).count();
        assert_eq!(samples, 5, "{work}: {text}");
        assert!(times.contains(&format!("<td>honest</td><td>{work}")), "honest has no times");
    }
}

#[test]
fn who_cheats_at_a_fixed_rate_is_thrown_out_too() {
    if !has_python() {
        return;
    }
    let cheats = [
        ("silent", "nothing came within"),
        ("short", "the receiver has had 10 calls of 20"),
        ("wrong", "the receipt is wrong"),
        ("half", "the receipt is wrong"),
        ("replay", "the receipt is wrong"),
        ("hasty", "its sender knew"),
        ("early", "much later than it says"),
        ("omitting", "its sender knew"),
    ];
    let mut all: Vec<&str> = cheats.iter().map(|(name, _)| *name).collect();
    all.push("honest");
    let _alone = alone();
    let run = Run::of(&all);
    let output = run.command_of(&["warm", "--size", "64", "--calls", "20"]).output().expect("rr-eval runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    let rows = fs::read_to_string(run.path("out/warm.csv")).expect("rows");
    for (name, why) in cheats {
        let line = text.lines().find(|line| line.contains(&format!("{name} is out of warm calls")));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}: {why:?} is not in {line:?} of\n{text}");
        assert!(!rows.contains(&format!("{name},")), "{name} has times: {rows}");
    }
    // Contestant, size, rate, calls, …: of each rate all calls.
    let count = |rate: &str| -> u64 {
        let start = format!("honest,64,{rate},20,");
        let rows = rows.lines().filter(|row| row.starts_with(&start));
        rows.map(|row| row.rsplit(',').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)).sum()
    };
    assert_eq!([count("2000"), count("10000")], [20, 20], "{rows}");
}

#[test]
fn an_interrupted_run_leaves_nothing_and_goes_on_where_it_stopped() {
    if !has_python() {
        return;
    }
    let _alone = alone();
    let run = Run::of(&["honest"]);
    let mut running = run.until_samples(3);
    let script = run.path("honest").display().to_string();
    left::send(&running, Signal::INT);
    let status = running.wait().expect("it ends");
    assert!(!status.success() && status.code().is_some(), "{status}");
    assert_eq!(left::processes(&script), Vec::<PathBuf>::new(), "a contestant is left");
    assert_eq!(left::of(running.id()), Vec::<PathBuf>::new());

    let before = run.counted();
    let (output, text) = run.output();
    assert!(output.status.success(), "{text}");
    let after = run.counted();
    assert_eq!(after[..before.len()], before);
    for work in ["touch", "read"] {
        let mut taken: Vec<&str> =
            after.iter().filter(|(_, what, _)| what == work).map(|(_, _, which)| which.as_str()).collect();
        taken.sort_unstable();
        assert_eq!(taken, ["0", "1", "2", "3", "4"], "{work}");
    }
    let (output, _) = run.output();
    assert!(output.status.success() && run.counted() == after, "a run that is done measures again");
}

#[test]
fn programs_in_no_container_are_counted_and_a_killed_run_is_swept_by_the_next() {
    if !has_python() {
        return;
    }
    if !can_make_groups() {
        return left::announce_skip("no control group can be made here");
    }
    let _alone = alone();
    let run = Run::of(&["honest"]);
    let mut running = run.until_samples(3);
    left::send(&running, Signal::KILL);
    running.wait().expect("it ends");
    assert_ne!(left::of(running.id()), Vec::<PathBuf>::new(), "nothing was left that could be swept");

    let (output, text) = run.output();
    assert!(output.status.success() && text.contains("taken away"), "{text}");
    assert_eq!(left::of(running.id()), Vec::<PathBuf>::new());
    let mut samples = csv::Reader::from_path(run.path("out/samples.csv")).expect("samples");
    let columns = samples.headers().expect("a header").clone();
    let at = |name: &str| columns.iter().position(|column| column == name).expect("a column");
    let (cpu, peak) = (at("cpu_ns"), at("peak_bytes"));
    for row in samples.records().map(|row| row.expect("a row")) {
        let number = |column: usize| row[column].parse::<u64>().unwrap_or_default();
        // Two processes of Python: less than a second for a kilobyte, and some kilobytes at the least.
        assert!((1000..1_000_000_000).contains(&number(cpu)), "{row:?}");
        assert!(number(peak) < 100_000_000 && !row[peak].is_empty(), "{row:?}");
    }
}
