//! Annotations with bad values: each fails `create` with one line that names the key, whether the container is
//! Wasm or native, and leaves nothing behind.

use serde_json::json;
use tests::guest::HELLO;
use tests::{Bundle, Case, wasm_case};

const WASM: &str = "io.roadrunner.wasm/";
const HOSE: &str = "io.roadrunner.hose/";

#[track_caller]
fn refused(case: &Case, bundle: &Bundle, key: &str) {
    let out = case.cmd(["create", "--bundle"]).arg(bundle.dir()).arg(case.id()).output();
    let value = &bundle.config()["annotations"][key];
    assert_eq!(out.code, 1, "{key}={value} was accepted");
    assert_eq!(out.error_lines().len(), 1, "{key}={value}: {}", out.stderr);
    assert!(out.stderr.contains(key), "{key}={value}: {}", out.stderr);
}

/// A bundle whose hose is in order.
fn with_hose(case: &Case) -> Bundle {
    let bundle = case.wasm(HELLO);
    let name = case.name().trim_end_matches('-');
    bundle
        .annotation(&format!("{HOSE}mode"), "kernel")
        .annotation(&format!("{HOSE}name"), name)
        .annotation(&format!("{HOSE}workflow"), name);
    bundle
}

#[test]
fn bad_values_of_the_functions() {
    let case = wasm_case!();
    for (key, values) in [
        ("handler", &["", "Wasm", "none", "-1", "wasm,native"][..]),
        ("aot", &["", "on", "true", "-1"]),
        ("max-memory", &["", "0", "-1", "-1Mi", "1.5.2Gi", "99999999999999999999", "9999999Ei", "x"]),
        ("timeout", &["", "0", "0s", "-5s", "5 parsecs", "99999999999999999999h", "1e400s"]),
        ("fuel", &["", "0", "-1", "1.5", "18446744073709551616", "many"]),
    ] {
        for value in values {
            let key = format!("{WASM}{key}");
            let bundle = case.wasm(HELLO);
            bundle.annotation(&key, value);
            refused(&case, &bundle, &key);
        }
    }
    case.nothing_left();
}

#[test]
fn bad_values_of_the_hose() {
    let case = wasm_case!();
    let long = "x".repeat(300);
    for (key, values) in [
        ("mode", &["", "pipe", "-1", "kernel,,user", "none,kernel"][..]),
        ("name", &["", "..", "a/b", "-", "A B", "ü", &long]),
        ("workflow", &["", "..", "a/b", "A B", &long]),
        ("target", &["", ",", "a,,b", "..", "a/b", "a,a"]),
        (
            "listen",
            &["", "tcp://127.0.0.1:7000", "tcp://127.0.0.1", "tcp://localhost:7000", "127.0.0.1:7000"],
        ),
        ("address", &["", "tcp://127.0.0.1:7000", "a=tcp://127.0.0.1:7000", "a=", "=tcp://127.0.0.1:1"]),
        ("transfer", &["", "fast", "copy,move"]),
        ("connect-timeout", &["", "0", "-1s", "99999999999999999999s", "soon"]),
        ("io-timeout", &["", "0", "-1s", "99999999999999999999s", "soon"]),
        ("max-size", &["", "0", "-1", "99999999999999999999", "5Gi", "big"]),
    ] {
        for value in values {
            let key = format!("{HOSE}{key}");
            let bundle = with_hose(&case);
            bundle.annotation(&key, value);
            refused(&case, &bundle, &key);
        }
    }
    case.nothing_left();
}

#[test]
fn a_hose_needs_its_name_and_workflow() {
    let case = wasm_case!();
    for key in ["name", "workflow"] {
        let key = format!("{HOSE}{key}");
        let bundle = with_hose(&case);
        bundle.edit(|config| drop(config["annotations"].as_object_mut().expect("an object").remove(&key)));
        let out = case.run(&bundle, &case.id()).output().exits(1);
        assert!(out.error_lines().len() == 1 && out.stderr.contains(&key), "{}", out.stderr);
    }
}

#[test]
fn a_native_container_is_held_to_them_too() {
    let case = wasm_case!();
    let bundle = case.busybox();
    let key = format!("{WASM}fuel");
    bundle.annotation(&key, "-1");
    refused(&case, &bundle, &key);
}

#[test]
fn an_unknown_key_is_a_warning_and_a_foreign_one_nothing() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    bundle.annotation("io.roadrunner.wasm/no-such-key", "x");
    let out = case.run(&bundle, &case.id()).output().success();
    assert!(out.stderr.contains("level=warning") && out.stderr.contains("no-such-key"), "{}", out.stderr);
    let bundle = case.wasm(HELLO);
    bundle.annotation("org.example/anything", "").annotation("run.oci.handler", "krun");
    let out = case.run(&bundle, &case.id()).output().success();
    assert_eq!(out.stderr, "");
}

#[test]
fn a_key_for_one_container_of_a_pod() {
    let case = wasm_case!();
    let bundle = case.wasm(HELLO);
    bundle
        .annotation("io.kubernetes.cri.container-name", "main")
        .annotation("io.roadrunner.wasm/fuel.main", "-1")
        .annotation("io.roadrunner.wasm/timeout.other", "rubbish");
    refused(&case, &bundle, "io.roadrunner.wasm/fuel.main");
    bundle.annotation("io.roadrunner.wasm/fuel.main", "100000");
    let _ = case.run(&bundle, &case.id()).output().success();
}

#[test]
fn values_that_are_no_text() {
    let case = wasm_case!();
    for value in [json!(1), json!(null), json!(["kernel"]), json!({ "a": "b" }), json!(true)] {
        let bundle = case.wasm(HELLO);
        bundle.edit(|config| config["annotations"]["io.roadrunner.wasm/fuel"] = value.clone());
        let out = case.run(&bundle, &case.id()).output().exits(1);
        assert!(
            out.error_lines().len() == 1 && out.stderr.contains("config.json"),
            "{value}: {}",
            out.stderr
        );
    }
    // A lone surrogate is JSON's way to be no UTF-8; and a raw byte that is none.
    for raw in [&br#""\ud800""#[..], b"\"\xff\""] {
        let bundle = case.wasm(HELLO);
        bundle.annotation("io.roadrunner.wasm/fuel", "PLACEHOLDER");
        let text = std::fs::read_to_string(bundle.config_file()).expect("read");
        let (before, after) = text.split_once("\"PLACEHOLDER\"").expect("it is there");
        std::fs::write(bundle.config_file(), [before.as_bytes(), raw, after.as_bytes()].concat())
            .expect("write");
        let out = case.run(&bundle, &case.id()).output().exits(1);
        assert!(out.error_lines().len() == 1 && out.stderr.contains("config.json"), "{}", out.stderr);
    }
    // What JSON takes and no key does: a zero byte, and letters that are none of ASCII's.
    for key in ["handler", "aot", "max-memory", "timeout", "fuel"] {
        for value in ["1\u{0}2", "１", "\u{feff}1"] {
            let (bundle, key) = (case.wasm(HELLO), format!("{WASM}{key}"));
            bundle.annotation(&key, value);
            refused(&case, &bundle, &key);
        }
    }
    for key in ["mode", "name", "workflow", "target", "connect-timeout", "io-timeout", "max-size"] {
        for value in ["1\u{0}2", "１", "\u{feff}1"] {
            let (bundle, key) = (with_hose(&case), format!("{HOSE}{key}"));
            bundle.annotation(&key, value);
            refused(&case, &bundle, &key);
        }
    }
    case.nothing_left();
}
