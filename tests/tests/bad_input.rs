//! Bad bundles, bad ids, a full disk. Each gives one error line that names the thing, runc's exit status, and
//! leaves nothing behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::json;
use tests::{Bundle, Case, Output, agree};

/// `create` of a bad bundle, and `run` of it: refused with runc's status; by ours with one line that has all
/// of `named` in it; and with nothing left of either.
#[track_caller]
fn refused(spoil: impl Fn(&Case, &Bundle), named: &[&str]) {
    let seen = agree(|case| {
        let bundle = case.busybox();
        spoil(case, &bundle);
        let mut codes = Vec::new();
        for verb in ["create", "run"] {
            let out = case.cmd([verb, "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
            explains(case, &out, named);
            case.nothing_left();
            codes.push(out.code);
        }
        codes
    });
    assert!(!seen.contains(&0), "accepted: {seen:?}");
}

/// One error line that has all of `named` in it. What other runtimes say is theirs.
#[track_caller]
fn explains(case: &Case, out: &Output, named: &[&str]) {
    if !case.runtime().is_ours() {
        return;
    }
    let lines = out.error_lines();
    assert_eq!(lines.len(), 1, "one error line, of {:?}: {}", out.argv, out.stderr);
    assert!(out.stdout.is_empty(), "standard output of {:?}: {}", out.argv, out.stdout);
    for name in named {
        assert!(lines[0].contains(name), "{:?} is not named in: {}", name, lines[0]);
    }
    assert!(!lines[0].contains("panicked"), "{}", lines[0]);
}

/// Ends a chain of edits.
fn set(_: &Bundle) {}

fn config_is(text: &str) -> impl Fn(&Case, &Bundle) {
    move |_: &Case, bundle: &Bundle| fs::write(bundle.config_file(), text).expect("write")
}

#[test]
fn no_bundle() {
    let codes = agree(|case| {
        let missing = case.dir().join("no-such-bundle");
        let out = case.cmd(["create", "--bundle"]).arg(&missing).arg(case.id()).output();
        explains(case, &out, &["no-such-bundle"]);
        let file = case.dir().join("a-file");
        fs::write(&file, "").expect("write");
        let other = case.cmd(["create", "--bundle"]).arg(&file).arg(case.id()).output();
        explains(case, &other, &["a-file"]);
        (out.code, other.code)
    });
    assert_eq!(codes, (1, 1));
}

#[test]
fn config_missing() {
    refused(|_, bundle| fs::remove_file(bundle.config_file()).expect("rm"), &["config.json"]);
}

#[test]
fn config_a_folder() {
    refused(
        |_, bundle| {
            fs::remove_file(bundle.config_file()).expect("rm");
            fs::create_dir(bundle.config_file()).expect("mkdir");
        },
        &["config.json"],
    );
}

/// Not held against runc, which reads these for ever.
#[test]
fn config_without_an_end() {
    let case = Case::ours();
    let pipe = |config: &Path| drop(tests::Invocation::new("mkfifo").arg(config).ok());
    let zeros = |config: &Path| symlink("/dev/zero", config).expect("link");
    for make in [&pipe as &dyn Fn(&Path), &zeros] {
        let bundle = case.busybox();
        fs::remove_file(bundle.config_file()).expect("rm");
        make(&bundle.config_file());
        for verb in ["create", "run"] {
            let out = case.cmd([verb, "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
            assert_eq!(out.code, 1);
            explains(&case, &out, &["config.json", "is not a file"]);
            case.nothing_left();
        }
    }
}

#[test]
fn config_empty() {
    refused(config_is(""), &["config.json"]);
    refused(config_is("[]"), &[]);
    for text in ["{}", "null"] {
        let case = Case::ours();
        if !case.runtime().is_ours() {
            tests::skip!("runc 1.1 panics when there is nothing in it");
        }
        let bundle = case.busybox();
        config_is(text)(&case, &bundle);
        let out = case.run(&bundle, &case.id()).output().exits(1);
        explains(&case, &out, &[]);
    }
}

#[test]
fn config_cut_off() {
    for tenth in 1..10 {
        refused(
            |_, bundle| {
                let text = fs::read(bundle.config_file()).expect("read");
                fs::write(bundle.config_file(), &text[..text.len() * tenth / 10]).expect("write");
            },
            &["config.json"],
        );
    }
}

#[test]
fn config_not_utf8() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        tests::skip!("Go's JSON replaces bytes that are not UTF-8, and goes on");
    }
    let bundle = case.busybox();
    let text = fs::read_to_string(bundle.config_file()).expect("read");
    let mut bytes = text.replace("rr-test", "rr@test").into_bytes();
    let at = bytes.iter().position(|&byte| byte == b'@').expect("it is there");
    bytes[at] = 0xff;
    fs::write(bundle.config_file(), bytes).expect("write");
    let out = case.run(&bundle, &case.id()).output().exits(1);
    explains(&case, &out, &["config.json"]);
}

#[test]
fn config_of_another_version() {
    for version in ["", "2.0.0", "abc"] {
        let case = Case::ours();
        if !case.runtime().is_ours() {
            tests::skip!("runc does not look at ociVersion");
        }
        let bundle = case.busybox();
        bundle.edit(|config| config["ociVersion"] = json!(version));
        let out = case.run(&bundle, &case.id()).output().exits(1);
        explains(&case, &out, &["ociVersion"]);
    }
}

#[test]
fn config_with_wrong_types() {
    for (pointer, value) in [
        ("/process/args", json!("sh")),
        ("/process/cwd", json!(7)),
        ("/process/user/uid", json!("root")),
        ("/process/user/uid", json!(-1)),
        ("/process/env", json!({ "A": "b" })),
        ("/process/terminal", json!("yes")),
        ("/mounts", json!({})),
        ("/linux/namespaces", json!("all")),
        ("/root", json!("rootfs")),
        ("/ociVersion", json!(1)),
    ] {
        refused(
            |_, bundle| {
                bundle.edit(|config| *config.pointer_mut(pointer).expect("it is there") = value.clone());
            },
            &["config.json"],
        );
    }
}

#[test]
fn no_process() {
    // runc 1.1 dies of a nil pointer here; ours says what is missing.
    let case = Case::ours();
    if !case.runtime().is_ours() {
        tests::skip!("runc 1.1 panics without a process");
    }
    let bundle = case.busybox();
    bundle.edit(|config| drop(config.as_object_mut().expect("an object").remove("process")));
    let out = case.run(&bundle, &case.id()).output().exits(1);
    explains(&case, &out, &["process"]);
}

#[test]
fn no_root() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        tests::skip!("runc 1.1 has its own words for it");
    }
    let bundle = case.busybox();
    bundle.edit(|config| drop(config.as_object_mut().expect("an object").remove("root")));
    let out = case.run(&bundle, &case.id()).output().exits(1);
    explains(&case, &out, &["root"]);
}

#[test]
fn rootfs_missing() {
    refused(|_, bundle| fs::remove_dir_all(bundle.rootfs()).expect("rm"), &["rootfs"]);
}

#[test]
fn args_empty() {
    refused(|_, bundle| set(bundle.args::<&str>([])), &["args"]);
    refused(|_, bundle| set(bundle.args([""])), &[]);
}

#[test]
fn entrypoint_missing() {
    refused(|_, bundle| set(bundle.args(["/bin/no-such"])), &["/bin/no-such"]);
    refused(|_, bundle| set(bundle.args(["no-such"])), &["no-such"]);
}

#[test]
fn entrypoint_a_folder() {
    refused(|_, bundle| set(bundle.args(["/tmp"])), &["/tmp"]);
}

#[test]
fn entrypoint_not_executable() {
    refused(|_, bundle| set(bundle.file("/plain", "x").args(["/plain"])), &["/plain"]);
}

#[test]
fn entrypoint_unreadable() {
    refused(
        |_, bundle| {
            bundle.file("/locked", "\0asm").args(["/locked"]);
            let locked = bundle.rootfs().join("locked");
            fs::set_permissions(locked, fs::Permissions::from_mode(0o000)).expect("chmod");
            bundle.edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
        },
        &["/locked"],
    );
}

#[test]
fn entrypoint_a_broken_symlink() {
    refused(
        |_, bundle| {
            symlink("/bin/nothing-there", bundle.rootfs().join("broken")).expect("symlink");
            bundle.args(["/broken"]);
        },
        &["/broken"],
    );
    refused(
        |_, bundle| {
            symlink("/loop", bundle.rootfs().join("loop")).expect("symlink");
            bundle.args(["/loop"]);
        },
        &["/loop"],
    );
}

#[test]
fn entrypoint_outside_the_rootfs_by_symlink() {
    for target in ["../../../../../../../../../../../outside", "/outside"] {
        refused(
            |case, bundle| {
                // It exists, on the host.
                let outside = case.dir().join("outside-program");
                fs::copy(bundle.rootfs().join("bin/busybox"), &outside).expect("copy");
                let link = if target.starts_with('/') {
                    outside
                } else {
                    PathBuf::from("../../../../../../../../..")
                        .join(outside.strip_prefix("/").expect("absolute"))
                };
                symlink(link, bundle.rootfs().join("escape")).expect("symlink");
                bundle.args(["/escape"]);
            },
            &["/escape"],
        );
    }
}

#[test]
fn mount_that_cannot_be_made() {
    refused(|case, bundle| set(bundle.bind(&case.dir().join("nothing"), "/x", &["rw"])), &["nothing"]);
    refused(
        |_, bundle| {
            bundle.mount(json!({ "type": "nosuchfs", "source": "none", "destination": "/x" }));
        },
        &["nosuchfs"],
    );
}

#[test]
fn namespace_that_is_not_there() {
    refused(
        |_, bundle| {
            bundle.edit(|config| config["linux"]["namespaces"][1]["path"] = json!("/proc/1/ns/no-such-file"));
        },
        &["/proc/1/ns/no-such-file"],
    );
    refused(
        |_, bundle| {
            bundle.edit(|config| config["linux"]["namespaces"][1]["type"] = json!("nosuch"));
        },
        &["nosuch"],
    );
}

#[test]
fn ids_that_are_none() {
    let long = "x".repeat(1025);
    let codes = agree(|case| {
        let bundle = case.busybox();
        let mut codes = Vec::new();
        for id in ["", ".", "..", "a/b", "../x", "/abs", "a b", "a\nb", "ü", "a\\b", &long] {
            let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(id).output();
            explains(case, &out, &["id"]);
            codes.push((id.to_owned(), out.code));
            case.nothing_left();
        }
        codes
    });
    let accepted: Vec<_> = codes.iter().filter(|(_, code)| *code == 0).collect();
    assert!(accepted.is_empty(), "{accepted:?}");
    let codes = agree(|case| {
        ["", "..", "a/b", "../../etc"].map(|id| {
            ["state", "kill", "delete", "start", "pause"].map(|verb| case.cmd([verb, id]).output().code)
        })
    });
    assert!(codes.iter().flatten().all(|&code| code != 0), "{codes:?}");
}

#[test]
fn command_lines_that_are_none() {
    let codes = agree(|case| {
        [
            &["nosuchverb"][..],
            &["create"],
            &["create", "--nosuchflag", "x"],
            &["start"],
            &["state", "a", "b"],
            &["kill"],
            &["exec", "x"],
            &["list", "--format", "nosuch"],
        ]
        .map(|args| (args.join(" "), case.cmd(args).output().code))
    });
    for (args, code) in &codes {
        // runc prints its help, and 0, for a verb that it does not know: then so do we.
        assert!(*code != 0 || args == "nosuchverb", "{args}: {code}");
    }
}

/// A small file system of the case's own, unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path, options: &str) -> Self {
        fs::create_dir_all(path).expect("mkdir");
        let options = std::ffi::CString::new(options).expect("no NUL");
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str()).expect("mount");
        Self(path.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk() {
    agree(|case| {
        let small = Tmpfs::mount(&case.root(), "size=64k,nr_inodes=16");
        fs::write(small.0.join("fill"), vec![0; 64 * 1024]).expect("it fills exactly");
        let out = case.run(&case.busybox(), &case.id()).output();
        assert_ne!(out.code, 0);
        explains(case, &out, &["space"]);
        fs::remove_file(small.0.join("fill")).expect("rm");
        case.nothing_left_but_mounts();
        drop(small);
        out.code
    });
}

#[test]
fn a_disk_that_fills_later() {
    // Room for the folder, not for what goes into it.
    agree(|case| {
        let small = Tmpfs::mount(&case.root(), "size=64k,nr_inodes=2");
        let out = case.run(&case.busybox(), &case.id()).output();
        assert_ne!(out.code, 0);
        explains(case, &out, &["space"]);
        case.nothing_left_but_mounts();
        drop(small);
        out.code
    });
}

#[test]
fn a_full_or_read_only_disk_under_what_functions_share() {
    let Some(case) = Case::wasm_runtime() else { return };
    let config = case.dir().join("config.toml");
    let shared = case.dir().join("shared");
    let text = format!(
        "tenant = \"t\"\n[hose]\ndirectory = \"{0}/hose\"\n[cache]\ndirectory = \"{0}/cache\"\n",
        shared.display()
    );
    fs::write(&config, text).expect("write");
    for (options, reason) in
        [("size=64k,nr_inodes=16,mode=755", "space"), ("size=64k,ro,mode=755", "ead-only file system")]
    {
        let small = Tmpfs::mount(&shared, options);
        if options.contains("inodes") {
            fs::write(small.0.join("fill"), vec![0; 64 * 1024]).expect("it fills exactly");
        }
        for (key, value) in [("io.roadrunner.hose/mode", "kernel"), ("io.roadrunner.wasm/aot", "wait")] {
            let bundle = case.wasm(tests::guest::HELLO);
            bundle
                .annotation("io.roadrunner.hose/name", "a")
                .annotation("io.roadrunner.hose/workflow", "w")
                .annotation(key, value);
            let cmd = case.cmd(["--config"]).arg(&config).args(["run", "--bundle"]).arg(bundle.dir());
            let out = cmd.arg(case.id()).output().exits(1);
            explains(&case, &out, &[reason]);
            case.nothing_left_but_mounts();
        }
        drop(small);
    }
}

#[test]
fn a_read_only_state_folder() {
    agree(|case| {
        let fixed = Tmpfs::mount(&case.root(), "size=64k,ro");
        let out = case.run(&case.busybox(), &case.id()).output();
        assert_ne!(out.code, 0);
        explains(case, &out, &["ead-only file system"]);
        case.nothing_left_but_mounts();
        drop(fixed);
        out.code
    });
}

#[test]
fn a_state_folder_that_is_a_file() {
    agree(|case| {
        fs::write(case.root(), "").expect("write");
        let out = case.run(&case.busybox(), &case.id()).output();
        explains(case, &out, &[]);
        fs::remove_file(case.root()).expect("rm");
        out.code
    });
}

#[test]
fn a_pid_file_that_cannot_be_written() {
    agree(|case| {
        let out = case
            .cmd(["create", "--pid-file", "/nonexistent/folder/pid", "--bundle"])
            .arg(case.busybox().dir())
            .arg(case.id())
            .output();
        explains(case, &out, &["/nonexistent/folder/pid"]);
        case.nothing_left();
        out.code
    });
}

#[test]
fn damaged_state_is_an_error_and_can_be_deleted_by_force() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        tests::skip!("about the runtime's own state files");
    }
    for damage in ["", "{", "{}", "null", "not JSON at all"] {
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        let id = case.id();
        let pid = case.start(&bundle, &id);
        for entry in fs::read_dir(case.root().join(&id)).expect("a state folder").flatten() {
            if entry.path().extension().is_some_and(|kind| kind == "json") {
                fs::write(entry.path(), damage).expect("write");
            }
        }
        let out = case.cmd(["state", &id]).output();
        assert_eq!(out.code, 1, "{damage:?}: {}", out.stdout);
        explains(&case, &out, &[]);
        let _ = case.cmd(["list"]).output().success();
        tests::command::send_signal(pid, rustix::process::Signal::KILL);
        let _ = case.exit_status(pid);
        case.force_delete(&id);
        assert!(!case.root().join(&id).exists(), "delete --force left the state folder");
        // Its cgroup could only be known from the state.
        case.remove_cgroups();
        case.nothing_left();
    }
}
