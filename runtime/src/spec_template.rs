//! `spec`: a `config.json` to begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use libcgroups::common::{CgroupSetup, get_cgroup_setup};
use oci_spec::runtime::{
    Linux, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, Mount, PosixRlimit, Process, Root, Spec,
    User,
};
use rustix::process::{getegid, geteuid};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::bundle::CONFIG;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::features::SPEC_VERSION;

/// Writes `config.json` into `bundle`; with a module, also a root file system that holds it.
///
/// # Errors
///
/// [`ErrorKind::Bundle`], also when there is a `config.json` already.
pub fn write(bundle: &Path, rootless: bool, wasm: Option<&Path>) -> Result<()> {
    let path = bundle.join(CONFIG);
    let mut spec =
        if rootless { Spec::rootless(geteuid().as_raw(), getegid().as_raw()) } else { Spec::default() };
    let mut process = Process::default();
    process.set_terminal(Some(true));
    drop_passed_on(&mut process);
    spec.set_hostname(Some("rr-runtime".to_owned())).set_annotations(None);
    spec.set_root(Some(root()));
    adapt_linux(&mut spec, rootless);
    if let Some(module) = wasm {
        let name = install(bundle, module)?;
        process.set_terminal(Some(false)).set_args(Some(vec![format!("/{name}")]));
    }
    process.set_no_new_privileges(Some(true));
    spec.set_process(Some(process));
    let text = Template::of(&spec)
        .and_then(|template| template.text())
        .context(ErrorKind::Bundle, || "configuration: cannot be encoded".to_owned())?;
    let cannot = || format!("{}: cannot be written", path.display());
    let mut file = match fs::File::create_new(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::new(
                ErrorKind::Bundle,
                format!("file {} exists. Remove it first", path.display()),
            ));
        }
        other => other.context(ErrorKind::Bundle, cannot)?,
    };
    file.write_all(&text).context(ErrorKind::Bundle, cannot)
}

/// A configuration as runc writes it: in its order, and by tabs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Template<'a> {
    oci_version: &'a str,
    process: Option<ProcessTemplate<'a>>,
    root: &'a Option<Root>,
    hostname: &'a Option<String>,
    mounts: &'a Option<Vec<Mount>>,
    linux: &'a Option<Linux>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessTemplate<'a> {
    terminal: Option<bool>,
    user: &'a User,
    args: &'a Option<Vec<String>>,
    env: &'a Option<Vec<String>>,
    cwd: &'a Path,
    /// By their names, as those of a set come in any order.
    capabilities: BTreeMap<String, BTreeSet<String>>,
    rlimits: &'a Option<Vec<PosixRlimit>>,
    no_new_privileges: Option<bool>,
}

impl<'a> Template<'a> {
    fn of(spec: &'a Spec) -> serde_json::Result<Self> {
        Ok(Self {
            oci_version: SPEC_VERSION,
            process: spec.process().as_ref().map(ProcessTemplate::of).transpose()?,
            root: spec.root(),
            hostname: spec.hostname(),
            mounts: spec.mounts(),
            linux: spec.linux(),
        })
    }

    fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        let tabs = PrettyFormatter::with_indent(b"\t");
        self.serialize(&mut Serializer::with_formatter(&mut text, tabs)).map(|()| text)
    }
}

impl<'a> ProcessTemplate<'a> {
    fn of(process: &'a Process) -> serde_json::Result<Self> {
        Ok(Self {
            terminal: process.terminal(),
            user: process.user(),
            args: process.args(),
            env: process.env(),
            cwd: process.cwd(),
            capabilities: serde_json::from_value(serde_json::to_value(process.capabilities())?)?,
            rlimits: process.rlimits(),
            no_new_privileges: process.no_new_privileges(),
        })
    }
}

fn root() -> Root {
    let mut root = Root::default();
    root.set_path("rootfs".into());
    root.set_readonly(Some(true));
    root
}

/// As runc since CVE-2022-29162: what is inheritable reaches programs through their files' capabilities. What is not cannot be ambient.
fn drop_passed_on(process: &mut Process) {
    if let Some(mut capabilities) = process.capabilities().clone() {
        capabilities.set_inheritable(None).set_ambient(None);
        process.set_capabilities(Some(capabilities));
    }
}

/// As in runc's template: another user than root shares the host's network; root denies all devices but the standard ones; a
/// cgroup namespace is only of use with version 2.
fn adapt_linux(spec: &mut Spec, rootless: bool) {
    let Some(linux) = spec.linux_mut() else { return };
    let unified = get_cgroup_setup().is_ok_and(|setup| matches!(setup, CgroupSetup::Unified));
    let kept = |ns: &&LinuxNamespace| match ns.typ() {
        LinuxNamespaceType::Network => !rootless,
        LinuxNamespaceType::Cgroup => unified,
        _ => true,
    };
    linux.set_namespaces(Some(linux.namespaces().iter().flatten().filter(kept).cloned().collect()));
    if !rootless {
        let mut none = LinuxDeviceCgroup::default();
        none.set_allow(false).set_access(Some("rwm".to_owned()));
        let mut resources = linux.resources().clone().unwrap_or_default();
        resources.set_devices(Some(vec![none]));
        linux.set_resources(Some(resources));
    }
}

/// Copies the module into the bundle's root file system and returns its name there.
fn install(bundle: &Path, module: &Path) -> Result<String> {
    let name = module.file_name().and_then(|name| name.to_str());
    let name = name
        .ok_or_else(|| Error::new(ErrorKind::Bundle, format!("module {}: has no name", module.display())))?;
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(&rootfs)
        .context(ErrorKind::Bundle, || format!("{}: cannot be made", rootfs.display()))?;
    let target = rootfs.join(name);
    fs::copy(module, &target).context(ErrorKind::Bundle, || {
        format!("{}: cannot be copied to {}", module.display(), target.display())
    })?;
    Ok(name.to_owned())
}
