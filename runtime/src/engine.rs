//! Finding, checking and loading the executor's shared object, and calling it.
//!
//! The folder follows from the binary's own path (DESIGN.md, "The engine's folder"); nothing in the environment and nothing
//! in the bundle has a say. Every component of it has to pass [`crate::trust`]. Libraries are loaded through a read-only
//! clone of their mount ([`crate::mount`]), because an init that never executes keeps them mapped.
//!
//! Invariants: a library that was loaded is never unloaded; the executor's table is read only after its ABI version was
//! found to be ours; every buffer that the executor gives is given back to it exactly once.
//!
//! Not here: what the requests say ([`crate::wasm`], [`crate::compile`]).

#![expect(unsafe_code, reason = "dlopen, and calls through the executor's C table")]

use std::fs;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use executor_abi::request::{Compile, Description, Prepare};
use executor_abi::{ABI_VERSION, Buffer, LIBRARY, Slice, TABLE_SYMBOL, Table, TableFn};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::mount;
use crate::trust::Checks;

/// Where the engine's libraries lie in a build tree; unset in a build that is only for installing.
const BUILD_TREE: Option<&str> = option_env!("RR_ENGINE_DIR");

/// What an installation's folder ends with. The binary lies there, beside the executor; what is in `bin/` is its first stage.
const INSTALLED: &str = "lib/rr-runtime";

/// File names begin so, and go on with a version.
const WASMEDGE: &str = "libwasmedge.so";
const LLVM: &str = "libLLVM.so";

/// The folders of the executor and of what it needs, found and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Holds the executor.
    executor: PathBuf,
    /// Holds `lib/` and `llvm/`, where the engine is not the system's own.
    engine: PathBuf,
}

/// The executor, loaded. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Engine {
    table: &'static Table,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Folders {
    /// Finds them by the path of the runtime's binary (where it is installed, not where it was copied to for a
    /// re-execution).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Engine`] when the executor is not there, or somebody else could have put it there.
    pub fn find(binary: &Path) -> Result<Self> {
        Self::find_with(binary, BUILD_TREE.map(Path::new))
    }

    fn find_with(binary: &Path, build_tree: Option<&Path>) -> Result<Self> {
        let folder = binary.parent().unwrap_or(Path::new("/"));
        if !folder.join(LIBRARY).exists() {
            let message = format!("executor {LIBRARY}: is not in {}", folder.display());
            return Err(Error::new(ErrorKind::Engine, message));
        }
        // In a build tree the engine stays where it was linked from.
        let engine = if folder.ends_with(INSTALLED) { folder } else { build_tree.unwrap_or(folder) };
        Self { executor: folder.to_owned(), engine: engine.to_owned() }.checked()
    }

    fn checked(self) -> Result<Self> {
        let mut checks = Checks::new(ErrorKind::Engine);
        let executor = checks.check(&self.executor)?;
        checks.check(&executor.join(LIBRARY))?;
        // A system's own engine has no folder here, and is checked by the system's own rules.
        let engine = if self.engine.exists() { checks.check(&self.engine)? } else { self.engine };
        for folder in ["lib", "llvm"] {
            let folder = engine.join(folder);
            if folder.exists() {
                checks.check_entries(&folder)?;
            }
        }
        Ok(Self { executor, engine })
    }

    /// The first library, in alphabetical order, whose name begins so: its path within the engine's folder.
    fn library(&self, folder: &str, name: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(self.engine.join(folder)).ok()?;
        let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
        let first = names.filter(|file| file.to_string_lossy().starts_with(name)).min()?;
        Some(Path::new(folder).join(first))
    }

    /// What tells one build of the executor from another: part of the key of compiled code.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Engine`] when it cannot be examined.
    pub fn build(&self) -> Result<String> {
        let path = self.executor.join(LIBRARY);
        let meta = fs::metadata(&path)
            .context(ErrorKind::Engine, || format!("{}: cannot be examined", path.display()))?;
        Ok(format!("{}-{}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec()))
    }
}

impl Engine {
    /// Loads the executor for running functions: LLVM is not mapped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Engine`], with the dynamic linker's reason.
    pub fn load(folders: &Folders) -> Result<Self> {
        Self::load_after(folders, &[folders.library("lib", WASMEDGE)])
    }

    /// Loads LLVM first, then a libwasmedge that knows of it, if functions have one that does not, and the executor, which so binds to
    /// these: for the compiler's process only.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Engine`], with the dynamic linker's reason.
    pub fn load_compiler(folders: &Folders) -> Result<Self> {
        let wasmedge = folders.library("llvm", WASMEDGE).or_else(|| folders.library("lib", WASMEDGE));
        Self::load_after(folders, &[folders.library("llvm", LLVM), wasmedge])
    }

    fn load_after(folders: &Folders, libraries: &[Option<PathBuf>]) -> Result<Self> {
        let clone = |folder: &Path| {
            mount::read_only_clone(folder)
                .context(ErrorKind::Engine, || format!("{}: cannot be opened", folder.display()))
        };
        let executor = clone(&folders.executor)?;
        if folders.engine.exists() {
            // One clone where both are one folder, as they are once they are installed.
            let other = (folders.engine != folders.executor).then(|| clone(&folders.engine)).transpose()?;
            // By their own paths, so that what they need is found beside them in the clone, and not by a path of the host's.
            for library in libraries.iter().flatten() {
                open(other.as_ref().unwrap_or(&executor), library)?;
            }
        }
        let library = open(&executor, Path::new(LIBRARY))?;
        Ok(Self { table: table(&library)? })
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Engine`] when the answer cannot be understood.
    pub fn describe(&self) -> Result<Description> {
        let mut answer = Buffer::empty();
        // SAFETY: `answer` is a valid place to write to; the table is the executor's own, of our ABI version.
        unsafe { (self.table.describe)(&raw mut answer) };
        let answer = Answer { buffer: answer, table: self.table };
        serde_json::from_slice(answer.bytes())
            .context(ErrorKind::Engine, || "executor: describe: the answer is not understood".to_owned())
    }

    /// Loads, validates and links a function. Runs none of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`], in the engine's words.
    pub fn prepare(&self, request: &Prepare) -> Result<Prepared> {
        let request = json(request)?;
        let mut error = Buffer::empty();
        // SAFETY: the request outlives the call, `error` is a valid place to write to.
        let prepared = unsafe { (self.table.prepare)(Slice::new(&request), &raw mut error) };
        let error = Answer { buffer: error, table: self.table };
        if prepared.is_null() {
            return Err(Error::new(ErrorKind::Module, error.text()));
        }
        Ok(Prepared { function: prepared, table: self.table })
    }

    /// Compiles a module ahead of time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`], in the engine's words.
    pub fn compile(&self, request: &Compile) -> Result<Answer> {
        let request = json(request)?;
        let mut answer = Buffer::empty();
        // SAFETY: the request outlives the call, `answer` is a valid place to write to.
        let status = unsafe { (self.table.compile)(Slice::new(&request), &raw mut answer) };
        let answer = Answer { buffer: answer, table: self.table };
        if status == 0 { Ok(answer) } else { Err(Error::new(ErrorKind::Module, answer.text())) }
    }
}

fn json(request: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(request)
        .context(ErrorKind::Engine, || "executor: the request cannot be written".to_owned())
}

/// A function that is ready to run.
pub struct Prepared {
    function: *mut executor_abi::Prepared,
    table: &'static Table,
}

impl Prepared {
    /// Runs it and ends the process with its exit code, without running anything of this program's own on the way out.
    pub fn run_and_exit(self) -> ! {
        // SAFETY: `prepare` gave this pointer, and it is consumed here, once, because `self` is.
        let code = unsafe { (self.table.run)(self.function) };
        // SAFETY: ends the process; nothing of it has to be put away.
        unsafe { libc::_exit(code) }
    }
}

/// Bytes that the executor gave.
pub struct Answer {
    buffer: Buffer,
    table: &'static Table,
}

impl Answer {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.buffer.data.is_null() {
            return &[];
        }
        // SAFETY: the executor's contract: `len` bytes at `data`, unchanged until the buffer is freed, which `drop` does.
        unsafe { std::slice::from_raw_parts(self.buffer.data, self.buffer.len) }
    }

    /// The bytes as a message of one line.
    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).trim().replace('\n', "; ")
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.buffer.data.is_null() {
            return;
        }
        let buffer = std::mem::replace(&mut self.buffer, Buffer::empty());
        // SAFETY: the executor gave this buffer and has not had it back: it was just taken out of `self`.
        unsafe { (self.table.free)(buffer) };
    }
}

/// Loads a library for good.
fn open(folder: &OwnedFd, name: &Path) -> Result<ManuallyDrop<Library>> {
    let path = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), name.display());
    // Lazily: of what the engine's libraries call in each other (a thousand functions of C++'s alone) a run needs little. Libraries
    // that are linked to be bound at once are, with a table that is read-only from then on, ours among them.
    // SAFETY: runs the initialisers of a library that only root (or the caller) can have put there; it is
    // what this program was built with.
    let library = unsafe { Library::open(Some(&path), RTLD_LAZY | RTLD_LOCAL) };
    let library =
        library.context(ErrorKind::Engine, || format!("executor: {} cannot be loaded", name.display()))?;
    Ok(ManuallyDrop::new(library))
}

/// The executor's table, when its version is ours.
fn table(library: &Library) -> Result<&'static Table> {
    let no_table = || format!("executor {LIBRARY}: has no table of functions");
    // SAFETY: the symbol has this type in every version of the boundary.
    let function = unsafe { library.get::<TableFn>(TABLE_SYMBOL) }.context(ErrorKind::Engine, no_table)?;
    // SAFETY: takes nothing, and returns a pointer to a static.
    let table = unsafe { function() };
    if table.is_null() {
        return Err(Error::new(ErrorKind::Engine, no_table()));
    }
    // SAFETY: not null, and the version is the first field in every version of the boundary.
    let version = unsafe { (*table).abi_version };
    if version != ABI_VERSION {
        let message = format!(
            "executor {LIBRARY}: has version {version} of the boundary, this runtime has {ABI_VERSION}"
        );
        return Err(Error::new(ErrorKind::Engine, message));
    }
    // SAFETY: a table of our version, static, and never unloaded.
    Ok(unsafe { &*table })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[&str]) -> TempDir {
        let dir = TempDir::new().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "not a library").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        dir
    }

    #[test]
    fn an_installed_executor_has_its_own_engine() {
        let dir = tree(&["lib/rr-runtime/rr-runtime", "lib/rr-runtime/librr_executor.so"]);
        let root = dir.path().canonicalize().unwrap();
        let home = root.join(INSTALLED);
        let found = Folders::find_with(&home.join("rr-runtime"), Some(&root)).unwrap();
        assert_eq!(found, Folders { executor: home.clone(), engine: home });
    }

    #[test]
    fn in_a_build_tree_it_lies_beside_the_binary() {
        let dir = tree(&["target/rr-runtime", "target/librr_executor.so", "engine/lib/libwasmedge.so.0"]);
        let root = dir.path().canonicalize().unwrap();
        let found = Folders::find_with(&root.join("target/rr-runtime"), Some(&root.join("engine"))).unwrap();
        assert_eq!(found, Folders { executor: root.join("target"), engine: root.join("engine") });
    }

    #[test]
    fn an_absent_executor_is_named_with_its_place() {
        let dir = tree(&["lib/rr-runtime/rr-runtime"]);
        let error = Folders::find_with(&dir.path().join("lib/rr-runtime/rr-runtime"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Engine);
        let message = error.to_string();
        assert!(message.contains("librr_executor.so") && message.contains("lib/rr-runtime"), "{message}");
    }

    #[test]
    fn what_others_can_write_is_not_loaded() {
        for at_fault in
            ["lib/rr-runtime", "lib/rr-runtime/librr_executor.so", "lib/rr-runtime/lib/libwasmedge.so.0"]
        {
            let dir = tree(&[
                "lib/rr-runtime/rr-runtime",
                "lib/rr-runtime/librr_executor.so",
                "lib/rr-runtime/lib/libwasmedge.so.0",
            ]);
            fs::set_permissions(dir.path().join(at_fault), fs::Permissions::from_mode(0o777)).unwrap();
            let binary = dir.path().join("lib/rr-runtime/rr-runtime");
            let error = Folders::find_with(&binary, None).unwrap_err().to_string();
            assert!(error.contains(at_fault) && error.contains("not trusted"), "{error}");
        }
    }

    #[test]
    fn what_is_no_library_is_refused_with_the_linkers_reason() {
        let dir = tree(&["lib/rr-runtime/rr-runtime", "lib/rr-runtime/librr_executor.so"]);
        let folders = Folders::find_with(&dir.path().join("lib/rr-runtime/rr-runtime"), None).unwrap();
        let error = Engine::load(&folders).unwrap_err();
        assert_eq!(error.to_string(), "executor: librr_executor.so cannot be loaded");
        assert!(std::error::Error::source(&error).is_some());
    }

    /// What loading an executor that was made of this C says.
    fn refusal(source: &str) -> String {
        let dir = tree(&[]);
        let (text, library) = (dir.path().join("executor.c"), dir.path().join("executor.so"));
        fs::write(&text, source).unwrap();
        // A C compiler is what this is linked with.
        let compiled = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-nostdlib", "-o"])
            .args([&library, &text])
            .status();
        assert!(compiled.unwrap().success());
        // SAFETY: it has no initialisers.
        let library = unsafe { Library::open(Some(&library), RTLD_LAZY | RTLD_LOCAL) }.unwrap();
        // Never unloaded, as the executor: whatever was wrongly accepted stays valid.
        table(&ManuallyDrop::new(library)).err().unwrap().to_string()
    }

    #[test]
    fn a_library_without_the_table_is_refused() {
        let none = "executor librr_executor.so: has no table of functions";
        assert_eq!(refusal("int something_else;"), none);
        assert_eq!(refusal("void *rr_executor_table(void) { return 0; }"), none);
    }

    #[test]
    fn an_executor_of_another_version_is_refused() {
        let other = ABI_VERSION + 1;
        let source = format!(
            "static const unsigned table[2] = {{ {other}, 8 }}; const void *rr_executor_table(void) {{ return table; }}"
        );
        let expected = format!(
            "executor librr_executor.so: has version {other} of the boundary, this runtime has {ABI_VERSION}"
        );
        assert_eq!(refusal(&source), expected);
    }
}
