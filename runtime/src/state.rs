//! What is known of a container, on disk: `<root>/<id>/state.json`, the one authority.
//!
//! Written durably (a temporary file, fsync, rename, fsync of the folder), so that a reader sees one version or the other,
//! also after a power cut. libcontainer's own files lie in `<root>/<id>/<id>/` and are never asked what is true.
//!
//! ```text
//! creating ──create──► created ──start──► running ◄──pause/resume──► paused
//!     └──────────────────┴───────────────────┴────init gone──► stopped ──delete──► (nothing)
//! ```
//!
//! Only *creating*, *created* and *running* are ever written. *Stopped* is what a state is whose init has gone,
//! and *paused* is what the freezer says: neither can be out of date.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::features::SPEC_VERSION;
use crate::id::ContainerId;
use crate::lock::Lock;
use crate::process::Identity;
use crate::turn::Turn;
use crate::{compile, wasm};

const STATE: &str = "state.json";
const STATE_NEW: &str = ".state.json.new";
const CONFIG: &str = "config.json";
/// How many commands may wait for the lock of a container that is deleted.
const REMOVE_TRIES: u32 = 64;

/// How far a container has come, as written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `create` is at work.
    Creating,
    /// Init waits for `start`.
    Created,
    /// `start` has released init.
    Running,
}

/// The status of a container, as the specification and runc name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// Init waits for `start`.
    Created,
    /// Init runs.
    Running,
    /// Init is frozen.
    Paused,
    /// Init has gone.
    Stopped,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The container's name.
    pub id: ContainerId,
    /// How far it has come.
    pub phase: Phase,
    /// Its init, once there is one.
    pub init: Option<Identity>,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created, in RFC 3339.
    pub created: String,
    /// The configuration's annotations.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
    /// Its folders in the cgroup hierarchies.
    #[serde(default)]
    pub cgroup: Cgroup,
    /// Whether systemd manages its cgroup.
    #[serde(default)]
    pub systemd: bool,
    /// The unit of systemd's that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether it has poststart hooks.
    #[serde(default)]
    pub poststart: bool,
    /// Whether it has poststop hooks.
    #[serde(default)]
    pub poststop: bool,
    /// Whether it has no pid namespace of its own: its processes do not end with its init.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_pids: bool,
    /// What its init's standard streams are, for `checkpoint`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptors: Vec<String>,
    /// What `delete` has to take back of its function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<wasm::State>,
    /// What is compiled in the background once it has started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncompiled: Vec<compile::Background>,
}

/// What `state` prints and `list` lists; the field names and their order are runc's.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of the runtime specification.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// Init's pid, 0 once stopped.
    pub pid: i32,
    /// The status.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: String,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
    /// The user whose container it is; only `list` knows it.
    pub owner: String,
}

/// The folder below which every container of this runtime has its own.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// Where the root is if nobody says otherwise; nowhere for a user who has no such place.
    default: Option<PathBuf>,
}

/// A container's own folder, locked.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: PathBuf,
    lock: Lock,
}

impl Store {
    /// The store at `root`, or at the default place: `/run/rr-runtime`, for other users than root ([`crate::trust::has_own_states`])
    /// `$XDG_RUNTIME_DIR/rr-runtime`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::State`] when there is no default place.
    pub fn new(root: Option<PathBuf>, rootless: bool) -> Result<Self> {
        let default = if rootless {
            std::env::var_os("XDG_RUNTIME_DIR").map(|run| Path::new(&run).join("rr-runtime"))
        } else {
            Some(PathBuf::from("/run/rr-runtime"))
        };
        let root = match root {
            Some(root) => std::path::absolute(&root)
                .context(ErrorKind::State, || format!("state folder {}: cannot be named", root.display()))?,
            None => default.clone().ok_or_else(|| {
                Error::new(ErrorKind::State, "state folder: neither --root nor XDG_RUNTIME_DIR is set")
            })?,
        };
        Ok(Self { root, default })
    }

    /// A turn among all that are started by this user, wherever their states are.
    pub(crate) fn turn(&self) -> Turn {
        self.default.as_deref().map(Turn::take).unwrap_or_default()
    }

    /// The folder of all states.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a container's state lies.
    #[must_use]
    pub fn folder(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id)
    }

    /// Checks that there is no such container yet: what else would be wrong is that one's doing. [`Store::claim`] is what decides.
    pub(crate) fn check_free(&self, id: &ContainerId) -> Result<()> {
        if self.folder(id).exists() { Err(exists()) } else { Ok(()) }
    }

    /// Makes the folder of a container that must not exist yet, and locks it.
    pub(crate) fn claim(&self, id: &ContainerId) -> Result<Claim> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .context(ErrorKind::State, || format!("state folder {}: cannot be made", self.root.display()))?;
        let folder = self.folder(id);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(exists());
            }
            Err(error) => {
                return Err(error).context(ErrorKind::State, || {
                    format!("state folder {}: cannot be made", folder.display())
                });
            }
        }
        match Lock::acquire(&folder) {
            Ok(Some(lock)) => Ok(Claim { folder, lock }),
            Ok(None) => Err(Error::new(
                ErrorKind::State,
                format!("state folder {}: deleted meanwhile", folder.display()),
            )),
            Err(error) => {
                // The folder is ours and empty: it must not stay and look like a container.
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// Locks an existing container.
    pub(crate) fn lock(&self, id: &ContainerId) -> Result<Claim> {
        let folder = self.folder(id);
        match Lock::acquire(&folder)? {
            Some(lock) => Ok(Claim { folder, lock }),
            None => Err(not_found()),
        }
    }

    /// Reads a container's state.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::State`].
    pub fn load(&self, id: &ContainerId) -> Result<State> {
        State::read(&self.folder(id))
    }

    /// The names of all containers, sorted. A store that nobody has used yet is empty.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::State`] when the folder cannot be read.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let unreadable = || format!("state folder {}: cannot be read", self.root.display());
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(ErrorKind::State, unreadable),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.context(ErrorKind::State, unreadable)?.file_name();
            if let Some(id) = name.to_str().and_then(|name| ContainerId::parse(name).ok()) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// The uid whose container it is.
    pub(crate) fn owner(&self, id: &ContainerId) -> Option<u32> {
        fs::metadata(self.folder(id)).ok().map(|metadata| metadata.uid())
    }
}

impl Claim {
    /// The container's own folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lock's descriptor, see [`Lock::descriptor`].
    pub(crate) fn lock_descriptor(&self) -> i32 {
        self.lock.descriptor()
    }

    /// Reads the state.
    pub(crate) fn load(&self) -> Result<State> {
        State::read(&self.folder)
    }

    /// Writes the state, so that it survives a power cut.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        self.write(state, true)
    }

    /// Writes a state that is about to be written again by the same command: whole for every reader, but not worth waiting for
    /// the disk. After a power cut there is nothing that it could speak of.
    pub(crate) fn save_draft(&self, state: &State) -> Result<()> {
        self.write(state, false)
    }

    fn write(&self, state: &State, durable: bool) -> Result<()> {
        let target = self.folder.join(STATE);
        let cannot = || format!("{}: cannot be written", target.display());
        let text = serde_json::to_vec(state).context(ErrorKind::State, cannot)?;
        replace(&self.folder, STATE_NEW, STATE, &text, durable).context(ErrorKind::State, cannot)
    }

    /// Keeps the configuration that the container was made of, for `exec`.
    pub(crate) fn save_config(&self, config: &[u8]) -> Result<()> {
        let target = self.folder.join(CONFIG);
        private_file(&target)
            .and_then(|mut file| file.write_all(config))
            .context(ErrorKind::State, || format!("{}: cannot be written", target.display()))
    }

    /// The configuration that the container was made of.
    pub(crate) fn load_config(&self) -> Result<Vec<u8>> {
        let path = self.folder.join(CONFIG);
        fs::read(&path).context(ErrorKind::State, || format!("{}: cannot be read", path.display()))
    }

    /// Removes the container's folder: from then on it does not exist.
    pub(crate) fn remove(self) -> Result<()> {
        for left in (0..REMOVE_TRIES).rev() {
            match fs::remove_dir_all(&self.folder) {
                // Another command that waits for the lock makes the file anew, once.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && left > 0 => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context(ErrorKind::State, || {
                        format!("state folder {}: cannot be removed", self.folder.display())
                    });
                }
                _ => break,
            }
        }
        Ok(())
    }
}

impl State {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found()),
            Err(error) => {
                return Err(error)
                    .context(ErrorKind::State, || format!("{}: cannot be read", path.display()));
            }
        };
        serde_json::from_slice(&text).context(ErrorKind::State, || format!("{}: is damaged", path.display()))
    }

    /// The status now.
    #[must_use]
    pub fn status(&self, store: &Store) -> Status {
        if self.phase == Phase::Creating && Lock::is_held(&store.folder(&self.id)) {
            return Status::Creating;
        }
        self.status_under_lock()
    }

    /// The status now, for who holds the lock.
    pub(crate) fn status_under_lock(&self) -> Status {
        match (self.phase, self.init) {
            // A `create` that was killed holds no lock any more, and nothing will come of it.
            (Phase::Creating, _) | (_, None) => Status::Stopped,
            (phase, Some(init)) if init.is_alive() => match phase {
                _ if self.cgroup.is_frozen() => Status::Paused,
                Phase::Running => Status::Running,
                _ => Status::Created,
            },
            _ => Status::Stopped,
        }
    }

    /// What `state` prints.
    #[must_use]
    pub fn report(&self, store: &Store) -> Report {
        let status = self.status(store);
        Report {
            oci_version: SPEC_VERSION.to_owned(),
            id: self.id.to_string(),
            pid: if status == Status::Stopped { 0 } else { self.init.map_or(0, |init| init.pid) },
            status,
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: self.created.clone(),
            annotations: self.annotations.clone(),
            owner: String::new(),
        }
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::Exists, "container with given ID already exists")
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "container does not exist")
}

fn private_file(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Puts a file in another's place, whole; `durable` waits until the disk has it.
fn replace(folder: &Path, temporary: &str, name: &str, text: &[u8], durable: bool) -> io::Result<()> {
    let temporary = folder.join(temporary);
    let mut file = private_file(&temporary)?;
    file.write_all(text)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, folder.join(name))?;
    if durable { File::open(folder)?.sync_all() } else { Ok(()) }
}
