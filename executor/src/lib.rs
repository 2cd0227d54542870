//! The Wasm side of a container's init: it reads a module, checks it, runs it in WasmEdge, and turns its end into
//! an exit code.
//!
//! Built as a shared object, `librr_executor.so`, which the runtime loads for a Wasm workload only, and whose one
//! symbol is [`rr_executor_table`]; `executor_abi` describes the boundary. It knows nothing of OCI beyond what it is handed.
//!
//! | module | is |
//! | --- | --- |
//! | `table` | the C boundary |
//! | `prepare` | a request → a function that is ready; no instruction has run |
//! | `module` | the bytes: which file, is it a module, where is what in it |
//! | `link` | what it may import and must export |
//! | `wasi` | arguments, environment, directories; faults of the engine's WASI mended |
//! | `run` | a function that is ready → an exit code |
//! | `statistics` | counting what crosses, in a page of the runtime's |
//! | `serve` | the function stays, one payload after the other |
//! | `stop` | how it is asked to end then |
//! | `outside` | the container's end of the hose, of what a request gave |
//! | `bound` | standard streams that are payloads |
//! | `bytes` | a function that takes standard input as bytes and gives what is written to standard output |
//! | `host` | the imports of module `roadrunner`, payloads for a handler |
//! | `vm` | an instance of a module, with all that it needs |
//! | `workflow` | the functions of one process, and the memory transport between them |
//! | `chain` | which call is made within which |
//! | `crew` | work that is shared among threads |
//! | `control` | functions that are added to a running workflow |
//! | `parcel` | a payload that waits to be pulled by another thread |
//! | `watch` | deadlines of calls |
//! | `memory` | the only two ways into linear memory |
//! | `trap` | what is said about a trap |
//! | `process` | descriptors, signals, clock, `/proc/PID` |
//! | `confine` | the system calls that are left |
//! | `faults` | the engine's handlers of faults |
//! | `compile` | ahead-of-time code, for the runtime's compiler child |
//! | `machine_code` | what the engine's compiler made |
//! | `engine` | WasmEdge's C interface |

mod bound;
mod bytes;
mod calls;
mod chain;
mod compile;
mod confine;
mod control;
mod crew;
mod engine;
mod error;
mod faults;
mod host;
mod link;
mod machine_code;
mod memory;
mod module;
mod outside;
mod parcel;
mod prepare;
mod process;
mod resident;
mod run;
mod serve;
mod statistics;
mod stop;
mod table;
mod trap;
mod vm;
mod wasi;
mod watch;
mod workflow;

pub use compile::compile;
pub use error::{Error, ErrorKind, Result};
pub use prepare::{Prepared, prepare};
pub use table::{describe, rr_executor_table};
