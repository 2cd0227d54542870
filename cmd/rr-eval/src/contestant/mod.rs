//! The contestants: who they are, and how their functions are started in a placement.

mod external;
mod hose;
mod native;
mod sockets;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;

use crate::bundle::{Bundle, Network, Node};
use crate::launch;

pub(crate) use external::read as read_external;

/// Where two functions are.
#[derive(Clone, Debug)]
pub(crate) enum Placement {
    /// On one node.
    Node,
    /// On two, and the receivers' address.
    Nodes { source: Node, sink: Node, address: std::net::IpAddr },
}

/// A pair of functions, and the road between them.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    /// As it stands in tables.
    pub(crate) name: String,
    /// Whether it is one of those that the paper compares, or takes part in the figure by size alone.
    pub(crate) main: bool,
    road: Road,
}

#[derive(Clone, Debug)]
enum Road {
    Hose(hose::Hose),
    Sockets(sockets::Sockets),
    Native { road: &'static str, form: &'static str },
    External { source: Vec<String>, sink: Vec<String> },
}

/// What contestants are made of, and where.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// rr-runtime.
    pub(crate) runtime: PathBuf,
    /// runc, where it is installed.
    pub(crate) peer: Option<PathBuf>,
    /// Cruns that run modules in WasmEdge, by their names: those of [`ENGINE_PEERS`] that there are.
    pub(crate) engine_peers: Vec<(&'static str, PathBuf)>,
    /// Folder of the modules.
    pub(crate) modules: PathBuf,
    /// The native program.
    pub(crate) native: PathBuf,
    /// Folder of modules and a photograph from registries, where there is one.
    pub(crate) samples: Option<PathBuf>,
    /// The administrator's file of the runs' own.
    pub(crate) config: PathBuf,
    /// Folder for states and bundles, below which everything is taken away.
    pub(crate) folder: PathBuf,
}

/// One program to start; of several, the first is the sender.
pub(crate) enum Recipe {
    /// In a container: the runtime with its global flags, and the bundle.
    Container {
        runtime: Vec<String>,
        bundle: Box<Bundle>,
    },
    Bare(Vec<String>),
}

/// A contestant's programs for one sender and its receivers.
pub(crate) struct Line {
    /// The receivers' programs first, in the order in which they are to be started; the sender's is the last.
    pub(crate) programs: Vec<Recipe>,
    /// How many of the first say `ready` when a sender may come.
    pub(crate) say_ready: usize,
}

/// A function of a workflow of pictures.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// Whom it sends to.
    pub(crate) targets: Vec<&'static str>,
    /// How many send to it.
    pub(crate) senders: usize,
}

impl Function {
    /// Where the camera finds its film.
    const FILM: &'static str = "/film";
}

/// All contestants of the project.
pub(crate) fn all() -> Vec<Contestant> {
    let mut all = hose::all();
    all.extend(native::all());
    all.extend(sockets::all());
    all
}

impl Contestant {
    /// Why it cannot take part on this machine, where it cannot.
    pub(crate) fn missing(&self, workshop: &Workshop) -> Option<String> {
        match &self.road {
            Road::Hose(_) => hose::MODULES.iter().find_map(|name| not_built(&workshop.modules.join(name))),
            Road::Sockets(sockets) => {
                sockets.missing(workshop).or_else(|| not_built(&workshop.modules.join(sockets::MODULE)))
            }
            Road::Native { .. } if workshop.peer.is_none() => Some("runc is not installed".to_owned()),
            Road::Native { .. } => not_built(&workshop.native),
            Road::External { .. } => None,
        }
    }

    /// Whether it has a road in this placement, to so many receivers.
    pub(crate) fn goes(&self, between_nodes: bool, fan_out: usize) -> bool {
        match &self.road {
            Road::Hose(hose) => !between_nodes || hose.crosses_hosts(),
            Road::Sockets(_) => true,
            Road::Native { road, .. } => {
                (!between_nodes || native::crosses_hosts(road)) && (fan_out == 1 || native::fans_out(road))
            }
            Road::External { .. } => !between_nodes && fan_out == 1,
        }
    }

    /// Why it cannot take part in workflows of pictures, where it cannot.
    pub(crate) fn shows_no_pictures(&self, workshop: &Workshop) -> Option<String> {
        let built = |name: &str| workshop.modules.join(name);
        match &self.road {
            Road::Hose(_) if self.main => hose::PICTURES.iter().find_map(|name| not_built(&built(name))),
            Road::Sockets(_) if self.main => not_built(&built(sockets::MODULE)),
            Road::Native { road: "http", .. } => not_built(&workshop.native),
            _ => Some("only the roads that the paper compares take part".to_owned()),
        }
    }

    /// The programs of a workflow of pictures, on one node; the first function shows the film.
    pub(crate) fn workflow(
        &self,
        workshop: &Workshop,
        film: &Path,
        functions: &[Function],
        tag: &str,
    ) -> Result<Line> {
        match &self.road {
            Road::Hose(hose) => hose.workflow(workshop, film, functions, tag),
            Road::Sockets(sockets) => sockets.workflow(workshop, film, functions),
            Road::Native { form, .. } => native::workflow(form, workshop, film, functions),
            Road::External { .. } => anyhow::bail!("{} shows no pictures", self.name),
        }
    }

    /// Whether it takes part in warm calls: bytes as they are, over the roads that a caller would choose.
    pub(crate) fn is_called_warm(&self) -> bool {
        match &self.road {
            Road::Hose(_) => self.main,
            Road::Sockets(sockets) => self.main && sockets.is_raw(),
            Road::Native { road, form } => *form == "raw" && matches!(*road, "http" | "grpc" | "unix"),
            Road::External { .. } => true,
        }
    }

    /// Its programs for a sender and `fan_out` receivers.
    pub(crate) fn line(
        &self,
        workshop: &Workshop,
        placement: &Placement,
        fan_out: usize,
        tag: &str,
    ) -> Result<Line> {
        match &self.road {
            Road::Hose(hose) => hose.line(workshop, placement, fan_out, tag),
            Road::Sockets(sockets) => sockets.line(workshop, placement, fan_out),
            Road::Native { road, form } => native::line(road, form, workshop, placement, fan_out, tag),
            Road::External { source, sink } => Ok(Line {
                programs: vec![Recipe::Bare(sink.clone()), Recipe::Bare(source.clone())],
                say_ready: 1,
            }),
        }
    }
}

fn not_built(path: &Path) -> Option<String> {
    (!path.is_file()).then(|| format!("{} is not built", path.display()))
}

/// The functions of a workflow of pictures that post frames to each other: `container` makes one of its arguments and files.
fn over_http(
    form: &str,
    film: &Path,
    functions: &[Function],
    container: impl Fn(Vec<String>, &[&Path]) -> Result<Recipe>,
) -> Result<Line> {
    let [camera, workers @ ..] = functions else { anyhow::bail!("a workflow without functions") };
    let addresses = Placement::Node.addresses(workers.len())?;
    let at: BTreeMap<&str, &String> = workers.iter().map(|worker| worker.name).zip(&addresses).collect();
    let targets =
        |function: &Function| function.targets.iter().map(|name| at[name].clone()).collect::<Vec<_>>();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let worker = |(worker, address): (&Function, &String)| {
        let senders = worker.senders.to_string();
        container([words(&["worker", form, worker.name, &senders, address]), targets(worker)].concat(), &[])
    };
    // Those that are sent to are there before those that send.
    let mut programs = workers.iter().zip(&addresses).rev().map(worker).collect::<Result<Vec<Recipe>>>()?;
    programs.push(container([words(&["camera", form, Function::FILM]), targets(camera)].concat(), &[film])?);
    Ok(Line { say_ready: workers.len(), programs })
}

impl Placement {
    fn sink_network(&self) -> Network {
        match self {
            Self::Node => Network::Host,
            Self::Nodes { sink, .. } => Network::Of(sink.clone()),
        }
    }

    fn source_network(&self) -> Network {
        match self {
            Self::Node => Network::Host,
            Self::Nodes { source, .. } => Network::Of(source.clone()),
        }
    }

    /// Addresses for so many receivers.
    fn addresses(&self, count: usize) -> Result<Vec<String>> {
        match self {
            Self::Node => {
                free_ports(count).map(|ports| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect())
            }
            // All ports of the namespace are ours; each is used once, so that nobody meets another one's receiver.
            Self::Nodes { address, .. } => {
                Ok((0..count).map(|_| format!("{address}:{}", next_port())).collect())
            }
        }
    }
}

/// The port after the last one, from any on, as others choose theirs at the same time. All are below those that the kernel gives to whoever asks
/// for any (`ip_local_port_range`, ip(7)): nobody gets one by chance before it is listened at.
fn next_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..PORTS)));
    10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS
}

/// How many ports there are to choose from.
const PORTS: u16 = 20_000;

/// Ports of loopback that nobody has.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, next_port())) {
            Ok(listener) => held.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(held
        .iter()
        .map(|listener| listener.local_addr().map(|at| at.port()))
        .collect::<std::io::Result<_>>()?)
}

/// The folder of rr-runtime's states in a run's folder; another runtime's bears its name.
const OURS: &str = "ours";

/// Other runtimes of native programs.
pub(crate) const PEERS: [&str; 2] = ["runc", "crun"];

/// Names of the other runtime of modules, and of its states' folders: with the engine's libraries as they are packaged, and with those that are prepared
/// for ours.
pub(crate) const ENGINE_PEERS: [&str; 2] = ["crun + WasmEdge", "crun + our WasmEdge"];

impl Workshop {
    /// The folders of states, and whose they are.
    pub(crate) fn roots(&self) -> Vec<(&'static str, PathBuf)> {
        let peers = PEERS.into_iter().filter_map(|name| Some((name, launch::installed(name)?)));
        peers.chain(self.engine_peers.clone()).chain([(OURS, self.runtime.clone())]).collect()
    }

    /// The runtime's words before its verb.
    pub(crate) fn ours(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let root = text(&self.folder.join(OURS));
        vec![text(&self.runtime), "--root".into(), root, "--config".into(), text(&self.config)]
    }

    /// Another runtime's, whose states are in the folder of its name.
    pub(crate) fn theirs(&self, name: &str, program: &Path) -> Vec<String> {
        vec![program.display().to_string(), "--root".into(), self.folder.join(name).display().to_string()]
    }

    /// What a module is to the other runtime of modules: the module and its compiled code, in one file. It is made when it is not there yet.
    pub(crate) fn universal(&self, module: &Path) -> Result<PathBuf> {
        let file = self.folder.join(module.file_name().unwrap_or_default());
        if !file.is_file() {
            self.compile_with(module, &["--output".as_ref(), file.as_os_str()])?;
        }
        Ok(file)
    }

    /// Compiles all modules into the cache beforehand, so that no sender waits for a compiler.
    pub(crate) fn compile(&self) -> Result<()> {
        let modules = hose::MODULES
            .iter()
            .chain(&hose::PICTURES)
            .chain([&sockets::MODULE])
            .map(|name| self.modules.join(name));
        modules.filter(|module| module.is_file()).try_for_each(|module| self.compile_module(&module))
    }

    /// Compiles one module into the cache.
    pub(crate) fn compile_module(&self, module: &Path) -> Result<()> {
        self.compile_with(module, &[])
    }

    fn compile_with(&self, module: &Path, options: &[&OsStr]) -> Result<()> {
        let words = self.ours();
        let mut command = Command::new(&words[0]);
        let output = command.args(&words[1..]).arg("compile").args(options).arg(module).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "compile {}: {}", module.display(), text.trim());
        Ok(())
    }
}
