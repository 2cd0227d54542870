//! Which workload a container is: a process for the kernel, or a function for the engine.
//!
//! In this order: a pod's sandbox is native; `wasm/handler` decides, or what other runtimes read instead of it; else the
//! first bytes of the entrypoint do. Only a file that starts with `\0asm` ever becomes a [`WasmConfig`]: where the
//! annotations ask for the engine and the entrypoint is something else, that is an error which names both.
//!
//! Looking at the entrypoint here decides, but is not what protects: the executor opens the module again inside the
//! container, with the container's privileges, and checks it there.
//!
//! Not here: reading annotations ([`crate::annotation`]), looking into the container's files ([`crate::tree`]).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use executor_abi::request::FileIdentity;
use oci_spec::runtime::{Process, Spec};

use crate::annotation::hose::Hose;
use crate::annotation::{Annotations, Aot, Handler, Limits};
use crate::bundle::Bundle;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::tree::{Missing, Tree};

/// How a container's runtime marks the container that only holds a pod's namespaces.
const SANDBOX: [(&str, &str); 2] =
    [("io.kubernetes.cri.container-type", "sandbox"), ("io.kubernetes.cri-o.ContainerType", "sandbox")];

/// Where commands are looked for when the spec's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MAGIC: &[u8; 4] = b"\0asm";

/// What a container runs.
#[derive(Debug)]
pub enum Workload {
    /// A process.
    Native,
    /// A function.
    Wasm(Box<WasmConfig>),
}

/// A function, as the spec and its annotations describe it.
#[derive(Debug)]
pub struct WasmConfig {
    path: PathBuf,
    function: Option<String>,
    args: Vec<String>,
    env: Vec<String>,
    cwd: PathBuf,
    limits: Limits,
    aot: Aot,
    hose: Option<Hose>,
    module: File,
    identity: FileIdentity,
    further: Vec<Further>,
}

/// The module of a further function of the process.
#[derive(Debug)]
pub struct Further {
    file: File,
    identity: FileIdentity,
}

impl Workload {
    /// Decides for a container's init.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`] when the annotations ask for the engine and the entrypoint is no module;
    /// [`ErrorKind::Bundle`] when the spec is not complete enough to tell.
    pub fn of_bundle(bundle: &Bundle, annotations: &Annotations) -> Result<Self> {
        let spec = bundle.spec();
        let Some(process) = spec.process() else { return Ok(Self::Native) };
        if is_sandbox(spec) || annotations.handler() == Handler::Native {
            return Ok(Self::Native);
        }
        let mounts = spec.mounts().as_deref().unwrap_or_default();
        let tree = Tree::of_bundle(bundle.path(), bundle.rootfs(), mounts)?;
        decide(&tree, process, spec, annotations)
    }

    /// Decides for a process that joins a running *Wasm* container, whose tree is given. (In a native container every
    /// process is native: its procfs is not masked.)
    ///
    /// A command that is no module runs natively, whatever the container's annotations say of its init.
    ///
    /// # Errors
    ///
    /// As [`Workload::of_bundle`].
    pub fn of_exec(tree: &Tree, process: &Process, spec: &Spec, annotations: &Annotations) -> Result<Self> {
        let found = Command::of(process)?.find(tree);
        match found {
            Ok(found) if found.content == Content::Wasm => wasm(tree, found, process, spec, annotations),
            _ => Ok(Self::Native),
        }
    }
}

/// Whether the container only holds a pod's namespaces.
fn is_sandbox(spec: &Spec) -> bool {
    let Some(annotations) = spec.annotations() else { return false };
    SANDBOX.iter().any(|(key, value)| annotations.get(*key).is_some_and(|found| found == value))
}

fn decide(tree: &Tree, process: &Process, spec: &Spec, annotations: &Annotations) -> Result<Workload> {
    let command = Command::of(process)?;
    let found = command.find(tree);
    match (annotations.handler(), found) {
        (Handler::Native, _) | (Handler::Auto, Err(_)) => Ok(Workload::Native),
        (Handler::Auto, Ok(found)) if found.content != Content::Wasm => Ok(Workload::Native),
        (_, Ok(found)) => wasm(tree, found, process, spec, annotations),
        (Handler::Wasm, Err((path, why))) => {
            Err(Error::new(ErrorKind::Module, format!("module {}: {why}", path.display())))
        }
    }
}

fn wasm(
    tree: &Tree,
    found: Found,
    process: &Process,
    spec: &Spec,
    annotations: &Annotations,
) -> Result<Workload> {
    let at_fault =
        |why: &str| Error::new(ErrorKind::Module, format!("module {}: {why}", found.path.display()));
    if let Some(why) = found.content.reason() {
        return Err(at_fault(why));
    }
    if found.function.as_deref() == Some("") {
        return Err(at_fault("no function is named after the '#'"));
    }
    let mut args = process.args().clone().unwrap_or_default();
    if let (Some(function), Some(first)) = (&found.function, args.first_mut()) {
        first.truncate(first.len() - function.len() - 1);
    }
    let env = process.env().clone().unwrap_or_default();
    if let Some(bad) = args.iter().chain(&env).find(|text| text.contains('\0')) {
        let message = format!("process: {bad:?} has a NUL byte, which no argument and no variable can have");
        return Err(Error::new(ErrorKind::Bundle, message));
    }
    let identity = identity(&found.file)
        .context(ErrorKind::Module, || format!("module {}: cannot be examined", found.path.display()))?;
    let further = further(tree, annotations)?;
    Ok(Workload::Wasm(Box::new(WasmConfig {
        further,
        path: found.path,
        function: found.function,
        args,
        env,
        cwd: process.cwd().clone(),
        limits: limits(annotations, spec)?,
        aot: annotations.aot(),
        hose: annotations.hose().cloned(),
        module: found.file,
        identity,
    })))
}

/// Opens the modules of the further functions.
fn further(tree: &Tree, annotations: &Annotations) -> Result<Vec<Further>> {
    let modules = annotations.hose().map(Hose::modules).unwrap_or_default();
    modules.iter().map(|module| Further::open(tree, module.path())).collect()
}

/// The annotations' limits, with the cgroup's where it is lower. What several functions may have together is not more than the
/// cgroup lets them: where none is asked for, each gets its part.
fn limits(annotations: &Annotations, spec: &Spec) -> Result<Limits> {
    let functions = 1 + annotations.hose().map_or(0, |hose| hose.modules().len());
    check_memory(annotations, spec, functions)?;
    let limits = annotations.limits();
    let max_memory = match (limits.max_memory, cgroup_memory(spec)) {
        (Some(each), all) => Some(all.map_or(each, |all| all.min(each))),
        (None, all) => all.map(|all| all / functions as u64),
    };
    Ok(Limits { max_memory, ..limits })
}

/// Bytes that the cgroup lets the container have.
fn cgroup_memory(spec: &Spec) -> Option<u64> {
    let resources = spec.linux().as_ref()?.resources().as_ref()?;
    // Negative is unlimited.
    let limit = resources.memory().as_ref()?.limit().and_then(|limit| u64::try_from(limit).ok());
    limit.filter(|limit| *limit > 0)
}

/// Whether the cgroup lets so many functions have what each of them may.
///
/// # Errors
///
/// [`ErrorKind::Annotation`].
pub(crate) fn check_memory(annotations: &Annotations, spec: &Spec, functions: usize) -> Result<()> {
    let (Some(each), Some(all)) = (annotations.limits().max_memory, cgroup_memory(spec)) else {
        return Ok(());
    };
    if functions == 1 || each.saturating_mul(functions as u64) <= all {
        return Ok(());
    }
    let message = format!(
        "annotation io.roadrunner.wasm/max-memory: {functions} functions of {each} bytes each are more than \
         the cgroup's limit of {all}"
    );
    Err(Error::new(ErrorKind::Annotation, message))
}

/// Whether there is room for one function more, each of which may have what the first were given.
///
/// # Errors
///
/// [`ErrorKind::Annotation`].
pub(crate) fn check_memory_for_one_more(
    annotations: &Annotations,
    spec: &Spec,
    functions: usize,
) -> Result<()> {
    if annotations.limits().max_memory.is_none()
        && let Some(all) = cgroup_memory(spec)
    {
        let message = format!(
            "annotation io.roadrunner.wasm/max-memory: without it the {functions} functions that there are may have all of \
             the cgroup's limit of {all} bytes"
        );
        return Err(Error::new(ErrorKind::Annotation, message));
    }
    check_memory(annotations, spec, functions + 1)
}

/// Identity of an open file.
///
/// # Errors
///
/// Those of `fstat(2)`.
pub fn identity(file: &File) -> std::io::Result<FileIdentity> {
    let meta = file.metadata()?;
    let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
    Ok(FileIdentity {
        dev: meta.dev(),
        ino: meta.ino(),
        size: meta.size(),
        mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
    })
}

impl WasmConfig {
    /// Absolute path of the module in the container.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The exported function to call, when it is not the module's own entry point.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.function.as_deref()
    }

    /// The argument vector, without `#function`.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// The spec's environment, in its order.
    #[must_use]
    pub fn env(&self) -> &[String] {
        &self.env
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The limits in force: the annotations', and the cgroup's.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What ahead-of-time compilation may do.
    #[must_use]
    pub fn aot(&self) -> Aot {
        self.aot
    }

    /// The hose, when the container has one.
    #[must_use]
    pub fn hose(&self) -> Option<&Hose> {
        self.hose.as_ref()
    }

    /// The modules of the hose's further functions, in their order.
    #[must_use]
    pub fn further(&self) -> &[Further] {
        &self.further
    }

    /// The module, open for reading, as the host sees it before the container runs.
    #[must_use]
    pub fn module(&self) -> &File {
        &self.module
    }

    /// What `stat` says of [`Self::module`].
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }
}

impl Further {
    /// Opens a module in a container's tree. `path` is absolute.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`].
    pub(crate) fn open(tree: &Tree, path: &Path) -> Result<Self> {
        let at_fault = |why: &str| Error::new(ErrorKind::Module, format!("module {}: {why}", path.display()));
        let file = tree.open(path).map_err(|missing| at_fault(&missing.to_string()))?;
        let content = Content::of(&file)
            .context(ErrorKind::Module, || format!("module {}: cannot be read", path.display()))?;
        if let Some(why) = content.reason() {
            return Err(at_fault(why));
        }
        let identity = identity(&file)
            .context(ErrorKind::Module, || format!("module {}: cannot be examined", path.display()))?;
        Ok(Self { file, identity })
    }

    /// The module, open for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What `stat` says of it.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }
}

/// The command of a process: where its entrypoint may lie.
struct Command {
    /// In the order of preference.
    candidates: Vec<Candidate>,
}

struct Candidate {
    path: PathBuf,
    function: Option<String>,
    /// Found by a search: it counts only if it can be executed, or is a module.
    searched: bool,
}

/// An entrypoint that is a readable regular file.
struct Found {
    path: PathBuf,
    function: Option<String>,
    file: File,
    content: Content,
}

impl Command {
    fn of(process: &Process) -> Result<Self> {
        let args = process.args().as_deref().unwrap_or_default();
        let first = args.first().map(String::as_str).unwrap_or_default();
        if first.is_empty() {
            return Err(Error::new(
                ErrorKind::Bundle,
                "process.args: is empty, or begins with an empty string",
            ));
        }
        let env = process.env().as_deref().unwrap_or_default();
        let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        // A file whose name really has a '#' in it wins over a function's name.
        let mut candidates = places(first, path, process.cwd(), None);
        if let Some((module, function)) = first.split_once('#')
            && !module.is_empty()
        {
            candidates.extend(places(module, path, process.cwd(), Some(function)));
        }
        Ok(Self { candidates })
    }

    /// The first candidate that is there; when there is none, what was wrong with the most likely one.
    fn find(self, tree: &Tree) -> Result<Found, (PathBuf, String)> {
        let mut fault: Option<(PathBuf, Missing)> = None;
        for Candidate { path, function, searched } in self.candidates {
            match tree.open(&path) {
                Ok(file) => {
                    let content = match Content::of(&file) {
                        Ok(content) => content,
                        Err(error) => return Err((path, format!("cannot be read: {error}"))),
                    };
                    if searched && content != Content::Wasm && !is_executable(&file) {
                        continue;
                    }
                    return Ok(Found { path, function, file, content });
                }
                Err(missing) => {
                    // What says more than 'no such file' is the better explanation.
                    if fault.as_ref().is_none_or(|(_, said)| matches!(said, Missing::NotFound)) {
                        fault = Some((path, missing));
                    }
                }
            }
        }
        let (path, why) = fault.unwrap_or((PathBuf::from("/"), Missing::NotFound));
        Err((path, why.to_string()))
    }
}

/// Where `name` may lie: a path is what it says, a bare name is searched for, at last in the working directory.
fn places(name: &str, search: &str, cwd: &Path, function: Option<&str>) -> Vec<Candidate> {
    let place = |path: PathBuf, searched| Candidate { path, function: function.map(str::to_owned), searched };
    let own = place(Path::new("/").join(cwd).join(name), false);
    if name.contains('/') {
        return vec![own];
    }
    let folders = search.split(':').filter(|folder| folder.starts_with('/'));
    folders.map(|folder| place(Path::new(folder).join(name), true)).chain([own]).collect()
}

fn is_executable(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.mode() & 0o111 != 0)
}

/// What the first bytes of a file say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Starts with `\0asm`; whether it is a *valid* module is for the engine to say.
    Wasm,
    Elf,
    Script,
    Empty,
    Other,
}

impl Content {
    fn of(mut file: &File) -> std::io::Result<Self> {
        let mut first = Vec::with_capacity(MAGIC.len());
        // Whoever hashes it reads from the start.
        file.take(MAGIC.len() as u64).read_to_end(&mut first)?;
        std::io::Seek::rewind(&mut file)?;
        Ok(match first.as_slice() {
            bytes if bytes == MAGIC => Self::Wasm,
            b"\x7fELF" => Self::Elf,
            [b'#', b'!', ..] => Self::Script,
            [] => Self::Empty,
            _ => Self::Other,
        })
    }

    /// Why it is no module; nothing for one.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Wasm => None,
            Self::Elf => Some("is an ELF file, not a Wasm module"),
            Self::Script => Some("is a script, not a Wasm module"),
            Self::Empty => Some("is empty"),
            Self::Other => Some("is not a Wasm module: it does not start with \\0asm"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    struct Case {
        dir: TempDir,
        config: Value,
    }

    impl Case {
        fn new(args: &[&str], files: &[(&str, &[u8])]) -> Self {
            let dir = TempDir::new().unwrap();
            fs::create_dir(dir.path().join("rootfs")).unwrap();
            for (path, content) in files {
                let path = dir.path().join("rootfs").join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            let process = json!({
                "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/work", "env": ["PATH=/bin:/usr/bin", "X=1"]
            });
            let config = json!({ "ociVersion": "1.0.2", "root": { "path": "rootfs" }, "process": process,
                "annotations": {}, "linux": { "resources": { "memory": {} } } });
            Self { dir, config }
        }

        fn annotation(mut self, key: &str, value: &str) -> Self {
            self.config["annotations"][key] = json!(value);
            self
        }

        fn memory(mut self, limit: i64) -> Self {
            self.config["linux"]["resources"]["memory"]["limit"] = json!(limit);
            self
        }

        fn decide(&self) -> Result<Workload> {
            fs::write(self.dir.path().join("config.json"), self.config.to_string()).unwrap();
            let bundle = Bundle::load(self.dir.path()).unwrap();
            let annotations = Annotations::of(bundle.spec())?;
            Workload::of_bundle(&bundle, &annotations)
        }

        fn wasm(&self) -> Box<WasmConfig> {
            match self.decide().unwrap() {
                Workload::Wasm(config) => config,
                Workload::Native => panic!("native"),
            }
        }

        fn is_native(&self) -> bool {
            matches!(self.decide().unwrap(), Workload::Native)
        }
    }

    const WASM: (&str, &str) = ("io.roadrunner.wasm/handler", "wasm");

    #[test]
    fn a_module_is_found_by_its_magic() {
        let config = Case::new(&["/m", "a", "b"], &[("m", MODULE)]).wasm();
        assert_eq!(config.path(), Path::new("/m"));
        assert_eq!(config.args(), ["/m", "a", "b"]);
        assert_eq!(config.env()[..2], ["PATH=/bin:/usr/bin", "X=1"]);
        assert_eq!(config.cwd(), Path::new("/work"));
        assert_eq!(config.function(), None);
        assert_eq!(config.identity().size, 8);
    }

    #[test]
    fn what_is_no_module_is_native() {
        let contents: [&[u8]; 6] = [b"\x7fELF", b"#!/bin/sh", b"", b"\0as", b"\0ASM", b"(module)"];
        for content in contents {
            assert!(Case::new(&["/m.wasm"], &[("m.wasm", content)]).is_native());
        }
        assert!(Case::new(&["/nothing"], &[]).is_native());
        assert!(Case::new(&["/"], &[]).is_native());
    }

    #[test]
    fn what_is_no_module_is_refused_by_name_when_a_module_is_asked_for() {
        let cases: [(&str, &[u8], &str); 6] = [
            ("/m.wasm", b"\x7fELF\x02", "ELF"),
            ("/m.wasm", b"#!/bin/sh", "script"),
            ("/m.wasm", b"", "empty"),
            ("/m.wasm", b"hello", "does not start with"),
            ("/other", MODULE, "no such file"),
            ("/", MODULE, "is a directory"),
        ];
        for (args0, content, why) in cases {
            let case = Case::new(&[args0], &[("m.wasm", content)]).annotation(WASM.0, WASM.1);
            let error = case.decide().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Module);
            let message = error.to_string();
            assert!(message.contains(args0) && message.contains(why), "{message}");
        }
    }

    #[test]
    fn native_wins_over_everything() {
        let case = Case::new(&["/m"], &[("m", MODULE)])
            .annotation("io.roadrunner.wasm/handler", "native")
            .annotation("run.oci.handler", "wasm")
            .annotation("module.wasm.image/variant", "compat");
        assert!(case.is_native());
    }

    #[test]
    fn a_sandbox_is_native() {
        for (key, value) in SANDBOX {
            let case = Case::new(&["/pause"], &[("pause", MODULE)])
                .annotation(WASM.0, WASM.1)
                .annotation(key, value);
            assert!(case.is_native(), "{key}");
        }
    }

    #[test]
    fn a_function_is_named_after_a_hash() {
        let config = Case::new(&["/m.wasm#run#it", "x"], &[("m.wasm", MODULE)]).wasm();
        assert_eq!(config.path(), Path::new("/m.wasm"));
        assert_eq!(config.function(), Some("run#it"));
        assert_eq!(config.args(), ["/m.wasm", "x"]);
    }

    #[test]
    fn a_file_with_a_hash_in_its_name_wins() {
        let config = Case::new(&["/m#f"], &[("m#f", MODULE), ("m", MODULE)]).wasm();
        assert_eq!((config.path(), config.function()), (Path::new("/m#f"), None));
    }

    #[test]
    fn a_hash_without_a_name_is_refused() {
        let error = Case::new(&["/m#"], &[("m", MODULE)]).decide().unwrap_err().to_string();
        assert!(error.contains("/m") && error.contains('#'), "{error}");
    }

    #[test]
    fn a_bare_name_is_searched_for_in_the_specs_path() {
        let config = Case::new(&["m.wasm#f"], &[("usr/bin/m.wasm", MODULE), ("work/m.wasm", MODULE)]).wasm();
        assert_eq!((config.path(), config.function()), (Path::new("/usr/bin/m.wasm"), Some("f")));
        let config = Case::new(&["m.wasm"], &[("work/m.wasm", MODULE)]).wasm();
        assert_eq!(config.path(), Path::new("/work/m.wasm"));
        let text: &[u8] = b"text, and not executable";
        let config = Case::new(&["m"], &[("bin/m", text), ("usr/bin/m", MODULE)]).wasm();
        assert_eq!(config.path(), Path::new("/usr/bin/m"));
    }

    #[test]
    fn a_relative_path_is_relative_to_the_working_directory() {
        let config = Case::new(&["./m"], &[("work/m", MODULE), ("m", MODULE)]).wasm();
        assert_eq!(config.path(), Path::new("/work/./m"));
    }

    #[test]
    fn the_lower_memory_limit_is_in_force() {
        let limit = |annotation: Option<&str>, cgroup: Option<i64>| {
            let mut case = Case::new(&["/m"], &[("m", MODULE)]);
            if let Some(value) = annotation {
                case = case.annotation("io.roadrunner.wasm/max-memory", value);
            }
            if let Some(value) = cgroup {
                case = case.memory(value);
            }
            case.wasm().limits().max_memory
        };
        assert_eq!(limit(None, None), None);
        assert_eq!(limit(Some("2Mi"), None), Some(2 << 20));
        assert_eq!(limit(Some("2Mi"), Some(1 << 20)), Some(1 << 20));
        assert_eq!(limit(Some("2Mi"), Some(4 << 20)), Some(2 << 20));
        assert_eq!(limit(None, Some(4 << 20)), Some(4 << 20));
        assert_eq!(limit(None, Some(-1)), None);
    }

    #[test]
    fn exec_runs_modules_and_commands() {
        let case = Case::new(&["/m"], &[("m", MODULE), ("sh", b"\x7fELF")]).annotation(WASM.0, WASM.1);
        case.wasm();
        let bundle = Bundle::load(case.dir.path()).unwrap();
        let annotations = Annotations::of(bundle.spec()).unwrap();
        let exec = |args0: &str| {
            let mut process = bundle.spec().process().clone().unwrap();
            process.set_args(Some(vec![args0.to_owned()]));
            let root = fs::File::open(bundle.rootfs()).unwrap();
            Workload::of_exec(&Tree::of_root(root.into()), &process, bundle.spec(), &annotations).unwrap()
        };
        assert!(matches!(exec("/m"), Workload::Wasm(_)));
        assert!(matches!(exec("/sh"), Workload::Native));
        assert!(matches!(exec("/none"), Workload::Native));
    }
}
