//! What the paper says of functions and their host, in all three of its modes: Table 1 is enough for a function, which does not know the mode
//! that it runs in, and the calls are made in the order of figures 4 and 5 and of Algorithm 1.
//!
//! The order is that of one file to which everybody appends: the functions themselves, which say what they are called with, and their
//! hosts, which say what they call (`RR_TRACE=calls`).

use std::fs;

use tests::{Chain, Output, WAYS, Way, guest, skip, wasm_case};

/// A call: who makes it or is called by it, its name, and where in the paper it stands there. What a function says of itself begins
/// with `function`, what its host says does not.
type Step = (&'static str, &'static str);

/// Section 4.1, figure 4a.
const USER: [Step; 12] = [
    ("function a: locate_memory_region", "4.1 (1): function a first calls locate_memory_region(data)"),
    ("a: send_to_host", "4.1 (1): and forwards them to the shim"),
    ("a: locate_memory_region", "3.1, Shared Memory: the region is registered before it is accessed"),
    ("function a: locate_memory_region", ""),
    ("a: read_memory_host", "4.1 (2): the shim reads it"),
    ("b: allocate_memory", "4.1 (3): the shim calls allocate_memory(len)"),
    ("function b: allocate_memory", "4.1 (4): the shim receives the address"),
    ("b: write_memory_host", "4.1 (5): in function b with the incoming data"),
    ("b: read_memory_wasm", "Table 1: reads data from a specified memory address and length"),
    ("function b: read_memory_wasm", ""),
    ("b: deallocate_memory", "Table 1: deallocates"),
    ("function b: deallocate_memory", ""),
];

/// Section 4.2, figure 4b. Between (2) and (5) the bytes are in the kernel.
const KERNEL: [Step; 12] = [
    ("function a: locate_memory_region", "4.2 (1): function a invokes locate_memory_region(data)"),
    ("send_to_host", "4.2 (1): this information is forwarded to the shim"),
    ("locate_memory_region", "3.1, Shared Memory: the region is registered before it is accessed"),
    ("function a: locate_memory_region", ""),
    ("read_memory_host", "4.2 (2): the shim reads the data; (3): IPC mechanisms to send it"),
    ("allocate_memory", "4.2 (4), (5): upon receiving the data, the shim for b calls allocate_memory(len)"),
    ("function b: allocate_memory", ""),
    ("write_memory_host", "4.2 (6): finally, the shim writes the data to function b's memory"),
    ("read_memory_wasm", "Table 1: reads data from a specified memory address and length"),
    ("function b: read_memory_wasm", ""),
    ("deallocate_memory", "Table 1: deallocates"),
    ("function b: deallocate_memory", ""),
];

/// Section 4.3, figure 5, and Algorithm 1, whose lines are given.
const NETWORK: [Step; 12] = [
    ("function a: locate_memory_region", "line 2"),
    ("send_to_host", "line 3"),
    ("locate_memory_region", "3.1, Shared Memory: the region is registered before it is accessed"),
    ("function a: locate_memory_region", ""),
    ("read_memory_host", "line 7; figure 5 (1) to (5)"),
    ("allocate_memory", "lines 24 and 16; figure 5 (6) to (9): to allocate"),
    ("function b: allocate_memory", ""),
    ("write_memory_host", "line 26; figure 5 (9): and write"),
    ("read_memory_wasm", "line 18"),
    ("function b: read_memory_wasm", ""),
    ("deallocate_memory", "lines 28 and 17"),
    ("function b: deallocate_memory", ""),
];

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own module")
}

/// Says a text of 32 bytes at most on standard error, as one write.
const SAY: &str = r#"
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 40)
  (func $say (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))))"#;

/// `a`: its result of `len` bytes is made when it is located, so that a host which read it before would read zeros.
fn sender(len: u32) -> Vec<u8> {
    wat(&format!(
        r#"(module
  (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  {SAY}
  (data (i32.const 1024) "function a: locate_memory_region\n")
  (func $locate (export "locate_memory_region") (param i32) (result i64)
    (call $say (i32.const 1024) (i32.const 33))
    (memory.fill (i32.const 65536) (i32.const 7) (i32.const {len}))
    (i64.or (i64.const 0x1000000000000) (i64.const {len})))
  (func (export "_start") (local $region i64)
    (local.set $region (call $locate (i32.const 0)))
    (if (call $send (i32.wrap_i64 (i64.shr_u (local.get $region) (i64.const 32))) (i32.wrap_i64 (local.get $region)))
      (then (call $exit (i32.const 1))))))"#
    ))
}

/// `b`: its region is filled when it is allocated, so that a payload which had been written before would not be there; it is
/// cleared when it is deallocated.
fn receiver() -> Vec<u8> {
    wat(&format!(
        r#"(module
  {SAY}
  (global $len (mut i32) (i32.const 0))
  (data (i32.const 1024) "function b: allocate_memory\n")
  (data (i32.const 1088) "function b: read_memory_wasm\n")
  (data (i32.const 1152) "function b: deallocate_memory\n")
  (func (export "_initialize"))
  (func (export "allocate_memory") (param $len i32) (result i32)
    (call $say (i32.const 1024) (i32.const 28))
    (global.set $len (local.get $len))
    (memory.fill (i32.const 65536) (i32.const 120) (local.get $len))
    (i32.const 65536))
  (func $check (param $at i32)
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 7)) (then unreachable)))
  (func (export "read_memory_wasm") (param $at i32) (param $len i32)
    (call $say (i32.const 1088) (i32.const 29))
    (call $check (local.get $at))
    (call $check (i32.sub (i32.add (local.get $at) (local.get $len)) (i32.const 1))))
  (func (export "deallocate_memory") (param $at i32)
    (call $say (i32.const 1152) (i32.const 30))
    (memory.fill (local.get $at) (i32.const 0) (global.get $len))))"#
    ))
}

/// The calls of a log, without their numbers.
fn calls(log: &str) -> Vec<&str> {
    let calls = log.lines().map(|line| line.strip_prefix("rr-runtime: ").unwrap_or(line));
    calls.filter_map(|line| line.split('(').next()).collect()
}

fn the_order_is_the_papers(way: Way, paper: &[Step], annotations: &[(&str, &str)]) {
    let case = wasm_case!();
    // What goes as bytes, and what goes by page where the way has that.
    for len in [5, 1 << 20] {
        let chain = Chain::new(&case, way, &[&sender(len), &receiver()]).env("RR_TRACE=calls");
        for (key, value) in annotations {
            chain.containers[0].annotation(key, value);
        }
        let log = case.dir().join(format!("calls-{len}"));
        let ended = chain.run_logged(&log);
        let text = fs::read_to_string(&log).expect("the log");
        assert!(ended.iter().all(|out| out.code == 0), "{way:?}, {len} bytes: {text}");
        let expected: Vec<&str> = paper.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls(&text), expected, "{way:?}, {len} bytes: not the order of the paper: {paper:#?}");
        let addressed =
            |call: &str| text.lines().filter(|line| line.contains(&format!("{call}(65536, {len})"))).count();
        for call in ["send_to_host", "read_memory_host", "write_memory_host", "read_memory_wasm"] {
            assert_eq!(addressed(call), 1, "{way:?}: {call} is not of the region: {text}");
        }
    }
}

#[test]
fn in_user_space_the_order_is_that_of_figure_4a() {
    the_order_is_the_papers(Way::User, &USER, &[]);
}

#[test]
fn in_kernel_space_the_order_is_that_of_figure_4b() {
    the_order_is_the_papers(Way::Kernel, &KERNEL, &[]);
}

#[test]
fn across_hosts_the_order_is_that_of_figure_5_and_of_algorithm_1() {
    the_order_is_the_papers(Way::Network, &NETWORK, &[]);
    the_order_is_the_papers(Way::Network, &NETWORK, &[("io.roadrunner.hose/transfer", "splice")]);
}

/// Figure 4b from the system calls' side: the source's, and the target's.
const KERNEL_CALLS: [&[Step]; 2] = [
    &[
        ("read_memory_host", "4.2 (2)"),
        ("connect", "4.2 (3): a connection is made for the first payload, and kept"),
        ("sendmsg", "4.2 (3): IPC mechanisms to send the data, from where it lies"),
    ],
    &[
        ("header", "4.2 (4): upon receiving the data"),
        ("allocate_memory", "4.2 (5)"),
        ("write_memory_host", "4.2 (6)"),
        ("recvfrom", "4.2 (6): the kernel writes the bytes to where they belong"),
        ("read_memory_wasm", "Table 1"),
        ("deallocate_memory", "Table 1"),
    ],
];

/// Algorithm 1 from the system calls' side. In two places it is another one, and better for it: the socket comes first, because the peer
/// has to prove who it is before it gets a byte, and the target's kernel reads into the function's memory without a pipe, because
/// vmsplice(2) from a pipe into memory copies as well.
const NETWORK_CALLS: [&[Step]; 2] = [
    &[
        ("read_memory_host", "line 7"),
        ("connect", "line 10: CREATE_SOCKET"),
        ("pipe2", "line 8: CREATE_VIRTUAL_DATA_HOSE"),
        ("vmsplice", "line 9"),
        ("splice", "line 11"),
    ],
    &[
        ("header", "line 23: the length"),
        ("allocate_memory", "line 24"),
        ("write_memory_host", "line 26"),
        ("recvfrom", "lines 23 and 25, in one"),
        ("read_memory_wasm", "line 18"),
        ("deallocate_memory", "line 28"),
    ],
];

/// What a line of strace shows of a payload of sevens: a call of the contract (`RR_TRACE`), the header of a payload
/// (docs/PROTOCOL.md), or a system call that has to do with its bytes.
fn event(line: &str) -> Option<&str> {
    let (_, call) = line.split_once(' ')?;
    let call = call.trim_start().trim_start_matches("<... ");
    let name = call.split(['(', ' ']).next()?;
    match name {
        "write" => call.split_once("\"rr-runtime: ")?.1.split('(').next(),
        "recvmsg" | "recvfrom" if call.contains("\"rrho\\3\\20") => Some("header"),
        "sendmsg" | "recvfrom" if call.contains("\"\\7\\7") => Some(name),
        "connect" | "pipe2" | "vmsplice" | "splice" if !call.contains("resumed") => Some(name),
        _ => None,
    }
}

fn the_system_calls_are_the_papers(way: Way, paper: [&[Step]; 2], transfer: &str) {
    let case = wasm_case!();
    if tests::runtime::program("strace").is_none() {
        skip!("strace is not installed");
    }
    // More than what is read with a header.
    let chain = Chain::new(&case, way, &[&sender(20_000), &receiver()]).env("RR_TRACE=calls");
    chain.containers[0].annotation("io.roadrunner.hose/transfer", transfer);
    let file = case.dir().join("calls");
    let ended = chain.run_traced("trace=write,connect,pipe2,vmsplice,splice,sendmsg,recvmsg,recvfrom", &file);
    assert!(ended.iter().all(|out| out.code == 0), "{way:?}: {}", ended[0].stderr);
    for (end, paper) in ["a", "b"].into_iter().zip(paper) {
        let text = fs::read_to_string(file.with_extension(end)).expect("strace wrote it");
        let expected: Vec<&str> = paper.iter().map(|(call, _)| *call).collect();
        let mut calls: Vec<&str> =
            text.lines().filter_map(event).skip_while(|call| *call != expected[0]).collect();
        calls.dedup();
        assert_eq!(calls, expected, "{way:?}, {end}: not the order of the paper: {paper:#?}");
    }
}

#[test]
fn the_kernel_is_called_in_the_order_of_figure_4b() {
    the_system_calls_are_the_papers(Way::Kernel, KERNEL_CALLS, "auto");
}

#[test]
fn the_kernel_is_called_in_the_order_of_algorithm_1() {
    the_system_calls_are_the_papers(Way::Network, NETWORK_CALLS, "splice");
}

/// An example in WAT and one in C, with a text of its own.
type Pair = [(Option<Vec<u8>>, &'static str); 2];

/// The modules that were built of a pair.
fn there(pair: Pair) -> Vec<(Vec<u8>, &'static str)> {
    pair.into_iter().filter_map(|(module, text)| Some((module?, text))).collect()
}

/// Senders that have nothing but Table 1, with what they send.
fn plain_sources() -> Vec<(Vec<u8>, &'static str)> {
    there([
        (Some(wat(include_str!("../../guest/examples/wat/plain-source.wat"))), "plain"),
        (guest::example("c/plain-source.wasm"), "seven functions are enough"),
    ])
}

/// Receivers, with what they print before what they have received.
fn plain_sinks() -> Vec<(Vec<u8>, &'static str)> {
    there([
        (Some(wat(include_str!("../../guest/examples/wat/plain-sink.wat"))), ""),
        (guest::example("c/plain-sink.wasm"), "received: "),
    ])
}

/// Functions that send on in capital letters what they receive: all that Table 1 has for a guest.
fn plain_relays() -> Vec<(Vec<u8>, &'static str)> {
    there([
        (Some(wat(include_str!("../../guest/examples/wat/plain-relay.wat"))), ""),
        (guest::example("c/plain-relay.wasm"), ""),
    ])
}

#[track_caller]
fn printed_by_the_last(ended: Vec<Output>, line: &str, way: Way) {
    let mut ended: Vec<Output> = ended.into_iter().map(Output::success).collect();
    let last = ended.pop().expect("a container");
    assert!(last.stdout.contains(line), "{way:?}: {line:?} is not in {:?}", last.stdout);
}

#[test]
fn functions_with_nothing_but_table_1_run_unchanged_in_all_modes() {
    let case = wasm_case!();
    for way in WAYS {
        for (source, text) in &plain_sources() {
            for (sink, prefix) in &plain_sinks() {
                let ended = Chain::new(&case, way, &[source, sink]).run();
                printed_by_the_last(ended, &format!("{prefix}{text}"), way);
            }
        }
    }
}

#[test]
fn a_function_with_all_of_table_1_sends_on_what_it_receives_in_all_modes() {
    let case = wasm_case!();
    let (source, text) = &plain_sources()[0];
    let (sink, _) = &plain_sinks()[0];
    for way in WAYS {
        for (relay, _) in &plain_relays() {
            let ended = Chain::new(&case, way, &[source, relay, sink]).run();
            printed_by_the_last(ended, &text.to_uppercase(), way);
        }
    }
}

#[test]
fn another_trace_than_that_of_calls_is_refused_by_name() {
    let case = wasm_case!();
    let chain = Chain::new(&case, Way::User, &[&sender(5), &receiver()]).env("RR_TRACE=everything");
    let out = chain.run().pop().expect("a container");
    let lines = out.error_lines();
    assert_eq!((out.code, lines.len()), (1, 1), "{}", out.stderr);
    assert!(lines[0].contains("RR_TRACE") && lines[0].contains("everything"), "{}", lines[0]);
}
