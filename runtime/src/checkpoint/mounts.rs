//! The mounts of a container that lead out of it: criu dumps of them only that they are there, and mounts what it is told when it restores.
//!
//! As under runc what tells them apart is their mount point in the container, so that either runtime restores what the other has dumped.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use pathrs::{InodeType, Root};
use rust_criu::rust_criu_protobuf::rpc::Ext_mount_map;

use crate::bundle::{Bundle, is_bind};
use crate::cgroup::{self, Cgroup};
use crate::error::{Context, ErrorKind, Result};
use crate::process::Identity;

/// What files that are masked are covered with, and what that is called in a dump.
const COVER: &str = "/dev/null";

/// Devices that a container in a user namespace has as mounts of the host's: those of every container.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What is mounted at a mount point, from outside.
pub(super) fn external(point: impl AsRef<Path>, source: impl AsRef<Path>) -> Ext_mount_map {
    let text = |path: &Path| Some(path.to_string_lossy().into_owned());
    Ext_mount_map { key: text(point.as_ref()), val: text(source.as_ref()), ..Ext_mount_map::default() }
}

/// Without `.` in it: where criu looks for the mount that a source is on, it goes up by the names of its path.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// For a dump of a container, whose configuration has its mount points as they lead within its root.
pub(super) fn dumped(spec: &Spec, init: Identity, cgroup: &Cgroup) -> Result<Vec<Ext_mount_map>> {
    let mut mounts: Vec<_> =
        from_outside(spec, cgroup)?.into_iter().map(|(point, _)| external(&point, &point)).collect();
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_ref());
    for path in masked.into_iter().flatten() {
        let below = format!("/proc/{}/root/{path}", init.pid);
        // Folders are covered by a tmpfs of their own.
        if fs::metadata(below).is_ok_and(|metadata| !metadata.is_dir()) {
            mounts.push(external(path, COVER));
        }
    }
    mounts.extend(devices(spec).map(|device| external(&device, &device)));
    Ok(mounts)
}

/// For a container that is restored from a bundle into a cgroup.
pub(super) fn restored(spec: &Spec, bundle: &Path, cgroup: &Cgroup) -> Result<Vec<Ext_mount_map>> {
    let mounts = from_outside(spec, cgroup)?;
    let mut mounts: Vec<_> =
        mounts.into_iter().map(|(point, source)| external(point, plain(&bundle.join(source)))).collect();
    mounts.push(external(COVER, COVER));
    mounts.extend(devices(spec).map(|device| external(&device, &device)));
    Ok(mounts)
}

/// Mount points, and what is mounted there: binds, and of cgroups of version 1, which without a namespace of cgroups are binds as well, each hierarchy.
fn from_outside(spec: &Spec, cgroup: &Cgroup) -> Result<Vec<(PathBuf, PathBuf)>> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let apart = namespaces.is_some_and(|all| all.iter().any(|one| one.typ() == LinuxNamespaceType::Cgroup));
    let mut mounts = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let point = mount.destination();
        if is_bind(mount) {
            mounts.push((point.clone(), mount.source().clone().unwrap_or_default()));
        } else if is_cgroup(mount) && !apart && !cgroup::is_version2() {
            mounts.extend(cgroup.in_version1()?.into_iter().map(|(name, folder)| (point.join(name), folder)));
        }
    }
    Ok(mounts)
}

fn is_cgroup(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("cgroup")
}

fn devices(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let configured = spec.linux().iter().flat_map(|linux| linux.devices().iter().flatten());
    let configured: Vec<_> = configured.map(|device| device.path().clone()).collect();
    configured.into_iter().chain(DEVICES.map(PathBuf::from))
}

/// Makes the mount points that the root file system lacks, as the container's creation would. Each bind is mounted, as others may have theirs in
/// it: to be called only where nobody else sees that.
///
/// # Errors
///
/// [`ErrorKind::Bundle`], naming the mount.
pub(super) fn make_points(spec: &Spec, bundle: &Bundle) -> Result<()> {
    let root = Root::open(bundle.rootfs())
        .context(ErrorKind::Bundle, || format!("rootfs {}: cannot be opened", bundle.rootfs().display()))?;
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    for (index, mount) in mounts.iter().enumerate() {
        // What these hold is the kernel's, or in the dump.
        let below = |other: &Mount| !is_bind(other) && mount.destination().starts_with(other.destination());
        if is_cgroup(mount) || mounts[..index].iter().any(below) {
            continue;
        }
        make_point(&root, mount, bundle.path())?;
    }
    Ok(())
}

fn make_point(root: &Root, mount: &Mount, bundle: &Path) -> Result<()> {
    let point = mount.destination();
    let cannot = || format!("mount point {}: cannot be made", point.display());
    let source = is_bind(mount).then(|| bundle.join(mount.source().clone().unwrap_or_default()));
    let is_file =
        source.as_ref().is_some_and(|source| fs::metadata(source).is_ok_and(|found| !found.is_dir()));
    if root.resolve(point).is_err() {
        let folder = if is_file { point.parent().unwrap_or(point) } else { point };
        let mode = |bits: u32| fs::Permissions::from_mode(bits);
        root.mkdir_all(folder, &mode(0o755)).context(ErrorKind::Bundle, cannot)?;
        if is_file {
            root.create(point, &InodeType::File(mode(0o644))).context(ErrorKind::Bundle, cannot)?;
        }
    }
    let Some(source) = source else { return Ok(()) };
    let handle = root.resolve(point).context(ErrorKind::Bundle, cannot)?;
    let target = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    rustix::mount::mount_bind_recursive(&source, target)
        .context(ErrorKind::Bundle, || format!("mount {}: {}", point.display(), source.display()))
}
