//! From a [`WasmConfig`] to an init that is a function: the step between this crate and the executor.
//!
//! Before the fork [`launch`] loads the executor, opens what init needs of the host (an entry of compiled code for each module, the
//! listening sockets, the rendezvous mount: three kinds of things, and no others; beside them a page of memory to count in), and publishes the container's end of the hose. Inside the
//! container [`Function`] hands it all to the executor in one request, as the last thing before `create` returns; after
//! `start` it runs it, and its exit code is the process's.
//!
//! `procfs` finds what a function's root (see `crate::root`) must not show.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use executor_abi::request::{self, Preopen};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use crate::annotation::hose::{self, Hose};
use crate::annotation::lifecycle::Lifecycle;
use crate::bundle::Bundle;
use crate::cache::Entry;
use crate::compile::{self, Code, Pending, Wanted};
use crate::config::Settings;
use crate::control;
use crate::endpoint::Endpoint;
use crate::engine::{Engine, Folders, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::mountinfo::{self, Mount};
use crate::network;
use crate::rendezvous::{Claim, End, Planned, milliseconds};
use crate::statistics::Page;
use crate::turn::Turn;
use crate::workload::WasmConfig;

/// Variables that libcontainer adds for socket activation, see sd_listen_fds(3).
const LISTEN: [&str; 2] = ["LISTEN_FDS", "LISTEN_PID"];

/// Around a launch: whose, and by whose rules.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The runtime's binary where it is installed: the engine's folder follows from it.
    pub binary: &'a Path,
    /// The administrator's settings.
    pub settings: &'a Settings,
    /// The container's annotations, for the tenant.
    pub annotations: &'a HashMap<String, String>,
    /// Its configuration, for what it can see of the host.
    pub spec: &'a Spec,
    /// The container's id.
    pub id: &'a str,
    /// Its state folder.
    pub folder: &'a Path,
    /// This start's turn, which it gives back if it has to wait for a compiler.
    pub(crate) turn: &'a Turn,
}

/// Is told of what will be published, before it is: whoever is killed meanwhile leaves that to be taken back.
pub type Announce<'a> = &'a dyn Fn(&State) -> Result<()>;

/// What a container's state records of its function.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Path of the module in the container.
    pub module: PathBuf,
    /// Its end of the hose, where other containers find it.
    pub hose: Option<Claim>,
    /// What its hose is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

impl State {
    /// Takes back what was published: for `delete`, and for a container that was found dead.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Hose`].
    pub fn withdraw(&self) -> Result<()> {
        self.hose.as_ref().map_or(Ok(()), Claim::withdraw)
    }
}

/// A function that is ready to be handed to libcontainer. What was published is withdrawn when it is dropped, unless
/// [`Launch::created`] was called.
pub struct Launch {
    function: Function,
    state: State,
    pending: Vec<Pending>,
    keep: bool,
}

/// Prepares a function: everything that has to happen before the fork.
///
/// With `join` the function joins a container that runs already (`exec`): it gets no end of the hose, because that
/// name is init's.
///
/// # Errors
///
/// [`ErrorKind::Engine`], [`ErrorKind::Module`], [`ErrorKind::Hose`], [`ErrorKind::Config`], [`ErrorKind::Cache`]. Nothing is left published.
pub fn launch(
    config: &WasmConfig,
    around: &Surroundings<'_>,
    join: bool,
    announce: Announce<'_>,
) -> Result<Launch> {
    let settings = around.settings;
    let folders = Folders::find(around.binary)?;
    let engine = Engine::load(&folders)?;
    let modules = modules(config, join);
    let mut codes = Vec::new();
    for wanted in &modules {
        codes.push(compile::code(*wanted, around.binary, &folders, engine, settings, around.turn)?);
    }
    let own = config.hose().filter(|_| !join);
    // What can be refused first: what is published is withdrawn by a launch only.
    let network = own.and_then(|hose| Some((hose, hose.network()?)));
    let network = network.map(|(hose, network)| {
        let tenant = settings.tenant(around.annotations)?;
        network::request(network, hose.config(), settings, &tenant, around.spec)
    });
    let network = network.transpose()?;
    let page = own.map(|_| Page::create(around.folder)).transpose()?;
    let control = own.filter(|hose| hose.reaches_within());
    let control = control.map(|_| control::create(around.folder)).transpose()?;
    let end = own.filter(|hose| hose.reaches_containers());
    let planned = end.map(|hose| Planned::new(hose.config(), settings, around.annotations, around.id));
    let planned = planned.transpose()?;
    let state = State {
        module: config.path().to_owned(),
        hose: planned.as_ref().map(|planned| planned.claim().clone()),
        endpoint: own.map(Endpoint::of),
    };
    let end = planned.map(|planned| announce(&state).and_then(|()| planned.publish())).transpose()?;
    let ends = Ends { end: end.as_ref(), network, page: page.as_ref(), control: control.as_ref() };
    let request = request(config, around, &modules, &codes, ends, join)?;
    let pending = codes.iter_mut().filter_map(|code| code.pending.take()).collect();
    let codes = codes.into_iter().filter_map(|code| code.entry).collect();
    let held = Held { _end: end, _page: page, _control: control, _codes: codes };
    let function =
        Function { engine, request: Rc::new(request), prepared: Rc::default(), _held: Rc::new(held) };
    Ok(Launch { function, state, pending, keep: false })
}

/// The modules of a process: the container's own function first.
fn modules(config: &WasmConfig, join: bool) -> Vec<Wanted<'_>> {
    let hose = config.hose().filter(|_| !join);
    let serves = hose.is_some_and(|hose| hose.service().lifecycle() == Lifecycle::Serve);
    let own = Wanted {
        path: config.path(),
        file: config.module(),
        identity: config.identity(),
        aot: config.aot(),
        fuel: config.limits().fuel.is_some(),
        interruptible: serves,
    };
    let further = hose.map(Hose::modules).unwrap_or_default().iter().zip(config.further());
    let further = further.map(|(module, opened)| Wanted {
        path: module.path(),
        file: opened.file(),
        identity: opened.identity(),
        interruptible: true,
        ..own
    });
    std::iter::once(own).chain(further).collect()
}

impl Launch {
    /// What libcontainer calls inside the container.
    #[must_use]
    pub fn function(&self) -> Function {
        self.function.clone()
    }

    /// What the container's state has to record.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What remains to be compiled once the function runs.
    #[must_use]
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// The container exists, with its state on disk: what was published is from now on `delete`'s to withdraw. Gives
    /// what remains to be compiled once the function runs.
    #[must_use]
    pub fn created(mut self) -> Vec<Pending> {
        self.keep = true;
        std::mem::take(&mut self.pending)
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.state.withdraw()
        {
            tracing::warn!("{error}");
        }
    }
}

/// What of a function's hose init is given.
struct Ends<'a> {
    end: Option<&'a End>,
    network: Option<request::Network>,
    page: Option<&'a Page>,
    control: Option<&'a OwnedFd>,
}

/// Descriptors, and a mapping, that live as long as any copy of the function in this process.
struct Held {
    _end: Option<End>,
    _page: Option<Page>,
    _control: Option<OwnedFd>,
    _codes: Vec<Entry>,
}

/// The container's init, as libcontainer sees it.
#[derive(Clone)]
pub struct Function {
    engine: Engine,
    request: Rc<request::Prepare>,
    prepared: Rc<RefCell<Option<Prepared>>>,
    _held: Rc<Held>,
}

impl Executor for Function {
    /// Nothing yet: what `setup_envs` learns belongs to the request, and it is called next.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// Hands the request over; a module that does not load fails `create` here. The process's own environment is left alone: the
    /// function's is in the request, in the spec's order.
    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let mut request = (*self.request).clone();
        let listen = LISTEN.iter().filter_map(|name| envs.get(*name).map(|value| format!("{name}={value}")));
        request.env.extend(listen);
        let prepared =
            self.engine.prepare(&request).map_err(|error| ExecutorSetEnvsError::Other(error.to_string()))?;
        *self.prepared.borrow_mut() = Some(prepared);
        Ok(())
    }

    /// Does not return.
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let prepared = self.prepared.borrow_mut().take().ok_or(ExecutorError::CantHandle("wasm"))?;
        prepared.run_and_exit()
    }
}

/// Everything that the executor needs to know. `modules` and `codes` are those of the process, one for one.
fn request(
    config: &WasmConfig,
    around: &Surroundings<'_>,
    modules: &[Wanted<'_>],
    codes: &[Code],
    ends: Ends<'_>,
    join: bool,
) -> Result<request::Prepare> {
    let limits = config.limits();
    let settings = around.settings;
    let mut requested = modules.iter().zip(codes).map(|(wanted, code)| module(wanted, code, settings));
    let mut own = requested.next().unwrap_or_else(|| Err(Error::new(ErrorKind::Module, "no module")))?;
    own.function = config.function().map(str::to_owned);
    let further = requested.collect::<Result<Vec<_>>>()?;
    Ok(request::Prepare {
        module: own,
        args: config.args().to_vec(),
        env: config.env().to_vec(),
        // Every mount lies below the root, and the kernel knows which of them are read-only.
        preopens: vec![Preopen { guest: "/".to_owned(), host: "/".to_owned(), read_only: false }],
        limits: request::Limits {
            max_memory: limits.max_memory,
            timeout_ms: limits.timeout.map(milliseconds),
            fuel: limits.fuel,
        },
        confine: settings.confines_functions() && !has_filter(around.spec),
        hose: config.hose().filter(|_| !join).map(|hose| hose_request(hose, further, ends)),
    })
}

/// Whether a container's configuration says which system calls it may make.
fn has_filter(spec: &Spec) -> bool {
    spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some())
}

pub(crate) fn module(wanted: &Wanted<'_>, code: &Code, settings: &Settings) -> Result<request::Module> {
    let path = wanted.path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Module, format!("module {}: its path is not UTF-8", wanted.path.display()))
    })?;
    Ok(request::Module {
        path: path.to_owned(),
        function: None,
        aot: code.entry.as_ref().map(|entry| request::Aot {
            fd: entry.file().as_raw_fd(),
            offset: entry.offset(),
            len: entry.len(),
            module: wanted.identity,
            digest: code.digest.clone(),
        }),
        max_size: settings.max_module_size(),
    })
}

fn names(list: &[::hose::Name]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A further function, of whose module the rest is known.
pub(crate) fn function(asked: &hose::Module, module: request::Module) -> request::Function {
    request::Function {
        name: asked.name().to_string(),
        module: request::Module { function: asked.function().map(str::to_owned), ..module },
        digest: asked.digest().to_owned(),
        targets: names(asked.targets()),
    }
}

fn hose_request(hose: &Hose, modules: Vec<request::Module>, ends: Ends<'_>) -> request::Hose {
    let (config, limits) = (hose.config(), hose.config().limits());
    request::Hose {
        name: config.name().to_string(),
        workflow: config.workflow().to_string(),
        targets: names(config.targets()),
        endpoint: ends.end.map(End::request),
        network: ends.network,
        functions: hose
            .modules()
            .iter()
            .zip(modules)
            .map(|(asked, module)| function(asked, module))
            .collect(),
        control_fd: ends.control.map(AsRawFd::as_raw_fd),
        transfer: config.transfer().to_string(),
        connect_timeout_ms: milliseconds(limits.connect_timeout()),
        io_timeout_ms: milliseconds(limits.io_timeout()),
        max_size: limits.max_size(),
        statistics: ends.page.map(Page::request),
        max_inflight: hose.service().max_inflight(),
        stdin: hose.streams().stdin,
        stdout: hose.streams().stdout,
        lifecycle: match hose.service().lifecycle() {
            Lifecycle::Oneshot => request::Lifecycle::Oneshot,
            Lifecycle::Serve => {
                request::Lifecycle::Serve { drain_timeout_ms: milliseconds(hose.service().drain_timeout()) }
            }
        },
    }
}

/// Places in the container where a procfs will be seen: absolute paths.
///
/// # Errors
///
/// [`ErrorKind::Bundle`] when the container has no mount namespace of its own: covering them would reach the host's.
pub(crate) fn procfs(spec: &Spec, bundle: &Bundle) -> Result<Vec<PathBuf>> {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let own = namespaces.iter().any(|ns| ns.typ() == LinuxNamespaceType::Mount && ns.path().is_none());
    if !own {
        let message = "linux.namespaces: a Wasm container needs a mount namespace of its own, to keep procfs out of reach";
        return Err(Error::new(ErrorKind::Bundle, message));
    }
    Ok(procfs_places(spec, bundle.path(), bundle.rootfs(), &procfs_mounts(&mountinfo::read()?)))
}

/// Refuses a mount that the function could not reach.
///
/// With another working directory than `/` each directory of the root is a preopen by its own name, and the engine takes none
/// with a colon in it (see the executor's `wasi`).
///
/// # Errors
///
/// [`ErrorKind::Bundle`], naming the mount.
pub(crate) fn check_mounts(spec: &Spec) -> Result<()> {
    if spec.process().as_ref().is_none_or(|process| process.cwd() == Path::new("/")) {
        return Ok(());
    }
    let top = |path: &Path| path.iter().find(|name| *name != "/").map(|name| name.to_owned());
    let mut destinations = spec.mounts().iter().flatten().map(|mount| mount.destination());
    match destinations.find(|path| top(path).is_some_and(|name| name.as_encoded_bytes().contains(&b':'))) {
        None => Ok(()),
        Some(path) => {
            let message = format!(
                "mount {}: a function whose working directory is not / cannot reach a folder of / with a colon in its name",
                path.display()
            );
            Err(Error::new(ErrorKind::Bundle, message))
        }
    }
}

/// Masks every procfs for the whole container: what is left where libcontainer does not ask the executor for its root.
#[cfg_attr(libcontainer_asks_the_executor, cfg(test))]
pub(crate) fn mask(spec: &mut Spec, places: &[PathBuf]) {
    let mut linux = spec.linux().clone().unwrap_or_default();
    let below = |path: &str| places.iter().any(|place| Path::new(path).starts_with(place));
    // What lies below a mask needs none of its own, and would not be found behind it.
    let mut masked: Vec<String> = linux.masked_paths().clone().unwrap_or_default();
    masked.retain(|path| !below(path));
    masked.extend(places.iter().map(|place| place.to_string_lossy().into_owned()));
    let mut read_only = linux.readonly_paths().clone().unwrap_or_default();
    read_only.retain(|path| !below(path));
    linux.set_masked_paths(Some(masked)).set_readonly_paths(Some(read_only));
    spec.set_linux(Some(linux));
}

/// Mount points of the host where a procfs is mounted.
fn procfs_mounts(mountinfo: &str) -> Vec<PathBuf> {
    Mount::all(mountinfo).filter(|mount| mount.kind == "proc").map(|mount| mount.point()).collect()
}

/// Where in the container a procfs would be seen: mounted as such, or within what is bound from the host, the root file
/// system included.
fn procfs_places(spec: &Spec, bundle: &Path, rootfs: &Path, procfs: &[PathBuf]) -> Vec<PathBuf> {
    let mut places = bound(rootfs, Path::new("/"), procfs);
    for mount in spec.mounts().iter().flatten() {
        let destination = Path::new("/").join(mount.destination());
        match (mount.typ().as_deref(), mount.source()) {
            (Some("proc"), _) => places.push(destination),
            (_, Some(source)) => places.extend(bound(&bundle.join(source), &destination, procfs)),
            _ => {}
        }
    }
    places.sort();
    places.dedup();
    places
}

/// Where a procfs is seen when `source` of the host stands at `destination`.
fn bound(source: &Path, destination: &Path, procfs: &[PathBuf]) -> Vec<PathBuf> {
    let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let within = |point: &PathBuf| {
        if source.starts_with(point) {
            return Some(destination.to_owned());
        }
        point.strip_prefix(&source).ok().map(|rest| destination.join(rest))
    };
    procfs.iter().filter_map(within).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(mounts: serde_json::Value, own_namespace: bool) -> Spec {
        let namespaces =
            if own_namespace { json!([{ "type": "mount" }]) } else { json!([{ "type": "pid" }]) };
        let config = json!({
            "ociVersion": "1.0.2", "root": { "path": "rootfs" }, "mounts": mounts,
            "linux": { "namespaces": namespaces, "maskedPaths": ["/proc/kcore", "/sys/firmware"],
                       "readonlyPaths": ["/proc/sys", "/sys/fs"] },
        });
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn every_procfs_is_masked_whole() {
        let mounts = json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/second", "type": "proc", "source": "/nonexistent" },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" },
        ]);
        let mut spec = spec(mounts, true);
        let places = procfs_places(&spec, Path::new("/bundle"), Path::new("/bundle/rootfs"), &[]);
        mask(&mut spec, &places);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_deref().unwrap(), ["/sys/firmware", "/proc", "/second"]);
        assert_eq!(linux.readonly_paths().as_deref().unwrap(), ["/sys/fs"]);
    }

    #[test]
    fn a_procfs_that_is_bound_from_the_host_is_masked_too() {
        let mounts = json!([
            { "destination": "/a", "type": "bind", "source": "/proc", "options": ["rbind"] },
            { "destination": "/b", "type": "bind", "source": "/proc/self", "options": ["bind"] },
            { "destination": "/c", "type": "bind", "source": "/", "options": ["rbind"] },
            { "destination": "/d", "type": "bind", "source": "/etc", "options": ["rbind"] },
        ]);
        let procfs = ["/proc".into(), "/srv/root/proc".into()];
        let places =
            procfs_places(&spec(mounts, true), Path::new("/bundle"), Path::new("/srv/root"), &procfs);
        let expected: Vec<PathBuf> =
            ["/a", "/b", "/c/proc", "/c/srv/root/proc", "/proc"].map(PathBuf::from).into();
        assert_eq!(places, expected);
    }

    #[test]
    fn without_a_mount_namespace_of_its_own_a_function_is_refused() {
        let mounts = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
        let mut spec = spec(mounts, false);
        let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/m"], "cwd": "/" });
        spec.set_process(serde_json::from_value(process).unwrap());
        spec.root_mut().as_mut().unwrap().set_path("/tmp".into());
        let text = serde_json::to_vec(&spec).unwrap();
        let bundle = Bundle::parse("/".into(), text).unwrap();
        let error = procfs(&spec, &bundle).unwrap_err();
        assert!(error.to_string().contains("linux.namespaces"), "{error}");
    }

    #[test]
    fn a_mount_that_no_preopen_could_name_is_refused() {
        for (cwd, destination, refused) in [
            ("/", "/a:b/c", false),
            ("/work", "/a:b/c", true),
            ("/work", "a:b", true),
            ("/work", "/a/b:c", false),
        ] {
            let mut spec = spec(json!([{ "destination": destination, "source": "/x" }]), true);
            let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/m"], "cwd": cwd });
            spec.set_process(serde_json::from_value(process).unwrap());
            let result = check_mounts(&spec);
            assert_eq!(result.is_err(), refused, "{cwd} {destination}");
            assert!(result.map_or_else(|error| error.to_string().contains(destination), |()| true));
        }
    }

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let mountinfo = "22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
                         23 1 0:22 / /sys rw shared:7 - sysfs sysfs rw\n\
                         24 1 0:23 / /a\\040b\\134/proc rw shared:1 master:2 - proc none rw\n";
        assert_eq!(procfs_mounts(mountinfo), [PathBuf::from("/proc"), PathBuf::from("/a b\\/proc")]);
    }
}
