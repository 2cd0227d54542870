//! `scripts/bind-own-symbols.c`: what it binds, what it leaves, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Refers to itself by a call, by an address in a table, and by a variable that all libraries of a process share.
const LIBRARY: &str = r#"
int answer(void) { return 1; }
int by_call(void) { return answer(); }
int (*table[])(void) = { answer };
int by_table(void) { return table[0](); }
__asm__(".type shared, @gnu_unique_object");
int shared = 1;
int by_name(void) { return shared; }
"#;

/// Has its own answer to everything.
const PROGRAM: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int answer(void) { return 2; }
int shared = 2;
int main(int count, char **words)
{
    void *library = count == 2 ? dlopen(words[1], RTLD_NOW) : NULL;
    if (library == NULL)
        return 1;
    int (*by_call)(void) = (int (*)(void))dlsym(library, "by_call");
    int (*by_table)(void) = (int (*)(void))dlsym(library, "by_table");
    int (*by_name)(void) = (int (*)(void))dlsym(library, "by_name");
    printf("%d %d %d", by_call(), by_table(), by_name());
    return 0;
}
"#;

struct Workshop {
    dir: TempDir,
}

impl Workshop {
    fn new() -> Self {
        let workshop = Self { dir: tempfile::tempdir().expect("a folder") };
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/bind-own-symbols.c");
        workshop.compile(&tool, "tool", &["-Wall", "-Wextra", "-Werror"]);
        workshop.compile(&workshop.write("program.c", PROGRAM), "program", &["-rdynamic", "-ldl"]);
        workshop.write("library.c", LIBRARY);
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }

    fn compile(&self, source: &Path, name: &str, flags: &[&str]) {
        let mut compiler = Command::new("gcc");
        compiler.arg("-O1").arg("-o").arg(self.path(name)).arg(source).args(flags);
        assert!(compiler.status().expect("gcc").success(), "{}", source.display());
    }

    /// A library whose calls are bound when it is loaded, or when they are made.
    fn library(&self, name: &str, when: &str) -> PathBuf {
        let flags = ["-shared", "-fPIC", "-fno-ipa-cp", "-fno-inline", when];
        self.compile(&self.path("library.c"), name, &flags);
        self.path(name)
    }

    /// The tool's exit code, standard output and standard error.
    fn bind(&self, library: &Path) -> (Option<i32>, String, String) {
        let output = Command::new(self.path("tool")).arg(library).output().expect("the tool");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Whose answers the library has: its own are 1, the program's 2.
    fn answers(&self, library: &Path) -> String {
        let output = Command::new(self.path("program")).arg(library).output().expect("the program");
        assert!(output.status.success(), "{}: cannot be loaded", library.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn a_library_is_bound_to_itself_and_shared_variables_stay_shared() {
    let workshop = Workshop::new();
    let library = workshop.library("at-once.so", "-Wl,-z,now");
    assert_eq!(workshop.answers(&library), "2 2 2");
    let (code, bound, _) = workshop.bind(&library);
    assert_eq!(code, Some(0));
    assert!(bound.parse::<u32>().is_ok_and(|bound| bound >= 2), "{bound}");
    assert_eq!(workshop.answers(&library), "1 1 2");
    assert_eq!(workshop.bind(&library), (Some(0), "0".to_owned(), String::new()));
}

#[test]
fn calls_that_are_bound_when_they_are_made_stay_so() {
    let workshop = Workshop::new();
    let library = workshop.library("lazy.so", "-Wl,-z,lazy");
    assert_eq!(workshop.bind(&library).0, Some(0));
    assert_eq!(workshop.answers(&library), "2 1 2");
}

#[test]
fn what_is_no_library_is_named_and_left_alone() {
    let workshop = Workshop::new();
    let text = workshop.write("text.so", "no library");
    let whole = fs::read(workshop.library("whole.so", "-Wl,-z,now")).expect("a library");
    let cut = workshop.path("cut.so");
    fs::write(&cut, &whole[..whole.len() / 4]).expect("a file");
    for path in [&text, &cut, &workshop.path("none.so")] {
        let before = fs::read(path).ok();
        let (code, _, error) = workshop.bind(path);
        assert_eq!(code, Some(1), "{}", path.display());
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(path).ok(), before);
    }
}
