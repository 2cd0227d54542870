//! `check`: what will not work on this host, with this configuration, or of this bundle, and why. It changes nothing.
//!
//! Each finding is what the other commands would meet: where they have a check of their own, it is that one that is asked.

mod bundle;
mod host;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Settings;
use crate::error::{Result, chain};

/// What is looked at.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// A bundle's folder, if one is to be looked at.
    pub bundle: Option<PathBuf>,
    /// Folder of the states.
    pub root: PathBuf,
    /// The administrator's file, see [`crate::config`].
    pub config: PathBuf,
    /// The runtime's binary where it is installed.
    pub binary: PathBuf,
    /// Whether systemd is to manage the cgroups.
    pub systemd_cgroup: bool,
}

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It works.
    Ok,
    /// Less of it works, or slower.
    Limited,
    /// It will not work.
    Fails,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `host`, `configuration` or `bundle`.
    pub about: &'static str,
    /// The thing: a key of the bundle, a facility of the kernel, a file.
    pub what: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found; why, and what that means, where it does not work.
    pub text: String,
}

/// Collects findings about one of the three.
#[derive(Debug)]
struct Findings<'a> {
    about: &'static str,
    all: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, verdict: Verdict, what: impl Into<String>, text: impl Into<String>) {
        self.all.push(Finding { about: self.about, what: what.into(), verdict, text: text.into() });
    }

    fn ok(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.add(Verdict::Ok, what, text);
    }

    fn limited(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.add(Verdict::Limited, what, text);
    }

    fn fails(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.add(Verdict::Fails, what, text);
    }

    /// What a check of another command says; its value if it passed.
    fn of<T>(&mut self, what: &str, result: Result<T>, passed: impl FnOnce(&T) -> String) -> Option<T> {
        match result {
            Ok(value) => {
                self.ok(what, passed(&value));
                Some(value)
            }
            Err(error) => {
                self.fails(what, chain(&error));
                None
            }
        }
    }
}

/// Looks at host and configuration, and at a bundle if one is named.
#[must_use]
pub fn check(options: &CheckOptions) -> Vec<Finding> {
    let mut all = Vec::new();
    host::look(&mut Findings { about: "host", all: &mut all }, options);
    let mut findings = Findings { about: "configuration", all: &mut all };
    let settings = configuration(&mut findings, &options.config);
    if let Some(folder) = &options.bundle {
        bundle::look(&mut Findings { about: "bundle", all: &mut all }, folder, settings.as_ref(), options);
    }
    all
}

fn configuration(findings: &mut Findings<'_>, path: &Path) -> Option<Settings> {
    let there = path.exists();
    let said = |_: &Settings| if there { "is valid" } else { "there is none: the defaults hold" }.to_owned();
    let settings = findings.of(&path.display().to_string(), Settings::load(path), said)?;
    findings.of("cache.directory", settings.cache_dir().map(Path::to_owned), |folder| {
        format!("compiled code is kept in {}", folder.display())
    });
    Some(settings)
}

/// The findings for people, those of one subject below each other.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let mut table = String::new();
    let mut about = "";
    for finding in findings {
        if finding.about != about {
            about = finding.about;
            let _ = writeln!(table, "{about}");
        }
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::Fails => "FAILS",
        };
        let _ = writeln!(table, "  {verdict:<8} {}: {}", finding.what, finding.text);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_stand_below_what_they_are_about() {
        let mut all = Vec::new();
        Findings { about: "host", all: &mut all }.ok("kernel", "Linux 6.1");
        Findings { about: "bundle", all: &mut all }.fails("mounts[0]", "no source");
        assert_eq!(
            table(&all),
            "host\n  ok       kernel: Linux 6.1\nbundle\n  FAILS    mounts[0]: no source\n"
        );
    }
}
