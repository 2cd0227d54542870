//! What `/proc/PID` shows of a function, and which descriptors it has.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Child;
use std::time::{Duration, Instant};

use common::{Case, finish, wat};

const SPIN: &str = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    (func (export "_start") (loop (br 0))))"#;

fn created(case: &Case) -> Child {
    let mut child = case.spawn();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "created\n");
    child
}

fn proc(child: &Child, file: &str) -> String {
    let bytes = std::fs::read(format!("/proc/{}/{file}", child.id())).expect("a live process");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_created_function_shows_its_own_arguments_name_and_environment() {
    let long = "x".repeat(100_000);
    let case = wat(SPIN).args(&["a function", "", "with", &long]).env(&["KEY=value", "B="]).hold();
    let mut child = created(&case);
    assert_eq!(proc(&child, "cmdline"), format!("a function\0\0with\0{long}\0"));
    assert_eq!(proc(&child, "environ"), "KEY=value\0B=\0");
    assert_eq!(proc(&child, "comm"), "app.wasm\n");
    child.kill().expect("kill");
    finish(child);
}

#[test]
fn a_running_function_has_its_streams_and_nothing_else() {
    let mut case = wat(SPIN).hold();
    // Something that a runtime might leave open.
    let leaked = std::fs::File::open("/dev/null").expect("/dev/null");
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).expect("fcntl");
    case.request.args = vec!["spin".to_owned()];
    let mut child = created(&case);
    child.stdin.as_mut().expect("a pipe").write_all(b"x").expect("a byte");
    let deadline = Instant::now() + Duration::from_secs(10);
    let list = || {
        let mut list: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
            .expect("a live process")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a number"))
            .collect();
        list.sort();
        list
    };
    while list() != ["0", "1", "2"] {
        assert!(Instant::now() < deadline, "{:?}", list());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(leaked);
    child.kill().expect("kill");
    finish(child);
}
