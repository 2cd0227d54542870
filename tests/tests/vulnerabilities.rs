//! Holes that other runtimes had, tried on this one: `docs/vulnerabilities.md` has the list, and names the test of each. What runc has mended in the
//! version of this machine is tried on both.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};
use serde_json::json;
use tests::console::ConsoleSocket;
use tests::{Bundle, Case, agree, native};

/// The page, by its rows.
const PAGE: &str = include_str!("../../docs/vulnerabilities.md");

#[test]
fn each_test_that_the_page_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut named = 0;
    for row in PAGE.lines().filter(|line| line.starts_with("| CVE-")) {
        let last = row.trim_end_matches(" |").rsplit("| ").next().expect("a cell");
        let tests: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty() || last.starts_with("none:"), "a row without a test says why: {row}");
        for test in tests {
            let (file, name) = test.split_once("::").expect("file::test");
            let text = fs::read_to_string(folder.join(format!("{file}.rs"))).expect("a file of tests");
            assert!(text.contains(&format!("fn {name}()")), "{test} is not there");
            named += 1;
        }
    }
    assert!(named > 20, "the page has lost its table: {named}");
}

#[test]
fn a_working_directory_in_the_runtimes_descriptors() {
    let case = Case::ours();
    let sleeping = case.busybox();
    sleeping.args(["/bin/sleep", "600"]);
    let id = case.id();
    case.start(&sleeping, &id);
    for fd in 3..24 {
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/../..")] {
            let bundle = case.busybox();
            bundle.script("ls -a; pwd").edit(|config| config["process"]["cwd"] = json!(cwd));
            let out = case.run(&bundle, &case.id()).output();
            assert_ne!(out.code, 0, "run in {cwd}: {}", out.stdout);
            let out = case.cmd(["exec", "--cwd", &cwd, &id, "/bin/ls", "-a"]).output();
            assert_ne!(out.code, 0, "exec in {cwd}: {}", out.stdout);
        }
    }
    // A link in the image is no better.
    let bundle = case.busybox();
    symlink("/proc/self/fd", bundle.rootfs().join("fds")).expect("a link");
    for fd in 3..24 {
        bundle.args(["/bin/pwd"]).edit(|config| config["process"]["cwd"] = json!(format!("/fds/{fd}")));
        assert_ne!(case.run(&bundle, &case.id()).output().code, 0, "in /fds/{fd}");
    }
    case.force_delete(&id);
    case.nothing_left();
}

/// Runs a bundle that must not run, under both runtimes.
fn refused(spoil: impl Fn(&Case, &Bundle)) {
    let code = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        spoil(case, &bundle);
        let code = case.run(&bundle, &case.id()).output().code;
        case.nothing_left();
        code != 0
    });
    assert!(code, "it ran");
}

#[test]
fn a_procfs_that_is_none() {
    // /proc is a link in the image.
    let link = |bundle: &Bundle| {
        let _ = fs::remove_dir(bundle.rootfs().join("proc"));
        fs::create_dir(bundle.rootfs().join("elsewhere")).expect("mkdir");
        symlink("/elsewhere", bundle.rootfs().join("proc")).expect("a link");
    };
    refused(|_, bundle| link(bundle));
    let case = Case::ours();
    let bundle = case.busybox();
    link(&bundle);
    let out = case.run(&bundle, &case.id()).output();
    assert!(out.stderr.contains("must be mounted on ordinary directory"), "{}", out.stderr);
    // Something else is mounted there, or below it, where labels and limits are written.
    for place in ["/proc", "/proc/self/attr", "/proc/sys/net", "/proc/1"] {
        refused(|case, bundle| {
            bundle.bind(&case.folder(), place, &["rw"]);
        });
    }
    // runc 1.1 lets a tmpfs pass.
    for place in ["/proc", "/proc/self/attr", "/link/sys"] {
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        symlink("/proc", bundle.rootfs().join("link")).expect("a link");
        bundle.mount(json!({ "type": "tmpfs", "source": "tmpfs", "destination": place }));
        let out = case.run(&bundle, &case.id()).output();
        assert!(out.code != 0 && out.stderr.contains("cannot be mounted"), "{place}: {out:?}");
        case.nothing_left();
    }
    // What is bound is no procfs, whatever its type says.
    for (place, words) in [("/proc", "not of type proc"), ("/proc/sys", "not a valid mount under /proc")] {
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        bundle.mount(
            json!({ "type": "proc", "source": case.folder(), "destination": place, "options": ["rbind"] }),
        );
        let out = case.run(&bundle, &case.id()).output();
        assert!(out.code != 0 && out.stderr.contains(words), "{place}: {out:?}");
    }
    // What lxcfs covers may be.
    let bundle = case.busybox();
    bundle.file("uptime", "lxcfs's own\n").args(["/bin/cat", "/proc/uptime"]);
    bundle.bind(&bundle.rootfs().join("uptime"), "/proc/uptime", &["ro"]);
    assert_eq!(case.run(&bundle, &case.id()).ok(), "lxcfs's own\n");
}

/// Exchanges two names until it is dropped.
struct Swapper<'a> {
    stop: &'a AtomicBool,
}

impl Drop for Swapper<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_mount_point_that_becomes_a_link_meanwhile() {
    let case = Case::ours();
    let outside = case.folder();
    // Absolute, and by enough steps up: to a folder of the host's, if anything followed it there.
    let up = format!("{}{}", "../".repeat(32), outside.display());
    let stop = AtomicBool::new(false);
    for target in [outside.display().to_string(), up] {
        let volume = case.folder();
        fs::create_dir(volume.join("place")).expect("mkdir");
        symlink(&target, volume.join("link")).expect("a link");
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let swapper = Swapper { stop: &stop };
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (a, b) = (volume.join("place"), volume.join("link"));
                    let _ = rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
                }
            });
            for round in 0..40 {
                let bundle = case.busybox();
                bundle.bind(&volume, "/volume", &["rw"]);
                let kind = if round % 2 == 0 { "tmpfs" } else { "bind" };
                let source =
                    if kind == "bind" { case.dir().display().to_string() } else { "tmpfs".to_owned() };
                let options = if kind == "bind" { json!(["bind"]) } else { json!([]) };
                let place = json!({ "type": kind, "source": source, "destination": "/volume/place/new", "options": options });
                bundle.mount(place);
                bundle.args(["/bin/true"]);
                // Whether it works depends on who comes first.
                let _ = case.run(&bundle, &case.id()).output();
                let made = fs::read_dir(&outside).expect("a folder").count();
                assert_eq!(made, 0, "round {round}: something was made outside of the container");
            }
            drop(swapper);
        });
    }
    case.nothing_left();
}

/// Looks at every process of its pid namespace that it has not seen, as fast as it can, and says which descriptors and programs of theirs it
/// could open; for some seconds, or until `/stop` is there.
const WATCHER: &str = r#"
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>
int main(void) {
    puts("ready");
    fflush(stdout);
    int self = getpid();
    long seen = 0;
    while (access("/stop", F_OK)) {
        DIR *all = opendir("/proc");
        for (struct dirent *e; (e = readdir(all));) {
            int pid = atoi(e->d_name);
            if (pid <= 1 || pid == self) continue;
            seen++;
            char path[64], link[4096];
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            ssize_t n = readlink(path, link, sizeof link - 1);
            if (n > 0) {
                link[n] = 0;
                if (strcmp(link, "/bin/busybox")) printf("exe %s\n", link);
            }
            snprintf(path, sizeof path, "/proc/%d/fd", pid);
            DIR *fds = opendir(path);
            for (struct dirent *f; fds && (f = readdir(fds));) {
                char fd[400];
                snprintf(fd, sizeof fd, "%s/%s", path, f->d_name);
                n = readlink(fd, link, sizeof link - 1);
                if (n <= 0 || atoi(f->d_name) < 3) continue;
                link[n] = 0;
                if (link[0] == '/' || !strncmp(link, "net:", 4) || strchr(link, '[')) printf("fd %s\n", link);
            }
            if (fds) closedir(fds);
            snprintf(path, sizeof path, "/proc/%d/mem", pid);
            int mem = open(path, O_RDWR);
            if (mem >= 0) {
                snprintf(path, sizeof path, "/proc/%d/exe", pid);
                n = readlink(path, link, sizeof link - 1);
                // One that has ended has neither memory nor program.
                if (n > 0) {
                    link[n] = 0;
                    if (strcmp(link, "/bin/busybox")) printf("mem of %s\n", link);
                }
                close(mem);
            }
            fflush(stdout);
        }
        closedir(all);
    }
    printf("seen %ld\n", seen);
    return 0;
}
"#;

#[test]
fn a_process_that_enters_is_nobodys_to_look_into() {
    let case = Case::ours();
    let bundle = case.busybox();
    if !native::compile(WATCHER, &bundle.rootfs().join("bin/watcher")) {
        return;
    }
    bundle.args(["/bin/watcher"]);
    let id = case.id();
    let mut running = case.run(&bundle, &id).spawn();
    running.expect_stdout("ready");
    for _ in 0..60 {
        let _ = case.cmd(["exec", &id, "/bin/true"]).output().success();
    }
    fs::write(bundle.rootfs().join("stop"), "").expect("write");
    let out = running.wait().success();
    let (seen, found): (Vec<_>, Vec<_>) =
        out.stdout.lines().skip(1).partition(|line| line.starts_with("seen "));
    let count: u64 = seen.first().and_then(|line| line[5..].parse().ok()).expect("how many it has seen");
    assert!(count > 0, "no process was ever seen: the test shows nothing");
    assert!(found.is_empty(), "of processes that entered: {found:?}");
}

#[test]
fn a_user_is_a_number_whatever_the_image_says() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.file("etc/passwd", "1000:x:0:0:root:/:/bin/sh\nroot:x:0:0:root:/:/bin/sh\n");
        bundle.args(["/bin/sleep", "600"]);
        let id = case.id();
        case.start(&bundle, &id);
        let user = |user: &str| {
            let out = case.cmd(["exec", "--user", user, &id, "/bin/id", "-u"]).output();
            (out.code, out.stdout)
        };
        let seen = ["1000", "root", "1000:1000"].map(user);
        case.force_delete(&id);
        seen
    });
    assert_eq!(seen, [(0, "1000\n".to_owned()), (255, String::new()), (0, "1000\n".to_owned())]);
}

#[test]
fn what_masks_a_path_is_the_kernels_null() {
    let case = Case::ours();
    let bundle = case.busybox();
    let dev = case.folder();
    symlink("/etc/other", dev.join("null")).expect("a link");
    bundle.file("etc/secret", "a secret\n").file("etc/other", "not null\n");
    bundle.without_dev().edit(|config| config["linux"]["maskedPaths"] = json!(["/etc/secret"]));
    bundle.bind(&dev, "/dev", &["rw"]).args(["/bin/cat", "/etc/secret"]);
    let out = case.run(&bundle, &case.id()).output();
    assert!(out.code != 0 && out.stdout.is_empty(), "{out:?}");
    case.nothing_left();
}

#[test]
fn a_console_that_is_a_link() {
    let case = Case::ours();
    let bundle = case.busybox();
    let dev = case.folder();
    symlink("/etc/victim", dev.join("console")).expect("a link");
    bundle.file("etc/victim", "as it was\n");
    bundle.without_dev().edit(|config| config["process"]["terminal"] = json!(true));
    bundle.bind(&dev, "/dev", &["rw"]);
    bundle.mount(json!({ "type": "devpts", "source": "devpts", "destination": "/dev/pts", "options": ["newinstance", "ptmxmode=0666"] }));
    fs::create_dir(dev.join("pts")).expect("mkdir");
    bundle.script("cat /etc/victim; grep -c /etc/victim /proc/self/mountinfo; echo end");
    let socket = ConsoleSocket::bind(case.dir());
    let id = case.id();
    let out = case
        .cmd(["create", "--console-socket"])
        .arg(socket.path())
        .arg("--bundle")
        .arg(bundle.dir())
        .arg(&id)
        .output();
    if out.code == 0 {
        let terminal = socket.receive();
        case.cmd(["start", &id]).ok();
        terminal.expect("end");
        assert!(
            terminal.seen().contains("as it was") && terminal.seen().contains("\n0"),
            "{}",
            terminal.seen()
        );
        case.await_stopped(&id);
        case.delete(&id);
    }
    drop(socket);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/victim")).expect("the file"), "as it was\n");
    case.nothing_left();
}

#[test]
fn words_that_are_longer_than_any_message() {
    for length in [5_000, 70_000] {
        refused(|_, bundle| {
            bundle.edit(|config| {
                let path = format!("/proc/self/ns/{}", "x".repeat(length));
                config["linux"]["namespaces"]
                    .as_array_mut()
                    .expect("a list")
                    .retain(|n| n["type"] != "network");
                config["linux"]["namespaces"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!({ "type": "network", "path": path }));
            });
        });
        refused(|_, bundle| {
            let source = format!("/{}", "y".repeat(length));
            bundle
                .mount(json!({ "type": "bind", "source": source, "destination": "/y", "options": ["bind"] }));
        });
    }
}
