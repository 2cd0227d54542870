//! What a container's state records of its end of the hose, for those who look at it later: `hose ls`, `hose stats`, `invoke`.

use serde::{Deserialize, Serialize};

use crate::annotation::hose::Hose;
use crate::rendezvous::milliseconds;

/// A container's end, as its annotations describe it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// The function.
    pub name: String,
    /// Its workflow.
    pub workflow: String,
    /// The transports: `user`, `kernel`, `network`.
    pub modes: Vec<String>,
    /// `oneshot` or `serve`.
    pub lifecycle: String,
    /// Whom it sends to.
    pub targets: Vec<String>,
    /// The further functions of its process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// How long one payload may take until it is handled, in milliseconds.
    pub io_timeout_ms: u64,
}

impl Endpoint {
    pub(crate) fn of(hose: &Hose) -> Self {
        let config = hose.config();
        let names = |list: &[::hose::Name]| list.iter().map(ToString::to_string).collect();
        let modes = [
            ("user", hose.reaches_within()),
            ("kernel", hose.reaches_containers()),
            ("network", hose.network().is_some()),
        ];
        Self {
            name: config.name().to_string(),
            workflow: config.workflow().to_string(),
            modes: modes.iter().filter(|(_, has)| *has).map(|(mode, _)| (*mode).to_owned()).collect(),
            lifecycle: hose.service().lifecycle().as_str().to_owned(),
            targets: names(config.targets()),
            functions: hose.modules().iter().map(|module| module.name().to_string()).collect(),
            io_timeout_ms: milliseconds(config.limits().io_timeout()),
        }
    }
}
