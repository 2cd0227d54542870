//! The name of a container, validated once.
//!
//! runc's rule: word characters, `+`, `-`, `.` and `,`; neither `.` nor `..`. It becomes one folder name below the
//! state folder, which is why it is also bounded by what a folder name may be.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// NAME_MAX of the kernel's file systems.
const LONGEST: usize = 255;

/// The name of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks a name from the command line.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Id`], in runc's words.
    pub fn parse(id: &str) -> Result<Self> {
        if id.is_empty() {
            return Err(Error::new(ErrorKind::Id, "container id cannot be empty"));
        }
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'+' | b'-' | b'.' | b',');
        if id.len() > LONGEST || id == "." || id == ".." || !id.bytes().all(allowed) {
            return Err(Error::new(ErrorKind::Id, "invalid container ID format"));
        }
        Ok(Self(id.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(id: String) -> Result<Self> {
        Self::parse(&id)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<Path> for ContainerId {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_runc_takes_are_taken() {
        for id in ["a", "A-b_c.d+e", "...", "0", &"x".repeat(255)] {
            assert_eq!(ContainerId::parse(id).map(|id| id.to_string()).ok().as_deref(), Some(id));
        }
    }

    #[test]
    fn names_that_leave_the_state_folder_are_refused() {
        for id in [".", "..", "a/b", "/", "a\0b", "a b", "é", &"x".repeat(256)] {
            assert_eq!(
                ContainerId::parse(id).err().map(|e| e.to_string()).as_deref(),
                Some("invalid container ID format")
            );
        }
        assert_eq!(
            ContainerId::parse("").err().map(|e| e.to_string()).as_deref(),
            Some("container id cannot be empty")
        );
    }
}
