//! A function of a workflow: it does its stage's work with each frame that comes, and tells `rr-eval`, once whom it has sent the result to is done
//! with it. A collector waits for all parts of a frame.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::DerefMut;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::frame::{Frame, Header};
use crate::stage::Stage;

/// See the module.
pub struct Worker {
    name: String,
    stage: Stage,
    /// Whether nobody is given what it makes.
    ends: bool,
    /// Parts of the frame that is collected.
    parts: BTreeMap<u32, (Header, Vec<u8>)>,
}

/// What was made of a frame.
pub struct Output<M> {
    /// The frame that is to be sent on.
    pub frame: Option<M>,
    /// Lines for `rr-eval`.
    lines: String,
}

/// When a frame was there, could be read, and had been worked on, of [`eval::now`].
#[derive(Clone, Copy)]
struct Stamps {
    arrived: u64,
    parsed: u64,
    done: u64,
}

impl Worker {
    /// The function of this name.
    ///
    /// # Errors
    ///
    /// When no work is called so.
    pub fn new(name: &str, ends: bool) -> Result<Self> {
        Ok(Self { name: name.to_owned(), stage: Stage::of(name)?, ends, parts: BTreeMap::new() })
    }

    /// Works on a frame that came whole at `arrived`. `allocate` makes the memory for one that is sent on.
    ///
    /// # Errors
    ///
    /// When that cannot be done with such a frame.
    pub fn work<M: DerefMut<Target = [u8]>>(
        &mut self,
        frame: &Frame<'_>,
        arrived: u64,
        allocate: impl FnOnce(usize) -> M,
    ) -> Result<Output<M>> {
        let parsed = eval::now();
        if self.stage.collects() {
            return self.collect(frame, arrived, parsed);
        }
        let header = frame.header.of_result(self.stage.band(), self.stage.shape(frame));
        if self.ends {
            let mut pixels = vec![0; header.pixels()];
            self.stage.run(frame, &mut pixels)?;
            let stamps = Stamps { arrived, parsed, done: eval::now() };
            let lines = line("got", &self.name, frame, stamps, &pixels);
            return Ok(Output { frame: None, lines });
        }
        let mut output = allocate(header.frame());
        header.write(&mut output);
        self.stage.run(frame, &mut output[Header::LEN..])?;
        let stamps = Stamps { arrived, parsed, done: eval::now() };
        Ok(Output { frame: Some(output), lines: line("passed", &self.name, frame, stamps, &[]) })
    }

    fn collect<M>(&mut self, frame: &Frame<'_>, arrived: u64, parsed: u64) -> Result<Output<M>> {
        let (part, parts) = frame.header.part();
        self.parts.insert(part, (frame.header, frame.pixels.to_vec()));
        let name = format!("{}/{part}", self.name);
        let mut lines = String::new();
        let kept = Stamps { arrived, parsed, done: eval::now() };
        if self.parts.len() == parts as usize {
            let all = std::mem::take(&mut self.parts);
            let (width, _, channels) = frame.header.shape();
            let height = all.values().map(|(header, _)| header.shape().1).sum();
            let header = Header::new(width, height, channels, frame.header.check());
            let pixels: Vec<u8> = all.into_values().flat_map(|(_, pixels)| pixels).collect();
            let whole = Frame { header, pixels: pixels.into() };
            let (width, height, channels) = self.stage.shape(&whole);
            let mut hash = vec![0; width as usize * height as usize * channels as usize];
            self.stage.run(&whole, &mut hash)?;
            // It could be looked at once its last part was kept.
            let stamps = Stamps { arrived: kept.done, parsed: kept.done, done: eval::now() };
            lines = line("got", &self.name, &whole, stamps, &hash);
        }
        Ok(Output { frame: None, lines: line("passed", &name, frame, kept, &[]) + &lines })
    }
}

impl<M> Output<M> {
    /// Tells `rr-eval`.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub fn tell(&self) -> Result<()> {
        // One write: functions of one process share a pipe.
        std::io::stdout().write_all(self.lines.as_bytes()).context("standard output")
    }

    /// The lines.
    pub(crate) fn lines(&self) -> &str {
        &self.lines
    }
}

fn line(verb: &str, name: &str, frame: &Frame<'_>, stamps: Stamps, output: &[u8]) -> String {
    let Stamps { arrived, parsed, done } = stamps;
    let mut line = String::new();
    // A string takes everything.
    let _ = writeln!(
        line,
        "{verb} {name} {} {arrived} {parsed} {done} {:032x}",
        frame.header.frame(),
        receipt(frame, output)
    );
    line
}

/// The first 16 bytes of the SHA-256 of what came (the first byte of each row, or all pixels where they are checked) and of what was made of it
/// in the end, as a big-endian number.
fn receipt(frame: &Frame<'_>, output: &[u8]) -> u128 {
    let mut digest = Sha256::new();
    if frame.header.check() {
        digest.update(&frame.pixels);
    } else {
        let column: Vec<u8> = frame.rows().filter_map(|row| row.first().copied()).collect();
        digest.update(column);
    }
    digest.update(output);
    let digest: [u8; 32] = digest.finalize().into();
    digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
