//! What libcontainer is handed: the bundle's configuration with everything said that it would otherwise guess.
//!
//! Where a configuration leaves something open, runc and libcontainer fill it in differently, and several times
//! libcontainer's choice lets a container do more. So nothing is left open:
//!
//! | left open | runc, and what is handed over | libcontainer's own reading |
//! | --- | --- | --- |
//! | `capabilities`, or one of its sets | none | those of the caller |
//! | `noNewPrivileges: false` | filter installed with privilege | filter installed without: EACCES |
//! | device rules | all denied but the standard ones | all allowed |
//! | letters of a rule's access that are none of `rwm` | passed over | refused by the kernel |
//! | `rootfsPropagation: r…` | recursive | refused |
//! | `umask` | 0022 | that of the caller |
//! | `HOME` ([`crate::passwd`]) | the container's `/etc/passwd`, read by us | the container's name service, loaded into init |
//! | `cgroupsPath` | below the caller's own | below the root |
//!
//! The kernel's rules for a program that is executed do the rest for native containers; a Wasm init is never
//! executed, and gets its capabilities cut to what would have been left of them ([`without_exec`]).

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Capabilities, Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResources, LinuxSchedulerPolicy, LinuxSeccomp, LinuxSeccompFilterFlag, Mount,
    Process, Spec,
};

use crate::affinity;
use crate::bundle::{Bundle, is_bind};
use crate::cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::process::Identity;
use crate::trust;

/// Mask of new files when neither the configuration nor runc's caller says otherwise.
const UMASK: u32 = 0o022;
/// As many links as the kernel follows for one path.
const MOST_LINKS: usize = 40;

/// The configuration of a new container.
pub(crate) fn for_init(bundle: &Bundle, id: &ContainerId, systemd: bool) -> Result<Spec> {
    let mut spec = bundle.spec().clone();
    let mut process = bundle.process().clone();
    complete_process(&mut process);
    if process.user().umask().is_none() {
        process.user_mut().set_umask(Some(UMASK));
    }
    spec.set_process(Some(process));
    // Absolute, so that it means the same from wherever it is read.
    if let Some(root) = spec.root_mut() {
        root.set_path(bundle.rootfs().to_owned());
    }
    name_sources(&mut spec, bundle.path());
    keep_mounts_inside(&mut spec, bundle.rootfs());
    check_procfs(&spec, bundle)?;
    let mut linux = spec.linux().clone().unwrap_or_default();
    make_namespaces_without_paths(&mut linux);
    leave_out_ptmx(&mut linux);
    leave_out_what_does_nothing(&mut linux)?;
    check_namespaces(&linux)?;
    let named = cgroup::named(linux.cgroups_path().as_deref());
    let cgroup = cgroup::path(named, id, systemd);
    if !systemd {
        cgroup::check_before(&cgroup)?;
        if named.is_some() && trust::is_rootless() {
            cgroup::check_permitted(&cgroup)?;
        }
    }
    linux.set_cgroups_path(Some(cgroup));
    linux.set_resources(Some(denying_devices(linux.resources().clone())));
    linux.set_seccomp(linux.seccomp().clone().map(with_flags));
    check_scheduler(bundle.process(), &linux)?;
    let propagation = linux.rootfs_propagation().clone().filter(|word| !word.is_empty());
    linux.set_rootfs_propagation(propagation.map(|word| propagation_here(&word).to_owned()));
    spec.set_linux(Some(linux));
    Ok(spec)
}

/// An empty path is none: the namespace is a new one.
fn make_namespaces_without_paths(linux: &mut Linux) {
    let Some(mut namespaces) = linux.namespaces().clone() else { return };
    for namespace in &mut namespaces {
        if namespace.path().as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            namespace.set_path(None);
        }
    }
    linux.set_namespaces(Some(namespaces));
}

/// What runc passes over, too, where libcontainer sees an error: flags of a personality, mappings of ids without a user namespace, and classes of a cache that this machine does not have.
fn leave_out_what_does_nothing(linux: &mut Linux) -> Result<()> {
    if let Some(personality) = linux.personality_mut()
        && let Some(flags) = personality.flags().clone().filter(|flags| !flags.is_empty())
    {
        tracing::warn!("ignoring unsupported personality flags: {flags:?}");
        personality.set_flags(None);
    }
    if !linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User) {
        linux.set_uid_mappings(None).set_gid_mappings(None);
    }
    let Some(classes) = linux.intel_rdt().clone().filter(|_| !Path::new("/sys/fs/resctrl/schemata").exists())
    else {
        return Ok(());
    };
    let wanted = [
        ("l3CacheSchema", classes.l3_cache_schema(), "CAT"),
        ("memBwSchema", classes.mem_bw_schema(), "MBA"),
    ];
    for (name, schema, feature) in wanted {
        if schema.as_ref().is_some_and(|schema| !schema.is_empty()) {
            let message =
                format!("intelRdt.{name} is specified in config, but Intel RDT/{feature} is not enabled");
            return Err(Error::new(ErrorKind::Bundle, message));
        }
    }
    linux.set_intel_rdt(None);
    Ok(())
}

/// `/dev/ptmx` becomes a link to that of the container's own terminals. A device by this name would be in the way, and is passed over as by runc.
fn leave_out_ptmx(linux: &mut Linux) {
    let Some(mut devices) = linux.devices().clone() else { return };
    devices.retain(|device| device.path() != Path::new("/dev/ptmx"));
    linux.set_devices(Some(devices));
}

/// Opens the namespaces that are joined, and says them by their descriptors, which have to stay open until libcontainer has forked: from within a
/// user namespace, another process's cannot be opened any more (proc_pid_ns(5)).
pub(crate) fn hold_namespaces(spec: &mut Spec) -> Result<Vec<OwnedFd>> {
    let Some(mut namespaces) = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()) else {
        return Ok(Vec::new());
    };
    let mut held = Vec::new();
    for namespace in &mut namespaces {
        let Some(path) = namespace.path().clone() else { continue };
        let file = std::fs::File::open(&path).context(ErrorKind::Bundle, || {
            format!("namespace {}: open {}", file_name(namespace.typ()), path.display())
        })?;
        namespace.set_path(Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into()));
        held.push(OwnedFd::from(file));
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_namespaces(Some(namespaces));
    }
    Ok(held)
}

/// libcontainer's error for a namespace that cannot be joined does not say which.
fn check_namespaces(linux: &Linux) -> Result<()> {
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in namespaces.iter().enumerate() {
        if namespaces[..index].iter().any(|other| other.typ() == namespace.typ()) {
            let message = format!("malformed spec file: duplicated ns {}", file_name(namespace.typ()));
            return Err(Error::new(ErrorKind::Bundle, message));
        }
        if let Some(path) = namespace.path() {
            std::fs::metadata(path).context(ErrorKind::Bundle, || {
                format!("namespace {}: stat {}", file_name(namespace.typ()), path.display())
            })?;
        }
    }
    Ok(())
}

/// A source that is bound is taken from the bundle's folder. Another is optional, and libcontainer wants one: where none is given the type stands for it, which is what
/// mount tables show of a file system without one.
fn name_sources(spec: &mut Spec, bundle: &Path) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let source = match mount.source() {
            Some(source) if is_bind(mount) && !source.as_os_str().is_empty() => Some(bundle.join(source)),
            None if !is_bind(mount) => mount.typ().clone().map(PathBuf::from),
            _ => continue,
        };
        mount.set_source(source);
    }
}

/// Says the mount points that lead through links of the root file system by where those lead inside of it.
///
/// libcontainer makes the folders of a mount point that are missing, but not those that a link points to. What an
/// earlier mount covers is left as it is: its links are not known yet. That nothing is mounted outside is not decided here.
pub(crate) fn keep_mounts_inside(spec: &mut Spec, rootfs: &Path) {
    let Some(mut mounts) = spec.mounts().clone() else { return };
    let mut covered: Vec<PathBuf> = Vec::new();
    for mount in &mut mounts {
        // These are not mounted behind links.
        if matches!(mount.typ().as_deref(), Some("proc" | "sysfs")) {
            covered.push(mount.destination().clone());
            continue;
        }
        // As under runc a mount point may also be said as it is on the host.
        let point = mount.destination().strip_prefix(rootfs).map(|below| Path::new("/").join(below));
        let inside = inside(rootfs, point.as_deref().unwrap_or(mount.destination()), &covered);
        inherit_mode(mount, rootfs, &inside, &covered);
        covered.push(inside.clone());
        if mount.destination() != &inside {
            mount.set_destination(inside);
        }
    }
    spec.set_mounts(Some(mounts));
}

/// As under runc a tmpfs that does not say its mode has that of the folder that it is mounted on.
fn inherit_mode(mount: &mut Mount, rootfs: &Path, point: &Path, covered: &[PathBuf]) {
    let says = |options: &Vec<String>| options.iter().any(|option| option.starts_with("mode="));
    let unknown = covered.iter().any(|other| point.starts_with(other));
    if mount.typ().as_deref() != Some("tmpfs") || unknown || mount.options().as_ref().is_some_and(says) {
        return;
    }
    let folder = rootfs.join(point.strip_prefix("/").unwrap_or(point));
    if let Ok(found) = std::fs::metadata(folder) {
        let mut options = mount.options().clone().unwrap_or_default();
        options.push(format!("mode={:04o}", found.permissions().mode() & 0o7777));
        mount.set_options(Some(options));
    }
}

/// Nothing but a procfs stands on `/proc`, and nothing of a configuration below it but what libcontainer lets pass (`patches/libcontainer/0020`): labels, limits
/// and sysctls are written there.
fn check_procfs(spec: &Spec, bundle: &Bundle) -> Result<()> {
    for mount in spec.mounts().iter().flatten().filter(|mount| mount.destination() == Path::new("/proc")) {
        let is_proc = if is_bind(mount) {
            let source = bundle.path().join(mount.source().clone().unwrap_or_default());
            rustix::fs::statfs(&source).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
        } else {
            mount.typ().as_deref() == Some("proc")
        };
        if !is_proc {
            let message = "\"/proc\" cannot be mounted because it is not of type proc";
            return Err(Error::new(ErrorKind::Bundle, message));
        }
    }
    Ok(())
}

/// Where `path` leads in `rootfs`, which is `/` to every link; see path_resolution(7).
fn inside(rootfs: &Path, path: &Path, covered: &[PathBuf]) -> PathBuf {
    let mut left: Vec<OsString> = path.iter().rev().map(OsStr::to_owned).collect();
    let mut reached = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop() {
        match name.as_bytes() {
            b"/" => reached = PathBuf::from("/"),
            b"." => {}
            b".." => {
                reached.pop();
            }
            _ if links == MOST_LINKS || covered.iter().any(|mount| reached.starts_with(mount)) => {
                reached.push(name);
            }
            _ => {
                let next = reached.join(&name);
                match std::fs::read_link(rootfs.join(next.strip_prefix("/").unwrap_or(&next))) {
                    Ok(target) => {
                        links += 1;
                        left.extend(target.iter().rev().map(OsStr::to_owned));
                    }
                    Err(_) => reached = next,
                }
            }
        }
    }
    reached
}

/// The configuration of a further process in a container: its namespaces, its filter, and nothing that is set up only once.
///
/// The namespaces are those of `init`, given as descriptors that were opened before its identity was checked, and that
/// must stay open until libcontainer has forked.
pub(crate) fn for_exec(
    spec: &Spec,
    mut process: Process,
    cgroup_path: PathBuf,
    init: Identity,
) -> Result<(Spec, Vec<OwnedFd>)> {
    complete_process(&mut process);
    let own = spec.linux().clone().unwrap_or_default();
    let (namespaces, descriptors) = namespaces_of(init, &own)?;
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces))
        .set_cgroups_path(Some(cgroup_path))
        .set_seccomp(own.seccomp().clone().map(with_flags))
        .set_personality(own.personality().clone())
        .set_mount_label(own.mount_label().clone())
        .set_resources(None)
        .set_masked_paths(None)
        .set_readonly_paths(None);
    let mut joined = Spec::default();
    joined
        .set_version(spec.version().clone())
        .set_root(spec.root().clone())
        .set_process(Some(process))
        .set_linux(Some(linux))
        .set_mounts(None)
        .set_hostname(None)
        .set_annotations(spec.annotations().clone());
    Ok((joined, descriptors))
}

/// Cuts a process's capabilities to those that it would have left after an execve(2), which a Wasm init never does.
///
/// See capabilities(7), "Transformation of capabilities during execve()", for a file without capabilities of its own: a user
/// other than root keeps the ambient ones only.
pub(crate) fn without_exec(process: &mut Process) {
    if process.user().uid() == 0 {
        return;
    }
    let Some(capabilities) = process.capabilities().clone() else { return };
    let ambient = capabilities.ambient().clone().unwrap_or_default();
    let mut left = capabilities;
    left.set_effective(Some(ambient.clone()))
        .set_permitted(Some(ambient.clone()))
        .set_inheritable(Some(ambient));
    process.set_capabilities(Some(left));
}

fn complete_process(process: &mut Process) {
    let mut capabilities = all_sets(process.capabilities().as_ref());
    keep_ambient_possible(&mut capabilities);
    process.set_capabilities(Some(capabilities));
    if process.no_new_privileges() == Some(false) {
        process.set_no_new_privileges(None);
    }
}

/// Leaves out ambient capabilities that are not both permitted and inheritable, which the kernel would refuse to raise (capabilities(7)); in runc's words.
fn keep_ambient_possible(capabilities: &mut LinuxCapabilities) {
    let sets =
        [capabilities.permitted(), capabilities.inheritable()].map(|set| set.clone().unwrap_or_default());
    let ambient = capabilities.ambient().clone().unwrap_or_default();
    let (possible, impossible): (Capabilities, Capabilities) =
        ambient.into_iter().partition(|one| sets.iter().all(|set| set.contains(one)));
    let mut names: Vec<_> = impossible.iter().map(|one| format!("CAP_{one}")).collect();
    names.sort();
    for name in names {
        tracing::warn!("can't raise ambient capability {name}: operation not permitted");
    }
    capabilities.set_ambient(Some(possible));
}

/// Every set said, so that an absent one means none.
fn all_sets(capabilities: Option<&LinuxCapabilities>) -> LinuxCapabilities {
    let set = |get: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
        Some(capabilities.and_then(|capabilities| get(capabilities).clone()).unwrap_or_default())
    };
    let mut all = LinuxCapabilities::default();
    all.set_bounding(set(LinuxCapabilities::bounding))
        .set_effective(set(LinuxCapabilities::effective))
        .set_permitted(set(LinuxCapabilities::permitted))
        .set_inheritable(set(LinuxCapabilities::inheritable))
        .set_ambient(set(LinuxCapabilities::ambient));
    all
}

/// A filter that says no flags is as fast as may be, as under runc: speculation is not mitigated for it.
fn with_flags(mut filter: LinuxSeccomp) -> LinuxSeccomp {
    if filter.flags().is_none() {
        filter.set_flags(Some(vec![LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow]));
    }
    // The kernel's numbers, see seccomp(2); TSYNC is libseccomp's own business.
    let number = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 4,
        _ => 0,
    };
    let flags: u32 = filter.flags().iter().flatten().map(number).sum();
    tracing::debug!("seccomp filter flags: {flags}");
    filter
}

/// The kernel wants a deadline for all processors or none, and says EPERM (sched_setattr(2)).
fn check_scheduler(process: &Process, linux: &Linux) -> Result<()> {
    let deadline = LinuxSchedulerPolicy::SchedDeadline;
    if process.scheduler().as_ref().is_none_or(|scheduler| *scheduler.policy() != deadline) {
        return Ok(());
    }
    let cpu = linux.resources().as_ref().and_then(|resources| resources.cpu().as_ref());
    let bound = cpu.and_then(|cpu| cpu.cpus().as_deref()).filter(|cpus| !cpus.is_empty());
    let all = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    if bound.is_some_and(|cpus| affinity::mask_of(cpus) != affinity::mask_of(all.trim())) {
        let message = "process scheduler can't be used together with AllowedCPUs";
        return Err(Error::new(ErrorKind::Bundle, message));
    }
    Ok(())
}

/// Device rules apply in their order, so the first one denies everything.
fn denying_devices(resources: Option<LinuxResources>) -> LinuxResources {
    let mut resources = resources.unwrap_or_default();
    let mut deny = LinuxDeviceCgroup::default();
    deny.set_allow(false);
    deny.set_access(Some("rwm".to_owned()));
    let mut rules = vec![deny];
    rules.extend(resources.devices().iter().flatten().cloned().filter_map(with_known_access));
    resources.set_devices(Some(rules));
    resources
}

/// A rule without the letters that no kernel knows, which runc passes over; none when nothing is left.
fn with_known_access(mut rule: LinuxDeviceCgroup) -> Option<LinuxDeviceCgroup> {
    let Some(access) = rule.access().clone().filter(|access| !access.is_empty()) else { return Some(rule) };
    let known: String = access.chars().filter(|letter| "rwm".contains(*letter)).collect();
    if known.is_empty() {
        return None;
    }
    rule.set_access(Some(known));
    Some(rule)
}

/// The published libcontainer knows only the words without `r`.
fn propagation_here(word: &str) -> &str {
    if cfg!(libcontainer_propagates_below) { word } else { word.strip_prefix('r').unwrap_or(word) }
}

/// The namespaces of `init` that the container's configuration names, as paths that lead through our descriptors.
fn namespaces_of(init: Identity, linux: &Linux) -> Result<(Vec<LinuxNamespace>, Vec<OwnedFd>)> {
    let mut namespaces = Vec::new();
    let mut descriptors = Vec::new();
    for kind in linux.namespaces().iter().flatten().map(LinuxNamespace::typ) {
        let path = format!("/proc/{}/ns/{}", init.pid, file_name(kind));
        let file =
            std::fs::File::open(&path).context(ErrorKind::System, || format!("{path}: cannot be opened"))?;
        let through = format!("/proc/self/fd/{}", file.as_raw_fd());
        let namespace = LinuxNamespaceBuilder::default()
            .typ(kind)
            .path(through)
            .build()
            .context(ErrorKind::Container, || format!("namespace {}", file_name(kind)))?;
        namespaces.push(namespace);
        descriptors.push(OwnedFd::from(file));
    }
    if !init.is_alive() {
        return Err(Error::new(ErrorKind::Status, "cannot exec in a stopped container"));
    }
    Ok((namespaces, descriptors))
}

/// Its name in `/proc/PID/ns`.
pub(crate) fn file_name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn handed_over(process: &serde_json::Value, linux: &serde_json::Value) -> Spec {
        let config =
            json!({ "ociVersion": "1.0.2", "root": { "path": "/tmp" }, "process": process, "linux": linux });
        let bundle =
            Bundle::parse(Path::new("/").to_owned(), config.to_string().into_bytes()).expect("a bundle");
        for_init(&bundle, &ContainerId::parse("x").expect("an id"), false).expect("a configuration")
    }

    fn process_of(process: &serde_json::Value) -> Process {
        handed_over(process, &json!({})).process().clone().expect("a process")
    }

    #[test]
    fn capabilities_that_are_not_named_are_none() {
        for capabilities in [json!(null), json!({}), json!({ "effective": [] })] {
            let process = json!({ "user": {}, "args": ["x"], "cwd": "/", "capabilities": capabilities });
            let all = process_of(&process).capabilities().clone().expect("capabilities");
            for set in [all.bounding(), all.effective(), all.permitted(), all.inheritable(), all.ambient()] {
                assert_eq!(set.as_ref().map(Capabilities::len), Some(0));
            }
        }
    }

    #[test]
    fn without_exec_another_user_keeps_the_ambient_capabilities_only() {
        let process = |uid: u32| {
            let caps = json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                               "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"] });
            let user = json!({ "uid": uid });
            let mut process =
                process_of(&json!({ "user": user, "args": ["x"], "cwd": "/", "capabilities": caps }));
            without_exec(&mut process);
            let all = process.capabilities().clone().expect("capabilities");
            let names = |set: &Option<Capabilities>| {
                let mut names: Vec<_> = set.iter().flatten().map(ToString::to_string).collect();
                names.sort();
                names
            };
            (names(all.effective()), names(all.permitted()))
        };
        assert_eq!(process(1000), (vec!["CHOWN".to_owned()], vec!["CHOWN".to_owned()]));
        assert_eq!(process(0), (vec!["KILL".to_owned()], vec!["CHOWN".to_owned(), "KILL".to_owned()]));
    }

    #[test]
    fn the_first_device_rule_denies_everything() {
        let process = json!({ "user": {}, "args": ["x"], "cwd": "/" });
        let allow = json!([{ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }]);
        for (linux, rules) in [
            (json!({}), 1),
            (json!({ "resources": {} }), 1),
            (json!({ "resources": { "devices": allow } }), 2),
        ] {
            let spec = handed_over(&process, &linux);
            let resources =
                spec.linux().as_ref().and_then(|linux| linux.resources().clone()).expect("resources");
            let devices = resources.devices().clone().expect("rules");
            assert_eq!(devices.len(), rules);
            assert!(
                !devices[0].allow()
                    && devices[0].major().is_none()
                    && devices[0].typ().is_none_or(|t| t == oci_spec::runtime::LinuxDeviceType::A)
            );
        }
    }

    #[test]
    fn a_mount_point_stays_in_the_root_file_system() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, dir.path().join(name)).expect("a link");
        };
        link("/outside/there", "absolute");
        link("../../up", "relative");
        link("loop", "loop");
        std::fs::create_dir(dir.path().join("run")).expect("a folder");
        link("/elsewhere", "run/link");
        let inside = |path: &str, covered: &[&str]| {
            let covered: Vec<PathBuf> = covered.iter().map(PathBuf::from).collect();
            super::inside(dir.path(), Path::new(path), &covered)
        };
        assert_eq!(inside("/plain/new", &[]), Path::new("/plain/new"));
        assert_eq!(inside("plain", &[]), Path::new("/plain"));
        assert_eq!(inside("/absolute/below", &[]), Path::new("/outside/there/below"));
        assert_eq!(inside("/relative", &[]), Path::new("/up"));
        assert_eq!(inside("/a/../../b", &[]), Path::new("/b"));
        assert_eq!(inside("/run/link", &[]), Path::new("/elsewhere"));
        assert_eq!(inside("/run/link", &["/run"]), Path::new("/run/link"), "the link is below a mount");
        assert_eq!(inside("/loop", &[]), Path::new("/loop"));
    }
}
