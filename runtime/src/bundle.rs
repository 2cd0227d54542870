//! An OCI bundle: `config.json`, read once, and the folder that it lies in.
//!
//! Follows the OCI runtime specification, `bundle.md` and `config.md`. What is refused here is refused before anything
//! exists that would have to be removed again. Where runc has words for a fault, they are runc's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, Mount, Process, Root, Spec};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::lsm;
use crate::passwd;
use crate::spelling;

/// Name of the configuration in a bundle.
pub const CONFIG: &str = "config.json";
/// A configuration is read into memory whole: no real one comes near this.
const LARGEST_CONFIG: u64 = 64 << 20;

/// A bundle whose configuration was read and is complete enough to make a container of.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    rootfs: PathBuf,
    spec: Spec,
    process: Process,
    written: Process,
    text: Vec<u8>,
}

impl Bundle {
    /// Reads `config.json` in `path`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Bundle`], naming the file or the field at fault.
    pub fn load(path: &Path) -> Result<Self> {
        let path = path.canonicalize().context(ErrorKind::Bundle, || format!("chdir {}", path.display()))?;
        let text = read_config(&path.join(CONFIG))?;
        Self::parse(path, text)
    }

    /// A bundle of which the configuration is in memory already.
    ///
    /// # Errors
    ///
    /// As for [`Bundle::load`].
    pub fn parse(path: PathBuf, text: Vec<u8>) -> Result<Self> {
        let config = path.join(CONFIG);
        let unreadable = || format!("{}: is not a configuration", config.display());
        let mut spec: Spec = read(&text, "/process").context(ErrorKind::Bundle, unreadable)?;
        respell_resources(&mut spec, &text).context(ErrorKind::Bundle, unreadable)?;
        check_version(spec.version())?;
        check_host(&spec)?;
        let written = checked_process(&spec)?.clone();
        let mut process = written.clone();
        let root = spec.root().as_ref().map(Root::path).filter(|path| !path.as_os_str().is_empty());
        let root = root.ok_or_else(|| missing("root must be specified"))?;
        let rootfs = path.join(root);
        let rootfs = rootfs
            .canonicalize()
            .context(ErrorKind::Bundle, || format!("invalid rootfs: stat {}", rootfs.display()))?;
        if !rootfs.is_dir() {
            return Err(missing(format!("invalid rootfs: {} is not a folder", rootfs.display())));
        }
        passwd::complete(&mut process, &rootfs);
        spec.set_process(Some(process.clone()));
        Ok(Self { path, rootfs, spec, process, written, text })
    }

    /// Absolute path of the bundle's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Absolute path of the root file system on the host.
    #[must_use]
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// The configuration.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The configuration's process, which has arguments, an absolute working directory and a `HOME`.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process as the configuration has it: a `HOME` that it does not say is not there.
    #[must_use]
    pub fn written_process(&self) -> &Process {
        &self.written
    }

    /// The configuration as it was read.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

fn read_config(path: &Path) -> Result<Vec<u8>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::with_source(
                ErrorKind::Bundle,
                "JSON specification file config.json not found",
                error,
            ));
        }
        Err(error) => {
            return Err(error).context(ErrorKind::Bundle, || format!("{}: cannot be read", path.display()));
        }
    };
    if !metadata.is_file() || metadata.len() > LARGEST_CONFIG {
        return Err(missing(format!("{}: is not a file of at most {LARGEST_CONFIG} bytes", path.display())));
    }
    fs::read(path).context(ErrorKind::Bundle, || format!("{}: cannot be read", path.display()))
}

/// Reads a document in which there is a process at `pointer`, with what runc forgives: capabilities that nobody here knows, maybe a later kernel's, are left out
/// with a warning, and a process without a user is root's.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8], pointer: &str) -> serde_json::Result<T> {
    let refused = match serde_json::from_slice(text) {
        Ok(document) => return Ok(document),
        Err(refused) => refused,
    };
    let mut document: Value = serde_json::from_slice(text)?;
    let Some(process) = document.pointer_mut(pointer).and_then(Value::as_object_mut) else {
        return Err(refused);
    };
    let mut unknown = BTreeSet::new();
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let known = !name.is_string() || Capability::deserialize(name).is_ok();
            if !known {
                unknown.extend(name.as_str().map(str::to_owned));
            }
            known
        });
    }
    let renamed = rename_scheduler_flags(process);
    let nobody = !process.contains_key("user");
    if nobody {
        process.insert("user".to_owned(), json!({}));
    }
    if !nobody && !renamed && unknown.is_empty() {
        return Err(refused);
    }
    let document = serde_json::from_value(document)?;
    warn_of_capabilities(&unknown);
    Ok(document)
}

/// Tells of those that are left out, if there are any, in runc's words and Go's form.
pub(crate) fn warn_of_capabilities<'a>(names: impl IntoIterator<Item = &'a String>) {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if !names.is_empty() {
        tracing::warn!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "));
    }
}

/// Resources whose keys have other capital letters are read once more.
fn respell_resources(spec: &mut Spec, text: &[u8]) -> serde_json::Result<()> {
    if !spelling::is_doubtful(text) {
        return Ok(());
    }
    let mut document: Value = serde_json::from_slice(text)?;
    let resources = document.pointer_mut("/linux/resources").map(Value::take);
    if let (Some(linux), Some(mut resources)) = (spec.linux_mut(), resources) {
        spelling::mend(&mut resources);
        linux.set_resources(serde_json::from_value(resources)?);
    }
    Ok(())
}

/// Flags of `process.scheduler` that oci-spec calls otherwise than the specification does; whether there were any.
fn rename_scheduler_flags(process: &mut Map<String, Value>) -> bool {
    const NAMES: [(&str, &str); 2] = [
        ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
        ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ];
    let flags = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    let mut renamed = false;
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((_, theirs)) = NAMES.iter().find(|(name, _)| flag == name) {
            *flag = json!(theirs);
            renamed = true;
        }
    }
    renamed
}

/// Whether a mount shows what is there already: as libcontainer has it, by its options whatever its type, or by its type alone.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    let mut options = mount.options().iter().flatten();
    mount.typ().as_deref() == Some("bind") || options.any(|option| option == "bind" || option == "rbind")
}

/// What this host cannot do, in runc's words.
fn check_host(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let unified = linux.and_then(|linux| linux.resources().as_ref()?.unified().as_ref());
    if unified.is_some_and(|unified| !unified.is_empty()) && !cgroup::is_version2() {
        return Err(missing("invalid configuration: cannot use unified on cgroup v1"));
    }
    let process = lsm::label_of(spec.process().as_ref());
    check_label(process.or_else(|| lsm::mount_label_of(spec)).is_some())
}

/// Whether a label can be had of SELinux, if there is one.
pub(crate) fn check_label(labelled: bool) -> Result<()> {
    if labelled && cfg!(not(libcontainer_asks_the_executor)) {
        return Err(missing("this build has libcontainer without patches, which sets no selinux labels"));
    }
    if labelled && !Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(missing(
            "selinux label is specified in config, but selinux is disabled or not supported",
        ));
    }
    Ok(())
}

fn check_version(version: &str) -> Result<()> {
    let mut parts = version.split('.');
    match (parts.next(), parts.next().map(str::parse::<u32>)) {
        (Some("1"), Some(Ok(_))) => Ok(()),
        _ => Err(missing(format!("ociVersion: version {version:?} is not supported, only 1.x is"))),
    }
}

fn checked_process(spec: &Spec) -> Result<&Process> {
    let process = spec.process().as_ref().ok_or_else(|| missing("process property must not be empty"))?;
    check_process(process)?;
    Ok(process)
}

/// What every process needs, also one that `exec --process` names.
///
/// # Errors
///
/// [`ErrorKind::Bundle`], in runc's words.
pub(crate) fn check_process(process: &Process) -> Result<()> {
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        return Err(missing("Cwd property must not be empty"));
    }
    if !cwd.is_absolute() {
        return Err(missing("Cwd must be an absolute path"));
    }
    let user = process.user();
    let ids = [user.uid(), user.gid()].into_iter().chain(user.additional_gids().iter().flatten().copied());
    // What setuid(2) and its like take for "as it is": root, that is.
    if ids.into_iter().any(|id| id == u32::MAX) {
        return Err(missing(format!("process.user: {} is no id", u32::MAX)));
    }
    let args = process.args().as_deref().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(missing("args must not be empty"));
    }
    let env = process.env().as_deref().unwrap_or_default();
    if let Some(text) = args.iter().chain(env).find(|text| text.contains('\0')) {
        return Err(missing(format!("process: {text:?} holds a NUL character")));
    }
    if let Some(pair) = env.iter().find(|pair| pair.find('=').is_none_or(|at| at == 0)) {
        return Err(missing(format!("process.env: {pair:?} is not of the form name=value")));
    }
    Ok(())
}

fn missing(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Bundle, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: &str) -> Result<Bundle> {
        Bundle::parse(PathBuf::from("/"), config.as_bytes().to_vec())
    }

    fn refused(config: &str) -> String {
        parse(config).expect_err("must be refused").to_string()
    }

    #[test]
    fn the_smallest_complete_configuration_is_taken() {
        let bundle = parse(
            r#"{"ociVersion":"1.0.2","process":{"user":{},"args":["x"],"cwd":"/"},"root":{"path":"/tmp"}}"#,
        );
        assert_eq!(bundle.expect("complete").rootfs(), Path::new("/tmp"));
    }

    #[test]
    fn what_is_missing_is_named_in_runcs_words() {
        assert_eq!(refused(r#"{"ociVersion":"1.0.2"}"#), "process property must not be empty");
        let process = |process: &str| {
            format!(r#"{{"ociVersion":"1.0.2","process":{process},"root":{{"path":"/tmp"}}}}"#)
        };
        assert_eq!(refused(&process(r#"{"user":{},"args":[],"cwd":"/"}"#)), "args must not be empty");
        assert_eq!(
            refused(&process(r#"{"user":{},"args":["x"],"cwd":""}"#)),
            "Cwd property must not be empty"
        );
        assert_eq!(
            refused(&process(r#"{"user":{},"args":["x"],"cwd":"a"}"#)),
            "Cwd must be an absolute path"
        );
        assert!(refused(&process(r#"{"user":{},"args":["x"],"cwd":"/","env":["a"]}"#)).contains("\"a\""));
    }

    #[test]
    fn capabilities_of_a_later_kernel_are_left_out() {
        let bundle = parse(
            r#"{"ociVersion":"1.0.2","process":{"user":{},"args":["x"],"cwd":"/",
            "capabilities":{"bounding":["CAP_CHOWN","CAP_TIME_TRAVEL"],"permitted":["CAP_TIME_TRAVEL"]}},"root":{"path":"/tmp"}}"#,
        );
        let bundle = bundle.expect("complete");
        let all = bundle.process().capabilities().as_ref().expect("capabilities");
        let count =
            |set: &Option<oci_spec::runtime::Capabilities>| set.as_ref().map(std::collections::HashSet::len);
        assert_eq!((count(all.bounding()), count(all.permitted())), (Some(1), Some(0)));
        let wrong = r#"{"ociVersion":"1.0.2","process":{"capabilities":{"bounding":[7]}}}"#;
        assert!(refused(wrong).contains("is not a configuration"));
    }

    #[test]
    fn flags_of_the_scheduler_have_the_specifications_names() {
        let scheduler = |flag: &str| {
            let config = format!(
                r#"{{"ociVersion":"1.0.2","process":{{"user":{{}},"args":["x"],"cwd":"/","scheduler":{{"policy":"SCHED_DEADLINE","flags":["{flag}"]}}}},"root":{{"path":"/tmp"}}}}"#
            );
            parse(&config)
                .map(|bundle| bundle.process().scheduler().clone().and_then(|one| one.flags().clone()))
        };
        for flag in ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"] {
            assert_eq!(scheduler(flag).expect("a flag").map(|flags| flags.len()), Some(1), "{flag}");
        }
        assert!(scheduler("SCHED_FLAG_NONE").is_err());
    }

    #[test]
    fn other_versions_are_refused() {
        for version in ["", "0.9", "2.0.0", "1", "1.x"] {
            assert!(
                refused(&format!(r#"{{"ociVersion":"{version}"}}"#)).contains("is not supported"),
                "{version}"
            );
        }
    }

    #[test]
    fn a_configuration_cut_off_anywhere_is_an_error_and_no_panic() {
        let whole =
            r#"{"ociVersion":"1.0.2","process":{"user":{},"args":["x"],"cwd":"/"},"root":{"path":"/tmp"}}"#;
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
    }
}
