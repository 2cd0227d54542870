//! The relay between the caller's terminal and a container's, for `run` and `exec` in the foreground.
//!
//! libcontainer sends the master of the container's terminal to a socket. Without a `--console-socket` the other end of that
//! socket is here: [`Console`] listens on one in the container's folder, and [`Relay`] copies bytes both ways.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};

use crate::create::Terminal;
use crate::error::{Context, Error, ErrorKind, Result};

/// What is copied at a time, and the most that waits for a slow reader.
const CHUNK: usize = 16 << 10;

/// Where libcontainer sends the master of a container's terminal.
#[derive(Debug)]
pub(crate) enum Console {
    /// Nowhere: there is no terminal.
    None,
    /// To the caller.
    Given(PathBuf),
    /// Here.
    Ours(UnixListener, PathBuf),
}

impl Console {
    /// Makes ready what `terminal` asks for; a socket of ours is `name` in `folder`.
    pub(crate) fn at(terminal: &Terminal, folder: &Path, name: &str) -> Result<Self> {
        match terminal {
            Terminal::None => Ok(Self::None),
            Terminal::Socket(path) => Ok(Self::Given(path.clone())),
            Terminal::Relayed => Self::listen(folder, name),
        }
    }

    fn listen(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let cannot = || format!("console socket {}: cannot be made", path.display());
        let listener = bind_in(folder, name, UnixListener::bind).context(ErrorKind::System, cannot)?;
        Ok(Self::Ours(listener, path))
    }

    /// What libcontainer is told.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Given(path) | Self::Ours(_, path) => Some(path),
        }
    }

    /// Takes the master, where it comes here. libcontainer has sent it before `build` returns, so this does not wait.
    pub(crate) fn receive(&self) -> Result<Option<OwnedFd>> {
        let Self::Ours(listener, _) = self else { return Ok(None) };
        let failed = || "console socket: no terminal received".to_owned();
        listener.set_nonblocking(true).context(ErrorKind::System, failed)?;
        let (stream, _) = listener.accept().context(ErrorKind::System, failed)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 64];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, flags)
            .context(ErrorKind::System, failed)?;
        let mut received = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let master = received.next().and_then(|mut descriptors| descriptors.next());
        master.map(Some).ok_or_else(|| Error::new(ErrorKind::System, failed()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Self::Ours(_, path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// Copies between this process's standard streams and a container's terminal.
#[derive(Debug)]
pub(crate) struct Relay {
    master: OwnedFd,
    _caller: Caller,
    to_master: VecDeque<u8>,
    to_stdout: VecDeque<u8>,
    input_open: bool,
    output_open: bool,
}

impl Relay {
    /// Copies to and from `caller`, which was taken over before the container could write anything.
    pub(crate) fn new(master: OwnedFd, caller: Caller) -> Result<Self> {
        let failed = |what: &'static str| move || format!("terminal: {what}");
        rustix::io::ioctl_fionbio(&master, true)
            .context(ErrorKind::System, failed("cannot be made non-blocking"))?;
        keep_newlines(&master).context(ErrorKind::System, failed("its mode cannot be set"))?;
        let relay = Self {
            master,
            _caller: caller,
            to_master: VecDeque::new(),
            to_stdout: VecDeque::new(),
            input_open: true,
            output_open: true,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of the caller's.
    pub(crate) fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for: the master, standard input, standard output. One that nothing is wanted of is left out, or its
    /// hanging up would wake the loop for ever.
    pub(crate) fn interests(&self) -> [Option<PollFd<'_>>; 3] {
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.output_open && self.to_stdout.len() < CHUNK);
        master.set(PollFlags::OUT, self.output_open && !self.to_master.is_empty());
        let read = self.input_open && self.output_open && self.to_master.len() < CHUNK;
        let watch = |wanted: bool, fd, flags| wanted.then(|| PollFd::from_borrowed_fd(fd, flags));
        [
            watch(!master.is_empty(), self.master.as_fd(), master),
            watch(read, rustix::stdio::stdin(), PollFlags::IN),
            watch(!self.to_stdout.is_empty(), rustix::stdio::stdout(), PollFlags::OUT),
        ]
    }

    /// Copies what can be copied without waiting, given what [`Relay::interests`] were told.
    pub(crate) fn copy(&mut self, ready: [PollFlags; 3]) -> io::Result<()> {
        let hung_up = PollFlags::HUP | PollFlags::ERR;
        if self.input_open && ready[1].intersects(PollFlags::IN | hung_up) && self.to_master.len() < CHUNK {
            self.input_open = fill(rustix::stdio::stdin(), &mut self.to_master)?;
        }
        if self.output_open && !self.to_master.is_empty() {
            drain(self.master.as_fd(), &mut self.to_master)?;
        }
        if self.output_open && ready[0].intersects(PollFlags::IN | hung_up) && self.to_stdout.len() < CHUNK {
            self.output_open = fill(self.master.as_fd(), &mut self.to_stdout)?;
        }
        if !self.to_stdout.is_empty() && ready[2].intersects(PollFlags::OUT | hung_up) {
            drain(rustix::stdio::stdout(), &mut self.to_stdout)?;
        }
        Ok(())
    }

    /// Copies what the container wrote before it ended.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        loop {
            if self.output_open && self.to_stdout.len() < CHUNK {
                let before = self.to_stdout.len();
                self.output_open = fill(self.master.as_fd(), &mut self.to_stdout)?;
                if self.output_open && before == self.to_stdout.len() && self.to_stdout.is_empty() {
                    return Ok(());
                }
            }
            if self.to_stdout.is_empty() && !self.output_open {
                return Ok(());
            }
            drain(rustix::stdio::stdout(), &mut self.to_stdout)?;
        }
    }
}

/// The caller's terminal, raw until this is dropped.
#[derive(Debug)]
pub(crate) struct Caller {
    /// As it was, when standard input is one.
    before: Option<Termios>,
}

impl Caller {
    /// Takes over the terminal, when there is one.
    pub(crate) fn take_over() -> Result<Self> {
        let failed = |what: &'static str| move || format!("terminal: {what}");
        let stdin = rustix::stdio::stdin();
        if !rustix::termios::isatty(stdin) {
            return Ok(Self { before: None });
        }
        let before = rustix::termios::tcgetattr(stdin)
            .context(ErrorKind::System, failed("standard input has no mode"))?;
        let mut raw = before.clone();
        raw.make_raw();
        // The container's side no longer turns a newline into two characters: this side does.
        raw.output_modes |= OutputModes::OPOST;
        rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
            .context(ErrorKind::System, failed("standard input cannot be made raw"))?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Binds a socket to `name` in `folder`. An address holds 108 bytes; a folder may be longer, its descriptor is not.
pub(crate) fn bind_in<T>(folder: &Path, name: &str, bind: fn(String) -> io::Result<T>) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(folder, flags, Mode::empty())?;
    bind(format!("/proc/self/fd/{}/{name}", handle.as_raw_fd()))
}

/// A configuration's size; a side that is too long for a terminal is as long as there is.
pub(crate) fn winsize(size: oci_spec::runtime::Box) -> Winsize {
    let side = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
    Winsize { ws_row: side(size.height()), ws_col: side(size.width()), ws_xpixel: 0, ws_ypixel: 0 }
}

/// As runc: a newline stays one character on its way out, so that a file or a pipe gets what was written.
fn keep_newlines(master: &OwnedFd) -> rustix::io::Result<()> {
    let mut mode = rustix::termios::tcgetattr(master)?;
    mode.output_modes -= OutputModes::ONLCR;
    rustix::termios::tcsetattr(master, OptionalActions::Now, &mode)
}

/// Reads once; `false` at the end. A terminal whose other side has closed says EIO.
fn fill(from: BorrowedFd<'_>, queue: &mut VecDeque<u8>) -> io::Result<bool> {
    let mut chunk = [0; CHUNK];
    match rustix::io::read(from, &mut chunk) {
        Ok(0) | Err(rustix::io::Errno::IO) => Ok(false),
        Ok(length) => {
            queue.extend(&chunk[..length]);
            Ok(true)
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Writes once. Who no longer reads gets nothing more.
fn drain(to: BorrowedFd<'_>, queue: &mut VecDeque<u8>) -> io::Result<()> {
    let (front, _) = queue.as_slices();
    match rustix::io::write(to, front) {
        Ok(length) => {
            queue.drain(..length);
            Ok(())
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::IO) => {
            queue.clear();
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
