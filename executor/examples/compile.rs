//! Compiles one module ahead of time, through the executor's table: `compile MODULE OUT fuel|plain|interruptible`.
//!
//! Run it with LLVM preloaded, and the libwasmedge that lies beside it and knows of it: the runtime's compiler child loads these first.

#![expect(unsafe_code, reason = "calls the C boundary")]

use std::os::fd::IntoRawFd;

use executor_abi::request::Compile;
use executor_abi::{Buffer, Slice};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, out, kind] = args.as_slice() else { panic!("compile MODULE OUT fuel|plain|interruptible") };
    let scratch = std::path::Path::new(out).parent().and_then(|folder| folder.to_str()).expect("a folder");
    let request = Compile {
        module_fd: std::fs::File::open(module).expect("a module").into_raw_fd(),
        scratch: scratch.to_owned(),
        fuel: kind == "fuel",
        interruptible: kind == "interruptible",
        optimize: true,
    };
    let request = serde_json::to_vec(&request).expect("JSON");
    // SAFETY: the table is static.
    let table = unsafe { &*rr_executor::rr_executor_table() };
    let mut answer = Buffer::empty();
    // SAFETY: the request and the place for the answer outlive the call.
    let status = unsafe { (table.compile)(Slice::new(&request), &raw mut answer) };
    // SAFETY: the answer was written.
    let bytes = unsafe { std::slice::from_raw_parts(answer.data, answer.len) };
    assert!(status == 0, "{}", String::from_utf8_lossy(bytes));
    std::fs::write(out, bytes).expect("a place for the code");
    // SAFETY: the buffer came from this table, and is used no more.
    unsafe { (table.free)(answer) };
}
