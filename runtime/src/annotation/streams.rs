//! The keys that bind the standard streams of a container's own function to its hose.

use super::lifecycle::{Lifecycle, Service};
use super::{HOSE, Keys};
use crate::error::Result;

pub use executor_abi::request::{Stdin, Stdout};

/// What the standard streams are bound to; nothing for the container's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Where standard input comes from.
    pub stdin: Option<Stdin>,
    /// Where standard output goes.
    pub stdout: Option<Stdout>,
}

pub(super) fn parse(keys: &Keys<'_>) -> Result<Streams> {
    let stdin = [("payload", Some(Stdin::Payload)), ("stream", Some(Stdin::Stream))];
    let stdout = [
        ("payload", Some(Stdout::Payload)),
        ("stream", Some(Stdout::Stream)),
        ("answer", Some(Stdout::Answer)),
    ];
    Ok(Streams { stdin: keys.one_of(HOSE, "stdin", &stdin)?, stdout: keys.one_of(HOSE, "stdout", &stdout)? })
}

impl Streams {
    /// What is asked for has to fit together. `reached` is whether other containers can send to the function, `targets` whether it has any.
    pub(super) fn check(self, keys: &Keys<'_>, service: Service, reached: bool, targets: bool) -> Result<()> {
        let refused = |name: &'static str, why: &str| match keys.get(HOSE, name) {
            Some(value) => Err(value.invalid(why)),
            None => Ok(()),
        };
        if self.stdin.is_some() && !reached {
            return refused("stdin", "needs kernel, network or auto in io.roadrunner.hose/mode");
        }
        match self.stdout {
            Some(Stdout::Answer) if self.stdin != Some(Stdin::Payload) => {
                return refused("stdout", "needs io.roadrunner.hose/stdin: payload");
            }
            Some(Stdout::Payload | Stdout::Stream) if !targets => {
                return refused("stdout", "needs io.roadrunner.hose/target");
            }
            _ => {}
        }
        if service.lifecycle() != Lifecycle::Serve {
            return Ok(());
        }
        if self.stdin == Some(Stdin::Stream) {
            return refused("stdin", "has an end, which io.roadrunner.hose/lifecycle: serve has not");
        }
        if self.stdout == Some(Stdout::Stream) {
            return refused("stdout", "has an end, which io.roadrunner.hose/lifecycle: serve has not");
        }
        if self.stdout.is_some() && self.stdin.is_none() {
            return refused(
                "stdout",
                "needs io.roadrunner.hose/stdin: payload where io.roadrunner.hose/lifecycle is serve",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tests::parse;
    use super::*;

    fn streams(pairs: &[(&str, &str)]) -> std::result::Result<Streams, String> {
        let mut all = vec![
            ("io.roadrunner.hose/mode".to_owned(), "kernel".to_owned()),
            ("io.roadrunner.hose/name".to_owned(), "a".to_owned()),
            ("io.roadrunner.hose/workflow".to_owned(), "w".to_owned()),
        ];
        for (key, value) in pairs {
            let key = format!("io.roadrunner.hose/{key}");
            all.retain(|(other, _)| *other != key);
            all.push((key, (*value).to_owned()));
        }
        let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let annotations = parse(&all).map_err(|error| error.to_string())?;
        Ok(annotations.hose().unwrap().streams())
    }

    #[test]
    fn streams_are_bound_as_they_are_named() {
        assert_eq!(streams(&[]), Ok(Streams::default()));
        let both = |stdin, stdout| Ok(Streams { stdin: Some(stdin), stdout: Some(stdout) });
        assert_eq!(
            streams(&[("stdin", "payload"), ("stdout", "answer")]),
            both(Stdin::Payload, Stdout::Answer)
        );
        let passing = [("stdin", "stream"), ("stdout", "stream"), ("target", "b")];
        assert_eq!(streams(&passing), both(Stdin::Stream, Stdout::Stream));
        let serving = [("stdin", "payload"), ("stdout", "payload"), ("target", "b"), ("lifecycle", "serve")];
        assert_eq!(streams(&serving), both(Stdin::Payload, Stdout::Payload));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_its_key() {
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[("stdin", "answer")], "stdin"),
            (&[("stdout", "lines")], "stdout"),
            (&[("stdin", "payload"), ("mode", "user")], "stdin"),
            (&[("stdout", "answer")], "stdout"),
            (&[("stdin", "stream"), ("stdout", "answer")], "stdout"),
            (&[("stdout", "payload")], "stdout"),
            (&[("stdin", "stream"), ("lifecycle", "serve")], "stdin"),
            (
                &[("stdin", "payload"), ("stdout", "stream"), ("target", "b"), ("lifecycle", "serve")],
                "stdout",
            ),
            (&[("stdout", "payload"), ("target", "b"), ("lifecycle", "serve")], "stdout"),
        ];
        for (pairs, key) in cases {
            let error = streams(pairs).unwrap_err();
            assert!(error.starts_with(&format!("annotation io.roadrunner.hose/{key}: ")), "{error}");
        }
    }
}
