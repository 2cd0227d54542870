//! Across hosts: two containers that know each other's addresses and nothing else, here on one loopback. What the
//! transport itself promises is asked in the hose's own tests; here it is the annotations, the administrator's keys, and what is refused.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tests::command::eventually;
use tests::{Bundle, Case, Invocation, guest, ports, wasm_case};

const SOURCE: &str = "wasm32-wasip1/release/pattern-source.wasm";
const SINK: &str = "wasm32-wasip1/release/pattern-sink.wasm";
/// Takes whatever comes.
const HANDLER: &str = r#"(module
  (memory (export "memory") 4)
  (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
  (func (export "deallocate_memory") (param i32))
  (func (export "read_memory_wasm") (param i32 i32)))"#;

const HOSE: &str = "io.roadrunner.hose/";

/// A source and a sink that meet at a port of loopback's.
struct Pair<'a> {
    case: &'a Case,
    port: u16,
    source: Bundle,
    sink: Bundle,
}

impl<'a> Pair<'a> {
    /// Nothing where there is no compiler for the guests.
    fn new(case: &'a Case) -> Option<Self> {
        let (source, sink) = (guest::example(SOURCE)?, guest::example(SINK)?);
        let port = ports::free(1)[0];
        let bundle = |module: &[u8], name: &str, args: &[&str]| {
            let bundle = case.wasm_bytes(module);
            bundle.args(["/module.wasm"].iter().chain(args)).without_namespace("network");
            bundle.edit(|config| {
                let mounts = config["mounts"].as_array_mut().expect("mounts");
                mounts.retain(|mount| mount["type"] != "sysfs");
            });
            bundle
                .annotation(&format!("{HOSE}mode"), "network")
                .annotation(&format!("{HOSE}name"), name)
                .annotation(&format!("{HOSE}workflow"), "w")
                .annotation(&format!("{HOSE}connect-timeout"), "5s");
            bundle
        };
        let (source, sink) = (bundle(&source, "source", &["65537"]), bundle(&sink, "sink", &[]));
        let at = format!("tcp://127.0.0.1:{port}");
        source
            .annotation(&format!("{HOSE}target"), "sink")
            .annotation(&format!("{HOSE}address"), &format!("sink={at}"));
        sink.annotation(&format!("{HOSE}listen"), &at);
        Some(Self { case, port, source, sink })
    }

    /// An administrator's file with this folder of keys.
    fn config(&self, keys: &str) -> PathBuf {
        let file = self.case.dir().join(format!("{keys}.toml"));
        let folder = self.case.dir().join(keys);
        fs::write(&file, format!("tenant = \"t\"\n[hose]\nkeys = \"{}\"\n", folder.display()))
            .expect("write");
        file
    }

    /// A folder of keys, for names and the byte that their key consists of.
    fn keys(&self, name: &str, keys: &[(&str, u8)]) -> PathBuf {
        let folder = self.case.dir().join(name);
        fs::create_dir_all(&folder).expect("mkdir");
        let lines = keys.iter().map(|(name, byte)| format!("{name} {}\n", format!("{byte:02x}").repeat(32)));
        let file = folder.join("t");
        fs::write(&file, lines.collect::<String>()).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
        file
    }

    fn run(&self, config: Option<&PathBuf>, bundle: &Bundle) -> Invocation {
        let cmd = self.case.mark(self.case.runtime().command()).arg("--root").arg(self.case.root());
        let cmd = match config {
            Some(config) => cmd.arg("--config").arg(config),
            None => cmd,
        };
        cmd.args(["run", "--bundle"]).arg(bundle.dir()).arg(self.case.id())
    }

    /// Whether the source's payload arrives.
    fn hand_over(&self, source: Option<&PathBuf>, sink: Option<&PathBuf>) {
        let receiving = self.run(sink, &self.sink).spawn();
        let sent = self.run(source, &self.source).output().success();
        let received = receiving.wait().success();
        let described = sent.stdout.strip_prefix("sent ").expect("a line").trim();
        assert_eq!(received.stdout.trim(), format!("received {described} from source"));
    }

    #[track_caller]
    fn refused(&self, config: Option<&PathBuf>, bundle: &Bundle, words: &str) {
        let out = self.run(config, bundle).output().exits(1);
        assert!(out.error_lines().len() == 1 && out.stderr.contains(words), "{words}: {}", out.stderr);
        self.case.nothing_left();
    }
}

#[test]
fn containers_meet_by_address_with_keys_and_on_loopback_without() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    pair.hand_over(None, None);
    for transfer in ["copy", "splice"] {
        pair.source.annotation(&format!("{HOSE}transfer"), transfer);
        pair.hand_over(None, None);
    }
    pair.keys("keys", &[("source", 1), ("sink", 2)]);
    let config = pair.config("keys");
    pair.hand_over(Some(&config), Some(&config));
}

#[test]
fn a_peer_without_its_names_key_gets_nowhere() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    pair.keys("right", &[("source", 1), ("sink", 2)]);
    pair.keys("wrong", &[("source", 9), ("sink", 2)]);
    let (right, wrong) = (pair.config("right"), pair.config("wrong"));
    let receiving = pair.run(Some(&right), &pair.sink).spawn();
    eventually("the sink listens", || TcpStream::connect(("127.0.0.1", pair.port)).is_ok());
    // Whether with another key or with none.
    for config in [Some(&wrong), None] {
        let out = pair.run(config, &pair.source).output();
        assert_ne!(out.code, 0, "{} {}", out.stdout, out.stderr);
        assert!(!out.stdout.contains("sent"), "{}", out.stdout);
    }
    let sent = pair.run(Some(&right), &pair.source).output().success();
    let described = sent.stdout.strip_prefix("sent ").expect("a line").trim();
    assert_eq!(receiving.wait().success().stdout.trim(), format!("received {described} from source"));
}

#[test]
fn keys_that_are_no_secret_are_not_used() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    let file = pair.keys("keys", &[("source", 1), ("sink", 2)]);
    let config = pair.config("keys");
    // Inside of what the function sees.
    pair.sink.bind(file.parent().expect("a folder"), "/mnt", &["ro", "rbind"]);
    pair.refused(Some(&config), &pair.sink, "mount at /mnt");
    // Readable for others.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
    pair.refused(Some(&config), &pair.source, "no secret");
    // For somebody else.
    pair.keys("others", &[("else", 1), ("sink", 2)]);
    pair.refused(Some(&pair.config("others")), &pair.source, "no key for source");
    pair.refused(Some(&pair.config("none")), &pair.source, "/none/t");
    let bad = pair.keys("bad", &[]);
    fs::write(&bad, "source 00\n").expect("write");
    pair.refused(Some(&pair.config("bad")), &pair.source, "line 1");
    // Nor is anything left of an end that the host's own containers would have found.
    pair.source.annotation(&format!("{HOSE}mode"), "kernel,network");
    let config = pair.config("bad");
    let hoses = case.dir().join("hose");
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, format!("{text}directory = \"{}\"\n", hoses.display())).expect("write");
    pair.refused(Some(&config), &pair.source, "line 1");
    assert!(!hoses.exists(), "an end was published");
}

#[test]
fn without_keys_nothing_but_loopback_and_listed_networks_is_listened_on() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    let all = format!("tcp://0.0.0.0:{}", pair.port);
    pair.sink.annotation(&format!("{HOSE}listen"), &all);
    pair.refused(None, &pair.sink, "without keys");
    let config = case.dir().join("trusting.toml");
    fs::write(&config, "tenant = \"t\"\n[hose]\ntrusted-networks = \"0.0.0.0/0\"\n").expect("write");
    pair.hand_over(None, Some(&config));
    fs::write(&config, "[hose]\ntrusted-networks = \"10.0.0.0/33\"\n").expect("write");
    pair.refused(Some(&config), &pair.sink, "hose.trusted-networks");
}

#[test]
fn a_port_that_is_taken_fails_create() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    let _taken = TcpListener::bind(("127.0.0.1", pair.port)).expect("bind");
    pair.refused(None, &pair.sink, &format!("listen on 127.0.0.1:{}", pair.port));
}

#[test]
fn what_crosses_is_counted_under_its_transport() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    let id = case.id();
    case.start(&pair.sink, &id);
    let _ = pair.run(None, &pair.source).output().success();
    case.await_stopped(&id);
    let text = case.cmd(["hose", "stats", "--format", "json", &id]).ok();
    let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let [peer] = &stats[0]["peers"].as_array().expect("peers")[..] else { panic!("one peer: {stats}") };
    assert_eq!((peer["mode"].as_str(), peer["calls"].as_u64()), (Some("tcp"), Some(1)), "{stats}");
    let listed = case.cmd(["hose", "ls", "--format", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["mode"], serde_json::json!(["network"]), "{listed}");
    case.delete(&id);
}

#[test]
fn a_function_that_serves_is_reached_across_hosts_and_drains() {
    let case = wasm_case!();
    let Some(pair) = Pair::new(&case) else { return };
    let handler = wat::parse_str(HANDLER).expect("the test's own module");
    fs::write(pair.sink.rootfs().join("module.wasm"), handler).expect("write");
    pair.sink.annotation(&format!("{HOSE}lifecycle"), "serve");
    let id = case.id();
    let pid = case.start(&pair.sink, &id);
    for _ in 0..3 {
        let _ = pair.run(None, &pair.source).output().success();
    }
    assert_eq!(case.status(&id), "running");
    case.cmd(["kill", &id, "TERM"]).ok();
    assert_eq!(case.exit_status(pid), 0);
    case.await_stopped(&id);
    case.delete(&id);
}
