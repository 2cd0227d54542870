//! OCI bundles of contestants: one program or module in an otherwise empty root, with the limits and namespaces of `runc spec`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Where a container's network is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Network {
    /// One of its own, with nothing in it.
    #[default]
    None,
    /// The host's.
    Host,
    /// A node's.
    Of(Node),
}

/// A node: the file of its network namespace, and which processors are its own, as cpuset(7) lists them; all, if it has none of its own.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) network: PathBuf,
    pub(crate) processors: Option<String>,
}

/// A container that is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    /// Files of the root: from where, and their names.
    pub(crate) files: Vec<(PathBuf, &'static str)>,
    pub(crate) args: Vec<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) network: Network,
    /// A folder of the host that is at `/shared`.
    pub(crate) shared: Option<PathBuf>,
    /// Whether it has the host's programs and libraries, to be read only.
    pub(crate) system: bool,
}

/// The host's programs and libraries, and the links to them that a root has.
const SYSTEM: &str = "/usr";
const LINKS: [&str; 2] = ["lib", "lib64"];

impl Bundle {
    /// Writes it to a new folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let root = folder.join("rootfs");
        for name in ["proc", "sys", "dev", "shared"] {
            fs::create_dir_all(root.join(name)).with_context(|| format!("create {}", root.display()))?;
        }
        if self.system {
            fs::create_dir_all(root.join("usr")).with_context(|| format!("create {}", root.display()))?;
            for link in LINKS {
                // A host of another kind has a folder there, or nothing.
                let Ok(to) = fs::read_link(Path::new("/").join(link)) else { continue };
                std::os::unix::fs::symlink(to, root.join(link)).with_context(|| format!("link {link}"))?;
            }
        }
        for (from, name) in &self.files {
            fs::copy(from, root.join(name)).with_context(|| format!("copy {}", from.display()))?;
        }
        let text = serde_json::to_vec_pretty(&self.config())?;
        fs::write(folder.join("config.json"), text).context("config.json")
    }

    fn config(&self) -> Value {
        let mut namespaces = vec![json!({"type": "pid"}), json!({"type": "ipc"}), json!({"type": "uts"})];
        namespaces.push(json!({"type": "mount"}));
        match &self.network {
            Network::None => namespaces.push(json!({"type": "network"})),
            Network::Host => {}
            Network::Of(node) => namespaces.push(json!({"type": "network", "path": node.network})),
        }
        let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
        if let Network::Of(Node { processors: Some(processors), .. }) = &self.network {
            resources["cpu"] = json!({"cpus": processors});
        }
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        ];
        if let Some(shared) = &self.shared {
            let options = ["rbind", "nosuid", "nodev"];
            mounts.push(
                json!({"destination": "/shared", "type": "bind", "source": shared, "options": options}),
            );
        }
        if self.system {
            let options = ["rbind", "ro", "nosuid", "nodev"];
            mounts.push(json!({"destination": SYSTEM, "type": "bind", "source": SYSTEM, "options": options}));
        }
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": self.args,
                "env": ["PATH=/"],
                "cwd": "/",
                "capabilities": {},
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs", "readonly": false},
            "hostname": "rr-eval",
            "mounts": mounts,
            "annotations": self.annotations,
            "linux": {
                "resources": resources,
                "namespaces": namespaces,
            },
        })
    }
}
