//! How a configuration reaches libcontainer: in memory, or for the release as published through files.
//!
//! The published builders read `config.json` from a bundle. Without the patch that lets them take a configuration,
//! the adapted one is written as a second bundle into the container's folder. Hooks then see that bundle's path,
//! and a further process cannot be given the container's user namespace and filter: in a container that has one of them
//! `exec` is refused.

use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use oci_spec::runtime::Spec;

use crate::cgroup::Beside;
use crate::error::Result;

#[cfg(libcontainer_takes_a_spec)]
mod with {
    use libcontainer::container::init_builder::InitContainerBuilder;
    use libcontainer::container::tenant_builder::TenantContainerBuilder;

    use super::{ContainerBuilder, Path, Result, Spec};

    pub(crate) fn init(
        base: ContainerBuilder,
        bundle: &Path,
        spec: Spec,
        _: &Path,
    ) -> Result<InitContainerBuilder> {
        Ok(base.as_init(bundle).with_spec(spec))
    }

    pub(crate) fn tenant(
        base: ContainerBuilder,
        spec: Spec,
        _: &Spec,
        _: &Path,
    ) -> Result<TenantContainerBuilder> {
        Ok(base.as_tenant().with_spec(spec))
    }
}

#[cfg(not(libcontainer_takes_a_spec))]
mod with {
    use libcontainer::container::init_builder::InitContainerBuilder;
    use libcontainer::container::tenant_builder::TenantContainerBuilder;
    use oci_spec::runtime::LinuxNamespaceType;

    use super::{ContainerBuilder, Path, Result, Spec};
    use crate::bundle::CONFIG;
    use crate::error::{Context, Error, ErrorKind};

    pub(crate) fn init(
        base: ContainerBuilder,
        _: &Path,
        spec: Spec,
        folder: &Path,
    ) -> Result<InitContainerBuilder> {
        let bundle = folder.join("bundle");
        std::fs::create_dir(&bundle)
            .context(ErrorKind::State, || format!("{}: cannot be made", bundle.display()))?;
        write(&bundle.join(CONFIG), &spec)?;
        Ok(base.as_init(bundle))
    }

    pub(crate) fn tenant(
        base: ContainerBuilder,
        spec: Spec,
        configured: &Spec,
        folder: &Path,
    ) -> Result<TenantContainerBuilder> {
        let linux = configured.linux().as_ref();
        let user = linux.and_then(|linux| linux.namespaces().as_ref());
        let user =
            user.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::User));
        if user || linux.is_some_and(|linux| linux.seccomp().is_some()) {
            let message = "this build has libcontainer without patches, which would run the process outside of the \
                           container's user namespace and seccomp filter";
            return Err(Error::new(ErrorKind::Container, message));
        }
        let path = folder.join(format!("process-{}.json", std::process::id()));
        write(&path, spec.process())?;
        Ok(base.as_tenant().with_process(Some(path)))
    }

    fn write(path: &Path, value: &impl serde::Serialize) -> Result<()> {
        let cannot = || format!("{}: cannot be written", path.display());
        let text = serde_json::to_vec(value).context(ErrorKind::State, cannot)?;
        std::fs::write(path, text).context(ErrorKind::State, cannot)
    }
}

/// The next process that libcontainer makes begins in this cgroup of version 2. The release as published makes it where this process is.
pub(crate) fn begin_in(cgroup: Option<&Beside>) {
    #[cfg(libcontainer_begins_in_a_cgroup)]
    if let Some(cgroup) = cgroup {
        libcontainer::process::fork::begin_in_cgroup(std::os::fd::AsFd::as_fd(cgroup));
    }
    #[cfg(not(libcontainer_begins_in_a_cgroup))]
    let _ = cgroup;
}

/// A new container of `spec`; `folder` is the container's own.
pub(crate) use with::init;
/// A further process as `spec` says, in a container that was configured as the second one says.
pub(crate) use with::tenant;
