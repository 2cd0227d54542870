//! Workflows of the paper's shapes over each transport, and mixed: a chain of ten, a fan-out to a hundred, a fan-in from a hundred. Every
//! function changes what it passes on, so that an answer says which way it came.

use tests::{Bundle, Case, Flow, Hoses, ports, wasm_case};

const HOSE: &str = "io.roadrunner.hose/";
const CHAIN: usize = 10;
const MANY: usize = 100;

const IMPORTS: &str = r#"
  (import "roadrunner" "send_to_host" (func $send (param i32 i32) (result i32)))
  (import "roadrunner" "register_memory" (func $register (param i32 i32) (result i32)))
  (import "roadrunner" "set_status" (func $set_status (param i32) (result i32)))
  (import "roadrunner" "targets" (func $targets (result i32)))
  (import "roadrunner" "target_status" (func $target_status (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)"#;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own module")
}

/// Sends one byte, and exits with the sum of what its targets said, modulo 128.
fn first(byte: usize) -> Vec<u8> {
    wat(&format!(
        r#"(module {IMPORTS}
  (data (i32.const 1024) "\{byte:02x}")
  (func (export "_start") (local $i i32) (local $sum i32)
    (drop (call $register (i32.const 1024) (i32.const 1)))
    (drop (call $send (i32.const 1024) (i32.const 1)))
    (loop $each
      (if (i32.lt_s (call $target_status (local.get $i)) (i32.const 0)) (then (call $exit (i32.const 255))))
      (local.set $sum (i32.add (local.get $sum) (call $target_status (local.get $i))))
      (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (call $targets))))
    (call $exit (i32.and (local.get $sum) (i32.const 127)))))"#
    ))
}

/// A handler with this body for the region at `local.get 0`.
fn handler(body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module {IMPORTS}
  (global $taken (mut i32) (i32.const 0))
  (func (export "allocate_memory") (param i32) (result i32) (i32.const 4096))
  (func (export "deallocate_memory") (param i32))
  (func (export "read_memory_wasm") (param i32 i32) {body}))"#
    ))
}

const ADD_ONE: &str = "(i32.store8 (local.get 0) (i32.add (i32.load8_u (local.get 0)) (i32.const 1)))";

/// Adds one, and passes on; what it is told it says.
fn link() -> Vec<u8> {
    handler(&format!("{ADD_ONE} (drop (call $set_status (call $send (local.get 0) (local.get 1))))"))
}

/// Adds one, and says what it has.
fn last() -> Vec<u8> {
    handler(&format!("{ADD_ONE} (drop (call $set_status (i32.load8_u (local.get 0))))"))
}

/// Says the how manieth it is that has come.
fn counter() -> Vec<u8> {
    handler(
        "(global.set $taken (i32.add (global.get $taken) (i32.const 1))) (drop (call $set_status (global.get $taken)))",
    )
}

/// How containers reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kernel,
    Network,
    /// By turns.
    Both,
}

const WAYS: [Way; 3] = [Way::Kernel, Way::Network, Way::Both];

/// Functions in containers of their own.
struct Containers<'a> {
    hoses: Hoses<'a>,
    way: Way,
}

impl<'a> Containers<'a> {
    fn new(case: &'a Case, way: Way) -> Self {
        Self { hoses: Hoses::new(case), way }
    }

    fn is_kernel(&self, index: usize) -> bool {
        self.way == Way::Kernel || (self.way == Way::Both && index.is_multiple_of(2))
    }

    /// The function `f{index}`, which listens at `port` if it is reached by TCP, and sends to others at theirs.
    fn function(&self, module: &[u8], index: usize, port: u16, targets: &[(usize, u16)]) -> Bundle {
        let names: Vec<String> = targets.iter().map(|(target, _)| format!("f{target}")).collect();
        let bundle = self.hoses.function_of(module, &format!("f{index}"), &names.join(","), &[]);
        if self.way == Way::Kernel {
            return bundle;
        }
        bundle.without_namespace("network");
        bundle.edit(|config| {
            config["mounts"].as_array_mut().expect("mounts").retain(|mount| mount["type"] != "sysfs");
        });
        let addresses: Vec<String> = targets
            .iter()
            .filter(|(target, _)| !self.is_kernel(*target))
            .map(|(target, port)| format!("f{target}=tcp://127.0.0.1:{port}"))
            .collect();
        if !self.is_kernel(index) {
            bundle.annotation(&format!("{HOSE}listen"), &format!("tcp://127.0.0.1:{port}"));
        }
        if !addresses.is_empty() {
            bundle.annotation(&format!("{HOSE}address"), &addresses.join(","));
        }
        bundle.annotation(&format!("{HOSE}mode"), if self.way == Way::Network { "network" } else { "auto" });
        bundle
    }
}

#[test]
fn a_chain_of_ten_in_one_container() {
    let case = wasm_case!();
    let mut flow = Flow::new(&case, &first(0), &[], &["f1"]);
    for index in 1..CHAIN {
        let next = format!("f{}", index + 1);
        flow = match index + 1 {
            CHAIN => flow.with(&format!("f{index}"), &last(), &[]),
            _ => flow.with(&format!("f{index}"), &link(), &[&next]),
        };
    }
    let _ = case.run(flow.bundle(), &case.id()).output().exits(9);
}

#[test]
fn a_chain_of_ten_between_containers() {
    let case = wasm_case!();
    for way in WAYS {
        let containers = Containers::new(&case, way);
        let ports = ports::free(CHAIN);
        let function = |module: &[u8], index: usize| {
            let next = (index + 1 < CHAIN).then(|| (index + 1, ports[index + 1]));
            containers.function(module, index, ports[index], next.as_slice())
        };
        let rest: Vec<_> = (1..CHAIN)
            .map(|index| {
                let module = if index + 1 == CHAIN { last() } else { link() };
                containers.hoses.run(&function(&module, index))
            })
            .collect();
        let _ = containers.hoses.run(&function(&first(0), 0)).wait().exits(9);
        for function in rest {
            let _ = function.wait().success();
        }
    }
}

#[test]
fn a_fan_out_to_a_hundred_in_one_container() {
    let case = wasm_case!();
    let names: Vec<String> = (1..=MANY).map(|index| format!("f{index}")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let flow = Flow::new(&case, &first(2), &[], &targets);
    let flow = names.iter().fold(flow, |flow, name| flow.with(name, &last(), &[]));
    let _ = case.run(flow.bundle(), &case.id()).output().exits((3 * MANY % 128) as i32);
}

#[test]
fn a_fan_out_to_a_hundred_containers() {
    let case = wasm_case!();
    for way in WAYS {
        let containers = Containers::new(&case, way);
        let ports = ports::free(MANY + 1);
        let rest: Vec<_> = (1..=MANY)
            .map(|index| containers.hoses.run(&containers.function(&last(), index, ports[index], &[])))
            .collect();
        let targets: Vec<(usize, u16)> = (1..=MANY).map(|index| (index, ports[index])).collect();
        let source = containers.function(&first(2), 0, ports[0], &targets);
        let _ = containers.hoses.run(&source).wait().exits((3 * MANY % 128) as i32);
        for function in rest {
            let _ = function.wait().success();
        }
    }
}

#[test]
fn a_fan_in_from_a_hundred_in_one_container() {
    let case = wasm_case!();
    let names: Vec<String> = (1..=MANY).map(|index| format!("f{index}")).collect();
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let flow = Flow::new(&case, &first(0), &[], &targets);
    let flow = names.iter().fold(flow, |flow, name| flow.with(name, &link(), &["sum"]));
    let flow = flow.with("sum", &counter(), &[]);
    // Each was told another number from 1 to 100.
    let _ = case.run(flow.bundle(), &case.id()).output().exits((MANY * (MANY + 1) / 2 % 128) as i32);
}

#[test]
fn a_fan_in_from_a_hundred_containers() {
    let case = wasm_case!();
    for way in WAYS {
        let containers = Containers::new(&case, way);
        let port = ports::free(1)[0];
        let own = if way == Way::Network { 1 } else { 0 };
        let sum = containers.function(&counter(), own, port, &[]);
        sum.annotation(&format!("{HOSE}lifecycle"), "serve");
        let id = case.id();
        let create = containers.hoses.cmd_of("t", &["run", "--detach", "--bundle"]).arg(sum.dir()).arg(&id);
        create.ok();
        let sources: Vec<_> = (2..MANY + 2)
            .map(|index| containers.function(&first(0), index, 0, &[(own, port)]))
            .inspect(|bundle| {
                if way != Way::Kernel {
                    bundle.edit(|config| {
                        let annotations = config["annotations"].as_object_mut().expect("annotations");
                        annotations.remove(&format!("{HOSE}listen"));
                    });
                }
            })
            .map(|bundle| containers.hoses.run_as("t", &bundle))
            .collect();
        let mut said: Vec<i32> = sources.into_iter().map(|source| source.wait().code).collect();
        said.sort_unstable();
        assert_eq!(said, (1..=MANY as i32).collect::<Vec<_>>(), "{way:?}");
        case.force_delete(&id);
    }
}
