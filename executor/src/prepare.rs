//! From a request to a function that is ready: read, checked, parsed, validated, linked.
//!
//! Runs in the container's init, after pivot_root, with the spec's user, capabilities and seccomp profile in force: this is where
//! untrusted bytes meet the engine's parser. No instruction of the module runs in here; its start function and
//! its data segments wait for [`Prepared::run`].

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use executor_abi::request::{Aot, Hose, Limits, Prepare};
use wasmedge_sys::Config;

use crate::engine::{self, Ast, Instance, PAGE, Settings, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{self, Entry, Uses};
use crate::module::{self, Outline, Source};
use crate::{compile, process, wasi};

/// Pages of a 32-bit linear memory.
const MAX_PAGES: u64 = 65_536;

/// A function that is ready to run.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) source: Source,
    pub(crate) config: Config,
    pub(crate) ast: Ast,
    pub(crate) entry: Entry,
    pub(crate) uses: Uses,
    pub(crate) wasi: Instance,
    pub(crate) start: wasi::Start,
    pub(crate) limits: Limits,
    pub(crate) min_pages: u64,
    pub(crate) max_pages: u32,
    pub(crate) hose: Option<End>,
    /// Whether the code was compiled ahead of time.
    pub(crate) compiled: bool,
}

/// A function's end of the hose, validated, with the descriptors that the runtime opened.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) config: hose::Config,
    pub(crate) secret: hose::Secret,
    pub(crate) rendezvous: OwnedFd,
    pub(crate) listener: Option<OwnedFd>,
}

impl End {
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let listener = self.listener.as_ref().map(AsRawFd::as_raw_fd);
        listener.into_iter().chain([self.rendezvous.as_raw_fd()]).collect()
    }
}

/// Reads, checks and links the module of `request`.
///
/// # Errors
/// Every reason for which the container cannot be created, naming the module and what is wrong with it.
pub fn prepare(mut request: Prepare) -> Result<Prepared> {
    // The descriptors first: from here on they are closed on every way out.
    let entry = request.module.aot.as_ref().and_then(|aot| process::own(aot.fd));
    let hose = request.hose.take().map(end).transpose()?;
    engine::capture_log();
    let (source, file) = Source::open(&request.module)?;
    let aot = request
        .module
        .aot
        .take()
        .zip(entry)
        .and_then(|(aot, entry)| usable(&source, &request.limits, &aot, entry));
    let max_pages = max_pages(&request.limits);
    let settings = Settings { aot: aot.is_some(), max_pages, fuel: request.limits.fuel.is_some() };
    let (config, code) = match aot {
        Some((code, outline)) => (engine::config(settings)?, Code { bytes: code, outline: Some(outline) }),
        None => (engine::config(settings)?, Code { bytes: source.read(file)?, outline: None }),
    };
    let ast = parse(source.path(), &config, &code.bytes)?;
    let outline = code.outline.unwrap_or_else(|| Outline::of(&code.bytes));
    drop(code.bytes);
    check_memory(source.path(), &outline, max_pages)?;
    let wasi = wasi::instance()?;
    let uses = link::check_imports(source.path(), &ast, &wasi)?;
    let receives = hose.as_ref().is_some_and(|end| end.listener.is_some());
    let function = request.module.function.as_deref();
    let entry = link::entry(source.path(), &ast, function, &request.args, receives)?;
    let start = start(&request)?;
    process::take_identity(file_name(source.path()), start.args(), start.env());
    Ok(Prepared {
        compiled: settings.aot,
        min_pages: outline.min_pages,
        max_pages,
        limits: request.limits,
        source,
        config,
        ast,
        entry,
        uses,
        wasi,
        start,
        hose,
    })
}

struct Code {
    bytes: Vec<u8>,
    outline: Option<Outline>,
}

/// The last component of a path, which is what execve(2) makes a process's name of.
fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// Ahead-of-time code, if it belongs to the module in the container and to this engine, and can do what is asked.
///
/// A cache entry that does not fit is no error: the runtime chose it before it could see the container's own file,
/// and the module runs without it. Who wants to know asks [`Prepared::compiled`].
fn usable(source: &Source, limits: &Limits, aot: &Aot, entry: OwnedFd) -> Option<(Vec<u8>, Outline)> {
    if !source.is(&aot.module) {
        return None;
    }
    let bytes = module::read_aot(aot, entry).ok()?;
    let outline = Outline::of(&bytes);
    let mark = compile::Mark::parse(outline.mark.as_deref()?)?;
    mark.serves(limits.fuel.is_some()).then_some((bytes, outline))
}

fn parse(path: &str, config: &Config, bytes: &[u8]) -> Result<Ast> {
    engine::take_log();
    let refused = |stop: Stop| Error::new(ErrorKind::Invalid, format!("module {path}: {}", reason(stop)));
    let ast = Ast::parse(config, bytes).map_err(refused)?;
    ast.validate(config).map_err(refused)?;
    Ok(ast)
}

/// The engine's reason in one line: its message, and what its log adds (an offset, a proposal that is off).
fn reason(stop: Stop) -> String {
    let mut line = format!("invalid: {}", stop.message());
    for entry in engine::take_log() {
        let detail =
            entry.split_once("Bytecode offset: ").map(|(_, offset)| format!("offset {}", offset.trim()));
        let proposal = entry.contains("proposal").then(|| module::printable(&entry));
        if let Some(detail) = detail.or(proposal) {
            line.push_str(", ");
            line.push_str(&detail);
        }
    }
    line
}

/// The pages that a linear memory may have.
fn max_pages(limits: &Limits) -> u32 {
    let pages = limits.max_memory.map_or(MAX_PAGES, |bytes| (bytes / PAGE).min(MAX_PAGES));
    // At most 65,536.
    u32::try_from(pages).unwrap_or(u32::MAX)
}

fn check_memory(path: &str, outline: &Outline, max_pages: u32) -> Result<()> {
    if outline.min_pages <= u64::from(max_pages) {
        return Ok(());
    }
    let asked = outline.min_pages.saturating_mul(PAGE);
    let limit = u64::from(max_pages) * PAGE;
    let message =
        format!("module {path}: needs {asked} bytes of memory to start, the limit is {limit} bytes");
    Err(Error::new(ErrorKind::Limit, message))
}

fn start(request: &Prepare) -> Result<wasi::Start> {
    let cwd = rustix::process::getcwd(Vec::new())
        .map_err(|error| Error::with(ErrorKind::System, "getcwd", std::io::Error::from(error)))?;
    let cwd = cwd.to_str().map_err(|error| Error::with(ErrorKind::Request, "working directory", error))?;
    let cwd = Path::new(cwd);
    wasi::check_cwd(cwd)?;
    let preopens = wasi::preopens(&request.preopens, cwd)?;
    let env = wasi::environment(&request.env, cwd);
    wasi::Start::new(&request.args, &env, &preopens)
}

fn end(hose: Hose) -> Result<End> {
    let listener = hose.listener_fd.and_then(process::own);
    let rendezvous = process::own(hose.rendezvous_fd)
        .ok_or_else(|| Error::new(ErrorKind::Request, "hose: no descriptor of the rendezvous"))?;
    let refused = |error: hose::Error| Error::with(ErrorKind::Request, "hose", error);
    let name = |text: &str| text.parse::<hose::Name>().map_err(refused);
    let limits = hose::Limits::new(
        Duration::from_millis(hose.connect_timeout_ms),
        Duration::from_millis(hose.io_timeout_ms),
        hose.max_size,
    )
    .map_err(refused)?;
    let targets = hose.targets.iter().map(|target| name(target)).collect::<Result<Vec<_>>>()?;
    let workflow = hose.workflow.parse::<hose::Workflow>().map_err(refused)?;
    let config = hose::Config::new(name(&hose.name)?, workflow, targets, limits).map_err(refused)?;
    let secret = hose::Secret::from_hex(&hose.secret).map_err(refused)?;
    Ok(End { config, secret, rendezvous, listener })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_rounded_down_to_pages() {
        let limits = |bytes| Limits { max_memory: bytes, ..Limits::default() };
        assert_eq!(max_pages(&limits(None)), 65_536);
        assert_eq!(max_pages(&limits(Some(u64::MAX))), 65_536);
        assert_eq!(max_pages(&limits(Some(65_536 * 3 + 1))), 3);
        assert_eq!(max_pages(&limits(Some(0))), 0);
    }

    #[test]
    fn a_process_is_named_as_execve_names_it() {
        assert_eq!(file_name("/usr/bin/app.wasm"), "app.wasm");
        assert_eq!(file_name("app.wasm"), "app.wasm");
    }
}
