//! Contestants of others: a file of commands that speak the lines of [`crate::protocol`].
//!
//! ```toml
//! [[contestant]]
//! name = "mine"
//! source = ["./mine", "source"]
//! sink = ["./mine", "sink"]
//! ```

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Contestant, Road};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    contestant: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    source: Vec<String>,
    sink: Vec<String>,
}

/// The contestants of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Contestant>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let contestant = |entry: Entry| {
        anyhow::ensure!(
            !entry.source.is_empty() && !entry.sink.is_empty(),
            "{}: {:?} has no command",
            path.display(),
            entry.name
        );
        Ok(Contestant {
            name: entry.name,
            main: true,
            road: Road::External { source: entry.source, sink: entry.sink },
        })
    };
    file.contestant.into_iter().map(contestant).collect()
}
