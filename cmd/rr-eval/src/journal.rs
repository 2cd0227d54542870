//! What a run has measured, and writes down. Cells that are measured at the same time share it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Error, Result};

use crate::machine;
use crate::referee::Foul;
use crate::session::Measured;
use crate::store::{self, COUNTS, FOUL, Key, Sample, Store};

/// See the module.
pub(crate) struct Journal {
    store: Store,
    /// Times until done of the samples that count, in nanoseconds.
    known: BTreeMap<Key, Vec<f64>>,
    /// How often a contestant was thrown out.
    pub(crate) thrown_out: usize,
    /// Whether it was said that the machine is busy.
    pub(crate) said_busy: bool,
}

impl Journal {
    /// That of an output folder, with what stands in it already.
    pub(crate) fn open(out: &Path) -> Result<Self> {
        let (store, samples) = Store::open(&store::path(out))?;
        let mut known: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.counts()) {
            known.entry(sample.key()).or_default().push(sample.done_ns as f64);
        }
        Ok(Self { store, known, thrown_out: 0, said_busy: false })
    }

    /// Times until done, in nanoseconds.
    pub(crate) fn times(&self, key: &Key) -> &[f64] {
        self.known.get(key).map_or(&[], Vec::as_slice)
    }

    /// Adds a sample that counts.
    pub(crate) fn add(&mut self, key: Key, seed: u64, measured: &Measured, others: f64) -> Result<()> {
        self.store.add(&row(&key, self.times(&key).len(), seed, measured, others))?;
        self.known.entry(key).or_default().push(measured.times.done as f64);
        Ok(())
    }

    /// Adds one that does not count, and why.
    pub(crate) fn add_failure(&mut self, key: &Key, seed: u64, error: &Error, others: f64) -> Result<()> {
        let mut row = empty(key, self.times(key).len(), seed, others);
        let foul = error.downcast_ref::<Foul>();
        row.verdict = foul.map_or_else(|| format!("{error:#}"), |foul| format!("{FOUL}{foul}"));
        self.store.add(&row)
    }
}

fn row(key: &Key, repetition: usize, seed: u64, measured: &Measured, others: f64) -> Sample {
    let times = measured.times;
    Sample {
        serialized_ns: times.serialized,
        arrived_ns: times.arrived,
        parsed_ns: times.parsed,
        done_ns: times.done,
        end_ns: times.end,
        cpu_ns: measured.cpu.map(|cpu| cpu.all),
        cpu_user_ns: measured.cpu.map(|cpu| cpu.user),
        cpu_system_ns: measured.cpu.map(|cpu| cpu.system),
        peak_bytes: measured.peak,
        pss_bytes: measured.share,
        ..empty(key, repetition, seed, others)
    }
}

fn empty(key: &Key, repetition: usize, seed: u64, others: f64) -> Sample {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Sample {
        figure: key.figure.clone(),
        contestant: key.contestant.clone(),
        placement: key.placement.clone(),
        size: key.size,
        fan_out: key.fan_out,
        work: key.work,
        repetition,
        seed,
        serialized_ns: 0,
        arrived_ns: 0,
        parsed_ns: 0,
        done_ns: 0,
        end_ns: 0,
        cpu_ns: None,
        cpu_user_ns: None,
        cpu_system_ns: None,
        peak_bytes: None,
        pss_bytes: None,
        load: machine::load(),
        others,
        taken: now.map_or(0, |now| now.as_secs()),
        verdict: COUNTS.to_owned(),
    }
}
