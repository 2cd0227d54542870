//! `check`: what it says of a host, a configuration and bundles that will not work, and that others do as it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tests::{Bundle, Case, Criu};

/// The findings about a bundle, by what they are about: verdict and text.
fn findings(case: &Case, bundle: &Bundle) -> (i32, Vec<(String, String, String)>) {
    let out = case.cmd(["check", "--format", "json", "--bundle"]).arg(bundle.dir()).output();
    let all: Vec<Value> = serde_json::from_str(&out.stdout).expect("JSON");
    let word = |finding: &Value, key: &str| finding[key].as_str().expect("a word").to_owned();
    let of_bundle = all.iter().filter(|finding| finding["about"] == "bundle");
    let found =
        of_bundle.map(|finding| (word(finding, "what"), word(finding, "verdict"), word(finding, "text")));
    (out.code, found.collect())
}

#[test]
fn a_host_and_a_bundle_that_work_are_found_to() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/true"]);
    let out = case.cmd(["check", "--bundle"]).arg(bundle.dir()).output().success();
    for words in [
        "host\n",
        "kernel: Linux",
        "cgroups: version",
        "engine: wasmedge",
        "configuration\n",
        "runs natively",
    ] {
        assert!(out.stdout.contains(words), "{words}: {}", out.stdout);
    }
    assert!(!out.stdout.contains("FAILS"), "{}", out.stdout);
    let _ = case.run(&bundle, &case.id()).output().success();
    let function = case.wasm("(module (func (export \"_start\")))");
    let (code, found) = findings(&case, &function);
    assert!(code == 0 && found.iter().any(|(_, _, text)| text.contains("runs in WasmEdge")), "{found:?}");
}

#[test]
fn a_host_without_criu_can_do_the_rest() {
    let case = Case::ours();
    let nothing = case.folder();
    let out = case.cmd(["check"]).env("PATH", &nothing).output().success();
    let words = "no container can be checkpointed or restored";
    assert!(out.stdout.contains(words), "{}", out.stdout);
    let Some(criu) = Criu::find() else { return };
    let out = criu.with(case.cmd(["check"])).ok();
    assert!(out.contains("criu: ") && !out.contains(words), "{out}");
}

#[test]
fn what_will_not_work_is_named_and_does_not() {
    let case = Case::ours();
    let hook = case.dir().join("hook");
    fs::write(&hook, "").expect("write");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).expect("chmod");
    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let changes: [(&str, &str, Change<'_>); 7] = [
        (
            "mounts[",
            "/nonexistent",
            Box::new(|config| {
                let mount = json!({ "destination": "/x", "source": "/nonexistent", "type": "bind", "options": ["bind"] });
                config["mounts"].as_array_mut().expect("mounts").push(mount);
            }),
        ),
        (
            "process.args",
            "No such file",
            Box::new(|config| config["process"]["args"] = json!(["/bin/nonexistent"])),
        ),
        (
            "annotations",
            "io.roadrunner.wasm/aot",
            Box::new(|config| {
                config["annotations"]["io.roadrunner.wasm/aot"] = json!("perhaps");
            }),
        ),
        (
            "namespaces and cgroup",
            "/nonexistent",
            Box::new(|config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
                namespaces.retain(|namespace| namespace["type"] != "network");
                namespaces.push(json!({ "type": "network", "path": "/nonexistent" }));
            }),
        ),
        (
            "hooks.createRuntime[0]",
            "not executable",
            Box::new(|config| {
                config["hooks"] = json!({ "createRuntime": [{ "path": hook }] });
            }),
        ),
        (
            "linux.seccomp",
            "listenerPath",
            Box::new(|config| {
                config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
            }),
        ),
        ("config.json", "args must not be empty", Box::new(|config| config["process"]["args"] = json!([]))),
    ];
    for (what, why, change) in changes {
        let bundle = case.busybox();
        bundle.args(["/bin/true"]);
        bundle.edit(|config| change(config));
        let (code, found) = findings(&case, &bundle);
        let failed: Vec<_> = found.iter().filter(|(_, verdict, _)| verdict == "fails").collect();
        assert_eq!((code, failed.len()), (1, 1), "{what}: {found:?}");
        assert!(failed[0].0.starts_with(what) && failed[0].2.contains(why), "{found:?}");
        assert_ne!(case.run(&bundle, &case.id()).output().code, 0, "{what}: it works all the same");
    }
}

#[test]
fn what_is_only_less_is_no_failure() {
    let case = Case::ours();
    let bundle = case.busybox();
    bundle.args(["/bin/true"]);
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "travel_in_time"], "action": "SCMP_ACT_ERRNO" }] });
    });
    let (code, found) = findings(&case, &bundle);
    let told = found.iter().any(|(_, verdict, text)| verdict == "limited" && text.contains("travel_in_time"));
    assert!(code == 0 && told, "{found:?}");
    let _ = case.run(&bundle, &case.id()).output().success();
}

#[test]
fn a_configuration_that_is_wrong_is_named_by_key() {
    let case = Case::ours();
    let file = case.dir().join("config.toml");
    fs::write(&file, "[hose]\ndirectroy = \"/run/x\"\n").expect("write");
    let out = case.cmd(["--config"]).arg(&file).arg("check").output();
    assert_eq!(out.code, 1);
    assert!(out.stdout.contains("FAILS") && out.stdout.contains("directroy"), "{}", out.stdout);
}
