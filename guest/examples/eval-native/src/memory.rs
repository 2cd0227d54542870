//! Shared memory: a file on a tmpfs that both map. The sender makes its payload where the receiver reads it, so that nothing but a length
//! crosses a Unix socket, and a byte back; both keep their mappings as long as payloads have the same size. It is what two programs can have
//! that trust each other with everything: the sender can change what the receiver reads.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use eval::payload::{Check, Filler, STRIDE, Work, read, touched};
use eval::source::{Order, Road, Sent};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// Pieces in which memory is gone through: they stay in the processor's cache. Of whole words.
const PIECE: usize = 32 * 1024;

const DONE: u8 = b'.';

pub(crate) fn source(folder: &Path) -> Result<()> {
    let socket = UnixStream::connect(folder.join("socket")).context("connect")?;
    let shared = Shared { file: folder.join("memory"), region: None };
    eval::source::follow(&mut Memory { socket, shared, size: 0 })
}

pub(crate) fn sink(folder: &Path) -> Result<()> {
    let listener = UnixListener::bind(folder.join("socket")).context("bind")?;
    eval::sink::ready()?;
    let (mut socket, _) = listener.accept().context("accept")?;
    let mut shared = Shared { file: folder.join("memory"), region: None };
    loop {
        let mut length = [0; 8];
        match socket.read(&mut length[..1]).context("read")? {
            0 => return Ok(()),
            _ => socket.read_exact(&mut length[1..]).context("read")?,
        }
        let size = usize::try_from(u64::from_le_bytes(length))?;
        let region = shared.map(size)?;
        let arrived = eval::now();
        let first = region.as_volatile_slice().read_obj(0).context("the first byte")?;
        eval::sink::received_elsewhere(first, size, arrived, arrived, |work| receipt(region, work))?;
        socket.write_all(&[DONE]).context("write")?;
    }
}

struct Memory {
    socket: UnixStream,
    shared: Shared,
    size: usize,
}

impl Road for Memory {
    fn fill(&mut self, order: &Order) -> Result<()> {
        self.size = order.size;
        let memory = self.shared.make(order.size)?.as_volatile_slice();
        let mut filler = Filler::new(order.call, order.seed);
        let mut piece = [0; PIECE];
        for start in (0..order.size).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(order.size - start)];
            filler.fill(piece);
            memory.write_slice(piece, start).context("the shared memory")?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<Sent> {
        let start = eval::now();
        self.socket.write_all(&(self.size as u64).to_le_bytes()).context("write")?;
        let mut done = [0];
        self.socket.read_exact(&mut done).context("read")?;
        ensure!(done == [DONE], "the receiver failed");
        Ok(Sent { start, serialized: start, end: eval::now() })
    }
}

/// One side's mapping of the file.
struct Shared {
    file: PathBuf,
    region: Option<MmapRegion>,
}

impl Shared {
    /// The file with this size, mapped.
    fn make(&mut self, size: usize) -> Result<&MmapRegion> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.file);
        let file = file.context("the shared file")?;
        if file.metadata()?.len() != size as u64 {
            file.set_len(size as u64).context("ftruncate")?;
            self.region = None;
        }
        self.map_file(file, size)
    }

    fn map(&mut self, size: usize) -> Result<&MmapRegion> {
        let file = OpenOptions::new().read(true).write(true).open(&self.file).context("the shared file")?;
        self.map_file(file, size)
    }

    fn map_file(&mut self, file: File, size: usize) -> Result<&MmapRegion> {
        let region = match self.region.take().filter(|region| region.size() == size) {
            Some(region) => region,
            None => MmapRegion::from_file(FileOffset::new(file, 0), size).context("mmap")?,
        };
        Ok(self.region.insert(region))
    }
}

fn receipt(region: &MmapRegion, work: Work) -> Result<u128> {
    let memory = region.as_volatile_slice();
    if work == Work::Touch {
        let offsets = (0..region.size()).step_by(STRIDE).chain([region.size() - 1]);
        let bytes = offsets.map(|offset| memory.read_obj(offset)).collect::<Result<Vec<u8>, _>>();
        return Ok(touched(bytes.context("the shared memory")?.into_iter()).into());
    }
    let (mut check, mut sum) = (Check::default(), 0_u64);
    let mut piece = [0; PIECE];
    for start in (0..region.size()).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(region.size() - start)];
        memory.read_slice(piece, start).context("the shared memory")?;
        match work {
            Work::Read => sum = sum.wrapping_add(read(piece)),
            _ => check = check.and(piece),
        }
    }
    Ok(if work == Work::Read { sum.into() } else { check.receipt() })
}
