//! A C program's view of the file system, its arguments and its environment.
//!
//! Compiled with clang and wasi-libc, which the set-up installs; a test fails where they are missing.

mod common;

use std::path::Path;
use std::process::Command;

use common::Case;

/// Compiles a C program for WASI.
fn c(source: &str) -> Case {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("guest.c"), folder.path().join("guest.wasm"));
    std::fs::write(&input, source).expect("a source");
    let clang =
        Command::new("clang").args(["--target=wasm32-wasi", "-O1", "-o"]).arg(&output).arg(&input).output();
    let clang = clang.expect("clang, which the set-up installs");
    assert!(clang.status.success(), "{}", String::from_utf8_lossy(&clang.stderr));
    common::bytes(&std::fs::read(&output).expect("a module"))
}

/// Prints its arguments, its environment, and the contents of each file that is named in them.
const CAT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
extern char **environ;
int main(int argc, char **argv) {
    for (char **e = environ; *e; e++) printf("%s\n", *e);
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "r");
        if (!f) { printf("%s: none\n", argv[i]); continue; }
        char line[64] = "";
        fgets(line, sizeof line, f);
        printf("%s: %s\n", argv[i], line);
        fclose(f);
    }
    return argc;
}"#;

/// A root file system with a working directory in it.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in [("etc/conf", "root's"), ("work/dir/file", "cwd's"), ("top", "plain")] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    root
}

#[test]
fn the_root_reaches_everything_from_the_root() {
    let root = root();
    let case = c(CAT).preopen("/", root.path()).env(&["A=1", "B=two words"]);
    let ended = case.args(&["cat", "/etc/conf", "etc/conf", "/work/dir/file", "top", "/top", "/none"]).run();
    assert_eq!(
        ended.stdout,
        "A=1\nB=two words\n/etc/conf: root's\netc/conf: root's\n/work/dir/file: cwd's\ntop: plain\n/top: plain\n/none: none\n"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (7, ""));
}

#[test]
fn relative_paths_see_the_working_directory_and_absolute_ones_the_root() {
    let root = root();
    let cwd = root.path().join("work/dir");
    let case = c(CAT).preopen("/", root.path()).cwd(&cwd);
    let ended = case.args(&["cat", "file", "./file", "/etc/conf", "/work/dir/file", "/none", "none"]).run();
    let pwd = cwd.display();
    assert_eq!(
        ended.stdout,
        format!(
            "PWD={pwd}\nfile: cwd's\n./file: cwd's\n/etc/conf: root's\n/work/dir/file: cwd's\n/none: none\nnone: none\n"
        )
    );
}

#[test]
fn nothing_outside_a_preopen_is_reached() {
    let root = root();
    std::os::unix::fs::symlink("/etc/hostname", root.path().join("work/absolute")).expect("a link");
    std::os::unix::fs::symlink("../../../../../../../etc/hostname", root.path().join("work/relative"))
        .expect("a link");
    let case = c(CAT).preopen("/", &root.path().join("work"));
    let ended = case.args(&["cat", "../top", "/../top", "dir/../../top", "/absolute", "/relative"]).run();
    assert_eq!(
        ended.stdout,
        "../top: none\n/../top: none\ndir/../../top: none\n/absolute: none\n/relative: none\n"
    );
}

#[test]
fn a_directory_that_cannot_be_opened_is_an_error_with_its_name() {
    let ended = c("int main() { return 0; }").preopen("/x", Path::new("/does/not/exist")).run();
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("/x:/does/not/exist"), "{ended:?}");
}

#[test]
fn random_bytes_come_from_the_kernel() {
    let source = r#"
        #include <stdio.h>
        #include <unistd.h>
        int main() { unsigned char b[32]; if (getentropy(b, sizeof b)) return 1;
            for (int i = 0; i < 32; i++) printf("%02x", b[i]); return 0; }"#;
    let (first, second) = (c(source).run(), c(source).run());
    assert_eq!((first.code, first.stdout.len()), (0, 64), "{first:?}");
    assert_ne!(first.stdout, second.stdout);
}

#[test]
fn standard_input_is_read() {
    let source = r#"
        #include <stdio.h>
        int main() { int c, n = 0; while ((c = getchar()) != EOF) n += c; printf("%d", n); return 0; }"#;
    assert_eq!(c(source).stdin(&[1, 2, 3, 250]).run().stdout, "256");
}

#[test]
fn the_null_device_is_no_terminal_on_standard_input() {
    let case = c("#include <stdio.h>\n#include <unistd.h>\nint main() { int tty = isatty(0); char byte;\n\
        printf(\"%d %d\\n\", tty, (int)read(0, &byte, 1)); }");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" </dev/null"]);
    let ended = case.run_under(command);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "0 0\n"), "{ended:?}");
}

#[test]
fn a_working_directory_of_the_kernels_is_refused_by_name() {
    for (cwd, what) in [("/proc/self", "in /proc"), ("/sys/kernel", "in /sys")] {
        let case = common::wat(r#"(module (func (export "_start")))"#).cwd(std::path::Path::new(cwd));
        let ended = case.run();
        let error = ended.create_error();
        assert!(error.starts_with("working directory /") && error.contains(what), "{error}");
    }
}
