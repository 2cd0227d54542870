//! What init is given to meet functions of other hosts: the annotations' addresses, and the administrator's keys and networks.
//!
//! A tenant's keys are one file of the administrator's, `hose.keys`/TENANT: the names in it are proven within the tenant, as the
//! folder of a tenant's sockets is its own. The file is read here, on the host; it must not lie where a container can
//! see it.
//!
//! Not here: proving (crate `hose`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use executor_abi::request;
use hose::tcp::Keys;
use hose::{Config, Tenant};
use oci_spec::runtime::Spec;

use crate::annotation::network::Network;
use crate::config::Settings;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::trust;

/// Most bytes of a file of keys.
const MAX_KEYS: u64 = 1 << 20;

/// What the executor is told.
///
/// # Errors
///
/// [`ErrorKind::Config`], naming the file of keys and what is wrong with it.
pub(crate) fn request(
    network: &Network,
    config: &Config,
    settings: &Settings,
    tenant: &Tenant,
    spec: &Spec,
) -> Result<request::Network> {
    let keys = settings.hose_keys().map(|folder| keys(folder, tenant, network, config, spec)).transpose()?;
    Ok(request::Network {
        listen: network.listen().map(|address| address.to_string()),
        addresses: network.addresses().iter().map(|(name, at)| (name.to_string(), at.to_string())).collect(),
        keys,
        trusted: settings.trusted_networks().to_owned(),
        preferred: network.is_preferred(),
    })
}

fn keys(folder: &Path, tenant: &Tenant, network: &Network, config: &Config, spec: &Spec) -> Result<String> {
    let file = trust::check(&folder.join(tenant.as_str()), ErrorKind::Config)?;
    let fault = |why: String| Error::new(ErrorKind::Config, format!("{}: {why}", file.display()));
    let unreadable = || format!("{}: cannot be read", file.display());
    let metadata = file.metadata().context(ErrorKind::Config, unreadable)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(fault("others than its owner may read it, so its keys are no secret".to_owned()));
    }
    if metadata.len() > MAX_KEYS {
        return Err(fault(format!("has {} bytes, more than {MAX_KEYS}", metadata.len())));
    }
    if let Some(place) = visible(spec, &file) {
        return Err(fault(format!("the container would see it, by its {place}")));
    }
    let text = std::fs::read_to_string(&file).context(ErrorKind::Config, unreadable)?;
    let parsed: Keys = text.parse().map_err(|why: hose::Error| {
        Error::with_source(ErrorKind::Config, format!("{}: is no file of keys", file.display()), why)
    })?;
    let wanted = std::iter::once(config.name()).chain(network.addresses().iter().map(|(name, _)| name));
    match wanted.into_iter().find(|name| !parsed.has(name)) {
        Some(name) => Err(fault(format!("has no key for {name}"))),
        None => Ok(text),
    }
}

/// What of the container's configuration shows it a file of the host's: its root, or the mount at a place.
fn visible(spec: &Spec, file: &Path) -> Option<String> {
    let shows = |path: &Path| path.canonicalize().is_ok_and(|path| file.starts_with(path));
    if spec.root().as_ref().is_some_and(|root| shows(root.path())) {
        return Some("root".to_owned());
    }
    let mounts = spec.mounts().iter().flatten();
    let mut bound =
        mounts.filter_map(|mount| Some((mount.destination(), PathBuf::from(mount.source().as_ref()?))));
    let found = bound.find(|(_, source)| source.is_absolute() && shows(source));
    found.map(|(destination, _)| format!("mount at {}", destination.display()))
}
