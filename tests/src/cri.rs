//! CRI, by which Kubernetes drives a container runtime: calls to a [`Containerd`]'s socket, by `cri.py`, and what `scripts/setup-cri` gets for it.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::{eventually, poll};
use crate::containerd::Containerd;
use crate::podman::IMAGE;
use crate::workload::Form;
use crate::{Case, Invocation, Running, cache};

/// The client.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cri.py");

/// A daemon, and what speaks with it.
pub struct Cri<'a> {
    case: &'a Case,
    containerd: &'a Containerd<'a>,
    client: RefCell<Client>,
}

/// The running client, and how many lines it has answered.
struct Client {
    running: Running,
    input: ChildStdin,
    answered: usize,
}

/// A pod, with the folder of its containers' logs.
#[derive(Debug)]
pub struct Pod {
    /// The sandbox.
    pub id: String,
    config: Value,
    logs: PathBuf,
}

impl<'a> Cri<'a> {
    /// With what was set up; nothing, having said so, without.
    #[must_use]
    pub fn new(case: &'a Case, containerd: &'a Containerd<'a>) -> Option<Self> {
        let folder =
            cache().map(|cache| cache.join("cri")).filter(|folder| folder.join("api.binpb").exists());
        let Some(folder) = folder else {
            crate::announce_skip("there is no client for CRI; run: scripts/setup-cri");
            return None;
        };
        // In the daemon's network, where its streams are served.
        let network = format!("--net=/proc/{}/ns/net", containerd.pid().expect("it runs"));
        let client = case.mark(Invocation::new("nsenter").args([&network, "python3", CLIENT]));
        let client = client.arg(&folder).arg(containerd.socket()).timeout(Duration::from_secs(120));
        let mut running = client.stdin_pipe().spawn();
        let input = running.input().expect("its standard input");
        Some(Self { case, containerd, client: RefCell::new(Client { running, input, answered: 0 }) })
    }

    /// A line to the client, and its answer.
    #[track_caller]
    fn ask(&self, line: &Value) -> Value {
        let mut client = self.client.borrow_mut();
        writeln!(client.input, "{line}").expect("it reads");
        let number = client.answered;
        client.answered += 1;
        let answer = poll(Duration::from_secs(40), || {
            let said = client.running.stdout();
            // Whole lines only.
            let lines = &said[..=said.rfind('\n')?];
            lines.lines().nth(number).map(ToOwned::to_owned)
        });
        let answer = answer.unwrap_or_else(|| panic!("no answer to {line}: {}", client.running.stderr()));
        serde_json::from_str(&answer).expect("JSON")
    }

    /// A call, such as `RuntimeService.Version`; gives the answer, in which fields with default values are left out.
    #[track_caller]
    pub fn call(&self, method: &str, request: &Value) -> Value {
        let answer = self.ask(&json!(["call", method, request]));
        assert_eq!(answer["failed"], Value::Null, "{method} {request}");
        answer
    }

    /// What it says when it refuses a call.
    #[track_caller]
    pub fn refusal(&self, method: &str, request: &Value) -> String {
        let answer = self.ask(&json!(["call", method, request]));
        answer["failed"].as_str().expect("a refusal").to_owned()
    }

    /// Exec or attach, by what the call answered: types `input`, and reads up to `until`, or to the end.
    #[track_caller]
    pub fn stream(&self, answer: &Value, input: &str, until: &str) -> Value {
        self.ask(&json!(["stream", answer["url"], input, until]))
    }

    /// Sends to a pod's port, and gives what came back.
    #[track_caller]
    pub fn forward(&self, pod: &Pod, port: u16, input: &str) -> Value {
        let request = json!({"pod_sandbox_id": pod.id, "port": [port]});
        let answer = self.call("RuntimeService.PortForward", &request);
        self.ask(&json!(["forward", answer["url"], port, input]))
    }

    /// Runs a sandbox by a handler, with these annotations.
    #[track_caller]
    pub fn pod(&self, handler: &str, annotations: &Value) -> Pod {
        let logs = self.case.folder();
        let name = self.case.id();
        let config = json!({
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "log_directory": logs,
            "annotations": annotations,
            "linux": {"cgroup_parent": format!("/{}", self.containerd.cgroup())},
        });
        let answer =
            self.call("RuntimeService.RunPodSandbox", &json!({"config": config, "runtime_handler": handler}));
        let id = answer["pod_sandbox_id"].as_str().expect("an id").to_owned();
        self.case.also_watch(&id);
        Pod { id, config, logs }
    }

    /// Creates a container in a pod and starts it; `more` are further fields of its configuration.
    #[track_caller]
    pub fn start(&self, pod: &Pod, name: &str, form: Form, command: &[&str], more: &Value) -> String {
        let id = self.create(pod, name, form, command, more);
        self.call("RuntimeService.StartContainer", &json!({"container_id": id}));
        id
    }

    #[track_caller]
    fn create(&self, pod: &Pod, name: &str, form: Form, command: &[&str], more: &Value) -> String {
        let image = if form == Form::Wasm { "wasm" } else { "native" };
        let mut config = json!({
            "metadata": {"name": name},
            "image": {"image": format!("{IMAGE}-{image}:latest")},
            "command": command,
            "log_path": format!("{name}.log"),
        });
        let fields = more.as_object().expect("an object").clone();
        config.as_object_mut().expect("an object").extend(fields);
        let request = json!({"pod_sandbox_id": pod.id, "config": config, "sandbox_config": pod.config});
        let answer = self.call("RuntimeService.CreateContainer", &request);
        let id = answer["container_id"].as_str().expect("an id").to_owned();
        self.case.also_watch(&id);
        id
    }

    /// `ContainerStatus`.
    #[track_caller]
    pub fn status(&self, id: &str) -> Value {
        self.call("RuntimeService.ContainerStatus", &json!({"container_id": id}))["status"].clone()
    }

    /// Waits until a container has ended; gives its exit code.
    #[track_caller]
    pub fn exit_code(&self, id: &str) -> i64 {
        eventually("the container has ended", || self.status(id)["state"] == "CONTAINER_EXITED");
        self.status(id)["exit_code"].as_i64().unwrap_or_default()
    }

    /// Waits until a container has said a line.
    #[track_caller]
    pub fn await_line(&self, pod: &Pod, name: &str, line: &str) {
        eventually("it has said that", || self.log(pod, name).iter().any(|said| said == line));
    }

    /// What a container has said on both streams, without times: `stdout F line`.
    #[must_use]
    pub fn log(&self, pod: &Pod, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(pod.logs.join(format!("{name}.log"))).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }

    /// Stops a pod with all of its containers, and removes it.
    #[track_caller]
    pub fn remove(&self, pod: &Pod) {
        let request = json!({"pod_sandbox_id": pod.id});
        self.call("RuntimeService.StopPodSandbox", &request);
        self.call("RuntimeService.RemovePodSandbox", &request);
    }

    /// What a cgroup's file of version 1 says of a container.
    #[must_use]
    pub fn limit(&self, controller: &str, file: &str, id: &str) -> String {
        let group = Path::new("/sys/fs/cgroup").join(controller).join(self.containerd.cgroup()).join(id);
        std::fs::read_to_string(group.join(file)).unwrap_or_default().trim().to_owned()
    }
}
