//! A container's end of the hose: published when it is created, withdrawn when it is deleted or could not be created.
//!
//! The tenant is the administrator's word ([`crate::config`]), everything else the annotations'. What a later `delete`
//! needs stands in the container's state as a [`Claim`]; so does the secret, which is why the state is for
//! the runtime's user alone.
//!
//! Not here: how peers find and prove each other (crate `hose`).

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use executor_abi::request;
use executor_abi::statistics::VISITOR;
use hose::rendezvous::{Folder, Published};
use hose::{Config, Limits, Local, Name, Secret, Tenant, Workflow};
use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::error::{Context, ErrorKind, Result};

/// What the state records of a published end.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    base: PathBuf,
    tenant: String,
    workflow: String,
    name: String,
    owner: String,
    secret: String,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({}/{}/{} of {})", self.tenant, self.workflow, self.name, self.owner)
    }
}

impl Claim {
    /// Its tenant.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The function's name.
    pub(crate) fn name(&self) -> hose::Result<Name> {
        self.name.parse()
    }

    /// Takes the end back. Idempotent: it may be gone, or belong to another container by now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Hose`].
    pub fn withdraw(&self) -> Result<()> {
        let failed =
            || format!("hose: the end {} of workflow {} cannot be withdrawn", self.name, self.workflow);
        let withdraw = || {
            let tenant: Tenant = self.tenant.parse()?;
            let workflow: Workflow = self.workflow.parse()?;
            let name: Name = self.name.parse()?;
            Folder::open(&self.base, &tenant)?.withdraw(&workflow, &name, &self.owner)
        };
        withdraw().map(drop).context(ErrorKind::Hose, failed)
    }
}

/// What the owners of temporary ends begin with: no container's id has a colon.
const OWNER: &str = "host:";

/// A temporary end beside a container's, for a call of its function; withdrawn when it is dropped.
pub(crate) struct Visitor {
    claim: Claim,
    local: Rc<Local>,
    /// Held so that the end is alive; nobody sends to it.
    _listener: OwnedFd,
}

impl Visitor {
    /// Publishes an end in the tenant and workflow of `beside`, which sends to `target`, and waits so long for it to be taken and handled.
    pub(crate) fn publish(beside: &Claim, target: &Name, timeout: Duration) -> hose::Result<Self> {
        // As random as a key is.
        let secret = Secret::generate()?;
        let unique: String = secret.public().to_hex().chars().take(16).collect();
        let name = format!("{VISITOR}{unique}");
        let folder = Folder::open(&beside.base, &beside.tenant.parse::<Tenant>()?)?;
        // Of calls that were killed.
        folder.sweep(OWNER)?;
        let owner = format!("{OWNER}{name}");
        let limits = Limits::new(timeout, timeout, hose::config::MAX_SIZE)?;
        let workflow = beside.workflow.parse()?;
        let config = Config::new(name.parse()?, workflow, vec![target.clone()], limits)?;
        let published = folder.publish(&config, &secret, &owner)?;
        // Nobody but this process needs its secret, and nothing of this is written down.
        let claim = Claim { name, owner, secret: String::new(), ..beside.clone() };
        let local = Local::new(config, secret, published.mount);
        Ok(Self { claim, local, _listener: published.listener })
    }

    /// What has to be taken back.
    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The end itself.
    pub(crate) fn local(&self) -> &Rc<Local> {
        &self.local
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Err(error) = self.claim.withdraw() {
            tracing::warn!("{error}");
        }
    }
}

/// A published end, with the descriptors that its init inherits.
pub(crate) struct End {
    claim: Claim,
    published: Published,
}

/// An end that is about to be published.
pub(crate) struct Planned<'a> {
    claim: Claim,
    tenant: Tenant,
    config: &'a Config,
    secret: Secret,
}

impl<'a> Planned<'a> {
    /// The end that `config` describes for the container `owner`.
    ///
    /// Draws the container's secret: to be called after the executor was loaded, so that no initialiser of a library
    /// runs with a secret in memory.
    pub(crate) fn new(
        config: &'a Config,
        settings: &Settings,
        annotations: &HashMap<String, String>,
        owner: &str,
    ) -> Result<Self> {
        let tenant = settings.tenant(annotations)?;
        let secret = Secret::generate().context(ErrorKind::Hose, || failed(config))?;
        let claim = Claim {
            base: settings.hose_dir()?.to_owned(),
            tenant: tenant.to_string(),
            workflow: config.workflow().to_string(),
            name: config.name().to_string(),
            owner: owner.to_owned(),
            secret: secret.to_hex().to_string(),
        };
        Ok(Self { claim, tenant, config, secret })
    }

    /// By what it can be taken back, also when the process is killed in the midst of [`Planned::publish`].
    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn publish(self) -> Result<End> {
        let Self { claim, tenant, config, secret } = self;
        let folder = Folder::open(&claim.base, &tenant);
        let published = folder.and_then(|folder| folder.publish(config, &secret, &claim.owner));
        let published = published.context(ErrorKind::Hose, || failed(config))?;
        Ok(End { claim, published })
    }
}

fn failed(config: &Config) -> String {
    format!("hose: the end {} of workflow {} cannot be published", config.name(), config.workflow())
}

impl End {
    /// What the executor is told.
    pub(crate) fn request(&self) -> request::Endpoint {
        request::Endpoint {
            listener_fd: Some(self.published.listener.as_raw_fd()),
            rendezvous_fd: self.published.mount.as_raw_fd(),
            secret: self.claim.secret.clone(),
        }
    }
}

/// Whole milliseconds, for which every limit that was accepted has room.
pub(crate) fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            base: "/nonexistent/hose".into(),
            tenant: "t".to_owned(),
            workflow: "w".to_owned(),
            name: "n".to_owned(),
            owner: "c".to_owned(),
            secret: "ab".repeat(32),
        }
    }

    #[test]
    fn a_claim_survives_the_state_file_and_hides_its_secret_from_logs() {
        let text = serde_json::to_string(&claim()).unwrap();
        assert_eq!(serde_json::from_str::<Claim>(&text).unwrap(), claim());
        assert!(!format!("{:?}", claim()).contains("abab"));
    }

    #[test]
    fn a_claim_that_was_tampered_with_is_an_error_not_a_path() {
        let bad = Claim { tenant: "../x".to_owned(), ..claim() };
        assert_eq!(bad.withdraw().unwrap_err().kind(), ErrorKind::Hose);
    }
}
