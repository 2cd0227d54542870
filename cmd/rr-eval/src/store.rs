//! Files of rows, each written before the next is measured; and `samples.csv`, which has one for each transfer.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::protocol::Work;

/// The verdict of a sample that counts.
pub(crate) const COUNTS: &str = "counts";

/// What the verdict of a sample begins with that throws its contestant out of the cell.
pub(crate) const FOUL: &str = "foul: ";

/// One transfer. Times are in nanoseconds after its start; of several receivers, those of the last one.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Sample {
    pub(crate) figure: String,
    pub(crate) contestant: String,
    pub(crate) placement: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) fan_out: usize,
    pub(crate) work: Work,
    /// From 0.
    pub(crate) repetition: usize,
    pub(crate) seed: u64,
    pub(crate) serialized_ns: u64,
    pub(crate) arrived_ns: u64,
    pub(crate) parsed_ns: u64,
    /// The clock that counts: until the work was done.
    pub(crate) done_ns: u64,
    /// Until the sender knew.
    pub(crate) end_ns: u64,
    /// CPU time of all containers; its split is coarse ([`crate::cgroup::Cpu`]).
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) cpu_user_ns: Option<u64>,
    pub(crate) cpu_system_ns: Option<u64>,
    /// The peaks of all containers together, less what they had at rest.
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) pss_bytes: Option<u64>,
    /// Load of the machine over a minute.
    pub(crate) load: f64,
    /// Share of the processors that others used shortly before, from 0 to 1.
    pub(crate) others: f64,
    /// Seconds since the epoch.
    pub(crate) taken: u64,
    /// [`COUNTS`], or why it does not; see [`FOUL`].
    pub(crate) verdict: String,
}

/// What belongs together: repetitions of one thing.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) figure: String,
    pub(crate) placement: String,
    pub(crate) size: u64,
    pub(crate) fan_out: usize,
    pub(crate) contestant: String,
    pub(crate) work: Work,
}

impl Sample {
    pub(crate) fn key(&self) -> Key {
        Key {
            figure: self.figure.clone(),
            placement: self.placement.clone(),
            size: self.size,
            fan_out: self.fan_out,
            contestant: self.contestant.clone(),
            work: self.work,
        }
    }

    pub(crate) fn counts(&self) -> bool {
        self.verdict == COUNTS
    }
}

/// The file of samples.
pub(crate) type Store = Table<Sample>;

/// A file of rows, open for more.
pub(crate) struct Table<T> {
    writer: csv::Writer<File>,
    path: PathBuf,
    rows: PhantomData<T>,
}

/// Where the samples of an output folder are.
pub(crate) fn path(out: &Path) -> PathBuf {
    out.join("samples.csv")
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// Opens a file, and gives the rows that it has already. One that was not written to its end is cut off.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<T>)> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        if whole < text.len() {
            file.set_len(whole as u64).with_context(|| format!("cut {}", path.display()))?;
        }
        let rows = rows(path)?;
        let writer = csv::WriterBuilder::new().has_headers(whole == 0).from_writer(file);
        Ok((Self { writer, path: path.to_owned(), rows: PhantomData }, rows))
    }

    /// Opens a file with those of its rows that shall stay, and gives them. The others are dropped.
    pub(crate) fn open_with(path: &Path, stay: impl FnOnce(Vec<T>) -> Vec<T>) -> Result<(Self, Vec<T>)> {
        let rows = stay(rows(path)?);
        let new = path.with_extension("new");
        let file = File::create(&new).with_context(|| format!("create {}", new.display()))?;
        let mut table =
            Self { writer: csv::Writer::from_writer(file), path: path.to_owned(), rows: PhantomData };
        rows.iter().try_for_each(|row| table.add(row))?;
        std::fs::rename(&new, path).with_context(|| format!("rename {}", new.display()))?;
        Ok((table, rows))
    }

    /// Adds a row. It is with the kernel when this returns.
    pub(crate) fn add(&mut self, row: &T) -> Result<()> {
        let added = self.writer.serialize(row).map_err(anyhow::Error::from);
        added.and_then(|()| Ok(self.writer.flush()?)).with_context(|| self.path.display().to_string())
    }
}

/// All samples of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Sample>> {
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("read {}", path.display()))?;
    reader.deserialize().collect::<Result<_, _>>().with_context(|| path.display().to_string())
}

/// The rows of a file that need not be there. One that was not written to its end is left out.
pub(crate) fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("read {}", path.display()))?,
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    reader.deserialize().collect::<Result<_, _>>().with_context(|| path.display().to_string())
}

/// The samples that belong together.
pub(crate) fn groups(samples: &[Sample]) -> BTreeMap<Key, Vec<&Sample>> {
    let mut groups: BTreeMap<Key, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        groups.entry(sample.key()).or_default().push(sample);
    }
    groups
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    /// A sample that counts.
    pub(crate) fn sample(contestant: &str, size: u64, work: Work, done_ns: u64) -> Sample {
        Sample {
            figure: "fig7".into(),
            contestant: contestant.into(),
            placement: "node".into(),
            size,
            fan_out: 1,
            work,
            repetition: 0,
            seed: 1,
            serialized_ns: 0,
            arrived_ns: done_ns / 2,
            parsed_ns: done_ns / 2,
            done_ns,
            end_ns: done_ns + 1000,
            cpu_ns: None,
            cpu_user_ns: None,
            cpu_system_ns: Some(5),
            peak_bytes: None,
            pss_bytes: None,
            load: 0.5,
            others: 0.0,
            taken: 0,
            verdict: COUNTS.into(),
        }
    }

    #[test]
    fn what_was_added_is_there_when_it_is_opened_again() {
        let out = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let (mut store, _) = Store::open(&path(out.path())).unwrap();
            store.add(&sample("a, b", 1, Work::Touch, 10)).unwrap();
        }
        let (_, samples) = Store::open(&path(out.path())).unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!((samples[1].contestant.as_str(), samples[1].done_ns), ("a, b", 10));
    }

    #[test]
    fn a_row_that_was_cut_off_is_dropped() {
        let out = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&path(out.path())).unwrap();
        store.add(&sample("a", 1, Work::Touch, 10)).unwrap();
        let mut file = OpenOptions::new().append(true).open(path(out.path())).unwrap();
        file.write_all(b"fig7,a,no").unwrap();
        let (mut store, samples) = Store::open(&path(out.path())).unwrap();
        assert_eq!(samples.len(), 1);
        store.add(&sample("b", 1, Work::Touch, 10)).unwrap();
        assert_eq!(read(&path(out.path())).unwrap().len(), 2);
    }

    #[test]
    fn rows_that_shall_not_stay_are_gone() {
        let out = tempfile::tempdir().unwrap();
        let path = path(out.path());
        for name in ["a", "b"] {
            let stay = |rows: Vec<Sample>| rows.into_iter().filter(|row| row.contestant != "a").collect();
            let (mut table, _) = Store::open_with(&path, stay).unwrap();
            table.add(&sample(name, 1, Work::Touch, 10)).unwrap();
        }
        let names: Vec<String> = read(&path).unwrap().into_iter().map(|row| row.contestant).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
