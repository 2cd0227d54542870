//! What a function, and the process that runs it, can reach: no procfs, no descriptor of the host, no
//! privilege that the spec does not give, no file outside its rootfs and mounts. And what the other verbs map.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;
use tests::command::eventually;
use tests::guest::LOOP;
use tests::{Bundle, Case, Running, proc, tool, wasm_case};

/// A function that has started to loop, and the pid of the process that runs it.
fn looping(case: &Case, bundle: &Bundle) -> (String, Running, u32) {
    let id = case.id();
    let mut run = case.run(bundle, &id).spawn();
    run.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    (id, run, pid)
}

fn end(case: &Case, id: &str, run: Running) {
    case.cmd(["kill", id, "KILL"]).ok();
    let _ = run.wait().exits(137);
}

#[test]
fn a_function_is_left_the_system_calls_that_it_needs() {
    let case = wasm_case!();
    let config = case.folder().join("config.toml");
    fs::write(&config, "[module]\nseccomp = \"off\"\n").expect("write");
    // Whether there is a filter, how many there are, and whether privileges can be gained.
    let confinement = |bundle: &Bundle, flags: &[&std::ffi::OsStr]| {
        bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
        let id = case.id();
        let mut run = case.cmd(flags).args(["run", "--bundle"]).arg(bundle.dir()).arg(&id).spawn();
        run.expect_stdout("ready");
        let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
        let status = proc::status(pid);
        end(&case, &id, run);
        ["Seccomp", "Seccomp_filters", "NoNewPrivs"].map(|key| status[key].clone())
    };
    assert_eq!(confinement(&case.wasm(LOOP), &[]), ["2", "1", "1"]);
    let own = case.wasm(LOOP);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}],
    });
    own.edit(|config| config["linux"]["seccomp"] = profile);
    assert_eq!(confinement(&own, &[]), ["2", "1", "0"]);
    assert_eq!(confinement(&case.wasm(LOOP), &["--config".as_ref(), config.as_ref()]), ["0", "0", "0"]);
}

/// Everything in procfs that would break the sandbox, by every name that it might have.
const SECRETS: [&str; 9] = [
    "/proc/self/mem",
    "/proc/self/environ",
    "/proc/self/fd/0",
    "/proc/self/exe",
    "/proc/1/mem",
    "/proc/1/root/proc/self/mem",
    "/proc/thread-self/mem",
    "/proc/self/cwd/proc/self/mem",
    "/proc/version",
];

#[test]
fn procfs_is_out_of_reach() {
    let case = wasm_case!();
    let mut args = vec!["reach".to_owned()];
    args.extend(SECRETS.map(ToOwned::to_owned));
    for path in SECRETS {
        let below = path.trim_start_matches('/');
        args.push(format!("/tmp/../{below}"));
        args.push(format!("./{below}"));
        args.push(format!("../../../{below}"));
        args.push(format!("/shared/../{below}"));
        args.push(format!("//{below}"));
        args.push(format!("/./{below}"));
    }
    let bundle = tool!(case, args);
    bundle.bind(&case.folder(), "/shared", &["rw"]);
    let out = case.run(&bundle, &case.id()).output();
    assert!(!out.stdout.lines().any(|line| line.starts_with("reached")), "{}", out.stdout);
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
}

#[test]
fn procfs_is_out_of_reach_through_symlinks() {
    let case = wasm_case!();
    let shared = case.folder();
    let bundle = tool!(case, ["reach", "placeholder"]);
    let mut args = vec!["/module.wasm".to_owned(), "reach".to_owned()];
    for (place, dir) in [("/shared", shared.clone()), ("", bundle.rootfs())] {
        for (name, target) in [
            ("mem", "/proc/self/mem"),
            ("relative", "../proc/self/mem"),
            ("self", "/proc/self"),
            ("proc", "/proc"),
            ("up", ".."),
            ("root", "/"),
        ] {
            symlink(target, dir.join(format!("l-{name}"))).expect("symlink");
        }
        for path in [
            "l-mem",
            "l-relative",
            "l-self/mem",
            "l-proc/self/mem",
            "l-up/proc/self/mem",
            "l-root/proc/self/mem",
            "l-self/fd/0",
            "l-self/environ",
            "l-proc/1/mem",
        ] {
            args.push(format!("{place}/{path}"));
        }
    }
    bundle.bind(&shared, "/shared", &["rw"]).args(args);
    let out = case.run(&bundle, &case.id()).output();
    assert!(!out.stdout.lines().any(|line| line.starts_with("reached")), "{}", out.stdout);
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
}

#[test]
fn a_second_procfs_is_out_of_reach_too() {
    let case = wasm_case!();
    let bundle = tool!(
        case,
        ["reach", "/other/self/mem", "/other/self/environ", "/deep/p/self/mem", "/bound/self/mem"]
    );
    for destination in ["/other", "/deep/p"] {
        bundle.mount(json!({ "type": "proc", "source": "proc", "destination": destination }));
    }
    bundle.bind(std::path::Path::new("/proc"), "/bound", &["rw"]);
    let out = case.run(&bundle, &case.id()).output();
    // To refuse such a mount for a function is as good.
    assert!(!out.stdout.lines().any(|line| line.starts_with("reached")), "{}", out.stdout);
}

#[test]
fn a_symlink_that_the_function_makes_leads_nowhere() {
    let case = wasm_case!();
    let outside = case.dir().join("outside");
    fs::write(&outside, "the host's").expect("write");
    let bundle = tool!(case, ["link", "/proc/self/mem", "/made"]);
    let _ = case.run(&bundle, &case.id()).output();
    bundle.args(["/module.wasm", "link", &format!("../../../../../..{}", outside.display()), "/out"]);
    let _ = case.run(&bundle, &case.id()).output();
    bundle.args(["/module.wasm", "reach", "/made", "/out"]);
    let out = case.run(&bundle, &case.id()).output();
    assert!(!out.stdout.lines().any(|line| line.starts_with("reached")), "{}", out.stdout);
}

#[test]
fn files_of_the_host_are_out_of_reach() {
    let case = wasm_case!();
    let outside = case.dir().join("outside");
    fs::write(&outside, "the host's").expect("write");
    let outside = outside.to_str().expect("UTF-8");
    let up = "../".repeat(12);
    let bundle = tool!(case, ["reach", outside, &format!("{up}{}", outside.trim_start_matches('/'))]);
    let out = case.run(&bundle, &case.id()).output();
    assert_eq!(out.code, 0, "{}", out.stdout);
}

#[test]
fn the_function_has_no_descriptors_but_streams_and_preopens() {
    let case = wasm_case!();
    let bundle = tool!(case, ["descriptors"]);
    let text = case.run(&bundle, &case.id()).ok();
    bundle.args(["/module.wasm", "preopens"]);
    let preopens = case.run(&bundle, &case.id()).ok();
    assert!(!preopens.lines().any(|name| name.starts_with("/proc")), "{preopens}");
    assert_eq!(text.lines().count(), 3 + preopens.lines().count(), "{text}\n{preopens}");
}

#[test]
fn the_process_holds_no_descriptor_of_the_host() {
    let case = wasm_case!();
    let (id, run, pid) = looping(&case, &case.wasm(LOOP));
    let fds = proc::descriptors(pid);
    for (fd, target) in &fds {
        let target = target.to_string_lossy();
        // What may be beyond the streams: folders that are preopened, seen from the container's root.
        let inside = *fd < 3
            || target == "/"
            || target.starts_with("/dev")
            || target.starts_with("/sys")
            || target == "/tmp";
        assert!(inside, "descriptor {fd} is {target}; all: {fds:#?}");
        assert!(!target.contains("/proc") && !target.contains("socket:"), "descriptor {fd} is {target}");
    }
    end(&case, &id, run);
}

#[test]
fn not_even_descriptors_that_the_caller_preserves() {
    let case = wasm_case!();
    let id = case.id();
    let secret = case.dir().join("preserved");
    fs::write(&secret, "x").expect("write");
    let open = format!("exec 3<{0} 4<{0} 9<{0}; exec \"$@\"", secret.display());
    let run = case.cmd(["run", "--preserve-fds", "2", "--bundle"]).arg(case.wasm(LOOP).dir()).arg(&id);
    let mut run = run.wrapped(["sh", "-c", &open, "sh"]).spawn();
    run.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    let fds = proc::descriptors(pid);
    assert!(!fds.values().any(|target| target == &secret), "{fds:#?}");
    end(&case, &id, run);
}

#[test]
fn neither_llvm_nor_a_descriptor_of_procfs_is_in_a_running_function() {
    let case = wasm_case!();
    let (id, run, pid) = looping(&case, &case.wasm(LOOP));
    let files = proc::mapped_files(pid);
    assert!(files.iter().any(|file| file.contains("libwasmedge")), "{files:#?}");
    assert!(!files.iter().any(|file| file.contains("LLVM")), "{files:#?}");
    end(&case, &id, run);
}

/// Whether a mapped file is of the engine.
fn is_engine(file: &str) -> bool {
    file.contains("wasmedge") || file.contains("LLVM") || file.contains("librr_executor")
}

#[test]
fn a_native_container_maps_no_engine() {
    let case = wasm_case!();
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    let id = case.id();
    // Before `start` its init is the runtime itself.
    let pid = case.create(&bundle, &id);
    let files = proc::mapped_files(pid);
    assert!(!files.is_empty());
    assert!(!files.iter().any(|file| is_engine(file)), "{files:#?}");
    case.force_delete(&id);
}

#[test]
fn verbs_on_a_wasm_container_map_no_engine() {
    let case = wasm_case!();
    let id = case.id();
    case.create(&case.wasm(LOOP), &id);
    let folder = case.root().join(&id);
    let state = folder.join("state.json");
    let saved = fs::read(&state).expect("the state is where it is looked for");
    // A verb lives for two milliseconds. One that waits, for a lock or for what a pipe in the state's place never
    // gives, can be looked at.
    fs::remove_file(&state).expect("rm");
    tests::Invocation::new("mkfifo").arg(&state).ok();
    let lock = fs::OpenOptions::new().read(true).write(true).open(folder.join("lock")).expect("a lock");
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("fcntl");
    for verb in ["state", "list", "ps", "start", "kill", "pause", "resume", "delete"] {
        let cmd = case.cmd([verb]);
        let mut running = if verb == "list" { cmd } else { cmd.arg(&id) }.spawn();
        let pid = running.pid();
        let mut waits = 0;
        eventually(&format!("{verb} waits"), || {
            assert!(!running.ended(), "{verb} did not wait: {}", running.stderr());
            waits = if proc::state(pid) == Some('S') { waits + 1 } else { 0 };
            waits > 3
        });
        let files = proc::mapped_files(pid);
        assert!(files.iter().any(|file| file.contains("rr-runtime")), "{verb}: {files:#?}");
        assert!(!files.iter().any(|file| is_engine(file)), "{verb}: {files:#?}");
    }
    drop(lock);
    fs::remove_file(&state).expect("rm");
    fs::write(&state, saved).expect("write");
    case.force_delete(&id);
}

#[test]
fn privileges_are_the_specs() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    let read = |bundle: &Bundle| {
        let (id, run, pid) = looping(&case, bundle);
        let status = proc::status(pid);
        end(&case, &id, run);
        move |key: &str| status.get(key).cloned().unwrap_or_default()
    };
    let status = read(&bundle);
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(status(set), "0000000020000420", "{set}");
    }
    assert_eq!((status("CapBnd"), status("CapInh")), ("0000000020000420".into(), "0000000000000000".into()));
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(status("Groups"), "");

    bundle.edit(|config| drop(config["process"].as_object_mut().expect("an object").remove("capabilities")));
    let status = read(&bundle);
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(status(set), "0000000000000000", "{set} without capabilities in the spec");
    }
}

#[test]
fn another_user_keeps_no_capability_although_init_never_execs() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    bundle.edit(|config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 9] });
    });
    let (id, run, pid) = looping(&case, &bundle);
    let status = proc::status(pid);
    assert_eq!(status["Uid"], "1000 1000 1000 1000");
    assert_eq!(status["Gid"], "1001 1001 1001 1001");
    assert_eq!(status["Groups"], "7 9");
    for set in ["CapEff", "CapPrm", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    end(&case, &id, run);

    let set = json!(["CAP_NET_BIND_SERVICE"]);
    bundle.edit(|config| {
        config["process"]["capabilities"] = json!({
            "bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set,
        });
    });
    let (id, run, pid) = looping(&case, &bundle);
    let status = proc::status(pid);
    assert_eq!(
        (status["CapEff"].as_str(), status["CapPrm"].as_str()),
        ("0000000000000400", "0000000000000400")
    );
    end(&case, &id, run);
}

#[test]
fn groups_of_the_caller_do_not_leak() {
    let case = wasm_case!();
    let id = case.id();
    let run = case.run(&case.wasm(LOOP), &id).wrapped(["setpriv", "--groups", "4,24,27"]);
    let mut run = run.spawn();
    run.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    assert_eq!(proc::status(pid)["Groups"], "");
    end(&case, &id, run);
}

/// containerd's default profile would do; this one kills nothing that a WASI command needs.
#[test]
fn seccomp_is_in_force() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
        });
    });
    let (id, run, pid) = looping(&case, &bundle);
    assert_eq!(proc::status(pid)["Seccomp"], "2");
    end(&case, &id, run);
    let bundle = tool!(case, ["mkdir", "/made"]);
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    bundle.edit(|config| config["linux"]["seccomp"] = seccomp);
    let _ = case.run(&bundle, &case.id()).output().exits(1);
    assert!(!bundle.rootfs().join("made").exists());
}

#[test]
fn resource_limits_and_cgroup_are_the_specs() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 65 }]);
        config["process"]["oomScoreAdj"] = json!(123);
        config["linux"]["resources"]["pids"] = json!({ "limit": 16 });
    });
    let (id, run, pid) = looping(&case, &bundle);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let limits = limits.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(limits.contains("Max open files 64 65 files"), "{limits}");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("oom").trim(), "123");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    assert!(cgroup.contains(&id), "{cgroup}");
    end(&case, &id, run);
}

#[test]
fn an_unreadable_module_is_refused_for_its_user() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    let module = bundle.rootfs().join("module.wasm");
    fs::set_permissions(module, fs::Permissions::from_mode(0o600)).expect("chmod");
    bundle.edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output().exits(1);
    assert!(out.error_lines().len() == 1 && out.stderr.contains("/module.wasm"), "{}", out.stderr);
}

#[test]
fn the_runtime_cannot_be_written_through_a_function() {
    let case = wasm_case!();
    let (id, run, pid) = looping(&case, &case.wasm(LOOP));
    // From outside, as root of the host: what the mount itself refuses.
    let exe = format!("/proc/{pid}/exe");
    assert!(fs::OpenOptions::new().write(true).open(&exe).is_err(), "{exe} can be opened for writing");
    // And from inside, as a native process that joins the container as root.
    for file in fs::read_dir(format!("/proc/{pid}/map_files")).expect("map_files").flatten() {
        let Ok(target) = fs::read_link(file.path()) else { continue };
        if target.to_string_lossy().contains("librr_executor")
            || target.to_string_lossy().contains("libwasmedge")
        {
            let opened = fs::OpenOptions::new().write(true).open(file.path());
            assert!(opened.is_err(), "{} can be opened for writing", target.display());
        }
    }
    end(&case, &id, run);
}

#[test]
fn a_user_namespace_holds_a_function_too() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    bundle.edit(|config| {
        config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    let (id, run, pid) = looping(&case, &bundle);
    assert_eq!(proc::status(pid)["Uid"], "100000 100000 100000 100000");
    end(&case, &id, run);
}

#[test]
fn the_loaders_variables_of_the_caller_have_no_effect() {
    let case = wasm_case!();
    let bundle = case.wasm(LOOP);
    let trap = case.dir().join("preload-was-here");
    let id = case.id();
    let mut run = case
        .run(&bundle, &id)
        .env("LD_LIBRARY_PATH", case.dir())
        .env("WASMEDGE_PLUGIN_PATH", case.dir())
        .env("LD_DEBUG_OUTPUT", &trap)
        .spawn();
    run.expect_stdout("ready");
    let pid = u32::try_from(case.state(&id)["pid"].as_u64().expect("a pid")).expect("fits");
    let environ = proc::environ(pid);
    assert!(!environ.iter().any(|variable| variable.starts_with("LD_")), "{environ:?}");
    let maps = proc::mapped_files(pid);
    let ours = case.dir().to_string_lossy().into_owned();
    assert!(!maps.iter().any(|file| file.contains(&ours)), "{maps:#?}");
    end(&case, &id, run);
}
