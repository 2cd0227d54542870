//! The administrator's file, `/etc/rr-runtime/config.toml`: tenants, folders, bounds.
//!
//! Annotations are a workload's own words; this file is the other side. It is optional, and every default is written
//! down in docs/configuration.md. A file that is there has to be right: an unknown key or a bad value is an error that names both
//! file and key, and a file that others than root (or the caller) can write is not read at all.
//!
//! The tenant is decided here and nowhere else. With no file it is the user who runs the runtime; where the annotations
//! of a cluster's manager stand on the container there is none until the administrator says what it shall be, because
//! there one user runs everybody's containers.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hose::Tenant;
use serde::Deserialize;
use toml::Value;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::{quantity, trust};

/// Where the file lies.
pub const PATH: &str = "/etc/rr-runtime/config.toml";

/// Keys that podman sets too, under CRI-O's prefix: they say nothing of a cluster.
const PODMANS: [&str; 6] = [
    "io.kubernetes.cri-o.Created",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri-o.SandboxID",
    "io.kubernetes.cri-o.SandboxName",
    "io.kubernetes.cri-o.Stdin",
    "io.kubernetes.cri-o.TTY",
];

/// What the administrator decided, or the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    file: Option<PathBuf>,
    tenancy: Tenancy,
    hose_dir: Option<PathBuf>,
    hose_keys: Option<PathBuf>,
    trusted_networks: String,
    cache_dir: Option<PathBuf>,
    cache_size: u64,
    max_module_size: u64,
    confines_functions: bool,
    compiler: Compiler,
}

/// Where a container's tenant comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tenancy {
    Fixed(Tenant),
    Annotation(String),
    /// The default: the user who runs the runtime, by the id that the host knows.
    User(u32),
}

/// Bounds of one compilation ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Address space in bytes.
    pub max_memory: u64,
    /// Wall-clock time.
    pub timeout: Duration,
    /// Background compilations at the same time on this host.
    pub parallel: u32,
}

impl Settings {
    /// Reads the file. Where [`PATH`] is not there the defaults hold; another one was named, and has to be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], naming the file and the key at fault.
    pub fn load(path: &Path) -> Result<Self> {
        let settings = Self::load_from(path, &Places::now())?;
        if settings.file.is_none() && path != Path::new(PATH) {
            return Err(Error::new(ErrorKind::Config, format!("{}: there is no such file", path.display())));
        }
        Ok(settings)
    }

    fn load_from(path: &Path, places: &Places) -> Result<Self> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Raw::default().validate(None, places);
            }
            Err(error) => {
                return Err(Error::with_source(
                    ErrorKind::Config,
                    format!("{}: cannot be read", path.display()),
                    error,
                ));
            }
            Ok(_) => {}
        }
        let checked = trust::check(path, ErrorKind::Config)?;
        let text = fs::read_to_string(checked)
            .context(ErrorKind::Config, || format!("{}: cannot be read", path.display()))?;
        let raw: Raw = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().replace('\n', " ");
            Error::new(ErrorKind::Config, format!("{}: line {line}: {message}", path.display()))
        })?;
        raw.validate(Some(path), places)
    }

    /// The file that was read, or the place where there is none.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(PATH))
    }

    /// The tenant of a container, given its annotations.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when there is none, saying what would have to be configured.
    pub fn tenant(&self, annotations: &HashMap<String, String>) -> Result<Tenant> {
        match &self.tenancy {
            Tenancy::Fixed(tenant) => Ok(tenant.clone()),
            Tenancy::User(uid) => match annotations.keys().filter(|key| is_clusters(key)).min() {
                None => tenant(&format!("uid-{uid}"), || "default tenant".to_owned()),
                Some(key) => Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "hose: annotation {key} shows a cluster, where a container has no tenant until {} \
                             names one with 'tenant' or 'tenant-annotation'",
                        self.file().display()
                    ),
                )),
            },
            Tenancy::Annotation(key) => {
                let file = self.file().display();
                let value = annotations.get(key).ok_or_else(|| {
                    let message = format!(
                        "hose: the container has no annotation {key}, which {file} names as its tenant"
                    );
                    Error::new(ErrorKind::Config, message)
                })?;
                tenant(value, || format!("annotation {key}, which {file} names as the tenant"))
            }
        }
    }

    /// The base of the rendezvous folders.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when a rootless caller's environment does not say where its own is.
    pub fn hose_dir(&self) -> Result<&Path> {
        self.hose_dir.as_deref().ok_or_else(|| unset("hose", "XDG_RUNTIME_DIR"))
    }

    /// The folder of the tenants' keys for the network.
    #[must_use]
    pub fn hose_keys(&self) -> Option<&Path> {
        self.hose_keys.as_deref()
    }

    /// Networks whose hosts are believed as long as there are no keys, a comma list.
    #[must_use]
    pub fn trusted_networks(&self) -> &str {
        &self.trusted_networks
    }

    /// The folder of the cache of ahead-of-time code.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when a rootless caller's environment does not say where its own is.
    pub fn cache_dir(&self) -> Result<&Path> {
        self.cache_dir.as_deref().ok_or_else(|| unset("cache", "XDG_CACHE_HOME and HOME"))
    }

    /// Bound of the cache in bytes.
    #[must_use]
    pub fn cache_size(&self) -> u64 {
        self.cache_size
    }

    /// Largest accepted module in bytes.
    #[must_use]
    pub fn max_module_size(&self) -> u64 {
        self.max_module_size
    }

    /// Whether functions of containers without a seccomp profile get the one of docs/seccomp.md.
    #[must_use]
    pub fn confines_functions(&self) -> bool {
        self.confines_functions
    }

    /// Bounds of the compiler.
    #[must_use]
    pub fn compiler(&self) -> Compiler {
        self.compiler
    }
}

fn unset(what: &str, variable: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{what}: no folder for a user without privileges: {variable} not set"),
    )
}

fn tenant(text: &str, whose: impl FnOnce() -> String) -> Result<Tenant> {
    text.parse().map_err(|why: hose::Error| {
        Error::with_source(ErrorKind::Config, format!("{}: is no tenant", whose()), why)
    })
}

/// Whether only a Kubernetes node's manager sets the key.
fn is_clusters(key: &str) -> bool {
    key.starts_with("io.kubernetes.cri.")
        || (key.starts_with("io.kubernetes.cri-o.") && !PODMANS.contains(&key))
}

/// Where things lie when the file does not say: root's places, or the caller's own.
struct Places {
    hose: Option<PathBuf>,
    cache: Option<PathBuf>,
    /// Whether the file's folders hold: they are root's.
    configurable: bool,
}

impl Places {
    fn now() -> Self {
        if !trust::is_rootless() {
            let (hose, cache) = ("/run/rr-runtime/hose", "/var/cache/rr-runtime");
            return Self { hose: Some(hose.into()), cache: Some(cache.into()), configurable: true };
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Self {
            hose: variable("XDG_RUNTIME_DIR").map(|base| base.join("rr-runtime/hose")),
            cache: cache.map(|base| base.join("rr-runtime/aot")),
            configurable: false,
        }
    }
}

/// The file as it is written: keys are known, values are not checked yet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Raw {
    tenant: Option<Value>,
    tenant_annotation: Option<Value>,
    hose: RawHose,
    cache: RawCache,
    module: RawModule,
    compiler: RawCompiler,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawHose {
    directory: Option<Value>,
    keys: Option<Value>,
    trusted_networks: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawCache {
    directory: Option<Value>,
    max_size: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawModule {
    max_size: Option<Value>,
    seccomp: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawCompiler {
    max_memory: Option<Value>,
    timeout: Option<Value>,
    parallel: Option<Value>,
}

impl Raw {
    fn validate(self, file: Option<&Path>, places: &Places) -> Result<Settings> {
        let at = At { file: file.unwrap_or(Path::new(PATH)) };
        let hose_dir = at.folder("hose.directory", self.hose.directory)?.filter(|_| places.configurable);
        let cache_dir = at.folder("cache.directory", self.cache.directory)?.filter(|_| places.configurable);
        let compiler = Compiler {
            max_memory: at.size("compiler.max-memory", self.compiler.max_memory, 256 << 20, 4 << 30)?,
            timeout: at.duration("compiler.timeout", self.compiler.timeout, Duration::from_secs(30 * 60))?,
            parallel: at.count("compiler.parallel", self.compiler.parallel, 64, 1)?,
        };
        Ok(Settings {
            tenancy: at.tenancy(self.tenant, self.tenant_annotation)?,
            hose_keys: at.folder("hose.keys", self.hose.keys)?,
            trusted_networks: at.networks("hose.trusted-networks", self.hose.trusted_networks)?,
            hose_dir: hose_dir.or_else(|| places.hose.clone()),
            cache_dir: cache_dir.or_else(|| places.cache.clone()),
            cache_size: at.size("cache.max-size", self.cache.max_size, 0, 1 << 30)?,
            max_module_size: at.size("module.max-size", self.module.max_size, 8, 256 << 20)?,
            confines_functions: at.switch("module.seccomp", self.module.seccomp, ["off", "default"], true)?,
            compiler,
            file: file.map(Path::to_owned),
        })
    }
}

/// Makes values of what stands in a file, naming file and key when it cannot.
struct At<'a> {
    file: &'a Path,
}

impl At<'_> {
    fn fault(&self, key: &str, why: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Config, format!("{}: {key} {why}", self.file.display()))
    }

    fn text(&self, key: &str, value: Option<Value>) -> Result<Option<String>> {
        match value {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(Value::String(_)) => Err(self.fault(key, "is empty")),
            Some(other) => Err(self.fault(key, format_args!("is {other}, not a string"))),
        }
    }

    fn tenancy(&self, tenant: Option<Value>, annotation: Option<Value>) -> Result<Tenancy> {
        let tenant = self.text("tenant", tenant)?;
        let annotation = self.text("tenant-annotation", annotation)?;
        match (tenant, annotation) {
            (Some(_), Some(_)) => Err(self.fault("tenant", "and tenant-annotation exclude each other")),
            (None, None) => Ok(Tenancy::User(trust::host_uid())),
            (None, Some(key)) if key.starts_with("io.roadrunner.") => {
                Err(self.fault("tenant-annotation", "is a key that workloads set themselves"))
            }
            (None, Some(key)) => Ok(Tenancy::Annotation(key)),
            (Some(text), None) => {
                let parsed = text.parse().map_err(|why: hose::Error| {
                    let message = format!("{}: tenant {text:?} is not valid", self.file.display());
                    Error::with_source(ErrorKind::Config, message, why)
                })?;
                Ok(Tenancy::Fixed(parsed))
            }
        }
    }

    fn folder(&self, key: &str, value: Option<Value>) -> Result<Option<PathBuf>> {
        let folder = self.text(key, value)?.map(PathBuf::from);
        match folder {
            Some(path) if !path.is_absolute() => {
                Err(self.fault(key, format_args!("is {}, not an absolute path", path.display())))
            }
            other => Ok(other),
        }
    }

    fn networks(&self, key: &str, value: Option<Value>) -> Result<String> {
        let Some(text) = self.text(key, value)? else { return Ok(String::new()) };
        text.parse::<hose::tcp::Trusted>().map_err(|why| {
            let message = format!("{}: {key} {text:?} is not valid", self.file.display());
            Error::with_source(ErrorKind::Config, message, why)
        })?;
        Ok(text)
    }

    fn size(&self, key: &str, value: Option<Value>, least: u64, default: u64) -> Result<u64> {
        let size = match value {
            None => return Ok(default),
            Some(Value::Integer(n)) => {
                u64::try_from(n).map_err(|_| self.fault(key, format_args!("is {n}, which is negative")))?
            }
            Some(other) => {
                let text = self.text(key, Some(other))?.unwrap_or_default();
                quantity::bytes(&text)
                    .map_err(|why| self.fault(key, format_args!("is {text:?}, which {why}")))?
            }
        };
        if size < least {
            return Err(self.fault(key, format_args!("is {size} bytes, less than {least}")));
        }
        Ok(size)
    }

    fn duration(&self, key: &str, value: Option<Value>, default: Duration) -> Result<Duration> {
        let Some(text) = self.text(key, value)? else { return Ok(default) };
        match quantity::duration(&text) {
            Ok(duration) if duration < Duration::from_secs(1) => {
                Err(self.fault(key, "is less than a second"))
            }
            Ok(duration) => Ok(duration),
            Err(why) => Err(self.fault(key, format_args!("is {text:?}, which {why}"))),
        }
    }

    /// Which of two words, the first of which is `false`.
    fn switch(&self, key: &str, value: Option<Value>, words: [&str; 2], default: bool) -> Result<bool> {
        let Some(text) = self.text(key, value)? else { return Ok(default) };
        match words.iter().position(|word| *word == text) {
            Some(position) => Ok(position == 1),
            None => Err(self.fault(key, format_args!("is {text:?}, neither {} nor {}", words[0], words[1]))),
        }
    }

    fn count(&self, key: &str, value: Option<Value>, most: u32, default: u32) -> Result<u32> {
        match value {
            None => Ok(default),
            Some(Value::Integer(n)) if n >= 1 && n <= i64::from(most) => Ok(u32::try_from(n).unwrap_or(most)),
            Some(other) => Err(self.fault(key, format_args!("is {other}, not a number from 1 to {most}"))),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn places(configurable: bool) -> Places {
        Places { hose: Some("/h".into()), cache: Some("/c".into()), configurable }
    }

    fn load(text: &str) -> Result<Settings> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Settings::load_from(&path, &places(true))
    }

    fn annotations(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn without_a_file_and_with_an_empty_one_the_defaults_hold() {
        let none = Settings::load_from(Path::new("/nonexistent/config.toml"), &places(true)).unwrap();
        assert_eq!(none.hose_dir().unwrap(), Path::new("/h"));
        assert_eq!(none.cache_dir().unwrap(), Path::new("/c"));
        assert_eq!((none.cache_size(), none.max_module_size()), (1 << 30, 256 << 20));
        assert!(none.confines_functions());
        let empty = load("").unwrap();
        assert_eq!(Settings { file: None, ..empty }, none);
    }

    #[test]
    fn every_key_is_read() {
        let settings = load(
            "tenant = 'team-a'\n[hose]\ndirectory = '/x/h'\n[cache]\ndirectory = '/x/c'\nmax-size = '2Gi'\n\
             [module]\nmax-size = 1048576\nseccomp = 'off'\n[compiler]\nmax-memory = '1Gi'\ntimeout = '90s'\nparallel = 3\n",
        )
        .unwrap();
        assert_eq!(settings.tenant(&annotations(&[])).unwrap().as_str(), "team-a");
        assert_eq!(settings.hose_dir().unwrap(), Path::new("/x/h"));
        assert_eq!(settings.cache_dir().unwrap(), Path::new("/x/c"));
        assert_eq!((settings.cache_size(), settings.max_module_size()), (2 << 30, 1 << 20));
        assert!(!settings.confines_functions());
        let compiler = Compiler { max_memory: 1 << 30, timeout: Duration::from_secs(90), parallel: 3 };
        assert_eq!(settings.compiler(), compiler);
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_key() {
        for (text, key) in [
            ("colour = 1", "colour"),
            ("[hose]\nsocket = 'x'", "socket"),
            ("tenant = 3", "tenant"),
            ("tenant = ''", "tenant"),
            ("tenant = 'A/B'", "tenant"),
            ("tenant = 'a'\ntenant-annotation = 'b'", "tenant-annotation"),
            ("tenant-annotation = ''", "tenant-annotation"),
            ("tenant-annotation = 'io.roadrunner.hose/tenant'", "tenant-annotation"),
            ("[hose]\ndirectory = 'relative'", "hose.directory"),
            ("[cache]\ndirectory = true", "cache.directory"),
            ("[cache]\nmax-size = '1Q'", "cache.max-size"),
            ("[cache]\nmax-size = -1", "cache.max-size"),
            ("[module]\nmax-size = 0", "module.max-size"),
            ("[module]\nseccomp = 'on'", "module.seccomp"),
            ("[module]\nseccomp = false", "module.seccomp"),
            ("[compiler]\nmax-memory = '1Mi'", "compiler.max-memory"),
            ("[compiler]\ntimeout = '-1s'", "compiler.timeout"),
            ("[compiler]\ntimeout = '0'", "compiler.timeout"),
            ("[compiler]\ntimeout = 3", "compiler.timeout"),
            ("[compiler]\nparallel = 0", "compiler.parallel"),
            ("[compiler]\nparallel = 65", "compiler.parallel"),
            ("cache = 3", "line 1"),
            ("\n\n= x", "line 3"),
        ] {
            let error = load(text).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(message.contains("config.toml: ") && message.contains(key), "{text:?}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_not_read() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "tenant = 'a'").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let error = Settings::load_from(&path, &places(true)).unwrap_err().to_string();
        assert!(error.contains("config.toml: can be written by others"), "{error}");
    }

    #[test]
    fn the_files_folders_are_roots() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "[hose]\ndirectory = '/x'\n[cache]\ndirectory = '/y'").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let settings = Settings::load_from(&path, &places(false)).unwrap();
        assert_eq!(
            (settings.hose_dir().unwrap(), settings.cache_dir().unwrap()),
            (Path::new("/h"), Path::new("/c"))
        );
    }

    #[test]
    fn by_hand_and_under_podman_the_tenant_is_the_user() {
        let settings = load("").unwrap();
        let expected = format!("uid-{}", trust::host_uid());
        let podman = [("io.kubernetes.cri-o.TTY", "false"), ("io.podman.annotations.init", "FALSE")];
        for pairs in [[].as_slice(), &podman] {
            assert_eq!(settings.tenant(&annotations(pairs)).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn in_a_cluster_there_is_no_tenant_until_it_is_configured() {
        let containerd = annotations(&[("io.kubernetes.cri.sandbox-id", "x")]);
        let crio =
            annotations(&[("io.kubernetes.cri-o.ContainerID", "x"), ("io.container.manager", "libpod")]);
        for cluster in [containerd, crio] {
            let error = load("").unwrap().tenant(&cluster).unwrap_err().to_string();
            assert!(error.contains("config.toml") && error.contains("tenant-annotation"), "{error}");
            assert_eq!(load("tenant = 'a'").unwrap().tenant(&cluster).unwrap().as_str(), "a");
        }
    }

    #[test]
    fn the_tenant_can_be_what_the_manager_says() {
        let settings = load("tenant-annotation = 'io.kubernetes.cri.sandbox-namespace'").unwrap();
        let with = |value| settings.tenant(&annotations(&[("io.kubernetes.cri.sandbox-namespace", value)]));
        assert_eq!(with("prod").unwrap().as_str(), "prod");
        for message in
            [with("").unwrap_err().to_string(), settings.tenant(&annotations(&[])).unwrap_err().to_string()]
        {
            assert!(message.contains("io.kubernetes.cri.sandbox-namespace"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_file_is_read_with_a_panic(text in "(tenant|cache|\\[cache\\]|max-size|=|'|\"|\n|[a-z0-9é]| ){0,24}") {
            let _ = load(&text);
        }
    }
}
