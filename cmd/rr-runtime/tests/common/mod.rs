//! What the tests of the command line share: a bundle with busybox in it, and a runtime to drive.
//!
//! Every container has a name of its own, and every test a folder and a state folder that go when it ends.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The statically linked busybox that every rootfs is made of.
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 28] = [
    "sh", "ash", "cat", "chmod", "cut", "dd", "echo", "env", "false", "grep", "head", "id", "kill", "ls",
    "mkdir", "mknod", "pwd", "readlink", "rm", "sed", "sleep", "sort", "stty", "test", "touch", "tr", "true",
    "tty",
];
/// No command of these tests takes that long.
const WITHIN: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A runtime under test: ours, or runc.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    program: PathBuf,
    root: PathBuf,
}

/// Says that the running test is skipped and why: `make test` counts these lines. Not by println!, which libtest captures.
fn announce_skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // A closed standard error is no reason to fail.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// Both of them, or why there is nothing to compare.
pub(crate) fn both(case: &Case) -> Option<[Runtime; 2]> {
    let runc = ["/usr/bin/runc", "/usr/sbin/runc", "/usr/local/bin/runc"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    let Some(runc) = runc else {
        announce_skip("runc is not installed");
        return None;
    };
    Some([case.ours(), Runtime { program: runc, root: case.folder.path().join("runc") }])
}

/// Whether containers can be made here at all; says so when not.
pub(crate) fn possible() -> bool {
    if !nix_is_root() {
        announce_skip("needs root");
        return false;
    }
    if !Path::new(BUSYBOX).exists() {
        announce_skip(&format!("{BUSYBOX} (Debian: busybox-static) is not installed"));
        return false;
    }
    true
}

fn nix_is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0"))
}

/// One test's folder: a bundle and state folders.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Value,
}

impl Case {
    /// A bundle that runs `args` with busybox.
    pub(crate) fn new(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rootfs = folder.path().join("bundle/rootfs");
        for sub in ["bin", "dev", "etc", "proc", "sys", "tmp", "home"] {
            fs::create_dir_all(rootfs.join(sub)).expect("a rootfs");
        }
        fs::copy(BUSYBOX, rootfs.join("bin/busybox")).expect("busybox");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("an applet");
        }
        fs::write(
            rootfs.join("etc/passwd"),
            "root:x:0:0:root:/root-home:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
        )
        .expect("passwd");
        Self { folder, config: config(args) }
    }

    /// A folder alone, for commands that come to no container.
    pub(crate) fn new_without_rootfs() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), config: Value::Null }
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// Sets a value by a JSON pointer whose parent exists.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.config.pointer_mut(parent).expect("its parent");
        match value {
            Value::Null => drop(parent.as_object_mut().expect("an object").remove(key)),
            value => parent[key] = value,
        }
        self
    }

    pub(crate) fn write(&self) {
        fs::write(self.bundle().join("config.json"), self.config.to_string()).expect("config.json");
    }

    pub(crate) fn ours(&self) -> Runtime {
        Runtime {
            program: PathBuf::from(env!("CARGO_BIN_EXE_rr-runtime")),
            root: self.folder.path().join("state"),
        }
    }
}

/// A name that no other test uses.
pub(crate) fn name() -> String {
    format!("rrt-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Runtime {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; kills it when it hangs.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()), args)
    }

    /// Runs a command whose container lives on and keeps the standard streams.
    pub(crate) fn start(&self, args: &[&str]) -> Output {
        finish(self.command(args).stdout(Stdio::null()).stderr(Stdio::null()), args)
    }

    /// Runs the bundle and gives what it printed.
    pub(crate) fn output(&self, case: &Case) -> Said {
        let bundle = case.bundle();
        Said::of(self.run(&["run", "--bundle", &bundle.to_string_lossy(), &name()]))
    }

    /// The bundle as a container that lives until it is dropped.
    pub(crate) fn detached(&self, case: &Case) -> Container {
        let id = name();
        let bundle = case.bundle();
        let output = self.start(&["run", "--detach", "--bundle", &bundle.to_string_lossy(), &id]);
        assert!(output.status.success(), "{}: run --detach: {:?}", self.program.display(), output.status);
        Container { runtime: self.clone(), id }
    }
}

/// Waits for a command, and kills it when it hangs. The pid stays the command's own until it was waited for.
fn finish(command: &mut Command, args: &[&str]) -> Output {
    let child = command.spawn().unwrap_or_else(|error| panic!("{args:?}: {error}"));
    let pid = child.id().to_string();
    let (ended, end) = mpsc::channel();
    let waiting = thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(output) = end.recv_timeout(WITHIN) else {
        let _ = Command::new("kill").args(["-9", &pid]).status();
        panic!("{args:?}: hung");
    };
    drop(waiting.join());
    output.expect("output")
}

/// A running container; deleted by force when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) runtime: Runtime,
    pub(crate) id: String,
}

impl Container {
    pub(crate) fn exec(&self, args: &[&str]) -> Said {
        let mut all = vec!["exec"];
        let split = args.iter().position(|arg| !arg.starts_with("--")).unwrap_or(args.len());
        all.extend(&args[..split]);
        all.push(&self.id);
        all.extend(&args[split..]);
        Said::of(self.runtime.run(&all))
    }

    pub(crate) fn state(&self) -> Value {
        let output = self.runtime.run(&["state", &self.id]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn wait_for(&self, status: &str) {
        let started = Instant::now();
        while self.status() != status {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{} is {} and not {status}",
                self.id,
                self.status()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let output = self.runtime.run(&["delete", "--force", &self.id]);
        if !thread::panicking() {
            assert!(output.status.success(), "delete --force: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// What a command said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts success and gives what was printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }
}

fn config(args: &[&str]) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": args,
            "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps, "ambient": caps, "inheritable": caps },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "rr",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        ],
        "linux": {
            "resources": {},
            "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
        },
    })
}
