//! A function's limits, and the code compiled for it ahead of time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tests::command::eventually;
use tests::guest::{self, HELLO, LOOP, READ};
use tests::{Bundle, Case, Invocation, Output, proc, tool, wasm_case};

const TIMEOUT: &str = "io.roadrunner.wasm/timeout";
const FUEL: &str = "io.roadrunner.wasm/fuel";
const MAX_MEMORY: &str = "io.roadrunner.wasm/max-memory";
const AOT: &str = "io.roadrunner.wasm/aot";

/// What it must say of a limit that was hit: one line, with the value.
#[track_caller]
fn hit(out: &Output, value: &str) {
    assert_eq!(out.code, 124, "{}", out.stderr);
    assert_eq!(out.error_lines().len(), 1, "{}", out.stderr);
    assert!(out.stderr.contains(value), "{value} is not named in: {}", out.stderr);
}

#[test]
fn out_of_time_in_a_loop_and_in_a_read() {
    let case = wasm_case!();
    for module in [LOOP, READ] {
        let bundle = case.wasm(module);
        bundle.annotation(TIMEOUT, "300ms");
        let mut run = case.run(&bundle, &case.id()).stdin_pipe().spawn();
        let input = run.input();
        run.expect_stdout("ready");
        let out = run.wait();
        drop(input);
        hit(&out, "300");
        assert!(out.elapsed < Duration::from_secs(5), "{:?}", out.elapsed);
    }
}

#[test]
fn time_counts_from_start() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    bundle.annotation(TIMEOUT, "300ms");
    let id = case.id();
    let pid = case.create(&bundle, &id);
    std::thread::sleep(Duration::from_millis(600));
    case.cmd(["start", &id]).ok();
    assert_eq!(case.exit_status(pid), 0);
    case.await_stopped(&id);
    case.delete(&id);
}

#[test]
fn out_of_fuel() {
    let case = wasm_case!();
    for aot in ["off", "wait"] {
        let bundle = case.wasm(LOOP);
        bundle.annotation(FUEL, "123456").annotation(AOT, aot);
        hit(&Cache::new(&case).run(&bundle), "123456");
    }
    let bundle = case.wasm(HELLO);
    bundle.annotation(FUEL, "100000");
    let _ = case.run(&bundle, &case.id()).output().success();
}

#[test]
fn memory_stops_growing_at_the_lower_limit() {
    let case = wasm_case!();
    let bundle = tool!(case, ["grow"]);
    bundle.annotation(MAX_MEMORY, "16Mi");
    let pages: u64 = case.run(&bundle, &case.id()).ok().trim().parse().expect("a number");
    assert_eq!(pages, 256);
    // The cgroup's limit, when it is lower.
    bundle.edit(|config| config["linux"]["resources"]["memory"] = json!({ "limit": 8 << 20 }));
    let pages: u64 = case.run(&bundle, &case.id()).ok().trim().parse().expect("a number");
    assert!(pages <= 128, "{pages} pages under a cgroup of 8 MiB");
    bundle.args(["/module.wasm", "allocate", "0x4000000"]);
    let out = case.run(&bundle, &case.id()).output();
    assert_ne!(out.code, 0, "{}", out.stdout);
    assert!(out.stderr.contains(&(8 << 20).to_string()), "the limit in force is not named: {}", out.stderr);
}

#[test]
fn a_function_that_fails_for_want_of_memory_is_told_its_limit() {
    let case = wasm_case!();
    // As Rust's programs end: they trap when the allocator has nothing.
    let module = r#"(module (memory (export "memory") 1)
      (func (export "_start")
        (if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable))))"#;
    for aot in ["off", "wait"] {
        let bundle = case.wasm(module);
        bundle.annotation(MAX_MEMORY, "1Mi").annotation(AOT, aot);
        let out = Cache::new(&case).run(&bundle).exits(134);
        assert_eq!(out.error_lines().len(), 1, "{}", out.stderr);
        assert!(out.stderr.contains("1048576"), "{aot}: {}", out.stderr);
        bundle.annotation(MAX_MEMORY, "64Mi");
        assert_eq!(Cache::new(&case).run(&bundle).success().stderr, "");
    }
}

#[test]
fn a_module_that_wants_less_than_its_limit_gets_it() {
    let case = wasm_case!();
    let bundle = case.wasm(
        r#"(module (memory (export "memory") 16)
            (func (export "_start") (i32.store8 (i32.const 1048575) (i32.const 1))))"#,
    );
    bundle.annotation(MAX_MEMORY, "1Mi");
    let _ = case.run(&bundle, &case.id()).output().success();
    bundle.annotation(MAX_MEMORY, "960Ki");
    let out = case.run(&bundle, &case.id()).output();
    assert_ne!(out.code, 0);
    assert_eq!(out.error_lines().len(), 1, "{}", out.stderr);
}

#[test]
fn the_cgroup_ends_what_goes_beyond_it() {
    let case = wasm_case!();
    // Touches its pages one by one; the limit of the cgroup is for all of the process, not for linear memory.
    let bundle = tool!(case, ["allocate", "0x3000000"]);
    bundle.edit(|config| config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 }));
    assert_eq!(case.run(&bundle, &case.id()).ok(), "allocated\n");
    bundle.args(["/module.wasm", "allocate", "0x8000000"]);
    let out = case.run(&bundle, &case.id()).output();
    assert_ne!(out.code, 0);
}

/// A cache of the case's own, which the administrator's file names.
struct Cache<'a> {
    case: &'a Case,
}

impl<'a> Cache<'a> {
    fn new(case: &'a Case) -> Self {
        let cache = Self { case };
        cache.bounded("1Gi");
        cache
    }

    /// Bounds the sum of its entries.
    fn bounded(&self, size: &str) {
        let text = format!("[cache]\ndirectory = \"{}\"\nmax-size = \"{size}\"\n", self.folder().display());
        fs::write(self.config(), text).expect("write");
    }

    fn folder(&self) -> PathBuf {
        self.case.dir().join("cache")
    }

    fn config(&self) -> PathBuf {
        self.case.dir().join("config.toml")
    }

    /// `VERB --bundle B ID` with this cache.
    fn cmd(&self, verb: &str, bundle: &Bundle, id: &str) -> Invocation {
        let cmd = self.case.mark(self.case.runtime().command()).arg("--root").arg(self.case.root());
        cmd.arg("--config").arg(self.config()).args([verb, "--bundle"]).arg(bundle.dir()).arg(id)
    }

    fn run(&self, bundle: &Bundle) -> Output {
        self.cmd("run", bundle, &self.case.id()).output()
    }

    /// Files of the cache that hold code.
    fn entries(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        walk(&self.folder(), &mut all);
        all.sort();
        all
    }
}

fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            walk(&entry.path(), all);
        } else if entry.path().extension().is_some_and(|kind| kind == "aot") {
            all.push(entry.path());
        }
    }
}

/// A module that nobody has compiled before: its digest is the case's own.
fn fresh(case: &Case, body: &str) -> Bundle {
    let module = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 1024) "{}{:?}")
          (func $fib (param i32) (result i32)
            (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
              (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                             (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
          (func (export "_start") {body}))"#,
        case.name(),
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos(),
    );
    case.wasm(&module)
}

/// fib(24) = 46368 = 0xb520: the lowest byte is the exit code.
const FIB: &str = "(call $proc_exit (i32.and (call $fib (i32.const 24)) (i32.const 0xff)))";

#[test]
fn off_makes_no_code_and_wait_makes_it_first() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = fresh(&case, FIB);
    let _ = cache.run(&bundle).exits(0x20);
    assert_eq!(cache.entries(), Vec::<PathBuf>::new(), "`off` made an entry");
    bundle.annotation(AOT, "wait");
    let out = cache.run(&bundle).exits(0x20);
    assert_eq!(out.stderr, "");
    let made = cache.entries();
    assert_eq!(made.len(), 1, "{made:?}");
    let content = fs::read(&made[0]).expect("an entry");
    let out = cache.run(&bundle).exits(0x20);
    assert_eq!(out.stderr, "");
    assert!(fs::read(&made[0]).expect("an entry") == content, "a good entry was replaced");
    // Code that counts instructions is another entry.
    bundle.annotation(FUEL, "100000000");
    let _ = cache.run(&bundle).exits(0x20);
    assert_eq!(cache.entries().len(), 2);
}

#[test]
fn damaged_and_foreign_code_is_replaced_with_a_warning() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = fresh(&case, FIB);
    bundle.annotation(AOT, "wait");
    let _ = cache.run(&bundle).exits(0x20);
    let made = cache.entries();
    let [entry] = &made[..] else { panic!("one entry: {made:?}") };
    let content = fs::read(entry).expect("an entry");
    let other = fresh(&case, "(call $proc_exit (i32.const 99))");
    other.annotation(AOT, "wait");
    let _ = cache.run(&other).exits(99);
    let foreign = cache.entries().into_iter().find(|path| path != entry).expect("a second entry");
    let foreign = fs::read(foreign).expect("read");
    let mut flipped = content.clone();
    let at = flipped.len() / 2;
    flipped[at] ^= 0x40;
    let mut head = content.clone();
    head[0] ^= 0xff;
    let damages: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("cut off", &content[..content.len() / 2]),
        ("a bit flipped in the middle", &flipped),
        ("another head", &head),
        ("another module's entry", &foreign),
        (
            "rubbish",
            b"rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish",
        ),
    ];
    for (what, damage) in damages {
        fs::write(entry, damage).expect("write");
        let out = cache.run(&bundle);
        assert_eq!(out.code, 0x20, "{what}: {}", out.stderr);
        assert!(out.stderr.contains("level=warning"), "{what}: no warning: {}", out.stderr);
        assert!(fs::read(entry).is_ok_and(|now| now != damage), "{what}: not replaced");
        let out = cache.run(&bundle).exits(0x20);
        assert_eq!(out.stderr, "", "{what}: it still warns after it was replaced");
    }
}

#[test]
fn code_is_made_in_the_background_after_the_first_run() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = fresh(&case, FIB);
    bundle.annotation(AOT, "cache");
    let out = cache.cmd("run", &bundle, &case.id()).piped().output().exits(0x20);
    assert!(out.closed, "the compiler holds the container's pipes");
    assert_eq!(out.stderr, "");
    eventually("an entry was made in the background", || cache.entries().len() == 1);
    let _ = cache.run(&bundle).exits(0x20);
}

/// A module that takes the compiler seconds, in the background.
fn large(case: &Case) -> Bundle {
    let body =
        "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 7)) (i32.load (local.get 0))))".repeat(40);
    let function = format!("(func (param i32) (result i32) {body} (local.get 0))");
    let bundle = case.wasm(&format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")) (data (i32.const 0) "{}") {})"#,
        case.name(),
        function.repeat(800)
    ));
    bundle.annotation(AOT, "cache");
    bundle
}

/// The background compilers of a case.
fn compilers(case: &Case) -> Vec<u32> {
    let ours = |pid: &u32| {
        let line = proc::cmdline(*pid);
        line.iter().any(|arg| arg == "compiler-background")
            && line.iter().any(|arg| arg.contains(&*case.dir().to_string_lossy()))
    };
    proc::all().into_iter().filter(ours).collect()
}

/// Whether a child of `parent` has no user, right, network or file system of the host's.
fn is_boxed(parent: u32) -> bool {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let apart = |pid: u32, kind: &str| {
        let theirs = namespace(&pid.to_string(), kind);
        theirs.is_some() && theirs != namespace("self", kind)
    };
    proc::children_of(parent).into_iter().any(|pid| {
        let status = proc::status(pid);
        let is = |key: &str, value: &str| status.get(key).is_some_and(|found| found == value);
        let rights = ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"];
        is("Seccomp", "2")
            && is("NoNewPrivs", "1")
            && is("Uid", "65534 65534 65534 65534")
            && is("Groups", "")
            && rights.iter().all(|set| is(set, "0000000000000000"))
            && ["net", "mnt", "ipc", "uts"].iter().all(|kind| apart(pid, kind))
            && !proc::environ(pid).iter().any(|variable| variable.starts_with("PATH="))
    })
}

#[test]
fn what_a_killed_compiler_leaves_the_next_one_removes() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = large(&case);
    let folders = |pid: u32| {
        let name = format!("rr-runtime-compiler-{pid}");
        let below = |hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy).join(&name);
        ["", "memory", "pids", "unified"].map(below)
    };
    let left = |pid: u32| folders(pid).iter().any(|folder| folder.exists());
    // Its own child among them, which is killed by its end, and at the least of priorities.
    let has_processes = |pid: u32| {
        let processes =
            |folder: &PathBuf| fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        folders(pid).iter().any(|folder| !processes(folder).is_empty())
    };
    let _ = cache.cmd("run", &bundle, &case.id()).piped().output().success();
    let lodged = || compilers(&case).into_iter().find(|pid| left(*pid));
    let killed = tests::command::poll(tests::command::TIMEOUT, lodged).expect("a compiler in its cgroup");
    tests::command::send_signal(killed, rustix::process::Signal::KILL);
    eventually("it is over", || compilers(&case).is_empty() && !has_processes(killed));
    assert!(left(killed), "it is killed and its cgroup gone");
    let _ = cache.cmd("run", &bundle, &case.id()).piped().output().success();
    eventually("its cgroup is removed", || !left(killed));
    let over = tests::command::poll(Duration::from_secs(60), || compilers(&case).is_empty().then_some(()));
    assert!(over.is_some(), "it still compiles");
}

#[test]
fn what_compiles_in_the_background_is_nobodys_and_in_a_cgroup_of_its_own() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = large(&case);
    let id = case.id();
    let out = cache.cmd("run", &bundle, &id).piped().output().success();
    assert!(out.closed, "the compiler holds the container's pipes");
    let compilers = || compilers(&case);
    eventually("it compiles in a cgroup of its own", || {
        let own = |pid: &u32| {
            let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            cgroups.contains("rr-runtime-compiler-") && !cgroups.contains(&id)
        };
        compilers().iter().any(own)
    });
    eventually("what reads the module is in a box", || compilers().into_iter().any(is_boxed));
    // Another function of the same module waits for nobody.
    let out = cache.cmd("run", &bundle, &case.id()).output().success();
    assert!(out.elapsed < Duration::from_secs(2), "{:?}", out.elapsed);
    let made = tests::command::poll(Duration::from_secs(60), || (cache.entries().len() == 1).then_some(()));
    assert!(made.is_some(), "no entry was made in the background");
    eventually("no compiler is left", || compilers().is_empty());
}

#[test]
fn the_longest_unused_code_makes_room() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundles = [0, 1, 2].map(|_| fresh(&case, FIB));
    for bundle in &bundles {
        bundle.annotation(AOT, "wait");
    }
    let _ = cache.run(&bundles[0]).exits(0x20);
    let first = cache.entries();
    let size = fs::metadata(&first[0]).expect("an entry").len();
    // Room for two and a half.
    cache.bounded(&(size * 5 / 2).to_string());
    let _ = cache.run(&bundles[1]).exits(0x20);
    let second: Vec<_> = cache.entries().into_iter().filter(|path| !first.contains(path)).collect();
    assert_eq!(second.len(), 1);
    std::thread::sleep(Duration::from_millis(20));
    // Used last, so the second goes.
    let _ = cache.run(&bundles[0]).exits(0x20);
    std::thread::sleep(Duration::from_millis(20));
    let _ = cache.run(&bundles[2]).exits(0x20);
    let left = cache.entries();
    assert!(left.len() == 2 && left.contains(&first[0]) && !left.contains(&second[0]), "{left:#?}");
}

#[test]
fn the_cache_can_be_filled_listed_and_emptied() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = fresh(&case, FIB);
    let cmd =
        |args: &[&str]| case.mark(case.runtime().command()).arg("--config").arg(cache.config()).args(args);
    let (module, copy) = (bundle.rootfs().join("module.wasm"), case.dir().join("copy.wasm"));
    cmd(&["compile", "--output"]).arg(&copy).arg(&module).ok();
    let (module, copy) = (fs::read(module).expect("readable"), fs::read(copy).expect("written"));
    assert!(copy.starts_with(b"\0asm") && copy.len() > module.len(), "the code comes beside the module");
    let made = cache.entries();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(cmd(&["cache", "ls"]).ok().lines().count(), 2, "a header and one entry");
    // It is the one that a run takes.
    bundle.annotation(AOT, "wait");
    let _ = cache.run(&bundle).exits(0x20);
    assert_eq!(cache.entries(), made);
    cmd(&["cache", "prune"]).ok();
    assert_eq!(cache.entries(), made);
    cmd(&["cache", "prune", "--keep", "0"]).ok();
    assert_eq!(cache.entries(), Vec::<PathBuf>::new());
    let out = cmd(&["compile"]).arg(bundle.config_file()).output().exits(1);
    assert!(out.error_lines().len() == 1 && out.stderr.contains("config.json"), "{}", out.stderr);
}

#[test]
fn what_the_caller_left_open_does_not_reach_the_compiler() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = fresh(&case, FIB);
    // As under flock(1), or a shell that has something open.
    let open = ["sh", "-c", "exec 3</etc/hostname 4</etc/hostname 9</etc/hostname; exec \"$@\"", "sh"];
    let compile = case.mark(case.runtime().command()).arg("--config").arg(cache.config()).arg("compile");
    compile.arg(bundle.rootfs().join("module.wasm")).wrapped(open).ok();
    assert_eq!(cache.entries().len(), 1);
}

#[test]
fn a_cache_that_others_can_write_is_not_believed() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    fs::create_dir(cache.folder()).expect("mkdir");
    fs::set_permissions(cache.folder(), fs::Permissions::from_mode(0o777)).expect("chmod");
    let bundle = fresh(&case, FIB);
    bundle.annotation(AOT, "wait");
    let out = cache.run(&bundle);
    // To refuse and to interpret with a warning are both safe; to use what lies there is not.
    assert!(out.code == 1 || out.stderr.contains("level=warning"), "{} {}", out.code, out.stderr);
    assert_eq!(cache.entries(), Vec::<PathBuf>::new());
}

/// For a maximum in a function that is inlined, the engine's optimizer calls the C library, and the engine then leaves all of its
/// code unused.
#[test]
fn code_that_the_engine_would_leave_unused_is_made_again() {
    const MAXIMUM: &str = r#"(module (memory (export "memory") 1)
      (func $max (param f32 f32) (result f32) (f32.max (local.get 0) (local.get 1)))
      (func (export "_start") (local $i i32)
        (loop $again
          (f32.store (i32.const 0)
            (call $max (f32.load (i32.const 0)) (f32.convert_i32_u (local.get $i))))
          (br_if $again
            (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000000))))))"#;
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = case.wasm_bytes(&wat::parse_str(MAXIMUM).expect("the test's own module"));
    let taken = |aot: &str| {
        bundle.annotation(AOT, aot);
        let _ = cache.run(&bundle).exits(0);
        let started = std::time::Instant::now();
        let _ = cache.run(&bundle).exits(0);
        started.elapsed()
    };
    let (interpreted, compiled) = (taken("off"), taken("wait"));
    assert!(compiled * 2 < interpreted, "{compiled:?} compiled, {interpreted:?} interpreted");
}

#[test]
fn limits_and_signals_hold_in_compiled_code() {
    let case = wasm_case!();
    let cache = Cache::new(&case);
    let bundle = fresh(&case, "(loop $again (br $again))");
    bundle.annotation(AOT, "wait").annotation(TIMEOUT, "300ms");
    hit(&cache.run(&bundle), "300");
    bundle.edit(|config| drop(config["annotations"].as_object_mut().expect("an object").remove(TIMEOUT)));
    let id = case.id();
    let run = cache.cmd("run", &bundle, &id).spawn();
    eventually("it runs", || {
        let state = case.cmd(["state", &id]).output();
        state.code == 0 && state.stdout.contains("running")
    });
    std::thread::sleep(Duration::from_millis(100));
    case.cmd(["kill", &id, "TERM"]).ok();
    let _ = run.wait().exits(143);
}

#[test]
fn a_module_that_cannot_be_compiled_is_refused_not_compiled() {
    let case = wasm_case!();
    let bundle = case.wasm_bytes(b"\0asm\x01\0\0\0\xff\xff\xff\xff");
    bundle.annotation(AOT, "wait");
    let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output().exits(1);
    assert!(out.stderr.contains("/module.wasm"), "{}", out.stderr);
}

#[test]
fn all_limits_at_once() {
    let case = wasm_case!();
    let bundle = case.wasm(&guest::exit(3));
    bundle.annotation(TIMEOUT, "1h").annotation(FUEL, "18446744073709551615").annotation(MAX_MEMORY, "4Gi");
    let _ = case.run(&bundle, &case.id()).output().exits(3);
}
