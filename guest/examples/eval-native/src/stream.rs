//! Streams of the kernel: a Unix socket, and a pair of named pipes. A length, the bytes, and a byte back when the receiver is done.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use eval::sink::Form;
use eval::source::{Order, Road, Sent};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::pipe::fcntl_setpipe_size;

/// The most that an ordinary user may give a pipe (`/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;

const DONE: u8 = b'.';

pub(crate) fn unix_source(folder: &Path) -> Result<()> {
    let to = UnixStream::connect(folder.join("socket")).context("connect")?;
    let back = to.try_clone()?;
    eval::source::follow(&mut Stream { to, back, payload: Vec::new() })
}

pub(crate) fn unix_sink(folder: &Path) -> Result<()> {
    let listener = UnixListener::bind(folder.join("socket")).context("bind")?;
    eval::sink::ready()?;
    let (from, _) = listener.accept().context("accept")?;
    let back = from.try_clone()?;
    receive(from, back)
}

pub(crate) fn pipe_source(folder: &Path) -> Result<()> {
    let to = OpenOptions::new().write(true).open(folder.join("there")).context("the pipe there")?;
    let back = File::open(folder.join("back")).context("the pipe back")?;
    fcntl_setpipe_size(&to, PIPE).context("F_SETPIPE_SZ")?;
    eval::source::follow(&mut Stream { to, back, payload: Vec::new() })
}

pub(crate) fn pipe_sink(folder: &Path) -> Result<()> {
    for name in ["there", "back"] {
        mknodat(CWD, folder.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("mkfifo")?;
    }
    eval::sink::ready()?;
    // Each waits for the other end.
    let from = File::open(folder.join("there")).context("the pipe there")?;
    let back = OpenOptions::new().write(true).open(folder.join("back")).context("the pipe back")?;
    receive(from, back)
}

struct Stream<W, R> {
    to: W,
    back: R,
    payload: Vec<u8>,
}

impl<W: Write, R: Read> Road for Stream<W, R> {
    fn fill(&mut self, order: &Order) -> Result<()> {
        order.make(&mut self.payload);
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let start = eval::now();
        self.to.write_all(&(self.payload.len() as u64).to_le_bytes()).context("write")?;
        self.to.write_all(&self.payload).context("write")?;
        let mut done = [0];
        self.back.read_exact(&mut done).context("read")?;
        ensure!(done == [DONE], "the receiver failed");
        Ok(Sent { start, serialized: start, end: eval::now() })
    }
}

/// Receives until the sender closes.
fn receive(mut from: impl Read, mut back: impl Write) -> Result<()> {
    let mut body = Vec::new();
    loop {
        let mut length = [0; 8];
        match from.read(&mut length[..1]).context("read")? {
            0 => return Ok(()),
            _ => from.read_exact(&mut length[1..]).context("read")?,
        }
        body.resize(usize::try_from(u64::from_le_bytes(length))?, 0);
        from.read_exact(&mut body).context("read")?;
        Form::Raw.receive(&body, eval::now())?;
        back.write_all(&[DONE]).context("write")?;
    }
}
