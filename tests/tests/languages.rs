//! Functions in every language that has the guest contract, each talking with each other, and with guests that have
//! nothing of it but the functions of the paper's Table 1.
//!
//! The modules are those of `guest/examples`. The sources send the same bytes, the sinks print the same line; what it must say
//! is computed here once more.

use rustix::process::Signal;
use tests::{Case, Flow, Hoses, Output, Running, guest, wasm_case};

/// A payload of no bytes, of less than a word, of a page and an odd one, of many pages.
const LENGTHS: [&str; 4] = ["0", "1", "65537", "1000000"];

/// Each language with its sender and its receiver.
const LANGUAGES: [(&str, &str, &str); 4] = [
    ("rust", "wasm32-wasip1/release/pattern-source.wasm", "wasm32-wasip1/release/pattern-sink.wasm"),
    ("c", "c/pattern-source.wasm", "c/pattern-sink.wasm"),
    ("go", "go/source.wasm", "go/sink.wasm"),
    ("assemblyscript", "assemblyscript/source.wasm", "assemblyscript/sink.wasm"),
];

/// Each language with its function that calls, gives away, and asks for each target's status.
const ASKING: [(&str, &str); 4] = [
    ("rust", "wasm32-wasip1/release/pattern-ask.wasm"),
    ("c", "c/pattern-ask.wasm"),
    ("go", "go/ask.wasm"),
    ("assemblyscript", "assemblyscript/ask.wasm"),
];

/// Each language with its handler, which prints what the sinks print, and answers.
const HANDLERS: [(&str, &str); 4] = [
    ("rust", "wasm32-wasip1/release/pattern_handler.wasm"),
    ("c", "c/pattern-handler.wasm"),
    ("go", "go/handler.wasm"),
    ("assemblyscript", "assemblyscript/handler.wasm"),
];

/// Each language with its function that does the same with what it asks for itself.
const REPLYING: [(&str, &str); 4] = [
    ("rust", "wasm32-wasip1/release/pattern-reply.wasm"),
    ("c", "c/pattern-reply.wasm"),
    ("go", "go/reply.wasm"),
    ("assemblyscript", "assemblyscript/reply.wasm"),
];

/// What is asked: nothing, an odd page, more than gets pages of its own, and what everybody rejects with [`REJECTED`].
const QUESTIONS: [&str; 4] = ["0", "65537", "300001", "!no"];
/// What begins with a table of pages, and is moved. The checksums of more would be most of the tests' time.
const MOVED: &str = "2100001";
const REJECTED: i32 = 33;

/// What the plain senders send.
const PLAIN: [(&str, &str); 2] = [("wat", "plain"), ("c", "seven functions are enough")];

/// The bytes that every source sends.
fn pattern(len: usize) -> Vec<u8> {
    let mut state: u64 = 12345;
    let mut data = Vec::new();
    while data.len() + 8 <= len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        data.extend(state.to_le_bytes());
    }
    let letters = (data.len()..len).map(|i| b"abcdefghijklmnopqrstuvwxyz"[i % 26]);
    data.extend(letters.collect::<Vec<_>>());
    data
}

/// `LEN CHECKSUM`, as sources and sinks print it.
fn described(data: &[u8]) -> String {
    let words = data.chunks_exact(8);
    let rest = words.remainder().iter().map(|byte| u64::from(*byte));
    let words = words.map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    let sum = words
        .chain(rest)
        .fold(14_695_981_039_346_656_037_u64, |sum, next| (sum ^ next).wrapping_mul(1_099_511_628_211));
    format!("{} {:08x}", data.len(), (sum ^ sum >> 32) & 0xffff_ffff)
}

/// What the two ends print of the pattern of these lengths.
fn expected(lengths: &[&str], sender: &str) -> (String, String) {
    let described = lengths.iter().map(|len| described(&pattern(len.parse().expect("a number"))));
    let (mut sent, mut received) = (String::new(), String::new());
    for text in described {
        sent += &format!("sent {text}\n");
        received += &format!("received {text} from {sender}\n");
    }
    (sent, received)
}

/// Runs both ends, neither of which waits for the other to be there, until both have ended well.
#[track_caller]
fn both(hoses: &Hoses<'_>, source: (&[u8], &str, &[&str]), sink: (&[u8], &[&str])) -> (Output, Output) {
    let (module, name, args) = source;
    let receiver = hoses.run(&hoses.function_of(sink.0, "sink", "", sink.1));
    let sender = hoses.run(&hoses.function_of(module, name, "sink", args));
    let (sent, received) = (sender.wait(), receiver.wait());
    let codes = (sent.code, received.code);
    assert_eq!(codes, (0, 0), "{name}: {}{}{}{}", sent.stdout, sent.stderr, received.stdout, received.stderr);
    hoses.nothing_left();
    (sent, received)
}

/// The plain sender in this language.
fn plain_source(language: &str) -> Option<Vec<u8>> {
    match language {
        "wat" => Some(plain(include_str!("../../guest/examples/wat/plain-source.wat"))),
        _ => guest::example("c/plain-source.wasm"),
    }
}

fn plain(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the example is WAT")
}

fn every_source_to_the_sink_in(language: &str) {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    let (_, _, sink) = LANGUAGES.iter().find(|(name, ..)| *name == language).expect("it is listed");
    let Some(sink) = guest::example(sink) else { return };
    let count = LENGTHS.len().to_string();
    for (name, source, _) in LANGUAGES {
        let Some(source) = guest::example(source) else { continue };
        let (sent, received) = both(&hoses, (&source, name, &LENGTHS), (&sink, &[&count]));
        assert_eq!((sent.stdout, received.stdout), expected(&LENGTHS, name), "{name} to {language}");
    }
    for (name, text) in PLAIN {
        let Some(source) = plain_source(name) else { continue };
        let (_, received) = both(&hoses, (&source, "plain", &[]), (&sink, &["1"]));
        let line = format!("received {} from plain\n", described(text.as_bytes()));
        assert_eq!(received.stdout, line, "plain {name} to {language}");
    }
}

#[test]
fn every_language_sends_to_rust() {
    every_source_to_the_sink_in("rust");
}

#[test]
fn every_language_sends_to_c() {
    every_source_to_the_sink_in("c");
}

#[test]
fn every_language_sends_to_go() {
    every_source_to_the_sink_in("go");
}

#[test]
fn every_language_sends_to_assemblyscript() {
    every_source_to_the_sink_in("assemblyscript");
}

#[test]
fn every_language_sends_to_guests_with_nothing_but_table_1() {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    let text = plain(include_str!("../../guest/examples/wat/plain-sink.wat"));
    let sinks =
        [Some(("wat", text, "")), guest::example("c/plain-sink.wasm").map(|c| ("c", c, "received: "))];
    for (language, sink, prefix) in sinks.into_iter().flatten() {
        for (name, source, _) in LANGUAGES {
            let Some(source) = guest::example(source) else { continue };
            let (_, received) = both(&hoses, (&source, name, &["7"]), (&sink, &[]));
            assert_eq!(received.stdout.trim_end(), format!("{prefix}abcdefg"), "{name} to plain {language}");
        }
        for (name, text) in PLAIN {
            let Some(source) = plain_source(name) else { continue };
            let (_, received) = both(&hoses, (&source, "plain", &[]), (&sink, &[]));
            assert_eq!(
                received.stdout.trim_end(),
                format!("{prefix}{text}"),
                "plain {name} to plain {language}"
            );
        }
    }
}

#[test]
fn handlers_are_pushed_to_from_every_language() {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    for (_, handler) in HANDLERS {
        let Some(module) = guest::example(handler) else { continue };
        for (name, source, _) in LANGUAGES {
            let Some(source) = guest::example(source) else { continue };
            let (sent, received) = both(&hoses, (&source, name, &LENGTHS), (&module, &[]));
            assert_eq!((sent.stdout, received.stdout), expected(&LENGTHS, name), "{name} to {handler}");
        }
    }
}

#[test]
fn what_a_handler_says_is_what_the_sender_gets() {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    let Some(source) = guest::example("c/c-source.wasm") else { return };
    for (_, handler) in HANDLERS {
        let Some(module) = guest::example(handler) else { continue };
        let receiver = hoses.run(&hoses.function_of(&module, "sink", "", &[]));
        let sent = hoses.run(&hoses.function_of(&source, "c", "sink", &["!no"])).wait();
        assert_eq!(sent.stdout, "sent 3 bytes: status 33\n", "{handler}: {}", sent.stderr);
        let line = format!("received {} from c\n", described(b"!no"));
        assert_eq!(receiver.wait().success().stdout, line, "{handler}");
    }
    hoses.nothing_left();
}

#[test]
fn a_source_without_a_hose_is_told_so_in_every_language() {
    let case = wasm_case!();
    for (name, source, _) in LANGUAGES {
        let Some(source) = guest::example(source) else { continue };
        let out = alone(&case, &source);
        assert_eq!((out.code, out.stdout.as_str()), (1, ""), "{name}: {}", out.stderr);
        assert!(out.stderr.contains("-3") || out.stderr.contains("no hose"), "{name}: {}", out.stderr);
    }
}

fn alone(case: &Case, module: &[u8]) -> Output {
    let bundle = case.wasm_bytes(module);
    bundle.args(["/module.wasm", "10"]);
    case.run(&bundle, &case.id()).output()
}

/// 40 MB in payloads of 1 MB, through 24 MiB: a collector that saw no end of what the host had, or none of what it still
/// has, would fail here.
#[test]
fn memory_that_was_given_back_is_used_again() {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    if guest::hose().is_none() {
        return;
    }
    let handlers = HANDLERS.iter().map(|(_, handler)| *handler);
    let sinks = LANGUAGES.iter().map(|(_, _, sink)| *sink).chain(handlers);
    for sink in sinks {
        let Some(module) = guest::example(sink) else { continue };
        let bundle = hoses.function_of(&module, "sink", "", &["40"]);
        bundle.annotation("io.roadrunner.wasm/max-memory", "24Mi");
        let receiver = hoses.run(&bundle);
        let sent = hoses.run(&hoses.function("source", "sink", &["send-many", "40", "1000000"])).wait();
        assert_eq!(sent.code, 0, "{sink}: {}{}", sent.stdout, receiver.stderr());
        let received = receiver.wait().success();
        let line = format!("received {} from source\n", described(&[0; 1_000_000]));
        assert_eq!(received.stdout, line.repeat(40), "{sink}");
    }
    hoses.nothing_left();
}

/// The modules of a list that were built, by language.
fn built(list: [(&'static str, &str); 4]) -> Vec<(&'static str, Vec<u8>)> {
    list.into_iter().filter_map(|(language, path)| Some((language, guest::example(path)?))).collect()
}

/// The bytes that an argument of the asking functions stands for.
fn meant(question: &str) -> Vec<u8> {
    question.parse().map_or_else(|_| question.as_bytes().to_vec(), pattern)
}

/// What the receivers in these languages print of questions that `sender` has asked each of them.
fn heard(questions: &[&str], receivers: usize, sender: &str) -> Vec<String> {
    let line = |question: &&str| format!("received {} from {sender}", described(&meant(question)));
    questions.iter().map(line).flat_map(|line| vec![line; receivers]).collect()
}

/// What a function prints that calls each target with each question.
fn answered(questions: &[&str], targets: &[(&str, Vec<u8>)]) -> Vec<String> {
    let answer = |question: &str, target: &str| match question.starts_with('!') {
        true => format!("{target} said {REJECTED}"),
        false => format!("{target} answered {}", described(&meant(question))),
    };
    questions.iter().flat_map(|question| targets.iter().map(|(target, _)| answer(question, target))).collect()
}

/// What a function prints that sends each question to all targets at once.
fn said(questions: &[&str], targets: &[(&str, Vec<u8>)]) -> Vec<String> {
    let status = |question: &str| if question.starts_with('!') { REJECTED } else { 0 };
    let line = |question: &str, target: &str| format!("{target} said {}", status(question));
    questions.iter().flat_map(|question| targets.iter().map(|(target, _)| line(question, target))).collect()
}

fn given(questions: &[&str]) -> Vec<String> {
    questions.iter().map(|question| format!("gave {}", described(&meant(question)))).collect()
}

/// Fails unless exactly these lines were printed, in whatever order.
#[track_caller]
fn assert_printed(out: &Output, mut expected: Vec<String>, who: &str) {
    assert_eq!(out.code, 0, "{who}: {}{}", out.stdout, out.stderr);
    let mut printed: Vec<&str> = out.stdout.lines().collect();
    printed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(printed, expected, "{who}: {}", out.stderr);
}

/// Every language's asking function in a container with receivers in all languages.
fn every_language_asks_in_one_container(
    verb: &str,
    questions: &[&str],
    receivers: [(&'static str, &str); 4],
) {
    let case = wasm_case!();
    let targets = built(receivers);
    let pulls = receivers == REPLYING;
    let names: Vec<&str> = targets.iter().map(|(language, _)| *language).collect();
    for (language, asking) in built(ASKING) {
        let arguments: Vec<&str> = std::iter::once(verb).chain(questions.iter().copied()).collect();
        let mut flow = Flow::new(&case, &asking, &arguments, &names);
        for (name, module) in &targets {
            flow = flow.with(name, module, &[]);
        }
        let out = case.run(flow.bundle(), &case.id()).output();
        let mut lines = heard(questions, targets.len(), "main");
        lines.extend(match verb {
            "call" => answered(questions, &targets),
            "each" => said(questions, &targets),
            _ => given(questions),
        });
        // Whoever asks for payloads itself is told that there will be none.
        lines.extend(vec!["closed".to_owned(); if pulls { targets.len() } else { 0 }]);
        assert_printed(&out, lines, &format!("{verb} in {language}"));
    }
}

#[test]
fn every_language_calls_and_is_answered_by_handlers() {
    every_language_asks_in_one_container("call", &QUESTIONS, HANDLERS);
    every_language_asks_in_one_container("call", &[MOVED], HANDLERS);
}

#[test]
fn every_language_calls_and_is_answered_by_functions_that_ask_for_their_input() {
    every_language_asks_in_one_container("call", &QUESTIONS, REPLYING);
}

#[test]
fn every_language_is_told_what_became_of_a_fan_out_at_each_target() {
    every_language_asks_in_one_container("each", &["!no", "7"], HANDLERS);
}

#[test]
fn a_fan_out_that_is_refused_is_so_at_each_target_in_every_language() {
    let case = wasm_case!();
    let targets = built(HANDLERS);
    let names: Vec<&str> = targets.iter().map(|(language, _)| *language).collect();
    for (language, asking) in built(ASKING) {
        let mut flow = Flow::new(&case, &asking, &["each", "7", "8"], &names);
        for (name, module) in &targets {
            flow = flow.with(name, module, &[]);
        }
        flow.hose("max-size", "7");
        let out = case.run(flow.bundle(), &case.id()).output();
        let mut lines = heard(&["7"], targets.len(), "main");
        lines.extend(said(&["7"], &targets));
        // TOO_LARGE, and nothing of what was sent before.
        lines.extend(targets.iter().map(|(target, _)| format!("{target} said -5")));
        assert_printed(&out, lines, language);
    }
}

#[test]
fn every_language_gives_buffers_away() {
    every_language_asks_in_one_container("give", &QUESTIONS[..3], HANDLERS);
    every_language_asks_in_one_container("give", &[MOVED], REPLYING);
}

/// The same between containers: receivers that stay until they are asked to end, and each asking function in a container of its own.
fn every_language_asks_in_other_containers(receivers: [(&'static str, &'static str); 4]) {
    let case = wasm_case!();
    let hoses = Hoses::new(&case);
    let targets = built(receivers);
    let serving = |(language, module): &(&str, Vec<u8>)| {
        let bundle = hoses.function_of(module, language, "", &[]);
        bundle.annotation("io.roadrunner.hose/lifecycle", "serve");
        hoses.run(&bundle)
    };
    let running: Vec<Running> = targets.iter().map(serving).collect();
    let names: Vec<&str> = targets.iter().map(|(language, _)| *language).collect();
    let mut lines = Vec::new();
    for (language, module) in &built(ASKING) {
        let name = format!("{language}-asks");
        let mut ask = |verb: &str, asked: &[&str], printed: Vec<String>| {
            let arguments: Vec<&str> = std::iter::once(verb).chain(asked.iter().copied()).collect();
            let out = hoses.run(&hoses.function_of(module, &name, &names.join(","), &arguments)).wait();
            assert_printed(&out, printed, &format!("{verb} in {language}"));
            lines.extend(heard(asked, 1, &name));
        };
        ask("call", &QUESTIONS, answered(&QUESTIONS, &targets));
        ask("each", &["!no", "7"], said(&["!no", "7"], &targets));
        ask("give", &QUESTIONS[..3], given(&QUESTIONS[..3]));
    }
    // Whoever asks for payloads itself is told that there will be none.
    lines.extend((receivers == REPLYING).then(|| "closed".to_owned()));
    for (receiver, name) in running.into_iter().zip(names) {
        receiver.signal(Signal::TERM);
        assert_printed(&receiver.wait(), lines.clone(), name);
    }
    hoses.nothing_left();
}

#[test]
fn every_language_asks_handlers_in_other_containers() {
    every_language_asks_in_other_containers(HANDLERS);
}

#[test]
fn every_language_asks_functions_that_ask_for_their_input_in_other_containers() {
    every_language_asks_in_other_containers(REPLYING);
}

/// Within a container the pages of a buffer change hands, from the allocator of each language to itself: no more than what is
/// no whole page is copied.
#[test]
fn what_is_given_away_is_moved_in_every_language() {
    let case = wasm_case!();
    let receivers = built(HANDLERS);
    for (language, asking) in built(ASKING) {
        let Some((_, module)) = receivers.iter().find(|(name, _)| *name == language) else { continue };
        let flow = Flow::new(&case, &asking, &["give", MOVED], &["sink"]).with("sink", module, &[]);
        let id = case.id();
        let pid = case.start(flow.bundle(), &id);
        assert_eq!(case.exit_status(pid), 0, "{language}");
        let stats = case.cmd(["hose", "stats", &id, "--format", "json"]).ok();
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        let moved: Vec<_> = stats[0]["peers"].as_array().expect("peers").iter().collect();
        let [peer] = moved[..] else { panic!("{language}: one peer: {stats}") };
        assert_eq!(
            (peer["bytes"].as_u64(), peer["transfers"]["move"].as_u64()),
            (Some(2_100_001), Some(1)),
            "{stats}"
        );
        assert!(peer["copiedBytes"].as_u64() < Some(4096), "{language}: {stats}");
        case.await_stopped(&id);
        case.delete(&id);
    }
}
