//! Running programs with a time-out, and reaping what they orphan.
//!
//! The test process is the subreaper of everything below it, as conmon and the shims are: a container's init
//! that outlives `create` becomes its child, and [`orphan_status`] has its exit status. So that reaping never
//! takes a status that [`Running`] waits for, children that were spawned here are registered under a lock
//! which is held from fork to registration and while reaping.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

/// How long a program may run when a test says nothing else.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Direct children that [`Running`] waits for, and statuses of orphans that were reaped.
#[derive(Default)]
struct Children {
    ours: HashSet<u32>,
    orphans: HashMap<u32, i32>,
}

fn children() -> MutexGuard<'static, Children> {
    static CHILDREN: LazyLock<Mutex<Children>> = LazyLock::new(|| {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .expect("prctl(PR_SET_CHILD_SUBREAPER)");
        // A pid namespace ends only when all of it is reaped: also what `exec --detach` has left to us, while a test
        // waits for `delete`.
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_millis(50));
                reap_orphans();
            }
        });
        Mutex::default()
    });
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaps every zombie that was orphaned to this process.
pub fn reap_orphans() {
    let mut children = children();
    // All of `/proc` is not read for nothing: that would be seen in what is timed.
    let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if !matches!(rustix::process::waitid(WaitId::All, any), Ok(Some(_))) {
        return;
    }
    for pid in crate::proc::children_of(std::process::id()) {
        if children.ours.contains(&pid) {
            continue;
        }
        let Some(id) = Pid::from_raw(pid.cast_signed()) else { continue };
        if let Ok(Some((_, status))) = rustix::process::waitpid(Some(id), WaitOptions::NOHANG) {
            let code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                .unwrap_or(-1);
            children.orphans.insert(pid, code);
        }
    }
}

/// Exit status (128 + signal when one ended it) of a process that was orphaned to this one, once it ended.
#[track_caller]
#[must_use]
pub fn orphan_status(pid: u32, timeout: Duration) -> i32 {
    let status = poll(timeout, || {
        reap_orphans();
        children().orphans.get(&pid).copied()
    });
    status.unwrap_or_else(|| {
        panic!("process {pid} ({:?}) did not end within {timeout:?}", crate::proc::cmdline(pid))
    })
}

/// Forgets what an earlier process of that pid ended with: pids come again. For who has just got a process that waits.
pub(crate) fn forget_status(pid: u32) {
    children().orphans.remove(&pid);
}

/// Runs a bare command to its end, kept from the reaper: for what is timed, where an [`Invocation`]'s own watching would be
/// timed with it. Has no time-out.
///
/// # Errors
///
/// Those of spawning and waiting.
pub fn bare_status(command: &mut Command) -> std::io::Result<ExitStatus> {
    let mut child = spawn_ours(command)?;
    let status = child.wait();
    children().ours.remove(&child.id());
    status
}

/// The same, for what it writes to its standard output.
///
/// # Errors
///
/// Those of spawning and waiting.
pub fn bare_output(command: &mut Command) -> std::io::Result<std::process::Output> {
    let child = spawn_ours(command.stdout(Stdio::piped()))?;
    let id = child.id();
    let output = child.wait_with_output();
    children().ours.remove(&id);
    output
}

/// A child that nobody else reaps.
fn spawn_ours(command: &mut Command) -> std::io::Result<Child> {
    let mut children = children();
    let child = command.spawn()?;
    children.ours.insert(child.id());
    Ok(child)
}

/// Calls `probe` until it gives something or the time is over.
pub fn poll<T>(timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds; fails the test with `what` when it does not within ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let held = poll(Duration::from_secs(10), || condition().then_some(()));
    assert!(held.is_some(), "not within 10 s: {what}");
}

/// Sends `signal` to a process, by pid. Fails the test when there is no such process.
#[track_caller]
pub fn send_signal(pid: u32, signal: Signal) {
    let id = Pid::from_raw(pid.cast_signed()).expect("a pid is positive");
    rustix::process::kill_process(id, signal).unwrap_or_else(|e| panic!("kill({pid}, {signal:?}): {e}"));
}

/// Where a program's standard input comes from.
enum Input {
    /// An empty file of its own: never the host's `/dev/null`, which some runtimes chown.
    Empty,
    Bytes(Vec<u8>),
    Pipe,
    /// For all three streams.
    Terminal(OwnedFd),
}

/// A program that is about to be run.
///
/// Its output goes to files: a container that outlives `create` holds them open, which would keep a reader of
/// a pipe waiting. [`Invocation::piped`] asks for pipes where the test is about them.
pub struct Invocation {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
    cwd: Option<PathBuf>,
    input: Input,
    piped: bool,
    timeout: Duration,
}

impl Invocation {
    /// `program` with no arguments yet.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            env: Vec::new(),
            unset: Vec::new(),
            cwd: None,
            input: Input::Empty,
            piped: false,
            timeout: TIMEOUT,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Puts another program in front, which is given this one as its arguments.
    #[must_use]
    pub fn wrapped<A: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        let mut argv: Vec<_> = wrapper.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        argv.append(&mut self.argv);
        self.argv = argv;
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes an inherited variable.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.unset.push(key.as_ref().to_owned());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Gives these bytes, then end of file, as standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Makes standard input a pipe, for [`Running::input`].
    #[must_use]
    pub fn stdin_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Makes all three standard streams this terminal.
    #[must_use]
    pub fn terminal(mut self, slave: OwnedFd) -> Self {
        self.input = Input::Terminal(slave);
        self
    }

    /// Makes standard output and error pipes: [`Invocation::output`] then also waits for their end, and so
    /// finds a process that holds them.
    #[must_use]
    pub fn piped(mut self) -> Self {
        self.piped = true;
        self
    }

    /// How long it may run, in place of [`TIMEOUT`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts it.
    #[track_caller]
    #[must_use]
    pub fn spawn(self) -> Running {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(self.env.iter().map(|(key, value)| (key, value)));
        for key in &self.unset {
            command.env_remove(key);
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let mut feed = None;
        let mut terminal = None;
        let stdin = match self.input {
            Input::Empty => Stdio::from(tempfile::tempfile().expect("a temporary file")),
            Input::Bytes(bytes) => {
                feed = Some(bytes);
                Stdio::piped()
            }
            Input::Pipe => Stdio::piped(),
            Input::Terminal(slave) => {
                terminal = Some([&slave, &slave].map(|fd| Stdio::from(fd.try_clone().expect("dup"))));
                Stdio::from(slave)
            }
        };
        let files = if self.piped { None } else { Some([Capture::file(), Capture::file()]) };
        command.stdin(stdin);
        match (&files, terminal) {
            (_, Some([out, err])) => command.stdout(out).stderr(err),
            (Some([out, err]), None) => command.stdout(out.writer()).stderr(err.writer()),
            (None, None) => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let mut child = {
            let mut children = children();
            let child = command.spawn().unwrap_or_else(|e| panic!("cannot run {:?}: {e}", self.argv));
            children.ours.insert(child.id());
            child
        };
        // Our copy of a terminal's slave would keep its master from seeing the end.
        drop(command);
        let mut input = child.stdin.take();
        if feed.is_some()
            && let (Some(bytes), Some(mut pipe)) = (feed, input.take())
        {
            // A program that does not read its input is no failure of the test.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let [stdout, stderr] = files.unwrap_or_else(|| {
            [
                Capture::pipe(child.stdout.take().expect("stdout is a pipe")),
                Capture::pipe(child.stderr.take().expect("stderr is a pipe")),
            ]
        });
        Running {
            argv: self.argv,
            child,
            input,
            stdout,
            stderr,
            started: Instant::now(),
            timeout: self.timeout,
        }
    }

    /// Runs it to its end. Fails the test when it does not end in time.
    #[track_caller]
    #[must_use]
    pub fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it to its end and fails the test when its exit status is not 0. Gives its standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        self.output().success().stdout
    }
}

/// One captured stream.
enum Capture {
    File(File),
    Pipe { bytes: std::sync::Arc<Mutex<Vec<u8>>>, reader: Option<std::thread::JoinHandle<()>> },
}

impl Capture {
    fn file() -> Self {
        Self::File(tempfile::tempfile().expect("a temporary file"))
    }

    fn pipe(mut from: impl Read + Send + 'static) -> Self {
        let bytes = std::sync::Arc::new(Mutex::new(Vec::new()));
        let sink = std::sync::Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(n @ 1..) = from.read(&mut chunk) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..n]);
            }
        });
        Self::Pipe { bytes, reader: Some(reader) }
    }

    fn writer(&self) -> Stdio {
        match self {
            Self::File(file) => Stdio::from(file.try_clone().expect("dup")),
            Self::Pipe { .. } => Stdio::null(),
        }
    }

    /// What was written so far.
    fn text(&self) -> String {
        use std::os::unix::fs::FileExt;
        let bytes = match self {
            Self::File(file) => {
                let len = file.metadata().expect("fstat").len();
                let mut bytes = vec![0; usize::try_from(len).expect("fits")];
                file.read_exact_at(&mut bytes, 0).expect("pread");
                bytes
            }
            Self::Pipe { bytes, .. } => bytes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether everybody has closed the writing end, waiting a little for it.
    fn ended(&mut self, patience: Duration) -> bool {
        let Self::Pipe { reader, .. } = self else { return true };
        poll(patience, || reader.as_ref().is_none_or(std::thread::JoinHandle::is_finished).then_some(()))
            .is_some()
    }
}

/// A program that runs. Dropped, it is killed.
pub struct Running {
    argv: Vec<OsString>,
    child: Child,
    input: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
    started: Instant,
    timeout: Duration,
}

impl Running {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, when it was asked to be a pipe. Dropping it ends the input.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Waits until standard output contains `text`.
    #[track_caller]
    pub fn expect_stdout(&mut self, text: &str) {
        let seen = poll(Duration::from_secs(10), || {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            let found = self.stdout.text().contains(text);
            (found || ended).then_some(found)
        });
        assert_eq!(
            seen,
            Some(true),
            "{:?} did not print {text:?}\nstdout: {}\nstderr: {}",
            self.argv,
            self.stdout.text(),
            self.stderr.text()
        );
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end. Fails the test, and kills it, when its time-out is over.
    #[track_caller]
    #[must_use]
    pub fn wait(mut self) -> Output {
        self.input = None;
        let left = self.timeout.saturating_sub(self.started.elapsed());
        let status = poll(left, || self.child.try_wait().expect("waitpid"));
        let Some(status) = status else {
            let tree = crate::proc::tree(self.pid());
            panic!(
                "{:?} did not end within {:?}\nprocesses: {tree:#?}\nstdout: {}\nstderr: {}",
                self.argv,
                self.timeout,
                self.stdout.text(),
                self.stderr.text()
            );
        };
        let elapsed = self.started.elapsed();
        let patience = Duration::from_secs(2);
        let closed = self.stdout.ended(patience) && self.stderr.ended(patience);
        Output {
            argv: self.argv.clone(),
            code: code(status),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            elapsed,
            closed,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        children().ours.remove(&self.child.id());
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Output {
    /// What was run.
    pub argv: Vec<OsString>,
    /// Exit status; 128 + signal when one ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From fork to exit.
    pub elapsed: Duration,
    /// Whether the pipes asked for by [`Invocation::piped`] were closed by everybody two seconds after it.
    pub closed: bool,
}

impl Output {
    /// Fails the test when the exit status is not 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// Fails the test when the exit status is not `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit status of {:?}\nstdout: {}\nstderr: {}",
            self.argv, self.stdout, self.stderr
        );
        self
    }

    /// Lines of standard error that are errors: all but empty ones and log lines of a lower level.
    #[must_use]
    pub fn error_lines(&self) -> Vec<&str> {
        const LOWER: [&str; 8] = [
            "level=warning",
            "level=info",
            "level=debug",
            "level=trace",
            "\"level\":\"warning\"",
            "\"level\":\"info\"",
            "\"level\":\"debug\"",
            "\"level\":\"trace\"",
        ];
        self.stderr
            .lines()
            .filter(|line| !line.trim().is_empty() && !LOWER.iter().any(|level| line.contains(level)))
            .collect()
    }
}
