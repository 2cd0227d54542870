//! The page of a container in which the executor counts what crosses its hose: a file in the state folder.
//!
//! It is made and mapped before the fork. The mapping, shared and without a descriptor, is all that init has of it: neither the container's
//! user nor its seccomp filter has a say, and no file of the host is open in it. The file has all of its blocks from the beginning, so
//! that counting cannot fail for want of space. What is read from it is believed no further than `executor_abi::statistics::read` does.

#![expect(unsafe_code, reason = "mmap(2) and munmap(2)")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::{self, NonNull};

use executor_abi::request::Shared;
use executor_abi::statistics::{self, Entry, LEN, MAGIC};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::{Context, ErrorKind, Result};

/// Name of the file in the state folder.
const FILE: &str = "hose.stats";

/// A new page, mapped in this process and in those that it forks.
#[derive(Debug)]
pub(crate) struct Page(NonNull<std::ffi::c_void>);

impl Page {
    /// Makes a container's page.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::State`].
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let make = || -> io::Result<Self> {
            let mut file =
                fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            let mut page = vec![0; LEN];
            page[..8].copy_from_slice(&MAGIC.to_ne_bytes());
            file.write_all(&page)?;
            map(&file)
        };
        make().context(ErrorKind::State, || format!("{}: cannot be made", path.display()))
    }

    /// What the executor is told.
    pub(crate) fn request(&self) -> Shared {
        Shared { address: self.0.as_ptr() as u64, len: LEN as u64 }
    }
}

fn map(file: &File) -> io::Result<Page> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice; nothing is there that it could change.
    let start = unsafe { mmap(ptr::null_mut(), LEN, protection, MapFlags::SHARED, file, 0) }?;
    NonNull::new(start).map(Page).ok_or_else(|| io::Error::other("mmap gave no address"))
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: made by `map` with this length, and nobody in this process has used its address: the executor gets it after the fork,
        // in a process that does not drop this.
        let _ = unsafe { munmap(self.0.as_ptr(), LEN) };
    }
}

/// What was counted for the container whose state lies in `folder`: nothing where there is no page, or none that is whole.
///
/// # Errors
///
/// [`ErrorKind::State`] when there is one that cannot be read.
pub fn read(folder: &Path) -> Result<Option<Vec<Entry>>> {
    let path = folder.join(FILE);
    let read = || -> io::Result<Vec<u8>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)?;
        let mut bytes = Vec::with_capacity(LEN + 1);
        file.take(LEN as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(statistics::read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(ErrorKind::State, || format!("{}: cannot be read", path.display())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_new_page_is_empty_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let page = Page::create(folder.path()).unwrap();
        assert_eq!(page.request().address % 4096, 0);
        assert_eq!(read(folder.path()).unwrap(), Some(Vec::new()));
        assert!(Page::create(folder.path()).is_err(), "there is one");
    }

    #[test]
    fn a_file_that_is_none_is_nothing_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for bytes in [&b""[..], b"short", &[0xff; LEN], &[0xff; LEN + 1]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(read(folder.path()).unwrap(), None);
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::State);
    }
}
