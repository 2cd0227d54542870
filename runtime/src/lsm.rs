//! What the kernel's security modules know a container's processes as: labels of SELinux and profiles of AppArmor. See proc_pid_attr(5).
//!
//! They are written through a procfs that nobody has mounted anything over, as one that does not arrive would leave the container with its runtime's privileges.

#![cfg_attr(
    not(libcontainer_asks_the_executor),
    allow(dead_code, reason = "who is not asked labels keys only")
)]

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use oci_spec::runtime::{Mount, Process, Spec};
use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandle};
use rustix::fs::XattrFlags;

use crate::error::{Context, ErrorKind, Result};

/// What a label is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelled {
    /// The program that this thread executes next.
    Next,
    /// This thread itself, which has to be its process's only one.
    This,
    /// Keys that this thread makes.
    Keys,
}

/// The label of a process; an empty one is none.
pub(crate) fn label_of(process: Option<&Process>) -> Option<&str> {
    process?.selinux_label().as_deref().filter(|label| !label.is_empty())
}

/// The profile of a process; an empty one is none.
pub(crate) fn profile_of(process: Option<&Process>) -> Option<&str> {
    process?.apparmor_profile().as_deref().filter(|profile| !profile.is_empty())
}

/// The label of what is mounted; an empty one is none.
pub(crate) fn mount_label_of(spec: &Spec) -> Option<&str> {
    spec.linux().as_ref()?.mount_label().as_deref().filter(|label| !label.is_empty())
}

/// Labels the message queues that are mounted in the root that this process is in: that file system has no option for it.
///
/// # Errors
///
/// [`ErrorKind::System`].
pub(crate) fn label_queues(spec: &Spec) -> Result<()> {
    let Some(label) = mount_label_of(spec) else { return Ok(()) };
    let queues = spec.mounts().iter().flatten().filter(|mount| mount.typ().as_deref() == Some("mqueue"));
    for queue in queues.map(Mount::destination) {
        rustix::fs::setxattr(queue, "security.selinux", label.as_bytes(), XattrFlags::empty())
            .context(ErrorKind::System, || format!("{}: cannot be labelled {label}", queue.display()))?;
    }
    Ok(())
}

/// An attribute of the thread that has opened it, ready to be set once procfs is out of reach.
#[derive(Debug)]
pub(crate) struct Attribute {
    file: File,
    value: String,
    /// For messages.
    name: String,
    /// What it takes to set it.
    needs: &'static str,
}

impl Attribute {
    /// # Errors
    ///
    /// [`ErrorKind::System`].
    pub(crate) fn label(labelled: Labelled, label: &str) -> Result<Self> {
        let (file, needs) = match labelled {
            Labelled::Next => ("attr/exec", ""),
            Labelled::This => ("attr/current", ", for which the policy has to permit dyntransition"),
            Labelled::Keys => ("attr/keycreate", ""),
        };
        Self::open(file, format!("selinux label {label}"), label.to_owned(), needs)
    }

    /// AppArmor's profile of this thread itself.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`].
    pub(crate) fn profile(profile: &str) -> Result<Self> {
        Self::open(
            "attr/apparmor/current",
            format!("apparmor profile {profile}"),
            format!("changeprofile {profile}"),
            "",
        )
    }

    fn open(file: &str, name: String, value: String, needs: &'static str) -> Result<Self> {
        let open = || {
            let flags = OpenFlags::O_WRONLY | OpenFlags::O_CLOEXEC;
            ProcfsHandle::new()?.open(ProcfsBase::ProcThreadSelf, Path::new(file), flags)
        };
        let file = open().context(ErrorKind::System, || format!("{name}: {file}"))?;
        Ok(Self { file, value, name, needs })
    }

    /// # Errors
    ///
    /// [`ErrorKind::System`] when the module does not know it, or does not permit this process to have it.
    pub(crate) fn set(&self) -> Result<()> {
        let set = (&self.file).write_all(self.value.as_bytes());
        set.context(ErrorKind::System, || format!("{}: cannot be set{}", self.name, self.needs))
    }

    /// Takes it back: what has no label is labelled as the policy says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`].
    pub(crate) fn clear(&self) -> Result<()> {
        // A write of nothing, which the standard library leaves out.
        let cleared = rustix::io::write(&self.file, b"").map_err(io::Error::from);
        cleared.map(drop).context(ErrorKind::System, || format!("{}: cannot be taken back", self.name))
    }
}
