//! `create`: from a bundle to an init that waits for `start`.
//!
//! Everything that can be refused is refused before the container's folder exists. From then on a failure at any point takes back
//! all that was made: init, its cgroup, the folder.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{Hook, Hooks, LinuxNamespaceType, Spec};
use rustix::process::{Signal, WaitOptions};

use crate::annotation::Annotations;
use crate::builders;
use crate::bundle::Bundle;
use crate::cgroup::{self, Beside, Cgroup, Prepared, Wanted};
use crate::delete::end_and_clear;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::handover;
use crate::id::ContainerId;
use crate::init::{self, Installed, Ready};
use crate::process::{Identity, PidReceiver, standard_streams};
use crate::root::Root;
use crate::sealed::Program;
use crate::signals::Inherited;
use crate::state::{Claim, Phase, State, Store};
use crate::terminal::Console;
use crate::turn::Turn;
use crate::workload::Workload;
use crate::{affinity, detach, hook, keyring, lsm, notify, sources, trust, wasm};

/// Descriptors below which nothing is begun: libcontainer, and what it is made of, panics where it gets no more.
const DESCRIPTORS: u64 = 48;

/// The first one behind the standard streams.
const FIRST_DESCRIPTOR: u32 = 3;

/// How long what a failed start has forked may take to end.
const REAPED_WITHIN: Duration = Duration::from_millis(500);

/// What `create` and `run` are told.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Where the terminal's master goes.
    pub console_socket: Option<PathBuf>,
    /// A file that gets init's pid.
    pub pid_file: Option<PathBuf>,
    /// A socket that gets a descriptor of init's (pidfd_open(2)).
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors after standard error init inherits.
    pub preserve_fds: u32,
    /// `MS_MOVE` and chroot(2) in place of pivot_root(2).
    pub no_pivot: bool,
    /// Leave the caller's session keyring in place.
    pub no_new_keyring: bool,
    /// Let systemd manage the cgroup.
    pub systemd_cgroup: bool,
    /// The runtime's binary where it is installed, see [`crate::sealed::Origin`].
    pub binary: PathBuf,
    /// What executes that one when the workload is a function.
    pub program: Program,
    /// The administrator's file, see [`crate::config`].
    pub config: PathBuf,
}

/// Where the master of a container's terminal goes.
#[derive(Clone, Debug)]
pub(crate) enum Terminal {
    /// There is none.
    None,
    /// To the socket that the caller named.
    Socket(PathBuf),
    /// To this process, which copies.
    Relayed,
}

/// A container that was created and is still locked.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) claim: Claim,
    pub(crate) state: State,
    /// Its terminal's master, when it is relayed.
    pub(crate) master: Option<OwnedFd>,
    /// Of this start among others.
    pub(crate) turn: Turn,
}

/// Creates a container.
///
/// # Errors
///
/// Any kind; afterwards nothing of the container is left.
pub fn create(store: &Store, id: &ContainerId, options: &CreateOptions) -> Result<()> {
    let bundle = Bundle::load(&options.bundle)?;
    check_terminal(bundle.process().terminal(), options.console_socket.is_some(), true)?;
    let workload = workload(&bundle, options)?;
    let signals = Inherited::now()?;
    let terminal = options.console_socket.clone().map_or(Terminal::None, Terminal::Socket);
    let created = create_locked(store, id, options, &bundle, workload, &terminal, signals)?;
    let saved = created.claim.save(&created.state);
    if saved.is_err() {
        // The first error is the one to tell; what this leaves, `delete` removes.
        let _ = end_and_clear(store, created.claim, &created.state);
    }
    saved
}

/// Decides what the container is. A function is the whole runtime's: the native one does not return then.
///
/// # Errors
///
/// As [`check_descriptors`], [`Workload::of_bundle`] and [`Program::need_engine`].
pub(crate) fn workload(bundle: &Bundle, options: &CreateOptions) -> Result<Workload> {
    check_descriptors(options.preserve_fds)?;
    let workload = Workload::of_bundle(bundle, &Annotations::of(bundle.spec())?)?;
    if matches!(workload, Workload::Wasm(_)) {
        options.program.need_engine(&options.binary)?;
    }
    Ok(workload)
}

/// Everything that was decided before the container's folder exists.
struct Plan<'a> {
    id: &'a ContainerId,
    options: &'a CreateOptions,
    bundle: &'a Bundle,
    workload: Workload,
    spec: Spec,
    root: Option<Root>,
    terminal: &'a Terminal,
    signals: Inherited,
    turn: &'a Turn,
}

/// Creates a container and keeps its lock.
pub(crate) fn create_locked(
    store: &Store,
    id: &ContainerId,
    options: &CreateOptions,
    bundle: &Bundle,
    workload: Workload,
    terminal: &Terminal,
    signals: Inherited,
) -> Result<Created> {
    store.check_free(id)?;
    let turn = if runs_hooks(bundle) { Turn::default() } else { store.turn() };
    // What stands in the way may be what another one of that name has made meanwhile.
    let spec = handover::for_init(bundle, id, options.systemd_cgroup);
    let mut spec = spec.map_err(|error| store.check_free(id).err().unwrap_or(error))?;
    let root = init::adapt(&mut spec, &workload, bundle, None)?;
    let claim = store.claim(id)?;
    let plan = Plan { id, options, bundle, workload, spec, root, terminal, signals, turn: &turn };
    match build(&claim, plan) {
        Ok((state, master)) => Ok(Created { claim, state, master, turn }),
        Err(error) => {
            undo(claim);
            reap();
            Err(error)
        }
    }
}

/// Whether others run while this container is created, for as long as they like. Nobody else shall wait for these.
fn runs_hooks(bundle: &Bundle) -> bool {
    bundle.spec().hooks().as_ref().is_some_and(|hooks| *hooks != Hooks::default())
}

/// Checks that this process may have enough descriptors to start another one.
///
/// # Errors
///
/// [`ErrorKind::System`].
pub(crate) fn check_descriptors(preserved: u32) -> Result<()> {
    let wanted = DESCRIPTORS + u64::from(preserved);
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) if limit < wanted => {
            let message = format!(
                "RLIMIT_NOFILE: {limit} descriptors are too few to start a process, which takes {wanted}"
            );
            Err(Error::new(ErrorKind::System, message))
        }
        _ => Ok(()),
    }
}

/// Waits a moment for the children of a start that failed: they end by themselves, and one that nobody has waited for
/// would keep its container's pid namespace alive.
pub(crate) fn reap() {
    let started = Instant::now();
    while started.elapsed() < REAPED_WITHIN {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => thread::sleep(Duration::from_micros(200)),
            Err(_) => return,
        }
    }
}

fn build(claim: &Claim, plan: Plan<'_>) -> Result<(State, Option<OwnedFd>)> {
    let Plan { id, options, bundle, workload, mut spec, root, terminal, signals, turn } = plan;
    if matches!(workload, Workload::Native) {
        notify::prepare(&mut spec, claim.folder())?;
    }
    let mut state = new_state(id, bundle, &spec, options.systemd_cgroup);
    if let Some(hooks) = spec.hooks_mut() {
        hook::complete(hooks);
        // Ours to run, see `start::poststart`.
        hooks.set_poststart(None);
    }
    let installed =
        Installed { binary: &options.binary, config: &options.config, folder: claim.folder(), turn };
    // Should this process be killed in the midst of it, `delete` finds there what it has made.
    plan_cgroup(&mut state, cgroup_path(&spec), options.systemd_cgroup)?;
    let missing = state.cgroup.missing();
    let announce =
        |wasm: &wasm::State| claim.save_draft(&State { wasm: Some(wasm.clone()), ..state.clone() });
    let ready = Ready::new(&workload, &spec, id, installed, signals, root, &announce)?;
    state.wasm = ready.state();
    state.uncompiled = ready.uncompiled();
    claim.save_draft(&state)?;
    claim.save_config(bundle.text())?;
    let prepared = prepare_cgroup(id, bundle, &mut spec, options.systemd_cgroup)?;
    if let Some(prepared) = prepared.as_ref().filter(|_| options.systemd_cgroup) {
        state.cgroup = prepared.cgroup().clone();
        claim.save_draft(&state)?;
    }
    let by_systemd =
        options.systemd_cgroup && prepared.as_ref().is_none_or(|prepared| prepared.path().is_none());
    leave_the_caller(id, lsm::label_of(spec.process().as_ref()), options.no_new_keyring)?;
    let console = Console::at(terminal, claim.folder(), "console.sock")?;
    let receiver = PidReceiver::connect(options.pidfd_socket.as_deref())?;
    let sources = sources::open(&mut spec, bundle.path(), bundle.rootfs())?;
    let beside = cgroup_path(&spec).filter(|_| !by_systemd).and_then(Beside::make);
    let unwanted = beside.as_ref().map(|beside| beside.as_fd().as_raw_fd());
    let namespaces = handover::hold_namespaces(&mut spec)?;
    let unwanted = unwanted.into_iter().chain(sources.socket());
    let unwanted = unwanted.chain(namespaces.iter().map(|namespace| namespace.as_raw_fd()));
    let ready = ready.without(unwanted.chain([claim.lock_descriptor()]).chain(turn.descriptor()));
    builders::begin_in(beside.as_ref());
    leave_behind(options.preserve_fds);
    let base = ContainerBuilder::new(id.to_string(), SyscallType::default())
        .with_executor(ready.init.clone())
        .with_console_socket(console.path())
        .with_preserved_fds(i32::try_from(options.preserve_fds).unwrap_or(i32::MAX))
        .with_root_path(claim.folder())
        .map_err(|error| container_error(&error))?;
    let builder = builders::init(base, bundle.path(), spec, claim.folder())?
        .with_systemd(by_systemd)
        .with_no_pivot(options.no_pivot);
    let has_hooks = bundle.spec().hooks().is_some();
    let built = if has_hooks { hook::within(bundle.path(), || builder.build())? } else { builder.build() };
    let container = built.map_err(|error| container_error(&error)).inspect_err(|_| {
        // What ends may still be in it, and libcontainer does not wait for that as long as it takes on a busy machine.
        reap();
        if let Err(error) = missing.remove() {
            tracing::warn!("{error}");
        }
    })?;
    drop((sources, namespaces));
    let pid =
        container.pid().ok_or_else(|| Error::new(ErrorKind::Container, "libcontainer names no init"))?;
    let recorded = record(claim, &mut state, pid.as_raw(), options.pid_file.as_deref(), &console);
    match recorded.and_then(|master| receiver.send(pid.as_raw()).map(|()| master)) {
        Ok(master) => {
            ready.created();
            warn_of_processes_that_are_lost(&state);
            if let Some(beside) = beside {
                beside.keep();
            }
            if let Some(prepared) = prepared {
                prepared.keep();
            }
            Ok((state, master))
        }
        Err(error) => {
            abandon(&state);
            Err(error)
        }
    }
}

/// Writes down what the cgroup of a container will be that is to be.
pub(crate) fn plan_cgroup(state: &mut State, path: Option<&Path>, systemd: bool) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    state.unit = cgroup::unit_to_be(path, systemd)?;
    if !systemd {
        state.cgroup = Cgroup::planned(path)?;
    }
    Ok(())
}

fn cgroup_path(spec: &Spec) -> Option<&Path> {
    spec.linux().as_ref()?.cgroups_path().as_deref()
}

/// Makes a new container's cgroup where that is not left to libcontainer, which has nothing of it to do then but to enter it, and in version 1 to limit it.
fn prepare_cgroup(
    id: &ContainerId,
    bundle: &Bundle,
    spec: &mut Spec,
    systemd: bool,
) -> Result<Option<Prepared>> {
    let Some(path) = cgroup_path(spec) else { return Ok(None) };
    let prepared = Prepared::make(Wanted::new(id, bundle.spec(), spec, path, systemd))?;
    let Some(linux) = spec.linux_mut().as_mut() else { return Ok(prepared) };
    if cgroup::is_version2() {
        linux.set_resources(None);
    }
    if let Some(path) = prepared.as_ref().and_then(Prepared::path) {
        linux.set_cgroups_path(Some(path.to_owned()));
    }
    Ok(prepared)
}

/// As runc: of a container whose processes nobody can find when its init is gone.
fn warn_of_processes_that_are_lost(state: &State) {
    if state.cgroup.is_nowhere() && state.shares_pids && trust::is_rootless() {
        tracing::warn!(
            "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly discouraged \
             (as it is impossible to properly kill all container's processes) and will result in an error in a future version."
        );
    }
}

/// Writes down the init that was made, and takes its terminal. Not waiting for the disk: that is for those who return before
/// the container is started to do.
fn record(
    claim: &Claim,
    state: &mut State,
    pid: i32,
    pid_file: Option<&Path>,
    console: &Console,
) -> Result<Option<OwnedFd>> {
    let init = Identity::of(pid)?;
    state.init = Some(init);
    state.cgroup = Cgroup::of(pid)?;
    state.descriptors = standard_streams(&pid.to_string());
    state.phase = Phase::Created;
    claim.save_draft(state)?;
    pid_file.map_or(Ok(()), |path| write_pid_file(path, pid))?;
    console.receive()
}

pub(crate) fn new_state(id: &ContainerId, bundle: &Bundle, spec: &Spec, systemd: bool) -> State {
    let has = |kind: fn(&Hooks) -> &Option<Vec<Hook>>| {
        spec.hooks().as_ref().and_then(|hooks| kind(hooks).as_ref()).is_some_and(|hooks| !hooks.is_empty())
    };
    State {
        id: id.clone(),
        phase: Phase::Creating,
        init: None,
        bundle: bundle.path().to_path_buf(),
        rootfs: bundle.rootfs().to_path_buf(),
        created: Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true),
        annotations: spec.annotations().clone().unwrap_or_default(),
        cgroup: Cgroup::default(),
        systemd,
        unit: None,
        poststart: has(Hooks::poststart),
        poststop: has(Hooks::poststop),
        shares_pids: !has_own_pids(spec),
        descriptors: Vec::new(),
        wasm: None,
        uncompiled: Vec::new(),
    }
}

fn has_own_pids(spec: &Spec) -> bool {
    let mut namespaces = spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten());
    namespaces.any(|one| one.typ() == LinuxNamespaceType::Pid && one.path().is_none())
}

/// Gives up what a container's process would have of its caller until it executes its program, and for longer: descriptors that are not to be passed
/// on, and the processors that the caller is bound to.
pub(crate) fn leave_behind(preserved: u32) {
    detach::close_inherited(FIRST_DESCRIPTOR + preserved + listening());
    affinity::reset();
    tracing::debug!("nsexec container setup: libcontainer forks");
}

/// How many sockets the caller passes, see sd_listen_fds(3).
fn listening() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Gives up what a container must not inherit of the caller and libcontainer would pass on: supplementary groups, and
/// the session keyring.
pub(crate) fn leave_the_caller(id: &ContainerId, label: Option<&str>, keep_keyring: bool) -> Result<()> {
    let permitted = fs::read_to_string("/proc/self/setgroups").map_or(true, |text| text.trim() != "deny");
    if permitted && rustix::process::geteuid().is_root() {
        nix::unistd::setgroups(&[])
            .context(ErrorKind::System, || "supplementary groups: cannot be dropped".to_owned())?;
    }
    if keep_keyring { Ok(()) } else { keyring::join(id, label) }
}

/// runc's rules for a terminal and a socket that takes it.
pub(crate) fn check_terminal(terminal: Option<bool>, console_socket: bool, detach: bool) -> Result<()> {
    let terminal = terminal == Some(true);
    if detach && terminal && !console_socket {
        return Err(Error::new(
            ErrorKind::Usage,
            "cannot allocate tty if the runtime will detach without setting console socket",
        ));
    }
    if (!detach || !terminal) && console_socket {
        return Err(Error::new(
            ErrorKind::Usage,
            "cannot use console socket if the runtime will not detach or allocate tty",
        ));
    }
    Ok(())
}

/// Ends what a `create` that failed late has made.
fn abandon(state: &State) {
    if let Some(init) = state.init {
        let _ = init.signal(Signal::KILL);
    }
    let _ = state.cgroup.remove();
}

/// Removes the folder of a container that did not come to be, whose cgroup is gone.
pub(crate) fn undo(claim: Claim) {
    if let Err(error) = claim.remove() {
        tracing::warn!(%error, "a failed create has left its state folder");
    }
}

/// Written beside its place and renamed, so that who waits for it never reads half of it.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let cannot = || format!("pid file {}: cannot be written", path.display());
    let name = path.file_name().ok_or_else(|| Error::new(ErrorKind::Usage, cannot()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o666)
        .open(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| fs::rename(&temporary, path))
        .context(ErrorKind::System, cannot)
}

/// libcontainer's own view of a container.
pub(crate) fn container_of(store: &Store, id: &ContainerId) -> Result<Container> {
    Container::load(store.folder(id).join(id)).map_err(|error| container_error(&error))
}

/// Turns libcontainer's chain of causes into one message.
///
/// What went wrong inside init arrives as text within text, of which only the innermost says what it was.
pub(crate) fn container_error(error: &(dyn std::error::Error + 'static)) -> Error {
    const INSIDE: &str = "error in executing process : ";
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if let Some((_, inner)) = text.split_once(INSIDE) {
            return Error::new(
                ErrorKind::Container,
                format!("unable to start container process: {}", clean(inner)),
            );
        }
        // A cause that only repeats its own cause says nothing.
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
        next = cause.source();
    }
    Error::new(
        ErrorKind::Container,
        format!("unable to start container process: {}", clean(&words.join(": "))),
    )
}

/// libcontainer pads messages from a pipe with NULs.
fn clean(text: &str) -> String {
    text.trim_matches('\0').trim().replace('\n', " ")
}
