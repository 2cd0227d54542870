//! One case: a runtime, names of its own, a folder of container states of its own, and a watch over what is
//! left of it afterwards.

use std::cell::{Cell, OnceCell};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Invocation, eventually, poll};
use crate::leftovers::{Leftovers, MARK};
use crate::user::{self, USER};
use crate::{Bundle, Runtime};

/// See the module. Dropped, it fails the test when something was left behind; when the test has failed
/// already, it cleans up instead.
pub struct Case {
    runtime: Runtime,
    /// Ends in `-`.
    name: String,
    /// Always there until drop.
    dir: Option<TempDir>,
    ids: Cell<u32>,
    /// What goes before its runtime to make it another user's.
    user: OnceCell<Vec<OsString>>,
    watch: Leftovers,
    finished: Cell<bool>,
}

impl Case {
    /// A case for `runtime`.
    #[must_use]
    pub fn new(runtime: &Runtime) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rrt-{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix(&name).tempdir().expect("a temporary folder");
        // A container's root may be another user's; it has to reach its bundle.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let root = dir.path().join("root");
        let watch = Leftovers::watch(&name, &root);
        Self {
            runtime: runtime.clone(),
            name,
            dir: Some(dir),
            ids: Cell::new(0),
            user: OnceCell::new(),
            watch,
            finished: Cell::new(false),
        }
    }

    /// A case for the runtime under test.
    #[track_caller]
    #[must_use]
    pub fn ours() -> Self {
        Self::new(&Runtime::under_test())
    }

    /// A case of Wasm for the runtime under test; nothing, having said so, when that one knows no Wasm.
    #[track_caller]
    #[must_use]
    pub fn wasm_runtime() -> Option<Self> {
        let runtime = Runtime::under_test();
        if runtime.is_ours() {
            return Some(Self::new(&runtime));
        }
        crate::announce_skip(&format!("{} does not run Wasm", runtime.name()));
        None
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What every name of this case begins with; ends in `-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder that lives as long as the case.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("lives until drop").path()
    }

    /// The folder of container states.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// A container id that nobody else uses.
    #[must_use]
    pub fn id(&self) -> String {
        self.ids.set(self.ids.get() + 1);
        format!("{}{}", self.name, self.ids.get())
    }

    /// A bundle with busybox in its rootfs.
    #[must_use]
    pub fn busybox(&self) -> Bundle {
        Bundle::busybox(self)
    }

    /// A bundle whose rootfs holds nothing but `/module.wasm`, made of this text.
    #[track_caller]
    #[must_use]
    pub fn wasm(&self, wat: &str) -> Bundle {
        Bundle::wasm(self, wat)
    }

    /// A bundle whose rootfs holds nothing but `/module.wasm`, with these bytes.
    #[must_use]
    pub fn wasm_bytes(&self, module: &[u8]) -> Bundle {
        Bundle::wasm_bytes(self, module)
    }

    /// A bundle whose entrypoint is the module of [`crate::guest::tool`] with these arguments; nothing, having said
    /// so, when it cannot be compiled here.
    #[must_use]
    pub fn tool<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> Option<Bundle> {
        let bundle = self.wasm_bytes(crate::guest::tool()?);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        bundle.args(std::iter::once("/module.wasm".to_owned()).chain(args));
        Some(bundle)
    }

    /// A new empty folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        tempfile::Builder::new().prefix("d").tempdir_in(self.dir()).expect("a folder").keep()
    }

    /// The runtime with the case's `--root` and these arguments.
    #[must_use]
    pub fn cmd<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        self.by_user(self.runtime.command().arg("--root").arg(self.root()).args(args))
    }

    /// A program of this case's, as the user to whom the case belongs.
    #[must_use]
    pub fn by_user(&self, invocation: Invocation) -> Invocation {
        let invocation = self.mark(invocation);
        match self.user.get() {
            Some(words) => {
                invocation.wrapped(words).env("HOME", self.dir()).env("XDG_RUNTIME_DIR", self.dir())
            }
            None => invocation,
        }
    }

    /// From now on its runtime is run by [`USER`], to whom its folder belongs.
    pub fn becomes_a_users(&self) -> &Self {
        chown(self.dir(), Some(USER), Some(USER)).expect("chown");
        self.user.get_or_init(|| user::words(self.runtime.path(), self.dir()));
        self
    }

    /// Marks a program as this case's.
    #[must_use]
    pub fn mark(&self, invocation: Invocation) -> Invocation {
        invocation.env(MARK, &self.name)
    }

    /// `run --bundle B ID`.
    #[must_use]
    pub fn run(&self, bundle: &Bundle, id: &str) -> Invocation {
        self.cmd(["run", "--bundle"]).arg(bundle.dir()).arg(id)
    }

    /// `create --bundle B --pid-file F ID`; gives init's pid.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle, id: &str) -> u32 {
        let pid_file = self.dir().join(format!("{id}.pid"));
        self.cmd(["create", "--pid-file"]).arg(&pid_file).arg("--bundle").arg(bundle.dir()).arg(id).ok();
        let text = fs::read_to_string(&pid_file).expect("the pid file is there");
        fs::remove_file(&pid_file).expect("it can be removed");
        let pid = text.trim().parse().unwrap_or_else(|e| panic!("pid file {text:?}: {e}"));
        crate::command::forget_status(pid);
        pid
    }

    /// `create` and `start`; gives init's pid.
    #[track_caller]
    pub fn start(&self, bundle: &Bundle, id: &str) -> u32 {
        let pid = self.create(bundle, id);
        self.cmd(["start", id]).ok();
        pid
    }

    /// `state`, parsed.
    #[track_caller]
    #[must_use]
    pub fn state(&self, id: &str) -> Value {
        let text = self.cmd(["state", id]).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("state of {id}: {e}: {text}"))
    }

    /// The `status` of `state`.
    #[track_caller]
    #[must_use]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().expect("a status").to_owned()
    }

    /// Waits until the container is stopped.
    #[track_caller]
    pub fn await_stopped(&self, id: &str) {
        eventually(&format!("{id} is stopped"), || self.status(id) == "stopped");
    }

    /// Waits for the end of a container's init and gives its exit status as its parent sees it.
    #[track_caller]
    #[must_use]
    pub fn exit_status(&self, pid: u32) -> i32 {
        crate::command::orphan_status(pid, Duration::from_secs(10))
    }

    /// `delete`.
    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.cmd(["delete", id]).ok();
    }

    /// `delete --force`.
    #[track_caller]
    pub fn force_delete(&self, id: &str) {
        self.cmd(["delete", "--force", id]).ok();
    }

    /// Fails the test when something was left behind. Dropping the case does the same.
    #[track_caller]
    pub fn finish(&self) {
        self.finished.set(true);
        self.watch.check();
    }

    /// What is there right now that [`Case::finish`] would complain of.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        self.watch.found()
    }

    /// Waits until nothing is left, for a check in the middle of a case.
    #[track_caller]
    pub fn nothing_left(&self) {
        self.watch.check();
    }

    /// As [`Case::nothing_left`], where the case itself has mounted something that is still there.
    #[track_caller]
    pub fn nothing_left_but_mounts(&self) {
        self.watch.check_but_mounts();
    }

    /// Watches an id too that a manager gave to a container of this case.
    pub fn also_watch(&self, id: &str) {
        self.watch.also(id);
    }

    /// Removes the case's cgroups, where a test took from the runtime what it needs to know them.
    pub fn remove_cgroups(&self) {
        self.watch.remove_cgroups();
    }

    fn clean(&self) {
        let Ok(entries) = fs::read_dir(self.root()) else { return self.watch.clean() };
        for entry in entries.flatten() {
            let id = entry.file_name();
            let mut delete = self.cmd(["delete", "--force"]).arg(&id).timeout(Duration::from_secs(5)).spawn();
            let _ = poll(Duration::from_secs(5), || delete.ended().then_some(()));
        }
        self.watch.clean();
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.clean();
        } else if !self.finished.get() {
            let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.watch.check()));
            if let Err(message) = left {
                self.clean();
                std::panic::resume_unwind(message);
            }
        }
    }
}
