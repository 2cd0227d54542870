//! `hose add`: a further function for a workflow that runs.
//!
//! What `create` does for the functions of `hose/modules` is done for one more: its module is found in the container, pinned by digest, its
//! compiled code is looked up, or made, and the process is told over its control socket: it loads it with the container's privileges.

use std::os::fd::AsFd as _;
use std::path::Path;

use ::hose::Name;
use executor_abi::request::Add;

use crate::annotation::Annotations;
use crate::annotation::hose::Module;
use crate::bundle::Bundle;
use crate::compile;
use crate::config::Settings;
use crate::control;
use crate::endpoint::Endpoint;
use crate::engine::{Engine, Folders};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::hoses::without_hose;
use crate::id::ContainerId;
use crate::state::{State, Status, Store};
use crate::tree::Tree;
use crate::turn::Turn;
use crate::wasm;
use crate::workload::{self, Further};

/// Adds `module` to the functions of a container's process, and to the targets of `senders`; without any, to those of the container's own
/// function. `binary` is the runtime's where it is installed.
///
/// # Errors
///
/// [`ErrorKind::NotFound`], [`ErrorKind::Status`] for a container that does not run; [`ErrorKind::Hose`] for one whose hose does not
/// reach further functions, and for what its process refuses; [`ErrorKind::Module`]. The functions that run notice nothing.
pub fn add(
    store: &Store,
    id: &ContainerId,
    module: &Module,
    senders: &[Name],
    binary: &Path,
    settings: &Settings,
) -> Result<()> {
    let claim = store.lock(id)?;
    let mut state = claim.load()?;
    let refused = |kind, why: String| Error::new(kind, format!("container {id}: {why}"));
    let status = state.status_under_lock();
    let mut endpoint = endpoint(&state).map_err(|why| refused(ErrorKind::Hose, why.to_owned()))?;
    if status != Status::Running {
        return Err(refused(ErrorKind::Status, format!("is {}, not running", status.as_str())));
    }
    let bundle = Bundle::parse(state.bundle.clone(), claim.load_config()?)?;
    let annotations = Annotations::of(bundle.spec())?;
    workload::check_memory_for_one_more(&annotations, bundle.spec(), 1 + endpoint.functions.len())
        .context(ErrorKind::Hose, || format!("container {id}"))?;
    let ended = || refused(ErrorKind::Status, "has ended".to_owned());
    let root = state.init.map(|init| init.root()).transpose()?.flatten().ok_or_else(ended)?;
    let opened = Further::open(&Tree::of_root(root), module.path())?;
    let (folders, aot) = (Folders::find(binary)?, annotations.aot());
    let engine = Engine::load(&folders)?;
    let wanted = compile::Wanted {
        path: module.path(),
        file: opened.file(),
        identity: opened.identity(),
        aot,
        fuel: annotations.limits().fuel.is_some(),
        interruptible: true,
    };
    let mut code = compile::code(wanted, binary, &folders, engine, settings, &Turn::default())?;
    let own = vec![endpoint.name.clone()];
    let senders = if senders.is_empty() { own } else { senders.iter().map(ToString::to_string).collect() };
    let function = wasm::function(module, wasm::module(&wanted, &code, settings)?);
    let add = Add { function, senders };
    let entry = code.entry.as_ref().map(|entry| entry.file().as_fd());
    control::add(claim.folder(), &add, entry).context(ErrorKind::Hose, || format!("container {id}"))?;
    if add.senders.contains(&endpoint.name) {
        endpoint.targets.push(module.name().to_string());
    }
    endpoint.functions.push(module.name().to_string());
    if let Some(wasm) = &mut state.wasm {
        wasm.endpoint = Some(endpoint);
    }
    claim.save(&state)?;
    crate::start::compile(code.pending.take().map(Ok));
    Ok(())
}

/// A copy of what the state says of the hose, if further functions can be in it.
fn endpoint(state: &State) -> std::result::Result<Endpoint, &'static str> {
    let Some(endpoint) = state.wasm.as_ref().and_then(|wasm| wasm.endpoint.clone()) else {
        return Err(without_hose(state));
    };
    if endpoint.modes.iter().any(|mode| mode == "user") {
        return Ok(endpoint);
    }
    Err("its hose reaches no further functions of its process (hose/mode has no user)")
}
