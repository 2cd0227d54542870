//! Two nodes on one machine: network namespaces with a pair of veth between them, and a token bucket (tc-tbf(8)) at either end where there
//! is a rate. Each has half of the processors for itself. Gone when it is dropped.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::bundle::Node;
use crate::contestant::Placement;
use crate::sweep;

/// The receivers' address; the namespaces have no way out, so nothing else has to be looked for.
const SINK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// See the module.
pub(crate) struct Nodes {
    names: [String; 2],
}

impl Nodes {
    /// Makes both, with `rate` bits per second between them; 0 is unlimited.
    pub(crate) fn make(rate: u64) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |node: &str| format!("{}{}-{node}{number}", sweep::PREFIX, std::process::id());
        let nodes = Self { names: [name("a"), name("b")] };
        let [a, b] = &nodes.names;
        for node in [a, b] {
            ip(&["netns", "add", node])?;
            ip(&["-n", node, "link", "set", "lo", "up"])?;
        }
        ip(&["-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b])?;
        for (node, address) in [(a, "10.77.0.1/24".to_owned()), (b, format!("{SINK}/24"))] {
            ip(&["-n", node, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", node, "link", "set", "eth0", "up"])?;
            unpaced(node)?;
            if rate > 0 {
                let burst = burst(rate).to_string();
                let rate = format!("{rate}bit");
                let words = ["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", &burst];
                run(Command::new("tc").args(["-n", node]).args(words).args(["latency", "50ms"]))?;
            }
        }
        Ok(nodes)
    }

    pub(crate) fn placement(&self) -> Placement {
        let [source, sink] = self.names.each_ref().map(|name| PathBuf::from("/run/netns").join(name));
        let [first, second] = halves(&allowed());
        Placement::Nodes {
            source: Node { network: source, processors: first },
            sink: Node { network: sink, processors: second },
            address: IpAddr::V4(SINK),
        }
    }
}

/// The processors that this process may use.
fn allowed() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None);
    set.map_or_else(
        |_| Vec::new(),
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
    )
}

/// The processors of either node; of a single one both have to share it.
fn halves(processors: &[usize]) -> [Option<String>; 2] {
    let list = |half: &[usize]| half.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (first, second) = processors.split_at(processors.len() / 2);
    [first, second].map(|half| (!first.is_empty()).then(|| list(half)))
}

/// Bytes that the bucket of such a rate, in bits per second, lets through at once: as much as 4 ms bring, at least two of the largest packets that
/// veth hands on in one.
pub(crate) fn burst(rate: u64) -> u64 {
    (rate / 8 / 250).max(128 * 1024)
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // The pair of veth goes with its namespaces.
        for name in &self.names {
            let _ = delete(name);
        }
    }
}

/// Takes a node away.
pub(crate) fn delete(name: &str) -> Result<()> {
    ip(&["netns", "delete", name])
}

/// Where the machine's congestion control is BBR it is Reno here: BBR paces by what it has seen, so that a connection which was slow once stays slow,
/// whosever it is.
fn unpaced(node: &str) -> Result<()> {
    let control = "/proc/sys/net/ipv4/tcp_congestion_control";
    let script = format!("grep -qv bbr {control} || echo reno >{control}");
    ip(&["netns", "exec", node, "sh", "-c", &script])
}

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_half_of_the_processors() {
        let halves = |processors: &[usize]| halves(processors).map(Option::unwrap_or_default);
        assert_eq!(halves(&[]), ["", ""]);
        assert_eq!(halves(&[3]), ["", ""]);
        assert_eq!(halves(&[0, 1]), ["0", "1"]);
        assert_eq!(halves(&[0, 2, 4]), ["0", "2,4"]);
    }
}
