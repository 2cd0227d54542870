//! buildah's isolation `oci` with the runtime: the same steps under runc and under ours have to end the same.

use tests::{Case, Invocation, agree, skip};

fn buildah(case: &Case, words: &[&str]) -> Invocation {
    let path = |name: &str| case.dir().join(name).display().to_string();
    let store = ["--root", &path("store"), "--runroot", &path("run"), "--storage-driver", "vfs"];
    case.mark(Invocation::new("buildah")).args(store).args(words)
}

#[test]
fn an_image_is_made_of_what_runs() {
    if tests::runtime::program("buildah").is_none() {
        skip!("buildah is not installed");
    }
    let seen = agree(|case| {
        let bundle = case.busybox();
        let container = buildah(case, &["from", "scratch"]).ok().trim().to_owned();
        let root = bundle.rootfs().display().to_string();
        buildah(case, &["copy", &container, &root, "/"]).ok();
        let runtime = case.runtime().path().display().to_string();
        let run = |flags: &[&str], script: &str| {
            let words = ["run", "--isolation", "oci", "--runtime", &runtime, "--network", "none"];
            let words: Vec<&str> = words
                .iter()
                .chain(flags)
                .copied()
                .chain([container.as_str(), "--", "/bin/sh", "-c", script])
                .collect();
            let out = buildah(case, &words).output();
            (out.code, out.stdout)
        };
        let volume = case.folder();
        std::fs::write(volume.join("file"), "of the volume\n").expect("write");
        let mount = format!("{}:/v:ro", volume.display());
        let steps = [
            run(&[], "echo made > /made; id -u"),
            run(&["--user", "1000"], "cat /made; id -u"),
            run(&["--volume", &mount], "cat /v/file; : > /v/new"),
            run(&["--cap-drop", "ALL", "--env", "A=b"], "grep CapEff /proc/self/status; echo $A"),
            run(&[], "exit 3"),
        ];
        buildah(case, &["rm", &container]).ok();
        steps
    });
    assert_eq!(seen[0], (0, "0\n".to_owned()));
    assert_eq!(seen[1], (0, "made\n1000\n".to_owned()));
    assert_eq!((seen[2].0, seen[4].0), (1, 3));
}
