//! `exec`: a further process in a running container.
//!
//! The process is worked out here, whole, by runc's rules: that of the container's configuration with what the
//! command line says instead, or the one that `--process` names; the container's namespaces, filter, limits and profile in any case.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, Spec};
use rustix::process::Signal;

use crate::affinity;
use crate::annotation::Annotations;
use crate::builders;
use crate::bundle::{self, Bundle, check_label, check_process, warn_of_capabilities};
use crate::cgroup::Beside;
use crate::create::{
    Terminal, check_descriptors, check_terminal, container_error, leave_behind, leave_the_caller, reap,
    write_pid_file,
};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::foreground::Foreground;
use crate::handover;
use crate::id::ContainerId;
use crate::init::{self, Installed, Ready};
use crate::lsm;
use crate::passwd;
use crate::process::{Identity, PidReceiver};
use crate::sealed::Program;
use crate::signals::Inherited;
use crate::state::{State, Status, Store};
use crate::terminal::{Caller, Console, Relay};
use crate::tree::Tree;
use crate::turn::Turn;
use crate::workload::Workload;

/// What `exec` is told.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// A file with a whole process, in place of everything else that describes one.
    pub process: Option<PathBuf>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Further variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// `UID[:GID]`.
    pub user: Option<String>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Further capabilities.
    pub caps: Vec<String>,
    /// Whether the process may gain privileges; as configured when not given.
    pub no_new_privs: bool,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub process_label: Option<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// Where the terminal's master goes.
    pub console_socket: Option<PathBuf>,
    /// A file that gets its pid.
    pub pid_file: Option<PathBuf>,
    /// A socket that gets a descriptor of it (pidfd_open(2)).
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors after standard error it inherits.
    pub preserve_fds: u32,
    /// Return once it runs.
    pub detach: bool,
    /// Cgroups below the container's: a path, or `CONTROLLER[,CONTROLLER]:PATH`s.
    pub cgroup: Vec<String>,
    /// Start it in a paused container, where it waits for `resume`.
    pub ignore_paused: bool,
    /// The runtime's binary where it is installed, see [`crate::sealed::Origin`].
    pub binary: PathBuf,
    /// What executes that one when the container is a function's.
    pub program: Program,
    /// The administrator's file, see [`crate::config`].
    pub config: PathBuf,
}

/// Runs a process in a container and returns its exit code; 0 when it was detached.
///
/// # Errors
///
/// Any kind.
pub fn exec(store: &Store, id: &ContainerId, options: &ExecOptions) -> Result<i32> {
    check_descriptors(options.preserve_fds)?;
    let claim = store.lock(id)?;
    let state = claim.load()?;
    if state.wasm.is_some() {
        options.program.need_engine(&options.binary)?;
    }
    // Not before the lock is held: who waits for it can be interrupted.
    let (signals, blocked) = if options.detach {
        (Inherited::now()?, None)
    } else {
        Inherited::block_all().map(|(a, b)| (a, Some(b)))?
    };
    let status = state.status_under_lock();
    check_status(status, options.ignore_paused)?;
    let bundle = Bundle::parse(state.bundle.clone(), claim.load_config()?)?;
    let folder = claim.folder().to_path_buf();
    // In a frozen cgroup nothing comes to be before `resume`, which needs the lock.
    let claim = (status != Status::Paused).then_some(claim);
    let mut process = process(&bundle, options)?;
    check_process(&process)?;
    passwd::complete(&mut process, &state.rootfs);
    check_terminal(process.terminal(), options.console_socket.is_some(), options.detach)?;
    let terminal = match (process.terminal(), &options.console_socket) {
        (Some(true), Some(path)) => Terminal::Socket(path.clone()),
        (Some(true), None) => Terminal::Relayed,
        _ => Terminal::None,
    };
    let console = Console::at(&terminal, &folder, &format!("exec-{}.sock", std::process::id()))?;
    // The process runs as soon as it is made: what it writes first has to find the terminal as it will be.
    let caller = matches!(terminal, Terminal::Relayed).then(Caller::take_over).transpose()?;
    let receiver = PidReceiver::connect(options.pidfd_socket.as_deref())?;
    let pid = build(&folder, &state, &bundle, process, options, &console, signals)?;
    receiver.send(pid).inspect_err(|_| {
        let _ = Identity::of(pid).and_then(|process| process.signal(Signal::KILL));
    })?;
    if let Some(path) = &options.pid_file {
        write_pid_file(path, pid)?;
    }
    let master = console.receive()?;
    drop(console);
    // From here on others may pause, kill or delete the container.
    drop(claim);
    let Some(blocked) = blocked else { return Ok(0) };
    let relay = master.zip(caller).map(|(master, caller)| Relay::new(master, caller)).transpose()?;
    Foreground::new(pid, &blocked, relay)?.wait()
}

fn check_status(status: Status, ignore_paused: bool) -> Result<()> {
    let refused = |why: &str| Err(Error::new(ErrorKind::Status, format!("cannot exec in a {why}")));
    match status {
        Status::Running | Status::Created => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => refused("paused container (use --ignore-paused to override)"),
        Status::Creating => refused("container that is being created"),
        Status::Stopped => refused("stopped container"),
    }
}

fn build(
    folder: &Path,
    state: &State,
    bundle: &Bundle,
    process: Process,
    options: &ExecOptions,
    console: &Console,
    signals: Inherited,
) -> Result<i32> {
    let below = state.cgroup.doors_below(&options.cgroup)?;
    let init =
        state.init.ok_or_else(|| Error::new(ErrorKind::Status, "cannot exec in a stopped container"))?;
    let given = bundle.spec().linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let configured = || (crate::cgroup::path(given.as_deref(), &state.id, state.systemd), Vec::new());
    let (cgroup, mut doors) = state.cgroup.way_in(init)?.unwrap_or_else(configured);
    doors.extend(below);
    let joined = function_root(state, init)?;
    let workload = workload(joined.as_ref(), &process, bundle.spec())?;
    let affinity = process.exec_cpu_affinity().as_ref().and_then(|affinity| affinity.initial().clone());
    let (mut spec, namespaces) = handover::for_exec(bundle.spec(), process, cgroup, init)?;
    let root = init::adapt(&mut spec, &workload, bundle, joined)?;
    let turn = Turn::default();
    let installed = Installed { binary: &options.binary, config: &options.config, folder, turn: &turn };
    let ready = Ready::new(&workload, bundle.spec(), &state.id, installed, signals, root, &|_| Ok(()))?
        .joining(doors);
    let beside = Beside::of(&state.cgroup);
    builders::begin_in(beside.as_ref());
    leave_behind(options.preserve_fds);
    let initial = affinity.as_deref().and_then(affinity::mask_of);
    tracing::debug!("nsexec container setup: affinity: {:#x}", initial.unwrap_or_else(affinity::mask));
    leave_the_caller(&state.id, lsm::label_of(spec.process().as_ref()), false)?;
    let base = ContainerBuilder::new(state.id.to_string(), SyscallType::default())
        .with_executor(ready.init.clone())
        .with_console_socket(console.path())
        .with_preserved_fds(i32::try_from(options.preserve_fds).unwrap_or(i32::MAX))
        .with_root_path(folder)
        .map_err(|error| container_error(&error))?;
    let pid = builders::tenant(base, spec, bundle.spec(), folder)?
        .with_detach(true)
        .build()
        .map_err(|error| container_error(&error))
        .inspect_err(|_| reap())?;
    drop(namespaces);
    crate::start::compile(ready.created().into_iter().map(Ok));
    Ok(pid.as_raw())
}

/// Root of the function that is a container's init; `None` for a native one.
fn function_root(state: &State, init: Identity) -> Result<Option<OwnedFd>> {
    if state.wasm.is_none() {
        return Ok(None);
    }
    let stopped = || Error::new(ErrorKind::Status, "cannot exec in a stopped container");
    init.root()?.map(Some).ok_or_else(stopped)
}

/// Only a Wasm container runs further functions: a native one has no root for them.
fn workload(root: Option<&OwnedFd>, process: &Process, spec: &Spec) -> Result<Workload> {
    let Some(root) = root else {
        return Ok(Workload::Native);
    };
    let root = root.try_clone().context(ErrorKind::System, || "dup: the container's root".to_owned())?;
    Workload::of_exec(&Tree::of_root(root), process, spec, &Annotations::of(spec)?)
}

/// The process to run, by runc's rules.
fn process(bundle: &Bundle, options: &ExecOptions) -> Result<Process> {
    // As written: its user may be another one, whose home is another.
    let configured = bundle.written_process();
    if let Some(path) = &options.process {
        return read_process(path, configured);
    }
    let mut process = configured.clone();
    process.set_args(Some(options.args.clone())).set_terminal(Some(options.tty));
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.clone());
    }
    if options.apparmor.is_some() {
        process.set_apparmor_profile(options.apparmor.clone());
    }
    if options.process_label.is_some() {
        check_label(options.process_label.as_deref() != Some(""))?;
        process.set_selinux_label(options.process_label.clone());
    }
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(options.env.iter().cloned());
    process.set_env(Some(env));
    set_user(&mut process, options)?;
    add_capabilities(&mut process, &options.caps)?;
    Ok(process)
}

/// What a process file leaves open is the container's, as under runc.
fn read_process(path: &Path, configured: &Process) -> Result<Process> {
    let text = fs::read(path)
        .context(ErrorKind::Usage, || format!("process file {}: cannot be read", path.display()))?;
    let mut process: Process = bundle::read(&text, "")
        .context(ErrorKind::Usage, || format!("process file {}: is not a process", path.display()))?;
    if process.capabilities().is_none() {
        process.set_capabilities(configured.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(configured.rlimits().clone());
    }
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(configured.apparmor_profile().clone());
    }
    if process.selinux_label().as_ref().is_none_or(String::is_empty) {
        process.set_selinux_label(configured.selinux_label().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(configured.oom_score_adj());
    }
    Ok(process)
}

fn set_user(process: &mut Process, options: &ExecOptions) -> Result<()> {
    if let Some(text) = options.user.as_deref().filter(|text| !text.is_empty()) {
        let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
        let number = |what: &str, text: &str| {
            text.parse::<u32>()
                .context(ErrorKind::Usage, || format!("parsing {text} as int for {what} failed"))
        };
        process.user_mut().set_uid(number("uid", uid)?);
        if let Some(gid) = gid {
            process.user_mut().set_gid(number("gid", gid)?);
        }
    }
    if !options.additional_gids.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        gids.extend(&options.additional_gids);
        process.user_mut().set_additional_gids(Some(gids));
    }
    Ok(())
}

/// As runc: never inheritable, and ambient only where the configuration has inheritable ones
/// (see the advisory GHSA-f3fp-gc8g-vw66).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let added: Capabilities = names.iter().filter_map(|name| capability(name)).collect();
    warn_of_capabilities(names.iter().filter(|name| capability(name).is_none()));
    let mut all = process.capabilities().clone().unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None)
            .set_effective(None)
            .set_permitted(None)
            .set_inheritable(None)
            .set_ambient(None);
        none
    });
    let with = |set: &Option<Capabilities>| {
        Some(set.iter().flatten().chain(&added).copied().collect::<Capabilities>())
    };
    let (bounding, effective, permitted) =
        (with(all.bounding()), with(all.effective()), with(all.permitted()));
    let ambient = if all.inheritable().is_some() { with(all.ambient()) } else { all.ambient().clone() };
    all.set_bounding(bounding).set_effective(effective).set_permitted(permitted).set_ambient(ambient);
    process.set_capabilities(Some(all));
    Ok(())
}

fn capability(name: &str) -> Option<Capability> {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(process: &str) -> Bundle {
        let text = format!(r#"{{"ociVersion":"1.0.2","process":{process},"root":{{"path":"/tmp"}}}}"#);
        Bundle::parse(PathBuf::from("/"), text.into_bytes()).expect("a bundle")
    }

    #[test]
    fn what_the_command_line_leaves_open_is_the_configurations() {
        let bundle = bundle(
            r#"{"user":{"uid":7,"gid":8,"additionalGids":[9]},"args":["init"],"cwd":"/c","env":["A=1"],"noNewPrivileges":true,
                "apparmorProfile":"p","rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"terminal":true}"#,
        );
        let options =
            ExecOptions { args: vec!["x".into()], env: vec!["B=2".into()], ..ExecOptions::default() };
        let process = process(&bundle, &options).expect("a process");
        assert_eq!((process.user().uid(), process.user().gid()), (7, 8));
        assert_eq!(process.user().additional_gids().as_deref(), Some(&[9][..]));
        assert_eq!(process.cwd(), Path::new("/c"));
        assert_eq!(process.env().as_deref(), Some(&["A=1".to_owned(), "B=2".to_owned()][..]));
        assert_eq!(process.no_new_privileges(), Some(true));
        assert_eq!(process.apparmor_profile().as_deref(), Some("p"));
        assert_eq!(process.rlimits().as_ref().map(Vec::len), Some(1));
        assert_eq!(process.terminal(), Some(false), "a terminal is asked for each time");
    }

    #[test]
    fn a_user_without_a_group_keeps_the_configurations_group() {
        let bundle = bundle(r#"{"user":{"uid":7,"gid":8},"args":["init"],"cwd":"/"}"#);
        let user = |text: &str| {
            let options =
                ExecOptions { args: vec!["x".into()], user: Some(text.into()), ..ExecOptions::default() };
            process(&bundle, &options).map(|process| (process.user().uid(), process.user().gid()))
        };
        assert_eq!(user("1").ok(), Some((1, 8)));
        assert_eq!(user("1:2").ok(), Some((1, 2)));
        for bad in ["root", "1:x", "-1", "1:2:3", "4294967296"] {
            assert_eq!(user(bad).map_err(|error| error.kind()), Err(ErrorKind::Usage), "{bad}");
        }
    }

    #[test]
    fn added_capabilities_are_never_inheritable() {
        let bundle =
            bundle(r#"{"user":{},"args":["init"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]}}"#);
        let options = ExecOptions {
            args: vec!["x".into()],
            caps: vec!["cap_net_admin".into()],
            ..ExecOptions::default()
        };
        let process = process(&bundle, &options).expect("a process");
        let all = process.capabilities().clone().expect("capabilities");
        assert_eq!(all.bounding().as_ref().map(std::collections::HashSet::len), Some(2));
        assert_eq!(all.effective().as_ref().map(std::collections::HashSet::len), Some(1));
        assert!(all.inheritable().is_none() && all.ambient().is_none());
    }
}
