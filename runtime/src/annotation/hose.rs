//! The keys of the hose: who a function is, whom it sends to and how far, and the other functions of its process. Those of the
//! network are in [`network`].
//!
//! `modules` and `routes` are comma lists: `NAME=/PATH[#FUNCTION]@sha256:DIGEST`, and `NAME=TARGET[+TARGET]…` for what the
//! further functions send to. (What the container's own sends to is `target`.)

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use executor_abi::statistics::{VISITOR, VISITORS};
use hose::{Name, Transfer, Workflow};

use super::lifecycle::{self, Service};
use super::network::{self, Network};
use super::streams::{self, Streams};
use super::{HOSE, Keys, Value};
use crate::error::{Error, ErrorKind, Result};

/// Everything that a container's annotations say of its hose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hose {
    config: hose::Config,
    within: bool,
    containers: bool,
    network: Option<Network>,
    modules: Vec<Module>,
    service: Service,
    streams: Streams,
}

/// A further function of the container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    name: Name,
    path: PathBuf,
    function: Option<String>,
    digest: String,
    targets: Vec<Name>,
}

impl Hose {
    /// Name, workflow, targets, limits, and how bytes cross.
    #[must_use]
    pub fn config(&self) -> &hose::Config {
        &self.config
    }

    /// Whether there may be further functions in its process.
    #[must_use]
    pub fn reaches_within(&self) -> bool {
        self.within
    }

    /// Whether it reaches functions of other containers of this host, and is reached by them.
    #[must_use]
    pub fn reaches_containers(&self) -> bool {
        self.containers
    }

    /// How it reaches functions of other hosts, if it does.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// How long the container's own function lives, and what may wait for it.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// What the standard streams of the container's own function are bound to.
    #[must_use]
    pub fn streams(&self) -> Streams {
        self.streams
    }

    /// The further functions, in the order given.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }
}

/// `NAME=/PATH[#FUNCTION]@sha256:DIGEST`, without targets. The error says what the text is not, or has not.
impl FromStr for Module {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let malformed = || "is not NAME=/PATH[#FUNCTION]@sha256:DIGEST".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(malformed)?;
        let name: Name = name.trim().parse().map_err(|why: hose::Error| format!("is not valid: {why}"))?;
        let (place, digest) = rest.rsplit_once("@sha256:").ok_or_else(malformed)?;
        let is_hex = digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digest.len() != 64 || !is_hex {
            return Err(format!("has no SHA-256 of 64 lower-case hexadecimal digits for {name}"));
        }
        let (path, function) = match place.split_once('#') {
            Some((path, function)) => (path, Some(function)),
            None => (place, None),
        };
        if !path.starts_with('/') || function == Some("") {
            return Err(malformed());
        }
        let (path, function) = (PathBuf::from(path), function.map(str::to_owned));
        Ok(Self { name, path, function, digest: digest.to_owned(), targets: Vec::new() })
    }
}

impl Module {
    /// The same, with those whom it sends to.
    #[must_use]
    pub fn with_targets(self, targets: Vec<Name>) -> Self {
        Self { targets, ..self }
    }

    /// Name of the function.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Absolute path of its module in the container.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The exported function to call in place of its own entry point.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    /// SHA-256 that the module must have, in lower-case hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whom it sends to.
    #[must_use]
    pub fn targets(&self) -> &[Name] {
        &self.targets
    }
}

/// Which transports a container asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes {
    user: bool,
    kernel: bool,
    network: bool,
    /// The network stands before the kernel.
    network_first: bool,
}

/// Reads the keys of the hose. Every value is read, also where the mode leaves it without effect.
pub(super) fn parse(keys: &Keys<'_>) -> Result<Option<Hose>> {
    let modules = modules(keys)?;
    let name = parsed::<Name>(keys, "name")?;
    if let (Some(name), Some(value)) = (&name, keys.get(HOSE, "name"))
        && (name.as_str() == VISITORS || name.as_str().starts_with(VISITOR))
    {
        return Err(value.invalid("is the host's own, for rr-runtime invoke"));
    }
    let workflow = parsed::<Workflow>(keys, "workflow")?;
    let targets = targets(keys)?;
    let network = network::parse(keys, &targets)?;
    let modes = modes(keys, !modules.is_empty(), !network.is_empty())?;
    let limits = limits(keys)?;
    let transfer = transfer(keys)?;
    let routes = routes(keys)?;
    let service = lifecycle::parse(keys)?;
    let streams = streams::parse(keys)?;
    let Some(modes) = modes else { return Ok(None) };
    let missing =
        |key| Error::new(ErrorKind::Annotation, format!("annotation {HOSE}{key}: is required by {HOSE}mode"));
    let name = name.ok_or_else(|| missing("name"))?;
    let workflow = workflow.ok_or_else(|| missing("workflow"))?;
    let modules = connect(keys, &name, modules, routes)?;
    check_reach(keys, modes, &targets, &modules, &network)?;
    service.check(keys, modes.kernel || modes.network)?;
    streams.check(keys, service, modes.kernel || modes.network, !targets.is_empty())?;
    let config = hose::Config::new(name, workflow, targets, limits).map_err(|why| {
        let key = keys.get(HOSE, "target").map_or("", |value| value.key);
        Error::with_source(ErrorKind::Annotation, format!("annotation {key}"), why)
    })?;
    let config = config.with_transfer(transfer);
    let network = modes.network.then(|| network.preferring(modes.network_first));
    let within = modes.user;
    Ok(Some(Hose { config, within, containers: modes.kernel, network, modules, service, streams }))
}

/// The transports; nothing for a container without a hose. `auto` is what the placement allows.
fn modes(keys: &Keys<'_>, has_modules: bool, has_network: bool) -> Result<Option<Modes>> {
    let Some(value) = keys.get(HOSE, "mode") else { return Ok(None) };
    let names: Vec<&str> = value.text.split(',').map(str::trim).collect();
    let mut modes = Modes::default();
    for (i, name) in names.iter().enumerate() {
        match *name {
            "none" if names.len() == 1 => return Ok(None),
            "auto" if names.len() == 1 => {
                modes = Modes { user: has_modules, kernel: true, network: has_network, network_first: false };
            }
            "user" => modes.user = true,
            "kernel" => modes.kernel = true,
            "network" => {
                modes.network = true;
                modes.network_first = !modes.kernel;
            }
            "" => return Err(value.invalid("is empty, or has an empty item")),
            "none" | "auto" => return Err(value.invalid(format_args!("has {name} together with others"))),
            _ => return Err(value.invalid("is none of none, auto, or a list of user, kernel, network")),
        }
        if names[..i].contains(name) {
            return Err(value.invalid(format_args!("names {name} twice")));
        }
    }
    Ok(Some(modes))
}

/// What is asked for must be within reach.
fn check_reach(
    keys: &Keys<'_>,
    modes: Modes,
    targets: &[Name],
    modules: &[Module],
    network: &Network,
) -> Result<()> {
    if !modes.user && !modules.is_empty() {
        let key = keys.get(HOSE, "modules").map_or("", |value| value.key);
        let message = format!("annotation {key}: needs user, or auto, in {HOSE}mode");
        return Err(Error::new(ErrorKind::Annotation, message));
    }
    for name in ["listen", "address"] {
        if let Some(value) = keys.get(HOSE, name).filter(|_| !modes.network) {
            let message = format!("annotation {}: needs network, or auto, in {HOSE}mode", value.key);
            return Err(Error::new(ErrorKind::Annotation, message));
        }
    }
    if modes.network && network.is_empty() {
        let message =
            format!("annotation {HOSE}listen or {HOSE}address: is required by network in {HOSE}mode");
        return Err(Error::new(ErrorKind::Annotation, message));
    }
    let within = |target: &Name| modules.iter().any(|module| module.name == *target);
    let reached = |target: &Name| within(target) || modes.kernel || network.knows(target);
    let Some(target) = targets.iter().find(|target| !reached(target)) else { return Ok(()) };
    let key = keys.get(HOSE, "target").map_or("", |value| value.key);
    let message = if modes.network {
        format!("annotation {key}: {target} has no {HOSE}address")
    } else {
        format!(
            "annotation {key}: {target} is not among {HOSE}modules, beyond which {HOSE}mode does not reach"
        )
    };
    Err(Error::new(ErrorKind::Annotation, message))
}

pub(super) fn items<'a>(value: &Value<'a>) -> impl Iterator<Item = &'a str> {
    value.text.split(',').map(str::trim)
}

fn modules(keys: &Keys<'_>) -> Result<Vec<Module>> {
    let Some(value) = keys.get(HOSE, "modules") else { return Ok(Vec::new()) };
    let mut modules: Vec<Module> = Vec::new();
    for item in items(value) {
        let module: Module =
            item.parse().map_err(|why| value.invalid(format_args!("has an item that {why}")))?;
        if modules.iter().any(|other| other.name == module.name) {
            return Err(value.invalid(format_args!("names {} twice", module.name)));
        }
        modules.push(module);
    }
    Ok(modules)
}

pub(super) fn item_name(value: &Value<'_>, text: &str) -> Result<Name> {
    text.trim().parse().map_err(|why: hose::Error| {
        let message = format!("annotation {}: {:?} has an item that is not valid", value.key, value.text);
        Error::with_source(ErrorKind::Annotation, message, why)
    })
}

/// A function, and whom it sends to.
type Route = (Name, Vec<Name>);

fn routes(keys: &Keys<'_>) -> Result<Vec<Route>> {
    let Some(value) = keys.get(HOSE, "routes") else { return Ok(Vec::new()) };
    let mut routes: Vec<Route> = Vec::new();
    for item in items(value) {
        let (from, to) = item
            .split_once('=')
            .ok_or_else(|| value.invalid("has an item that is not NAME=TARGET[+TARGET]…"))?;
        let from = item_name(value, from)?;
        if routes.iter().any(|(other, _)| *other == from) {
            return Err(value.invalid(format_args!("names {from} twice")));
        }
        let to = to.split('+').map(|target| item_name(value, target)).collect::<Result<Vec<_>>>()?;
        routes.push((from, to));
    }
    Ok(routes)
}

/// Gives each module its targets. They are all of this process: a further function is known to other containers by the name
/// of its container's own only.
fn connect(keys: &Keys<'_>, own: &Name, mut modules: Vec<Module>, routes: Vec<Route>) -> Result<Vec<Module>> {
    if let Some(value) = keys.get(HOSE, "modules")
        && modules.iter().any(|module| module.name == *own)
    {
        return Err(value.invalid(format_args!("names {own}, which is the container's own function")));
    }
    let Some(value) = keys.get(HOSE, "routes") else { return Ok(modules) };
    let names: Vec<Name> = modules.iter().map(|module| module.name.clone()).collect();
    for (from, to) in routes {
        if let Some(unknown) = to.iter().find(|target| !names.contains(target)) {
            return Err(value.invalid(format_args!("sends to {unknown}, which is not among {HOSE}modules")));
        }
        if to.contains(&from) {
            return Err(value.invalid(format_args!("lets {from} send to itself")));
        }
        match modules.iter_mut().find(|module| module.name == from) {
            Some(module) => module.targets = to,
            None => {
                return Err(value.invalid(format_args!("speaks of {from}, which is not among {HOSE}modules")));
            }
        }
    }
    Ok(modules)
}

fn transfer(keys: &Keys<'_>) -> Result<Transfer> {
    let Some(value) = keys.get(HOSE, "transfer") else { return Ok(Transfer::Auto) };
    value.text.parse().map_err(|_| value.invalid("is none of auto, copy, move, memfd, splice"))
}

fn parsed<T>(keys: &Keys<'_>, name: &'static str) -> Result<Option<T>>
where
    T: std::str::FromStr<Err = hose::Error>,
{
    let Some(value) = keys.get(HOSE, name) else { return Ok(None) };
    value.text.parse().map(Some).map_err(|why| {
        Error::with_source(
            ErrorKind::Annotation,
            format!("annotation {}: {:?} is not valid", value.key, value.text),
            why,
        )
    })
}

fn targets(keys: &Keys<'_>) -> Result<Vec<Name>> {
    let Some(value) = keys.get(HOSE, "target") else { return Ok(Vec::new()) };
    items(value).map(|item| item_name(value, item)).collect()
}

fn limits(keys: &Keys<'_>) -> Result<hose::Limits> {
    let mut limits = hose::Limits::default();
    // One at a time, so that the message names the key whose bound was crossed.
    if let Some(timeout) = keys.duration(HOSE, "connect-timeout")? {
        limits = bounded(keys, "connect-timeout", timeout, limits.io_timeout(), limits.max_size())?;
    }
    if let Some(timeout) = keys.duration(HOSE, "io-timeout")? {
        limits = bounded(keys, "io-timeout", limits.connect_timeout(), timeout, limits.max_size())?;
    }
    if let Some(size) = keys.bytes(HOSE, "max-size")? {
        limits = bounded(keys, "max-size", limits.connect_timeout(), limits.io_timeout(), size)?;
    }
    Ok(limits)
}

fn bounded(
    keys: &Keys<'_>,
    name: &'static str,
    connect: Duration,
    io: Duration,
    size: u64,
) -> Result<hose::Limits> {
    hose::Limits::new(connect, io, size).map_err(|why| {
        let key = keys.get(HOSE, name).map_or(name, |value| value.key);
        Error::with_source(ErrorKind::Annotation, format!("annotation {key}: is out of bounds"), why)
    })
}
