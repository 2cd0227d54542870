//! What libcontainer calls inside a container: a native program, or a function of the engine.
//!
//! Everything that a function needs of the host happens here before the fork, and is taken back when the
//! container does not come to be.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use libcontainer::apparmor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::{Process, Spec};
use rustix::process::DumpableBehavior;

use crate::bundle::Bundle;
use crate::cgroup::Door;
use crate::compile::{Background, Pending};
use crate::config::Settings;
use crate::detach;
use crate::error::{Error, ErrorKind, Result};
use crate::handover;
use crate::id::ContainerId;
#[cfg(libcontainer_asks_the_executor)]
use crate::lsm::{self, Attribute, Labelled};
use crate::native::Native;
use crate::root::Root;
use crate::signals::{self, Inherited};
use crate::terminal;
use crate::trust;
use crate::turn::Turn;
use crate::wasm::{self, Function, Launch, Surroundings};
use crate::workload::Workload;

/// What a container's process becomes.
#[derive(Clone)]
pub(crate) struct Init {
    work: Work,
    /// Of cgroups that it joins.
    doors: Rc<[Door]>,
    /// Whether it is a further process of a container.
    further: bool,
    /// Whether its user may look into it while it waits.
    may_be_seen: bool,
    /// Descriptors of the command's that it shall not have while it waits.
    unwanted: Vec<i32>,
}

#[derive(Clone)]
enum Work {
    Native(Native),
    Wasm {
        function: Function,
        signals: Inherited,
        root: Rc<RefCell<Option<Root>>>,
        /// Whether AppArmor is active here.
        #[cfg_attr(not(libcontainer_asks_the_executor), expect(dead_code, reason = "nobody asks"))]
        profiled: bool,
    },
}

impl Executor for Init {
    #[cfg(libcontainer_asks_the_executor)]
    fn before_privileges_drop(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // It passes on a text, and no source.
        self.confine(spec).map_err(|error| ExecutorError::Other(crate::error::chain(&error)))
    }

    // The debug lines of these steps begin with the words of runc's log, for those who look for them.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        tracing::debug!("child process in init(): namespaces, root and privileges are as configured");
        self.unwanted.iter().copied().for_each(detach::close_forked);
        spec.process().as_ref().map_or(Ok(()), size_console).map_err(|errno| {
            ExecutorValidationError::ArgValidationError(format!("process.consoleSize: {errno}"))
        })?;
        for door in self.doors.iter() {
            door.enter().map_err(ExecutorValidationError::ArgValidationError)?;
        }
        match &self.work {
            Work::Native(native) => native.validate(spec),
            Work::Wasm { function, .. } => function.validate(spec),
        }
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        if !self.further {
            if self.may_be_seen {
                // Until it is a program. Else the user who called has not the privilege to find its namespaces, and to execute something in a container that waits.
                rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
                    .map_err(|errno| ExecutorSetEnvsError::Other(format!("PR_SET_DUMPABLE: {errno}")))?;
            }
            tracing::debug!("init: closing the pipe to signal completion: the container waits for start");
            signals::wait_mortally(true)
                .map_err(|errno| ExecutorSetEnvsError::Other(format!("sigaction: {errno}")))?;
        }
        match &self.work {
            Work::Native(native) => native.setup_envs(envs),
            Work::Wasm { function, .. } => function.setup_envs(envs),
        }
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        if self.further {
            tracing::debug!("setns_init: about to exec");
        }
        match &self.work {
            Work::Native(native) => native.exec(spec),
            Work::Wasm { function, signals, .. } => {
                // A pipe that nobody reads is the function's errno, not its end: SIGPIPE stays ignored. What `run`
                // blocks to pass it on must reach a function, though.
                signals::wait_mortally(false)
                    .and_then(|()| signals.restore_mask())
                    .map_err(|errno| ExecutorError::Other(format!("signal mask: {errno}")))?;
                function.exec(spec)
            }
        }
    }
}

impl Init {
    /// Makes the process and what is mounted what the security modules shall know them as, and gives a function its root.
    #[cfg(libcontainer_asks_the_executor)]
    fn confine(&self, spec: &Spec) -> Result<()> {
        let process = spec.process().as_ref();
        lsm::label_queues(spec)?;
        let label = |labelled| lsm::label_of(process).map(|text| Attribute::label(labelled, text));
        let Work::Wasm { root, profiled, .. } = &self.work else {
            return label(Labelled::Next).transpose()?.map_or(Ok(()), |label| label.set());
        };
        // A function is no program that is executed, and procfs is out of its root's reach.
        let profile = lsm::profile_of(process).filter(|_| *profiled).map(Attribute::profile);
        let own: Vec<_> = label(Labelled::This).into_iter().chain(profile).collect::<Result<_>>()?;
        let cwd = process.map_or(Path::new("/"), |process| process.cwd());
        root.borrow_mut().take().map_or(Ok(()), |root| root.enter(cwd))?;
        own.iter().try_for_each(Attribute::set)
    }
}

/// The terminal is in place, as standard input, and libcontainer leaves its size alone.
fn size_console(process: &Process) -> rustix::io::Result<()> {
    match (process.terminal(), process.console_size()) {
        (Some(true), Some(size)) => {
            rustix::termios::tcsetwinsize(rustix::stdio::stdin(), terminal::winsize(size))
        }
        _ => Ok(()),
    }
}

/// What the runtime consists of on this host.
#[derive(Clone, Copy)]
pub(crate) struct Installed<'a> {
    /// The binary, see [`crate::sealed::Origin`].
    pub(crate) binary: &'a Path,
    /// The administrator's file.
    pub(crate) config: &'a Path,
    /// The container's state folder.
    pub(crate) folder: &'a Path,
    /// This start's turn.
    pub(crate) turn: &'a Turn,
}

/// A workload that is ready for libcontainer.
pub(crate) struct Ready {
    pub(crate) init: Init,
    launch: Option<Launch>,
}

impl Ready {
    /// Makes a workload ready, for the root that [`adapt`] gave.
    pub(crate) fn new(
        workload: &Workload,
        spec: &Spec,
        id: &ContainerId,
        installed: Installed<'_>,
        signals: Inherited,
        root: Option<Root>,
        announce: wasm::Announce<'_>,
    ) -> Result<Self> {
        let Workload::Wasm(config) = workload else {
            let work = Work::Native(Native::new(signals));
            let may_be_seen = trust::is_rootless();
            return Ok(Self {
                init: Init { work, doors: Rc::default(), further: false, may_be_seen, unwanted: Vec::new() },
                launch: None,
            });
        };
        let settings = Settings::load(installed.config)?;
        let annotations = spec.annotations().clone().unwrap_or_default();
        let binary = installed.binary;
        let around = Surroundings {
            binary,
            settings: &settings,
            annotations: &annotations,
            spec,
            id: id.as_str(),
            folder: installed.folder,
            turn: installed.turn,
        };
        let launch = wasm::launch(config, &around, matches!(root, Some(Root::Of(_))), announce)?;
        let root = Rc::new(RefCell::new(root));
        let profiled = apparmor::is_enabled().unwrap_or(false);
        let work = Work::Wasm { function: launch.function(), signals, root, profiled };
        Ok(Self {
            init: Init {
                work,
                doors: Rc::default(),
                further: false,
                may_be_seen: false,
                unwanted: Vec::new(),
            },
            launch: Some(launch),
        })
    }

    /// The same as a further process of a container, in cgroups that it joins once it is there.
    pub(crate) fn joining(mut self, doors: Vec<Door>) -> Self {
        self.init.further = true;
        self.init.doors = doors.into();
        self
    }

    /// The same, without these descriptors of the command that makes it.
    pub(crate) fn without(mut self, descriptors: impl IntoIterator<Item = i32>) -> Self {
        self.init.unwanted.extend(descriptors);
        self
    }

    /// What the container's state has to record.
    pub(crate) fn state(&self) -> Option<wasm::State> {
        self.launch.as_ref().map(|launch| launch.state().clone())
    }

    /// What is left to compile once the container has started.
    pub(crate) fn uncompiled(&self) -> Vec<Background> {
        let pending = self.launch.iter().flat_map(Launch::pending);
        pending.map(|pending| pending.job().clone()).collect()
    }

    /// The process exists: nothing is taken back any more. Gives what is left to compile once it runs.
    pub(crate) fn created(self) -> Vec<Pending> {
        self.launch.map(Launch::created).unwrap_or_default()
    }
}

/// Changes a configuration for a process that is never executed, and says what its root shall be. `joined` is the root of
/// the function whose container it joins.
pub(crate) fn adapt(
    spec: &mut Spec,
    workload: &Workload,
    bundle: &Bundle,
    joined: Option<OwnedFd>,
) -> Result<Option<Root>> {
    if matches!(workload, Workload::Native) {
        return Ok(None);
    }
    wasm::check_mounts(spec)?;
    let root = match joined {
        Some(root) => Root::Of(root),
        None => Root::Covered(wasm::procfs(spec, bundle)?),
    };
    #[cfg(not(libcontainer_asks_the_executor))]
    if let Root::Covered(places) = &root {
        wasm::mask(spec, places);
    }
    let mut process = spec
        .process()
        .clone()
        .ok_or_else(|| Error::new(ErrorKind::Bundle, "process property must not be empty"))?;
    handover::without_exec(&mut process);
    spec.set_process(Some(process));
    Ok(Some(root))
}
