//! What crosses the boundary, as JSON: plain data, validated by the side that makes it and again, where it
//! matters, by the side that takes it.
//!
//! File descriptors are given by number; they are open in the process that makes the call, and the callee
//! owns them from then on.

use serde::{Deserialize, Serialize};

/// Answer of [`crate::Table::describe`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Description {
    /// Name of the engine, `wasmedge`.
    pub engine: String,
    /// Version of the engine's library as loaded, such as `0.17.1`.
    pub version: String,
    /// Version of the executor itself.
    pub executor: String,
    /// Proposals of WebAssembly that modules may use.
    pub proposals: Vec<String>,
}

/// Argument of [`crate::Table::prepare`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// The module.
    pub module: Module,
    /// What the function sees as its argument vector; `args[0]` is its name.
    pub args: Vec<String>,
    /// `KEY=value` strings, in the spec's order.
    pub env: Vec<String>,
    /// Directories that the function may open.
    pub preopens: Vec<Preopen>,
    /// Limits.
    pub limits: Limits,
    /// Leave the process the system calls that its functions need, and no others: its container has no filter of its own.
    pub confine: bool,
    /// The hose, when the workload has one.
    pub hose: Option<Hose>,
}

/// Which code to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Path of the module as the container sees it: absolute, or relative to the working directory.
    pub path: String,
    /// Exported function to call instead of the module's own entry point (`module.wasm#function`).
    pub function: Option<String>,
    /// Code compiled ahead of time, if there is any.
    pub aot: Option<Aot>,
    /// Largest accepted module in bytes.
    pub max_size: u64,
}

/// An entry of the cache of ahead-of-time code, opened by the runtime before pivot_root.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aot {
    /// Descriptor of the entry, read-only: a universal Wasm file.
    pub fd: i32,
    /// Offset and length in bytes of the Wasm file within the entry.
    pub offset: u64,
    /// See `offset`.
    pub len: u64,
    /// What the runtime saw of the module when it chose the entry. Where the file in the container is
    /// another one, the entry is not used.
    pub module: FileIdentity,
    /// SHA-256 of the module that it was made of, in lower-case hexadecimal.
    pub digest: String,
}

/// Identity of a file's contents, as far as `stat` tells it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// `st_size` in bytes.
    pub size: u64,
    /// `st_mtime` in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// `st_ctime` in nanoseconds since the epoch.
    pub ctime_ns: i64,
}

/// A preopened directory.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Preopen {
    /// Name that the function knows it by.
    pub guest: String,
    /// Path in the container.
    pub host: String,
    /// Refuse writing even where the file system would permit it.
    pub read_only: bool,
}

/// Limits of one function. `None` is no limit but the cgroup's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest linear memory in bytes.
    pub max_memory: Option<u64>,
    /// Wall-clock time from `start`, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Instructions, counted by the engine.
    pub fuel: Option<u64>,
}

/// A function's hose: its name, whom it sends to, limits, and the other functions of its process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hose {
    /// Name of this function.
    pub name: String,
    /// Its workflow.
    pub workflow: String,
    /// Names of the functions that `send_to_host` sends to.
    pub targets: Vec<String>,
    /// The way to functions of other containers, if there is one.
    pub endpoint: Option<Endpoint>,
    /// The way to functions of other hosts, if there is one.
    pub network: Option<Network>,
    /// The other functions of this process, which the memory transport reaches.
    pub functions: Vec<Function>,
    /// Listening Unix socket (`SOCK_SEQPACKET`) over which more of them are added: see [`Add`].
    pub control_fd: Option<i32>,
    /// How the bytes of a payload cross: `auto`, `copy`, `move`, `memfd` or `splice`.
    pub transfer: String,
    /// How long a sender waits for its peer to appear, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long one payload may take until it is handled, in milliseconds.
    pub io_timeout_ms: u64,
    /// Largest payload in bytes.
    pub max_size: u64,
    /// How many payloads may wait while one is handled.
    pub max_inflight: u32,
    /// How long the function lives.
    pub lifecycle: Lifecycle,
    /// What the standard input of the container's own function is, where it is not the process's.
    pub stdin: Option<Stdin>,
    /// What becomes of its standard output.
    pub stdout: Option<Stdout>,
    /// Where to count what crosses: [`crate::statistics`].
    pub statistics: Option<Shared>,
}

/// What a function reads as its standard input.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// One payload, whole.
    Payload,
    /// What one sender streams: payloads one after the other, of which one without bytes is the end.
    Stream,
}

/// What becomes of what a function writes to its standard output.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Stdout {
    /// The answer to the payload that is its standard input.
    Answer,
    /// One payload to all its targets, once it has ended well.
    Payload,
    /// A stream to all its targets, as it is written.
    Stream,
}

/// Memory of the process that makes the call, mapped shared, zeroed or initialised as its use wants it, and the callee's from then on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// Address of the first byte, a multiple of the page size.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
}

/// How long a function lives that is given payloads.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Lifecycle {
    /// Until the last of those who have sent to it has closed its connection, or it fails.
    #[default]
    Oneshot,
    /// Until it is asked to end. An instance that fails is replaced.
    Serve {
        /// How long what runs then may take, in milliseconds.
        drain_timeout_ms: u64,
    },
}

/// Descriptors and secret of a container's published end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Listening Unix socket of this function.
    pub listener_fd: Option<i32>,
    /// Root of a detached, read-only mount of the tenant's rendezvous folder (`O_PATH`).
    pub rendezvous_fd: i32,
    /// Secret of this container, 32 bytes in lower-case hexadecimal.
    pub secret: String,
}

/// How a container meets others across hosts. Addresses are `IP:PORT`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where this function takes connections, in the container's network.
    pub listen: Option<String>,
    /// Where its targets do: names and addresses.
    pub addresses: Vec<(String, String)>,
    /// Pre-shared keys, as in their file.
    pub keys: Option<String>,
    /// Networks whose hosts are believed as long as there are no keys.
    pub trusted: String,
    /// Whether it is tried before the host's own sockets.
    pub preferred: bool,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys are nobody's to print.
        f.debug_struct("Network")
            .field("listen", &self.listen)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// A further function of a user-space workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its module.
    pub module: Module,
    /// SHA-256 of the module in lower-case hexadecimal: another one does not run.
    pub digest: String,
    /// Whom it sends to.
    pub targets: Vec<String>,
}

/// What a running workflow is told over its control socket: one packet, with the descriptor of the function's compiled code, if it
/// has any, beside it (`SCM_RIGHTS`; the number in [`Aot::fd`] means nothing then). It is answered by an [`Added`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// The function.
    pub function: Function,
    /// The functions of this process that get it as their last target.
    pub senders: Vec<String>,
}

/// Answer to an [`Add`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Added {
    /// The function is part of the workflow.
    Joined,
    /// It is not, for this reason.
    Refused(String),
}

/// Bytes of the longest packet of a control socket.
pub const MAX_PACKET: usize = 64 << 10;

/// Argument of [`crate::Table::compile`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compile {
    /// Descriptor of the module: a sealed memfd.
    pub module_fd: i32,
    /// Directory for the compiler's own temporary files.
    pub scratch: String,
    /// Code that counts instructions, for a workload with `wasm/fuel`.
    pub fuel: bool,
    /// Code that another thread can stop, for the functions of a workflow.
    pub interruptible: bool,
    /// Whether it is optimized. The optimizer crashes with some modules.
    pub optimize: bool,
}
