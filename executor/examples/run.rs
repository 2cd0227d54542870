//! Runs one request through the executor's table, as a container's init would: for tests, and to look at one
//! module without a container.
//!
//!     run REQUEST.json [NUMBER=PATH]...
//!
//! `REQUEST.json` is an `executor_abi::request::Prepare`. Each `NUMBER=PATH` opens a file for reading as that descriptor. A
//! module that cannot be prepared gives its reason on standard error and exit code 255, which stands for a failed `create`.
//! With `RR_HOLD` in the environment it waits, once prepared, for a byte on standard input: what a created
//! container looks like.

#![expect(unsafe_code, reason = "calls the C boundary")]

use std::io::Read;
use std::os::fd::AsRawFd;

use executor_abi::{Buffer, Slice};

fn main() {
    let mut args = std::env::args_os().skip(1);
    let request = std::fs::read(args.next().expect("a request")).expect("a readable request");
    let open: Vec<String> = args.map(|arg| arg.into_string().expect("UTF-8")).collect();
    for argument in open {
        let (number, path) = argument.split_once('=').expect("NUMBER=PATH");
        let file = std::fs::File::open(path).expect("a readable file");
        // SAFETY: copies a descriptor to a number that nothing in this process owns.
        let status = unsafe { libc::dup2(file.as_raw_fd(), number.parse().expect("a number")) };
        assert!(status >= 0, "dup2: {}", std::io::Error::last_os_error());
    }
    // SAFETY: the table is static.
    let table = unsafe { &*rr_executor::rr_executor_table() };
    let mut error = Buffer::empty();
    // SAFETY: the request and the place for the error outlive the call.
    let prepared = unsafe { (table.prepare)(Slice::new(&request), &raw mut error) };
    if prepared.is_null() {
        // SAFETY: a null answer comes with a message.
        let message = unsafe { std::slice::from_raw_parts(error.data, error.len) };
        eprintln!("create: {}", String::from_utf8_lossy(message));
        // SAFETY: the buffer came from this table, and is used no more.
        unsafe { (table.free)(error) };
        std::process::exit(255);
    }
    if std::env::var_os("RR_HOLD").is_some() {
        eprintln!("created");
        let mut byte = [0];
        std::io::stdin().read_exact(&mut byte).expect("a byte");
    }
    // SAFETY: prepared above, run once.
    let code = unsafe { (table.run)(prepared) };
    // SAFETY: ends the process, as an init does.
    unsafe { libc::_exit(code) };
}
