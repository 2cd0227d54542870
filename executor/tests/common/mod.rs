//! Runs a module in a process of its own (the package's example `run`) and says how it ended.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod end;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use executor_abi::request::{Aot, FileIdentity, Limits, Module, Preopen, Prepare};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The reason for which it could not be created.
    pub fn create_error(&self) -> &str {
        assert_eq!(self.code, 255, "it was created: {self:?}");
        self.stderr.strip_prefix("create: ").expect("a reason").trim_end()
    }
}

/// A module on disk, and the request to run it.
pub struct Case {
    pub folder: tempfile::TempDir,
    pub request: Prepare,
    files: Vec<String>,
    stdin: Vec<u8>,
    cwd: PathBuf,
    hold: bool,
}

/// A module in the text format.
pub fn wat(text: &str) -> Case {
    bytes(&wat::parse_str(text).expect("the test's own module"))
}

/// A module, or what is given as one.
pub fn bytes(module: &[u8]) -> Case {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.wasm");
    std::fs::write(&path, module).expect("a module");
    let path = path.to_str().expect("UTF-8").to_owned();
    let request = Prepare {
        module: Module { path, function: None, aot: None, max_size: 64 << 20 },
        args: vec!["app".to_owned()],
        env: Vec::new(),
        preopens: Vec::new(),
        limits: Limits::default(),
        confine: true,
        hose: None,
    };
    Case { folder, request, files: Vec::new(), stdin: Vec::new(), cwd: PathBuf::from("/"), hold: false }
}

impl Case {
    pub fn path(&self) -> &Path {
        Path::new(&self.request.module.path)
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.request.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    pub fn env(mut self, env: &[&str]) -> Self {
        self.request.env = env.iter().map(|&entry| entry.to_owned()).collect();
        self
    }

    pub fn function(mut self, name: &str) -> Self {
        self.request.module.function = Some(name.to_owned());
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.request.limits = limits;
        self
    }

    pub fn preopen(mut self, guest: &str, host: &Path) -> Self {
        let host = host.to_str().expect("UTF-8").to_owned();
        self.request.preopens.push(Preopen { guest: guest.to_owned(), host, read_only: false });
        self
    }

    pub fn cwd(mut self, cwd: &Path) -> Self {
        cwd.clone_into(&mut self.cwd);
        self
    }

    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    /// Waits between prepare and run until a byte comes on standard input.
    pub fn hold(mut self) -> Self {
        self.hold = true;
        self
    }

    /// Gives it ahead-of-time code from `entry`, for the module as it is now.
    pub fn aot(mut self, entry: &Path) -> Self {
        let stat = std::fs::metadata(self.path()).expect("a module");
        let module = FileIdentity {
            dev: stat.dev(),
            ino: stat.ino(),
            size: stat.size(),
            mtime_ns: stat.mtime() * 1_000_000_000 + stat.mtime_nsec(),
            ctime_ns: stat.ctime() * 1_000_000_000 + stat.ctime_nsec(),
        };
        let len = std::fs::metadata(entry).expect("an entry").len();
        self.request.module.aot = Some(Aot { fd: 20, offset: 0, len, module, digest: String::new() });
        self.files.push(format!("20={}", entry.display()));
        self
    }

    /// Opens a file for reading as this descriptor, for a module that is not the first.
    pub fn open(&mut self, number: i32, path: &Path) {
        self.files.push(format!("{number}={}", path.display()));
    }

    pub fn spawn(&self) -> Child {
        self.spawn_by(Command::new(example("run")))
    }

    /// Runs it by a command that starts what its arguments say.
    pub fn run_under(&self, mut command: Command) -> Ended {
        command.arg(example("run"));
        let mut child = self.spawn_by(command);
        drop(child.stdin.take());
        finish(child)
    }

    fn spawn_by(&self, mut command: Command) -> Child {
        let request = self.folder.path().join("request.json");
        std::fs::write(&request, serde_json::to_vec(&self.request).expect("JSON")).expect("a request");
        command.arg(request).args(&self.files).current_dir(&self.cwd);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.hold {
            command.env("RR_HOLD", "1");
        }
        command.spawn().expect("the example")
    }

    pub fn run(&self) -> Ended {
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().expect("a pipe");
        // A process that does not read has closed the pipe.
        let _ = stdin.write_all(&self.stdin);
        drop(stdin);
        finish(child)
    }
}

/// Waits for the end of a process.
pub fn finish(child: Child) -> Ended {
    let output = child.wait_with_output().expect("its output");
    Ended {
        code: code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A signal that was not turned into an exit code shows as its negative.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().expect("a code or a signal"))
}

/// One of the package's examples, which `cargo test` builds.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let folder = test.parent().and_then(Path::parent).expect("target folder");
    let example = folder.join("examples").join(name);
    assert!(example.exists(), "{} is built by cargo test", example.display());
    example
}

/// Compiles the module of `case` in a process that has LLVM mapped, as `fuel`, `plain` or `interruptible`.
pub fn compile(case: &Case, kind: &str) -> PathBuf {
    let out = case.folder.path().join(format!("{kind}.aot"));
    let engine = env!("RR_ENGINE_DIR");
    let mut command = Command::new(example("compile"));
    command.arg(case.path()).arg(&out).arg(kind);
    let libraries = ["libLLVM.so.21.1", "libwasmedge.so.0"].map(|name| format!("{engine}/llvm/{name}"));
    for library in &libraries {
        assert!(Path::new(library).exists(), "{library} is part of the engine's set-up");
    }
    let output = command.env("LD_PRELOAD", libraries.join(":")).output().expect("the example");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}
