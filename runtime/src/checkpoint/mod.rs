//! `checkpoint` and `restore`, by criu(8): a container's processes become files, and files become a container again.
//!
//! As under runc, whose image folders are the same. A function is refused: its pages are in part other functions', or a compiler's,
//! and its engine is not made to wake up elsewhere.

mod apart;
mod criu;
mod dump;
mod mounts;
mod restore;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rust_criu::rust_criu_protobuf::rpc::{Criu_cg_mode, Criu_opts};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::id::ContainerId;

pub use dump::{CheckpointOptions, PageServer, checkpoint};
pub use restore::{RestoreOptions, restore};

/// Name of the folder in the current one that images are in unless another is named.
const IMAGES: &str = "checkpoint";
/// What init's standard streams were when it was dumped, in the folder of images: a list of three texts, as readlink(2) gives them.
const DESCRIPTORS: &str = "descriptors.json";
/// The oldest criu that says its version.
const OLDEST: u32 = 30_000;
/// The annotation that names criu's configuration file, none when it is empty.
const CONFIGURED: &str = "org.criu.config";
/// Criu's configuration file for containers without that annotation, which need not be there: runc's.
const CONFIGURATION: &str = "/etc/criu/runc.conf";
/// criu's level of logging: everything.
const LOG_LEVEL: i32 = 4;

/// What both are told of criu's work.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Folder of the images; `checkpoint` in the current one where there is none.
    pub images: Option<PathBuf>,
    /// Folder of logs and temporary files; that of the images where there is none.
    pub folder: Option<PathBuf>,
    /// TCP connections are kept.
    pub tcp_established: bool,
    /// Unix sockets may be connected to others outside.
    pub ext_unix_sk: bool,
    /// The container has the terminal of its caller.
    pub shell_job: bool,
    /// Locks of files are kept.
    pub file_locks: bool,
    /// How cgroups are kept.
    pub cgroups: CgroupsMode,
    /// Namespaces that are made anew, without what is in them, beside that of the network, which always is.
    pub empty_namespaces: Vec<String>,
    /// Pages that an earlier image has, too, are left out of it.
    pub auto_dedup: bool,
    /// Pages are brought when they are touched.
    pub lazy_pages: bool,
}

/// How criu keeps cgroups, see `--manage-cgroups` in criu(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// criu's own choice, which is soft.
    #[default]
    Default,
    /// Properties of those that it makes.
    Soft,
    /// Properties of all.
    Full,
    /// Nothing but what is there.
    Strict,
    /// Not at all: they are the runtime's.
    Ignore,
}

impl std::str::FromStr for CgroupsMode {
    type Err = &'static str;

    fn from_str(word: &str) -> std::result::Result<Self, Self::Err> {
        match word {
            "" => Ok(Self::Default),
            "soft" => Ok(Self::Soft),
            "full" => Ok(Self::Full),
            "strict" => Ok(Self::Strict),
            "ignore" => Ok(Self::Ignore),
            _ => Err("invalid manage-cgroups-mode value"),
        }
    }
}

impl From<CgroupsMode> for Criu_cg_mode {
    fn from(mode: CgroupsMode) -> Self {
        match mode {
            CgroupsMode::Default => Self::DEFAULT,
            CgroupsMode::Soft => Self::SOFT,
            CgroupsMode::Full => Self::FULL,
            CgroupsMode::Strict => Self::STRICT,
            CgroupsMode::Ignore => Self::IGNORE,
        }
    }
}

/// The folders that criu works in, open.
#[derive(Debug)]
struct Folders {
    images: PathBuf,
    open_images: File,
    /// Where its log is.
    work: PathBuf,
    open_work: Option<File>,
}

impl Work {
    /// Makes the folders, where they are not there yet.
    fn folders(&self) -> Result<Folders> {
        let images = match &self.images {
            Some(images) => images.clone(),
            None => std::env::current_dir()
                .context(ErrorKind::System, || "the current folder: cannot be named".to_owned())?
                .join(IMAGES),
        };
        let open_images = open_folder(&images, true)?;
        let open_work = self.folder.as_deref().map(|folder| open_folder(folder, false)).transpose()?;
        let work = self.folder.clone().unwrap_or_else(|| images.clone());
        Ok(Folders { images, open_images, work, open_work })
    }

    /// Checks the namespaces that shall be empty.
    fn check_namespaces(&self) -> Result<()> {
        match self.empty_namespaces.iter().find(|name| *name != "network") {
            Some(name) => Err(Error::new(ErrorKind::Usage, format!("namespace {name:?} is not supported"))),
            None => Ok(()),
        }
    }

    /// The options of a request that are the same for both.
    fn options(&self, folders: &Folders, log: &str, spec: &Spec) -> Criu_opts {
        Criu_opts {
            images_dir_fd: Some(folders.open_images.as_raw_fd()),
            work_dir_fd: folders.open_work.as_ref().map(|folder| folder.as_raw_fd()),
            log_level: Some(LOG_LEVEL),
            log_file: Some(log.to_owned()),
            config_file: configuration(spec),
            // That of before there were modes.
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(Criu_cg_mode::from(self.cgroups).into()),
            notify_scripts: Some(true),
            shell_job: Some(self.shell_job),
            ext_unix_sk: Some(self.ext_unix_sk),
            tcp_established: Some(self.tcp_established),
            file_locks: Some(self.file_locks),
            // Devices of the network are their managers' to make.
            empty_ns: Some(libc::CLONE_NEWNET.cast_unsigned()),
            orphan_pts_master: Some(true),
            auto_dedup: Some(self.auto_dedup),
            lazy_pages: Some(self.lazy_pages),
            ..Criu_opts::default()
        }
    }
}

impl Folders {
    /// Opens them anew, in the mount namespace that this process is in now: where criu is, it mounts in them.
    fn reopen(&mut self) -> Result<()> {
        self.open_images = open_folder(&self.images, false)?;
        if let Some(work) = &mut self.open_work {
            *work = open_folder(&self.work, false)?;
        }
        Ok(())
    }
}

fn configuration(spec: &Spec) -> Option<String> {
    let annotated = spec.annotations().as_ref().and_then(|all| all.get(CONFIGURED));
    annotated
        .map_or(Some(CONFIGURATION.to_owned()), |path| Some(path.clone()).filter(|path| !path.is_empty()))
}

fn open_folder(folder: &Path, with_parents: bool) -> Result<File> {
    let cannot = || format!("folder {}: cannot be made", folder.display());
    match DirBuilder::new().recursive(with_parents).mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).context(ErrorKind::Usage, cannot);
        }
        _ => {}
    }
    let folder_of = File::open(folder).context(ErrorKind::Usage, cannot)?;
    if !folder_of.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::new(ErrorKind::Usage, format!("{}: is no folder", folder.display())));
    }
    Ok(folder_of)
}

/// Whose namespaces criu leaves alone when a path names them, and since which version it can.
#[derive(Clone, Copy, Debug)]
struct Left {
    kind: LinuxNamespaceType,
    /// The kernel's word for it.
    word: &'static str,
    /// What criu is told to call it.
    key: &'static str,
    since: u32,
}

const LEFT: [Left; 2] = [
    Left { kind: LinuxNamespaceType::Network, word: "net", key: "extRootNetNS", since: 31_100 },
    Left { kind: LinuxNamespaceType::Pid, word: "pid", key: "extRootPidNS", since: 31_500 },
];

impl Left {
    /// Checks that criu is not too old for it.
    fn check(&self, version: u32) -> Result<()> {
        if version >= self.since {
            return Ok(());
        }
        let message = format!("criu lacks support for external {} namespace (old criu version?)", self.word);
        Err(Error::new(ErrorKind::Container, message))
    }
}

/// The namespaces of a configuration that have a path.
fn joined(spec: &Spec) -> impl Iterator<Item = (LinuxNamespaceType, &Path)> {
    let all = spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten());
    all.filter_map(|namespace| {
        let path = namespace.path().as_deref()?;
        (!path.as_os_str().is_empty()).then_some((namespace.typ(), path))
    })
}

/// The version of criu, 4.2.1 as 40201, which is new enough for anything.
///
/// # Errors
///
/// [`ErrorKind::Container`] when there is none, or an older one.
pub(crate) fn version() -> Result<u32> {
    let version = criu::version()?;
    if version < OLDEST {
        let message = format!("CRIU version {version} must be {OLDEST} or higher");
        return Err(Error::new(ErrorKind::Container, message));
    }
    Ok(version)
}

fn refuse_functions(is_function: bool, id: &ContainerId) -> Result<()> {
    if is_function {
        let message = format!("container {id}: a Wasm function can neither be checkpointed nor restored");
        return Err(Error::new(ErrorKind::Module, message));
    }
    Ok(())
}

/// Quotes the errors in a log of criu's, with some lines before each, where the runtime's own log is.
fn quote_errors(folder: &Path, log: &str) {
    let path = folder.join(log);
    let Ok(text) = fs::read_to_string(&path) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let quoted = lines_around(&lines, "Error", 5);
    if quoted.is_empty() {
        return;
    }
    tracing::warn!("--- Quoting {:?}", path.display().to_string());
    let mut last = None;
    for index in quoted {
        if last.is_some_and(|last| last + 1 < index) {
            tracing::warn!("...");
        }
        tracing::warn!("{}:{}", index + 1, lines[index]);
        last = Some(index);
    }
    tracing::warn!("---");
}

/// Indices of the lines that hold a word, and of as many before each.
fn lines_around(lines: &[&str], word: &str, before: usize) -> Vec<usize> {
    let mut around: Vec<usize> = Vec::new();
    for (index, _) in lines.iter().enumerate().filter(|(_, line)| line.contains(word)) {
        let first = index.saturating_sub(before).max(around.last().map_or(0, |last| last + 1));
        around.extend(first..=index);
    }
    around
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_quoted_with_what_was_before_them_and_no_line_twice() {
        let lines: Vec<String> =
            (0..20).map(|number| if number % 9 == 7 { "Error" } else { "x" }.to_owned()).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(lines_around(&lines, "Error", 2), [5, 6, 7, 14, 15, 16]);
        assert_eq!(lines_around(&lines[..8], "Error", 9), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(lines_around(&["Error", "Error"], "Error", 3), [0, 1]);
        assert!(lines_around(&["x"], "Error", 3).is_empty());
    }

    #[test]
    fn cgroups_modes_are_runcs_words() {
        let read = |word: &str| word.parse::<CgroupsMode>();
        assert_eq!(read(""), Ok(CgroupsMode::Default));
        assert_eq!(read("ignore"), Ok(CgroupsMode::Ignore));
        assert_eq!(read("Soft"), Err("invalid manage-cgroups-mode value"));
    }

    #[test]
    fn criu_reads_the_file_that_an_annotation_names_or_runcs() {
        let annotated = |value: Option<&str>| {
            let mut spec = Spec::default();
            spec.set_annotations(value.map(|value| [(CONFIGURED.to_owned(), value.to_owned())].into()));
            configuration(&spec)
        };
        assert_eq!(annotated(None).as_deref(), Some("/etc/criu/runc.conf"));
        assert_eq!(annotated(Some("/x")).as_deref(), Some("/x"));
        assert_eq!(annotated(Some("")), None);
    }

    #[test]
    fn only_the_networks_namespace_can_be_left_empty() {
        let work = |name: &str| Work { empty_namespaces: vec![name.to_owned()], ..Work::default() };
        assert!(work("network").check_namespaces().is_ok());
        let error = work("pid").check_namespaces().map_err(|error| error.to_string());
        assert_eq!(error, Err("namespace \"pid\" is not supported".to_owned()));
    }
}
