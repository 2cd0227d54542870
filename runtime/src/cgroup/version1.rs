//! What a container's cgroup is where systemd makes it and there is version 1: a scope, which says the container's limits. libcontainer then has its processes enter the
//! cgroup of that path in every hierarchy, and writes the limits, as it does where there is no systemd.

use oci_spec::runtime::LinuxResources;

use super::Cgroup;
use super::devices::Rules;
use super::prepared::{Prepared, Wanted, start};
use crate::error::Result;
use crate::systemd::{self, Bus};
use crate::update;

/// The hierarchy by which systemd knows whose a process is. In hybrid mode that is version 2's, and this one is kept like it.
const HIERARCHY: &str = "name=systemd";

/// Makes it with a process in it. Of its folders those are there then that systemd makes, and removes when the process ends: should this one be killed, nothing is left.
///
/// # Errors
///
/// [`ErrorKind::Container`](crate::error::ErrorKind::Container) when the kernel, or systemd, refuses.
pub(super) fn make(wanted: Wanted<'_>, pid: i32) -> Result<Prepared> {
    let empty = LinuxResources::default();
    let resources = wanted.resources.unwrap_or(&empty);
    let mut bus = Bus::connect()?;
    // Whatever has systemd look at its units again has it set their devices anew, too.
    let devices = systemd::devices(&Rules::of(resources.devices().as_deref().unwrap_or_default()))?;
    let (unit, path) = start(wanted, &mut bus, pid, devices, HIERARCHY)?;
    let prepared = Prepared::new(Cgroup::planned(&path)?, Some(path), Some(unit.clone()), true);
    update::announce(prepared.cgroup(), resources, (&unit, &mut bus))?;
    Ok(prepared)
}
