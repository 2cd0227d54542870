//! The workflows: which functions there are, who sends to whom, and what each has to say of a picture. A function's name is its work
//! (`guest/examples/eval-pictures/src/stage.rs`).

use serde::{Deserialize, Serialize};

use crate::contestant::Function;

/// A graph of functions; the first one is the camera.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workflow {
    /// One function after the other: contrast, edges, a smaller picture, its hash.
    Chain,
    /// All from the camera: a smaller picture, a class, and hashes of four bands.
    FanOut,
    /// Edges in four bands, each by one function, that a fifth one puts together and hashes.
    FanIn,
}

/// The camera's name.
const CAMERA: &str = "camera";

/// Who hashes bands, who finds edges in them, and what their collector says of each.
const HASHES: [&str; 4] = ["hash-0-of-4", "hash-1-of-4", "hash-2-of-4", "hash-3-of-4"];
const EDGES: [&str; 4] = ["edges-0-of-4", "edges-1-of-4", "edges-2-of-4", "edges-3-of-4"];
const COLLECTED: [&str; 4] = ["collect/0", "collect/1", "collect/2", "collect/3"];
const COLLECT: &str = "collect";

/// A line that has to be said, and the lines without which it cannot be: none for those to whom the camera sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) after: Vec<&'static str>,
}

impl Workflow {
    pub(crate) const ALL: [Self; 3] = [Self::Chain, Self::FanOut, Self::FanIn];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::FanOut => "fan-out",
            Self::FanIn => "fan-in",
        }
    }

    /// Names, and whom each sends to.
    fn edges(self) -> Vec<(&'static str, Vec<&'static str>)> {
        match self {
            Self::Chain => vec![
                (CAMERA, vec!["tone"]),
                ("tone", vec!["edges"]),
                ("edges", vec!["scale"]),
                ("scale", vec!["hash"]),
                ("hash", Vec::new()),
            ],
            Self::FanOut => {
                let ends: Vec<&str> = ["scale", "classify"].into_iter().chain(HASHES).collect();
                let workers = ends.iter().map(|&name| (name, Vec::new()));
                [(CAMERA, ends.clone())].into_iter().chain(workers).collect()
            }
            Self::FanIn => {
                let workers = EDGES.into_iter().map(|name| (name, vec![COLLECT]));
                let camera = (CAMERA, EDGES.to_vec());
                [camera].into_iter().chain(workers).chain([(COLLECT, Vec::new())]).collect()
            }
        }
    }

    /// Its functions, those that send before those that they send to.
    pub(super) fn functions(self) -> Vec<Function> {
        let edges = self.edges();
        let senders = |name: &str| edges.iter().filter(|(_, targets)| targets.contains(&name)).count();
        edges
            .iter()
            .map(|(name, targets)| Function { name, targets: targets.clone(), senders: senders(name) })
            .collect()
    }

    /// As in the annotation `hose/routes`, the camera's first.
    pub(super) fn routes(self) -> String {
        let edges = self.edges().into_iter().filter(|(_, targets)| !targets.is_empty());
        edges.map(|(name, targets)| format!("{name}={}", targets.join("+"))).collect::<Vec<_>>().join(",")
    }

    /// What has to be said of a picture.
    pub(super) fn steps(self) -> Vec<Step> {
        let step = |name: &'static str, after: Vec<&'static str>| Step { name, after };
        match self {
            Self::Chain => vec![
                step("tone", Vec::new()),
                step("edges", vec!["tone"]),
                step("scale", vec!["edges"]),
                step("hash", vec!["scale"]),
            ],
            Self::FanOut => {
                ["scale", "classify"].into_iter().chain(HASHES).map(|name| step(name, Vec::new())).collect()
            }
            Self::FanIn => {
                let bands = EDGES.into_iter().map(|name| step(name, Vec::new()));
                let collected = COLLECTED.into_iter().zip(EDGES).map(|(name, edges)| step(name, vec![edges]));
                bands.chain(collected).chain([step(COLLECT, COLLECTED.to_vec())]).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_routes() {
        assert_eq!(Workflow::Chain.routes(), "camera=tone,tone=edges,edges=scale,scale=hash");
        let functions = Workflow::FanIn.functions();
        assert_eq!(functions.last().map(|last| (last.name, last.senders)), Some((COLLECT, 4)));
        assert_eq!(functions[0].targets, EDGES);
        assert!(Workflow::ALL.iter().all(|workflow| workflow.functions()[0].name == CAMERA));
    }

    #[test]
    fn a_line_comes_after_one_that_has_to_be_said_before() {
        for workflow in Workflow::ALL {
            let steps = workflow.steps();
            for (index, step) in steps.iter().enumerate() {
                let before = &steps[..index];
                assert!(step.after.iter().all(|name| before.iter().any(|step| step.name == *name)));
            }
        }
    }
}
