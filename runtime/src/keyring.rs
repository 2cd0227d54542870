//! A session keyring of the container's own.
//!
//! Without one a container could use the keys of whoever called the runtime. See session-keyring(7).

#![expect(unsafe_code, reason = "keyctl(2) has no wrapper in libc, nix or rustix")]

use std::ffi::CString;
use std::io;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::lsm::{Attribute, Labelled};

/// Joins the container's session keyring, which is made if there is none, with a label of SELinux. What is forked afterwards is in it too.
pub(crate) fn join(id: &ContainerId, label: Option<&str>) -> Result<()> {
    let label = label.map(|text| Attribute::label(Labelled::Keys, text)).transpose()?;
    label.as_ref().map_or(Ok(()), Attribute::set)?;
    join_unlabelled(id)?;
    label.as_ref().map_or(Ok(()), Attribute::clear)
}

fn join_unlabelled(id: &ContainerId) -> Result<()> {
    let name = CString::new(format!("_ses.{id}"))
        .map_err(|error| Error::with_source(ErrorKind::Id, "session keyring", error))?;
    // SAFETY: the name is a C string that outlives the call, and the kernel only reads it.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if serial >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A kernel without keyrings has none to share either.
        Some(libc::ENOSYS) => Ok(()),
        _ => Err(Error::with_source(
            ErrorKind::System,
            format!("session keyring _ses.{id}: cannot be joined"),
            error,
        )),
    }
}
