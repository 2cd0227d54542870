//! The cache of code that was compiled ahead of time.
//!
//! ```text
//! <folder>/                    0700, the runtime's user
//! ├── lock                     held while entries are added or removed
//! ├── KEY.aot                  an entry: header of one page, then a universal Wasm file
//! ├── slots/                   locks of running compilations (see crate::compile)
//! └── memo/DEV-INO             digest of a module that was hashed before, with the rest of its identity
//! ```
//!
//! # Invariants
//!
//! - An entry's name is its [`Key`]: a digest of everything that the code in it depends on. Out of date means: never looked up again.
//! - What is handed out was checked on this very open: owner, mode, length, header, key, checksum. Code that is damaged, or that
//!   stands under another key's name, is removed with a warning and not run.
//! - Whoever can write here can run code in every function. That is root (or the one user whose cache it is), and the folder's
//!   path is checked by [`crate::trust`]. The checksum finds damage; against tampering there is only that.
//! - Entries appear by one `rename` after their bytes were synced. An entry that is open stays usable when it is evicted.
//! - The memo is only used to *look up*: what is stored was hashed while it was copied for the compiler.
//! - The sum of entries stays below the bound; those not used for the longest time go first. The last use is the
//!   file's access time, which is set here, because mounts may not keep it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use executor_abi::request::{Description, FileIdentity};
use rustix::fs::{FlockOperation, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use twox_hash::XxHash3_128;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::{trust, workload};

/// Bytes before the code: a page, so that the code can be mapped.
const HEADER: usize = 4096;
const MAGIC: &[u8; 8] = b"RRAOT\r\n\x1a";
/// Changed with every change of the header.
const FORMAT: u32 = 1;
/// Bytes of the header before the description.
const FIXED: usize = 96;
const SUFFIX: &str = ".aot";
const TEMPORARY: &str = ".new-";

/// A file that changed this recently may change again without its times showing it.
const SETTLED: Duration = Duration::from_secs(2);
/// Files of the memo; the oldest go first.
const MAX_MEMOS: usize = 1024;
/// Unfinished files older than this were left by a crash.
const ABANDONED: Duration = Duration::from_secs(3600);

/// SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || digits.iter().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What compiled code depends on beside the module: whoever compiles, for which processor, and how.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Recipe {
    /// Name and version of the engine.
    pub engine: String,
    /// Version and build of the executor.
    pub executor: String,
    /// Digest of what the processor can do.
    pub cpu: String,
    /// Whether the code counts instructions.
    pub fuel: bool,
    /// Whether another thread can stop the code, as a workflow's functions need it.
    #[serde(default)]
    pub interruptible: bool,
}

impl Recipe {
    /// Whether code of both is made by one engine, executor and processor, of whatever kind either is.
    fn is_of_the_maker_of(&self, other: &Self) -> bool {
        (&self.engine, &self.executor, &self.cpu) == (&other.engine, &other.executor, &other.cpu)
    }

    /// The recipe of this engine on this machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when the processor cannot be examined.
    pub fn new(description: &Description, build: &str, fuel: bool, interruptible: bool) -> Result<Self> {
        Ok(Self {
            engine: format!("{} {}", description.engine, description.version),
            executor: format!("{} {build}", description.executor),
            cpu: cpu()?,
            fuel,
            interruptible,
        })
    }

    /// The key of a module's code by this recipe.
    #[must_use]
    pub fn key(&self, module: Digest) -> Key {
        let mut hash = Sha256::new();
        let kind = match (self.fuel, self.interruptible) {
            (false, false) => "",
            (true, false) => "fuel",
            (false, true) => "interruptible",
            (true, true) => "fuel interruptible",
        };
        let module = module.to_string();
        for part in ["rr-runtime aot 1", &module, &self.engine, &self.executor, &self.cpu, kind] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Key(Digest::of(hash))
    }
}

/// Name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Digest);

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Lines of `/proc/cpuinfo` that say what code a processor can run; the others change by themselves.
const CPU_LINES: [&str; 9] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "flags",
    "Features",
    "CPU implementer",
    "CPU variant",
    "CPU part",
];

fn cpu() -> Result<String> {
    let failed = || "/proc/cpuinfo: cannot be read".to_owned();
    let mut first = vec![0; 16 * 1024];
    let mut file = File::open("/proc/cpuinfo").context(ErrorKind::System, failed)?;
    // One read: the first processor's lines come first, and asking for all of them takes long on a large machine.
    let len = file.read(&mut first).context(ErrorKind::System, failed)?;
    let text = String::from_utf8_lossy(&first[..len]).into_owned();
    let mut hash = Sha256::new();
    for line in text.split("\n\n").next().unwrap_or_default().lines() {
        if line.split_once(':').is_some_and(|(name, _)| CPU_LINES.contains(&name.trim())) {
            hash.update(line);
            hash.update("\n");
        }
    }
    Ok(Digest::of(hash).to_string())
}

/// The cache's folder.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    max_size: u64,
}

/// An entry that was checked, open for reading.
#[derive(Debug)]
pub struct Entry {
    file: File,
    len: u64,
}

impl Entry {
    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the Wasm file begins in it, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        HEADER as u64
    }

    /// Length of the Wasm file in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an entry is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The Wasm file, whole.
    pub(crate) fn code(&self) -> io::Result<Vec<u8>> {
        let mut code = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut code, self.offset())?;
        Ok(code)
    }
}

/// What an entry says of itself, for people.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct About {
    module: String,
    recipe: Recipe,
}

/// An entry as `cache ls` shows it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The entry's name.
    pub key: String,
    /// SHA-256 of the module.
    pub module: String,
    /// Who compiled it, and how; nothing when the header is damaged.
    pub recipe: Option<Recipe>,
    /// Bytes on disk.
    pub size: u64,
    /// Seconds since the epoch.
    pub created: u64,
    /// Seconds since the epoch.
    pub last_used: u64,
}

/// Entries as a table for people: digests cut to what tells them apart, times as the days and hours that have passed.
#[must_use]
pub fn table(entries: &[Listed], now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let mut rows = vec![["KEY", "MODULE", "ENGINE", "FUEL", "SIZE", "LAST USED"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let (engine, fuel) = entry.recipe.as_ref().map_or(("(damaged)", ""), |recipe| {
            (recipe.engine.as_str(), if recipe.fuel { "yes" } else { "no" })
        });
        let used = age(now.saturating_sub(entry.last_used));
        [
            short(&entry.key),
            short(&entry.module),
            engine.to_owned(),
            fuel.to_owned(),
            entry.size.to_string(),
            used,
        ]
    }));
    let widths: [usize; 6] = std::array::from_fn(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0));
    let line = |row: &[String; 6]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// What [`Cache::prune`] removed.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Pruned {
    /// Entries.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Cache {
    /// Opens the cache, making its folder when it is not there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cache`] when the folder cannot be made, or others could write to it.
    pub fn open(dir: &Path, max_size: u64) -> Result<Self> {
        let failed = || format!("cache {}: cannot be made", dir.display());
        if !dir.exists() {
            let parent = dir.parent().unwrap_or(Path::new("/"));
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .context(ErrorKind::Cache, failed)?;
        }
        for folder in [dir.to_owned(), dir.join("memo"), dir.join("slots")] {
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::with_source(ErrorKind::Cache, failed(), error));
                }
                _ => {}
            }
        }
        let dir = trust::check(dir, ErrorKind::Cache)?;
        let meta = fs::metadata(&dir).context(ErrorKind::Cache, failed)?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.permissions().mode() & 0o077 != 0 {
            let message = format!("cache {}: is not its user's alone (mode 0700)", dir.display());
            return Err(Error::new(ErrorKind::Cache, message));
        }
        Ok(Self { dir, max_size })
    }

    /// Where locks of running compilations lie.
    pub(crate) fn slots(&self) -> PathBuf {
        self.dir.join("slots")
    }

    /// The bound in bytes.
    pub(crate) fn max_size(&self) -> u64 {
        self.max_size
    }

    fn path(&self, key: Key) -> PathBuf {
        self.dir.join(format!("{key}{SUFFIX}"))
    }

    /// The entry of that name, checked. A bad one is removed.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<Entry> {
        let path = self.path(key);
        let open =
            fs::OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&path);
        let file = match open {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.reject(&path, &format!("cannot be opened: {error}")),
        };
        match check(&file, key) {
            Ok(len) => {
                touch(&file);
                Some(Entry { file, len })
            }
            Err(why) => self.reject(&path, &why),
        }
    }

    fn reject(&self, path: &Path, why: &str) -> Option<Entry> {
        tracing::warn!("cache entry {}: {why}; it is removed and will be made anew", path.display());
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("cache entry {}: cannot be removed: {error}", path.display());
        }
        None
    }

    /// Stores code, `len` bytes from the start of `code`, and makes room for it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cache`]; nothing is left of the entry then.
    pub fn put(&self, recipe: &Recipe, module: Digest, code: &File, len: u64) -> Result<()> {
        let key = recipe.key(module);
        let path = self.path(key);
        let failed = || format!("cache entry {}: cannot be written", path.display());
        let total = len.saturating_add(HEADER as u64);
        if total > self.max_size {
            let message =
                format!("cache: code of {len} bytes is larger than the whole cache, {} bytes", self.max_size);
            return Err(Error::new(ErrorKind::Cache, message));
        }
        let _lock = self.lock()?;
        self.make_room(self.max_size - total)?;
        let about = About { module: module.to_string(), recipe: recipe.clone() };
        let temporary = Temporary::create(&self.dir).context(ErrorKind::Cache, failed)?;
        write(&temporary.file, key, &about, code, len).context(ErrorKind::Cache, failed)?;
        temporary.persist(&path).context(ErrorKind::Cache, failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).context(ErrorKind::Cache, failed)?;
        self.replace_outdated(recipe, &about)
    }

    /// Removes what another engine, executor or processor left of a module that was just compiled: under its own key nothing looks
    /// it up again. Two installations that share a cache compile in turns, then.
    fn replace_outdated(&self, recipe: &Recipe, new: &About) -> Result<()> {
        for (path, meta) in self.entries()? {
            let Some(about) = about(&path) else { continue };
            if about.module == new.module && !about.recipe.is_of_the_maker_of(recipe) {
                let (engine, executor) = (&about.recipe.engine, &about.recipe.executor);
                tracing::warn!(
                    "cache entry {}: is out of date, made by {engine}, {executor}; it is replaced",
                    path.display()
                );
                self.remove(&path, &meta, &mut Pruned::default())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<File> {
        let path = self.dir.join("lock");
        let failed = || format!("{}: cannot be locked", path.display());
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.context(ErrorKind::Cache, failed)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
            .context(ErrorKind::Cache, failed)?;
        Ok(file)
    }

    /// Removes the longest unused entries until at most `bytes` are left.
    fn make_room(&self, bytes: u64) -> Result<Pruned> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|(_, meta)| meta.accessed().unwrap_or(UNIX_EPOCH));
        let mut total: u64 = entries.iter().map(|(_, meta)| meta.len()).sum();
        let mut pruned = Pruned::default();
        for (path, meta) in entries {
            if total <= bytes {
                break;
            }
            self.remove(&path, &meta, &mut pruned)?;
            total -= meta.len();
        }
        Ok(pruned)
    }

    fn remove(&self, path: &Path, meta: &fs::Metadata, pruned: &mut Pruned) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                pruned.entries += 1;
                pruned.bytes += meta.len();
                removed.context(ErrorKind::Cache, || {
                    format!("cache entry {}: cannot be removed", path.display())
                })
            }
        }
    }

    fn entries(&self) -> Result<Vec<(PathBuf, fs::Metadata)>> {
        let failed = || format!("cache {}: cannot be read", self.dir.display());
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir).context(ErrorKind::Cache, failed)? {
            let entry = entry.context(ErrorKind::Cache, failed)?;
            let is_entry = entry.file_name().to_string_lossy().ends_with(SUFFIX);
            // What vanishes between the two calls was removed by somebody else.
            if is_entry && let Ok(meta) = entry.metadata() {
                entries.push((entry.path(), meta));
            }
        }
        Ok(entries)
    }

    /// All entries, the last used first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cache`].
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = self.entries()?.iter().map(|(path, meta)| listed(path, meta)).collect();
        listed.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.key.cmp(&b.key)));
        Ok(listed)
    }

    /// Removes what no function can use any more: entries that are damaged or were made by another recipe than
    /// `current` (whatever is asked of the code), and what a crash left. With `keep`, then also the longest unused until
    /// that many bytes are left; 0 empties the cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Cache`].
    pub fn prune(&self, current: Option<&Recipe>, keep: Option<u64>) -> Result<Pruned> {
        let _lock = self.lock()?;
        let mut pruned = Pruned::default();
        for (path, meta) in self.entries()? {
            if self.is_useless(&path, current) {
                self.remove(&path, &meta, &mut pruned)?;
            }
        }
        self.remove_abandoned();
        if let Some(bytes) = keep {
            let more = self.make_room(bytes)?;
            pruned = Pruned { entries: pruned.entries + more.entries, bytes: pruned.bytes + more.bytes };
        }
        Ok(pruned)
    }

    fn is_useless(&self, path: &Path, current: Option<&Recipe>) -> bool {
        let key = path.file_stem().and_then(|stem| Digest::parse(&stem.to_string_lossy()));
        let (Some(key), Ok(file)) = (key, peek(path)) else { return true };
        if check(&file, Key(key)).is_err() {
            return true;
        }
        let about = read_header(&file).ok().and_then(|header| header.about());
        match (about, current) {
            (None, _) => true,
            (Some(about), Some(current)) => !about.recipe.is_of_the_maker_of(current),
            (Some(_), None) => false,
        }
    }

    fn remove_abandoned(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let is_temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
            let age =
                entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
            if is_temporary && age.is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// SHA-256 of a module, from the memo when it is the file that was hashed before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`] when the module cannot be read, or changes while it is.
    pub fn digest(&self, module: &File, identity: FileIdentity) -> Result<Digest> {
        let memo = self.dir.join("memo").join(format!("{}-{}", identity.dev, identity.ino));
        let known = fs::read_to_string(&memo).ok().and_then(|text| recall(&text, identity));
        if let Some(digest) = known {
            return Ok(digest);
        }
        let failed = || "module: cannot be read".to_owned();
        let digest = hash(module, identity.size).context(ErrorKind::Module, failed)?;
        if workload::identity(module).context(ErrorKind::Module, failed)? != identity {
            return Err(Error::new(ErrorKind::Module, "module: changes while it is read"));
        }
        if is_settled(identity) {
            self.remember(&memo, identity, digest);
        }
        Ok(digest)
    }

    /// A memo that cannot be written is only a lookup that takes longer.
    fn remember(&self, memo: &Path, identity: FileIdentity, digest: Digest) {
        self.forget_oldest();
        let FileIdentity { size, mtime_ns, ctime_ns, .. } = identity;
        let write = || {
            let temporary = Temporary::create(&self.dir)?;
            writeln!(&temporary.file, "{size} {mtime_ns} {ctime_ns} {digest}")?;
            temporary.persist(memo)
        };
        if let Err(error) = write() {
            tracing::debug!("{}: cannot be written: {error}", memo.display());
        }
    }

    fn forget_oldest(&self) {
        let entries = fs::read_dir(self.dir.join("memo")).into_iter().flatten().flatten();
        let mut memos: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        if memos.len() >= MAX_MEMOS {
            memos.sort();
            for (_, path) in memos.iter().take(MAX_MEMOS / 4) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn recall(text: &str, identity: FileIdentity) -> Option<Digest> {
    let FileIdentity { size, mtime_ns, ctime_ns, .. } = identity;
    let digest = text.strip_prefix(&format!("{size} {mtime_ns} {ctime_ns} "))?.strip_suffix('\n')?;
    Digest::parse(digest)
}

fn is_settled(identity: FileIdentity) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::from_nanos(identity.ctime_ns.max(0).unsigned_abs());
    now.checked_sub(changed).is_some_and(|age| age > SETTLED)
}

/// Hashes the first `size` bytes.
fn hash(file: &File, size: u64) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    each_chunk(file, 0, size, |chunk| {
        hash.update(chunk);
        Ok(())
    })?;
    Ok(Digest::of(hash))
}

/// Calls `take` with all bytes from `offset` on, in order; less than `len` of them is an error.
pub(crate) fn each_chunk(
    file: &File,
    offset: u64,
    len: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut done = 0;
    while done < len {
        let want = usize::try_from(len - done).map_or(buffer.len(), |left| left.min(buffer.len()));
        let got = match file.read_at(&mut buffer[..want], offset + done) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        take(&buffer[..got])?;
        done += got as u64;
    }
    Ok(())
}

/// The last use, for [`Cache::make_room`].
fn touch(file: &File) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    };
    // An entry whose use is not recorded is evicted earlier than it might be; nothing else.
    let _ = rustix::fs::futimens(file.as_fd(), &times);
}

/// A file that vanishes unless it is given its name.
struct Temporary {
    file: File,
    path: Option<PathBuf>,
}

impl Temporary {
    fn create(dir: &Path) -> io::Result<Self> {
        loop {
            let mut random = [0; 8];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let path = dir.join(format!("{TEMPORARY}{:016x}", u64::from_le_bytes(random)));
            match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return Ok(Self { file: opened?, path: Some(path) }),
            }
        }
    }

    fn persist(mut self, to: &Path) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(path) = &self.path {
            fs::rename(path, to)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The header as it lies on disk: all integers little-endian.
///
/// | bytes | what |
/// | --- | --- |
/// | 0..8 | magic |
/// | 8..12 | format |
/// | 12..16 | length of the description |
/// | 16..48 | key |
/// | 48..56 | length of the code |
/// | 56..72 | XXH3-128 of the code |
/// | 72..80 | zero |
/// | 80..96 | XXH3-128 of the header with these bytes zero |
/// | 96.. | description, JSON; then zeros |
struct Header([u8; HEADER]);

impl Header {
    fn new(key: Key, about: &About, len: u64, checksum: u128) -> io::Result<Self> {
        let about = serde_json::to_vec(about)?;
        let mut bytes = [0; HEADER];
        let place = bytes.get_mut(FIXED..FIXED + about.len()).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(&about);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::try_from(about.len()).unwrap_or(0).to_le_bytes());
        bytes[16..48].copy_from_slice(&key.0.0);
        bytes[48..56].copy_from_slice(&len.to_le_bytes());
        bytes[56..72].copy_from_slice(&checksum.to_le_bytes());
        let mut header = Self(bytes);
        let own = header.own_checksum();
        header.0[80..96].copy_from_slice(&own.to_le_bytes());
        Ok(header)
    }

    fn own_checksum(&self) -> u128 {
        let mut bytes = self.0;
        bytes[80..96].fill(0);
        XxHash3_128::oneshot(&bytes)
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[at..at + N]);
        field
    }

    fn check(&self, key: Key) -> Result<(u64, u128), &'static str> {
        if &self.field::<8>(0) != MAGIC {
            return Err("is not an entry");
        }
        if u32::from_le_bytes(self.field(8)) != FORMAT {
            return Err("has another format");
        }
        if u128::from_le_bytes(self.field(80)) != self.own_checksum() {
            return Err("its header is damaged");
        }
        if self.field::<32>(16) != key.0.0 {
            return Err("belongs to another key");
        }
        Ok((u64::from_le_bytes(self.field(48)), u128::from_le_bytes(self.field(56))))
    }

    fn about(&self) -> Option<About> {
        let len = usize::try_from(u32::from_le_bytes(self.field(12))).ok()?;
        serde_json::from_slice(self.0.get(FIXED..FIXED.checked_add(len)?)?).ok()
    }
}

fn read_header(file: &File) -> io::Result<Header> {
    let mut header = Header([0; HEADER]);
    file.read_exact_at(&mut header.0, 0)?;
    Ok(header)
}

/// Checks an open entry; gives the length of its code, or says what is wrong with it.
fn check(file: &File, key: Key) -> Result<u64, String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return Err("is not a file that only its user can write".to_owned());
    }
    let header = read_header(file).map_err(|error| format!("its header cannot be read: {error}"))?;
    let (len, expected) = header.check(key)?;
    if Some(meta.len()) != len.checked_add(HEADER as u64) {
        return Err("has another length than its header says".to_owned());
    }
    let mut hash = XxHash3_128::new();
    each_chunk(file, HEADER as u64, len, |chunk| {
        hash.write(chunk);
        Ok(())
    })
    .map_err(|error| format!("cannot be read: {error}"))?;
    if hash.finish_128() == expected { Ok(len) } else { Err("its code is damaged".to_owned()) }
}

fn write(file: &File, key: Key, about: &About, code: &File, len: u64) -> io::Result<()> {
    let mut hash = XxHash3_128::new();
    let mut at = HEADER as u64;
    each_chunk(code, 0, len, |chunk| {
        hash.write(chunk);
        file.write_all_at(chunk, at)?;
        at += chunk.len() as u64;
        Ok(())
    })?;
    file.write_all_at(&Header::new(key, about, len, hash.finish_128())?.0, 0)
}

/// Opens an entry to look at it, which is no use of it: the time of its last use stays.
fn peek(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NOATIME).bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// What an entry says of itself, if it can be read.
fn about(path: &Path) -> Option<About> {
    read_header(&peek(path).ok()?).ok()?.about()
}

fn listed(path: &Path, meta: &fs::Metadata) -> Listed {
    let about = about(path);
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    Listed {
        key: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        module: about.as_ref().map(|about| about.module.clone()).unwrap_or_default(),
        recipe: about.map(|about| about.recipe),
        size: meta.len(),
        created: seconds(meta.mtime()),
        last_used: seconds(meta.atime()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn recipe() -> Recipe {
        let text = |text: &str| text.to_owned();
        Recipe {
            engine: text("wasmedge 0.17.1"),
            executor: text("0.1.0 1"),
            cpu: text("cpu"),
            fuel: false,
            interruptible: false,
        }
    }

    fn digest(seed: u8) -> Digest {
        Digest([seed; 32])
    }

    struct Case {
        dir: TempDir,
        cache: Cache,
    }

    impl Case {
        fn new(max_size: u64) -> Self {
            let dir = TempDir::new().unwrap();
            let cache = Cache::open(&dir.path().join("aot"), max_size).unwrap();
            Self { dir, cache }
        }

        fn file(&self, content: &[u8]) -> File {
            let path = self.dir.path().join("file");
            fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        }

        fn put(&self, seed: u8, code: &[u8]) -> Key {
            self.cache.put(&recipe(), digest(seed), &self.file(code), code.len() as u64).unwrap();
            recipe().key(digest(seed))
        }

        fn read(&self, key: Key) -> Option<Vec<u8>> {
            let entry = self.cache.get(key)?;
            let mut code = vec![0; usize::try_from(entry.len()).unwrap()];
            entry.file().read_exact_at(&mut code, entry.offset()).unwrap();
            Some(code)
        }

        /// Sets the last use, in seconds since the epoch.
        fn used(&self, key: Key, when: u64) {
            let file = File::open(self.cache.path(key)).unwrap();
            let times = fs::FileTimes::new().set_accessed(UNIX_EPOCH + Duration::from_secs(when));
            file.set_times(times).unwrap();
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.dir.path().join("aot")).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn what_was_stored_is_found() {
        let case = Case::new(1 << 20);
        let key = case.put(1, b"\0asm code");
        assert_eq!(case.read(key).unwrap(), b"\0asm code");
        assert!(case.read(recipe().key(digest(2))).is_none());
        assert!(!case.names().iter().any(|name| name.starts_with(TEMPORARY)));
    }

    #[test]
    fn storing_again_replaces() {
        let case = Case::new(1 << 20);
        case.put(1, b"\0asm one");
        let key = case.put(1, b"\0asm another");
        assert_eq!(case.read(key).unwrap(), b"\0asm another");
    }

    #[test]
    fn code_of_another_engine_is_replaced_when_its_module_is_compiled_anew() {
        let case = Case::new(1 << 20);
        let old = Recipe { engine: "wasmedge 0.17.0".into(), ..recipe() };
        let put = |recipe: &Recipe, seed| {
            case.cache.put(recipe, digest(seed), &case.file(b"code"), 4).unwrap();
            recipe.key(digest(seed))
        };
        let (outdated, others) = (put(&old, 1), put(&old, 2));
        let counting = put(&Recipe { fuel: true, ..recipe() }, 1);
        assert!(case.read(outdated).is_none(), "what counts instructions is made by the new engine, too");
        let stoppable = put(&Recipe { interruptible: true, ..recipe() }, 1);
        let new = put(&recipe(), 1);
        assert!([new, stoppable, counting, others].iter().all(|key| case.read(*key).is_some()));
    }

    #[test]
    fn everything_that_code_depends_on_is_in_its_key() {
        let key = recipe().key(digest(1));
        let others = [
            recipe().key(digest(2)),
            Recipe { engine: "wasmedge 0.17.2".to_owned(), ..recipe() }.key(digest(1)),
            Recipe { executor: "0.1.0 2".to_owned(), ..recipe() }.key(digest(1)),
            Recipe { cpu: "other".to_owned(), ..recipe() }.key(digest(1)),
            Recipe { fuel: true, ..recipe() }.key(digest(1)),
            Recipe { interruptible: true, ..recipe() }.key(digest(1)),
            Recipe { fuel: true, interruptible: true, ..recipe() }.key(digest(1)),
            // The same text, divided differently.
            Recipe { engine: "wasmedge 0.17.10".to_owned(), executor: ".1.0 1".to_owned(), ..recipe() }
                .key(digest(1)),
        ];
        assert!(others.iter().all(|other| *other != key));
        assert_eq!(recipe().key(digest(1)), key);
        assert_eq!(cpu().unwrap(), cpu().unwrap());
    }

    #[test]
    fn damage_in_any_part_is_noticed_and_the_entry_removed() {
        let case = Case::new(1 << 20);
        let code = b"\0asm some code that is long enough";
        let parts =
            [0, 8, 12, 16, 47, 48, 56, 71, 72, 80, 95, FIXED, FIXED + 20, HEADER - 1, HEADER, HEADER + 10];
        let end = HEADER + code.len() - 1;
        for at in parts.into_iter().chain([end]) {
            let key = case.put(1, code);
            let path = case.cache.path(key);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            assert!(case.read(key).is_none(), "a changed byte {at} was not noticed");
            assert!(!path.exists(), "the entry with a changed byte {at} was kept");
        }
    }

    #[test]
    fn an_entry_that_is_cut_off_or_too_long_is_noticed() {
        let case = Case::new(1 << 20);
        let code = b"\0asm code";
        let whole = HEADER + code.len();
        for len in [0, 1, FIXED, HEADER - 1, HEADER, whole - 1, whole + 1] {
            let key = case.put(1, code);
            let path = case.cache.path(key);
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(len as u64).unwrap();
            assert!(case.read(key).is_none(), "{len} bytes");
            assert!(!path.exists());
        }
    }

    #[test]
    fn an_entry_under_another_ones_name_is_not_used() {
        let case = Case::new(1 << 20);
        let key = case.put(1, b"\0asm code");
        let other = recipe().key(digest(2));
        fs::rename(case.cache.path(key), case.cache.path(other)).unwrap();
        assert!(case.read(other).is_none());
    }

    #[test]
    fn an_entry_that_others_can_write_or_that_is_a_link_is_not_used() {
        let case = Case::new(1 << 20);
        let key = case.put(1, b"\0asm code");
        let path = case.cache.path(key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(case.read(key).is_none());
        let key = case.put(1, b"\0asm code");
        let elsewhere = case.dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(case.read(key).is_none());
        assert!(elsewhere.exists());
    }

    #[test]
    fn an_entry_stays_usable_when_it_is_removed() {
        let case = Case::new(1 << 20);
        let key = case.put(1, b"\0asm code");
        let entry = case.cache.get(key).unwrap();
        case.cache.prune(None, Some(0)).unwrap();
        let mut code = [0; 9];
        entry.file().read_exact_at(&mut code, entry.offset()).unwrap();
        assert_eq!(&code, b"\0asm code");
    }

    #[test]
    fn the_longest_unused_goes_first_when_there_is_no_room() {
        let code = vec![1; 1000];
        let size = (HEADER + code.len()) as u64;
        let case = Case::new(3 * size);
        let keys: Vec<Key> = (1..=3).map(|seed| case.put(seed, &code)).collect();
        for (key, when) in keys.iter().zip([300, 100, 200]) {
            case.used(*key, when);
        }
        let fourth = case.put(4, &code);
        let left: Vec<bool> = keys.iter().map(|key| case.cache.path(*key).exists()).collect();
        assert_eq!(left, [true, false, true]);
        assert!(case.read(keys[2]).is_some(), "now the last used of the three");
        case.used(fourth, 400);
        case.put(5, &code);
        assert!(!case.cache.path(keys[0]).exists());
        assert!(case.cache.path(keys[2]).exists(), "a lookup counts as a use");
    }

    #[test]
    fn looking_at_an_entry_is_no_use_of_it() {
        let case = Case::new(1 << 20);
        let key = case.put(1, b"\0asm");
        case.used(key, 100);
        case.cache.list().unwrap();
        case.cache.prune(Some(&recipe()), None).unwrap();
        case.put(2, b"\0asm");
        assert_eq!(fs::metadata(case.cache.path(key)).unwrap().atime(), 100);
    }

    #[test]
    fn code_larger_than_the_whole_cache_is_refused_and_evicts_nothing() {
        let case = Case::new(10_000);
        let key = case.put(1, b"\0asm");
        let error = case.cache.put(&recipe(), digest(2), &case.file(&[0; 9000]), 9000).unwrap_err();
        assert!(error.to_string().contains("larger than the whole cache"), "{error}");
        assert!(case.read(key).is_some());
    }

    #[test]
    fn nothing_is_left_of_an_entry_that_could_not_be_written() {
        let case = Case::new(1 << 20);
        let before = case.names();
        let shorter = case.file(b"abc");
        case.cache.put(&recipe(), digest(1), &shorter, 100).unwrap_err();
        let after: Vec<String> = case.names().into_iter().filter(|name| name != "lock").collect();
        assert_eq!(after, before);
    }

    #[test]
    fn list_and_prune_tell_what_is_there_and_what_went() {
        let case = Case::new(1 << 20);
        let key = case.put(1, b"\0asm code");
        let old = Recipe { engine: "wasmedge 0.16".to_owned(), ..recipe() };
        case.cache.put(&old, digest(3), &case.file(b"\0asm!"), 5).unwrap();
        let fuel = Recipe { fuel: true, ..recipe() };
        case.cache.put(&fuel, digest(1), &case.file(b"\0asm!"), 5).unwrap();
        let listed = case.cache.list().unwrap();
        assert_eq!(listed.len(), 3);
        let first = listed.iter().find(|entry| entry.key == key.to_string()).unwrap();
        assert_eq!(
            (first.module.as_str(), first.recipe.as_ref()),
            (digest(1).to_string().as_str(), Some(&recipe()))
        );
        assert_eq!(first.size, (HEADER + 9) as u64);
        let pruned = case.cache.prune(Some(&recipe()), None).unwrap();
        assert_eq!(pruned, Pruned { entries: 1, bytes: (HEADER + 5) as u64 });
        assert!(case.read(key).is_some());
        fs::write(case.cache.path(key), "rubbish").unwrap();
        assert_eq!(case.cache.prune(None, None).unwrap().entries, 1);
        assert_eq!(case.cache.prune(None, Some(0)).unwrap().entries, 1);
        assert_eq!(case.cache.list().unwrap(), []);
    }

    #[test]
    fn the_table_has_a_line_for_each_entry() {
        let entry = Listed {
            key: "a".repeat(64),
            module: "b".repeat(64),
            recipe: Some(recipe()),
            size: 8192,
            created: 0,
            last_used: 1000,
        };
        let damaged = Listed { module: String::new(), recipe: None, ..entry.clone() };
        assert_eq!(
            table(&[entry, damaged], UNIX_EPOCH + Duration::from_secs(1000 + 7200)),
            "KEY           MODULE        ENGINE           FUEL  SIZE  LAST USED\n\
             aaaaaaaaaaaa  bbbbbbbbbbbb  wasmedge 0.17.1  no    8192  2 h ago\n\
             aaaaaaaaaaaa                (damaged)              8192  2 h ago\n"
        );
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("aot");
        fs::create_dir(&path).unwrap();
        for mode in [0o755, 0o750, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Cache::open(&path, 1).unwrap_err().kind(), ErrorKind::Cache, "{mode:o}");
        }
    }

    #[test]
    fn a_module_is_hashed_once_and_again_when_it_changed() {
        let case = Case::new(1 << 20);
        let path = case.dir.path().join("module");
        let write = |content: &str, age: u64| {
            fs::write(&path, content).unwrap();
            let file = File::open(&path).unwrap();
            let mut identity = workload::identity(&file).unwrap();
            // The change time cannot be set; what it would be is all that the memo looks at.
            identity.ctime_ns -= i64::try_from(age).unwrap() * 1_000_000_000;
            (file, identity)
        };
        let (file, identity) = write("one", 0);
        let one = case.cache.digest(&file, identity).unwrap();
        assert_eq!(one.to_string(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
        let memos = || fs::read_dir(case.dir.path().join("aot/memo")).unwrap().count();
        assert_eq!(memos(), 0, "a file that may still change is not remembered");
        let memo = case.dir.path().join("aot/memo").join(format!("{}-{}", identity.dev, identity.ino));
        case.cache.remember(&memo, identity, digest(7));
        assert_eq!(case.cache.digest(&file, identity).unwrap(), digest(7), "taken from the memo");
        let (file, changed) = write("two", 0);
        let two = case.cache.digest(&file, changed).unwrap();
        assert_eq!(two.to_string(), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
        assert!(is_settled(write("x", 3).1) && !is_settled(write("x", 0).1));
    }

    #[test]
    fn the_memo_is_bounded() {
        let case = Case::new(1 << 20);
        let folder = case.dir.path().join("aot/memo");
        for i in 0..MAX_MEMOS {
            fs::write(folder.join(i.to_string()), "").unwrap();
        }
        let identity = workload::identity(&case.file(b"x")).unwrap();
        case.cache.remember(&folder.join("new"), identity, digest(1));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), MAX_MEMOS - MAX_MEMOS / 4 + 1);
        assert!(folder.join("new").exists());
    }

    #[test]
    fn what_a_crash_left_is_removed_when_it_is_old() {
        let case = Case::new(1 << 20);
        let old = case.dir.path().join("aot/.new-1");
        let new = case.dir.path().join("aot/.new-2");
        for path in [&old, &new] {
            fs::write(path, "").unwrap();
        }
        let times = fs::FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(7200));
        File::options().write(true).open(&old).unwrap().set_times(times).unwrap();
        case.cache.prune(None, None).unwrap();
        assert!(!old.exists() && new.exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_changed_byte_goes_unnoticed(code in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0_u8..8) {
            let case = Case::new(1 << 20);
            let key = case.put(1, &code);
            let path = case.cache.path(key);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            prop_assert!(case.read(key).is_none());
        }

        #[test]
        fn rubbish_is_no_memo(text in ".{0,80}", size: u64) {
            let identity = FileIdentity { dev: 1, ino: 2, size, mtime_ns: 3, ctime_ns: 4 };
            prop_assert_eq!(recall(&text, identity), None);
        }
    }
}
