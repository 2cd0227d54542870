//! Containers that an older version has started, under this one: `states/` holds what those wrote.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Case, proc};

/// The states, by file name.
fn states() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("states");
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "json"));
    files
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a state"))
        })
        .collect()
}

/// Puts an older state in the place of a container's own.
fn downgrade(case: &Case, id: &str, older: &str) {
    let path = case.root().join(id).join("state.json");
    let now: Value = serde_json::from_slice(&fs::read(&path).expect("a state")).expect("JSON");
    let text = |value: &Value| value.to_string().trim_matches('"').to_owned();
    let folders = now["cgroup"]["folders"].to_string();
    let state = older
        .replace("PID", &text(&now["init"]["pid"]))
        .replace("START", &text(&now["init"]["startTime"]))
        .replace("BUNDLE", &text(&now["bundle"]))
        .replace("FREEZER", &text(&now["cgroup"]["freezer"]))
        .replace("FOLDERS", folders.trim_matches(['[', ']']))
        .replace("ID", id);
    fs::write(path, state).expect("write");
}

#[test]
fn a_container_of_an_older_version_is_handled_whole() {
    let states = states();
    assert!(states.len() > 1, "{states:?}");
    for (name, older) in states {
        let case = Case::ours();
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        let id = case.id();
        let pid = case.start(&bundle, &id);
        downgrade(&case, &id, &older);
        let state = case.state(&id);
        assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(pid)), "{name}");
        assert!(case.cmd(["list"]).ok().contains(&id), "{name}");
        assert_eq!(case.cmd(["exec", &id, "/bin/echo", "in it"]).ok(), "in it\n", "{name}");
        assert!(case.cmd(["ps", &id]).ok().contains(&pid.to_string()), "{name}");
        case.cmd(["update", "--pids-limit", "30", &id]).ok();
        let events: Value = serde_json::from_str(&case.cmd(["events", "--stats", &id]).ok()).expect("JSON");
        assert_eq!(events["data"]["pids"]["limit"], json!(30), "{name}");
        case.cmd(["pause", &id]).ok();
        assert_eq!(case.status(&id), "paused", "{name}");
        case.cmd(["resume", &id]).ok();
        case.cmd(["kill", &id, "KILL"]).ok();
        case.await_stopped(&id);
        case.delete(&id);
        case.nothing_left();
    }
}

#[test]
fn one_whose_init_has_ended_is_stopped_and_one_that_runs_is_deleted_by_force() {
    for (name, older) in states() {
        let case = Case::ours();
        let bundle = case.busybox();
        bundle.args(["/bin/sleep", "600"]);
        let [ended, runs] = [case.id(), case.id()];
        let pids = [&ended, &runs].map(|id| case.start(&bundle, id));
        for id in [&ended, &runs] {
            downgrade(&case, id, &older);
        }
        case.cmd(["kill", &ended, "KILL"]).ok();
        case.await_stopped(&ended);
        assert_eq!(case.status(&ended), "stopped", "{name}");
        case.force_delete(&ended);
        case.force_delete(&runs);
        assert!(!pids.into_iter().any(proc::alive), "{name}");
        case.nothing_left();
    }
}
