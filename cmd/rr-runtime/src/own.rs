//! Verbs that runc has not, from parsed arguments to one call into `runtime`: what is known of functions before they run, and what crosses the hose.
//! They need the engine, or look up names of hosts, for which a C library loads others.

use runtime::check::{CheckOptions, Verdict};
use runtime::config::Settings;

use crate::cli::{Cache, CacheVerb, Check, Compile, Format, Global, OwnVerb};
use crate::hose;
use crate::verbs::{FAILED, config, exit_code, print, print_json, store};

pub(crate) fn run(global: &Global, verb: OwnVerb) -> anyhow::Result<u8> {
    match verb {
        OwnVerb::Check(args) => return check(global, &args),
        OwnVerb::Compile(args) => compile(&args, &Settings::load(&config(global)?)?)?,
        OwnVerb::Cache(args) => cache(&args, &Settings::load(&config(global)?)?)?,
        OwnVerb::Hose(args) => hose::run(&store(global)?, &args, &config(global)?)?,
        OwnVerb::Invoke(args) => hose::invoke(&store(global)?, *args.0)?,
        // These are started without an environment that would say where states are.
        OwnVerb::CompilerChild(job) => return exit_code(runtime::compile::child_main(&job.job)),
        OwnVerb::CompilerBackground(job) => return exit_code(runtime::compile::background_main(&job.job)),
    }
    Ok(0)
}

fn compile(args: &Compile, settings: &Settings) -> anyhow::Result<()> {
    let binary = std::env::current_exe()?;
    let output = args.output.as_deref();
    let compiled = runtime::compile::run_command(&args.module, args.fuel, output, &binary, settings)?;
    print_json(&compiled, true)
}

fn check(global: &Global, args: &Check) -> anyhow::Result<u8> {
    let findings = runtime::check::check(&CheckOptions {
        bundle: args.bundle.clone(),
        root: store(global)?.root().to_owned(),
        config: config(global)?,
        binary: std::env::current_exe()?,
        systemd_cgroup: global.systemd_cgroup,
    });
    match args.format {
        Format::Json => print_json(&findings, true)?,
        Format::Table => print(runtime::check::table(&findings).as_bytes())?,
    }
    Ok(if findings.iter().any(|finding| finding.verdict == Verdict::Fails) { FAILED } else { 0 })
}

fn cache(args: &Cache, settings: &Settings) -> anyhow::Result<()> {
    let cache = runtime::cache::Cache::open(settings.cache_dir()?, settings.cache_size())?;
    match args.verb {
        CacheVerb::Ls { format: Format::Json } => print_json(&cache.list()?, false),
        CacheVerb::Ls { format: Format::Table } => {
            let table = runtime::cache::table(&cache.list()?, std::time::SystemTime::now());
            print(table.as_bytes())
        }
        CacheVerb::Prune { keep } => {
            let current = runtime::compile::recipe(&std::env::current_exe()?, false)?;
            print_json(&cache.prune(Some(&current), keep)?, true)
        }
    }
}
