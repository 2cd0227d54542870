//! Each command of a container's life, and `list` of a hundred, against runc and crun: as whole processes, in turn. And what each command has of memory at
//! most, by busybox's `time -v`: a small program, as what a process has of memory before it becomes another one is counted, too.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Bundle, Case, Runtime};

use crate::report::{Bar, Report, median, milliseconds};
use crate::{covered, time};

/// Lives of each contestant, after one that does not count.
const LIVES: usize = 30;
/// Containers that `list` finds.
const CROWD: usize = 100;
/// Commands of a life, in their order.
const COMMANDS: [&str; 6] = ["create", "start", "state", "exec", "kill", "delete"];

/// A runtime, its states and its bundle.
struct Contestant {
    name: &'static str,
    words: Vec<String>,
    binary: PathBuf,
    case: Case,
    bundle: Bundle,
    /// What `time -v` says of a kilobyte.
    unit: f64,
}

/// What `time -v` found a command to have at most.
fn most(report: &str) -> f64 {
    let line =
        report.lines().find_map(|line| line.trim().strip_prefix("Maximum resident set size (kbytes):"));
    line.expect("a size").trim().parse().expect("a number")
}

/// Busybox multiplies kilobytes by pages: it is asked for something that is known to be large.
fn unit() -> f64 {
    let script = "b = bytearray(200_000_000)\nfor i in range(0, len(b), 4096): b[i] = 1";
    let output = Command::new("busybox").args(["time", "-v", "python3", "-c", script]).output();
    let output = output.expect("busybox runs");
    (most(&String::from_utf8_lossy(&output.stderr)) / 200_000.0).round().max(1.0)
}

impl Contestant {
    /// `binary` behind `wrapper`.
    fn new(name: &'static str, ours: &Runtime, binary: &Path, wrapper: Vec<String>) -> Self {
        let case = Case::new(ours);
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "1000"]);
        let root = case.dir().join(name);
        let mut words = wrapper;
        words.extend([binary.display().to_string(), "--root".into(), root.display().to_string()]);
        Self { name, words, binary: binary.to_owned(), case, bundle, unit: unit() }
    }

    fn command(&self, verb: &str, id: &str) -> Command {
        let mut words = self.words.clone();
        words.extend(verb.split(' ').map(String::from));
        let pid_file = self.pid_file().display().to_string();
        let more: Vec<String> = match verb {
            "create" => vec![
                "--bundle".into(),
                self.bundle.dir().display().to_string(),
                "--pid-file".into(),
                pid_file,
            ],
            "exec" => vec![id.into(), "/bin/true".into()],
            "kill" => vec![id.into(), "KILL".into()],
            _ => Vec::new(),
        };
        words.extend(more);
        if !matches!(verb, "exec" | "kill" | "list") {
            words.push(id.into());
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    fn pid_file(&self) -> PathBuf {
        self.case.dir().join("pid")
    }

    /// Waits for the end of a container that was killed.
    fn await_end(&self) {
        let pid = std::fs::read_to_string(self.pid_file()).expect("a pid file");
        let pid = pid.trim().parse().expect("a number");
        let _ = tests::command::orphan_status(pid, Duration::from_secs(10));
    }

    /// One life: what each command took.
    fn live(&self) -> [Duration; COMMANDS.len()] {
        let id = self.case.id();
        COMMANDS.map(|verb| {
            let taken = time(self.command(verb, &id));
            if verb == "kill" {
                self.await_end();
            }
            taken
        })
    }

    /// Kilobytes that each command had at most.
    fn memory(&self) -> [f64; COMMANDS.len()] {
        let id = self.case.id();
        COMMANDS.map(|verb| {
            let command = self.command(verb, &id);
            // Of the runtime, not of what wraps it.
            let at = self.words.iter().position(|word| Path::new(word) == self.binary).expect("the binary");
            let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
            let timed = ["busybox", "time", "-v"].map(OsStr::new);
            let words = [&words[..at], &timed, &words[at..]].concat();
            let mut timed = Command::new(words[0]);
            timed.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
            // What lives on has standard error, too: it is read as far as the command's own end.
            let report = self.case.dir().join("time");
            let file = std::fs::File::create(&report).expect("a file");
            let status = tests::command::bare_status(timed.stderr(file)).expect("the contestant starts");
            let text = std::fs::read_to_string(&report).expect("a report");
            assert!(status.success(), "{verb} of {}: {text}", self.name);
            if verb == "kill" {
                self.await_end();
            }
            most(&text) / self.unit
        })
    }

    /// What `list` of a crowd takes.
    fn list(&self) -> Vec<f64> {
        let ids: Vec<String> = (0..CROWD).map(|_| self.case.id()).collect();
        for id in &ids {
            let _ = time(self.command("create", id));
        }
        let times = (0..LIVES).map(|_| time(self.command("list", "")).as_secs_f64()).collect();
        for id in &ids {
            let _ = time(self.command("delete --force", id));
        }
        times
    }
}

pub(crate) fn measure(report: &mut Report, ours: &Runtime, peer: &Runtime) {
    let plain = [("rr-runtime", ours.path()), ("runc", peer.path())];
    let plain = plain.map(|(name, path)| Contestant::new(name, ours, path, Vec::new()));
    let refs = [&plain[0], &plain[1]];
    compare(report, &refs, "runc", Bar::AtMost("≤ 0.7", 0.7));
    memory(report, &refs, "runc", Bar::AtMost("≤ 0.6", 0.6));
    size(report, &refs, "runc", Bar::AtMost("≤ 0.6", 0.6));
    let Some(crun) = tests::runtime::program("crun") else {
        eprintln!("SKIPPED: crun is not installed, and not compared with");
        return;
    };
    // A process or two of its own, which both get.
    let wrapped = [("rr-runtime", ours.path()), ("crun", crun.as_path())];
    let wrapped = wrapped.map(|(name, path)| Contestant::new(name, ours, path, covered()));
    let refs = [&wrapped[0], &wrapped[1]];
    compare(report, &refs, "crun", Bar::AtMost("≤ 1", 1.0));
    memory(report, &refs, "crun", Bar::AtMost("≤ 1", 1.0));
    size(report, &refs, "crun", Bar::None);
}

fn compare(report: &mut Report, contestants: &[&Contestant; 2], against: &str, bar: Bar) {
    let mut times: [[Vec<f64>; COMMANDS.len()]; 2] = Default::default();
    for life in 0..=LIVES {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            for (taken, times) in contestant.live().into_iter().zip(times) {
                if life > 0 {
                    times.push(taken.as_secs_f64());
                }
            }
        }
    }
    let [one, other] = &times;
    for ((verb, one), other) in COMMANDS.iter().zip(one).zip(other) {
        row(report, &format!("`{verb}`, against {against}"), one, other, bar);
    }
    let [one, other] = contestants.map(Contestant::list);
    row(report, &format!("`list` of {CROWD}, against {against}"), &one, &other, bar);
}

fn row(report: &mut Report, name: &str, one: &[f64], other: &[f64], bar: Bar) {
    let detail = format!("{} / {}", milliseconds(one), milliseconds(other));
    report.value(name, median(one) / median(other), "ratio", bar, detail);
}

fn memory(report: &mut Report, contestants: &[&Contestant; 2], against: &str, bar: Bar) {
    let [one, other] = contestants.map(Contestant::memory);
    for ((verb, one), other) in COMMANDS.iter().zip(one).zip(other) {
        let name = format!("`{verb}`, memory at most, against {against}");
        report.value(name, one / other, "ratio", bar, format!("{:.1} MB / {:.1} MB", one / 1e3, other / 1e3));
    }
}

/// Bytes of a runtime's binary, and of those to which ours leads where it is a first stage.
fn binaries(binary: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).expect("a binary").len();
    let home = binary.parent().and_then(Path::parent).map(|prefix| prefix.join("lib/rr-runtime"));
    let home = home.filter(|_| binary.ends_with("rr-runtime"));
    let second = home.iter().flat_map(|home| ["rr-runtime", "rr-runtime-native"].map(|name| home.join(name)));
    size(binary) + second.filter(|program| program.is_file()).map(|program| size(&program)).sum::<u64>()
}

fn size(report: &mut Report, contestants: &[&Contestant; 2], against: &str, bar: Bar) {
    let [one, other] = contestants.map(|contestant| binaries(&contestant.binary) as f64);
    let detail = format!("{:.1} MB / {:.1} MB", one / 1e6, other / 1e6);
    report.value(format!("size of the binary, against {against}"), one / other, "ratio", bar, detail);
}
