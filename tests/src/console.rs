//! Terminals: the console socket of `create`, and a pseudo-terminal for a program in the foreground.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::command::poll;

/// A socket that waits for the terminal of a container.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens in `dir`.
    #[must_use]
    pub fn bind(dir: &Path) -> Self {
        let path = dir.join("console.sock");
        let listener = UnixListener::bind(&path).expect("the console socket can be bound");
        listener.set_nonblocking(true).expect("fcntl");
        Self { listener, path }
    }

    /// Path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that a runtime sends. Fails the test when none comes.
    #[track_caller]
    #[must_use]
    pub fn receive(&self) -> Terminal {
        Terminal::new(self.descriptor())
    }

    /// Takes whatever descriptor a runtime sends. Fails the test when none comes.
    #[track_caller]
    #[must_use]
    pub fn descriptor(&self) -> OwnedFd {
        let stream = poll(Duration::from_secs(10), || self.listener.accept().ok());
        let (stream, _) = stream.expect("nobody connected to the console socket");
        stream.set_nonblocking(false).expect("fcntl");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("setsockopt");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut name)];
        rustix::net::recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        let [master] = <[OwnedFd; 1]>::try_from(fds).expect("one descriptor comes over the console socket");
        master
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The master's end of a terminal. What comes out of it is collected by a thread.
pub struct Terminal {
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Takes a master.
    #[must_use]
    pub fn new(master: OwnedFd) -> Self {
        let master = File::from(master);
        let mut reader = master.try_clone().expect("dup");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // EIO: the last slave was closed.
            while let Ok(n @ 1..) = reader.read(&mut chunk) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..n]);
            }
        });
        Self { master, seen }
    }

    /// A new pseudo-terminal: the master and a slave for a program's standard streams.
    #[must_use]
    pub fn pair() -> (Self, OwnedFd) {
        use rustix::pty::OpenptFlags;
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("openpt");
        rustix::pty::grantpt(&master).expect("grantpt");
        rustix::pty::unlockpt(&master).expect("unlockpt");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("ptsname");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave =
            rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).expect("the slave opens");
        (Self::new(master), slave)
    }

    /// Types.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// What came out so far.
    #[must_use]
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until `text` came out.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let found = poll(Duration::from_secs(10), || self.seen().contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} did not come out of the terminal, but {:?}", self.seen());
    }

    /// Sets rows and columns.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("TIOCSWINSZ");
    }
}
