//! `hose stats --serve` and `--textfile`: what was counted, for Prometheus.
//!
//! The responder knows as much of HTTP/1.1 (RFC 9112) as a scrape needs: `GET /metrics`, one request a connection, one connection at
//! a time. Whoever is slow is hung up on after a few seconds, so nobody keeps the others waiting for longer. It listens on loopback
//! unless told otherwise, because what it tells is nobody else's business, and asks for no password.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::hoses;
use crate::id::ContainerId;
use crate::state::Store;

/// How long one request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a peer may take to hang up once it has its answer.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of a request's head.
const MAX_HEAD: usize = 8 << 10;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address of IP and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::str::FromStr for Address {
    type Err = Error;

    /// `ADDRESS:PORT`, `[ADDRESS]:PORT`, `:PORT` or `PORT` for loopback, `unix:PATH`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
        port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .or_else(|_| text.replace("localhost:", "127.0.0.1:").parse())
            .map(Self::Tcp)
            .map_err(|_| {
                let message = format!("address {text:?}: is none of PORT, ADDRESS:PORT and unix:PATH");
                Error::new(ErrorKind::Usage, message)
            })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that is listened on; its file goes with it.
struct Listener {
    socket: OwnedFd,
    address: Address,
}

impl Listener {
    fn bind(address: &Address) -> Result<Self> {
        let failed = || format!("address {address}: cannot be listened on");
        match address {
            Address::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).context(ErrorKind::System, failed)?;
                let bound = listener.local_addr().context(ErrorKind::System, failed)?;
                Self::new(listener.into(), Address::Tcp(bound))
            }
            Address::Unix(path) => {
                remove_dead(path).context(ErrorKind::System, failed)?;
                let listener = UnixListener::bind(path).context(ErrorKind::System, failed)?;
                Self::new(listener.into(), address.clone())
            }
        }
    }

    fn new(socket: OwnedFd, address: Address) -> Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)
            .context(ErrorKind::System, || format!("address {address}: cannot be made not to block"))?;
        Ok(Self { socket, address })
    }

    /// The next connection; nothing when it is gone again.
    fn accept(&self) -> Result<Option<OwnedFd>> {
        use rustix::net::{SocketFlags, accept_with};
        match accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(connection) => Ok(Some(connection)),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                std::thread::sleep(Duration::from_millis(100));
                Ok(None)
            }
            Err(error) => {
                Err(error).context(ErrorKind::System, || format!("address {}: accept", self.address))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // What is not there any more is somebody else's doing.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a socket that nobody listens on, and nothing else.
fn remove_dead(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    match UnixStream::connect(path) {
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Answers scrapes until SIGTERM or SIGINT comes. `bound` is told where it listens.
///
/// # Errors
///
/// [`ErrorKind::System`] when it cannot be listened there; [`ErrorKind::NotFound`] and [`ErrorKind::Hose`] as [`hoses::stats`], at the
/// beginning.
pub fn serve(
    store: &Store,
    ids: &[ContainerId],
    address: &Address,
    bound: impl FnOnce(&Address),
) -> Result<()> {
    hoses::stats(store, ids)?;
    let mut asked = SigSet::empty();
    asked.add(Signal::SIGTERM);
    asked.add(Signal::SIGINT);
    asked.thread_block().context(ErrorKind::System, || "signal mask: cannot be set".to_owned())?;
    let signals = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC)
        .context(ErrorKind::System, || "signalfd".to_owned())?;
    let listener = Listener::bind(address)?;
    bound(&listener.address);
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(listener.socket.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context(ErrorKind::System, || "poll".to_owned()),
        }
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        if let Some(connection) = listener.accept()? {
            // Whoever has hung up, or is too slow, does not get an answer.
            let _ = answer(&connection, store, ids);
        }
    }
}

fn answer(connection: &OwnedFd, store: &Store, ids: &[ContainerId]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let request = read_head(connection, until)?;
    let (status, body) = respond(&request, || hoses::stats(store, ids));
    let kind =
        if status == OK { "text/plain; version=0.0.4; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let allow = if status == NOT_ALLOWED { "Allow: GET\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    write_all(connection, head.as_bytes(), until)?;
    write_all(connection, body.as_bytes(), until)?;
    finish(connection, until)
}

/// Takes what a peer still sends, for a moment: closing before that is read would take the answer from it.
fn finish(connection: &OwnedFd, until: Instant) -> io::Result<()> {
    rustix::net::shutdown(connection, rustix::net::Shutdown::Write)?;
    let until = until.min(Instant::now() + LINGER);
    let mut piece = [0; 1024];
    for _ in 0..MAX_HEAD {
        match rustix::io::read(connection, &mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(connection, PollFlags::IN, until)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

const OK: &str = "200 OK";
const NOT_ALLOWED: &str = "405 Method Not Allowed";

/// Status and body for the head of a request; nothing in it stands for one that is too long.
fn respond(head: &[u8], stats: impl FnOnce() -> Result<Vec<hoses::Counted>>) -> (&'static str, String) {
    let line = head.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    let words: Vec<&str> =
        std::str::from_utf8(line).map(|line| line.split(' ').collect()).unwrap_or_default();
    match words[..] {
        _ if head.is_empty() => {
            ("431 Request Header Fields Too Large", "the request is too long\n".to_owned())
        }
        [method, path, version] if version.starts_with("HTTP/1.") => {
            let path = path.split('?').next().unwrap_or_default();
            match (method, path) {
                ("GET", "/metrics") => match stats() {
                    Ok(counted) => (OK, hoses::prometheus(&counted)),
                    Err(error) => ("503 Service Unavailable", format!("{}\n", crate::error::chain(&error))),
                },
                (_, "/metrics") => (NOT_ALLOWED, "only GET is answered\n".to_owned()),
                _ => ("404 Not Found", "there is nothing but /metrics\n".to_owned()),
            }
        }
        _ => ("400 Bad Request", "this is no request of HTTP/1\n".to_owned()),
    }
}

/// The head of a request, up to its empty line; nothing when it is too long.
fn read_head(connection: &OwnedFd, until: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && !head.windows(2).any(|end| end == b"\n\n") {
        match rustix::io::read(connection, &mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => head.extend_from_slice(&piece[..n]),
            Err(Errno::AGAIN) => wait(connection, PollFlags::IN, until)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if head.len() > MAX_HEAD {
            return Ok(Vec::new());
        }
    }
    Ok(head)
}

fn write_all(connection: &OwnedFd, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    use rustix::net::{SendFlags, send};
    while !bytes.is_empty() {
        match send(connection, bytes, SendFlags::NOSIGNAL) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::AGAIN) => wait(connection, PollFlags::OUT, until)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait(connection: &OwnedFd, flags: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // At most `PATIENCE`.
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::new(connection, flags)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes what was counted to a file for node-exporter, which never reads half of it.
///
/// # Errors
///
/// As [`hoses::stats`]; [`ErrorKind::System`] when the file cannot be written.
pub fn write_textfile(store: &Store, ids: &[ContainerId], path: &Path) -> Result<()> {
    let text = hoses::prometheus(&hoses::stats(store, ids)?);
    let cannot = || format!("{}: cannot be written", path.display());
    let name = path.file_name().ok_or_else(|| Error::new(ErrorKind::Usage, cannot()))?;
    // node-exporter reads what ends in `.prom`.
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    };
    write()
        .inspect_err(|_| {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        })
        .context(ErrorKind::System, cannot)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_loopbacks() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        for (text, address) in [
            ("9753", tcp("127.0.0.1:9753")),
            (":9753", tcp("127.0.0.1:9753")),
            ("localhost:0", tcp("127.0.0.1:0")),
            ("0.0.0.0:1", tcp("0.0.0.0:1")),
            ("[::1]:80", tcp("[::1]:80")),
            ("unix:/run/x.sock", Address::Unix("/run/x.sock".into())),
        ] {
            assert_eq!(text.parse::<Address>().unwrap(), address);
        }
        for text in ["", "unix:", "65536", "example.org:80", "/run/x.sock", "127.0.0.1"] {
            assert_eq!(text.parse::<Address>().unwrap_err().kind(), ErrorKind::Usage, "{text}");
        }
    }

    #[test]
    fn only_get_metrics_is_answered() {
        let status = |head: &str| respond(head.as_bytes(), || Ok(Vec::new())).0;
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\n\r\n", "200"),
            ("GET /metrics?x=1 HTTP/1.0\n\n", "200"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/../x HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics HTTP/2\r\n\r\n", "400"),
            ("GET  /metrics HTTP/1.1\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("\u{ff}", "400"),
            ("", "431"),
        ] {
            assert!(status(head).starts_with(expected), "{head:?}: {}", status(head));
        }
        assert_eq!(respond(&[0xff, 0xfe, b' ', b'\n'], || Ok(Vec::new())).0, "400 Bad Request");
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = Address::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&address).unwrap();
        assert!(Listener::bind(&address).is_err(), "it is alive");
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&address).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
