//! sd_notify(3) for a container, as under runc: `NOTIFY_SOCKET` of the caller, seen from inside.
//!
//! The caller's socket itself cannot be handed in: who may send to it says which process is the service's main one. So a folder
//! of the container's state is mounted at [`INSIDE`], in which `start` listens, and of what arrives there only `READY=` is passed
//! on, once, followed by `MAINPID=` with init's pid as the host knows it.
//!
//! A function has no Unix sockets. It is ready once it is started, which is said for it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::process::Identity;

/// What the caller's and the container's environment name the socket by.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// Where the folder is mounted in the container.
const INSIDE: &str = "/run/notify";
/// Name of the socket in it, and of the folder in that of the state.
const SOCKET: &str = "notify.sock";
const FOLDER: &str = "notify";
/// A message is as long as this at most.
const LONGEST: usize = 4096;

/// The caller's socket: a path, or with a leading `@` an abstract name.
fn callers() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// In `create`: the folder, its mount, and the variable, when the caller waits for a message.
pub(crate) fn prepare(spec: &mut Spec, folder: &Path) -> Result<()> {
    if callers().is_none() {
        return Ok(());
    }
    let folder = folder.join(FOLDER);
    let cannot = || format!("{}: cannot be made", folder.display());
    fs::create_dir(&folder).context(ErrorKind::State, cannot)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).context(ErrorKind::State, cannot)?;
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount =
        MountBuilder::default().typ("bind").source(&folder).destination(INSIDE).options(options).build();
    let mount = mount.context(ErrorKind::Container, cannot)?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
        process.set_env(Some(env));
    }
    Ok(())
}

/// Where a container that was created so has the folder, which is none of its own.
pub(crate) fn mounted(folder: &Path) -> Option<&'static Path> {
    folder.join(FOLDER).is_dir().then_some(Path::new(INSIDE))
}

/// In `restore`: where such a container had the folder, and what it gets there, also where nobody waits any more.
pub(crate) fn stand_in(folder: &Path) -> Result<(&'static Path, PathBuf)> {
    let folder = folder.join(FOLDER);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).context(ErrorKind::State, || format!("{}: cannot be made", folder.display()))
        }
        _ => Ok((Path::new(INSIDE), folder)),
    }
}

/// In `start`, for a function that has been released.
pub(crate) fn announce(init: Identity) -> Result<()> {
    callers().map_or(Ok(()), |caller| send(&caller, b"READY=1", init.pid))
}

fn send(caller: &Path, ready: &[u8], init: i32) -> Result<()> {
    let send = || -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        match caller.to_string_lossy().strip_prefix('@') {
            Some(name) => {
                use std::os::linux::net::SocketAddrExt as _;
                socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
            }
            None => socket.connect(caller)?,
        }
        socket.send(&[ready, b"\n"].concat())?;
        socket.send(format!("MAINPID={init}\n").as_bytes())?;
        Ok(())
    };
    send().context(ErrorKind::System, || format!("notify socket {}: cannot be sent to", caller.display()))
}

/// Listens for a container's message.
#[derive(Debug)]
pub(crate) struct Notify {
    listener: UnixDatagram,
    caller: PathBuf,
    init: i32,
}

impl Notify {
    /// In `start`, before init goes on; nothing when `create` has prepared nothing, or when nobody waits.
    pub(crate) fn listen(folder: &Path, init: Identity) -> Result<Option<Self>> {
        let folder = folder.join(FOLDER);
        let Some(caller) = callers().filter(|_| folder.is_dir()) else { return Ok(None) };
        let path = folder.join(SOCKET);
        let bind = || -> io::Result<UnixDatagram> {
            let listener = crate::terminal::bind_in(&folder, SOCKET, UnixDatagram::bind)?;
            // Whoever the container's user is.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = bind().context(ErrorKind::System, || format!("{}: cannot be made", path.display()))?;
        Ok(Some(Self { listener, caller, init: init.pid }))
    }

    /// Passes on what has arrived; `true` when the container is ready and there is nothing more to wait for.
    pub(crate) fn relay(&self) -> Result<bool> {
        let mut message = [0; LONGEST];
        loop {
            let length = match self.listener.recv(&mut message) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::with_source(ErrorKind::System, "notify socket: recv", error));
                }
            };
            let ready =
                message[..length].split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="));
            if let Some(ready) = ready {
                return send(&self.caller, ready, self.init).map(|()| true);
            }
        }
    }

    /// Waits until the container is ready, or has ended.
    pub(crate) fn wait(&self, init: Identity) -> Result<()> {
        let Some(pidfd) = init.open()? else { return Ok(()) };
        while !self.relay()? {
            let mut watched =
                [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut watched, None))
                .context(ErrorKind::System, || "poll".to_owned())?;
            if watched[0].revents().is_empty() && !watched[1].revents().is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
