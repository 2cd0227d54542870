//! Names of functions, workflows and tenants.
//!
//! One alphabet for the three: 1 to 63 of `a-z`, `0-9`, `.` and `-`, beginning and ending with a letter or a
//! digit. It is what a Kubernetes label value and a DNS label have in common, contains no `/`, is never `.` or
//! `..`, and is therefore a safe file name.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// Longest name in bytes.
pub const MAX_LEN: usize = 63;

fn check(what: &str, s: &str) -> Result<()> {
    let invalid = |why: String| Err(Error::new(ErrorKind::Invalid, format!("{what} {s:?}: {why}")));
    if s.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("{what} is empty")));
    }
    if s.len() > MAX_LEN {
        // The value itself is not repeated: it may be a megabyte long.
        let message = format!("{what} is {} bytes long, {MAX_LEN} at most are allowed", s.len());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(c) = s.chars().find(|c| !alphanumeric(*c) && !matches!(c, '.' | '-')) {
        return invalid(format!("{c:?} is not one of a-z, 0-9, '.' and '-'"));
    }
    if !s.starts_with(alphanumeric) || !s.ends_with(alphanumeric) {
        return invalid("must begin and end with a letter or a digit".into());
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(s: String) -> Result<Self> {
                check($what, &s)?;
                Ok(Self(s))
            }
        }

        impl TryFrom<&str> for $type {
            type Error = Error;

            fn try_from(s: &str) -> Result<Self> {
                check($what, s)?;
                Ok(Self(s.to_owned()))
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(s: &str) -> Result<Self> {
                Self::try_from(s)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// A function's name, unique among the live functions of its workflow.
    Name, "function name"
}
name! {
    /// What functions must share to know each other.
    Workflow, "workflow name"
}
name! {
    /// Whom the administrator holds apart: functions of two tenants never meet.
    Tenant, "tenant name"
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for s in ["a", "0", "photo-source", "v1.2", "a--b", "uid-1000", &"x".repeat(63)] {
            assert_eq!(Name::try_from(s).unwrap().as_str(), s);
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_what_and_why() {
        for (s, why) in [
            ("", "function name is empty"),
            ("A", "'A' is not one of"),
            ("a/b", "'/' is not one of"),
            ("a\0", "'\\0' is not one of"),
            ("é", "'é' is not one of"),
            (".", "must begin and end"),
            ("..", "must begin and end"),
            ("-a", "must begin and end"),
            ("a-", "must begin and end"),
        ] {
            let error = Name::try_from(s).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why), "{s:?}: {error}");
        }
        let long = Workflow::try_from("x".repeat(64)).unwrap_err().to_string();
        assert_eq!(long, "workflow name is 64 bytes long, 63 at most are allowed");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_a_safe_file_name(s in "\\PC{0,70}") {
            if let Ok(name) = Tenant::try_from(s.as_str()) {
                prop_assert_eq!(name.as_str(), &s);
                prop_assert!(!s.contains(['/', '\0']) && s != "." && s != ".." && s.len() <= 63);
            }
        }
    }
}
