//! Who knows beforehand what functions have to say of a picture: the native program, in which all of them run without any road between them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::judge::Answers;
use super::workflow::Workflow;
use crate::child::Started;
use crate::contestant::Workshop;
use crate::protocol::Line;
use crate::session::tag;

/// Of one workflow and film. It ends when it is dropped.
pub(super) struct Knower {
    started: Started,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Knower {
    pub(super) fn start(workshop: &Workshop, workflow: Workflow, film: &Path) -> Result<Self> {
        ensure!(
            workshop.native.is_file(),
            "nobody knows the answers: {} is not built",
            workshop.native.display()
        );
        let mut command = Command::new(&workshop.native);
        command.arg("answers").arg(film).arg(workflow.routes()).stdin(Stdio::piped());
        let errors = workshop.folder.join(format!("{}.err", tag()));
        let (mut started, output) = Started::spawn(&mut command, &errors)?;
        let input = started.input().context("a pipe")?;
        Ok(Self { started, input, output: BufReader::new(output) })
    }

    /// What has to be said of the picture that is asked for by this line.
    pub(super) fn answers(&mut self, order: &str) -> Result<Answers> {
        self.ask(order).with_context(|| format!("the answers: {}", self.started.complaint(1)))
    }

    fn ask(&mut self, order: &str) -> Result<Answers> {
        self.input.write_all(format!("{order}\n").as_bytes()).context("its standard input")?;
        let mut answers = Answers::new();
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).context("its standard output")? == 0 {
                bail!("it has ended");
            }
            match line.trim_end() {
                "answered" => return Ok(answers),
                line => match line.parse()? {
                    Line::Got(got) | Line::Passed(got) => drop(answers.insert(got.name, got.receipt)),
                    other => bail!("it says {other:?}"),
                },
            }
        }
    }
}
