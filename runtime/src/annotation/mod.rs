//! Annotations: the workload's own words about itself, read once into validated types.
//!
//! Ours are `io.roadrunner.wasm/KEY` and `io.roadrunner.hose/KEY`; `KEY.<container-name>` speaks to one container of a
//! pod and wins there over the plain key. The habits of crun (`run.oci.handler`) and of KWasm
//! (`module.wasm.image/variant`) are read too. docs/annotations.md is the table for users.
//!
//! Invariants: a known key with a bad value is an error that names the key, whatever else holds; an
//! unknown key under our prefixes is a warning. Nothing here is trusted: the tenant, for one, is no annotation of ours (see [`crate::config`]).
//!
//! [`hose`](mod@hose) reads the keys of the hose, [`network`] those of it across hosts, [`lifecycle`] those of how long a function
//! lives, [`streams`] those of its standard streams.
//!
//! Not here: deciding whether a workload is Wasm (see [`crate::workload`]).

pub mod hose;
pub mod lifecycle;
pub mod network;
pub mod streams;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use oci_spec::runtime::Spec;

use crate::error::{Error, ErrorKind, Result};
use crate::quantity;

const WASM: &str = "io.roadrunner.wasm/";
const HOSE: &str = "io.roadrunner.hose/";

/// Who speaks the container's name, in this order: containerd's CRI plugin, then CRI-O.
const CONTAINER_NAME: [&str; 2] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"];

const WASM_KEYS: &[&str] = &["handler", "aot", "max-memory", "timeout", "fuel"];
const HOSE_KEYS: &[&str] = &[
    "mode",
    "name",
    "workflow",
    "target",
    "modules",
    "routes",
    "transfer",
    "listen",
    "address",
    "connect-timeout",
    "io-timeout",
    "max-size",
    "max-inflight",
    "lifecycle",
    "drain-timeout",
    "stdin",
    "stdout",
];

/// Everything that a container's annotations ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotations {
    handler: Handler,
    aot: Aot,
    limits: Limits,
    hose: Option<hose::Hose>,
}

/// Who runs the entrypoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handler {
    /// The engine where the entrypoint is a Wasm module, the kernel where it is not.
    #[default]
    Auto,
    /// The engine; an entrypoint that is no module is an error.
    Wasm,
    /// The kernel, whatever the entrypoint is.
    Native,
}

/// What ahead-of-time compilation may do for a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aot {
    /// Use an entry of the cache; when there is none, interpret, and have one made in the background.
    #[default]
    Cache,
    /// Use an entry of the cache; when there is none, make one first.
    Wait,
    /// Interpret.
    Off,
}

/// Limits that annotations set; `None` is no limit of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest linear memory in bytes.
    pub max_memory: Option<u64>,
    /// Wall-clock time from `start`.
    pub timeout: Option<Duration>,
    /// Instructions.
    pub fuel: Option<u64>,
}

impl Annotations {
    /// Reads the annotations of a spec, which may have none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Annotation`], naming the key.
    pub fn of(spec: &Spec) -> Result<Self> {
        spec.annotations().as_ref().map_or_else(|| Self::parse(&HashMap::new()), Self::parse)
    }

    /// Reads annotations.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Annotation`], naming the key.
    pub fn parse(annotations: &HashMap<String, String>) -> Result<Self> {
        let keys = Keys::read(annotations);
        Ok(Self {
            handler: handler(&keys, annotations)?,
            aot: keys.one_of(
                WASM,
                "aot",
                &[("cache", Aot::Cache), ("wait", Aot::Wait), ("off", Aot::Off)],
            )?,
            limits: Limits {
                max_memory: keys.bytes(WASM, "max-memory")?,
                timeout: keys.duration(WASM, "timeout")?,
                fuel: keys.integer(WASM, "fuel")?,
            },
            hose: hose::parse(&keys)?,
        })
    }

    /// Who runs the entrypoint.
    #[must_use]
    pub fn handler(&self) -> Handler {
        self.handler
    }

    /// What ahead-of-time compilation may do.
    #[must_use]
    pub fn aot(&self) -> Aot {
        self.aot
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The hose, when the container has one.
    #[must_use]
    pub fn hose(&self) -> Option<&hose::Hose> {
        self.hose.as_ref()
    }
}

/// The values under our prefixes that speak to this container, by prefix and key.
struct Keys<'a>(BTreeMap<(&'static str, &'a str), Value<'a>>);

/// A value, and the full key that it stands under.
#[derive(Clone, Copy)]
struct Value<'a> {
    key: &'a str,
    text: &'a str,
    specific: bool,
}

impl Value<'_> {
    fn invalid(&self, why: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Annotation, format!("annotation {}: {:?} {why}", self.key, self.text))
    }
}

impl<'a> Keys<'a> {
    fn read(annotations: &'a HashMap<String, String>) -> Self {
        let container = CONTAINER_NAME.iter().find_map(|key| annotations.get(*key));
        let mut keys = BTreeMap::new();
        // Sorted, so that of several faults always the same one is reported.
        for (key, text) in annotations.iter().collect::<BTreeMap<_, _>>() {
            let Some((prefix, rest)) = split_prefix(key) else { continue };
            let (name, speaks_to) = match rest.split_once('.') {
                Some((name, container)) => (name, Some(container)),
                None => (rest, None),
            };
            if speaks_to.is_some() && speaks_to != container.map(String::as_str) {
                continue;
            }
            let known = if prefix == WASM { WASM_KEYS } else { HOSE_KEYS };
            if !known.contains(&name) {
                tracing::warn!("annotation {key} is unknown and has no effect");
                continue;
            }
            let value = Value { key, text, specific: speaks_to.is_some() };
            let present = keys.entry((prefix, name)).or_insert(value);
            if value.specific && !present.specific {
                *present = value;
            }
        }
        Self(keys)
    }

    fn get(&self, prefix: &'static str, name: &'static str) -> Option<&Value<'a>> {
        self.0.get(&(prefix, name))
    }

    fn one_of<T: Copy + Default>(
        &self,
        prefix: &'static str,
        name: &'static str,
        of: &[(&str, T)],
    ) -> Result<T> {
        let Some(value) = self.get(prefix, name) else { return Ok(T::default()) };
        of.iter().find(|(text, _)| *text == value.text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<&str> = of.iter().map(|(text, _)| *text).collect();
            value.invalid(format_args!("is none of {}", names.join(", ")))
        })
    }

    fn bytes(&self, prefix: &'static str, name: &'static str) -> Result<Option<u64>> {
        self.positive(prefix, name, quantity::bytes, 0)
    }

    fn duration(&self, prefix: &'static str, name: &'static str) -> Result<Option<Duration>> {
        let duration = self.positive(prefix, name, quantity::duration, Duration::ZERO)?;
        match (duration, self.get(prefix, name)) {
            (Some(duration), Some(value)) if duration < Duration::from_millis(1) => {
                Err(value.invalid("is shorter than a millisecond"))
            }
            _ => Ok(duration),
        }
    }

    fn integer(&self, prefix: &'static str, name: &'static str) -> Result<Option<u64>> {
        self.positive(prefix, name, integer, 0)
    }

    fn positive<T: PartialEq>(
        &self,
        prefix: &'static str,
        name: &'static str,
        parse: fn(&str) -> Result<T, quantity::Reason>,
        zero: T,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(prefix, name) else { return Ok(None) };
        match parse(value.text) {
            Ok(parsed) if parsed == zero => Err(value.invalid("must be greater than zero")),
            Ok(parsed) => Ok(Some(parsed)),
            Err(why) => Err(value.invalid(why)),
        }
    }
}

fn integer(text: &str) -> Result<u64, quantity::Reason> {
    match text {
        "" => Err("is empty"),
        _ if text.starts_with('-') => Err("is negative"),
        _ if !text.bytes().all(|b| b.is_ascii_digit()) => Err("is not an integer"),
        _ => text.parse().map_err(|_| "is too large"),
    }
}

fn split_prefix(key: &str) -> Option<(&'static str, &str)> {
    [WASM, HOSE].into_iter().find_map(|prefix| key.strip_prefix(prefix).map(|rest| (prefix, rest)))
}

/// Our own key wins; then crun's, then KWasm's.
fn handler(keys: &Keys<'_>, annotations: &HashMap<String, String>) -> Result<Handler> {
    if keys.get(WASM, "handler").is_some() {
        let of = [("auto", Handler::Auto), ("wasm", Handler::Wasm), ("native", Handler::Native)];
        return keys.one_of(WASM, "handler", &of);
    }
    // Values that are not ours (`krun`, `wasmtime`, …) belong to another runtime's handler: no error, as under runc.
    let habits = [
        (
            "run.oci.handler",
            [("wasm", Handler::Wasm), ("wasmedge", Handler::Wasm), ("wasm-smart", Handler::Auto)].as_slice(),
        ),
        ("module.wasm.image/variant", &[("compat", Handler::Wasm), ("compat-smart", Handler::Auto)]),
    ];
    let found = habits.iter().find_map(|(key, meanings)| {
        let value = annotations.get(*key)?;
        meanings.iter().find(|(name, _)| name == value).map(|(_, handler)| *handler)
    });
    Ok(found.unwrap_or_default())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use std::error::Error as _;

    use ::hose::Name;
    use proptest::prelude::*;

    use super::*;

    pub(super) fn parse(pairs: &[(&str, &str)]) -> Result<Annotations> {
        let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Annotations::parse(&annotations)
    }

    const HOSE_PAIRS: [(&str, &str); 3] = [
        ("io.roadrunner.hose/mode", "kernel"),
        ("io.roadrunner.hose/name", "a"),
        ("io.roadrunner.hose/workflow", "w"),
    ];

    fn with_hose(more: &[(&str, &str)]) -> Result<Annotations> {
        parse(&[&HOSE_PAIRS, more].concat())
    }

    #[test]
    fn without_annotations_everything_is_default() {
        let read = parse(&[]).unwrap();
        assert_eq!(read.handler(), Handler::Auto);
        assert_eq!(read.aot(), Aot::Cache);
        assert_eq!(read.limits(), Limits::default());
        assert_eq!(read.hose(), None);
    }

    #[test]
    fn wasm_keys_are_read() {
        let read = parse(&[
            ("io.roadrunner.wasm/handler", "wasm"),
            ("io.roadrunner.wasm/aot", "off"),
            ("io.roadrunner.wasm/max-memory", "64Mi"),
            ("io.roadrunner.wasm/timeout", "1m30s"),
            ("io.roadrunner.wasm/fuel", "1000"),
        ])
        .unwrap();
        assert_eq!(read.handler(), Handler::Wasm);
        assert_eq!(read.aot(), Aot::Off);
        let limits =
            Limits { max_memory: Some(64 << 20), timeout: Some(Duration::from_secs(90)), fuel: Some(1000) };
        assert_eq!(read.limits(), limits);
    }

    #[test]
    fn hose_keys_are_read() {
        let read = with_hose(&[
            ("io.roadrunner.hose/target", "b, c"),
            ("io.roadrunner.hose/connect-timeout", "5s"),
            ("io.roadrunner.hose/io-timeout", "6s"),
            ("io.roadrunner.hose/max-size", "1Mi"),
        ])
        .unwrap();
        let hose = read.hose().unwrap().config();
        assert_eq!(hose.name().as_str(), "a");
        assert_eq!(hose.workflow().as_str(), "w");
        assert_eq!(hose.targets().iter().map(Name::as_str).collect::<Vec<_>>(), ["b", "c"]);
        let limits = ::hose::Limits::new(Duration::from_secs(5), Duration::from_secs(6), 1 << 20).unwrap();
        assert_eq!(*hose.limits(), limits);
    }

    #[test]
    fn a_function_that_serves_says_so_and_how_it_ends() {
        let plain = with_hose(&[]).unwrap();
        let service = plain.hose().unwrap().service();
        assert_eq!((service.lifecycle(), service.max_inflight()), (lifecycle::Lifecycle::Oneshot, 256));
        assert_eq!(service.drain_timeout(), Duration::from_secs(10));
        let read = with_hose(&[
            ("io.roadrunner.hose/lifecycle", "serve"),
            ("io.roadrunner.hose/drain-timeout", "1500ms"),
            ("io.roadrunner.hose/max-inflight", "7"),
        ])
        .unwrap();
        let service = read.hose().unwrap().service();
        assert_eq!((service.lifecycle(), service.max_inflight()), (lifecycle::Lifecycle::Serve, 7));
        assert_eq!(service.drain_timeout(), Duration::from_millis(1500));
        let modules = format!("b=/b.wasm@sha256:{DIGEST}");
        let error = parse(&[
            ("io.roadrunner.hose/mode", "user"),
            ("io.roadrunner.hose/name", "a"),
            ("io.roadrunner.hose/workflow", "w"),
            ("io.roadrunner.hose/modules", &modules),
            ("io.roadrunner.hose/lifecycle", "serve"),
        ])
        .unwrap_err()
        .to_string();
        assert!(error.contains("io.roadrunner.hose/lifecycle") && error.contains("needs kernel"), "{error}");
    }

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_workflow_of_modules_is_read() {
        let modules = format!("b=/b.wasm@sha256:{DIGEST}, c=/lib/c@2.wasm#run@sha256:{DIGEST}");
        let read = parse(&[
            ("io.roadrunner.hose/mode", "user"),
            ("io.roadrunner.hose/name", "a"),
            ("io.roadrunner.hose/workflow", "w"),
            ("io.roadrunner.hose/target", "b"),
            ("io.roadrunner.hose/modules", &modules),
            ("io.roadrunner.hose/routes", "b=c, c=b+c"),
            ("io.roadrunner.hose/transfer", "move"),
        ]);
        assert!(read.is_err(), "c sends to itself");
        let read = parse(&[
            ("io.roadrunner.hose/mode", "user,kernel"),
            ("io.roadrunner.hose/name", "a"),
            ("io.roadrunner.hose/workflow", "w"),
            ("io.roadrunner.hose/target", "b,elsewhere"),
            ("io.roadrunner.hose/modules", &modules),
            ("io.roadrunner.hose/routes", "b=c"),
            ("io.roadrunner.hose/transfer", "move"),
        ])
        .unwrap();
        let hose = read.hose().unwrap();
        let [b, c] = hose.modules() else { panic!("two modules") };
        assert_eq!((b.name().as_str(), b.path().to_str(), b.function()), ("b", Some("/b.wasm"), None));
        assert_eq!((c.path().to_str(), c.function()), (Some("/lib/c@2.wasm"), Some("run")));
        assert_eq!((b.digest(), b.targets().len(), c.targets().len()), (DIGEST, 1, 0));
        assert!(hose.reaches_containers());
        assert_eq!(hose.config().transfer(), ::hose::Transfer::Move);
    }

    #[test]
    fn a_bad_value_names_its_key() {
        let wasm: &[(&str, &[&str])] = &[
            ("io.roadrunner.wasm/handler", &["", "Wasm", "auto "]),
            ("io.roadrunner.wasm/aot", &["", "on"]),
            ("io.roadrunner.wasm/max-memory", &["", "0", "-1", "1Q", "99999999999Gi"]),
            ("io.roadrunner.wasm/timeout", &["", "0", "-1s", "10", "999999999h", "1us"]),
            ("io.roadrunner.wasm/fuel", &["", "0", "-5", "1k", "1.5", "18446744073709551616"]),
            (
                "io.roadrunner.hose/mode",
                &["", "Kernel", "kernel,", "kernel,kernel", "none,kernel", "auto,kernel"],
            ),
            ("io.roadrunner.hose/name", &["", "A", "a/b", "..", "a b", "invoke", "invoke-1"]),
            ("io.roadrunner.hose/workflow", &["", "W", "a/b"]),
            ("io.roadrunner.hose/target", &["", ",", "b,,c", "B", "b,b", "a"]),
            ("io.roadrunner.hose/connect-timeout", &["", "0s", "-1s", "48h"]),
            ("io.roadrunner.hose/io-timeout", &["", "0s", "x"]),
            ("io.roadrunner.hose/max-size", &["", "0", "-1", "5Gi"]),
            ("io.roadrunner.hose/transfer", &["", "Move", "steal"]),
            ("io.roadrunner.hose/lifecycle", &["", "Serve", "forever"]),
            ("io.roadrunner.hose/drain-timeout", &["", "0s", "25h", "1"]),
            ("io.roadrunner.hose/max-inflight", &["", "0", "-1", "65537", "1k"]),
            (
                "io.roadrunner.hose/modules",
                &[
                    "",
                    ",",
                    "b",
                    "b=/b.wasm",
                    "b=b.wasm@sha256:00",
                    "=/b.wasm@sha256:00",
                    "b=/b.wasm#@sha256:00",
                    "b=/b@md5:00",
                ],
            ),
            ("io.roadrunner.hose/routes", &["", "b", "b=", "=c", "b=c++d", "b=c,b=d", "b=c"]),
        ];
        for (key, values) in wasm {
            for value in *values {
                let mut pairs: Vec<_> = HOSE_PAIRS.iter().copied().filter(|(k, _)| k != key).collect();
                pairs.push((key, value));
                let error = parse(&pairs).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Annotation, "{key}={value}");
                assert!(error.to_string().contains(key), "{key}={value}: {error}");
            }
        }
    }

    #[test]
    fn a_bad_value_is_an_error_even_where_it_has_no_effect() {
        let error = parse(&[("io.roadrunner.wasm/handler", "native"), ("io.roadrunner.hose/max-size", "x")])
            .unwrap_err();
        assert!(error.to_string().contains("io.roadrunner.hose/max-size"));
    }

    #[test]
    fn an_unknown_key_is_no_error() {
        assert!(parse(&[("io.roadrunner.wasm/colour", "x"), ("io.roadrunner.other/x", "y")]).is_ok());
    }

    #[test]
    fn mode_kernel_needs_a_name_and_a_workflow() {
        for (i, key) in [(1, "io.roadrunner.hose/name"), (2, "io.roadrunner.hose/workflow")] {
            let mut pairs = HOSE_PAIRS.to_vec();
            pairs.remove(i);
            let error = parse(&pairs).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("required"), "{error}");
        }
        assert_eq!(parse(&[("io.roadrunner.hose/mode", "none")]).unwrap().hose(), None);
    }

    #[test]
    fn a_key_for_this_container_wins_and_one_for_another_is_ignored() {
        for name_key in CONTAINER_NAME {
            let read = parse(&[
                (name_key, "fn.one"),
                ("io.roadrunner.wasm/handler", "native"),
                ("io.roadrunner.wasm/handler.fn.one", "wasm"),
                ("io.roadrunner.wasm/aot.other", "rubbish"),
            ])
            .unwrap();
            assert_eq!(read.handler(), Handler::Wasm);
            assert_eq!(read.aot(), Aot::Cache);
        }
        let read = parse(&[("io.roadrunner.wasm/handler.x", "wasm")]).unwrap();
        assert_eq!(read.handler(), Handler::Auto, "a container without a name is nobody's sidecar");
    }

    #[test]
    fn habits_of_other_runtimes_are_honoured() {
        for (key, value, handler) in [
            ("run.oci.handler", "wasm", Handler::Wasm),
            ("run.oci.handler", "wasmedge", Handler::Wasm),
            ("run.oci.handler", "wasm-smart", Handler::Auto),
            ("run.oci.handler", "krun", Handler::Auto),
            ("module.wasm.image/variant", "compat", Handler::Wasm),
            ("module.wasm.image/variant", "compat-smart", Handler::Auto),
        ] {
            assert_eq!(parse(&[(key, value)]).unwrap().handler(), handler, "{key}={value}");
        }
        let read = parse(&[("run.oci.handler", "wasm"), ("io.roadrunner.wasm/handler", "native")]).unwrap();
        assert_eq!(read.handler(), Handler::Native);
    }

    #[test]
    fn the_cause_of_a_bad_name_is_its_source() {
        let error = with_hose(&[("io.roadrunner.hose/target", "b,C")]).unwrap_err();
        assert!(error.source().unwrap().to_string().contains("function name"));
    }

    proptest! {
        #[test]
        fn no_value_is_read_with_a_panic(value in ".{0,32}", i in 0_usize..18) {
            let key = WASM_KEYS.iter().map(|k| format!("{WASM}{k}"))
                .chain(HOSE_KEYS.iter().map(|k| format!("{HOSE}{k}"))).nth(i).unwrap();
            if let Err(error) = parse(&[(&key, &value)]) {
                prop_assert!(error.to_string().contains(&key));
            }
        }

        #[test]
        fn foreign_keys_have_no_effect(key in "[a-z./-]{0,24}", value in ".{0,16}") {
            prop_assume!(split_prefix(&key).is_none() && key != "run.oci.handler");
            prop_assert_eq!(parse(&[(&key, &value)]).unwrap(), parse(&[]).unwrap());
        }
    }
}
