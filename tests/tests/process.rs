//! What a container's processes are given: user, capabilities, seccomp, limits, descriptors, environment,
//! mounts, terminal. Each is read from inside (or from `/proc` of the host), under the runtime under test and
//! under runc, and has to be the same.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use serde_json::json;
use tests::command::eventually;
use tests::console::{ConsoleSocket, Terminal};
use tests::{Bundle, Case, Invocation, agree, native, proc, skip};

/// Prints what a process is, one fact a line.
const FACTS: &str = "
    grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Umask):' /proc/self/status
    tail -n +2 /proc/self/limits 2>/dev/null || sed 1d /proc/self/limits
    echo cwd $(pwd); echo oom $(cat /proc/self/oom_score_adj); echo fds $(ls /proc/self/fd); env | sort";

/// Runs the facts in a bundle that was changed by `change`.
fn facts(change: impl Fn(&Bundle)) -> String {
    let text = agree(|case| {
        let bundle = case.busybox();
        bundle.script(FACTS);
        change(&bundle);
        let out = case.run(&bundle, &case.id()).output().success();
        // Pending signals are a limit of the user on the whole host.
        out.stdout.lines().filter(|line| !line.starts_with("Max pending")).collect::<Vec<_>>().join("\n")
    });
    assert!(text.contains("CapEff"), "{text}");
    text
}

fn fact(text: &str, key: &str) -> String {
    proc::parse_status(text).remove(key).unwrap_or_else(|| panic!("no {key} in {text}"))
}

#[test]
fn roots_capabilities_are_the_specs() {
    let text = facts(|_| {});
    assert_eq!(fact(&text, "CapEff"), "0000000020000420");
    assert_eq!(fact(&text, "CapBnd"), "0000000020000420");
    assert_eq!(fact(&text, "CapInh"), "0000000000000000");
    assert_eq!(fact(&text, "NoNewPrivs"), "1");
}

#[test]
fn without_capabilities_in_the_spec_there_are_none() {
    let text = facts(|bundle| {
        bundle.edit(|config| {
            drop(config["process"].as_object_mut().expect("an object").remove("capabilities"))
        });
    });
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(fact(&text, set), "0000000000000000", "{set}");
    }
}

#[test]
fn empty_sets_are_empty() {
    let text = facts(|bundle| {
        bundle.edit(|config| config["process"]["capabilities"] = json!({}));
    });
    assert_eq!(fact(&text, "CapBnd"), "0000000000000000");
}

#[test]
fn another_user_has_its_groups_and_no_effective_capabilities() {
    let text = facts(|bundle| {
        bundle.edit(|config| {
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [20, 7, 44] });
        });
    });
    assert_eq!(fact(&text, "Uid"), "1000 1000 1000 1000");
    assert_eq!(fact(&text, "Gid"), "1001 1001 1001 1001");
    assert_eq!(fact(&text, "Groups"), "7 20 44");
    assert_eq!(fact(&text, "CapEff"), "0000000000000000");
}

#[test]
fn ambient_capabilities_reach_another_user() {
    let text = facts(|bundle| {
        bundle.edit(|config| {
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            let set = json!(["CAP_NET_BIND_SERVICE"]);
            config["process"]["capabilities"] = json!({
                "bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set,
            });
        });
    });
    assert_eq!(fact(&text, "CapEff"), "0000000000000400");
    assert_eq!(fact(&text, "CapAmb"), "0000000000000400");
}

#[test]
fn groups_of_the_caller_do_not_leak() {
    if tests::runtime::program("setpriv").is_none() {
        tests::skip!("setpriv (util-linux) is not installed");
    }
    let groups = agree(|case| {
        let bundle = case.busybox();
        bundle.script("grep ^Groups: /proc/self/status");
        case.run(&bundle, &case.id()).wrapped(["setpriv", "--groups", "4,24,27"]).ok()
    });
    assert_eq!(groups.trim(), "Groups:");
}

#[test]
fn the_umask_is_the_specs() {
    assert_eq!(fact(&facts(|_| {}), "Umask"), "0022");
    let text = facts(|bundle| {
        bundle.edit(|config| config["process"]["user"]["umask"] = json!(0o27));
    });
    assert_eq!(fact(&text, "Umask"), "0027");
}

#[test]
fn new_privileges_are_the_specs() {
    let text = facts(|bundle| {
        bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    });
    assert_eq!(fact(&text, "NoNewPrivs"), "0");
}

/// Allows all but creating directories.
fn no_mkdir(bundle: &Bundle) {
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
        });
    });
}

#[test]
fn seccomp_holds_with_and_without_new_privileges() {
    for no_new_privileges in [true, false] {
        let seen = agree(|case| {
            let bundle = case.busybox();
            bundle.script("grep ^Seccomp: /proc/self/status; mkdir /tmp/x 2>&1");
            no_mkdir(&bundle);
            bundle.edit(|config| {
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                // A filter without no_new_privs takes CAP_SYS_ADMIN, which the runtime has.
            });
            let out = case.run(&bundle, &case.id()).output();
            (out.code, out.stdout)
        });
        assert_eq!(seen.0, 1, "{seen:?}");
        assert!(seen.1.starts_with("Seccomp:\t2"), "{seen:?}");
        assert!(seen.1.contains("not supported"), "EOPNOTSUPP was asked for: {seen:?}");
    }
}

/// Makes calls, each given by its number and arguments, and says their errnos.
const CALLS: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        long a[4] = {-1, -1, -1, -1};
        char *next = argv[i];
        for (int n = 0; n < 4 && *next; n++) a[n] = strtol(next + (*next == ','), &next, 0);
        errno = 0;
        syscall(a[0], a[1], a[2], a[3], -1, -1, -1);
        printf("%s: %d\n", argv[i], errno);
    }
    return 0;
}
"#;

#[test]
fn calls_that_a_profile_does_not_know_are_missing() {
    const PERM: i32 = 1;
    const NOSYS: i32 = 38;
    for (default, given, expected) in [
        ("SCMP_ACT_ERRNO", json!(null), [PERM, NOSYS]),
        ("SCMP_ACT_ERRNO", json!(95), [95, NOSYS]),
        ("SCMP_ACT_ERRNO", json!(NOSYS), [NOSYS, NOSYS]),
        // The kernel's own answers.
        ("SCMP_ACT_ALLOW", json!(null), [22, NOSYS]),
    ] {
        let seen = agree(|case| {
            let bundle = case.busybox();
            if !native::compile(CALLS, &bundle.rootfs().join("bin/calls")) {
                return None;
            }
            // unshare(2), which is not named here, and what no kernel has.
            bundle.args(["/bin/calls", "272", "100000"]);
            bundle.edit(|config| {
                config["linux"]["seccomp"] = json!({
                    "defaultAction": default,
                    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                    "syscalls": [{ "action": if default == "SCMP_ACT_ALLOW" { "SCMP_ACT_ERRNO" } else { "SCMP_ACT_ALLOW" },
                        "names": if default == "SCMP_ACT_ALLOW" { vec!["mkdir"] } else { PLAIN.to_vec() } }],
                });
                if given != json!(null) {
                    config["linux"]["seccomp"]["defaultErrnoRet"] = given.clone();
                }
            });
            let out = case.run(&bundle, &case.id()).output();
            Some((out.code, out.stdout))
        });
        if let Some((code, said)) = seen {
            assert_eq!(code, 0, "{said}");
            let text = format!("272: {}\n100000: {}\n", expected[0], expected[1]);
            assert_eq!(said, text, "{default} {given}");
        }
    }
}

#[test]
fn arguments_are_compared_behind_a_mask() {
    // socket(2): its second argument without flags, or with SOCK_CLOEXEC.
    const CALLS_OF_SOCKET: [&str; 3] = ["41,1,1,0", "41,1,0x80001,0", "41,1,0x801,0"];
    let masked = |mask: u64, value: u64| json!([{ "index": 1, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }]);
    let rule = |action: &str, args: serde_json::Value| json!({ "action": action, "names": ["socket"], "args": args });
    for (default, rule, expected) in [
        // Only without SOCK_NONBLOCK (0x800).
        ("SCMP_ACT_ERRNO", rule("SCMP_ACT_ALLOW", masked(0x800, 0)), [0, 0, 1]),
        // Not with SOCK_CLOEXEC (0x80000).
        ("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", masked(0x80000, 0x80000)), [0, 1, 0]),
    ] {
        let seen = agree(|case| {
            let bundle = case.busybox();
            if !native::compile(CALLS, &bundle.rootfs().join("bin/calls")) {
                return None;
            }
            bundle.args([&["/bin/calls"], &CALLS_OF_SOCKET[..]].concat());
            bundle.edit(|config| {
                let mut rules = vec![rule.clone()];
                if default == "SCMP_ACT_ERRNO" {
                    rules.push(json!({ "action": "SCMP_ACT_ALLOW", "names": &PLAIN[..] }));
                }
                let architectures = json!(["SCMP_ARCH_X86_64"]);
                config["linux"]["seccomp"] =
                    json!({ "defaultAction": default, "architectures": architectures, "syscalls": rules });
            });
            let out = case.run(&bundle, &case.id()).output();
            Some((out.code, out.stdout))
        });
        if let Some((code, said)) = seen {
            assert_eq!(code, 0, "{said}");
            let errnos: Vec<i32> = said
                .lines()
                .map(|line| line.rsplit(' ').next().expect("a word").parse().expect("a number"))
                .collect();
            assert_eq!(errnos, expected, "{default}");
        }
    }
}

/// What a static program and the runtimes need between the filter and the program's end.
const PLAIN: [&str; 51] = [
    "accept4",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clock_gettime",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "epoll_ctl",
    "epoll_pwait",
    "execve",
    "exit",
    "exit_group",
    "fchdir",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "ioctl",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "recvfrom",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sendmsg",
    "set_robust_list",
    "set_tid_address",
    "write",
];

#[test]
fn resource_limits_are_the_specs() {
    let text = facts(|bundle| {
        bundle.edit(|config| {
            config["process"]["rlimits"] = json!([
                { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
                { "type": "RLIMIT_NPROC", "soft": 300, "hard": 400 },
                { "type": "RLIMIT_AS", "soft": 1_073_741_824, "hard": 1_073_741_824 },
            ]);
        });
    });
    let limits = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(limits.contains("Max open files 100 200 files"), "{text}");
    assert!(limits.contains("Max core file size 0 0 bytes"), "{text}");
    assert!(limits.contains("Max processes 300 400 processes"), "{text}");
}

#[test]
fn the_oom_score_is_the_specs() {
    let text = facts(|bundle| {
        bundle.edit(|config| config["process"]["oomScoreAdj"] = json!(321));
    });
    assert!(text.contains("oom 321"), "{text}");
}

#[test]
fn the_environment_is_the_specs_and_a_home() {
    let text = facts(|bundle| {
        bundle.env("A=1").env("B=with = and spaces").env("A=2").env("EMPTY=");
        bundle.file("/etc/passwd", "root:x:0:0:root:/roots-home:/bin/sh\n");
    });
    assert!(text.contains("A=2") && text.contains("B=with = and spaces"), "{text}");
    assert!(text.contains("HOME=/roots-home"), "{text}");
    assert!(!text.contains("RR_TEST_CASE"), "the caller's environment leaked: {text}");
}

#[test]
fn a_missing_working_directory_is_made() {
    let text = facts(|bundle| {
        bundle.edit(|config| config["process"]["cwd"] = json!("/made/for/this"));
    });
    assert!(text.contains("cwd /made/for/this"), "{text}");
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("pwd; stat -c '%u %a' .").edit(|config| {
            config["process"]["cwd"] = json!("/made");
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        });
        let out = case.run(&bundle, &case.id()).output();
        (out.code, out.stdout)
    });
    assert_eq!(seen.0, 0, "{seen:?}");
}

#[test]
fn a_relative_working_directory_is_refused() {
    let code = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| config["process"]["cwd"] = json!("tmp"));
        case.run(&bundle, &case.id()).output().code
    });
    assert_eq!(code, 1);
}

/// Opens descriptors from 3 on before it runs the runtime.
fn with_descriptors(invocation: Invocation, count: u32) -> Invocation {
    let opens: Vec<_> = (3..3 + count).map(|fd| format!("{fd}</etc/hostname")).collect();
    invocation.wrapped(["sh", "-c", &format!("exec {}; exec \"$@\"", opens.join(" ")), "sh"])
}

#[test]
fn descriptors_of_the_caller_do_not_leak() {
    let fds = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/ls", "/proc/self/fd"]);
        with_descriptors(case.run(&bundle, &case.id()), 5).ok()
    });
    // 3 is the folder that `ls` reads.
    assert_eq!(fds, "0\n1\n2\n3\n");
}

#[test]
fn descriptors_are_preserved_when_asked() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("ls /proc/1/fd; cat <&4");
        let run = case.cmd(["run", "--preserve-fds", "2", "--bundle"]).arg(bundle.dir()).arg(case.id());
        with_descriptors(run, 4).ok()
    });
    let host = fs::read_to_string("/etc/hostname").expect("a host name");
    assert_eq!(seen, format!("0\n1\n2\n3\n4\n{host}"));
}

#[test]
fn too_few_descriptors_to_preserve_are_an_error() {
    let code = agree(|case| {
        let bundle = case.busybox();
        let run = case.cmd(["run", "--preserve-fds", "100", "--bundle"]).arg(bundle.dir()).arg(case.id());
        with_descriptors(run, 1).output().code
    });
    assert_eq!(code, 1);
}

#[test]
fn listening_sockets_are_passed_on() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
        // The protocol of systemd: the variables hold for the process of that pid only.
        let exec = "exec 3</etc/hostname; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        case.run(&bundle, &case.id()).wrapped(["sh", "-c", exec, "sh"]).ok()
    });
    let host = fs::read_to_string("/etc/hostname").expect("a host name");
    assert_eq!(seen, format!("1 1\n{host}"));
}

/// Tells systemd that the service is ready.
const NOTIFY: &str = r#"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    char *path = getenv("NOTIFY_SOCKET");
    if (!path) return 2;
    puts(path);
    fflush(stdout);
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (sendto(fd, "READY=1", 7, 0, (void *)&to, sizeof to) != 7) return 3;
    sleep(2);
    return 0;
}
"#;

#[test]
fn a_notify_socket_is_relayed() {
    let seen = agree(|case| {
        let path = case.dir().join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("setsockopt");
        let bundle = case.busybox();
        if !native::compile(NOTIFY, &bundle.rootfs().join("bin/notify")) {
            return None;
        }
        bundle.args(["/bin/notify"]);
        let run = case.run(&bundle, &case.id()).env("NOTIFY_SOCKET", &path).spawn();
        let mut message = [0; 512];
        let n = socket.recv(&mut message).expect("a message comes through");
        let out = run.wait();
        Some((out.code, out.stdout, String::from_utf8_lossy(&message[..n]).into_owned()))
    });
    let Some((code, path, message)) = seen else { return };
    assert_eq!((code, path.as_str()), (0, "/run/notify/notify.sock\n"));
    assert!(message.contains("READY=1"), "{message}");
}

#[test]
fn mounts_are_the_specs() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        let (plain, read_only) = (case.folder(), case.folder());
        fs::write(plain.join("f"), "x").expect("write");
        bundle.bind(&plain, "/plain", &["rw"]).bind(&read_only, "/read only", &["ro", "nosuid"]);
        bundle.bind(&plain.join("f"), "/file", &["ro"]);
        bundle.mount(json!({
            "type": "tmpfs", "source": "tmpfs", "destination": "/deep/er",
            "options": ["size=64k", "mode=1770", "noexec"],
        }));
        // Mount point, file system, options, and those of the super block that the spec sets.
        bundle.script(
            "while read -r id parent dev root at opts rest; do
                 echo \"$at $opts ${rest##*- }\" | sed 's, /dev/[^ ]*,,; s,inode64,,; /sysfs/s/ r[ow]$//'
             done </proc/self/mountinfo",
        );
        let text = case.run(&bundle, &case.id()).ok();
        text.replace(case.dir().to_str().expect("UTF-8"), "CASE")
            .lines()
            .filter(|line| !line.starts_with("/sys/fs/cgroup"))
            // runc 1.1 drops nosuid, nodev and noexec when it makes a path read-only; to keep them is right.
            .map(|line| line.replace(" ro,nosuid,nodev,noexec,relatime proc", " ro,relatime proc"))
            .collect::<Vec<_>>()
    });
    assert!(seen.iter().any(|line| line.starts_with("/read\\040only ro,nosuid")), "{seen:#?}");
}

#[test]
fn cgroups_are_mounted_as_under_runc() {
    agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/ls", "/sys/fs/cgroup", "/sys/fs/cgroup/memory"]);
        case.run(&bundle, &case.id()).ok()
    });
}

#[test]
fn devices_are_the_default_ones() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("ls -l /dev | sed 1d | tr -s ' ' | cut -d' ' -f1,3-6,10-; stat -c '%t %T' /dev/null");
        case.run(&bundle, &case.id()).ok()
    });
    assert!(seen.contains("1 3\n"), "{seen}");
}

#[test]
fn devices_of_the_spec_are_made_and_others_denied() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| {
            config["linux"]["devices"] = json!([
                { "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4 },
            ]);
            config["linux"]["resources"]["devices"] = json!([
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "r" },
            ]);
        });
        bundle.script(
            "stat -c '%t %T %u %g %a' /dev/mine; head -c 2 /dev/mine | wc -c; echo x 2>&1 >/dev/mine",
        );
        let out = case.run(&bundle, &case.id()).output();
        (out.code, out.stdout)
    });
    assert!(seen.1.starts_with("1 5 3 4 640\n"), "{seen:?}");
}

#[test]
fn masked_and_read_only_paths_hold() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.file("/secret/file", "s").file("/hidden", "h").file("/fixed/file", "f");
        bundle.edit(|config| {
            for path in ["/secret", "/hidden", "/nosuch"] {
                config["linux"]["maskedPaths"].as_array_mut().expect("a list").push(json!(path));
            }
            config["linux"]["readonlyPaths"].as_array_mut().expect("a list").push(json!("/fixed"));
        });
        bundle.script(
            "ls /secret; wc -c </hidden; (: >/fixed/file) 2>&1; wc -c </proc/timer_list
             (: >/proc/sysrq-trigger) 2>&1; (: >/proc/sys/kernel/domainname) 2>&1",
        );
        case.run(&bundle, &case.id()).output().stdout
    });
    assert!(seen.contains("Read-only file system"), "{seen}");
}

#[test]
fn a_read_only_root_is_read_only() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| config["root"]["readonly"] = json!(true));
        bundle.script("touch /x 2>&1; touch /dev/shm/y && echo shm");
        case.run(&bundle, &case.id()).output().stdout
    });
    assert!(seen.contains("Read-only file system") && seen.ends_with("shm\n"), "{seen}");
}

#[test]
fn a_mount_point_that_is_a_symlink_stays_in_the_rootfs() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        let (source, outside) = (case.folder(), case.folder());
        fs::write(source.join("mark"), "").expect("write");
        std::os::unix::fs::symlink(&outside, bundle.rootfs().join("link")).expect("symlink");
        bundle.bind(&source, "/link/below", &["rw"]).script("ls /link/below");
        let out = case.run(&bundle, &case.id()).output();
        let escaped = fs::read_dir(&outside).expect("a folder").count();
        (out.code, out.stdout, escaped)
    });
    assert_eq!(seen, (0, "mark\n".to_owned(), 0));
}

#[test]
fn host_name_and_sysctl_are_the_containers_own() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| {
            config["hostname"] = json!("inside");
            config["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "77" });
        });
        bundle.script("hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
        case.run(&bundle, &case.id()).ok()
    });
    assert_eq!(seen, "inside\n77\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name"), before);
}

#[test]
fn a_user_namespace_maps_ids() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.user_namespace();
        bundle.script("id -u; tr -s ' ' </proc/self/uid_map; exec sleep 600");
        let id = case.id();
        let pid = case.start(&bundle, &id);
        let outside = proc::status(pid).remove("Uid");
        let inside =
            case.cmd(["exec", &id, "/bin/sh", "-c", "id -u; id -g; tr -s ' ' </proc/self/uid_map"]).ok();
        case.force_delete(&id);
        (outside, inside)
    });
    assert_eq!(seen.0.as_deref(), Some("100000 100000 100000 100000"));
    assert!(seen.1.starts_with("0\n0\n"), "{seen:?}");
}

#[test]
fn the_runtimes_binary_is_not_init() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        let id = case.id();
        let pid = case.start(&bundle, &id);
        eventually("init has become the program", || proc::cmdline(pid) == ["/bin/sleep", "600"]);
        let exe = fs::read_link(format!("/proc/{pid}/exe")).expect("a link");
        let maps = proc::mapped_files(pid);
        assert!(!maps.iter().any(|file| file.contains("wasmedge") || file.contains("LLVM")), "{maps:#?}");
        let fds = proc::descriptors(pid);
        case.force_delete(&id);
        (exe.ends_with("bin/busybox"), fds.keys().copied().collect::<Vec<_>>())
    });
    assert_eq!(seen, (true, vec![0, 1, 2]));
}

#[test]
fn a_created_init_shows_no_writable_way_to_the_runtime() {
    let case = Case::ours();
    let bundle = case.busybox();
    let id = case.id();
    let pid = case.create(&bundle, &id);
    // Opened for writing through /proc the file is busy, on a read-only mount, or not the installed one.
    let exe = format!("/proc/{pid}/exe");
    let opened = fs::OpenOptions::new().write(true).open(&exe);
    assert!(opened.is_err(), "{exe} can be opened for writing");
    case.force_delete(&id);
}

#[test]
fn the_console_socket_gets_the_terminal() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({ "height": 31, "width": 97 });
        });
        bundle.script(
            "tty; test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; read x; echo got $x",
        );
        let socket = ConsoleSocket::bind(case.dir());
        let id = case.id();
        let pid_file = case.dir().join("pid");
        case.cmd(["create", "--console-socket"])
            .arg(socket.path())
            .arg("--pid-file")
            .arg(&pid_file)
            .arg("--bundle")
            .arg(bundle.dir())
            .arg(&id)
            .ok();
        let mut terminal = socket.receive();
        case.cmd(["start", &id]).ok();
        terminal.expect("31 97");
        terminal.send("typed\n");
        terminal.expect("got typed");
        let pid = fs::read_to_string(pid_file).expect("a pid").parse().expect("a number");
        let status = case.exit_status(pid);
        case.await_stopped(&id);
        case.delete(&id);
        (status, terminal.seen())
    });
    assert_eq!(seen.0, 0);
    assert!(seen.1.contains("31 97"), "{seen:?}");
}

#[test]
fn the_pidfd_socket_gets_a_descriptor_of_the_process() {
    let case = Case::ours();
    if !case.runtime().is_ours() {
        skip!("runc has the flag since 1.2");
    }
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    let id = case.id();
    let socket = ConsoleSocket::bind(case.dir());
    let path = socket.path().to_str().expect("UTF-8");
    case.cmd(["run", "--detach", "--pidfd-socket", path, "--bundle"]).arg(bundle.dir()).arg(&id).ok();
    let init = case.state(&id)["pid"].clone();
    assert_eq!(json!(process_of(&socket.descriptor())), init);
    let pid_file = case.dir().join("pid");
    let exec = case.cmd(["exec", "--detach", "--pidfd-socket", path, "--pid-file"]).arg(&pid_file);
    exec.args([&id, "/bin/sleep", "601"]).ok();
    let pid = fs::read_to_string(&pid_file).expect("a pid");
    assert_eq!(process_of(&socket.descriptor()).to_string(), pid);
    case.force_delete(&id);
    drop(socket);
    let refused =
        case.cmd(["run", "--pidfd-socket", "/nowhere", "--bundle"]).arg(bundle.dir()).arg(&id).output();
    assert!(refused.code == 1 && refused.stderr.contains("pidfd socket /nowhere"), "{}", refused.stderr);
    case.nothing_left();
}

/// Whose a descriptor of a process is.
fn process_of(pidfd: &OwnedFd) -> u32 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("a descriptor");
    proc::parse_status(&info)["Pid"].parse().expect("a pid")
}

#[test]
fn run_in_the_foreground_passes_its_terminal_through() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| config["process"]["terminal"] = json!(true));
        bundle.script(
            "test -t 0 && test -t 1 && echo terminal
             until stty size 2>/dev/null | grep 77; do sleep 0.02; done
             read x; echo got $x; exit 9",
        );
        let (mut terminal, slave) = Terminal::pair();
        terminal.resize(24, 77);
        let run = case.run(&bundle, &case.id()).terminal(slave).spawn();
        terminal.expect("24 77");
        terminal.send("typed\r");
        terminal.expect("got typed");
        (run.wait().code, terminal.seen())
    });
    assert_eq!(seen.0, 9);
    assert!(seen.1.contains("terminal"), "{seen:?}");
}

#[test]
fn a_terminal_needs_a_console_socket_when_detached() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| config["process"]["terminal"] = json!(true));
        let none = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
        let dead = case
            .cmd(["create", "--console-socket", "/nonexistent/socket", "--bundle"])
            .arg(bundle.dir())
            .arg(case.id())
            .output();
        bundle.edit(|config| config["process"]["terminal"] = json!(false));
        let socket = ConsoleSocket::bind(case.dir());
        let unneeded = case
            .cmd(["create", "--console-socket"])
            .arg(socket.path())
            .arg("--bundle")
            .arg(bundle.dir())
            .arg(case.id())
            .output();
        drop(socket);
        case.nothing_left();
        (none.code, dead.code, unneeded.code)
    });
    assert_eq!(seen, (1, 1, 1));
}

#[test]
fn capabilities_that_nobody_knows_are_left_out() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/grep", "Cap", "/proc/self/status"]);
        bundle.edit(|config| {
            let sets = config["process"]["capabilities"].as_object_mut().expect("sets");
            for set in sets.values_mut() {
                set.as_array_mut().expect("a set").push(json!("CAP_TIME_TRAVEL"));
            }
        });
        let out = case.run(&bundle, &case.id()).output();
        (out.code, out.stdout, out.stderr.contains("CAP_TIME_TRAVEL"))
    });
    assert!(seen.0 == 0 && seen.1.contains("CapBnd") && seen.2, "{seen:?}");
}

#[test]
fn what_this_host_does_not_have_is_refused_in_runcs_words() {
    for (pointer, value, words) in [
        (
            "/process/selinuxLabel",
            json!("system_u:system_r:svirt_lxc_net_t:s0"),
            "selinux is disabled or not supported",
        ),
        ("/linux/resources/unified", json!({"memory.max": "10000000"}), "cannot use unified on cgroup v1"),
    ] {
        if pointer.ends_with("unified") && Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
            || pointer.ends_with("Label") && Path::new("/sys/fs/selinux/enforce").exists()
        {
            continue;
        }
        let seen = agree(|case| {
            let bundle = case.busybox();
            bundle.args(["/bin/true"]);
            bundle.edit(|config| {
                let (parent, key) = pointer.rsplit_once('/').expect("a path");
                config.pointer_mut(parent).expect("its parent")[key] = value.clone();
            });
            let out = case.run(&bundle, &case.id()).output();
            (out.code, out.stderr.contains(words))
        });
        assert_eq!(seen, (1, true), "{pointer}");
    }
}

#[test]
fn a_terminal_is_the_users() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.edit(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        bundle.script("stat -c '%u is its owner' $(tty); read x; exit 0");
        let (mut terminal, slave) = Terminal::pair();
        let id = case.id();
        let run = case.run(&bundle, &id).terminal(slave).spawn();
        terminal.expect("is its owner");
        let (second, slave) = Terminal::pair();
        let exec = case.cmd(["exec", "-t", &id, "/bin/sh", "-c", "stat -c '%u is its owner' $(tty)"]);
        let exec = exec.terminal(slave).spawn();
        second.expect("is its owner");
        let exec = exec.wait().code;
        terminal.send("done\r");
        (run.wait().code, exec, terminal.seen().contains("1000 is"), second.seen().contains("1000 is"))
    });
    assert_eq!(seen, (0, 0, true, true));
}

/// As newer versions of runc, which the one that is compared with may not be.
#[test]
fn an_ambient_capability_that_cannot_be_raised_is_named() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/grep", "CapAmb", "/proc/self/status"]).edit(|config| {
        let capabilities = &mut config["process"]["capabilities"];
        for set in ["bounding", "permitted", "effective"] {
            capabilities[set] = json!(["CAP_KILL", "CAP_CHOWN"]);
        }
        capabilities["inheritable"] = json!(["CAP_KILL"]);
        capabilities["ambient"] = json!(["CAP_KILL", "CAP_CHOWN"]);
    });
    let output = case.run(&bundle, &case.id()).output().success();
    assert!(output.stdout.contains("0000000000000020"), "{}", output.stdout);
    if case.runtime().is_ours() {
        assert!(output.stderr.contains("can't raise ambient capability CAP_CHOWN: "), "{}", output.stderr);
        assert!(!output.stderr.contains("CAP_KILL"), "{}", output.stderr);
    }
}

#[test]
fn inheritable_capabilities_need_not_be_permitted() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/grep", "^Cap", "/proc/self/status"]).edit(|config| {
            config["process"]["capabilities"] = json!({
                "inheritable": ["CAP_CHOWN", "CAP_SYSLOG"],
                "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_KILL"],
                "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"],
                "ambient": ["CAP_CHOWN"],
            });
        });
        case.run(&bundle, &case.id()).ok()
    });
    assert!(seen.contains("CapInh:\t0000000400000001"), "{seen}");
}

#[test]
fn a_profile_that_notifies_needs_an_agent() {
    let case = Case::ours();
    let bundle = case.busybox();
    let profile = |name: &str, listener: &str| {
        bundle.edit(|config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": listener,
                "syscalls": [{ "names": [name], "action": "SCMP_ACT_NOTIFY" }],
            });
        });
        case.run(&bundle, &case.id()).output()
    };
    let socket = case.dir().join("nobody");
    let output = profile("mkdir", socket.to_str().expect("UTF-8"));
    assert!(
        output.code == 1 && output.stderr.contains("failed to connect with seccomp agent"),
        "{}",
        output.stderr
    );
    case.nothing_left();
    let output = profile("write", socket.to_str().expect("UTF-8"));
    let words = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
    assert!(output.code == 1 && output.stderr.contains(words), "{}", output.stderr);
}

#[test]
fn nobody_inherits_the_callers_processors_or_descriptors() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]);
    let id = case.id();
    let pid_file = case.dir().join("pid");
    let create = case.cmd(["create", "--pid-file"]).arg(&pid_file).arg("--bundle").arg(bundle.dir()).arg(&id);
    // Bound to the first processor, with a descriptor that is not to be passed on.
    create.wrapped(["/bin/sh", "-c", "exec taskset -c 0 \"$@\" 7</etc/hostname", "sh"]).ok();
    let pid: u32 = fs::read_to_string(&pid_file).expect("a pid").parse().expect("a number");
    let own = proc::status(std::process::id())["Cpus_allowed_list"].clone();
    assert_eq!(proc::status(pid)["Cpus_allowed_list"], own);
    let files: Vec<_> = proc::descriptors(pid).into_iter().filter(|(fd, _)| *fd > 2).collect();
    let allowed = |path: &Path| {
        let text = path.to_string_lossy();
        ["socket:", "pipe:", "anon_inode:", "/proc", "/memfd:"].iter().any(|start| text.starts_with(start))
            || text == "/"
    };
    assert!(files.iter().all(|(_, path)| allowed(path)), "{files:?}");
    case.cmd(["start", &id]).ok();
    let exec = case.cmd(["exec", &id, "/bin/grep", "Cpus_allowed_list", "/proc/self/status"]);
    let list = exec.wrapped(["taskset", "-c", "0"]).ok();
    assert_eq!(list.trim(), format!("Cpus_allowed_list:\t{own}"));
    case.force_delete(&id);
}

#[test]
fn an_init_that_waits_ends_when_it_is_asked_to() {
    let codes = agree(|case| {
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        let mut codes = Vec::new();
        for signal in ["TERM", "INT", "HUP"] {
            let id = case.id();
            let pid = case.create(&bundle, &id);
            case.cmd(["kill", &id, signal]).ok();
            codes.push((signal, case.exit_status(pid)));
            case.await_stopped(&id);
            case.delete(&id);
        }
        codes
    });
    assert_eq!(codes, [("TERM", 2), ("INT", 2), ("HUP", 2)]);
}

#[test]
fn flags_of_the_scheduler_are_the_specifications() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/sleep", "600"]).edit(|config| {
        config["process"]["scheduler"] = json!({
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "runtime": 42000, "deadline": 100_000, "period": 1_000_000,
        });
    });
    if !case.runtime().is_ours() {
        skip!("runc knows schedulers since 1.2");
    }
    let id = case.id();
    let pid = case.start(&bundle, &id);
    let shown = Invocation::new("chrt").args(["-p", &pid.to_string()]).ok();
    assert!(shown.contains("SCHED_DEADLINE|SCHED_RESET_ON_FORK"), "{shown}");
    case.force_delete(&id);
    bundle.edit(|config| config["linux"]["resources"]["cpu"] = json!({ "cpus": "0" }));
    let output = case.run(&bundle, &id).output();
    let words = "process scheduler can't be used together with AllowedCPUs";
    assert!(output.code == 1 && output.stderr.contains(words), "{}", output.stderr);
}

#[test]
fn a_new_network_has_its_loopback_device() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle.script("ip address show dev lo | sed 's/ qlen.*//; s/mtu.*//'; nc -l -p 7 </dev/null >/dev/null & sleep 0.2; echo x | nc -w 5 127.0.0.1 7 && echo answered");
        case.run(&bundle, &case.id()).output().success().stdout
    });
    assert!(seen.contains("UP") && seen.contains("127.0.0.1") && seen.contains("answered"), "{seen}");
}

#[test]
fn root_maps_several_ranges() {
    let seen = agree(|case| {
        let bundle = case.busybox();
        bundle
            .user_namespace()
            .script("cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/x; stat -c %u /tmp/x");
        bundle.edit(|config| {
            let range = |inside: u32, outside: u32, size: u32| json!({ "containerID": inside, "hostID": outside, "size": size });
            config["linux"]["uidMappings"] = json!([range(0, 100_000, 10), range(10, 300_000, 20), range(1000, 1000, 1)]);
            config["linux"]["gidMappings"] = json!([range(0, 100_000, 10), range(10, 200_000, 20)]);
        });
        let out = case.run(&bundle, &case.id()).output().success().stdout;
        out.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    let numbers = "0 100000 10 10 300000 20 1000 1000 1 0 100000 10 10 200000 20 0";
    assert_eq!(seen, numbers.split(' ').collect::<Vec<_>>());
}

#[test]
fn no_id_is_as_it_is() {
    // setuid(2) and its like take this one for "unchanged", which is root.
    for user in [
        json!({ "uid": u32::MAX, "gid": 0 }),
        json!({ "uid": 1, "gid": u32::MAX }),
        json!({ "uid": 1, "gid": 1, "additionalGids": [u32::MAX] }),
    ] {
        let case = Case::ours();
        let bundle = case.busybox();
        bundle.args(["/bin/id"]);
        bundle.edit(|config| config["process"]["user"] = user.clone());
        let out = case.run(&bundle, &case.id()).output();
        assert!(
            out.code == 1 && out.stdout.is_empty() && out.stderr.contains("process.user: 4294967295"),
            "{user}: {out:?}"
        );
        case.nothing_left();
    }
    let case = Case::ours();
    let (bundle, id) = (case.busybox(), case.id());
    bundle.args(["/bin/sleep", "1000"]);
    case.start(&bundle, &id);
    let out = case.cmd(["exec", "--user", "4294967295:1", &id, "/bin/id"]).output();
    case.force_delete(&id);
    assert!(out.code != 0 && out.stdout.is_empty() && out.stderr.contains("4294967295"), "{out:?}");
}

/// As by runc 1.3; 1.1 knows less.
#[test]
fn what_does_nothing_is_passed_over_and_what_cannot_be_is_refused() {
    let taken = |change: &dyn Fn(&mut serde_json::Value)| {
        let case = Case::ours();
        let bundle = case.busybox();
        bundle.args(["/bin/echo", "run"]);
        bundle.edit(change);
        let out = case.run(&bundle, &case.id()).output();
        case.nothing_left();
        assert_eq!(out.code == 0, out.stdout == "run\n", "{out:?}");
        (out.code == 0, out.stderr)
    };
    let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    assert!(
        taken(&|config| config["linux"]["uidMappings"] = ids.clone()).0,
        "mappings without a user namespace"
    );
    assert!(taken(&|config| config["linux"]["rootfsPropagation"] = json!("")).0, "no propagation");
    let (taken_with_flags, warning) = taken(&|config| {
        config["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] })
    });
    assert!(taken_with_flags && warning.contains("ignoring unsupported personality flags"), "{warning}");
    if !Path::new("/sys/fs/resctrl/schemata").exists() {
        assert!(
            taken(&|config| config["linux"]["intelRdt"] = json!({ "closID": "x" })).0,
            "a class of a cache"
        );
        let (taken, error) =
            taken(&|config| config["linux"]["intelRdt"] = json!({ "l3CacheSchema": "L3:0=f" }));
        assert!(
            !taken
                && error.contains(
                    "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled"
                ),
            "{error}"
        );
    }
    let (taken_twice, error) = taken(&|config| {
        config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "pid" }))
    });
    assert!(!taken_twice && error.contains("duplicated ns pid"), "{error}");
}

#[test]
fn a_cgroup_lies_within_the_hierarchy() {
    let seen = agree(|case| {
        let (bundle, name) = (case.busybox(), case.id());
        bundle.args(["/bin/cat", "/proc/self/cgroup"]);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/../../{name}/inner/..")));
        let out = case.run(&bundle, &case.id()).output();
        (out.code, out.stdout.contains(".."))
    });
    assert_eq!(seen, (0, false));
}
