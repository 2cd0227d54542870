//! Ahead-of-time code: who asks for it, and who makes it.
//!
//! ```text
//! create ──► code ──► cache hit: an entry for init
//!              └────► miss: `wait` compiles now, `cache` leaves a Pending, which after start becomes
//!                     a detached process (BACKGROUND) in a cgroup of its own
//! compile, BACKGROUND ──► a sealed copy of the module, hashed as it is copied
//!                     └─► CHILD: the sandbox (crate::sandbox), which reads the copy and writes code
//! ```
//!
//! The module is hostile and the compiler is large, so they meet only in the child. The parent does not believe it: it names the
//! entry by what it hashed itself, bounds time and size, and takes bytes that begin as a Wasm file does. (That they are the right
//! *code* cannot be checked: a module that takes over the compiler can decide what runs under its own digest, inside the
//! container of whoever runs that module, and nothing else.)
//!
//! Not here: where entries lie ([`crate::cache`]); what the compiler does (the executor).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use executor_abi::request;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, MemfdFlags, SealFlags};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::annotation::Aot;
use crate::cache::{Cache, Digest, Entry, Recipe, each_chunk};
use crate::config::Settings;
use crate::engine::{Engine, Folders};
use crate::error::{Context, Error, ErrorKind, Result, chain};
use crate::process::Identity;
use crate::tree::Tree;
use crate::turn::Turn;
use crate::workload;
use crate::{detach, lodging, sandbox};

/// Hidden verb of the binary: the sandboxed compiler. Its one argument is for [`child_main`].
pub const CHILD: &str = "compiler-child";
/// Hidden verb of the binary: the detached compilation. Its one argument is for [`background_main`].
pub const BACKGROUND: &str = "compiler-background";

/// The binary that runs, whatever became of its path.
const SELF: &str = "/proc/self/exe";
const MAGIC: &[u8; 4] = b"\0asm";
/// Code is this many times as large as its module at most; measured are 3 to 6.
const GROWTH: u64 = 64;
/// What even the smallest module may become.
const LEAST_CODE: u64 = 64 << 20;
/// How many detached compilations may wait for a slot.
const WAITING: u32 = 16;
/// What is kept of a child's words.
const MAX_MESSAGE: usize = 4096;

/// A module for which code is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Where it lies in the container.
    pub(crate) path: &'a Path,
    /// The module, open for reading.
    pub(crate) file: &'a File,
    /// What `stat` says of it.
    pub(crate) identity: request::FileIdentity,
    pub(crate) aot: Aot,
    /// The code has to count instructions.
    pub(crate) fuel: bool,
    /// Another thread has to be able to stop the code.
    pub(crate) interruptible: bool,
}

/// What a function gets of the cache.
#[derive(Default)]
pub(crate) struct Code {
    pub(crate) entry: Option<Entry>,
    /// Digest of the module that the entry was made of.
    pub(crate) digest: String,
    pub(crate) pending: Option<Pending>,
}

/// A module without code in the cache, to be compiled when its function runs.
#[derive(Debug)]
pub struct Pending {
    module: File,
    job: Background,
}

/// What the detached process is told; the module is its standard input. A container that is created and not yet started
/// keeps it in its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Background {
    /// Path of the module in its container.
    path: PathBuf,
    binary: PathBuf,
    config: PathBuf,
    recipe: Recipe,
}

/// What the sandboxed compiler is told; the module is its standard input, the code its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    binary: PathBuf,
    fuel: bool,
    interruptible: bool,
    optimize: bool,
    bounds: sandbox::Bounds,
}

/// How a compiler ended that did not refuse its module.
enum Compilation {
    /// The code, sealed, and its length.
    Done(File, u64),
    /// By this signal, which it was not sent for having taken too much.
    Crashed(Signal),
}

/// What `rr-runtime compile` made or found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compiled {
    /// Name of the entry.
    pub key: String,
    /// SHA-256 of the module.
    pub module: String,
    /// Bytes of code.
    pub size: u64,
    /// Whether it was there already.
    pub cached: bool,
}

fn check_size(path: &Path, size: u64, settings: &Settings) -> Result<()> {
    if size <= settings.max_module_size() {
        return Ok(());
    }
    let message = format!(
        "module {}: has {size} bytes, more than module.max-size, {}",
        path.display(),
        settings.max_module_size()
    );
    Err(Error::new(ErrorKind::Module, message))
}

/// The code for a function, as its annotations want it.
///
/// # Errors
///
/// [`ErrorKind::Module`] for one that is too large, whatever is wanted; what code ahead of time has to fail for.
pub(crate) fn code(
    wanted: Wanted<'_>,
    binary: &Path,
    folders: &Folders,
    engine: Engine,
    settings: &Settings,
    turn: &Turn,
) -> Result<Code> {
    check_size(wanted.path, wanted.identity.size, settings)?;
    if wanted.aot == Aot::Off {
        return Ok(Code::default());
    }
    match lookup(wanted, binary, folders, engine, settings, turn) {
        // Code ahead of time is a gain in speed; a cache that cannot be used costs that, and no more.
        Err(error) if wanted.aot == Aot::Cache && error.kind() != ErrorKind::Module => {
            tracing::warn!("module {} is interpreted: {}", wanted.path.display(), chain(&error));
            Ok(Code::default())
        }
        found => found,
    }
}

fn lookup(
    wanted: Wanted<'_>,
    binary: &Path,
    folders: &Folders,
    engine: Engine,
    settings: &Settings,
    turn: &Turn,
) -> Result<Code> {
    let cache = Cache::open(settings.cache_dir()?, settings.cache_size())?;
    let recipe = Recipe::new(&engine.describe()?, &folders.build()?, wanted.fuel, wanted.interruptible)?;
    let digest = cache.digest(wanted.file, wanted.identity)?;
    if let Some(entry) = cache.get(recipe.key(digest)) {
        return Ok(Code { entry: Some(entry), digest: digest.to_string(), pending: None });
    }
    let path = wanted.path.to_owned();
    let job = Background { path, binary: binary.to_owned(), config: settings.file().to_owned(), recipe };
    if wanted.aot == Aot::Wait {
        turn.give_back();
        let digest = make(&cache, settings, &job, wanted.file).map_err(|error| named(wanted.path, error))?;
        let key = job.recipe.key(digest);
        return Ok(Code { entry: cache.get(key), digest: digest.to_string(), pending: None });
    }
    let module = wanted.file.try_clone();
    let module =
        module.context(ErrorKind::System, || "module: its descriptor cannot be copied".to_owned())?;
    Ok(Code { pending: Some(Pending { module, job }), ..Code::default() })
}

impl Pending {
    /// What was left open in `create`, when the container starts: the module as its init sees it.
    pub(crate) fn resume(job: Background, init: Identity) -> Result<Self> {
        let failed = || format!("module {}: cannot be opened", job.path.display());
        let root = init
            .root()?
            .ok_or_else(|| Error::new(ErrorKind::Module, format!("{}: its container has ended", failed())))?;
        let tree = Tree::of_root(root);
        let module = tree
            .open(&job.path)
            .map_err(|why| Error::new(ErrorKind::Module, format!("{}: {why}", failed())))?;
        Ok(Self { module, job })
    }

    /// What the container's state keeps until it starts.
    pub(crate) fn job(&self) -> &Background {
        &self.job
    }

    /// Starts the compilation in a process that is nobody's child, in a session of its own, without a descriptor
    /// of the caller's but the module.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cache`].
    pub fn start(self) -> Result<()> {
        let failed = || "compiler: cannot be started".to_owned();
        let job = serde_json::to_string(&self.job).context(ErrorKind::Cache, failed)?;
        let mut command = Command::new(SELF);
        command.arg0("rr-runtime").args([BACKGROUND, &job]).env_clear();
        // A rootless caller's cache is found by these.
        for name in ["HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.current_dir("/").stdin(self.module).stdout(Stdio::null()).stderr(Stdio::null());
        detach::spawn(command).context(ErrorKind::Cache, failed)
    }
}

/// The hidden verb [`BACKGROUND`]: compiles standard input. Gives the exit code.
#[must_use]
pub fn background_main(job: &str) -> i32 {
    let compile = || -> Result<()> {
        let job: Background = parse(job)?;
        let settings = Settings::load(&job.config)?;
        let cache = Cache::open(settings.cache_dir()?, settings.cache_size())?;
        let module = File::from(standard(io::stdin().as_fd())?);
        // As many as the administrator allows, and a few that wait for them: those of a workflow come together. Who finds no
        // place there either leaves the module uncompiled, and the next run tries again.
        let Some(_slot) = slot_in_turn(&cache.slots(), settings.compiler().parallel)? else { return Ok(()) };
        let _lodging = lodging::Lodging::enter();
        // The function that could not wait for this runs beside it.
        let _ = rustix::process::nice(19);
        make(&cache, &settings, &job, &module).map(drop)
    };
    // Nobody reads this but whoever runs the verb by hand.
    compile().map_or_else(
        |error| {
            eprintln!("{}", chain(&error));
            1
        },
        |()| 0,
    )
}

fn parse<'a, T: Deserialize<'a>>(job: &'a str) -> Result<T> {
    serde_json::from_str(job)
        .context(ErrorKind::Usage, || "compiler: its argument is not understood".to_owned())
}

fn standard(stream: impl AsFd) -> Result<OwnedFd> {
    let copy = rustix::io::fcntl_dupfd_cloexec(stream, 3);
    copy.context(ErrorKind::System, || "compiler: a standard stream cannot be used".to_owned())
}

/// One of `count` slots, for which a few may wait; nothing when these are too many. It is held until the file is dropped.
fn slot_in_turn(folder: &Path, count: u32) -> Result<Option<File>> {
    if let Some(slot) = free_lock(folder, "", count)? {
        return Ok(Some(slot));
    }
    let Some(_turn) = free_lock(folder, "waiting-", WAITING)? else { return Ok(None) };
    let number = std::process::id() % count.max(1);
    let (file, path) = lock_file(folder, "", number)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::with_source(ErrorKind::Cache, cannot_lock(&path), error)),
        }
    }
}

/// One of `count` locks that nobody has.
fn free_lock(folder: &Path, prefix: &str, count: u32) -> Result<Option<File>> {
    for number in 0..count {
        let (file, path) = lock_file(folder, prefix, number)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(Error::with_source(ErrorKind::Cache, cannot_lock(&path), error)),
        }
    }
    Ok(None)
}

fn lock_file(folder: &Path, prefix: &str, number: u32) -> Result<(File, PathBuf)> {
    let path = folder.join(format!("{prefix}{number}"));
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    Ok((file.context(ErrorKind::Cache, || cannot_lock(&path))?, path))
}

fn cannot_lock(path: &Path) -> String {
    format!("{}: cannot be locked", path.display())
}

/// How this installation compiles on this machine: what `cache prune` measures entries by.
///
/// # Errors
///
/// [`ErrorKind::Engine`], [`ErrorKind::System`].
pub fn recipe(binary: &Path, fuel: bool) -> Result<Recipe> {
    let folders = Folders::find(binary)?;
    Recipe::new(&Engine::load(&folders)?.describe()?, &folders.build()?, fuel, false)
}

/// `rr-runtime compile MODULE`: puts a module's code into the cache, where it is not there. With `output` a copy of it, a universal
/// Wasm file that any WasmEdge of this version runs, is written there.
///
/// # Errors
///
/// [`ErrorKind::Module`] when it is none or the compiler refuses it, [`ErrorKind::Cache`], [`ErrorKind::Engine`].
pub fn run_command(
    path: &Path,
    fuel: bool,
    output: Option<&Path>,
    binary: &Path,
    settings: &Settings,
) -> Result<Compiled> {
    let failed = || format!("module {}: cannot be read", path.display());
    // Non-blocking, so that a pipe is refused below instead of waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let module = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .context(ErrorKind::Module, failed)?;
    if !module.metadata().context(ErrorKind::Module, failed)?.is_file() {
        return Err(Error::new(
            ErrorKind::Module,
            format!("module {}: is not a regular file", path.display()),
        ));
    }
    let recipe = recipe(binary, fuel)?;
    let cache = Cache::open(settings.cache_dir()?, settings.cache_size())?;
    let identity = workload::identity(&module).context(ErrorKind::Module, failed)?;
    let known = cache.digest(&module, identity)?;
    let job = Background {
        path: path.to_owned(),
        binary: binary.to_owned(),
        config: settings.file().to_owned(),
        recipe,
    };
    let found = cache.get(job.recipe.key(known));
    let cached = found.is_some();
    let (digest, entry) = match found {
        Some(entry) => (known, Some(entry)),
        None => {
            let digest = make(&cache, settings, &job, &module).map_err(|error| named(path, error))?;
            (digest, cache.get(job.recipe.key(digest)))
        }
    };
    let entry = entry
        .ok_or_else(|| Error::new(ErrorKind::Cache, "cache: the entry is gone as soon as it was written"))?;
    if let Some(output) = output {
        let cannot = || format!("{}: cannot be written", output.display());
        entry.code().and_then(|code| fs::write(output, code)).context(ErrorKind::Cache, cannot)?;
    }
    let key = job.recipe.key(digest).to_string();
    Ok(Compiled { key, module: digest.to_string(), size: entry.len(), cached })
}

/// What a compilation says knows the module as a descriptor only.
fn named(path: &Path, error: Error) -> Error {
    Error::with_source(error.kind(), format!("module {}", path.display()), error)
}

/// Compiles a module and stores its code; gives the digest of what was compiled.
fn make(cache: &Cache, settings: &Settings, job: &Background, module: &File) -> Result<Digest> {
    let (copy, size, digest) = sealed_copy(module, settings.max_module_size())?;
    let key = job.recipe.key(digest);
    if cache.get(key).is_some() {
        return Ok(digest);
    }
    let compiler = settings.compiler();
    let max_code = LEAST_CODE.max(size.saturating_mul(GROWTH)).min(cache.max_size());
    let mut child = Job {
        optimize: true,
        binary: job.binary.clone(),
        fuel: job.recipe.fuel,
        interruptible: job.recipe.interruptible,
        bounds: sandbox::Bounds {
            memory: compiler.max_memory,
            seconds: compiler.timeout.as_secs(),
            code: max_code,
        },
    };
    let (code, len) = loop {
        match run_child(&child, &copy, compiler.timeout)? {
            Compilation::Done(code, len) => break (code, len),
            // The optimizer has faults that code which is taken as it comes does not meet. It is still many times faster than an interpreter.
            Compilation::Crashed(signal) if child.optimize => {
                tracing::warn!("compiler: crashed by signal {}: {digest} is not optimized", signal.as_raw());
                child.optimize = false;
            }
            Compilation::Crashed(signal) => {
                let message = format!("compiler: crashed by signal {}", signal.as_raw());
                return Err(Error::new(ErrorKind::Cache, message));
            }
        }
    };
    cache.put(&job.recipe, digest, &code, len)?;
    Ok(digest)
}

/// A copy that nobody can change any more, its length, and its digest.
fn sealed_copy(module: &File, max_size: u64) -> Result<(File, u64, Digest)> {
    let failed = || "module: cannot be copied".to_owned();
    let size = module.metadata().context(ErrorKind::Module, failed)?.len();
    if size > max_size {
        let message = format!("module: has {size} bytes, more than module.max-size, {max_size}");
        return Err(Error::new(ErrorKind::Module, message));
    }
    let copy = memfd("module").context(ErrorKind::System, failed)?;
    let mut hash = Sha256::new();
    let mut at = 0;
    let copied = each_chunk(module, 0, size, |chunk| {
        if at == 0 && !chunk.starts_with(MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "is not a Wasm module: it does not start with \\0asm",
            ));
        }
        hash.update(chunk);
        copy.write_all_at(chunk, at)?;
        at += chunk.len() as u64;
        Ok(())
    });
    copied.context(ErrorKind::Module, failed)?;
    if size < MAGIC.len() as u64 {
        return Err(Error::new(ErrorKind::Module, "module: is too short to be one"));
    }
    seal(&copy).context(ErrorKind::System, failed)?;
    Ok((copy, size, Digest::of(hash)))
}

fn memfd(name: &str) -> rustix::io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

fn seal(file: &File) -> rustix::io::Result<()> {
    rustix::fs::fcntl_add_seals(
        file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )
}

/// Has a module compiled in the sandbox.
fn run_child(job: &Job, module: &File, timeout: Duration) -> Result<Compilation> {
    let failed = || "compiler: cannot be started".to_owned();
    let code = memfd("code").context(ErrorKind::System, failed)?;
    // By a name of its own it can be opened without the right to write.
    let module =
        File::open(format!("/proc/self/fd/{}", module.as_raw_fd())).context(ErrorKind::System, failed)?;
    let argument = serde_json::to_string(job).context(ErrorKind::System, failed)?;
    let child = Command::new(SELF)
        .arg0("rr-runtime")
        .args([CHILD, &argument])
        .env_clear()
        .current_dir("/")
        .stdin(module)
        .stdout(code.try_clone().context(ErrorKind::System, failed)?)
        .stderr(Stdio::piped())
        .spawn()
        .context(ErrorKind::System, failed)?;
    let (status, words) = supervise(child, timeout)?;
    if let Some(signal) = crash(status) {
        return Ok(Compilation::Crashed(signal));
    }
    judge(status, &words)?;
    let len = code.metadata().context(ErrorKind::System, failed)?.len();
    accept(&code, len, job.bounds.code)?;
    seal(&code).context(ErrorKind::System, || "compiler: its result cannot be sealed".to_owned())?;
    Ok(Compilation::Done(code, len))
}

/// The signal of a fault of its own, where it was ended by one.
fn crash(status: ExitStatus) -> Option<Signal> {
    const FAULTS: [Signal; 5] = [Signal::SEGV, Signal::ABORT, Signal::BUS, Signal::ILL, Signal::FPE];
    FAULTS.into_iter().find(|fault| status.signal() == Some(fault.as_raw()))
}

/// Waits for the child, not longer than `timeout`, and takes down what it says.
fn supervise(mut child: Child, timeout: Duration) -> Result<(ExitStatus, String)> {
    let watched = watch(&mut child, timeout);
    if !matches!(watched, Ok(Some(_))) {
        // Not waited for yet, so its id is still its own.
        let _ = child.kill();
    }
    let status = child.wait().context(ErrorKind::System, || "compiler: cannot be waited for".to_owned())?;
    match watched {
        Ok(Some(words)) => Ok((status, words)),
        Ok(None) => {
            let message = format!("compiler: took longer than compiler.timeout, {} s", timeout.as_secs());
            Err(Error::new(ErrorKind::Cache, message))
        }
        Err(error) => Err(Error::with_source(ErrorKind::System, "compiler: cannot be watched", error)),
    }
}

/// What the child said until it ended; nothing when time was up before.
fn watch(child: &mut Child, timeout: Duration) -> io::Result<Option<String>> {
    let deadline = Instant::now() + timeout;
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
    let mut stderr = child.stderr.take();
    let mut words = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let time = rustix::event::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let (ended, spoke) = {
            let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
            fds.extend(stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
            rustix::io::retry_on_intr(|| poll(&mut fds, Some(&time)))?;
            (!fds[0].revents().is_empty(), fds.get(1).is_some_and(|fd| !fd.revents().is_empty()))
        };
        if spoke && !hear(&mut stderr, &mut words)? {
            stderr = None;
        } else if ended && !spoke {
            return Ok(Some(String::from_utf8_lossy(&words).into_owned()));
        }
    }
}

/// Reads once; keeps the last of it. Whether there may be more.
fn hear(from: &mut Option<impl Read>, words: &mut Vec<u8>) -> io::Result<bool> {
    let Some(from) = from else { return Ok(false) };
    let mut chunk = [0; MAX_MESSAGE];
    let len = from.read(&mut chunk)?;
    words.extend_from_slice(&chunk[..len]);
    let excess = words.len().saturating_sub(MAX_MESSAGE);
    words.drain(..excess);
    Ok(len > 0)
}

fn judge(status: ExitStatus, words: &str) -> Result<()> {
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim();
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(_), _) => Err(Error::new(ErrorKind::Module, format!("compiler: {last}"))),
        (_, signal) => {
            let message = format!(
                "compiler: ended by signal {}, probably at one of the bounds compiler.max-memory and compiler.timeout: {last}",
                signal.unwrap_or_default()
            );
            Err(Error::new(ErrorKind::Cache, message))
        }
    }
}

/// Whether the child's bytes may be stored.
fn accept(code: &File, len: u64, max: u64) -> Result<()> {
    let mut magic = [0; MAGIC.len()];
    let is_wasm = code.read_exact_at(&mut magic, 0).is_ok() && &magic == MAGIC;
    if len > max || !is_wasm {
        return Err(Error::new(
            ErrorKind::Cache,
            format!("compiler: its result, {len} bytes, is not a Wasm file"),
        ));
    }
    Ok(())
}

/// The hidden verb [`CHILD`]: compiles standard input onto standard output, in a sandbox. Gives the exit code.
///
/// The engine is loaded before the sandbox closes, because there is no file system in it; the module is first read after.
#[must_use]
pub fn child_main(job: &str) -> i32 {
    // Those that the runtime's caller left open, as flock(1) does, would take the places that the sandbox has for its own.
    detach::close_from(sandbox::FIRST.unsigned_abs());
    let compile = || -> Result<()> {
        let job: Job = parse(job)?;
        let engine = Engine::load_compiler(&Folders::find(&job.binary)?)?;
        let failed = || "standard output cannot be used".to_owned();
        // The engine logs to standard output, which is the code's.
        let code = File::from(standard(io::stdout().as_fd())?);
        let module = standard(io::stdin().as_fd())?;
        rustix::stdio::dup2_stdout(io::stderr().as_fd()).context(ErrorKind::System, failed)?;
        sandbox::enter(&job.bounds, &[code.as_fd(), module.as_fd()])?;
        // The executor owns it from here on.
        let module_fd = module.into_raw_fd();
        let request = request::Compile {
            module_fd,
            scratch: sandbox::SCRATCH.to_owned(),
            fuel: job.fuel,
            interruptible: job.interruptible,
            optimize: job.optimize,
        };
        let answer = engine.compile(&request)?;
        code.write_all_at(answer.bytes(), 0)
            .context(ErrorKind::Cache, || "the code cannot be handed over".to_owned())
    };
    match compile() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}", chain(&error));
            1
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("/bin/sh").args(["-c", script]).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_child_that_succeeds_is_believed_and_one_that_fails_gives_its_last_words() {
        let long = Duration::from_secs(60);
        let (status, words) = supervise(shell("echo a warning >&2"), long).unwrap();
        judge(status, &words).unwrap();
        let (status, words) =
            supervise(shell("echo one >&2; echo; echo 'module: is bad' >&2; exit 1"), long).unwrap();
        let error = judge(status, &words).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Module, "compiler: module: is bad")
        );
    }

    #[test]
    fn a_child_that_is_killed_is_told_from_one_that_refuses() {
        let (status, words) = supervise(shell("kill -KILL $$"), Duration::from_secs(60)).unwrap();
        let error = judge(status, &words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cache);
        assert!(error.to_string().contains("signal 9"), "{error}");
    }

    #[test]
    fn a_crash_is_told_from_a_bound() {
        let crash = |signal: &str| {
            let script = format!("ulimit -c 0; kill -{signal} $$");
            crash(supervise(shell(&script), Duration::from_secs(60)).unwrap().0)
        };
        assert_eq!(crash("SEGV"), Some(Signal::SEGV));
        assert_eq!(crash("ABRT"), Some(Signal::ABORT));
        assert_eq!([crash("KILL"), crash("XCPU")], [None, None]);
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        let started = Instant::now();
        let child = shell("exec sleep 60");
        let pid = child.id();
        let error = supervise(child, Duration::from_secs(1)).unwrap_err().to_string();
        assert!(error.contains("compiler.timeout, 1 s"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_child_may_say_more_than_is_kept() {
        let script =
            "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo last >&2; exit 1";
        let (status, words) = supervise(shell(script), Duration::from_secs(60)).unwrap();
        assert!(words.len() <= MAX_MESSAGE);
        assert_eq!(judge(status, &words).unwrap_err().to_string(), "compiler: last");
    }

    #[test]
    fn a_child_that_leaves_its_stderr_to_another_is_not_waited_for_longer() {
        let started = Instant::now();
        let (status, _) = supervise(shell("sleep 20 & exit 0"), Duration::from_secs(60)).unwrap();
        assert!(status.success());
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn only_wasm_of_a_bounded_size_is_accepted() {
        accept(&file(b"\0asm\x01"), 5, 5).unwrap();
        for (content, len, max) in
            [(b"\x7fELF.".as_slice(), 5, 10), (b"\0asm.", 5, 4), (b"\0as", 3, 10), (b"", 0, 10)]
        {
            accept(&file(content), len, max).unwrap_err();
        }
    }

    #[test]
    fn the_copy_is_what_was_hashed_and_cannot_be_changed() {
        let module = b"\0asm\x01\0\0\0";
        let (copy, size, digest) = sealed_copy(&file(module), 8).unwrap();
        assert_eq!(size, 8);
        assert_eq!(digest.to_string(), "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476");
        let mut read = [0; 8];
        copy.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, module);
        copy.write_all_at(b"x", 0).unwrap_err();
        copy.set_len(4).unwrap_err();
    }

    #[test]
    fn what_is_no_module_is_not_even_copied() {
        for (content, why) in [
            (b"\x7fELF\0\0\0\0".as_slice(), "cannot be copied"),
            (b"", "too short"),
            (b"\0asm12345", "max-size"),
        ] {
            let error = sealed_copy(&file(content), 8).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Module);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn no_more_compilations_than_slots() {
        let dir = TempDir::new().unwrap();
        let first = free_lock(dir.path(), "", 2).unwrap();
        let second = free_lock(dir.path(), "", 2).unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(free_lock(dir.path(), "", 2).unwrap().is_none());
        drop(first);
        assert!(free_lock(dir.path(), "", 2).unwrap().is_some());
    }
}
