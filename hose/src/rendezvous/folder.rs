//! Publishing an end in a tenant's folder, and taking it back.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, chmodat, fchmod, flock, fstat, mkdirat, openat,
    renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::mount;
use super::record::{Record, check_owner, file_name, stem};
use crate::identity::{encode_hex, random};
use crate::{Config, Error, ErrorKind, Name, Result, Secret, Tenant, Workflow};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
const LOCK: &str = ".lock";

/// One tenant's folder. Cheap: it holds nothing open, and several may stand for one folder at once, in several
/// processes.
#[derive(Clone, Debug)]
pub struct Folder {
    base: PathBuf,
    tenant: Tenant,
}

/// A published end: what the container's init is given.
#[derive(Debug)]
pub struct Published {
    /// The bound, listening socket; close-on-exec. While anyone holds it, the name is taken.
    pub listener: OwnedFd,
    /// A detached, read-only clone of the mount of the tenant's folder (`O_PATH`, close-on-exec). A
    /// rootless runtime that may not clone mounts gets a plain `O_PATH` descriptor of the folder.
    pub mount: OwnedFd,
}

impl Folder {
    /// The folder of `tenant` under `base`. Neither has to exist yet; a `base` that does must be a directory that
    /// belongs to the caller's effective uid and that nobody else can write to.
    pub fn open(base: &Path, tenant: &Tenant) -> Result<Self> {
        let folder = Self { base: base.to_owned(), tenant: tenant.clone() };
        folder.base()?;
        Ok(folder)
    }

    /// Publishes the end that `config` describes, with the public half of `secret`, for `owner` (the container's
    /// id, 1 to 1024 bytes). A name that another live function of the workflow holds is
    /// [`ErrorKind::Taken`]; what a dead one left is replaced. After an error nothing is left.
    pub fn publish(&self, config: &Config, secret: &Secret, owner: &str) -> Result<Published> {
        check_owner(owner)?;
        let base = self.make_base()?;
        let _lock = lock(base.as_fd())?;
        let tenant = self.make_tenant(base.as_fd())?;
        let published = self.claim(tenant.as_fd(), config, secret, owner);
        if published.is_err() {
            remove_if_empty(base.as_fd(), &self.tenant);
        }
        published
    }

    fn claim(
        &self,
        folder: BorrowedFd<'_>,
        config: &Config,
        secret: &Secret,
        owner: &str,
    ) -> Result<Published> {
        let (workflow, name) = (config.workflow(), config.name());
        if let Some(holder) = Record::read(folder, workflow, name)?
            && is_live(folder, &holder.socket)?
        {
            let message =
                format!("function {name} of workflow {workflow} is already there: {}", holder.owner);
            return Err(Error::new(ErrorKind::Taken, message));
        }
        let stem = stem(workflow, name);
        remove_sockets(folder, &stem)?;
        let mut unique = [0; 8];
        random(&mut unique)?;
        let record = Record {
            workflow: workflow.clone(),
            name: name.clone(),
            key: secret.public(),
            socket: format!("{stem}.{}.sock", encode_hex(&unique)),
            owner: owner.to_owned(),
        };
        let result = listener(folder, &record.socket).and_then(|listener| {
            let mount = mount::detached(folder)?;
            write(folder, &record)?;
            Ok(Published { listener, mount })
        });
        if result.is_err() {
            // The first error is the one to report.
            let _ = remove(folder, &record.socket);
        }
        result
    }

    /// Takes back what `owner` published as `name`: `false` when there is nothing, or when the name is another's by
    /// now. Idempotent. The tenant's folder goes with its last end.
    pub fn withdraw(&self, workflow: &Workflow, name: &Name, owner: &str) -> Result<bool> {
        let Some(base) = self.base()? else { return Ok(false) };
        let _lock = lock(base.as_fd())?;
        let Some(folder) = directory(base.as_fd(), Path::new(self.tenant.as_str()))? else {
            return Ok(false);
        };
        let record = Record::read(&folder, workflow, name)?;
        let own = record.as_ref().is_some_and(|r| r.owner == owner);
        if own || record.is_none() {
            // Without a record these are what a `publish` that was killed has left: the lock says that none is running.
            remove(folder.as_fd(), &file_name(workflow, name))?;
            remove_sockets(folder.as_fd(), &stem(workflow, name))?;
        }
        remove_if_empty(base.as_fd(), &self.tenant);
        Ok(own)
    }

    /// Takes back whatever dead owners have left whose names begin with `owners`: for those that nobody would withdraw later. So is what
    /// anybody has left who was killed while publishing: there is no record yet that would say whose it is.
    pub fn sweep(&self, owners: &str) -> Result<()> {
        let Some(base) = self.base()? else { return Ok(()) };
        let _lock = lock(base.as_fd())?;
        let Some(folder) = directory(base.as_fd(), Path::new(self.tenant.as_str()))? else {
            return Ok(());
        };
        let mut sockets = HashSet::new();
        for file in files(folder.as_fd(), ".record")? {
            let Some(record) = Record::open(&folder, &file, &file)? else { continue };
            let ours = record.owner.starts_with(owners) && file == file_name(&record.workflow, &record.name);
            if ours && !is_live(folder.as_fd(), &record.socket)? {
                remove(folder.as_fd(), &file)?;
                remove_sockets(folder.as_fd(), &stem(&record.workflow, &record.name))?;
            } else {
                sockets.insert(record.socket);
            }
        }
        for socket in files(folder.as_fd(), ".sock")?.iter().filter(|socket| !sockets.contains(*socket)) {
            if !is_live(folder.as_fd(), socket)? {
                remove(folder.as_fd(), socket)?;
            }
        }
        for half in files(folder.as_fd(), ".record.new")? {
            remove(folder.as_fd(), &half)?;
        }
        remove_if_empty(base.as_fd(), &self.tenant);
        Ok(())
    }

    /// The base as it is: `None` when there is none.
    fn base(&self) -> Result<Option<OwnedFd>> {
        directory(CWD, &self.base)
    }

    fn make_base(&self) -> Result<OwnedFd> {
        if let Some(base) = self.base()? {
            return Ok(base);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.base)
            .map_err(|e| Error::system(format!("mkdir {}", self.base.display()), e))?;
        self.base()?.ok_or_else(|| Error::system(format!("open {}", self.base.display()), Errno::NOENT))
    }

    fn make_tenant(&self, base: BorrowedFd<'_>) -> Result<OwnedFd> {
        let path = Path::new(self.tenant.as_str());
        match mkdirat(base, path, Mode::from_raw_mode(0o711)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::system(format!("mkdir rendezvous folder {}", path.display()), e)),
        }
        let folder = directory(base, path)?.ok_or_else(|| {
            Error::system(format!("open rendezvous folder {}", path.display()), Errno::NOENT)
        })?;
        // Whatever the umask took.
        fchmod(&folder, Mode::from_raw_mode(0o711))
            .map_err(|e| Error::system(format!("chmod rendezvous folder {}", path.display()), e))?;
        Ok(folder)
    }
}

/// Opens a directory that belongs to the caller and that nobody else can write to; no symlink is followed at its
/// last component.
fn directory(at: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    let name = path.display();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(at, path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(Error::system(format!("open rendezvous folder {name}"), e)),
    };
    let stat = fstat(&folder).map_err(|e| Error::system(format!("fstat rendezvous folder {name}"), e))?;
    let euid = rustix::process::geteuid().as_raw();
    if stat.st_uid != euid {
        let message = format!("rendezvous folder {name} belongs to uid {}, not to {euid}", stat.st_uid);
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        let message = format!("rendezvous folder {name} can be written by others (mode {mode:04o})");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(Some(folder))
}

/// Waits for the lock of all tenants' folders; closing the descriptor gives it back. It is held for a few calls, never
/// while a container is made.
fn lock(base: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(base, LOCK, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| Error::system("open the rendezvous lock", e))?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::system("flock the rendezvous lock", e)),
        }
    }
}

/// The address of a socket in `folder`. Through procfs, because a path of the folder's own may be too long for
/// `sun_path`, and because the descriptor cannot be swapped as a path can. This side runs on the host.
fn address(folder: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    SocketAddrUnix::new(path).map_err(|e| Error::system(format!("address of rendezvous socket {name}"), e))
}

fn stream(flags: SocketFlags) -> Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::system("socket", e))
}

/// Whether anyone holds the socket: a full backlog is someone, too.
fn is_live(folder: BorrowedFd<'_>, name: &str) -> Result<bool> {
    let probe = stream(SocketFlags::NONBLOCK)?;
    loop {
        return match connect(&probe, &address(folder, name)?) {
            Ok(()) | Err(Errno::AGAIN) => Ok(true),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
            Err(Errno::INTR) => continue,
            Err(e) => Err(Error::system(format!("connect to rendezvous socket {name}"), e)),
        };
    }
}

fn listener(folder: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let failed = |call: &str, e| Error::system(format!("{call} rendezvous socket {name}"), e);
    let socket = stream(SocketFlags::NONBLOCK)?;
    bind(&socket, &address(folder, name)?).map_err(|e| failed("bind", e))?;
    // Any uid that a container runs as may connect; who it is, it has to prove.
    chmodat(folder, name, Mode::from_raw_mode(0o666), AtFlags::empty()).map_err(|e| failed("chmod", e))?;
    listen(&socket, BACKLOG).map_err(|e| failed("listen on", e))?;
    Ok(socket)
}

/// Writes the record beside its place and renames it there: the claim.
fn write(folder: BorrowedFd<'_>, record: &Record) -> Result<()> {
    let name = file_name(&record.workflow, &record.name);
    let temporary = format!("{name}.new");
    let result = write_new(folder, &temporary, record.encode().as_bytes())
        .and_then(|()| renameat(folder, &temporary, folder, &name));
    result.map_err(|e| {
        let _ = remove(folder, &temporary);
        Error::system(format!("write the rendezvous record of {}", record.name), e)
    })
}

fn write_new(folder: BorrowedFd<'_>, name: &str, mut bytes: &[u8]) -> rustix::io::Result<()> {
    // The lock is held: what is there under that name was left by someone who was killed.
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::from_raw_mode(0o644))?;
    fchmod(&file, Mode::from_raw_mode(0o644))?;
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Removes a file, which need not be there.
fn remove(folder: BorrowedFd<'_>, name: &str) -> Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::system(format!("unlink {name} in the rendezvous folder"), e)),
    }
}

/// The files whose names end like this.
fn files(folder: BorrowedFd<'_>, end: &str) -> Result<Vec<String>> {
    let failed = |e| Error::system("read the rendezvous folder", e);
    let mut files = Vec::new();
    for entry in Dir::read_from(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().to_str()
            && name.ends_with(end)
        {
            files.push(name.to_owned());
        }
    }
    Ok(files)
}

/// Removes all sockets of one end, and the record that was being written.
fn remove_sockets(folder: BorrowedFd<'_>, stem: &str) -> Result<()> {
    let failed = |e| Error::system("read the rendezvous folder", e);
    let is_ours = |name: &CStr| {
        let name = name.to_str().ok()?;
        let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
        (rest.ends_with(".sock") || rest == "record.new").then(|| name.to_owned())
    };
    for entry in Dir::read_from(folder).map_err(failed)? {
        if let Some(name) = is_ours(entry.map_err(failed)?.file_name()) {
            remove(folder, &name)?;
        }
    }
    Ok(())
}

/// Under the lock, so that nobody is about to publish there. Whoever holds a clone of the folder has its own end in
/// it, so it is not empty; a failure is of no consequence.
fn remove_if_empty(base: BorrowedFd<'_>, tenant: &Tenant) {
    let _ = unlinkat(base, tenant.as_str(), AtFlags::REMOVEDIR);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::Limits;

    struct Scene {
        base: tempfile::TempDir,
        folder: Folder,
    }

    fn scene() -> Scene {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::open(&base.path().join("hose"), &"t".try_into().unwrap()).unwrap();
        Scene { base, folder }
    }

    fn config(name: &str) -> Config {
        let name = Name::try_from(name).unwrap();
        Config::new(name, "w".try_into().unwrap(), vec![], Limits::default()).unwrap()
    }

    impl Scene {
        fn publish(&self, name: &str, owner: &str) -> Result<Published> {
            self.folder.publish(&config(name), &Secret::generate().unwrap(), owner)
        }

        fn withdraw(&self, name: &str, owner: &str) -> bool {
            let name = name.try_into().unwrap();
            self.folder.withdraw(&"w".try_into().unwrap(), &name, owner).unwrap()
        }

        fn files(&self) -> Vec<String> {
            let Ok(entries) = fs::read_dir(self.base.path().join("hose/t")) else { return vec![] };
            let mut names: Vec<String> =
                entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn mode(&self, path: &str) -> u32 {
            fs::metadata(self.base.path().join(path)).unwrap().permissions().mode() & 0o7777
        }
    }

    #[test]
    fn an_end_is_a_record_and_a_socket_that_any_uid_can_use() {
        let scene = scene();
        let published = scene.publish("b", "c1").unwrap();
        let files = scene.files();
        assert_eq!(files.len(), 2, "{files:?}");
        assert_eq!(scene.mode("hose"), 0o700);
        assert_eq!(scene.mode("hose/t"), 0o711);
        for file in &files {
            let expected = if file.ends_with(".record") { 0o644 } else { 0o666 };
            assert_eq!(scene.mode(&format!("hose/t/{file}")), expected);
        }
        let record = Record::read(&published.mount, &"w".try_into().unwrap(), &"b".try_into().unwrap());
        assert_eq!(record.unwrap().unwrap().owner, "c1");
    }

    #[test]
    fn a_live_name_is_taken_and_its_holder_named() {
        let scene = scene();
        let first = scene.publish("b", "c1").unwrap();
        let error = scene.publish("b", "c2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Taken);
        assert_eq!(error.to_string(), "function b of workflow w is already there: c1");
        assert_eq!(scene.files().len(), 2);
        drop(first);
        scene.publish("b", "c2").unwrap();
        assert_eq!(scene.files().len(), 2);
    }

    #[test]
    fn a_full_backlog_is_alive() {
        let scene = scene();
        let published = scene.publish("b", "c1").unwrap();
        listen(&published.listener, 0).unwrap();
        let socket = scene.files().into_iter().find(|f| f.ends_with(".sock")).unwrap();
        let folder = fs::File::open(scene.base.path().join("hose/t")).unwrap();
        let held: Vec<OwnedFd> = (0..3)
            .map(|_| {
                let fd = stream(SocketFlags::NONBLOCK).unwrap();
                let _ = connect(&fd, &address(folder.as_fd(), &socket).unwrap());
                fd
            })
            .collect();
        assert_eq!(scene.publish("b", "c2").unwrap_err().kind(), ErrorKind::Taken);
        drop(held);
    }

    #[test]
    fn withdrawing_is_idempotent_and_only_of_ones_own() {
        let scene = scene();
        let first = scene.publish("b", "c1").unwrap();
        assert!(!scene.withdraw("b", "c2"));
        assert_eq!(scene.files().len(), 2);
        drop(first);
        let _second = scene.publish("b", "c2").unwrap();
        assert!(!scene.withdraw("b", "c1"), "the name is c2's by now");
        assert_eq!(scene.files().len(), 2);
        assert!(scene.withdraw("b", "c2"));
        assert!(!scene.withdraw("b", "c2"));
        assert!(!scene.base.path().join("hose/t").exists());
    }

    #[test]
    fn what_a_killed_publish_left_is_swept() {
        let scene = scene();
        let published = scene.publish("b", "c1").unwrap();
        let record = scene.files().into_iter().find(|f| f.ends_with(".record")).unwrap();
        let record = scene.base.path().join("hose/t").join(record);
        fs::rename(&record, record.with_extension("record.new")).unwrap();
        drop(published);
        assert!(!scene.withdraw("b", "c1"));
        assert_eq!(scene.files(), Vec::<String>::new());
    }

    #[test]
    fn a_torn_record_claims_nothing() {
        let scene = scene();
        let _published = scene.publish("b", "c1").unwrap();
        let record = scene.files().into_iter().find(|f| f.ends_with(".record")).unwrap();
        fs::write(scene.base.path().join("hose/t").join(record), "rr-hose-rec").unwrap();
        scene.publish("b", "c2").unwrap();
        assert_eq!(scene.files().len(), 2);
    }

    #[test]
    fn a_failed_publish_leaves_nothing() {
        let scene = scene();
        assert_eq!(scene.publish("b", "a\nb").unwrap_err().kind(), ErrorKind::Invalid);
        assert!(!scene.base.path().join("hose").exists());
        // A folder in the record's place makes the last step fail.
        let name = file_name(&"w".try_into().unwrap(), &"b".try_into().unwrap());
        let obstacle = scene.base.path().join("hose/t").join(&name);
        let _other = scene.publish("a", "c0").unwrap();
        fs::create_dir(&obstacle).unwrap();
        let before = scene.files();
        let error = scene.publish("b", "c1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::System, "{error:?}");
        assert_eq!(scene.files(), before);
    }

    #[test]
    fn a_folder_that_others_can_write_or_that_is_a_symlink_is_refused() {
        let scene = scene();
        let base = scene.base.path().join("hose");
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o770)).unwrap();
        let error = scene.publish("b", "c").unwrap_err();
        assert!(error.to_string().ends_with("can be written by others (mode 0770)"), "{error}");
        fs::remove_dir(&base).unwrap();
        symlink(scene.base.path(), &base).unwrap();
        assert_eq!(scene.publish("b", "c").unwrap_err().kind(), ErrorKind::System);
    }

    #[test]
    fn a_folder_of_another_uid_is_refused() {
        if !rustix::process::geteuid().is_root() {
            crate::announce_skip("chown needs root");
            return;
        }
        let scene = scene();
        let base = scene.base.path().join("hose");
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&base, Some(1234), None).unwrap();
        let error = scene.publish("b", "c").unwrap_err();
        assert!(error.to_string().ends_with("belongs to uid 1234, not to 0"), "{error}");
    }

    #[test]
    fn a_sweep_takes_what_the_dead_of_one_kind_have_left_and_nothing_else() {
        let scene = scene();
        let alive = scene.publish("a", "host:1").unwrap();
        drop(scene.publish("b", "host:2").unwrap());
        drop(scene.publish("c", "container").unwrap());
        fs::write(scene.base.path().join("hose/t/torn.record"), "rr-hose-record 1\n").unwrap();
        // What two have left that were killed while they published.
        let bound =
            std::os::unix::net::UnixListener::bind(scene.base.path().join("hose/t/x.1.sock")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(scene.base.path().join("hose/t/y.2.sock")).unwrap());
        fs::write(scene.base.path().join("hose/t/y.record.new"), "rr-hose").unwrap();
        assert_eq!(scene.files().len(), 10);
        scene.folder.sweep("host:").unwrap();
        assert_eq!(scene.files().len(), 6);
        drop(bound);
        scene.folder.sweep("host:").unwrap();
        assert_eq!(scene.files().len(), 5);
        assert!(scene.withdraw("a", "host:1") && scene.withdraw("c", "container"));
        drop(alive);
        scene.folder.sweep("host:").unwrap();
    }

    #[test]
    fn publishers_of_one_name_at_once_yield_one_owner() {
        let scene = scene();
        let results: Vec<Result<Published>> = std::thread::scope(|s| {
            let publishers: Vec<_> = (0..8)
                .map(|i| {
                    s.spawn({
                        let scene = &scene;
                        move || scene.publish("b", &format!("c{i}"))
                    })
                })
                .collect();
            publishers.into_iter().map(|p| p.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        assert_eq!(scene.files().len(), 2);
    }
}
