//! `hose` and `invoke`: from arguments to one call into `runtime`, and what is printed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use runtime::annotation::hose::Module;
use runtime::config::Settings;
use runtime::hoses;
use runtime::id::ContainerId;
use runtime::quantity;
use runtime::scrape::{self, Address};
use runtime::state::Store;

use crate::cli::Format;
use crate::verbs::{print, print_json};

#[derive(Debug, Args)]
pub(crate) struct Hose {
    #[command(subcommand)]
    pub(crate) verb: HoseVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HoseVerb {
    /// List the ends of the hose of all containers
    Ls {
        /// Form of the list
        #[arg(short, long, default_value = "table")]
        format: Format,
    },
    /// Print what has crossed the hoses of containers
    Stats(Stats),
    /// Add a function to the process of a running container
    Add(Add),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The container's name
    pub(crate) id: String,
    /// The function: NAME=/PATH[#FUNCTION]@sha256:DIGEST, as in hose/modules
    pub(crate) function: String,
    /// Functions of the process that it sends to, with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
    /// Functions of the process that send to it, with commas between [default: the container's own]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) from: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Form of the output
    #[arg(short, long, default_value = "table", conflicts_with_all = ["serve", "textfile"])]
    pub(crate) format: StatsFormat,
    /// Answer GET /metrics here until SIGTERM: PORT, on loopback, ADDRESS:PORT, or unix:PATH
    #[arg(long, value_name = "ADDRESS", conflicts_with = "textfile")]
    pub(crate) serve: Option<String>,
    /// Write a file for node-exporter, whole
    #[arg(long, value_name = "PATH")]
    pub(crate) textfile: Option<PathBuf>,
    /// Of these containers only [default: of all]
    pub(crate) ids: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsFormat {
    Table,
    Json,
    Prometheus,
}

#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// The container's name
    pub(crate) id: String,
    /// The payload
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// File with the payload
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) file: Option<PathBuf>,
    /// File that gets the answer [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// How long the function may take to take the call, and again to handle it [default: a second more than its hose/io-timeout]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Standard input is the payload
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["data", "file"])]
    pub(crate) input: Option<String>,
}

pub(crate) fn run(store: &Store, args: &Hose, config: &Path) -> anyhow::Result<()> {
    match &args.verb {
        HoseVerb::Add(args) => add(store, args, config),
        HoseVerb::Ls { format: Format::Json } => print_json(&hoses::list(store)?, false),
        HoseVerb::Ls { format: Format::Table } => print(hoses::list_table(&hoses::list(store)?).as_bytes()),
        HoseVerb::Stats(args) => stats(store, args),
    }
}

fn add(store: &Store, args: &Add, config: &Path) -> anyhow::Result<()> {
    let id = ContainerId::parse(&args.id)?;
    let named =
        |list: &[String]| list.iter().map(|name| Ok(name.parse()?)).collect::<anyhow::Result<Vec<_>>>();
    let function = args.function.parse::<Module>();
    let function = function.map_err(|why| anyhow::anyhow!("function {:?}: {why}", args.function))?;
    let function = function.with_targets(named(&args.to).context("--to")?);
    let senders = named(&args.from).context("--from")?;
    let binary = std::env::current_exe()?;
    Ok(runtime::add::add(store, &id, &function, &senders, &binary, &Settings::load(config)?)?)
}

fn stats(store: &Store, args: &Stats) -> anyhow::Result<()> {
    let ids = args.ids.iter().map(|id| ContainerId::parse(id)).collect::<Result<Vec<_>, _>>()?;
    if let Some(address) = &args.serve {
        let address: Address = address.parse()?;
        let listening = |address: &Address| {
            // Whoever has started this may not look.
            let _ = writeln!(std::io::stdout(), "listening on {address}");
        };
        return Ok(scrape::serve(store, &ids, &address, listening)?);
    }
    if let Some(path) = &args.textfile {
        return Ok(scrape::write_textfile(store, &ids, path)?);
    }
    let counted = hoses::stats(store, &ids)?;
    match args.format {
        StatsFormat::Json => print_json(&counted, false),
        StatsFormat::Table => print(hoses::stats_table(&counted).as_bytes()),
        StatsFormat::Prometheus => print(hoses::prometheus(&counted).as_bytes()),
    }
}

pub(crate) fn invoke(store: &Store, args: Invoke) -> anyhow::Result<()> {
    let id = ContainerId::parse(&args.id)?;
    let timeout = args.timeout.as_deref().map(timeout).transpose()?;
    let payload = match (args.data, args.file, args.input) {
        (Some(text), _, _) => text.into_bytes(),
        (None, Some(path), _) => {
            fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?
        }
        (None, None, Some(_)) => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("standard input: cannot be read")?;
            bytes
        }
        (None, None, None) => Vec::new(),
    };
    let answer = runtime::invoke::invoke(store, &id, &payload, timeout)?.unwrap_or_default();
    match args.output {
        Some(path) => {
            fs::write(&path, answer).with_context(|| format!("{}: cannot be written", path.display()))
        }
        None => print(&answer),
    }
}

fn timeout(text: &str) -> anyhow::Result<Duration> {
    quantity::duration(text).map_err(|why| anyhow::anyhow!("--timeout {text:?}: {why}"))
}
