//! From a parsed command line to one call into `runtime`, and to an exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::{ContextKind, ErrorKind as ClapErrorKind};
use runtime::checkpoint::{CheckpointOptions, RestoreOptions, Work};
use runtime::create::CreateOptions;
use runtime::exec::ExecOptions;
use runtime::id::ContainerId;
use runtime::run::RunOptions;
use runtime::sealed::{Origin, Program};
use runtime::state::{Report, Store};
use runtime::update::Limits;

use crate::cli::{
    Checkpoint, Cli, Create, Criu, Exec, Format, Global, List, OwnVerb, Ps, Restore, Rootless, Run, Update,
    Verb,
};
use crate::{log, own};

/// Exit code of a command that failed.
pub(crate) const FAILED: u8 = 1;
/// Exit code for a verb that there is not, as under runc.
const UNKNOWN_VERB: u8 = 3;
/// Exit code of an `exec` that could not run its process, so that it is not taken for the process's own.
const EXEC_FAILED: u8 = 255;

/// The `--status-fd` that is none, as under runc.
const NO_STATUS_FD: i32 = -1;

/// What does [our own verbs](OwnVerb).
type Own = fn(&Global, OwnVerb) -> anyhow::Result<u8>;

/// Parses, runs, reports.
#[must_use]
pub fn main() -> ExitCode {
    main_of(Program::Whole, own::run)
}

/// The same in a program that cannot load the engine, as it is linked statically: it executes the whole one, which lies beside it, for what needs that.
#[must_use]
pub fn main_native() -> ExitCode {
    main_of(Program::Native, |_, _| Err(Program::execute_whole(&Origin::here()?.binary).into()))
}

fn main_of(program: Program, own: Own) -> ExitCode {
    runtime::sealed::seal_ahead(std::env::args_os());
    runtime::sealed::take_name();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let failed = if matches!(cli.verb, Verb::Exec(_)) { EXEC_FAILED } else { FAILED };
    // Before anything is opened here, which would take the places of descriptors that the caller does not have.
    let preserved = check_preserved(&cli.verb);
    match log::open(&cli.global).and(preserved).and_then(|()| dispatch(cli, program, own)) {
        Ok(code) => {
            log::succeeded();
            ExitCode::from(code)
        }
        Err(error) => {
            log::error(&format!("{error:#}"));
            ExitCode::from(failed)
        }
    }
}

/// What the container is to inherit has to be there, as under runc: `--preserve-fds 2` means 3 and 4.
fn check_preserved(verb: &Verb) -> anyhow::Result<()> {
    let count = match verb {
        Verb::Create(args) => args.preserve_fds,
        Verb::Run(args) => args.create.preserve_fds,
        Verb::Exec(args) => args.preserve_fds,
        _ => 0,
    };
    for fd in (3..).take(usize::try_from(count)?) {
        std::fs::symlink_metadata(format!("/proc/self/fd/{fd}"))
            .with_context(|| format!("unable to stat preserved-fd {fd} (of {count})"))?;
    }
    Ok(())
}

/// `--help` and `--version` are no errors; anything else is one line in the log, and with it, as under runc, the usage on
/// standard output.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion) {
        return error.print().map_or(ExitCode::from(FAILED), |()| ExitCode::SUCCESS);
    }
    if error.kind() == ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // As under runc who asks for nothing is helped.
        return write!(std::io::stdout(), "{error}").map_or(ExitCode::from(FAILED), |()| ExitCode::SUCCESS);
    }
    let text = error.to_string();
    let (what, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
    let what = match error.get(ContextKind::InvalidSubcommand) {
        // In runc's words, which is also asked for the help of a command like this.
        Some(verb) => format!("No help topic for '{verb}'"),
        None => what.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    // Standard error it is where the log that was asked for is none.
    let _ = Global::of_any(std::env::args_os()).map(|global| log::open(&global));
    log::error(what.trim_start_matches("error: "));
    let _ = writeln!(std::io::stdout(), "{}", usage.trim());
    let unknown = error.kind() == ClapErrorKind::InvalidSubcommand;
    ExitCode::from(if unknown { UNKNOWN_VERB } else { FAILED })
}

fn dispatch(cli: Cli, program: Program, own: Own) -> anyhow::Result<u8> {
    let global = &cli.global;
    // Not for all verbs: some are started without an environment that would say where states are.
    let store = || store(global);
    let named = |id: &str| ContainerId::parse(id);
    match cli.verb {
        Verb::Create(args) => {
            let (store, id) = (store()?, named(&args.id)?);
            runtime::create::create(&store, &id, &create_options(global, *args.0, program)?)?;
        }
        Verb::Start(args) => runtime::start::start(&store()?, &named(&args.id)?)?,
        Verb::State(args) => print_json(&runtime::list::state(&store()?, &named(&args.id)?)?, true)?,
        Verb::Kill(args) => {
            let store = store()?;
            let signal = runtime::kill::parse_signal(&args.signal)?;
            runtime::kill::kill(&store, &named(&args.id)?, signal, args.all)?;
        }
        Verb::Delete(args) => runtime::delete::delete(&store()?, &named(&args.id)?, args.force)?,
        Verb::Run(args) => return run(&store()?, global, *args.0, program),
        Verb::List(args) => list(&store()?, &args)?,
        Verb::Ps(args) => ps(&store()?, &args)?,
        Verb::Exec(args) => return exec(&store()?, global, *args.0, program),
        Verb::Pause(args) => runtime::pause::pause(&store()?, &named(&args.id)?)?,
        Verb::Resume(args) => runtime::pause::resume(&store()?, &named(&args.id)?)?,
        Verb::Events(args) => {
            let interval = (!args.stats).then_some(args.interval);
            runtime::events::events(&store()?, &named(&args.id)?, interval, &mut std::io::stdout())?;
        }
        Verb::Update(args) => update(&store()?, &args)?,
        Verb::Checkpoint(args) => checkpoint(&store()?, *args.0)?,
        Verb::Restore(args) => return restore(&store()?, global, *args.0),
        Verb::Spec(args) => runtime::spec_template::write(&args.bundle, args.rootless, args.wasm.as_deref())?,
        Verb::Features => print_json(&runtime::features::features(), true)?,
        Verb::Own(verb) => return own(global, verb),
    }
    Ok(0)
}

/// Where the containers' states are.
pub(crate) fn store(global: &Global) -> anyhow::Result<Store> {
    Ok(Store::new(global.root.clone(), rootless(global))?)
}

/// Absolute: what compiles in the background reads it from another folder.
pub(crate) fn config(global: &Global) -> anyhow::Result<PathBuf> {
    std::path::absolute(&global.config).context("--config: is no path")
}

/// As runc: `auto` looks at the uid.
fn rootless(global: &Global) -> bool {
    match global.rootless {
        Rootless::True => true,
        Rootless::False => false,
        Rootless::Auto => runtime::trust::has_own_states(),
    }
}

fn create_options(global: &Global, args: Create, program: Program) -> anyhow::Result<CreateOptions> {
    Ok(CreateOptions {
        binary: runtime::sealed::seal()?.binary,
        program,
        config: config(global)?,
        bundle: args.from.bundle,
        console_socket: args.from.console_socket,
        pid_file: args.from.pid_file,
        pidfd_socket: args.pidfd_socket,
        preserve_fds: args.preserve_fds,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        systemd_cgroup: global.systemd_cgroup,
    })
}

fn run(store: &Store, global: &Global, args: Run, program: Program) -> anyhow::Result<u8> {
    let id = ContainerId::parse(&args.create.id)?;
    let options = RunOptions { detach: args.detach, keep: args.keep };
    let code = runtime::run::run(store, &id, &create_options(global, args.create, program)?, options)?;
    exit_code(code)
}

fn exec(store: &Store, global: &Global, args: Exec, program: Program) -> anyhow::Result<u8> {
    let id = ContainerId::parse(&args.id)?;
    let options = ExecOptions {
        binary: runtime::sealed::seal()?.binary,
        program,
        config: config(global)?,
        args: args.args,
        process: args.process,
        cwd: args.cwd,
        env: args.env,
        user: args.user,
        additional_gids: args.additional_gids,
        caps: args.cap,
        no_new_privs: args.no_new_privs,
        apparmor: args.apparmor,
        process_label: args.process_label,
        tty: args.tty,
        console_socket: args.console_socket,
        pid_file: args.pid_file,
        pidfd_socket: args.pidfd_socket,
        preserve_fds: args.preserve_fds,
        detach: args.detach,
        cgroup: args.cgroup,
        ignore_paused: args.ignore_paused,
    };
    let code = runtime::exec::exec(store, &id, &options).context("exec failed")?;
    exit_code(code)
}

/// What is dumped or restored by another user than root has never been tried, by runc neither.
fn criu(args: Criu) -> Work {
    if !runtime::is_root() {
        tracing::warn!("checkpoint is untested with rootless containers");
    }
    Work {
        images: args.image_path,
        folder: args.work_path,
        tcp_established: args.tcp_established,
        ext_unix_sk: args.ext_unix_sk,
        shell_job: args.shell_job,
        file_locks: args.file_locks,
        cgroups: args.manage_cgroups_mode,
        empty_namespaces: args.empty_ns,
        auto_dedup: args.auto_dedup,
        lazy_pages: args.lazy_pages,
    }
}

fn checkpoint(store: &Store, args: Checkpoint) -> anyhow::Result<()> {
    let id = ContainerId::parse(&args.id)?;
    let options = CheckpointOptions {
        work: criu(args.criu),
        parent: args.parent_path,
        leave_running: args.leave_running,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        status_fd: (args.status_fd != NO_STATUS_FD).then_some(args.status_fd),
        page_server: args.page_server,
        pre_dump: args.pre_dump,
    };
    Ok(runtime::checkpoint::checkpoint(store, &id, &options)?)
}

fn restore(store: &Store, global: &Global, args: Restore) -> anyhow::Result<u8> {
    let id = ContainerId::parse(&args.id)?;
    let create = CreateOptions {
        bundle: args.from.bundle,
        console_socket: args.from.console_socket,
        pid_file: args.from.pid_file,
        systemd_cgroup: global.systemd_cgroup,
        config: config(global)?,
        ..CreateOptions::default()
    };
    let options = RestoreOptions {
        work: criu(args.criu),
        detach: args.detach,
        lsm_profile: args.lsm_profile,
        lsm_mount_context: args.lsm_mount_context,
    };
    exit_code(runtime::checkpoint::restore(store, &id, &create, &options)?)
}

fn update(store: &Store, args: &Update) -> anyhow::Result<()> {
    let id = ContainerId::parse(&args.id)?;
    if args.l3_cache_schema.is_some() {
        anyhow::bail!("Intel RDT/CAT: l3 cache schema is not enabled");
    }
    if args.mem_bw_schema.is_some() {
        anyhow::bail!("Intel RDT/MBA: memory bandwidth schema is not enabled");
    }
    if args.kernel_memory.is_some() || args.kernel_memory_tcp.is_some() {
        tracing::warn!("Kernel memory settings are ignored and will be removed");
    }
    let limits = match &args.resources {
        Some(path) => runtime::update::read(path)?,
        None => Limits {
            blkio_weight: args.blkio_weight,
            cpu_period: args.cpu_period,
            cpu_quota: args.cpu_quota,
            cpu_burst: args.cpu_burst,
            cpu_shares: args.cpu_share,
            cpu_rt_period: args.cpu_rt_period,
            cpu_rt_runtime: args.cpu_rt_runtime,
            cpu_idle: args.cpu_idle,
            cpuset_cpus: args.cpuset_cpus.clone(),
            cpuset_mems: args.cpuset_mems.clone(),
            memory: args.memory,
            memory_reservation: args.memory_reservation,
            memory_swap: args.memory_swap,
            pids: args.pids_limit,
            ..Limits::default()
        },
    };
    Ok(runtime::update::update(store, &id, &limits)?)
}

pub(crate) fn exit_code(code: i32) -> anyhow::Result<u8> {
    u8::try_from(code).with_context(|| format!("exit code {code}: is none"))
}

pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).context("standard output: cannot be written")
}

pub(crate) fn print_json(value: &impl serde::Serialize, pretty: bool) -> anyhow::Result<()> {
    let mut text = if pretty { serde_json::to_vec_pretty(value)? } else { serde_json::to_vec(value)? };
    if !pretty {
        text.push(b'\n');
    }
    std::io::stdout().write_all(&text).context("standard output: cannot be written")
}

fn list(store: &Store, args: &List) -> anyhow::Result<()> {
    let reports = runtime::list::list(store)?;
    if args.quiet {
        let names: String = reports.iter().map(|report| format!("{}\n", report.id)).collect();
        return print(names.as_bytes());
    }
    match args.format {
        // runc prints a list that was never allocated.
        Format::Json if reports.is_empty() => print_json(&(), false),
        Format::Json => print_json(&reports, false),
        Format::Table => print(table(&reports).as_bytes()),
    }
}

/// Columns at least twelve wide and three apart, as Go's tabwriter makes them for runc.
fn table(reports: &[Report]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(reports.iter().map(|report| {
        let bundle = report.bundle.display().to_string();
        [
            report.id.clone(),
            report.pid.to_string(),
            report.status.as_str().to_owned(),
            bundle,
            report.created.clone(),
            report.owner.clone(),
        ]
    }));
    let mut widths = [12; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3);
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths).take(row.len() - 1) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[row.len() - 1]);
        text.push('\n');
    }
    text
}

fn ps(store: &Store, args: &Ps) -> anyhow::Result<()> {
    let id = ContainerId::parse(&args.id)?;
    match args.format {
        Format::Json => print_json(&runtime::list::pids(store, &id)?, false),
        Format::Table => print(runtime::list::ps(store, &id, &args.args)?.as_bytes()),
    }
}
