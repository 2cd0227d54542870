//! What a call of a guest's export costs through the engine alone, for the figure of `make bench` that compares a hose's `call`
//! with it:
//!
//!     bare-call MODULE FUNCTION [COUNT]
//!
//! `MODULE` is what `rr-runtime compile --output` wrote of a module without imports, `FUNCTION` an export of the type `(i32, i32)`.
//! Looked up once, it is called COUNT times (default: 100,000); printed is the median in nanoseconds, each call timed by itself, less
//! what reading the clock takes. By the engine's C interface: its interface for Rust looks up the function's type at each call,
//! which takes several times as long as the call.

#![expect(unsafe_code, reason = "the engine's C interface, without a wrapper around it")]

use std::ffi::c_char;
use std::ptr;
use std::time::Instant;

use wasmedge_sdk::RunMode;
use wasmedge_sys::{Config, WasmValue, ffi};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, module, name, rest @ ..] = args.as_slice() else { panic!("bare-call MODULE FUNCTION [COUNT]") };
    let count = rest.first().map_or(100_000, |text| text.parse().expect("COUNT is a number"));
    let code = std::fs::read(module).expect("MODULE can be read");
    let mut config = Config::create().expect("a configuration");
    config.set_run_mode(RunMode::Aot);
    let (executor, function) = load(&config, &code, name);
    let arguments = [WasmValue::from_i32(1024).as_raw(), WasmValue::from_i32(64).as_raw()];
    let call = || {
        // SAFETY: both are live for as long as the process, the arguments are as many as is said, and there are no results.
        let result = unsafe {
            ffi::WasmEdge_ExecutorInvoke(executor, function, arguments.as_ptr(), 2, ptr::null_mut(), 0)
        };
        assert_eq!(result.Code, 0, "{name} failed");
    };
    println!("{}", median(count, call).saturating_sub(median(count, || ())));
}

fn median(count: usize, mut call: impl FnMut()) -> u128 {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    times[count / 2]
}

type Loaded = (*mut ffi::WasmEdge_ExecutorContext, *const ffi::WasmEdge_FunctionInstanceContext);

/// Nothing of it is freed before the process ends.
fn load(config: &Config, code: &[u8], name: &str) -> Loaded {
    let length = |len: usize| u32::try_from(len).expect("less than 4 GiB");
    let bytes = ffi::WasmEdge_Bytes { Length: length(code.len()), Buf: code.as_ptr() };
    let name_of = ffi::WasmEdge_String { Length: length(name.len()), Buf: name.as_ptr().cast::<c_char>() };
    let (mut module, mut instance) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the configuration is copied.
    let loader = unsafe { ffi::WasmEdge_LoaderCreate(config.as_ptr()) };
    // SAFETY: the bytes live during the call, and `module` is a place for one pointer.
    let parsed = unsafe { ffi::WasmEdge_LoaderParseFromBytes(loader, &raw mut module, bytes) };
    // SAFETY: the configuration is copied.
    let validator = unsafe { ffi::WasmEdge_ValidatorCreate(config.as_ptr()) };
    // SAFETY: both are live.
    let valid = unsafe { ffi::WasmEdge_ValidatorValidate(validator, module) };
    // SAFETY: the configuration is copied, and there are no statistics.
    let executor = unsafe { ffi::WasmEdge_ExecutorCreate(config.as_ptr(), ptr::null_mut()) };
    // SAFETY: takes nothing.
    let store = unsafe { ffi::WasmEdge_StoreCreate() };
    // SAFETY: all are live, and `instance` is a place for one pointer.
    let made = unsafe { ffi::WasmEdge_ExecutorInstantiate(executor, &raw mut instance, store, module) };
    assert_eq!((parsed.Code, valid.Code, made.Code), (0, 0, 0), "the module is accepted");
    // SAFETY: the instance is live, and the name during the call.
    let function = unsafe { ffi::WasmEdge_ModuleInstanceFindFunction(instance, name_of) };
    assert!(!function.is_null(), "no exported function {name}");
    (executor, function)
}
