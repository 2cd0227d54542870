//! Sources of bind mounts that are opened on the host's side of a container's user namespace: those that its root may not reach, as
//! under runc, and those whose files are shown under other ids (id-mapped mounts, see mount_setattr(2)).
//!
//! libcontainer gets each as a detached mount, by an option of the mount that names its descriptor (`patches/libcontainer/0015`), or, where the source is a mount of
//! the container's own, a socket over which init asks for it (`opener`).

#![expect(unsafe_code, reason = "fork(2) for a process that holds a user namespace")]

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Mount, Spec};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::process::{Pid, WaitOptions};

use crate::bundle::is_bind;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::mount;
use crate::opener::{Asked, Line, Opener};

/// What the option begins with; a descriptor's number follows.
const TREE: &str = "x-mount.tree=";
/// The same for a socket, and the mount's number there.
const ASK: &str = "x-mount.ask=";

/// What has been opened for a container, and the process that opens the rest.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Open until init has copies of them.
    _trees: Vec<OwnedFd>,
    opener: Option<Opener>,
}

impl Sources {
    /// What init has no use for once all is mounted.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        self.opener.as_ref().map(|opener| opener.as_fd().as_raw_fd())
    }
}

/// A source that libcontainer cannot take care of itself.
enum Source {
    Tree(OwnedFd),
    /// A mount that the container makes before.
    Own(Asked),
}

/// Opens what has to be opened here, and says so in the configuration. It has to be kept until libcontainer's init has mounted all.
///
/// # Errors
///
/// [`ErrorKind::Bundle`] for ids that cannot be mapped, [`ErrorKind::Container`] for a source that cannot be opened, [`ErrorKind::System`].
pub(crate) fn open(spec: &mut Spec, bundle: &Path, rootfs: &Path) -> Result<Sources> {
    let Some(mut mounts) = spec.mounts().clone() else { return Ok(Sources::default()) };
    let linux = spec.linux().clone().unwrap_or_default();
    let in_namespace = user_namespace(&linux).is_some();
    let (mut trees, mut asked, mut line) = (Vec::new(), Vec::new(), None);
    let failed = || "the process that opens mounts for init cannot be made".to_owned();
    for mount in &mut mounts {
        let mut options = mount.options().clone().unwrap_or_default();
        // Nobody else names descriptors of ours.
        options.retain(|option| !option.starts_with(TREE) && !option.starts_with(ASK));
        if let Some(source) = source_of(mount, &options, &linux, in_namespace, (bundle, rootfs))? {
            // libcontainer refuses what it could not do itself.
            options.retain(|option| option != "idmap" && option != "ridmap");
            mount.set_uid_mappings(None).set_gid_mappings(None);
            match source {
                Source::Tree(tree) => {
                    options.push(format!("{TREE}{}", tree.as_raw_fd()));
                    trees.push(tree);
                }
                Source::Own(one) => {
                    let line = match &mut line {
                        Some(line) => line,
                        none => none.insert(Line::new().context(ErrorKind::System, failed)?),
                    };
                    options.push(format!("{ASK}{}:{}", line.asks().as_raw_fd(), asked.len()));
                    asked.push(one);
                }
            }
        }
        if mount.options().as_ref() != Some(&options) && !(mount.options().is_none() && options.is_empty()) {
            mount.set_options(Some(options));
        }
    }
    spec.set_mounts(Some(mounts));
    let opener = line.map(|line| line.answered(&asked)).transpose();
    Ok(Sources { _trees: trees, opener: opener.context(ErrorKind::System, failed)? })
}

/// The source of one mount, if it is to be opened on this side.
fn source_of(
    mount: &Mount,
    options: &[String],
    linux: &Linux,
    in_namespace: bool,
    (bundle, rootfs): (&Path, &Path),
) -> Result<Option<Source>> {
    let has = |names: &[&str]| options.iter().any(|option| names.contains(&option.as_str()));
    let binds = is_bind(mount);
    let given = [mount.uid_mappings(), mount.gid_mappings()].map(|ids| ids.as_deref().unwrap_or_default());
    let is_mapped = has(&["idmap", "ridmap"]) || given.iter().any(|ids| !ids.is_empty());
    if !(is_mapped || binds && in_namespace) {
        return Ok(None);
    }
    let place = || format!("mount at {}", mount.destination().display());
    if !binds {
        return Err(bad(format!("{}: only a bind mount can be id-mapped", place())));
    }
    if !cfg!(libcontainer_binds_trees) {
        let message = format!("{}: this build has libcontainer without patches, which maps no ids", place());
        return if is_mapped { Err(bad(message)) } else { Ok(None) };
    }
    let Some(source) = mount.source() else { return Ok(None) };
    let source = bundle.join(source);
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if has(&["rbind"]) {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let recursive = has(&["ridmap"]);
    let unmappable = || {
        format!("{}: its ids cannot be mapped (its file system or this kernel may not know how to)", place())
    };
    // What other mounts of the container's may stand on is not there yet.
    if source.starts_with(rootfs) && (!is_mapped || cfg!(libcontainer_asks_for_trees)) {
        if !is_mapped {
            return Ok(None);
        }
        let ids = ids(given, linux, &place)?.namespace().context(ErrorKind::Container, unmappable)?;
        return Ok(Some(Source::Own(Asked { source, flags, ids, recursive })));
    }
    let tree = match rustix::mount::open_tree(CWD, &source, flags) {
        Ok(tree) => tree,
        // Without privilege: then the container's root is who this process is, and may open as much itself.
        Err(Errno::PERM) if !is_mapped => return Ok(None),
        Err(errno) => {
            let words = || format!("error mounting {:?} to rootfs at {:?}", source, mount.destination());
            return Err(errno).context(ErrorKind::Container, words);
        }
    };
    keep_apart(&tree, linux, in_namespace)
        .context(ErrorKind::Container, || format!("{}: its propagation cannot be set", place()))?;
    if is_mapped {
        let ids = ids(given, linux, &place)?.namespace();
        let mapped = ids.and_then(|ids| Ok(mount::map_ids(&tree, &ids, recursive)?));
        mapped.context(ErrorKind::Container, unmappable)?;
    }
    Ok(Some(Source::Tree(tree)))
}

/// A tree that is cloned on the host's side still shares with the host what is mounted in it. In the container's mount namespace it would not: there everything has
/// the propagation of the root, and in a user namespace nothing is shared with the host at all.
fn keep_apart(tree: &OwnedFd, linux: &Linux, in_namespace: bool) -> rustix::io::Result<()> {
    let steps: &[u64] = match linux.rootfs_propagation().as_deref().map(|word| word.trim_start_matches('r')) {
        Some("private" | "unbindable") => &[libc::MS_PRIVATE],
        Some("shared") if in_namespace => &[libc::MS_SLAVE, libc::MS_SHARED],
        Some("shared") => &[],
        _ => &[libc::MS_SLAVE],
    };
    for &propagation in steps {
        let attributes = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 };
        mount::set_attributes(tree, &attributes, true)?;
    }
    Ok(())
}

/// Where the ids of a mount come from.
enum Ids {
    Mappings(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>),
    /// As in a namespace that is there.
    Of(OwnedFd),
}

/// The mount's own mappings, or the container's.
fn ids(given: [&[LinuxIdMapping]; 2], linux: &Linux, place: &impl Fn() -> String) -> Result<Ids> {
    match given {
        [[], []] => {}
        [[], _] | [_, []] => {
            return Err(bad(format!("{}: uidMappings and gidMappings have to be given together", place())));
        }
        [uids, gids] => return Ok(Ids::Mappings(uids.to_vec(), gids.to_vec())),
    }
    match user_namespace(linux) {
        None => Err(bad(format!(
            "{}: is to be id-mapped, but neither it nor the container has mappings",
            place()
        ))),
        Some(Some(path)) => fs::File::open(path)
            .map(|file| Ids::Of(file.into()))
            .context(ErrorKind::Bundle, || format!("namespace user: {}", path.display())),
        Some(None) => Ok(Ids::Mappings(
            linux.uid_mappings().clone().unwrap_or_default(),
            linux.gid_mappings().clone().unwrap_or_default(),
        )),
    }
}

/// Whether a container has a user namespace of its own, and the path of one that it joins.
fn user_namespace(linux: &Linux) -> Option<Option<&Path>> {
    let mut all = linux.namespaces().iter().flatten();
    let user = all.find(|namespace| namespace.typ() == LinuxNamespaceType::User)?;
    Some(user.path().as_deref().filter(|path| !path.as_os_str().is_empty()))
}

fn bad(message: String) -> Error {
    Error::new(ErrorKind::Bundle, message)
}

impl Ids {
    /// A user namespace that has them.
    fn namespace(self) -> io::Result<OwnedFd> {
        match self {
            Self::Of(namespace) => Ok(namespace),
            Self::Mappings(uids, gids) => namespace_of(&uids, &gids),
        }
    }
}

/// A user namespace of these mappings, in which there is nobody.
fn namespace_of(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> io::Result<OwnedFd> {
    let (mut told, mut tell) = io::pipe()?;
    let (mut held, hold) = io::pipe()?;
    // SAFETY: this process has one thread until a function is executed (see `detach`), so the child may do what the parent may; it leaves by
    // `_exit` alone.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        drop((told, hold));
        // SAFETY: of a namespace that only this process is in.
        let done = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) };
        let _ = tell.write_all(&[u8::from(done.is_err())]);
        // Until the parent has what it wants, or is no more.
        let _ = held.read(&mut [0]);
        // SAFETY: ends this process, of which nothing has to be put away.
        unsafe { libc::_exit(0) }
    }
    drop((tell, held));
    let namespace = mapped(child, &mut told, uids, gids);
    drop(hold);
    let _ =
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty()));
    namespace
}

fn mapped(
    child: i32,
    told: &mut io::PipeReader,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> io::Result<OwnedFd> {
    let mut failed = [1];
    told.read_exact(&mut failed)?;
    if failed != [0] {
        return Err(io::Error::other("no user namespace can be made"));
    }
    for (file, ids) in [("uid_map", uids), ("gid_map", gids)] {
        let line = |id: &LinuxIdMapping| format!("{} {} {}\n", id.container_id(), id.host_id(), id.size());
        // All of it at once, see user_namespaces(7).
        fs::write(format!("/proc/{child}/{file}"), ids.iter().map(line).collect::<String>())?;
    }
    fs::File::open(format!("/proc/{child}/ns/user")).map(Into::into)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn opened(mount: serde_json::Value, linux: serde_json::Value) -> (Result<Sources>, Mount) {
        let config = json!({ "ociVersion": "1.0.2", "mounts": [mount], "linux": linux });
        let mut spec: Spec = serde_json::from_value(config).unwrap();
        let opened = open(&mut spec, Path::new("/"), Path::new("/rootfs"));
        (opened, spec.mounts().as_ref().unwrap()[0].clone())
    }

    #[test]
    fn nobody_names_descriptors_of_the_runtimes() {
        let mount = json!({ "destination": "/x", "source": "/etc", "options": ["bind", "x-mount.tree=1", "x-mount.ask=1:0", "ro"] });
        let (opened, mount) = opened(mount, json!({}));
        let opened = opened.unwrap();
        assert!(opened._trees.is_empty() && opened.socket().is_none());
        assert_eq!(mount.options().as_deref(), Some(&["bind".to_owned(), "ro".to_owned()][..]));
    }

    #[test]
    fn ids_that_cannot_be_mapped_are_refused_by_the_mount() {
        let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
        let bind = |more: serde_json::Value| {
            let mut mount =
                json!({ "destination": "/x", "source": "/etc", "type": "bind", "options": ["bind"] });
            mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            mount
        };
        for (mount, why) in [
            (json!({ "destination": "/x", "type": "tmpfs", "options": ["idmap"] }), "only a bind mount"),
            (bind(json!({ "uidMappings": ids })), "together"),
            (bind(json!({ "options": ["bind", "idmap"] })), "neither it nor the container"),
        ] {
            let error = opened(mount, json!({})).0.unwrap_err().to_string();
            assert!(
                error.contains("mount at /x") && (error.contains(why) || error.contains("patches")),
                "{error}"
            );
        }
    }
}
