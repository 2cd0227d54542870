//! `scripts/prepare-library.c`: what it binds, packs and cuts off, what it leaves, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Refers to itself by a call, by an address in a table, and by a variable that all libraries of a process share.
const LIBRARY: &str = r#"
#include <unistd.h>
int process(void) { return getpid(); }
int answer(void) { return 1; }
int by_call(void) { return answer(); }
int (*table[])(void) = { answer };
int by_table(void) { return table[0](); }
__asm__(".type shared, @gnu_unique_object");
int shared = 1;
int by_name(void) { return shared; }
static char letters[200];
#define TEN(at) letters + at, letters + at + 1, letters + at + 2, letters + at + 3, letters + at + 4, letters + at + 5, letters + at + 6, letters + at + 7, letters + at + 8, letters + at + 9
char *places[] = { TEN(0), TEN(10), TEN(20), TEN(30), TEN(40), TEN(50), TEN(60), TEN(70), TEN(80), TEN(90), TEN(100), TEN(110), TEN(120), TEN(130), TEN(140), TEN(150), TEN(160), TEN(170), TEN(180), TEN(190) };
int by_place(void) { for (int i = 0; i < 200; i++) if (places[i] != letters + i) return 0; return 1; }
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
    int (*by_place)(void) = (int (*)(void))dlsym(library, "by_place");
    printf("%d %d %d", by_call(), by_table(), by_name());
    return by_place() == 1 ? 0 : 1;
}
"#;

struct Workshop {
    dir: TempDir,
}

impl Workshop {
    fn new() -> Self {
        let workshop = Self { dir: tempfile::tempdir().expect("a folder") };
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/prepare-library.c");
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

    /// A library; the flags say whether its calls are bound when it is loaded, or when they are made.
    fn library(&self, name: &str, flags: &[&str]) -> PathBuf {
        let flags = [&["-shared", "-fPIC", "-fno-ipa-cp", "-fno-inline"], flags].concat();
        self.compile(&self.path("library.c"), name, &flags);
        self.path(name)
    }

    /// How many references the tool has cut off and bound, and how many it has packed; or what it says on standard error.
    fn prepare(&self, wishes: &[&str], library: &Path) -> Result<[u32; 3], String> {
        let output = Command::new(self.path("tool")).args(wishes).arg(library).output().expect("the tool");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.code() != Some(0) {
            return Err(text(&output.stderr));
        }
        let counts = text(&output.stdout);
        let mut counts = counts.split(", ").map(|count| count.split(' ').next().map(str::parse));
        Ok(std::array::from_fn(|_| counts.next().flatten().expect("a count").expect("a number")))
    }

    /// What the program says that loads it.
    fn load(&self, library: &Path) -> Output {
        Command::new(self.path("program")).arg(library).output().expect("the program")
    }

    fn loads(&self, library: &Path) -> bool {
        self.load(library).status.success()
    }

    /// Whose answers the library has: its own are 1, the program's 2.
    fn answers(&self, library: &Path) -> String {
        let output = self.load(library);
        assert!(output.status.success(), "{}: cannot be loaded", library.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn a_library_is_bound_to_itself_and_shared_variables_stay_shared() {
    let workshop = Workshop::new();
    let library = workshop.library("at-once.so", &["-Wl,-z,now"]);
    assert_eq!(workshop.answers(&library), "2 2 2");
    let [cut, bound, packed] = workshop.prepare(&["--bind"], &library).expect("bound");
    assert!(bound >= 2 && (cut, packed) == (0, 0), "{bound}");
    assert_eq!(workshop.answers(&library), "1 1 2");
    assert_eq!(workshop.prepare(&["--bind"], &library), Ok([0, 0, 0]));
}

#[test]
fn calls_that_are_bound_when_they_are_made_stay_so() {
    let workshop = Workshop::new();
    let library = workshop.library("lazy.so", &["-Wl,-z,lazy"]);
    workshop.prepare(&["--bind", "--pack"], &library).expect("prepared");
    assert_eq!(workshop.answers(&library), "2 1 2");
}

#[test]
fn packed_relocations_are_those_that_were_there() {
    let workshop = Workshop::new();
    for when in ["-Wl,-z,now", "-Wl,-z,lazy"] {
        let library = workshop.library("packed.so", &[when]);
        let [.., packed] = workshop.prepare(&["--pack"], &library).expect("packed");
        assert!(packed >= 200, "{packed}");
        assert_eq!(workshop.answers(&library), "2 2 2", "{when}");
        assert_eq!(workshop.prepare(&["--pack"], &library), Ok([0, 0, 0]));
    }
    let library = workshop.library("both.so", &["-Wl,-z,now"]);
    let [_, bound, packed] = workshop.prepare(&["--bind", "--pack"], &library).expect("prepared");
    assert!(packed >= 200 + bound, "{bound} of {packed}");
    assert_eq!(workshop.answers(&library), "1 1 2");
}

#[test]
fn what_is_cut_off_need_not_be_there() {
    let workshop = Workshop::new();
    workshop.write("other.c", "int other(void) { return 3; } int others[2];");
    let map = workshop.write("other.map", "OTHER_1 { global: *; };");
    let script = format!("-Wl,--version-script={}", map.display());
    let flags = ["-shared", "-fPIC", "-Wl,-soname=other.so", &script];
    workshop.compile(&workshop.path("other.c"), "other.so", &flags);
    let uses = "int other(void); extern int others[2]; int *all[] = { others, others + 1 }; int from_other(void) { return other() + *all[1]; }";
    workshop.write("uses.c", uses);
    let paths = ["uses.c", "other.so"].map(|name| workshop.path(name).display().to_string());
    let [now, lazy] = ["now", "lazy"].map(|when| {
        let flags = [&paths[0], &paths[1], "-Wl,-rpath,$ORIGIN", &format!("-Wl,-z,{when}")];
        workshop.library(&format!("{when}.so"), &flags)
    });
    let refusal = workshop.prepare(&["--without", "other.so"], &lazy).expect_err("it is called lazily");
    assert!(refusal.contains("without other.so"), "{refusal}");
    assert!(workshop.loads(&now) && workshop.loads(&lazy));
    fs::remove_file(workshop.path("other.so")).expect("it was there");
    assert!(!workshop.loads(&now));
    let wishes = ["--without", "other.so", "--bind", "--pack"];
    let [cut, ..] = workshop.prepare(&wishes, &now).expect("cut off");
    assert!(cut >= 3, "{cut}");
    assert_eq!(workshop.answers(&now), "1 1 2");
    let refusal = workshop.prepare(&wishes, &now).expect_err("it is needed no more");
    assert!(refusal.contains("without other.so"), "{refusal}");
}

#[test]
fn what_is_no_library_is_named_and_left_alone() {
    let workshop = Workshop::new();
    let text = workshop.write("text.so", "no library");
    let whole = fs::read(workshop.library("whole.so", &["-Wl,-z,now"])).expect("a library");
    let cut = workshop.path("cut.so");
    fs::write(&cut, &whole[..whole.len() / 4]).expect("a file");
    for path in [&text, &cut, &workshop.path("none.so")] {
        let before = fs::read(path).ok();
        let error = workshop.prepare(&["--bind", "--pack"], path).expect_err("no library");
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(path).ok(), before);
    }
}
