//! The command line: runc's flags and verbs, and a few of our own.
//!
//! Options may stand before and after the container's name. After `exec`'s name the first word that is no option begins the
//! command, and everything behind it belongs to that.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use runtime::checkpoint::{CgroupsMode, PageServer};

use crate::hose::{Hose, Invoke};
use crate::late::Late;

/// An OCI runtime, a drop-in for runc, that runs Wasm functions and moves data between them.
#[derive(Debug, Parser)]
#[command(name = "rr-runtime", version = version(), disable_version_flag = true, args_override_self = true)]
pub(crate) struct Cli {
    /// Print version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What `--version` prints after the name, in runc's form.
fn version() -> &'static str {
    concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0")
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Folder of the containers' states [default: /run/rr-runtime, or $XDG_RUNTIME_DIR/rr-runtime]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// File that log lines are appended to [default: standard error]
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Form of the log lines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Log what is done, too
    #[arg(long)]
    pub(crate) debug: bool,
    /// Let systemd manage cgroups; cgroupsPath is then slice:prefix:name
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Whether to behave as for another user than root: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) rootless: Rootless,
    /// The administrator's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/rr-runtime/config.toml")]
    pub(crate) config: PathBuf,
    /// Accepted for runc's sake; criu is found by PATH
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) criu: Option<PathBuf>,
}

impl Cli {
    /// Parses a command line.
    pub(crate) fn read(args: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command().try_get_matches_from(with_two_dashes(args.collect()))?)
    }
}

/// As to Go's programs, one dash is as good as two before a long name: `-bundle`. What follows the first word that is neither an option nor a verb is left as it is.
fn with_two_dashes(words: Vec<OsString>) -> Vec<OsString> {
    let dashed = |word: &OsString| {
        word.to_str().is_some_and(|word| word.len() > 2 && word.starts_with('-') && !word.starts_with("--"))
    };
    if !words.iter().any(dashed) {
        return words;
    }
    let mut all = command();
    all.build();
    let (mut command, mut words, mut spelled) = (&all, words.into_iter(), Vec::new());
    spelled.extend(words.next());
    while let Some(word) = words.next() {
        let Some(option) =
            word.to_str().filter(|word| word.starts_with('-') && !word.trim_start_matches('-').is_empty())
        else {
            let verb = command.find_subcommand(&word);
            spelled.push(word);
            match verb {
                Some(verb) => command = verb,
                None => break,
            }
            continue;
        };
        let name = option.trim_start_matches('-');
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        let is_long =
            |arg: &&clap::Arg| arg.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name));
        let is_short = |arg: &&clap::Arg| arg.get_short().is_some_and(|short| name.chars().eq([short]));
        let long = command.get_arguments().find(is_long);
        let known = long.or_else(|| command.get_arguments().find(is_short));
        let takes_next =
            known.is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set());
        spelled.push(if long.is_some() && dashed(&word) {
            format!("-{option}").into()
        } else {
            word.clone()
        });
        if takes_next && value.is_none() {
            spelled.extend(words.next());
        }
    }
    spelled.extend(words);
    spelled
}

/// The command line as it is read, and as its manual describes it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command().mut_args(switch)
}

/// As to Go's programs, `--debug=false` is a way not to say `--debug`.
pub(crate) fn switch(arg: clap::Arg) -> clap::Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .value_parser(clap::value_parser!(bool))
        .num_args(0..=1)
        .value_name("BOOL")
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .hide_default_value(true)
        .hide_possible_values(true)
}

impl Global {
    /// The global options of a command line of which the rest is not understood.
    pub(crate) fn of_any(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let command = clap::Command::new("rr-runtime").ignore_errors(true).allow_external_subcommands(true);
        let matches = Self::augment_args(command)
            .mut_args(switch)
            .try_get_matches_from(with_two_dashes(args.collect()))
            .ok()?;
        Self::from_arg_matches(&matches).ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rootless {
    True,
    False,
    Auto,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a container
    Create(Late<Create>),
    /// Start a created container
    Start(Late<Id>),
    /// Print the state of a container as JSON
    State(Late<Id>),
    /// Send a signal to a container's init
    Kill(Late<Kill>),
    /// Delete a container
    Delete(Late<Delete>),
    /// Create, start and wait for a container
    Run(Late<Run>),
    /// List containers
    List(Late<List>),
    /// List the processes of a container
    Ps(Late<Ps>),
    /// Run a further process in a container
    Exec(Late<Exec>),
    /// Write a new bundle's config.json
    Spec(Late<Spec>),
    /// Freeze a container's processes
    Pause(Late<Id>),
    /// Thaw a container's processes
    Resume(Late<Id>),
    /// Print what a container uses as JSON, and that it ran out of memory
    Events(Late<Events>),
    /// Change the limits of a container
    Update(Late<Update>),
    /// Dump a running container's processes to files, by criu
    Checkpoint(Late<Checkpoint>),
    /// Restore a container from what was dumped
    Restore(Late<Restore>),
    /// Print what this build supports as JSON
    Features,
    #[command(flatten)]
    Own(OwnVerb),
}

/// Verbs that runc has not, all of which are the whole program's (`first_stage::OWN`).
#[derive(Debug, Subcommand)]
pub(crate) enum OwnVerb {
    /// Say what will not work on this host, with its configuration, or of a bundle, and why
    Check(Late<Check>),
    /// Compile a module ahead of time, into the cache
    Compile(Late<Compile>),
    /// Look into the cache of compiled code, and clear it
    Cache(Cache),
    /// Look at the hoses of containers, and add functions to them
    Hose(Hose),
    /// Call the function of a running container, and print its answer
    Invoke(Late<Invoke>),
    #[command(hide = true)]
    CompilerChild(Late<Job>),
    #[command(hide = true)]
    CompilerBackground(Late<Job>),
}

/// Exits with 1 when something will not work.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A bundle's folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Form of the findings
    #[arg(short, long, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// How often, as a duration
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// Print what it uses once
    #[arg(long)]
    pub(crate) stats: bool,
    /// The container's name
    pub(crate) id: String,
}

/// What is not said stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// File of limits as JSON, as linux.resources of a bundle; - is standard input. Nothing else counts then
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) resources: Option<PathBuf>,
    /// Weight for block devices, 10 to 1000
    #[arg(long, value_name = "WEIGHT", default_value_t = 0, hide_default_value = true)]
    pub(crate) blkio_weight: u16,
    /// Period of the CPU quota in microseconds
    #[arg(long, value_name = "USECS", default_value_t = 0, hide_default_value = true)]
    pub(crate) cpu_period: u64,
    /// Time on all processors in each period, in microseconds; -1 for no limit
    #[arg(
        long,
        value_name = "USECS",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub(crate) cpu_quota: i64,
    /// How much may be saved up for a burst, in microseconds
    #[arg(long, value_name = "USECS")]
    pub(crate) cpu_burst: Option<u64>,
    /// Share of the processors' time against others, 2 to 262144
    #[arg(long, value_name = "SHARES", default_value_t = 0, hide_default_value = true)]
    pub(crate) cpu_share: u64,
    /// Period of realtime scheduling in microseconds
    #[arg(long, value_name = "USECS", default_value_t = 0, hide_default_value = true)]
    pub(crate) cpu_rt_period: u64,
    /// Time of realtime scheduling in each period, in microseconds
    #[arg(
        long,
        value_name = "USECS",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub(crate) cpu_rt_runtime: i64,
    /// 1 for SCHED_IDLE, 0 for none of it
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    pub(crate) cpu_idle: Option<i64>,
    /// Processors, as 0-3,7
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub(crate) cpuset_cpus: String,
    /// Memory nodes, as 0-3,7
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub(crate) cpuset_mems: String,
    /// Accepted for runc's sake; the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    pub(crate) kernel_memory: Option<String>,
    /// Accepted for runc's sake; the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// Memory; -1 for no limit
    #[arg(long, value_name = "BYTES", default_value = "0", hide_default_value = true, allow_hyphen_values = true, value_parser = memory)]
    pub(crate) memory: i64,
    /// Memory that is left to it when others want some
    #[arg(long, value_name = "BYTES", default_value = "0", hide_default_value = true, allow_hyphen_values = true, value_parser = memory)]
    pub(crate) memory_reservation: i64,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", default_value = "0", hide_default_value = true, allow_hyphen_values = true, value_parser = memory)]
    pub(crate) memory_swap: i64,
    /// Tasks; -1 for no limit
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub(crate) pids_limit: i64,
    /// Schema of the L3 cache (Intel RDT), which is not supported
    #[arg(long, value_name = "SCHEMA", hide = true)]
    pub(crate) l3_cache_schema: Option<String>,
    /// Schema of the memory's bandwidth (Intel RDT), which is not supported
    #[arg(long, value_name = "SCHEMA", hide = true)]
    pub(crate) mem_bw_schema: Option<String>,
    /// The container's name
    pub(crate) id: String,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    runtime::quantity::duration(text)
}

fn memory(text: &str) -> Result<i64, &'static str> {
    runtime::quantity::ram(text)
}

#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// For functions that run with `wasm/fuel`
    #[arg(long)]
    pub(crate) fuel: bool,
    /// Write a copy of the compiled module here, too
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The module's file
    pub(crate) module: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) verb: CacheVerb,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// List the entries, the last used first
    Ls {
        /// Form of the list
        #[arg(short, long, default_value = "table")]
        format: Format,
    },
    /// Remove entries that are damaged or out of date, and those that are the longest unused
    Prune {
        /// Keep at most that many bytes; 0 empties the cache
        #[arg(long, value_name = "BYTES")]
        keep: Option<u64>,
    },
}

/// What the runtime tells its own child processes.
#[derive(Debug, Args)]
pub(crate) struct Job {
    pub(crate) job: String,
}

#[derive(Debug, Args)]
pub(crate) struct Id {
    /// The container's name
    pub(crate) id: String,
}

/// What a container is made of, and who is told of it.
#[derive(Debug, Args)]
pub(crate) struct FromBundle {
    /// The bundle's folder
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// Socket that gets the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// File that gets init's pid
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) from: FromBundle,
    /// Socket that gets a descriptor of init's (pidfd_open)
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Do not use pivot_root(2), for a rootfs on a ramdisk
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Pass N more descriptors to the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// The container's name
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Return once the container runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not delete the container when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Accepted for runc's sake: orphans are left to the host's init
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
    #[command(flatten)]
    pub(crate) create: Create,
}

/// What `checkpoint` and `restore` have in common.
#[derive(Debug, Args)]
pub(crate) struct Criu {
    /// Folder of the images [default: checkpoint]
    #[arg(long, value_name = "DIR")]
    pub(crate) image_path: Option<PathBuf>,
    /// Folder of logs and temporary files [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_path: Option<PathBuf>,
    /// Keep open TCP connections
    #[arg(long)]
    pub(crate) tcp_established: bool,
    /// Allow Unix sockets that are connected to others outside
    #[arg(long)]
    pub(crate) ext_unix_sk: bool,
    /// Allow a container that has its caller's terminal
    #[arg(long)]
    pub(crate) shell_job: bool,
    /// Keep locks of files
    #[arg(long)]
    pub(crate) file_locks: bool,
    /// How cgroups are kept: soft, full, strict or ignore [default: soft]
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub(crate) manage_cgroups_mode: CgroupsMode,
    /// Make a namespace anew, without what was in it: network, which always is
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) empty_ns: Vec<String>,
    /// Leave out pages that an earlier image has, too
    #[arg(long)]
    pub(crate) auto_dedup: bool,
    /// Bring pages when they are touched (userfaultfd)
    #[arg(long)]
    pub(crate) lazy_pages: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    pub(crate) criu: Criu,
    /// Folder of an earlier dump of memory, from within that of the images
    #[arg(long, value_name = "DIR")]
    pub(crate) parent_path: Option<PathBuf>,
    /// Let the container go on
    #[arg(long)]
    pub(crate) leave_running: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    pub(crate) tcp_skip_in_flight: bool,
    /// Give deleted files that are open a name again
    #[arg(long)]
    pub(crate) link_remap: bool,
    /// Descriptor that gets a zero byte once lazy pages are ready
    #[arg(long, value_name = "FD", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    pub(crate) status_fd: i32,
    /// Send pages to criu's page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) page_server: Option<PageServer>,
    /// Dump nothing but memory, and let the container go on
    #[arg(long)]
    pub(crate) pre_dump: bool,
    /// The container's name
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) criu: Criu,
    #[command(flatten)]
    pub(crate) from: FromBundle,
    /// Return once the container runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Accepted for runc's sake: orphans are left to the host's init
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
    /// Accepted for runc's sake: criu changes the root as it does
    #[arg(long, hide = true)]
    pub(crate) no_pivot: bool,
    /// Another profile of the security module
    #[arg(long, value_name = "TYPE:NAME")]
    pub(crate) lsm_profile: Option<String>,
    /// Another label of mounts
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) lsm_mount_context: Option<String>,
    /// The container's name
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal every process in the container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container's name
    pub(crate) id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM", allow_negative_numbers = true)]
    pub(crate) signal: String,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Kill a container that runs, and succeed when there is none
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The container's name
    pub(crate) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Form of the list
    #[arg(short, long, default_value = "table")]
    pub(crate) format: Format,
    /// Only names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Form of the list
    #[arg(short, long, default_value = "table")]
    pub(crate) format: Format,
    /// The container's name
    pub(crate) id: String,
    /// Arguments of ps(1) [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Socket that gets the master of the process's terminal
    #[arg(long, value_name = "SOCKET", allow_hyphen_values = true)]
    pub(crate) console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) cwd: Option<PathBuf>,
    /// Further variables
    #[arg(short, long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub(crate) env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User, and group
    #[arg(short, long, value_name = "UID[:GID]", allow_hyphen_values = true)]
    pub(crate) user: Option<String>,
    /// Further groups
    #[arg(short = 'g', long, value_name = "GID", allow_negative_numbers = true)]
    pub(crate) additional_gids: Vec<u32>,
    /// File with the whole process as JSON
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) process: Option<PathBuf>,
    /// Return once the process runs
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// File that gets the process's pid
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Socket that gets a descriptor of the process (pidfd_open)
    #[arg(long, value_name = "SOCKET", allow_hyphen_values = true)]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true)]
    pub(crate) process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE", allow_hyphen_values = true)]
    pub(crate) apparmor: Option<String>,
    /// Let the process gain no privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Further capabilities
    #[arg(short, long, value_name = "CAP", allow_hyphen_values = true)]
    pub(crate) cap: Vec<String>,
    /// Pass N more descriptors to the process
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    /// A cgroup below the container's, for all or some controllers
    #[arg(long, value_name = "[CONTROLLER[,CONTROLLER]...:]PATH", allow_hyphen_values = true)]
    pub(crate) cgroup: Vec<String>,
    /// Also in a paused container
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// Accepted for runc's sake: orphans are left to the host's init
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
    /// The container's name
    pub(crate) id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Spec {
    /// The bundle's folder
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// For a container of another user than root
    #[arg(long)]
    pub(crate) rootless: bool,
    /// For a WebAssembly module, copied into the bundle's rootfs
    #[arg(long, value_name = "MODULE")]
    pub(crate) wasm: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Subcommand as _;

    use super::{OwnVerb, Verb, version, with_two_dashes};

    #[test]
    fn one_dash_is_as_good_as_two() {
        for (written, read) in [
            (
                "-root /r -debug create -bundle b -pid-file=p -no-pivot id",
                "--root /r --debug create --bundle b --pid-file=p --no-pivot id",
            ),
            ("run -b -bundle -d id", "run -b -bundle -d id"),
            ("exec -t -pid-file p id sh -env -user", "exec -t --pid-file p id sh -env -user"),
            ("exec -tenv id", "exec -tenv id"),
            ("kill -all=false id", "kill --all=false id"),
            ("run -- -bundle", "run -- -bundle"),
            ("-log-format json list -quiet", "--log-format json list --quiet"),
            ("run id -bundle", "run id -bundle"),
        ] {
            let words = |line: &str| {
                ["rr-runtime"].into_iter().chain(line.split(' ')).map(OsString::from).collect::<Vec<_>>()
            };
            assert_eq!(with_two_dashes(words(written)), words(read), "{written}");
        }
    }

    #[test]
    fn the_version_of_the_specification_is_the_one_that_features_and_states_tell() {
        assert!(version().ends_with(&format!("spec: {}", runtime::features::SPEC_VERSION)));
    }

    #[test]
    fn the_first_stage_knows_each_verb_and_which_are_our_own() {
        let names = |command: clap::Command| -> Vec<String> {
            command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
        };
        let own = names(OwnVerb::augment_subcommands(clap::Command::new("rr-runtime")));
        for verb in names(Verb::augment_subcommands(clap::Command::new("rr-runtime"))) {
            let choice = first_stage::choose([verb.as_bytes()].into_iter());
            assert_eq!(choice == first_stage::Choice::Whole, own.contains(&verb), "{verb}");
        }
        for verb in first_stage::OWN {
            assert!(own.iter().any(|name| name == verb), "{verb}");
        }
    }
}
