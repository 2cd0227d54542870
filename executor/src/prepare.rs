//! From a request to a function that is ready: read, checked, parsed, validated, linked.
//!
//! Runs in the container's init, after pivot_root, with the spec's user, capabilities and seccomp profile in force: this is where
//! untrusted bytes meet the engine's parser. No instruction of the module runs in here; its start function and
//! its data segments wait for [`Prepared::run`].

use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use executor_abi::request::{self, Aot, Function, Hose, Lifecycle, Limits, Module, Preopen, Prepare};
use hose::{Name, Transfer, tcp};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use wasmedge_sys::Config;

use crate::bound::Bound;
use crate::engine::{self, Ast, Instance, PAGE, Settings, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::link;
use crate::module::{self, Outline, Source};
use crate::statistics::Statistics;
use crate::vm::Loaded;
use crate::workflow::Further;
use crate::{calls, compile, process, wasi};

/// Pages of a 32-bit linear memory.
const MAX_PAGES: u64 = 65_536;

/// A function that is ready to run, with the others of its process.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) main: Loaded,
    pub(crate) limits: Limits,
    pub(crate) confine: bool,
    pub(crate) hose: Option<Ready>,
}

/// A function's hose, validated, with the descriptors that the runtime opened.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) name: Name,
    pub(crate) workflow: hose::Workflow,
    pub(crate) targets: Vec<Name>,
    pub(crate) limits: hose::Limits,
    pub(crate) transfer: Transfer,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) network: Option<Network>,
    pub(crate) max_inflight: usize,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) bound: Bound,
    pub(crate) statistics: Statistics,
    /// The other functions of its process, if it has any or may get some.
    pub(crate) within: Option<Within>,
}

/// The user space of a hose: the other functions, and how further ones come.
#[derive(Debug)]
pub(crate) struct Within {
    pub(crate) functions: Vec<Further>,
    /// Where further functions are announced.
    pub(crate) control: Option<OwnedFd>,
    pub(crate) loader: Loader,
}

/// What the functions of a process have in common, and a further one needs to be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    limits: Limits,
    env: Vec<String>,
    preopens: Vec<Preopen>,
}

impl Loader {
    fn of(request: &Prepare) -> Self {
        let (limits, env, preopens) = (request.limits.clone(), request.env.clone(), request.preopens.clone());
        Self { limits, env, preopens }
    }

    /// Loads a function, whose compiled code is in the file `code`, if there is any.
    pub(crate) fn load(&self, function: &Function, code: Option<OwnedFd>) -> Result<Further> {
        let asked = Asked { module: &function.module, code, digest: Some(&function.digest) };
        self.load_asked(function, asked, &wasi::instance(wasi::Streams::inherited())?)
    }

    fn load_asked(&self, function: &Function, asked: Asked<'_>, wasi: &Instance) -> Result<Further> {
        let args = [function.name.clone()];
        let mut loaded = load(asked, &self.limits, wasi, self.start(&args)?, true)?;
        let entry = function.module.function.as_deref();
        loaded.entry = link::entry(loaded.source.path(), &loaded.ast, entry, &args, true)?;
        Ok(Further { name: name(&function.name)?, targets: names(&function.targets)?, loaded })
    }

    fn start(&self, args: &[String]) -> Result<wasi::Start> {
        let cwd = rustix::process::getcwd(Vec::new())
            .map_err(|error| Error::with(ErrorKind::System, "getcwd", std::io::Error::from(error)))?;
        let cwd =
            cwd.to_str().map_err(|error| Error::with(ErrorKind::Request, "working directory", error))?;
        let cwd = Path::new(cwd);
        wasi::check_cwd(cwd)?;
        let preopens = wasi::preopens(&self.preopens, cwd)?;
        wasi::Start::new(args, &wasi::environment(&self.env, cwd), &preopens)
    }
}

/// A container's published end.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) secret: hose::Secret,
    pub(crate) rendezvous: OwnedFd,
    pub(crate) listener: Option<OwnedFd>,
}

/// A container's end across hosts: bound already, because a function that cannot be reached is not created.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) means: tcp::Network,
    pub(crate) listener: Option<TcpListener>,
    /// Whether it is tried before the host's own sockets.
    pub(crate) preferred: bool,
}

impl Ready {
    /// Whether others can send to it.
    fn receives(&self) -> bool {
        let end = self.endpoint.as_ref().is_some_and(|end| end.listener.is_some());
        end || self.network.as_ref().is_some_and(|network| network.listener.is_some())
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let mut all = self.endpoint.as_ref().map(Endpoint::descriptors).unwrap_or_default();
        all.extend(self.network.iter().flat_map(|network| &network.listener).map(AsRawFd::as_raw_fd));
        all.extend(self.within.iter().flat_map(|within| &within.control).map(AsRawFd::as_raw_fd));
        all
    }
}

impl Endpoint {
    /// The same, for a thread that only sends.
    pub(crate) fn sending(&self) -> std::io::Result<Self> {
        let rendezvous = self.rendezvous.try_clone()?;
        Ok(Self { secret: self.secret.clone(), rendezvous, listener: None })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let listener = self.listener.as_ref().map(AsRawFd::as_raw_fd);
        listener.into_iter().chain([self.rendezvous.as_raw_fd()]).collect()
    }
}

impl Network {
    /// The same, for a thread that only sends.
    pub(crate) fn sending(&self) -> Self {
        Self { means: self.means.clone(), listener: None, preferred: self.preferred }
    }
}

/// A module of the request, and the descriptor of its compiled code, which is closed on every way out.
struct Asked<'a> {
    module: &'a Module,
    code: Option<OwnedFd>,
    /// SHA-256 that the module must have.
    digest: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn new(module: &'a Module, digest: Option<&'a str>) -> Self {
        Self { module, code: module.aot.as_ref().and_then(|aot| process::own(aot.fd)), digest }
    }
}

/// Reads, checks and links the module of `request`, and those of its workflow.
///
/// # Errors
/// Every reason for which the container cannot be created, naming the module and what is wrong with it.
pub fn prepare(request: Prepare) -> Result<Prepared> {
    // The descriptors first: from here on they are closed on every way out.
    let main = Asked::new(&request.module, None);
    let further: Vec<&Function> = request.hose.iter().flat_map(|hose| &hose.functions).collect();
    let asked: Vec<Asked<'_>> =
        further.iter().map(|function| Asked::new(&function.module, Some(&function.digest))).collect();
    let control = request.hose.as_ref().and_then(|hose| hose.control_fd).and_then(process::own);
    let endpoint = request.hose.as_ref().map(endpoint).transpose()?.flatten();
    let loader = Loader::of(&request);
    let mut hose = request.hose.as_ref().map(|hose| ready(hose, endpoint)).transpose()?;
    calls::trace_if_asked(&request.env)?;
    engine::capture_log();
    let wasi = wasi::instance(wasi::Streams::inherited())?;
    let bound = hose.as_ref().is_some_and(|hose| hose.bound.stdin.is_some());
    let receives = hose.as_ref().is_some_and(Ready::receives) && !bound;
    let start = loader.start(&request.args)?;
    let identity = start.clone();
    let serves = request.hose.as_ref().is_some_and(|hose| hose.lifecycle != Lifecycle::Oneshot);
    let mut main = load(main, &request.limits, &wasi, start, serves)?;
    main.entry = link::entry(
        main.source.path(),
        &main.ast,
        request.module.function.as_deref(),
        &request.args,
        receives,
    )?;
    if serves && !bound && !main.entry.contract.can_receive() {
        let message = format!("module {}: cannot serve, it exports no allocate_memory", main.source.path());
        return Err(Error::new(ErrorKind::Link, message));
    }
    let functions =
        further.iter().zip(asked).map(|(function, asked)| loader.load_asked(function, asked, &wasi));
    let functions = functions.collect::<Result<Vec<_>>>()?;
    if let Some(hose) = hose.as_mut().filter(|_| control.is_some() || !functions.is_empty()) {
        hose.within = Some(Within { functions, control, loader });
    }
    process::take_identity(file_name(main.source.path()), identity.args(), identity.env());
    Ok(Prepared { main, limits: request.limits, confine: request.confine, hose })
}

/// Reads, checks and links one module.
fn load(
    asked: Asked<'_>,
    limits: &Limits,
    wasi: &Instance,
    start: wasi::Start,
    interruptible: bool,
) -> Result<Loaded> {
    let Asked { module, code, digest } = asked;
    let (source, file) = Source::open(module)?;
    let kind = compile::Kind { fuel: limits.fuel.is_some(), interruptible };
    let aot = module.aot.as_ref().zip(code).and_then(|(aot, code)| usable(&source, kind, aot, code));
    let max_pages = max_pages(limits);
    let settings = Settings { aot: aot.is_some(), max_pages, fuel: limits.fuel.is_some() };
    let config = engine::config(settings)?;
    // Code was chosen by the digest of the module that it was made of; without code the bytes themselves are looked at.
    let code = match aot {
        Some((bytes, outline)) if digest.is_none_or(|digest| aot_is_of(module, digest)) => {
            Code { bytes: Bytes::Mapped(bytes), outline: Some(outline) }
        }
        _ => {
            let bytes = source.read(file)?;
            check_digest(source.path(), &bytes, digest)?;
            Code { bytes: Bytes::Read(bytes), outline: None }
        }
    };
    let compiled = code.outline.is_some();
    let config =
        if compiled || !settings.aot { config } else { engine::config(Settings { aot: false, ..settings })? };
    let ast = parse(source.path(), &config, &code.bytes)?;
    let compiled = compiled && !engine::leaves_code_unused(&engine::take_log());
    let outline = code.outline.unwrap_or_else(|| Outline::of(&code.bytes));
    drop(code.bytes);
    check_memory(source.path(), &outline, max_pages)?;
    let uses = link::check_imports(source.path(), &ast, wasi)?;
    Ok(Loaded {
        compiled,
        min_pages: outline.min_pages,
        max_pages,
        fuel: limits.fuel,
        entry: link::Entry::none(),
        source,
        config,
        ast,
        uses,
        start,
    })
}

fn aot_is_of(module: &Module, digest: &str) -> bool {
    module.aot.as_ref().is_some_and(|aot| aot.digest == digest)
}

/// A module that was pinned is that one, or none.
fn check_digest(path: &str, bytes: &[u8], digest: Option<&str>) -> Result<()> {
    use std::fmt::Write as _;
    let Some(wanted) = digest else { return Ok(()) };
    let found = Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    if found == wanted {
        return Ok(());
    }
    let message = format!("module {path}: its SHA-256 is {found}, not {wanted}");
    Err(Error::new(ErrorKind::Module, message))
}

struct Code {
    bytes: Bytes,
    outline: Option<Outline>,
}

/// A module of the container's, or compiled code of the cache's.
enum Bytes {
    Read(Vec<u8>),
    Mapped(Mmap),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// The last component of a path, which is what execve(2) makes a process's name of.
fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// Ahead-of-time code, if it belongs to the module in the container and to this engine, and can do what is asked.
///
/// A cache entry that does not fit is no error: the runtime chose it before it could see the container's own file,
/// and the module runs without it. Who wants to know asks [`Prepared::compiled`].
fn usable(source: &Source, kind: compile::Kind, aot: &Aot, entry: OwnedFd) -> Option<(Mmap, Outline)> {
    if !source.is(&aot.module) {
        return None;
    }
    let bytes = module::map_aot(aot, entry).ok()?;
    let outline = Outline::of(&bytes);
    let mark = compile::Mark::parse(outline.mark.as_deref()?)?;
    mark.serves(kind).then_some((bytes, outline))
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

fn refused(error: hose::Error) -> Error {
    Error::with(ErrorKind::Request, "hose", error)
}

fn name(text: &str) -> Result<Name> {
    text.parse().map_err(refused)
}

pub(crate) fn names(list: &[String]) -> Result<Vec<Name>> {
    list.iter().map(|text| name(text)).collect()
}

fn endpoint(hose: &Hose) -> Result<Option<Endpoint>> {
    let Some(end) = &hose.endpoint else { return Ok(None) };
    let listener = end.listener_fd.and_then(process::own);
    let rendezvous = process::own(end.rendezvous_fd)
        .ok_or_else(|| Error::new(ErrorKind::Request, "hose: no descriptor of the rendezvous"))?;
    let secret = hose::Secret::from_hex(&end.secret).map_err(refused)?;
    Ok(Some(Endpoint { secret, rendezvous, listener }))
}

fn ready(hose: &Hose, endpoint: Option<Endpoint>) -> Result<Ready> {
    let limits = hose::Limits::new(
        Duration::from_millis(hose.connect_timeout_ms),
        Duration::from_millis(hose.io_timeout_ms),
        hose.max_size,
    )
    .map_err(refused)?;
    Ok(Ready {
        name: name(&hose.name)?,
        workflow: hose.workflow.parse().map_err(refused)?,
        targets: names(&hose.targets)?,
        limits,
        transfer: hose.transfer.parse().map_err(refused)?,
        endpoint,
        network: hose.network.as_ref().map(network).transpose()?,
        max_inflight: usize::try_from(hose.max_inflight).unwrap_or(usize::MAX),
        lifecycle: hose.lifecycle,
        bound: Bound { stdin: hose.stdin, stdout: hose.stdout },
        statistics: Statistics::of(hose.statistics),
        within: None,
    })
}

/// Listens: in here, because only here it is the container's network.
fn network(asked: &request::Network) -> Result<Network> {
    let address = |text: &str| {
        text.parse::<SocketAddr>()
            .map_err(|_| Error::new(ErrorKind::Request, format!("hose: {text} is no address")))
    };
    let mut means = tcp::Network::new().with_trusted(asked.trusted.parse().map_err(refused)?);
    if let Some(keys) = &asked.keys {
        means = means.with_keys(keys.parse().map_err(refused)?);
    }
    for (target, at) in &asked.addresses {
        means = means.with_target(name(target)?, address(at)?);
    }
    let listen = asked.listen.as_deref().map(address).transpose()?;
    let listener = listen.map(|at| means.listen(at)).transpose();
    let listener = listener.map_err(|error| Error::with(ErrorKind::System, "hose", error))?;
    Ok(Network { means, listener, preferred: asked.preferred })
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
