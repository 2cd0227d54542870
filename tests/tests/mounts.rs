//! Mounts of a bundle, and its `/dev`, under the runtime under test and under runc.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType};
use serde_json::{Value, json};
use tests::{Bundle, Case, Invocation, agree, skip};

/// A bundle that runs busybox with a mount at `/mnt`, and procfs to see it by.
fn mounted(case: &Case, mount: &Value, args: &[&str]) -> Bundle {
    let bundle = case.busybox();
    bundle.args(["/bin/busybox"].iter().chain(args));
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({"destination": "/mnt"}));
        let last = mounts.last_mut().expect("a mount");
        for (key, value) in mount.as_object().expect("a mount") {
            last[key] = value.clone();
        }
    });
    bundle
}

/// What `/proc/self/mountinfo` says of `/mnt`, from its own options on; without numbers of peer groups, and what differs between folders.
fn seen(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().skip(5).collect();
    let words = words.split(|word| *word == "-").map(<[&str]>::to_vec).collect::<Vec<_>>();
    let [own, file_system] = words.as_slice() else { return line.to_owned() };
    let own = own.iter().map(|word| word.split(':').next().unwrap_or_default());
    let rest = if file_system[0] == "tmpfs" { file_system[2] } else { "" };
    format!("{} - {rest}", own.collect::<Vec<_>>().join(" "))
}

#[test]
fn options_have_the_effect_that_they_have_under_runc() {
    let options: [&[&str]; 30] = [
        &["rbind"],
        &["rbind", "private"],
        &["rbind", "rprivate"],
        &["bind", "shared"],
        &["rbind", "rshared"],
        &["bind", "slave"],
        &["rbind", "rslave"],
        &["bind", "unbindable"],
        &["rbind", "runbindable"],
        &["bind", "slave", "shared"],
        &["bind", "ro", "nosuid", "nodev", "noexec"],
        &["bind", "rro"],
        &["bind", "nosymfollow"],
        &["bind", "nosymfollow", "symfollow"],
        &["bind", "noatime"],
        &["bind", "lazytime", "silent", "iversion", "acl"],
        &["bind", "nolazytime", "loud", "noiversion", "noacl"],
        &["nosuid", "size=64k"],
        &["iversion"],
        &["noiversion", "noacl"],
        &["lazytime", "silent"],
        &["nosymfollow"],
        &["ro"],
        &["slave"],
        &["shared"],
        &["unbindable", "noexec"],
        &["acl", "loud", "mode=700"],
        &["sync", "mode=700"],
        &["dirsync", "mode=700"],
        &["sync", "async", "mode=700"],
    ];
    let seen = agree(|case| {
        let of = |options: &&[&str]| {
            let bind = options.iter().any(|option| option.ends_with("bind"));
            let source = if bind { case.folder().display().to_string() } else { "tmpfs".to_owned() };
            let kind = if bind { "bind" } else { "tmpfs" };
            let mount = json!({"type": kind, "source": source, "options": options});
            let bundle = mounted(case, &mount, &["grep", " /mnt ", "/proc/self/mountinfo"]);
            let out = case.run(&bundle, &case.id()).output();
            (options.join(","), (out.code, seen(&out.stdout)))
        };
        options.iter().map(of).collect::<BTreeMap<String, (i32, String)>>()
    });
    assert_eq!(seen.len(), options.len());
    assert!(seen.values().all(|(code, _)| *code == 0), "{seen:?}");
    assert!(seen["bind,shared"].1.contains("shared") && seen["bind,unbindable"].1.contains("unbindable"));
    assert!(seen["nosymfollow"].1.contains("nosymfollow"), "{seen:?}");
    assert!(seen["dirsync,mode=700"].1.contains("dirsync"), "{seen:?}");
}

#[test]
fn a_tmpfs_has_a_copy_of_what_it_covers() {
    let listing = agree(|case| {
        let mount = json!({"type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]});
        let script = "ls -lnR /mnt | grep -v total | awk '{print $1, $3, $4, $5, $9, $10, $11}'; cat /mnt/sub/file; touch /mnt/new 2>/dev/null || echo read-only";
        let bundle = mounted(case, &mount, &["sh", "-c", script]);
        let inside = |path: &str| bundle.rootfs().join(path);
        fs::create_dir_all(inside("mnt/sub/empty")).expect("mkdir");
        bundle.file("mnt/sub/file", "kept\n");
        std::os::unix::fs::chown(inside("mnt/sub/file"), Some(7), Some(8)).expect("chown");
        fs::set_permissions(inside("mnt/sub/file"), fs::Permissions::from_mode(0o4755)).expect("chmod");
        symlink("sub/file", inside("mnt/link")).expect("a link");
        let out = case.run(&bundle, &case.id()).output().success();
        assert_eq!(fs::read_to_string(inside("mnt/sub/file")).expect("the file below"), "kept\n");
        out.stdout
    });
    assert!(listing.contains("-rwsr-xr-x 7 8 5 file") && listing.ends_with("kept\nread-only\n"), "{listing}");
}

#[test]
fn sources_that_the_containers_root_cannot_reach_are_mounted() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.user_namespace();
        for number in [1, 2] {
            // The container's root may make nothing in this root file system.
            fs::create_dir_all(bundle.rootfs().join(format!("mnt/{number}"))).expect("mkdir");
            bundle.file(&format!("mnt/single-{number}"), "");
            let closed = bundle.dir().join(format!("closed-{number}"));
            fs::create_dir_all(closed.join("open")).expect("mkdir");
            fs::write(closed.join("open/file"), format!("file {number}\n")).expect("write");
            fs::write(closed.join("single"), format!("single {number}\n")).expect("write");
            fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
            // A relative one is below the bundle.
            let mount = |source: String, destination: String, options: &[&str]| json!({ "type": "bind", "source": source, "destination": destination, "options": options });
            bundle.mount(mount(format!("closed-{number}/open"), format!("/mnt/{number}"), &["bind"]));
            let single = closed.join("single").display().to_string();
            bundle.mount(mount(single, format!("/mnt/single-{number}"), &["rbind", "ro", "nosuid"]));
        }
        bundle.args(["/bin/sleep", "600"]);
        let id = case.id();
        case.start(&bundle, &id);
        let script = "cat /mnt/1/file /mnt/2/file /mnt/single-1 /mnt/single-2; (: >/mnt/single-1) 2>/dev/null || echo read-only";
        let out = case.cmd(["exec", &id, "/bin/sh", "-c", script]).output().success();
        case.force_delete(&id);
        out.stdout
    });
    assert_eq!(seen, "file 1\nfile 2\nsingle 1\nsingle 2\nread-only\n");
}

/// A mount of the host's that is shared, and gone when it is dropped.
struct Shared(std::path::PathBuf);

impl Shared {
    fn new(case: &Case) -> Self {
        let folder = case.folder();
        let mount = |args: &[&str]| tests::Invocation::new("mount").args(args).arg(&folder).ok();
        let _ = mount(&["-t", "tmpfs", "none"]);
        let shared = Self(folder.clone());
        let _ = mount(&["--make-shared"]);
        fs::create_dir(folder.join("below")).expect("mkdir");
        shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = tests::Invocation::new("umount").args(["--recursive"]).arg(&self.0).output();
    }
}

#[test]
fn a_source_that_was_opened_on_the_host_shares_no_mounts_with_it() {
    for propagation in [None, Some("rprivate"), Some("rshared")] {
        let seen = agree(|case| {
            let source = Shared::new(case);
            let mount = json!({ "type": "bind", "source": source.0, "options": ["rbind"] });
            let bundle = mounted(case, &mount, &["grep", " /mnt ", "/proc/self/mountinfo"]);
            bundle.user_namespace();
            fs::create_dir_all(bundle.rootfs().join("mnt")).expect("mkdir");
            if let Some(propagation) = propagation {
                bundle.edit(|config| config["linux"]["rootfsPropagation"] = json!(propagation));
            }
            let out = case.run(&bundle, &case.id()).output();
            (out.code, seen(&out.stdout))
        });
        assert_eq!(seen.0, 0, "{seen:?}");
        assert!(propagation.is_some() || !seen.1.contains("shared"), "{seen:?}");
    }
}

/// Owners of `/mnt/file` and of what is written beside it, within a container and on the host, when the mount is mapped so.
fn owners(mount: &Value, namespace: bool) -> Option<(String, u32)> {
    let case = Case::ours();
    let bundle = case.busybox();
    let folder = case.folder();
    fs::write(folder.join("file"), "").expect("write");
    std::os::unix::fs::chown(folder.join("file"), Some(1000), Some(1000)).expect("chown");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("chmod");
    let mut whole = json!({ "type": "bind", "source": folder, "destination": "/mnt" });
    whole.as_object_mut().expect("a map").extend(mount.as_object().expect("a map").clone());
    bundle.mount(whole);
    fs::create_dir(bundle.rootfs().join("mnt")).expect("mkdir");
    bundle.script("stat -c %u:%g /mnt/file; : >/mnt/new");
    if namespace {
        bundle.user_namespace();
    }
    let out = case.run(&bundle, &case.id()).output();
    if out.stderr.contains("ids cannot be mapped") {
        tests::announce_skip("the file system of the temporary folder has no id-mapped mounts");
        return None;
    }
    let out = out.success();
    let new = fs::metadata(folder.join("new")).expect("what was written");
    Some((out.stdout.trim().to_owned(), std::os::unix::fs::MetadataExt::uid(&new)))
}

#[test]
fn a_mount_shows_files_under_the_ids_that_it_maps() {
    let ids = |to: u32| json!([{ "containerID": 1000, "hostID": to, "size": 1 }, { "containerID": 0, "hostID": 0, "size": 1 }]);
    let own = json!({ "options": ["bind", "idmap"], "uidMappings": ids(7), "gidMappings": ids(8) });
    if let Some(seen) = owners(&own, false) {
        assert_eq!(seen, ("7:8".to_owned(), 0));
    }
    // Those of the container: its root is the host's, as far as this mount is concerned.
    if let Some(seen) = owners(&json!({ "options": ["rbind", "ridmap"] }), true) {
        assert_eq!(seen, ("1000:1000".to_owned(), 0));
    }
}

#[test]
fn an_id_mapped_mount_may_show_mounts_of_the_containers_own() {
    for user_namespace in [false, true] {
        // runc 1.1 maps none.
        let case = Case::ours();
        let bundle = case.busybox();
        let folder = case.folder();
        for (name, id) in [("first", 1), ("second", 2)] {
            let file = folder.join(name).join("file");
            fs::create_dir_all(folder.join(name).join("below")).expect("mkdir");
            fs::write(&file, "").expect("write");
            std::os::unix::fs::chown(&file, Some(id), Some(id)).expect("chown");
        }
        // Init makes these, one in the other, and then shows both by a third.
        fs::create_dir_all(bundle.rootfs().join("mnt")).expect("mkdir");
        fs::create_dir_all(bundle.rootfs().join("final")).expect("mkdir");
        bundle.bind(&folder.join("first"), "/mnt", &["rbind"]);
        bundle.bind(&folder.join("second"), "/mnt/below", &["rbind"]);
        let own = |mappings: Value| {
            json!({
                "type": "bind",
                "source": bundle.rootfs().join("mnt"),
                "destination": "/final",
                "options": ["rbind", "ridmap"],
                "uidMappings": mappings,
                "gidMappings": mappings,
            })
        };
        // In a user namespace ids are seen through its mappings, too.
        let base = if user_namespace { 100_000 } else { 0 };
        bundle.mount(own(json!([{ "containerID": 0, "hostID": base + 40, "size": 10 }])));
        bundle.script("stat -c %u:%g /mnt/file /mnt/below/file /final/file /final/below/file");
        if user_namespace {
            bundle.user_namespace();
        }
        let out = case.run(&bundle, &case.id()).output();
        if out.stderr.contains("ids cannot be mapped") {
            tests::skip!("the file system of the temporary folder has no id-mapped mounts");
        }
        let unmapped = if user_namespace { "65534:65534\n65534:65534" } else { "1:1\n2:2" };
        assert_eq!(out.success().stdout, format!("{unmapped}\n41:41\n42:42\n"));
        case.nothing_left();
    }
}

/// Says by which error number it cannot mount a procfs, in namespaces of its own.
const MOUNTS_PROC: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)) return 2;
    if (fork()) return wait(NULL) < 0;
    printf("%d\n", mount("none", "/mnt", "proc", 0, NULL) ? errno : 0);
    return 0;
}
"#;

#[test]
fn without_a_pivot_no_procfs_of_the_host_permits_another_one() {
    let case = Case::ours();
    let place = case.folder().join("a b");
    fs::create_dir(&place).expect("mkdir");
    // As long as the command lives, in its own mount namespace.
    let host = format!("mount -t proc none '{}' && exec \"$@\"", place.display());
    let bundle = case.busybox();
    if !tests::native::compile(MOUNTS_PROC, &bundle.rootfs().join("bin/mounts-proc")) {
        return;
    }
    bundle.args(["/bin/mounts-proc"]);
    fs::create_dir_all(bundle.rootfs().join("mnt")).expect("mkdir");
    let run = case.cmd(["run", "--no-pivot", "--bundle"]).arg(bundle.dir()).arg(case.id());
    let out = run.wrapped(["unshare", "--mount", "sh", "-c", &host, "sh"]).output();
    assert_eq!((out.code, out.stdout.as_str()), (0, "1\n"), "{out:?}");
    case.nothing_left();
}

#[test]
fn ids_that_cannot_be_mapped_are_refused() {
    let case = Case::ours();
    let folder = case.folder();
    for (mount, why) in [
        (json!({ "type": "tmpfs", "source": "tmpfs", "options": ["idmap"] }), "only a bind mount"),
        (
            json!({ "type": "bind", "source": folder, "options": ["bind", "idmap"] }),
            "neither it nor the container",
        ),
    ] {
        let bundle = mounted(&case, &mount, &["true"]);
        let out = case.run(&bundle, &case.id()).output();
        assert!(out.code == 1 && out.stderr.contains(why) && out.stderr.contains("/mnt"), "{out:?}");
        case.nothing_left();
    }
}

/// A bundle without a mount on `/dev`.
fn without_dev(case: &Case) -> Bundle {
    let bundle = case.busybox();
    bundle.without_dev();
    bundle
}

#[test]
fn dev_is_taken_as_it_is() {
    let seen = agree(|case| {
        let bundle = without_dev(case);
        let _ = fs::remove_dir_all(bundle.rootfs().join("dev"));
        bundle.script("ls /dev; echo x > /dev/null; ls -l /dev/fd | awk '{print $9, $10, $11}'");
        // What the first one has made is there for the second.
        let run = || case.run(&bundle, &case.id()).output().success().stdout;
        (run(), run())
    });
    assert_eq!(seen.0, seen.1);
    assert!(
        ["null", "zero", "urandom", "ptmx", "stdin", "fd"].iter().all(|name| seen.0.contains(name)),
        "{seen:?}"
    );
}

#[test]
fn devices_may_stand_anywhere() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script(
            "ls -l /null /folder/null /dev/slash | awk '{print $1, $3, $4, $5, $6, $NF}'; stat -c %a /folder",
        );
        bundle.edit(|config| {
            let device = |path: &str| json!({ "path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8 });
            config["linux"]["devices"] = json!([device("/null"), device("/folder/null"), device("/dev/slash/")]);
        });
        case.run(&bundle, &case.id()).output().success().stdout
    });
    assert_eq!(seen.matches("crw-r----- 7 8 1, 3 /").count(), 3, "{seen}");
    assert!(seen.ends_with("755\n"), "{seen}");
}

#[test]
fn a_mount_needs_no_source() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("awk '{print $5}' /proc/self/mountinfo | sort -u");
        bundle.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            for mount in mounts.iter_mut().filter(|mount| mount["type"] != "bind") {
                mount.as_object_mut().expect("a mount").remove("source");
            }
        });
        case.run(&bundle, &case.id()).output().success().stdout
    });
    assert!(["/proc\n", "/dev\n", "/dev/shm\n"].iter().all(|place| seen.contains(place)), "{seen}");
}

#[test]
fn a_relative_source_is_the_bundles() {
    let seen = agree(|case| {
        let bundle = mounted(
            case,
            &json!({ "type": "bind", "source": "given", "options": ["rbind"] }),
            &["cat", "/mnt/file"],
        );
        fs::create_dir(bundle.dir().join("given")).expect("mkdir");
        fs::write(bundle.dir().join("given/file"), "the bundle's").expect("a file");
        case.run(&bundle, &case.id()).output().success().stdout
    });
    assert_eq!(seen, "the bundle's");
}

#[test]
fn a_bind_needs_a_source() {
    // runc shows the bundle's own folder.
    for (mount, why) in [
        (json!({ "type": "bind", "options": ["bind"] }), "no source"),
        (json!({ "type": "bind", "source": "", "options": ["bind"] }), "No such file"),
    ] {
        let case = Case::ours();
        let bundle = mounted(&case, &mount, &["true"]);
        let out = case.run(&bundle, &case.id()).output();
        assert!(out.code == 1 && out.stderr.contains("/mnt") && out.stderr.contains(why), "{out:?}");
        case.nothing_left();
    }
}

#[test]
fn a_dev_that_leads_out_of_the_root() {
    // runc 1.1 follows it.
    let case = Case::ours();
    let bundle = without_dev(&case);
    let outside = case.folder();
    let dev = bundle.rootfs().join("dev");
    let _ = fs::remove_dir_all(&dev);
    symlink(&outside, &dev).expect("a link");
    bundle.args(["/bin/true"]);
    let _ = case.run(&bundle, &case.id()).output();
    assert_eq!(fs::read_dir(&outside).expect("a folder of the host").count(), 0);
}

#[test]
fn a_bound_dev_is_not_changed() {
    let names = agree(|case| {
        let bundle = without_dev(case);
        let dev = case.folder();
        fs::write(dev.join("ptmx"), "mine").expect("write");
        // Masked paths and standard input need it.
        let null = rustix::fs::makedev(1, 3);
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let made = rustix::fs::mknodat(CWD, dev.join("null"), FileType::CharacterDevice, mode, null);
        made.expect("mknod");
        bundle.script("ls /dev");
        bundle.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.push(json!({"destination": "/dev/", "type": "bind", "source": dev, "options": ["rbind"]}));
        });
        let out = case.run(&bundle, &case.id()).output();
        let count = fs::read_dir(&dev).expect("a folder").count();
        (out.code, out.stdout, fs::read_to_string(dev.join("ptmx")).expect("still there"), count)
    });
    assert_eq!(names, (0, "null\nptmx\n".to_owned(), "mine".to_owned(), 2));
}

#[test]
fn dev_and_cgroups_are_read_only_where_they_are_to_be() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("grep -E '^(tmpfs /dev|cgroup.* /sys/fs/cgroup.*) ' /proc/mounts | awk '{print $2, substr($4, 1, 3), ($4 ~ /nosuid/) ($4 ~ /nodev/) ($4 ~ /noexec/)}' | sort; touch /dev/x 2>/dev/null || echo no");
        bundle.edit(|config| {
            for mount in config["mounts"].as_array_mut().expect("mounts") {
                if mount["destination"] == "/dev" || mount["destination"] == "/sys/fs/cgroup" {
                    mount["options"].as_array_mut().expect("options").push(json!("ro"));
                }
            }
        });
        case.run(&bundle, &case.id()).output().success().stdout
    });
    let mut lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.pop(), Some("no"));
    assert!(lines.len() >= 2 && lines.iter().all(|line| line.contains(" ro, 1")), "{seen}");
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers() {
    let modes = |case: &Case, said: &str| {
        let bundle = case.busybox();
        bundle.script("stat -c '%n %a' /covered /said /new");
        for (point, options) in [("/covered", json!([])), ("/said", json!([said])), ("/new", json!([]))] {
            bundle.mount(
                json!({ "destination": point, "type": "tmpfs", "source": "tmpfs", "options": options }),
            );
        }
        for folder in ["covered", "said"] {
            let folder = bundle.rootfs().join(folder);
            fs::create_dir(&folder).expect("mkdir");
            fs::set_permissions(folder, fs::Permissions::from_mode(0o710)).expect("chmod");
        }
        case.run(&bundle, &case.id()).ok()
    };
    assert_eq!(agree(|case| modes(case, "mode=0710")), "/covered 710\n/said 710\n/new 1777\n");
    let case = Case::ours();
    if case.runtime().is_ours() {
        // Not heard by runc before 1.3.
        assert_eq!(modes(&case, "mode=1500"), "/covered 710\n/said 1500\n/new 1777\n");
    }
}

#[test]
fn the_place_of_a_mount_is_made_inside_the_root() {
    let places = agree(|case| {
        let bundle = case.busybox();
        let rootfs = bundle.rootfs();
        fs::create_dir_all(rootfs.join("there/within")).expect("mkdir");
        symlink("there", rootfs.join("relative")).expect("symlink");
        symlink("/there", rootfs.join("absolute")).expect("symlink");
        symlink("../../../../../../../../rr-outside", rootfs.join("leaving")).expect("symlink");
        fs::write(rootfs.join("file"), "").expect("write");
        let places = [
            "/there",
            "/missing",
            "/several/of/them/are/missing",
            "/there/missing/",
            "/relative/within",
            "/absolute/new",
            "/leaving/new",
        ];
        for place in places {
            bundle.mount(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" }));
        }
        bundle.args(["/bin/cut", "-d", " ", "-f", "5", "/proc/self/mountinfo"]);
        let mut mounted: Vec<_> = case.run(&bundle, &case.id()).ok().lines().map(str::to_owned).collect();
        mounted.retain(|place| !["/dev", "/proc", "/sys"].iter().any(|usual| place.starts_with(usual)));
        assert!(!fs::exists("/rr-outside").expect("stat"), "made outside");
        // Nothing is mounted where something else stands.
        bundle.mount(json!({ "destination": "/file/below", "type": "tmpfs", "source": "tmpfs" }));
        assert_ne!(case.run(&bundle, &case.id()).output().code, 0);
        mounted
    });
    assert!(places.contains(&"/several/of/them/are/missing".to_owned()), "{places:?}");
}

#[test]
fn mount_points_and_sources_may_be_said_as_they_are_on_the_host() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc does since 1.2");
    }
    let bundle = case.busybox();
    let (rootfs, folder) = (bundle.rootfs(), case.folder());
    fs::write(folder.join("file"), "bound").expect("write");
    bundle.bind(&folder, "/data", &["bind"]);
    // What the container has mounted itself.
    bundle.bind(&rootfs.join("data"), rootfs.join("again").to_str().expect("UTF-8"), &["rbind"]);
    bundle.args(["/bin/cat", "/again/file"]);
    assert_eq!(case.run(&bundle, &case.id()).ok(), "bound");
}

#[test]
fn namespaces_of_other_owners_are_joined() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc does since 1.2");
    }
    let bundle = case.busybox();
    bundle.user_namespace().script("readlink /proc/self/ns/net");
    // Owned by the host's user namespace: a sysfs of it cannot be mounted.
    let holder = Invocation::new("unshare").args(["--net", "sleep", "600"]).spawn();
    let path = format!("/proc/{}/ns/net", holder.pid());
    let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
    tests::command::eventually("the namespace is there", || {
        fs::read_link(&path).is_ok_and(|found| found != own)
    });
    let joined = fs::read_link(&path).expect("a namespace");
    bundle.edit(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
            // An empty path is none.
            namespace["path"] = json!(if namespace["type"] == "network" { path.as_str() } else { "" });
        }
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .retain(|mount| !mount["destination"].as_str().is_some_and(|point| point.starts_with("/sys")));
    });
    let output = case.run(&bundle, &case.id()).output().success();
    assert_eq!(output.stdout.trim(), joined.to_str().expect("UTF-8"));
    holder.signal(rustix::process::Signal::KILL);
    let _ = holder.wait();
}

#[test]
fn masked_folders_share_a_file_system() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc's do since 1.3.4");
    }
    let bundle = case.busybox();
    let folders = ["/one", "/two", "/three"];
    for folder in folders {
        fs::create_dir(bundle.rootfs().join(&folder[1..])).expect("mkdir");
    }
    bundle.edit(|config| config["linux"]["maskedPaths"] = json!(folders));
    bundle.script("stat -c %d /one /two /three; touch /three/x 2>/dev/null; echo $?; ls /three");
    let out = case.run(&bundle, &case.id()).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() == 4 && lines[0] == lines[1] && lines[1] == lines[2] && lines[3] == "1", "{out}");
}
