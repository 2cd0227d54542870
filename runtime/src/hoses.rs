//! The ends of the hose of all containers of a store, and what was counted at them: `hose ls` and `hose stats`.
//!
//! | form | for |
//! | --- | --- |
//! | JSON | programs |
//! | table | people |
//! | Prometheus | `hose stats --serve`, node-exporter (its text format, version 0.0.4) |

use std::fmt::Write as _;

use executor_abi::statistics::{BUCKETS, Entry, Transfer};
use serde::Serialize;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::state::{State, Status, Store};
use crate::statistics;

/// What `hose ls` says of a container.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The container's name.
    pub id: String,
    /// Its status.
    pub status: Status,
    /// The function's name.
    pub name: String,
    /// Its workflow.
    pub workflow: String,
    /// Its tenant, if other containers find it.
    pub tenant: Option<String>,
    /// The transports.
    pub mode: Vec<String>,
    /// `oneshot` or `serve`.
    pub lifecycle: String,
    /// Whom it sends to.
    pub targets: Vec<String>,
    /// The further functions of its process.
    pub functions: Vec<String>,
}

/// What `hose stats` says of a container.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// The container's name.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its workflow.
    pub workflow: String,
    /// Its tenant, if other containers find it.
    pub tenant: Option<String>,
    /// What was counted, by peer.
    pub peers: Vec<Peer>,
}

/// What was counted of one peer, in one direction, over one transport.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its name; nothing for those that did not get an entry of their own.
    pub peer: Option<String>,
    /// `send` or `receive`.
    pub direction: &'static str,
    /// `memory`, `unix` or `tcp`.
    pub mode: &'static str,
    /// Calls, whatever became of them.
    pub calls: u64,
    /// Of these, failed ones.
    pub errors: u64,
    /// Bytes that crossed.
    pub bytes: u64,
    /// Of these, bytes that this side copied.
    pub copied_bytes: u64,
    /// Payloads by how they crossed.
    pub transfers: Transfers,
    /// How long calls took.
    pub latency: Latency,
}

/// Payloads by how they crossed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Transfers {
    /// Copied.
    pub copy: u64,
    /// By pages that changed hands.
    #[serde(rename = "move")]
    pub moved: u64,
    /// As sealed memory.
    pub memfd: u64,
    /// By splice.
    pub splice: u64,
}

/// How long calls took.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// All of them together.
    pub sum_microseconds: u64,
    /// How many took less than so many microseconds, and not less than the bound before; up to the last that is not empty.
    pub buckets: Vec<Bucket>,
}

/// Calls of about one duration.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// The bound; nothing for the last bucket, which has none.
    pub below_microseconds: Option<u64>,
    /// The calls.
    pub calls: u64,
}

impl Peer {
    fn of(entry: Entry) -> Self {
        let [copy, moved, memfd, splice] = entry.transfers;
        let used = entry.histogram.iter().rposition(|calls| *calls > 0).map_or(0, |last| last + 1);
        let buckets = entry.histogram.iter().take(used).enumerate();
        Self {
            peer: Some(entry.name).filter(|name| !name.is_empty()),
            direction: entry.direction.as_str(),
            mode: entry.mode.as_str(),
            calls: entry.calls,
            errors: entry.errors,
            bytes: entry.bytes,
            copied_bytes: entry.copied,
            transfers: Transfers { copy, moved, memfd, splice },
            latency: Latency {
                sum_microseconds: entry.microseconds,
                buckets: buckets
                    .map(|(n, calls)| Bucket { below_microseconds: bound(n), calls: *calls })
                    .collect(),
            },
        }
    }

    fn name(&self) -> &str {
        self.peer.as_deref().unwrap_or("(others)")
    }

    /// How its payloads crossed.
    fn transfers(&self) -> [(&'static str, u64); 4] {
        let Transfers { copy, moved, memfd, splice } = self.transfers;
        let mut counts = [copy, moved, memfd, splice].into_iter();
        Transfer::ALL.map(|transfer| (transfer.as_str(), counts.next().unwrap_or(0)))
    }
}

/// Microseconds at which a bucket ends.
fn bound(bucket: usize) -> Option<u64> {
    (bucket + 1 < BUCKETS).then(|| 1 << bucket)
}

/// The ends of all containers that have one, by the containers' names. A state that cannot be read is warned of and left out.
///
/// # Errors
///
/// [`ErrorKind::State`] when the store itself cannot be read.
pub fn list(store: &Store) -> Result<Vec<Listed>> {
    Ok(states(store)?.into_iter().filter_map(|state| listed(store, &state)).collect())
}

fn states(store: &Store) -> Result<Vec<State>> {
    let mut states = Vec::new();
    for id in store.ids()? {
        match store.load(&id) {
            Ok(state) => states.push(state),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, %id, "container left out"),
        }
    }
    Ok(states)
}

fn tenant(state: &State) -> Option<String> {
    state.wasm.as_ref()?.hose.as_ref().map(|claim| claim.tenant().to_owned())
}

fn listed(store: &Store, state: &State) -> Option<Listed> {
    let end = state.wasm.as_ref()?.endpoint.as_ref()?;
    Some(Listed {
        id: state.id.to_string(),
        status: state.status(store),
        name: end.name.clone(),
        workflow: end.workflow.clone(),
        tenant: tenant(state),
        mode: end.modes.clone(),
        lifecycle: end.lifecycle.clone(),
        targets: end.targets.clone(),
        functions: end.functions.clone(),
    })
}

/// What was counted for these containers; without any, for all that have a hose.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] and [`ErrorKind::Hose`], naming the container, for one that is named and is not there, or has no hose;
/// [`ErrorKind::State`].
pub fn stats(store: &Store, ids: &[ContainerId]) -> Result<Vec<Counted>> {
    if ids.is_empty() {
        return Ok(states(store)?.iter().filter_map(|state| counted(store, state)).collect());
    }
    ids.iter()
        .map(|id| {
            let state = store.load(id).context(ErrorKind::NotFound, || format!("container {id}"))?;
            counted(store, &state).ok_or_else(|| {
                Error::new(ErrorKind::Hose, format!("container {id}: {}", without_hose(&state)))
            })
        })
        .collect()
}

/// Why a container has no end of the hose.
pub(crate) fn without_hose(state: &State) -> &'static str {
    match state.wasm {
        None => "it is native, and has no hose",
        Some(_) => "it has no hose",
    }
}

fn counted(store: &Store, state: &State) -> Option<Counted> {
    let end = state.wasm.as_ref()?.endpoint.as_ref()?;
    let entries = statistics::read(&store.folder(&state.id)).unwrap_or_else(|error| {
        tracing::warn!(%error, id = %state.id, "statistics left out");
        None
    });
    Some(Counted {
        id: state.id.to_string(),
        name: end.name.clone(),
        workflow: end.workflow.clone(),
        tenant: tenant(state),
        peers: entries.unwrap_or_default().into_iter().map(Peer::of).collect(),
    })
}

/// Lines of cells as wide as their widest, three apart.
fn table<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}

/// Words with commas between; a dash for none.
fn words(list: &[String]) -> String {
    if list.is_empty() { "-".to_owned() } else { list.join(",") }
}

/// The ends as a table.
#[must_use]
pub fn list_table(ends: &[Listed]) -> String {
    let row = |end: &Listed| {
        [
            end.id.clone(),
            end.status.as_str().to_owned(),
            end.name.clone(),
            end.workflow.clone(),
            end.tenant.clone().unwrap_or_else(|| "-".to_owned()),
            words(&end.mode),
            end.lifecycle.clone(),
            words(&end.targets),
        ]
    };
    let heading = ["ID", "STATUS", "NAME", "WORKFLOW", "TENANT", "MODE", "LIFECYCLE", "TARGETS"];
    table(heading, ends.iter().map(row).collect())
}

/// What was counted as a table.
#[must_use]
pub fn stats_table(counted: &[Counted]) -> String {
    let row = |container: &Counted, peer: &Peer| {
        let transfers: Vec<String> = peer
            .transfers()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, _)| (*name).to_owned())
            .collect();
        [
            container.id.clone(),
            container.name.clone(),
            peer.direction.to_owned(),
            peer.name().to_owned(),
            peer.mode.to_owned(),
            words(&transfers),
            peer.calls.to_string(),
            peer.errors.to_string(),
            peer.bytes.to_string(),
            peer.copied_bytes.to_string(),
            peer.latency
                .sum_microseconds
                .checked_div(peer.calls)
                .map_or("-".to_owned(), |mean| mean.to_string()),
            peer.percentile(99),
        ]
    };
    let rows =
        counted.iter().flat_map(|container| container.peers.iter().map(move |peer| row(container, peer)));
    let heading = [
        "ID",
        "NAME",
        "DIRECTION",
        "PEER",
        "MODE",
        "TRANSFER",
        "CALLS",
        "ERRORS",
        "BYTES",
        "COPIED",
        "MEAN-US",
        "P99-US",
    ];
    table(heading, rows.collect())
}

impl Peer {
    /// The bound of the bucket below which so many of a hundred calls lie.
    fn percentile(&self, percent: u64) -> String {
        let all: u64 = self.latency.buckets.iter().map(|bucket| bucket.calls).fold(0, u64::saturating_add);
        let mut below: u64 = 0;
        for bucket in &self.latency.buckets {
            below = below.saturating_add(bucket.calls);
            if below > 0 && u128::from(below) * 100 >= u128::from(all) * u128::from(percent) {
                return bucket.below_microseconds.map_or("more".to_owned(), |bound| format!("<{bound}"));
            }
        }
        "-".to_owned()
    }
}

/// A metric that has one number for a peer.
type Simple = (&'static str, &'static str, fn(&Peer) -> u64);

const SIMPLE: [Simple; 4] = [
    ("calls_total", "Payloads that were sent or received, whatever became of them.", |peer| peer.calls),
    ("errors_total", "Calls that failed.", |peer| peer.errors),
    ("bytes_total", "Bytes of payloads that crossed.", |peer| peer.bytes),
    ("copied_bytes_total", "Bytes of payloads that this side copied.", |peer| peer.copied_bytes),
];

/// What was counted in Prometheus' text format.
#[must_use]
pub fn prometheus(counted: &[Counted]) -> String {
    let peers: Vec<(String, &Peer)> = counted
        .iter()
        .flat_map(|container| container.peers.iter().map(move |peer| (labels(container, peer), peer)))
        .collect();
    let mut text = String::new();
    for (name, help, value) in SIMPLE {
        head(&mut text, name, help, "counter");
        for (labels, peer) in &peers {
            line(&mut text, name, labels, value(peer));
        }
    }
    head(&mut text, "transfers_total", "Payloads by how they crossed.", "counter");
    for (labels, peer) in &peers {
        for (transfer, count) in peer.transfers() {
            line(&mut text, "transfers_total", &format!("{labels},transfer=\"{transfer}\""), count);
        }
    }
    head(&mut text, "latency_seconds", "How long calls took.", "histogram");
    for (labels, peer) in &peers {
        histogram(&mut text, labels, peer);
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = write!(text, "# HELP rr_hose_{name} {help}\n# TYPE rr_hose_{name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "rr_hose_{name}{{{labels}}} {value}");
}

fn histogram(text: &mut String, labels: &str, peer: &Peer) {
    let mut below: u64 = 0;
    for bucket in &peer.latency.buckets {
        below = below.saturating_add(bucket.calls);
        if let Some(bound) = bucket.below_microseconds {
            let labels = format!("{labels},le=\"{}\"", seconds(bound));
            line(text, "latency_seconds_bucket", &labels, below);
        }
    }
    line(text, "latency_seconds_bucket", &format!("{labels},le=\"+Inf\""), below);
    line(text, "latency_seconds_sum", labels, seconds(peer.latency.sum_microseconds));
    line(text, "latency_seconds_count", labels, below);
}

fn seconds(microseconds: u64) -> String {
    let text = format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn labels(container: &Counted, peer: &Peer) -> String {
    let value = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "container=\"{}\",function=\"{}\",workflow=\"{}\",tenant=\"{}\",peer=\"{}\",direction=\"{}\",mode=\"{}\"",
        value(&container.id),
        value(&container.name),
        value(&container.workflow),
        value(container.tenant.as_deref().unwrap_or("")),
        value(peer.peer.as_deref().unwrap_or("")),
        peer.direction,
        peer.mode,
    )
}

#[cfg(test)]
mod tests {
    use executor_abi::statistics::{Direction, Mode};

    use super::*;

    fn counted() -> Vec<Counted> {
        let mut histogram = [0; BUCKETS];
        (histogram[3], histogram[BUCKETS - 1]) = (3, 1);
        let entry = Entry {
            direction: Direction::Send,
            mode: Mode::Unix,
            name: "b".to_owned(),
            calls: 4,
            bytes: 400,
            copied: 100,
            errors: 1,
            microseconds: 2_500_000,
            transfers: [1, 0, 3, 0],
            histogram,
        };
        let (id, name, workflow) = ("c\"1".to_owned(), "a".to_owned(), "w".to_owned());
        vec![Counted { id, name, workflow, tenant: None, peers: vec![Peer::of(entry)] }]
    }

    #[test]
    fn prometheus_gets_cumulative_buckets_and_escaped_labels() {
        let text = prometheus(&counted());
        let labels =
            r#"container="c\"1",function="a",workflow="w",tenant="",peer="b",direction="send",mode="unix""#;
        for line in [
            format!("rr_hose_calls_total{{{labels}}} 4"),
            format!("rr_hose_copied_bytes_total{{{labels}}} 100"),
            format!(r#"rr_hose_transfers_total{{{labels},transfer="memfd"}} 3"#),
            format!(r#"rr_hose_latency_seconds_bucket{{{labels},le="0.000004"}} 0"#),
            format!(r#"rr_hose_latency_seconds_bucket{{{labels},le="0.000008"}} 3"#),
            format!(r#"rr_hose_latency_seconds_bucket{{{labels},le="+Inf"}} 4"#),
            format!("rr_hose_latency_seconds_sum{{{labels}}} 2.5"),
            format!("rr_hose_latency_seconds_count{{{labels}}} 4"),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(text.contains("# TYPE rr_hose_latency_seconds histogram\n"));
    }

    #[test]
    fn a_table_has_a_line_for_each_peer() {
        let text = stats_table(&counted());
        let cells: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(cells[2..], ["send", "b", "unix", "copy,memfd", "4", "1", "400", "100", "625000", "more"]);
        assert_eq!(stats_table(&[]).lines().count(), 1);
        assert_eq!(list_table(&[]).lines().count(), 1);
    }
}
