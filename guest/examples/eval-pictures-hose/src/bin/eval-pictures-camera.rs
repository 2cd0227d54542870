//! `eval-pictures-camera FILM`: the first function of a workflow of pictures, which decodes them into buffers that are given away.

use std::path::Path;

use anyhow::{Context, Result};
use eval_pictures::{Film, Road};
use roadrunner::Buffer;

fn main() -> Result<()> {
    let film = std::env::args().nth(1).context("usage: eval-pictures-camera FILM")?;
    eval_pictures::follow(&mut Hose, &Film::read(Path::new(&film))?)
}

struct Hose;

impl Road for Hose {
    type Memory = Buffer;

    fn allocate(&mut self, size: usize) -> Buffer {
        Buffer::zeroed(size)
    }

    fn send(&mut self, frame: Buffer) -> Result<()> {
        frame.send().map_err(|unsent| anyhow::anyhow!("{unsent}"))
    }
}
