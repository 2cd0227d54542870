//! Commands and flags: what the runc of this machine knows, and this runtime does not, stands in `docs/runc-compatibility.md`, and nothing else does.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{Invocation, Runtime, skip};

/// The page.
const PAGE: &str = include_str!("../../docs/runc-compatibility.md");

/// Long flags in a command's help, but for the help itself.
fn flags(runtime: &Runtime, verb: Option<&str>) -> BTreeSet<String> {
    let help = Invocation::new(runtime.path()).args(verb).arg("--help").ok();
    let options = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = options.flat_map(|line| line.split([' ', ',', '=', '[']));
    let long = words.filter(|word| word.starts_with("--") && word.len() > 2);
    long.map(str::to_owned).filter(|flag| !["--help", "--version"].contains(&flag.as_str())).collect()
}

/// Commands in runc's help.
fn verbs(runc: &Runtime) -> Vec<String> {
    let help = Invocation::new(runc.path()).arg("--help").ok();
    let commands = help.lines().skip_while(|line| *line != "COMMANDS:").skip(1);
    let commands = commands.take_while(|line| !line.trim().is_empty());
    let first =
        |line: &str| line.split_whitespace().next().unwrap_or_default().trim_end_matches(',').to_owned();
    commands.map(first).filter(|verb| verb != "help").collect()
}

/// What the page's first table lists, without code marks.
fn listed() -> BTreeSet<String> {
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| what | here |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect()
}

#[test]
fn what_is_missing_is_on_the_page_and_nothing_else_is() {
    let Some(runc) = Runtime::peer() else { skip!("runc is not installed") };
    let ours = Runtime::under_test();
    if !ours.is_ours() {
        skip!("{} is not rr-runtime", ours.name());
    }
    let mut missing: BTreeSet<String> = flags(&runc, None).difference(&flags(&ours, None)).cloned().collect();
    let help = Invocation::new(ours.path()).arg("--help").ok();
    for verb in verbs(&runc) {
        if !help.lines().any(|line| line.split_whitespace().next() == Some(verb.as_str())) {
            missing.insert(verb);
            continue;
        }
        let ours = flags(&ours, Some(&verb));
        let unknown = flags(&runc, Some(&verb)).into_iter().filter(|flag| !ours.contains(flag));
        missing.extend(unknown.map(|flag| format!("{verb} {flag}")));
    }
    let listed = listed();
    let unlisted: Vec<&String> = missing.difference(&listed).collect();
    assert!(unlisted.is_empty(), "missing, and not on the page: {unlisted:?}");
    // A runc of another age may not know all of them.
    let known = |entry: &&String| match entry.split_once(' ') {
        Some((verb, flag)) => flags(&runc, Some(verb)).contains(flag),
        None if entry.starts_with('-') => flags(&runc, None).contains(*entry),
        None => verbs(&runc).contains(entry),
    };
    let wrong: Vec<&String> = listed.difference(&missing).filter(known).collect();
    assert!(wrong.is_empty(), "on the page, and not missing: {wrong:?}");
}

#[test]
fn features_are_runcs_but_for_what_is_not_there() {
    let Some(runc) = Runtime::peer() else { skip!("runc is not installed") };
    let ours = Runtime::under_test();
    if !ours.is_ours() {
        skip!("{} is not rr-runtime", ours.name());
    }
    let features = |runtime: &Runtime| -> Value {
        serde_json::from_str(&Invocation::new(runtime.path()).arg("features").ok()).expect("JSON")
    };
    let list = |value: &Value| -> BTreeSet<String> {
        let words = value.as_array().into_iter().flatten();
        words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
    };
    let [theirs, ours] = [features(&runc), features(&ours)];
    for (path, known) in [
        ("/hooks", &[][..]),
        ("/mountOptions", &["remount"][..]),
        ("/linux/namespaces", &[]),
        ("/linux/capabilities", &[]),
        ("/linux/seccomp/actions", &[]),
        ("/linux/seccomp/operators", &[]),
        ("/linux/seccomp/archs", &[]),
    ] {
        let at = |features: &Value| list(features.pointer(path).unwrap_or(&Value::Null));
        let missing: Vec<String> = at(&theirs).difference(&at(&ours)).cloned().collect();
        assert_eq!(missing, known, "{path}");
        assert!(!at(&ours).is_empty(), "{path}");
    }
}

#[test]
fn help_is_a_command_too() {
    let ours = Runtime::under_test();
    let help = |words: &[&str]| Invocation::new(ours.path()).args(words).ok();
    assert!(help(&["help"]).contains("create") && help(&["help", "exec"]).contains("--cwd"));
}
