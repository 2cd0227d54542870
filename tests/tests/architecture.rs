//! Reads the source, and fails when the shape that DESIGN.md gives it changes without a word.
//!
//! Held to exact lists, so that what goes away is struck out too: the edges between the crates, and the files that may
//! hold `unsafe`. Held everywhere: a file says what it is before anything else, no module is a heap of helpers, no
//! `static mut`, no lint silenced without a reason, no panic in what a guest can call.
//!
//! Files are read as tokens: what stands in comments and strings does not count. What a macro of another crate expands
//! to is not seen here; the compiler's own lints see that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Who depends on whom, within the workspace. `dev` and `build` mark dependencies of these kinds.
const EDGES: &[&str] = &[
    "executor -> executor-abi",
    "executor -> guest-abi",
    "executor -> hose",
    "guest-sdk -> guest-abi",
    "rr-native -> rr-runtime",
    "rr-runtime -> first-stage (dev)",
    "rr-runtime -> runtime",
    "runtime -> executor-abi",
    "runtime -> first-stage",
    "runtime -> guest-abi",
    "runtime -> hose",
];

/// The files that may hold `unsafe`, and what for.
const UNSAFE: &[(&str, &str)] = &[
    ("cmd/rr-runtime/src/curve.rs", "names of libm(3), under which the compiler calls them"),
    ("executor/abi/src/lib.rs", "the types of the C boundary"),
    ("executor/examples/bare-call.rs", "the engine's C interface, without a wrapper around it"),
    ("executor/examples/compile.rs", "calls the C boundary as the runtime's compiler does"),
    ("executor/examples/run.rs", "calls the C boundary as the runtime does"),
    ("executor/src/confine.rs", "its tests make system calls that have no wrapper"),
    ("executor/src/crew.rs", "what other threads help with is borrowed from the one that waits for them"),
    ("executor/src/engine.rs", "WasmEdge's C interface"),
    ("executor/src/faults.rs", "the engine library's table of functions, and handlers of signals"),
    ("executor/src/memory.rs", "borrows of a guest's linear memory"),
    ("executor/src/module.rs", "an entry of the cache is mapped"),
    ("executor/src/parcel.rs", "the memory of one thread's guest is read by another, which is waited for"),
    ("executor/src/process.rs", "signal handlers, timers and the process's own memory map"),
    ("executor/src/resident.rs", "the program's own segments are known to dl_iterate_phdr only"),
    ("executor/src/statistics.rs", "a mapping of the runtime's is known by its address only"),
    ("executor/src/stop.rs", "a signal handler, and the end of a process from a thread of its own"),
    ("executor/src/table.rs", "the C boundary, from the executor's side"),
    ("executor/src/vm.rs", "a whole instance may change threads"),
    ("guest/sdk/src/buffer.rs", "an allocation of its own, of which only the written part is shown"),
    ("guest/sdk/src/handler.rs", "a pushed region becomes a slice"),
    ("guest/sdk/src/imports.rs", "calls of the host"),
    ("guest/sdk/src/memory.rs", "an allocator's interface, and the exported names"),
    ("guest/sdk/src/message.rs", "a received region becomes a slice"),
    ("hose/examples/pages.rs", "maps memory of its own"),
    ("hose/src/pages.rs", "mremap of memory that is known by its address only"),
    ("hose/examples/transfer.rs", "memory to map payloads into"),
    ("hose/src/rendezvous/mount.rs", "mount_setattr(2)"),
    ("hose/src/sealed/map.rs", "memory is mapped, replaced and unmapped"),
    ("hose/src/sealed/tests.rs", "memory to map payloads into"),
    ("hose/tests/growth.rs", "memory to map payloads into"),
    ("hose/src/stream/lent.rs", "vmsplice(2), and SIGPIPE"),
    ("runtime/first-stage/src/bytes.rs", "what a C library would have for bytes"),
    (
        "runtime/first-stage/src/main.rs",
        "a program without a C library: its entry, its system calls, its arguments",
    ),
    ("runtime/src/detach.rs", "fork(2) and close_range(2)"),
    ("runtime/src/engine.rs", "dlopen(3), and calls through the executor's C table"),
    ("runtime/src/keyring.rs", "keyctl(2)"),
    ("runtime/src/mount.rs", "mount_setattr(2)"),
    ("runtime/src/cgroup/filter.rs", "bpf(2), which has no wrapper"),
    ("runtime/src/cgroup/placeholder.rs", "fork(2), for a process that keeps a unit of systemd's"),
    ("runtime/src/opener.rs", "fork(2), for a process that opens mounts where init is"),
    ("runtime/src/sealed.rs", "variables are removed from the environment"),
    ("runtime/src/signals.rs", "sigaction(2) and the real-time signals"),
    ("runtime/src/sources.rs", "fork(2), for a user namespace that nobody is in"),
    ("runtime/src/statistics.rs", "mmap(2), for a page that is shared with the container"),
];

/// Where code runs on behalf of a guest, which must not be able to end the host's process.
const CALLED_BY_GUESTS: &[&str] = &[
    "executor/src/calls.rs",
    "executor/src/host/mod.rs",
    "executor/src/host/receive.rs",
    "executor/src/host/send.rs",
    "executor/src/memory.rs",
    "executor/src/parcel.rs",
    "executor/src/serve.rs",
    "executor/src/statistics.rs",
    "executor/src/workflow.rs",
];

/// Names of modules that say nothing about what is in them.
const HEAPS: &[&str] = &["helper", "helpers", "misc", "util", "utils"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn manifest(folder: &Path) -> toml::Table {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn strings(value: &toml::Value) -> Vec<&str> {
    value.as_array().expect("an array").iter().map(|v| v.as_str().expect("a string")).collect()
}

/// The dependency tables of a manifest, with what marks each: plain, dev, build, and the same below each target.
fn dependency_tables(manifest: &toml::Table) -> Vec<(&'static str, &toml::Table)> {
    let kinds = [("", "dependencies"), (" (dev)", "dev-dependencies"), (" (build)", "build-dependencies")];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let places = targets.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table);
    std::iter::once(manifest)
        .chain(places)
        .flat_map(|place| kinds.map(|(mark, key)| (mark, place.get(key).and_then(toml::Value::as_table))))
        .filter_map(|(mark, table)| Some((mark, table?)))
        .collect()
}

/// Every Rust file of the project, as a path below its root, in order. Build folders and hidden ones are none of it.
fn sources() -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder that can be read").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_symlink() || name.starts_with('.') || name.starts_with("target") {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, found);
            } else if name.ends_with(".rs") {
                let below = path.strip_prefix(root).expect("below the root");
                found.push(below.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    walk(&root, &root, &mut found);
    found.sort();
    assert!(found.len() > 10, "only {found:?}");
    found
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn tokens(file: &str) -> TokenStream {
    text(file).parse().unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Calls `visit` with every run of tokens that stand beside each other, at every depth.
fn each_run(stream: TokenStream, visit: &mut impl FnMut(&[TokenTree])) {
    let run: Vec<TokenTree> = stream.into_iter().collect();
    visit(&run);
    for tree in run {
        if let TokenTree::Group(group) = tree {
            each_run(group.stream(), visit);
        }
    }
}

fn is_ident(tree: Option<&TokenTree>, name: &str) -> bool {
    matches!(tree, Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_punct(tree: Option<&TokenTree>, mark: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// Whether any two tokens beside each other, or one alone, satisfy `hit`.
fn any(stream: TokenStream, mut hit: impl FnMut(&TokenTree, Option<&TokenTree>) -> bool) -> bool {
    let mut found = false;
    each_run(stream, &mut |run| {
        found |= run.iter().enumerate().any(|(i, tree)| hit(tree, run.get(i + 1)));
    });
    found
}

/// The file without its `#[cfg(test)]` items.
fn without_tests(stream: TokenStream) -> TokenStream {
    let mut kept = TokenStream::new();
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let marks_test = is_punct(Some(&tree), '#')
            && matches!(trees.peek(), Some(TokenTree::Group(g)) if g.to_string().replace(' ', "") == "[cfg(test)]");
        if marks_test {
            // The item ends with its body or with a semicolon.
            let _ = trees.by_ref().skip(1).find(|tree| {
                is_punct(Some(tree), ';')
                    || matches!(tree, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace)
            });
        } else {
            kept.extend([tree]);
        }
    }
    kept
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn crates_depend_on_each_other_as_designed() {
    let root = root();
    let workspace = manifest(&root);
    let members = strings(&workspace["workspace"]["members"]);
    let manifests: Vec<toml::Table> = members.iter().map(|member| manifest(&root.join(member))).collect();
    let name = |manifest: &toml::Table| manifest["package"]["name"].as_str().expect("a name").to_owned();
    let names: BTreeSet<String> = manifests.iter().map(name).collect();

    let mut edges = BTreeSet::new();
    for manifest in &manifests {
        for (mark, table) in dependency_tables(manifest) {
            for (key, value) in table {
                let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                if names.contains(package) {
                    edges.insert(format!("{} -> {package}{mark}", name(manifest)));
                }
            }
        }
    }
    let designed: BTreeSet<String> = EDGES.iter().map(|&edge| edge.to_owned()).collect();
    let new: Vec<_> = edges.difference(&designed).collect();
    let gone: Vec<_> = designed.difference(&edges).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "DESIGN.md and EDGES do not name these: {new:?}, and name these in vain: {gone:?}"
    );
}

#[test]
fn unsafe_stands_only_in_the_files_that_say_why() {
    let holds_unsafe = |file: &String| {
        any(tokens(file), |tree, next| {
            is_ident(Some(tree), "unsafe")
                || ((is_ident(Some(tree), "allow") || is_ident(Some(tree), "expect"))
                    && matches!(next, Some(TokenTree::Group(g)) if g.to_string().contains("unsafe_code")))
        })
    };
    let found: BTreeSet<String> = sources().into_iter().filter(holds_unsafe).collect();
    let listed: BTreeSet<String> = UNSAFE.iter().map(|&(file, _)| file.to_owned()).collect();
    assert!(UNSAFE.iter().all(|(_, reason)| !reason.is_empty()), "a file is listed without a reason");
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "UNSAFE does not list these: {new:#?}, and lists these in vain: {gone:#?}"
    );
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources().into_iter().filter(|file| !text(file).starts_with("//!"));
    assert_none(&silent.collect::<Vec<_>>(), "these do not begin with //!");
}

#[test]
fn no_module_is_a_heap_of_helpers() {
    let heap = |file: &String| {
        Path::new(file).with_extension("").components().any(|part| {
            let part = part.as_os_str().to_string_lossy().into_owned();
            HEAPS.contains(&part.as_str())
        }) || any(tokens(file), |tree, next| {
            is_ident(Some(tree), "mod") && HEAPS.iter().any(|name| is_ident(next, name))
        })
    };
    assert_none(&sources().into_iter().filter(heap).collect::<Vec<_>>(), "name these after what they do");
}

#[test]
fn no_state_is_global_and_mutable() {
    let found = sources().into_iter().filter(|file| {
        let mut found = false;
        each_run(tokens(file), &mut |run| {
            // A reference of lifetime 'static may well be mutable.
            found |= (0..run.len()).any(|i| {
                is_ident(run.get(i), "static")
                    && is_ident(run.get(i + 1), "mut")
                    && !(i > 0 && is_punct(run.get(i - 1), '\''))
            });
        });
        found
    });
    assert_none(&found.collect::<Vec<_>>(), "static mut in these");
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    let found = sources().into_iter().filter(|file| {
        let mut bare = false;
        each_run(tokens(file), &mut |run| {
            for (i, tree) in run.iter().enumerate() {
                let inner = usize::from(is_punct(run.get(i + 1), '!'));
                let (true, Some(TokenTree::Group(attribute))) =
                    (is_punct(Some(tree), '#'), run.get(i + 1 + inner))
                else {
                    continue;
                };
                let attribute: Vec<TokenTree> = attribute.stream().into_iter().collect();
                let silences = is_ident(attribute.first(), "allow") || is_ident(attribute.first(), "expect");
                let Some(TokenTree::Group(lints)) = attribute.get(1) else { continue };
                bare |= silences && !any(lints.stream(), |tree, _| is_ident(Some(tree), "reason"));
            }
        });
        bare
    });
    assert_none(&found.collect::<Vec<_>>(), "an allow or expect without a reason in these");
}

#[test]
fn a_guest_can_call_nothing_that_panics() {
    let panics = |file: &&&str| {
        any(without_tests(tokens(file)), |tree, next| {
            let method = ["unwrap", "expect"].iter().any(|name| is_ident(Some(tree), name));
            let called = matches!(next, Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis);
            let names = ["panic", "unreachable", "todo", "unimplemented", "assert", "assert_eq", "assert_ne"];
            let macro_name = names.iter().any(|name| is_ident(Some(tree), name));
            (method && called && !lists_lints(next)) || (macro_name && is_punct(next, '!'))
        })
    };
    let found: Vec<String> = CALLED_BY_GUESTS.iter().filter(panics).map(|file| (*file).to_owned()).collect();
    assert_none(&found, "unwrap, expect or a panicking macro in these");
}

/// Whether what stands in the parentheses of `expect(…)` makes it an attribute, not a call.
fn lists_lints(arguments: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = arguments else { return false };
    any(group.stream(), |tree, next| is_ident(Some(tree), "reason") && is_punct(next, '='))
}
