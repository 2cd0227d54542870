//! An installation: what it consists of, and that it needs nothing of the tree that it was built in.
//!
//! `make test` installs before it runs these, and names the result with `RR_RUNTIME`. With any other runtime they are skipped.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tests::{Case, Invocation, Runtime, skip};

/// What the runtime was built against.
const ENGINE: &str = env!("RR_ENGINE_DIR");

/// Says hello through WASI.
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// The folder beside `bin/` that belongs to the runtime under test, if that is an installed rr-runtime.
fn installed() -> Option<PathBuf> {
    let runtime = Runtime::under_test();
    let prefix = runtime.path().parent()?.parent()?;
    let home = prefix.join("lib/rr-runtime");
    (runtime.is_ours() && home.is_dir()).then_some(home)
}

/// A runtime that finds the project's folder and the engine that it was built against empty.
fn far_from_home(invocation: Invocation) -> Invocation {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project").display().to_string();
    let hide = r#"mount -t tmpfs none "$0" && mount -t tmpfs none "$1" && shift && exec "$@""#;
    invocation.cwd("/").wrapped([
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        hide,
        &project,
        ENGINE,
    ])
}

fn patchelf(what: &str, file: &Path) -> String {
    Invocation::new("patchelf").arg(what).arg(file).ok().trim().to_owned()
}

#[test]
fn nobody_else_can_write_to_it() {
    let Some(home) = installed() else { skip!("RR_RUNTIME is not an installed rr-runtime") };
    let binary = Runtime::under_test().path().to_owned();
    let owner = rustix::process::geteuid().as_raw();
    let mut pending = vec![home, binary];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).expect("what is installed can be looked at");
        assert!(!meta.is_symlink(), "{} is a symbolic link", path.display());
        assert_eq!(meta.uid(), owner, "owner of {}", path.display());
        assert_eq!(meta.permissions().mode() & 0o022, 0, "mode of {}", path.display());
        if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder that can be read");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
}

#[test]
fn it_names_libraries_of_its_own_only() {
    let Some(home) = installed() else { skip!("RR_RUNTIME is not an installed rr-runtime") };
    let binary = home.join("rr-runtime");
    for file in [&binary, &home.join("librr_executor.so")] {
        assert_eq!(
            patchelf("--print-rpath", file),
            home.join("lib").display().to_string(),
            "{}",
            file.display()
        );
    }
    // Where the engine brings a C library, its loader comes along.
    let loader = PathBuf::from(patchelf("--print-interpreter", &binary));
    let brought = fs::read_dir(home.join("lib"))
        .expect("lib/ can be read")
        .any(|entry| entry.expect("an entry").file_name().to_string_lossy().starts_with("ld-linux"));
    assert_eq!(loader.starts_with(home.join("lib")), brought, "{}", loader.display());
    assert!(loader.is_file(), "{}", loader.display());
}

#[test]
fn its_first_stage_leads_to_a_place_that_nobody_can_write_to() {
    if installed().is_none() {
        skip!("RR_RUNTIME is not an installed rr-runtime");
    }
    let case = Case::ours();
    let (bundle, id) = (case.busybox(), case.id());
    // A loader that were told of it would say that it is not there.
    let create = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(&id);
    let out = create.env("LD_PRELOAD", "/no/such/library.so").output();
    assert!(out.code == 0 && !out.stderr.contains("LD_PRELOAD"), "{out:?}");
    let exe = format!("/proc/{}/exe", case.state(&id)["pid"]);
    let mount = rustix::fs::statvfs(&exe).expect("a file");
    assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{exe} can be written to");
    case.force_delete(&id);
}

#[test]
fn a_first_stage_that_is_alone_says_what_it_misses() {
    if installed().is_none() {
        skip!("RR_RUNTIME is not an installed rr-runtime");
    }
    let case = Case::ours();
    let folder = case.folder().canonicalize().expect("a folder");
    fs::create_dir(folder.join("bin")).expect("mkdir");
    let copy = folder.join("bin/renamed");
    fs::copy(Runtime::under_test().path(), &copy).expect("copy");
    for verb in ["--version", "run"] {
        let out = Invocation::new(&copy).arg(verb).output();
        let missing = folder.join("lib/rr-runtime/rr-runtime").display().to_string();
        assert!(out.code == 1 && out.stderr.contains(&missing) && out.stderr.contains("ENOENT"), "{out:?}");
    }
}

/// How many files a process has mapped.
fn mapped(pid: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let inodes = maps.lines().filter_map(|line| line.split_whitespace().nth(4));
    inodes.filter(|inode| *inode != "0").collect::<BTreeSet<_>>().len()
}

#[test]
fn native_containers_are_run_by_a_program_that_loads_nothing() {
    let Some(home) = installed() else { skip!("RR_RUNTIME is not an installed rr-runtime") };
    if !home.join("rr-runtime-native").exists() {
        skip!("this machine could not link rr-runtime-native");
    }
    let case = Case::ours();
    let (native, wasm) = (case.busybox(), case.wasm(HELLO));
    // Found out by the program that cannot load the engine: the first stage does not see what it is.
    let hidden = case.wasm(HELLO);
    let config = hidden.config().to_string().replace("wasm", "w\\u0061sm");
    fs::write(hidden.config_file(), config).expect("write");
    let inode = |path: &Path| fs::metadata(path).expect("a program").ino();
    for (bundle, program) in [(&native, "rr-runtime-native"), (&wasm, "rr-runtime"), (&hidden, "rr-runtime")]
    {
        let id = case.id();
        case.create(bundle, &id);
        let pid = case.state(&id)["pid"].to_string();
        assert_eq!(inode(Path::new(&format!("/proc/{pid}/exe"))), inode(&home.join(program)), "{program}");
        assert_eq!(mapped(&pid) == 1, program == "rr-runtime-native", "{program}");
        case.force_delete(&id);
    }
    for bundle in [&wasm, &hidden] {
        assert_eq!(case.run(bundle, &case.id()).ok(), "hello\n");
    }
}

#[test]
fn which_program_it_is_does_not_show() {
    let Some(home) = installed() else { skip!("RR_RUNTIME is not an installed rr-runtime") };
    let case = Case::ours();
    let (bundle, id) = (case.busybox(), case.id());
    bundle.script("echo ready; sleep 600");
    let mut run = case.run(&bundle, &id).spawn();
    run.expect_stdout("ready");
    let name = fs::read_to_string(format!("/proc/{}/comm", run.pid())).expect("a name");
    case.force_delete(&id);
    assert_eq!((name.as_str(), run.wait().code), ("rr-runtime\n", 137));
    // Asked by hand for what it cannot do, the native program has it done.
    for program in ["rr-runtime", "rr-runtime-native"] {
        let path = home.join(program);
        if path.exists() {
            let table = Invocation::new(&path).args(["cache", "ls"]).ok();
            assert!(table.starts_with("KEY"), "{program}: {table}");
        }
    }
}

#[test]
fn where_there_is_no_native_program_the_whole_one_does_its_work() {
    let Some(home) = installed() else { skip!("RR_RUNTIME is not an installed rr-runtime") };
    let case = Case::ours();
    let folder = case.folder().canonicalize().expect("a folder");
    for (from, to) in [
        (Runtime::under_test().path(), "bin/rr-runtime"),
        (&home.join("rr-runtime"), "lib/rr-runtime/rr-runtime"),
    ] {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("mkdir");
        fs::copy(from, to).expect("copy");
    }
    let bundle = case.busybox();
    bundle.args(["/bin/busybox", "echo", "here"]);
    let (id, root) = (case.id(), case.root());
    let run = Invocation::new(folder.join("bin/rr-runtime")).arg("--root").arg(root);
    assert_eq!(run.args(["run", "--bundle"]).arg(bundle.dir()).arg(&id).ok(), "here\n");
}

#[test]
fn it_runs_without_the_tree_that_it_was_built_in() {
    if installed().is_none() {
        skip!("RR_RUNTIME is not an installed rr-runtime");
    }
    let case = Case::ours();
    let version = far_from_home(case.cmd(["--version"])).ok();
    assert!(version.starts_with("rr-runtime "), "{version}");

    let native = case.busybox();
    native.script("echo native");
    assert_eq!(far_from_home(case.run(&native, &case.id())).ok(), "native\n");

    // Interpreted, then compiled by the real LLVM.
    for aot in ["off", "wait"] {
        let wasm = case.wasm(HELLO);
        wasm.annotation("io.roadrunner.wasm/aot", aot);
        assert_eq!(far_from_home(case.run(&wasm, &case.id())).ok(), "hello\n", "aot: {aot}");
    }
}

#[test]
fn it_has_a_manual_and_completions() {
    let Some(home) = installed() else { skip!("RR_RUNTIME is not an installed rr-runtime") };
    let share = home.parent().and_then(Path::parent).expect("a prefix").join("share");
    let read =
        |path: &str| fs::read_to_string(share.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let page = read("man/man8/rr-runtime-exec.8");
    assert!(page.contains(".TH rr-runtime-exec 8") && page.contains("\\-\\-additional\\-gids"), "{page}");
    // Every command of the help has a page, and stands in each completion.
    let help = Invocation::new(Runtime::under_test().path()).arg("--help").ok();
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<&str> = verbs
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() >= 18, "{verbs:?}");
    let completions = [
        "bash-completion/completions/rr-runtime",
        "zsh/site-functions/_rr-runtime",
        "fish/vendor_completions.d/rr-runtime.fish",
    ]
    .map(|path| (path, read(path)));
    for verb in verbs {
        read(&format!("man/man8/rr-runtime-{verb}.8"));
        for (path, text) in &completions {
            assert!(text.contains(verb), "{verb} is not in {path}");
        }
    }
    for (path, text) in &completions {
        assert!(!text.contains("compiler-child"), "{path}");
    }
    let bash = Invocation::new("bash").arg("-n").arg(share.join(completions[0].0)).output();
    assert_eq!((bash.code, bash.stderr.as_str()), (0, ""));
}
