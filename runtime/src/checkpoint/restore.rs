//! `restore`: a folder of images becomes a running container.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use libcontainer::config::YoukiConfig;
use libcontainer::container::{Container, ContainerStatus};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rust_criu::rust_criu_protobuf::rpc::{
    Cgroup_root, Criu_notify, Criu_opts, Criu_req_type, Inherit_fd, Join_namespace,
};
use serde_json::{Value, json};

use super::apart::Apart;
use super::criu::{self, Criu, Streams};
use super::{DESCRIPTORS, Folders, LEFT, Work, joined, mounts, quote_errors, refuse_functions, version};
use crate::annotation::Annotations;
use crate::bundle::Bundle;
use crate::cgroup::{self, Cgroup, Wanted};
use crate::create::{
    CreateOptions, check_descriptors, check_terminal, container_error, new_state, plan_cgroup, undo,
    write_pid_file,
};
use crate::delete::end_and_clear;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::handover;
use crate::hook;
use crate::id::ContainerId;
use crate::notify;
use crate::process::{Identity, standard_streams};
use crate::receiver::Receiver;
use crate::run::{attend, take_over};
use crate::signals::Inherited;
use crate::state::{Claim, Phase, State, Store};
use crate::workload::Workload;

/// criu's log.
const LOG: &str = "restore.log";
/// Folder in the container's own that criu finds the root file system at: it wants a mount.
const ROOT: &str = "criu-root";
/// The first criu that changes labels.
const RELABELS: u32 = 31_600;

/// What `restore` is told besides what `create` is.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// What `checkpoint` is told, too.
    pub work: Work,
    /// Return once the container runs.
    pub detach: bool,
    /// Another profile of the security module, as `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// Another label of mounts.
    pub lsm_mount_context: Option<String>,
}

/// Restores a container and returns its exit code; 0 when it was detached.
///
/// # Errors
///
/// Any kind; afterwards nothing of the container is left.
pub fn restore(
    store: &Store,
    id: &ContainerId,
    create: &CreateOptions,
    options: &RestoreOptions,
) -> Result<i32> {
    options.work.check_namespaces()?;
    let bundle = Bundle::load(&create.bundle)?;
    check_terminal(bundle.process().terminal(), create.console_socket.is_some(), options.detach)?;
    check_descriptors(0)?;
    let workload = Workload::of_bundle(&bundle, &Annotations::of(bundle.spec())?)?;
    refuse_functions(!matches!(workload, Workload::Native), id)?;
    store.check_free(id)?;
    let spec = handover::for_init(&bundle, id, create.systemd_cgroup)?;
    let folders = options.work.folders()?;
    let descriptors = descriptors(&folders)?;
    let master = Master::of(&bundle, create.console_socket.as_deref())?;
    let version = version()?;
    let blocked = if options.detach { None } else { Some(Inherited::block_all()?.1) };
    let claim = store.claim(id)?;
    let plan = Plan { id, create, options, bundle: &bundle, spec, folders, descriptors, version };
    let (state, master) = match plan.carry_out(&claim, master) {
        Ok(restored) => restored,
        Err(error) => {
            undo(claim);
            return Err(error);
        }
    };
    let init = state.init.map_or(0, |init| init.pid);
    let written = create.pid_file.as_deref().map_or(Ok(()), |path| write_pid_file(path, init));
    if let Err(error) = written.and_then(|()| claim.save(&state)) {
        // The first error is the one to tell; what this leaves, `delete` removes.
        let _ = end_and_clear(store, claim, &state);
        return Err(error);
    }
    drop(claim);
    let Some(blocked) = blocked else { return Ok(0) };
    let relay = master.map(take_over).transpose();
    attend(store, &state, relay, None, &blocked, false)
}

/// What init's standard streams were.
fn descriptors(folders: &Folders) -> Result<Vec<String>> {
    let path = folders.images.join(DESCRIPTORS);
    let text = fs::read(&path).context(ErrorKind::Usage, || format!("{}: cannot be read", path.display()))?;
    serde_json::from_slice(&text).context(ErrorKind::Usage, || format!("{}: is damaged", path.display()))
}

/// Where the master of the container's terminal goes, which criu has made.
#[derive(Debug)]
enum Master {
    /// There is none.
    None,
    /// To the socket that the caller named.
    Sent(Receiver),
    /// To this process, which copies.
    Relayed(Option<OwnedFd>),
}

impl Master {
    fn of(bundle: &Bundle, socket: Option<&Path>) -> Result<Self> {
        match (bundle.process().terminal(), socket) {
            (Some(true), Some(path)) => Receiver::connect("console socket", path).map(Self::Sent),
            (Some(true), None) => Ok(Self::Relayed(None)),
            _ => Ok(Self::None),
        }
    }

    fn take(&mut self, master: Option<OwnedFd>) -> Result<()> {
        match (self, master) {
            (Self::Sent(receiver), Some(master)) => receiver.send(&master, "orphan-pts-master"),
            (Self::Relayed(place), master) => {
                *place = master;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Everything that was decided before the container's folder exists.
struct Plan<'a> {
    id: &'a ContainerId,
    create: &'a CreateOptions,
    options: &'a RestoreOptions,
    bundle: &'a Bundle,
    spec: Spec,
    folders: Folders,
    descriptors: Vec<String>,
    version: u32,
}

impl Plan<'_> {
    /// Restores the container. Gives its state, which is drafted, and its terminal's master, when it is relayed.
    fn carry_out(mut self, claim: &Claim, mut master: Master) -> Result<(State, Option<OwnedFd>)> {
        notify::prepare(&mut self.spec, claim.folder())?;
        let mut state = new_state(self.id, self.bundle, &self.spec, self.create.systemd_cgroup);
        let path =
            self.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone()).unwrap_or_default();
        // Should this process be killed in the midst of it, `delete` finds there what it has made.
        plan_cgroup(&mut state, Some(&path), self.create.systemd_cgroup)?;
        claim.save_draft(&state)?;
        claim.save_config(self.bundle.text())?;
        let namespaces = Namespaces::open(&self.spec, self.version)?;
        let mut criu = self.start(claim, &namespaces)?;
        let restored = self.ask(claim, &mut criu, &path, namespaces, &mut state, &mut master);
        let restored = restored.and_then(|()| criu.end());
        // Of the host's it is an empty folder.
        let _ = fs::remove_dir(claim.folder().join(ROOT));
        if let Err(error) = restored {
            quote_errors(&self.folders.work, LOG);
            if let Some(init) = state.init {
                let _ = init.signal(rustix::process::Signal::KILL);
            }
            let _ = state.cgroup.remove();
            return Err(error);
        }
        Ok((state, if let Master::Relayed(master) = master { master } else { None }))
    }

    /// Starts criu where the root file system is a mount, with the mount points that it needs.
    fn start(&mut self, claim: &Claim, namespaces: &Namespaces) -> Result<Criu> {
        let root = claim.folder().join(ROOT);
        fs::create_dir(&root).context(ErrorKind::State, || format!("{}: cannot be made", root.display()))?;
        let apart = Apart::enter()?;
        let started = rustix::mount::mount_bind_recursive(self.bundle.rootfs(), &root)
            .context(ErrorKind::Container, || format!("mount: {}", root.display()))
            .and_then(|()| mounts::make_points(&self.spec, self.bundle))
            .and_then(|()| self.folders.reopen())
            .and_then(|()| Criu::start(Streams::Ours, &namespaces.descriptors()));
        apart.leave()?;
        started
    }

    /// Lets it restore the container in its cgroup.
    fn ask(
        &self,
        claim: &Claim,
        criu: &mut Criu,
        cgroup: &Path,
        namespaces: Namespaces,
        state: &mut State,
        master: &mut Master,
    ) -> Result<()> {
        // What is restored begins where criu is.
        let wanted = Wanted::new(self.id, self.bundle.spec(), &self.spec, cgroup, state.systemd);
        cgroup::enter(wanted, criu.pid())?;
        state.cgroup = Cgroup::of(criu.pid())?;
        claim.save_draft(state)?;
        let wanted = self.wanted(claim, criu.pid(), &state.cgroup, namespaces)?;
        let container = self.prepare_container(claim)?;
        let answer =
            criu.ask(&criu::request(Criu_req_type::RESTORE, wanted), &mut |notification, descriptor| {
                self.hear(claim, notification, descriptor, &container, state, master)
            });
        answer.map(drop)
    }

    fn hear(
        &self,
        claim: &Claim,
        notification: &Criu_notify,
        descriptor: Option<OwnedFd>,
        container: &Container,
        state: &mut State,
        master: &mut Master,
    ) -> Result<()> {
        match notification.script() {
            "setup-namespaces" => self.run_hooks(container, notification.pid()),
            "orphan-pts-master" => master.take(descriptor),
            "post-restore" => {
                state.init = Some(Identity::of(notification.pid())?);
                state.phase = Phase::Running;
                state.descriptors = standard_streams("self");
                if has_time_of_its_own(notification.pid()) {
                    claim.save_config(&with_time_namespace(self.bundle.text())?)?;
                }
                claim.save_draft(state)?;
                let mut container = container.clone();
                container.set_status(ContainerStatus::Running).set_pid(notification.pid());
                container.save().map_err(|error| container_error(&error))
            }
            _ => Ok(()),
        }
    }

    /// As of a container that is created: its processes have their namespaces by now.
    fn run_hooks(&self, container: &Container, pid: i32) -> Result<()> {
        let mut container = container.clone();
        container.state.pid = Some(pid);
        let Some(hooks) = self.spec.hooks() else { return Ok(()) };
        for hooks in [hooks.prestart(), hooks.create_runtime()] {
            hook::run(hooks.as_ref(), &container).map_err(|error| container_error(&error))?;
        }
        Ok(())
    }

    /// libcontainer's own files, which `exec` and the hooks of `delete` look at.
    fn prepare_container(&self, claim: &Claim) -> Result<Container> {
        let folder = claim.folder().join(self.id);
        fs::create_dir(&folder)
            .context(ErrorKind::State, || format!("{}: cannot be made", folder.display()))?;
        let config = YoukiConfig::from_spec(&self.spec, self.id.as_str());
        config.and_then(|config| config.save(&folder)).map_err(|error| container_error(&error))?;
        let container =
            Container::new(self.id.as_str(), ContainerStatus::Creating, None, self.bundle.path(), &folder);
        let mut container = container.map_err(|error| container_error(&error))?;
        container
            .set_systemd(self.create.systemd_cgroup)
            .set_annotations(self.spec.annotations().clone())
            .set_creator(rustix::process::geteuid().as_raw());
        Ok(container)
    }

    fn wanted(&self, claim: &Claim, criu: i32, cgroup: &Cgroup, namespaces: Namespaces) -> Result<Criu_opts> {
        let mut external = mounts::restored(&self.spec, self.bundle.path(), cgroup)?;
        let (point, folder) = notify::stand_in(claim.folder())?;
        external.push(mounts::external(point, folder));
        let streams = self.descriptors.iter().zip(0..).filter(|(name, _)| name.contains("pipe:"));
        let streams = streams.map(|(name, fd)| inherit(name, fd));
        let cgroups = cgroup::places(criu)?.into_iter().map(|(controller, path)| Cgroup_root {
            ctrl: Some(controller),
            path: Some(path),
            ..Cgroup_root::default()
        });
        let label = |label: &Option<String>, flag: &str| {
            let label = label.clone().filter(|label| !label.is_empty());
            if label.is_some() && self.version < RELABELS {
                let message = format!("{flag} requires at least CRIU 3.16");
                return Err(Error::new(ErrorKind::Container, message));
            }
            Ok(label)
        };
        Ok(Criu_opts {
            evasive_devices: Some(true),
            // Of criu, whose parent this process is: so it can wait for it.
            rst_sibling: Some(true),
            root: Some(claim.folder().join(ROOT).to_string_lossy().into_owned()),
            inherit_fd: streams.chain(namespaces.inherited()).collect(),
            join_ns: namespaces.joined,
            ext_mnt: external,
            cg_root: cgroups.collect(),
            lsm_profile: label(&self.options.lsm_profile, "--lsm-profile")?,
            lsm_mount_context: label(&self.options.lsm_mount_context, "--lsm-mount-context")?,
            ..self.options.work.options(&self.folders, LOG, &self.spec)
        })
    }
}

/// Whether criu has restored a process into a time namespace, so that its monotonic clock goes on where it was.
fn has_time_of_its_own(pid: i32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/time")).ok();
    let its = namespace(&pid.to_string());
    its.is_some() && its != namespace("self")
}

/// A configuration that names that namespace, for `exec` to join it.
fn with_time_namespace(text: &[u8]) -> Result<Vec<u8>> {
    let edit = || -> serde_json::Result<Vec<u8>> {
        let mut config: Value = serde_json::from_slice(text)?;
        if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
            let namespaces = linux.entry("namespaces").or_insert_with(|| json!([]));
            let time = |namespace: &Value| namespace.get("type").is_some_and(|kind| kind == "time");
            if let Some(all) = namespaces.as_array_mut().filter(|all| !all.iter().any(time)) {
                all.push(json!({ "type": "time" }));
            }
        }
        serde_json::to_vec(&config)
    };
    edit().context(ErrorKind::State, || "the configuration: cannot be kept".to_owned())
}

fn inherit(key: &str, fd: i32) -> Inherit_fd {
    Inherit_fd { key: Some(key.to_owned()), fd: Some(fd), ..Inherit_fd::default() }
}

/// The namespaces that the container joins.
#[derive(Debug, Default)]
struct Namespaces {
    /// By what criu calls them.
    left: Vec<(&'static str, File)>,
    joined: Vec<Join_namespace>,
}

impl Namespaces {
    fn open(spec: &Spec, version: u32) -> Result<Self> {
        let mut namespaces = Self::default();
        for (kind, path) in joined(spec) {
            if let Some(left) = LEFT.iter().find(|left| left.kind == kind) {
                left.check(version)?;
                let file = File::open(path).context(ErrorKind::Bundle, || {
                    format!("Requested {} namespace {} does not exist", left.word, path.display())
                })?;
                namespaces.left.push((left.key, file));
                continue;
            }
            if kind == LinuxNamespaceType::Cgroup {
                let message = format!("namespace {kind}: criu joins none");
                return Err(Error::new(ErrorKind::Bundle, message));
            }
            namespaces.joined.push(Join_namespace {
                ns: Some(handover::file_name(kind).to_owned()),
                ns_file: Some(path.to_string_lossy().into_owned()),
                ..Join_namespace::default()
            });
        }
        Ok(namespaces)
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.left.iter().map(|(_, file)| file.as_fd()).collect()
    }

    /// criu has them under the same numbers.
    fn inherited(&self) -> Vec<Inherit_fd> {
        self.left.iter().map(|(key, file)| inherit(key, file.as_raw_fd())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_is_added_once() {
        let added = |text: &str| {
            let text = with_time_namespace(text.as_bytes()).expect("a configuration");
            let config: Value = serde_json::from_slice(&text).expect("a configuration");
            config["linux"]["namespaces"].clone()
        };
        assert_eq!(added(r#"{"linux":{}}"#), json!([{ "type": "time" }]));
        let both = json!([{ "type": "pid" }, { "type": "time" }]);
        assert_eq!(added(r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#), both);
        assert_eq!(added(r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"time"}]}}"#), both);
        assert!(!has_time_of_its_own(std::process::id().cast_signed()));
    }
}
