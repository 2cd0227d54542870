//! Across hosts: the library's sender and receiver in two network namespaces with a veth between them, against a plain program that writes and
//! reads, and, with keys, computes the same tag (`hose/examples/transfer.rs`). They take turns, each end on a processor of its own, as hosts have: left to itself the system puts both on one
//! now and then, either contestant's.
//!
//! Reno paces nothing. BBR paces by what it has seen, so that a connection which was slow once stays slow, either contestant's: with it a ratio
//! tells of luck, and has no bar.
//!
//! The namespaces have no names: each lives as long as a process in it, and those end with this one, however it ends. With them go the veth
//! and its limit.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use crate::example;
use crate::memory::micro;
use crate::report::{Bar, Report, median};
use crate::unix::{on, processors};

/// Of either end; the program trusts 10.0.0.0/8.
const ADDRESSES: [&str; 2] = ["10.177.0.1", "10.177.0.2"];
const LARGE: usize = 100_000_000;
/// Turns of the contestants.
const TURNS: usize = 8;
/// Payloads of a turn. Of the first dozen on a connection the hose lends three, to know which way is the slower.
const PAYLOADS: usize = 40;

pub(crate) fn measure(report: &mut Report) {
    let hosts = Hosts::new();
    for (control, bar) in [("reno", Bar::AtLeast("≥ 0.95", 0.95)), ("bbr", Bar::None)] {
        if !hosts.control_congestion(control) {
            println!("tcp: {control} is left out: this kernel does not have it for a namespace");
            continue;
        }
        for (how, what, same) in [("plain", "no key", ""), ("keyed", "with keys", " with the same tag")] {
            let (bare, ours) = hosts.turns(how, LARGE, PAYLOADS, TURNS);
            let detail = format!("{} / {}", micro(ours), micro(bare));
            let name = format!(
                "tcp: throughput over a veth, 100 MB, {what}, against a plain program's{same}, {control}"
            );
            report.value(name, bare / ours, "ratio", bar, detail);
        }
    }
    hosts.control_congestion("reno");
    hosts.limit("100mbit");
    for (size, turns, name) in [
        (10_000_000, 3, "tcp: time over a veth of 100 Mbit/s, 10 MB, against a plain program's"),
        (40_000_000, 1, "tcp: time over a veth of 100 Mbit/s, 40 MB, against a plain program's"),
    ] {
        let (bare, ours) = hosts.turns("plain", size, 1, turns);
        let detail = format!("{} / {}", micro(ours), micro(bare));
        report.value(name, ours / bare, "ratio", Bar::AtMost("≤ 1.02", 1.02), detail);
    }
}

/// Two hosts, as far as their networks go.
struct Hosts([Host; 2]);

/// A network namespace, and the process that keeps it: it ends when its standard input does.
struct Host {
    keeper: Child,
    _input: ChildStdin,
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its end is what matters, and it may have come already.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

impl Host {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("unshare runs");
        let mut input = keeper.stdin.take().expect("a pipe");
        // It answers from within.
        input.write_all(b"there\n").expect("it reads");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut line).expect("it answers");
        assert_eq!(line, "there\n", "a network namespace cannot be made");
        Self { keeper, _input: input }
    }

    /// A program of this host.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--net").arg("--target").arg(self.keeper.id().to_string());
        command.args(["setpriv", "--pdeathsig", "KILL"]).args(words);
        command
    }

    fn output(&self, words: &[&str]) -> Output {
        tests::command::bare_output(&mut self.command(words)).expect("nsenter runs")
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words:?}: {}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Hosts {
    fn new() -> Self {
        let hosts = [Host::new(), Host::new()];
        let other = hosts[1].keeper.id().to_string();
        hosts[0]
            .run(&["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", &other]);
        for (host, address) in hosts.iter().zip(ADDRESSES) {
            host.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "veth0"]);
            host.run(&["ip", "link", "set", "veth0", "up"]);
        }
        Self(hosts)
    }

    /// Has the congestion of connections that are still to come controlled by this algorithm: whether the kernel can.
    fn control_congestion(&self, algorithm: &str) -> bool {
        let write = format!("echo {algorithm} 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control");
        self.0.iter().all(|host| host.output(&["sh", "-c", &write]).status.success())
    }

    /// Bounds what the first sends.
    fn limit(&self, rate: &str) {
        let words = "tc qdisc add dev veth0 root tbf burst 128kb latency 50ms rate";
        self.0[0].run(&words.split(' ').chain([rate]).collect::<Vec<_>>());
    }

    /// Medians of the plain program and of the hose, in nanoseconds.
    fn turns(&self, how: &str, size: usize, count: usize, turns: usize) -> (f64, f64) {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        let bytes = size.to_string();
        for _ in 0..turns {
            bare.extend(self.times(&["tcp-bare", ADDRESSES[1], &bytes, how], "bare-tcp", how, size, count));
            ours.extend(self.times(&["tcp-receive", ADDRESSES[1], how], "hose-tcp", how, size, count));
        }
        (median(&bare), median(&ours))
    }

    /// What the sender needs.
    fn times(&self, receiver: &[&str], sender: &str, how: &str, size: usize, count: usize) -> Vec<f64> {
        let transfer = example("transfer").display().to_string();
        let listen = format!("{}:0", receiver[1]);
        let words: Vec<&str> =
            [&transfer, receiver[0], &listen].into_iter().chain(receiver[2..].iter().copied()).collect();
        let (size, count) = (size.to_string(), count.to_string());
        meet(self.0[1].command(&words), |address| {
            self.0[0].run(&[&transfer, sender, address, how, &size, &count])
        })
    }
}

/// What `send` prints, beside a receiver that says first where it listens; each is on a processor of its own.
fn meet(mut receiver: Command, send: impl FnOnce(&str) -> String) -> Vec<f64> {
    let all = processors();
    let start = || receiver.stdout(Stdio::piped()).spawn().expect("the receiver starts");
    let mut receiver = on(all.last().copied(), start);
    let mut address = String::new();
    BufReader::new(receiver.stdout.take().expect("a pipe")).read_line(&mut address).expect("an address");
    let sent = on(all.first().copied(), || send(address.trim()));
    // The hose's goes on listening. One that has ended may have been waited for by a case's harness, which inherits what it leaves.
    let _ = receiver.kill();
    let _ = receiver.wait();
    sent.lines().map(|line| line.parse().expect("a number")).collect()
}

/// Nanoseconds of the plain program over loopback.
pub(crate) fn bare_over_loopback(size: u64, count: usize) -> Vec<f64> {
    let transfer = example("transfer");
    let size = size.to_string();
    let mut receiver = Command::new(&transfer);
    receiver.args(["tcp-bare", "127.0.0.1:0", &size, "plain"]);
    meet(receiver, |address| {
        let count = count.to_string();
        let mut sender = Command::new(&transfer);
        sender.args(["bare-tcp", address, "plain", &size, &count]).stderr(Stdio::inherit());
        let output = tests::command::bare_output(&mut sender).expect("transfer runs");
        assert!(output.status.success(), "transfer: {}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    })
}
