//! containerd through CRI, as Kubernetes uses it, with the handler of `packaging/containerd`: the same steps with native containers under runc and under ours, and
//! with Wasm functions under ours. All three have to look the same. The sandbox's own container is native.

use serde_json::{Value, json};
use tests::containerd::{Containerd, HANDLER};
use tests::cri::Cri;
use tests::workload::{Form, Steps};
use tests::{Case, agree};

/// A pod's life, with one container that stays and others that end.
fn life(case: &Case, form: Form) -> Option<Steps> {
    let containerd = Containerd::with_cri(case)?;
    let cri = Cri::new(case, &containerd)?;
    let mut steps = Steps::default();
    let ready = cri.call("RuntimeService.Status", &json!({}));
    let ready: Vec<_> = ready["status"]["conditions"].as_array().expect("conditions").iter().collect();
    steps.expect("ready", ready.iter().all(|condition| condition["status"] == true), "true");

    let pod = cri.pod(HANDLER, &json!({}));
    let status = cri.call("RuntimeService.PodSandboxStatus", &json!({"pod_sandbox_id": pod.id}));
    // The first state is the default, which is left out.
    steps.expect("the sandbox is ready", status["status"]["state"].is_null(), "true");
    steps.expect("its handler", &status["status"]["runtime_handler"], "\"rr\"");
    let address = status["status"]["network"]["ip"].as_str().unwrap_or_default().to_owned();
    steps.expect("its address", address.starts_with("10.88.0."), "true");

    let volume = case.folder();
    let more = json!({
        // Bytes: "pod".
        "envs": [{"key": "B", "value": "cG9k"}],
        "mounts": [{"container_path": "/v", "host_path": volume}],
        "working_dir": "/work",
        "linux": {"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512}},
    });
    let id = cri.start(&pod, "loop", form, &["/tool", "loop"], &more);
    cri.await_line(&pod, "loop", "stdout F ready");
    steps.expect("ContainerStatus", &cri.status(&id)["state"], "\"CONTAINER_RUNNING\"");
    steps.expect("memory limit", cri.limit("memory", "memory.limit_in_bytes", &id), "67108864");
    steps.expect("cpu shares", cri.limit("cpu", "cpu.shares", &id), "512");
    let update = json!({"container_id": id, "linux": {"memory_limit_in_bytes": 96 << 20}});
    cri.call("RuntimeService.UpdateContainerResources", &update);
    steps.expect("after an update", cri.limit("memory", "memory.limit_in_bytes", &id), "100663296");

    let exec = |command: &[&str]| {
        cri.call("RuntimeService.ExecSync", &json!({"container_id": id, "cmd": command, "timeout": 20}))
    };
    let out = exec(&["/tool", "say", "beside", "aside"]);
    steps.expect("ExecSync", &out, r#"{"stderr":"aside\n","stdout":"beside\n"}"#);
    steps.expect("its exit code", &exec(&["/tool", "exit", "9"])["exit_code"], "9");
    steps.expect("its directory", &exec(&["/tool", "cat", "here"])["stdout"], "\"work\\n\"");
    let env = exec(&["/tool", "env"]);
    let env = env["stdout"].as_str().unwrap_or_default();
    steps.expect("its environment", env.contains("A=image\n") && env.contains("B=pod\n"), "true");
    exec(&["/tool", "put", "/v/x", "content"]);
    let written = std::fs::read_to_string(volume.join("x")).unwrap_or_default();
    steps.expect("what it wrote to a volume", written, "content");
    let request = json!({"container_id": id, "cmd": ["/nosuch"], "timeout": 20});
    let refused = cri.refusal("RuntimeService.ExecSync", &request);
    steps.expect("ExecSync of nothing", refused.contains("no such file or directory"), "true");

    let request = |command: &[&str]| json!({"container_id": id, "cmd": command, "stdin": true, "stdout": true, "stderr": true});
    let answer = cri.call("RuntimeService.Exec", &request(&["/tool", "line"]));
    let said = cri.stream(&answer, "typed\n", "");
    steps.expect("Exec, streamed", &said["stdout"], "\"ready\\ngot typed\\n\"");
    steps.expect("how it ended", &said["status"]["status"], "\"Success\"");
    let answer = cri.call("RuntimeService.Exec", &request(&["/tool", "exit", "3"]));
    let said = cri.stream(&answer, "", "");
    steps.expect("how another ended", &said["status"]["details"]["causes"][0]["message"], "\"3\"");

    let waiting =
        cri.start(&pod, "line", form, &["/tool", "line"], &json!({"stdin": true, "stdin_once": true}));
    cri.await_line(&pod, "line", "stdout F ready");
    let attach = json!({"container_id": waiting, "stdin": true, "stdout": true, "stderr": true});
    let answer = cri.call("RuntimeService.Attach", &attach);
    let said = cri.stream(&answer, "attached\n", "got attached");
    steps.expect("Attach", said["stdout"].as_str().unwrap_or_default().contains("got attached"), "true");
    steps.expect("exit code after it", cri.exit_code(&waiting), "0");
    steps.expect(
        "log",
        format!("{:?}", cri.log(&pod, "line")),
        r#"["stdout F ready", "stdout F got attached"]"#,
    );

    let stats = cri.call("RuntimeService.ContainerStats", &json!({"container_id": id}));
    let used = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let memory = used(&stats["stats"]["memory"]["working_set_bytes"]["value"]);
    steps.expect("memory in ContainerStats", (4096..96 << 20).contains(&memory), "true");
    let cpu = used(&stats["stats"]["cpu"]["usage_core_nano_seconds"]["value"]);
    steps.expect("cpu in ContainerStats", cpu > 0, "true");

    let server = ["/bin/sh", "-c", "while :; do nc -l -p 8080 -e cat; done"];
    let sidecar = cri.start(&pod, "sidecar", Form::Native, &server, &json!({}));
    let answer = tests::command::poll(std::time::Duration::from_secs(10), || {
        let answer = cri.forward(&pod, 8080, "across\n");
        (answer["data"] == "across\n").then_some(answer)
    });
    steps.expect("PortForward", answer.is_some(), "true");

    for code in ["0", "7", "255"] {
        let name = format!("exit-{code}");
        let ended = cri.start(&pod, &name, form, &["/tool", "exit", code], &json!({}));
        steps.expect("exit code", cri.exit_code(&ended), code);
        cri.call("RuntimeService.RemoveContainer", &json!({"container_id": ended}));
    }
    cri.call("RuntimeService.StopContainer", &json!({"container_id": id, "timeout": 10}));
    steps.expect("exit code after StopContainer", cri.exit_code(&id), "143");
    cri.call("RuntimeService.StopContainer", &json!({"container_id": sidecar, "timeout": 0}));
    steps.expect("exit code after SIGKILL", cri.exit_code(&sidecar), "137");
    let list = cri.call("RuntimeService.ListContainers", &json!({}));
    steps.expect("containers", list["containers"].as_array().map_or(0, Vec::len), "3");
    cri.remove(&pod);
    let list = cri.call("RuntimeService.ListPodSandbox", &json!({}));
    steps.expect("pods that are left", list["items"].as_array().map_or(0, Vec::len), "0");
    steps.expect("states that are left", containerd.states().join(" "), "");
    Some(steps)
}

#[test]
fn a_pod_lives_as_under_runc() {
    let native = agree(|case| life(case, Form::Native));
    let Some(case) = Case::wasm_runtime() else { return };
    let wasm = life(&case, Form::Wasm);
    assert_eq!(native, wasm);
}

#[test]
fn pods_of_two_handlers_stand_side_by_side() {
    let case = Case::ours();
    let Some(containerd) = Containerd::with_cri(&case) else { return };
    let Some(cri) = Cri::new(&case, &containerd) else { return };
    let pods = ["runc", HANDLER].map(|handler| cri.pod(handler, &json!({})));
    let start = |pod| cri.start(pod, "loop", Form::Native, &["/tool", "loop"], &json!({}));
    let ids = pods.each_ref().map(start);
    for (pod, id) in pods.iter().zip(&ids) {
        cri.await_line(pod, "loop", "stdout F ready");
        assert_eq!(cri.status(id)["state"], "CONTAINER_RUNNING");
    }
    // Only the containers of its own are ours: the sandbox's, and the one in it.
    assert_eq!(containerd.states().len(), 2);
    pods.iter().for_each(|pod| cri.remove(pod));
}

#[test]
fn annotations_of_a_pod_reach_its_functions_and_no_other_container() {
    let Some(case) = Case::wasm_runtime() else { return };
    let Some(containerd) = Containerd::with_cri(&case) else { return };
    let Some(cri) = Cri::new(&case, &containerd) else { return };
    let pod =
        cri.pod(HANDLER, &json!({"io.roadrunner.wasm/timeout.short": "300ms", "other/annotation": "x"}));
    let more = json!({});
    let native = cri.start(&pod, "sidecar", Form::Native, &["/tool", "loop"], &more);
    let long = cri.start(&pod, "long", Form::Wasm, &["/tool", "loop"], &more);
    let short = cri.start(&pod, "short", Form::Wasm, &["/tool", "loop"], &more);
    assert_eq!(cri.exit_code(&short), 124);
    for (name, id) in [("sidecar", &native), ("long", &long)] {
        cri.await_line(&pod, name, "stdout F ready");
        assert_eq!(cri.status(id)["state"], "CONTAINER_RUNNING", "{name}");
    }
    cri.remove(&pod);
    assert_eq!(containerd.states(), Vec::<String>::new());
}
