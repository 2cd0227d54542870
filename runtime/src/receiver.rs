//! A socket that the caller has named to be sent a descriptor over: a terminal's master, a process.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::error::{Context, ErrorKind, Result};

/// Who waits for a descriptor at the other end.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// What the socket is called in messages.
    what: &'static str,
    socket: UnixStream,
}

impl Receiver {
    /// Connects, also where the path is longer than an address may be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`] when nobody listens there.
    pub(crate) fn connect(what: &'static str, path: &Path) -> Result<Self> {
        let cannot = || format!("{what} {}: cannot be connected to", path.display());
        let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let handle = handle.context(ErrorKind::Usage, cannot)?;
        let socket = UnixStream::connect(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        Ok(Self { what, socket: socket.context(ErrorKind::Usage, cannot)? })
    }

    /// Sends a descriptor, with a name as the message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when nobody is there any more.
    pub(crate) fn send(&self, descriptor: &impl AsFd, name: &str) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(name.as_bytes())],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .context(ErrorKind::System, || format!("{}: cannot be sent to", self.what))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::os::unix::net::UnixListener;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        // Longer than an address.
        let folder = folder.path().join("x".repeat(120));
        std::fs::create_dir(&folder).expect("mkdir");
        let listener = crate::terminal::bind_in(&folder, "s", UnixListener::bind).expect("a socket");
        let receiver = Receiver::connect("a socket", &folder.join("s")).expect("somebody listens");
        let sent = std::fs::File::open("/proc/self/stat").expect("a file");
        receiver.send(&sent, "its name").expect("it is sent");
        let (stream, _) = listener.accept().expect("a connection");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 64];
        let mut parts = [IoSliceMut::new(&mut name)];
        let received =
            rustix::net::recvmsg(&stream, &mut parts, &mut control, RecvFlags::empty()).expect("recvmsg");
        assert_eq!(&name[..received.bytes], b"its name");
        let descriptors =
            control.drain().filter(|one| matches!(one, RecvAncillaryMessage::ScmRights(_))).count();
        assert_eq!(descriptors, 1);
    }

    #[test]
    fn nobody_at_the_other_end_is_told_by_name() {
        let error = Receiver::connect("pidfd socket", Path::new("/nowhere"))
            .map(drop)
            .map_err(|error| error.to_string());
        assert_eq!(error, Err("pidfd socket /nowhere: cannot be connected to".to_owned()));
    }
}
