//! `checkpoint`: a running container becomes a folder of images.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use protobuf::MessageField;
use rust_criu::rust_criu_protobuf::rpc::{Criu_opts, Criu_page_server_info, Criu_req_type};
use rustix::fs::OFlags;

use super::criu::{self, Criu, Feature, Streams};
use super::{DESCRIPTORS, Folders, LEFT, Work, joined, mounts, quote_errors, refuse_functions, version};
use crate::bundle::Bundle;
use crate::cgroup;
use crate::delete::end_and_clear;
use crate::detach;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::handover::keep_mounts_inside;
use crate::id::ContainerId;
use crate::notify;
use crate::process::{Identity, standard_streams};
use crate::state::{Claim, State, Status, Store};

/// criu's log.
const LOG: &str = "dump.log";
/// The first criu that tells by a notification that its lazy pages are ready.
const TELLS_READY: u32 = 31_500;
/// The first criu that freezes cgroups of version 2.
const FREEZES_VERSION2: u32 = 31_400;

/// What `checkpoint` is told.
#[derive(Clone, Debug, Default)]
pub struct CheckpointOptions {
    /// What `restore` is told, too.
    pub work: Work,
    /// Folder of earlier images, below that of the images.
    pub parent: Option<PathBuf>,
    /// The container goes on.
    pub leave_running: bool,
    /// TCP connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that were deleted get a name again.
    pub link_remap: bool,
    /// A descriptor that gets a zero byte once lazy pages are ready.
    pub status_fd: Option<i32>,
    /// Where pages go in place of a file.
    pub page_server: Option<PageServer>,
    /// Nothing but memory, of a container that goes on.
    pub pre_dump: bool,
}

/// A server of criu's that takes pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageServer {
    address: String,
    port: u16,
}

impl std::str::FromStr for PageServer {
    type Err = &'static str;

    /// `ADDRESS:PORT`, an address of IPv6 in brackets.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let usage = "Use --page-server ADDRESS:PORT to specify page server";
        let (address, port) = text.rsplit_once(':').ok_or(usage)?;
        let address = match address.strip_prefix('[').map(|address| address.strip_suffix(']')) {
            Some(bracketed) => bracketed.ok_or(usage)?,
            None if address.contains(':') => return Err(usage),
            None => address,
        };
        if address.is_empty() || port.is_empty() {
            return Err(usage);
        }
        let port = port.parse().map_err(|_| "Invalid port number")?;
        Ok(Self { address: address.to_owned(), port })
    }
}

/// Dumps a running container, and deletes it unless it is to go on.
///
/// # Errors
///
/// [`ErrorKind::Status`] in runc's words unless it runs; what criu failed by, in which case the container goes on.
pub fn checkpoint(store: &Store, id: &ContainerId, options: &CheckpointOptions) -> Result<()> {
    let claim = store.lock(id)?;
    let state = claim.load()?;
    let init = match (state.status_under_lock(), state.init) {
        (Status::Running | Status::Paused, Some(init)) => init,
        (status, _) => {
            let message = format!("Container cannot be checkpointed in {} state", status.as_str());
            return Err(Error::new(ErrorKind::Status, message));
        }
    };
    refuse_functions(state.wasm.is_some(), id)?;
    dump(&claim, &state, init, options)?;
    if options.leave_running || options.pre_dump {
        return Ok(());
    }
    end_and_clear(store, claim, &state)
}

fn dump(claim: &Claim, state: &State, init: Identity, options: &CheckpointOptions) -> Result<()> {
    options.work.check_namespaces()?;
    let folders = options.work.folders()?;
    let parent = options.parent.as_deref().map(|parent| parent_in(&folders.images, parent)).transpose()?;
    let bundle = Bundle::parse(state.bundle.clone(), claim.load_config()?)?;
    let version = version()?;
    let mut wanted = Criu_opts {
        pid: Some(init.pid),
        root: Some(bundle.rootfs().to_string_lossy().into_owned()),
        leave_running: Some(options.leave_running),
        tcp_skip_in_flight: Some(options.tcp_skip_in_flight),
        link_remap: Some(options.link_remap),
        external: left_alone(bundle.spec(), version)?,
        freeze_cgroup: freezer(state, version),
        track_mem: parent.is_some().then_some(true),
        parent_img: parent,
        ..options.work.options(&folders, LOG, bundle.spec())
    };
    if let Some(server) = &options.page_server {
        wanted.ps = MessageField::some(Criu_page_server_info {
            address: Some(server.address.clone()),
            port: Some(i32::from(server.port)),
            ..Criu_page_server_info::default()
        });
    }
    let mut ready = None;
    if options.work.lazy_pages {
        Feature::LazyPages.check()?;
        ready = options.status_fd.map(status_descriptor).transpose()?;
        wanted.status_fd = options.status_fd.filter(|_| version < TELLS_READY);
    }
    if options.pre_dump {
        Feature::MemTrack.check()?;
    } else {
        let mut spec = bundle.spec().clone();
        keep_mounts_inside(&mut spec, bundle.rootfs());
        wanted.ext_mnt = mounts::dumped(&spec, init, &state.cgroup)?;
        wanted.ext_mnt.extend(notify::mounted(claim.folder()).map(|point| mounts::external(point, point)));
        save_descriptors(&folders, state, init)?;
    }
    let kind = if options.pre_dump { Criu_req_type::PRE_DUMP } else { Criu_req_type::DUMP };
    let mut criu = Criu::start(Streams::None, &[])?;
    let answered = criu.ask(&criu::request(kind, wanted), &mut |notification, _| {
        if notification.script() == "status-ready" {
            // Whoever waits for the byte may also wait for the end.
            tell_ready(ready.take());
        }
        Ok(())
    });
    answered.inspect_err(|_| quote_errors(&folders.work, LOG))?;
    match criu.end() {
        // It waits for the next request, which does not come.
        Err(_) if options.pre_dump => Ok(()),
        ended => ended,
    }
}

/// The folder of earlier images, which is named from within that of the images.
fn parent_in(images: &Path, parent: &Path) -> Result<String> {
    if parent.is_absolute() {
        return Err(Error::new(ErrorKind::Usage, "--parent-path must be relative"));
    }
    let folder = images.join(parent);
    let invalid = || format!("invalid --parent-path: stat {}", folder.display());
    let metadata = fs::metadata(&folder).context(ErrorKind::Usage, invalid)?;
    if !metadata.is_dir() {
        return Err(Error::with_source(ErrorKind::Usage, invalid(), rustix::io::Errno::NOTDIR));
    }
    Ok(parent.to_string_lossy().into_owned())
}

/// Namespaces that were there before the container, as criu is told of them.
fn left_alone(spec: &Spec, version: u32) -> Result<Vec<String>> {
    let mut external = Vec::new();
    for (kind, path) in joined(spec) {
        let Some(left) = LEFT.iter().find(|left| left.kind == kind) else { continue };
        left.check(version)?;
        let inode = fs::metadata(path)
            .context(ErrorKind::Container, || format!("namespace {}: cannot be read", path.display()))?
            .ino();
        external.push(format!("{}[{inode}]:{}", left.word, left.key));
    }
    Ok(external)
}

/// What criu stops processes by; by ptrace(2) where it cannot.
fn freezer(state: &State, version: u32) -> Option<String> {
    let freezer = state.cgroup.freezer()?;
    let can = !cgroup::is_version2() || version >= FREEZES_VERSION2;
    can.then(|| freezer.to_string_lossy().into_owned())
}

fn save_descriptors(folders: &Folders, state: &State, init: Identity) -> Result<()> {
    let path = folders.images.join(DESCRIPTORS);
    let cannot = || format!("{}: cannot be written", path.display());
    let descriptors = if state.descriptors.is_empty() {
        standard_streams(&init.pid.to_string())
    } else {
        state.descriptors.clone()
    };
    let text = serde_json::to_vec(&descriptors).context(ErrorKind::State, cannot)?;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&text)).context(ErrorKind::State, cannot)
}

/// The descriptor that the caller has left open to be told.
fn status_descriptor(fd: i32) -> Result<OwnedFd> {
    let invalid =
        |why: String| Error::new(ErrorKind::Usage, format!("invalid --status-fd argument {fd}: {why}"));
    let descriptor = detach::inherited(fd).map_err(|error| invalid(error.to_string()))?;
    let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(|error| invalid(error.to_string()))?;
    if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        Ok(descriptor)
    } else {
        Err(invalid("not writable".to_owned()))
    }
}

fn tell_ready(descriptor: Option<OwnedFd>) {
    let told = descriptor.map(|descriptor| rustix::io::write(&descriptor, &[0]));
    if let Some(Err(error)) = told {
        tracing::warn!("can't write \\0 to status fd: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        let read = |text: &str| text.parse::<PageServer>();
        let server = |address: &str, port| Ok(PageServer { address: address.to_owned(), port });
        assert_eq!(read("127.0.0.1:7"), server("127.0.0.1", 7));
        assert_eq!(read("[::1]:65535"), server("::1", 65_535));
        for text in ["", "x", ":7", "x:", "::1:7", "[::1:7"] {
            let usage = "Use --page-server ADDRESS:PORT to specify page server";
            assert_eq!(read(text), Err(usage), "{text}");
        }
        assert_eq!(read("x:70000"), Err("Invalid port number"));
    }

    #[test]
    fn earlier_images_are_in_a_folder_below() {
        let images = tempfile::tempdir().expect("a folder");
        fs::create_dir(images.path().join("first")).expect("mkdir");
        fs::write(images.path().join("file"), "").expect("write");
        let read =
            |parent: &str| parent_in(images.path(), Path::new(parent)).map_err(|error| error.to_string());
        assert_eq!(read("first"), Ok("first".to_owned()));
        assert_eq!(read("/first"), Err("--parent-path must be relative".to_owned()));
        for missing in ["second", "file"] {
            assert!(read(missing).is_err_and(|error| error.contains("invalid --parent-path")), "{missing}");
        }
    }
}
