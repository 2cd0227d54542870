//! What a bundle asks for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libseccomp::ScmpSyscall;
use oci_spec::runtime::{Hook, Hooks, Linux, LinuxSeccompAction, Spec};

use super::{CheckOptions, Findings};
use crate::annotation::Annotations;
use crate::bundle::{Bundle, is_bind};
use crate::config::Settings;
use crate::handover;
use crate::id::ContainerId;
use crate::workload::Workload;

/// A container's name, for what asks for one.
const NAME: &str = "check";

pub(super) fn look(
    findings: &mut Findings<'_>,
    folder: &Path,
    settings: Option<&Settings>,
    options: &CheckOptions,
) {
    let loaded = Bundle::load(folder);
    let Some(bundle) =
        findings.of("config.json", loaded, |bundle| format!("version {}", bundle.spec().version()))
    else {
        return;
    };
    let spec = bundle.spec();
    workload(findings, &bundle, settings);
    mounts(findings, &bundle);
    let adapted =
        ContainerId::parse(NAME).and_then(|id| handover::for_init(&bundle, &id, options.systemd_cgroup));
    findings.of("namespaces and cgroup", adapted, |_| "can be joined and made".to_owned());
    hooks(findings, spec);
    if let Some(linux) = spec.linux() {
        seccomp(findings, linux);
    }
}

fn workload(findings: &mut Findings<'_>, bundle: &Bundle, settings: Option<&Settings>) {
    let Some(annotations) = findings.of("annotations", Annotations::of(bundle.spec()), |annotations| {
        if annotations.hose().is_some() { "ask for a hose" } else { "ask for no hose" }.to_owned()
    }) else {
        return;
    };
    let workload = Workload::of_bundle(bundle, &annotations);
    let workload = findings.of("process.args", workload, |workload| match workload {
        Workload::Wasm(config) => format!("{} is a module, which runs in WasmEdge", config.path().display()),
        Workload::Native => "is a program, which runs natively".to_owned(),
    });
    match workload {
        Some(Workload::Native) => program(findings, bundle),
        Some(Workload::Wasm(_)) => {
            if let (Some(settings), Some(_)) = (settings, annotations.hose()) {
                let none = std::collections::HashMap::new();
                let tenant = settings.tenant(bundle.spec().annotations().as_ref().unwrap_or(&none));
                findings.of("tenant", tenant, ToString::to_string);
            }
        }
        None => {}
    }
}

/// Only what can be told without entering the root: a program that is looked for in PATH, or through a link or a mount, is not.
fn program(findings: &mut Findings<'_>, bundle: &Bundle) {
    let Some(name) = bundle.process().args().iter().flatten().next() else { return };
    let Ok(inside) = Path::new(name).strip_prefix("/") else { return };
    let path = bundle.rootfs().join(inside);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 == 0 => {
            findings.fails("process.args", format!("{name} is not executable"));
        }
        Ok(_) => {}
        Err(_) if is_below_a_mount(bundle.spec(), Path::new(name)) => {}
        Err(_) if path.parent().is_some_and(|folder| !folder.exists()) => {
            findings.limited(
                "process.args",
                format!("{name} is not in the root file system, unless a link leads there"),
            );
        }
        Err(error) => findings.fails("process.args", format!("{name}: {error}")),
    }
}

fn is_below_a_mount(spec: &Spec, path: &Path) -> bool {
    spec.mounts().iter().flatten().any(|mount| path.starts_with(mount.destination()))
}

fn mounts(findings: &mut Findings<'_>, bundle: &Bundle) {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known: BTreeSet<&str> = known.lines().filter_map(|line| line.split('\t').nth(1)).collect();
    for (index, mount) in bundle.spec().mounts().iter().flatten().enumerate() {
        let what = format!("mounts[{index}] ({})", mount.destination().display());
        if is_bind(mount) {
            let source = bundle.path().join(mount.source().clone().unwrap_or_default());
            if let Err(error) = fs::metadata(&source) {
                findings.fails(what, format!("source {}: {error}", source.display()));
            }
        } else if let Some(kind) = mount.typ().as_deref().filter(|kind| !known.contains(kind)) {
            findings.limited(
                what,
                format!("{kind} is no file system that this kernel knows, unless it loads a module"),
            );
        }
    }
}

fn hooks(findings: &mut Findings<'_>, spec: &Spec) {
    type Kind = fn(&Hooks) -> &Option<Vec<Hook>>;
    let kinds: [(&str, Kind); 5] = [
        ("prestart", Hooks::prestart),
        ("createRuntime", Hooks::create_runtime),
        ("createContainer", Hooks::create_container),
        ("poststart", Hooks::poststart),
        ("poststop", Hooks::poststop),
    ];
    // A startContainer hook lies in the container, where it is looked for when it is run.
    let Some(all) = spec.hooks() else { return };
    for (kind, of) in kinds {
        for (index, hook) in of(all).iter().flatten().enumerate() {
            let what = format!("hooks.{kind}[{index}]");
            let path = hook.path();
            match fs::metadata(path) {
                _ if !path.is_absolute() => {
                    findings.fails(what, format!("{}: is not absolute", path.display()))
                }
                Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
                    findings.fails(what, format!("{}: is not executable", path.display()));
                }
                Ok(_) => {}
                Err(error) => findings.fails(what, format!("{}: {error}", path.display())),
            }
        }
    }
}

fn seccomp(findings: &mut Findings<'_>, linux: &Linux) {
    let Some(profile) = linux.seccomp() else { return };
    let rules = || profile.syscalls().iter().flatten();
    let unknown: BTreeSet<&str> = rules()
        .flat_map(|rule| rule.names())
        .map(String::as_str)
        .filter(|name| ScmpSyscall::from_name(name).is_err())
        .collect();
    if !unknown.is_empty() {
        let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
        findings.limited(
            "linux.seccomp",
            format!("libseccomp does not know, and the filter leaves out: {names}"),
        );
    }
    let notifies = rules().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify);
    match profile.listener_path() {
        None if notifies => findings.fails("linux.seccomp", "SCMP_ACT_NOTIFY without a listenerPath"),
        Some(path) if notifies && !path.exists() => {
            findings.fails("linux.seccomp.listenerPath", format!("{}: there is nobody", path.display()));
        }
        _ => {}
    }
}
