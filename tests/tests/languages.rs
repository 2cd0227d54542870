//! Functions in every language that has the guest contract, each talking with each other, and with guests that have
//! nothing of it but the functions of the paper's Table 1.
//!
//! The modules are those of `guest/examples`. The sources send the same bytes, the sinks print the same line; what it must say
//! is computed here once more.

use tests::{Case, Hoses, Output, guest, wasm_case};

/// A payload of no bytes, of less than a word, of a page and an odd one, of many pages.
const LENGTHS: [&str; 4] = ["0", "1", "65537", "1000000"];

/// Each language with its sender and its receiver.
const LANGUAGES: [(&str, &str, &str); 4] = [
    ("rust", "wasm32-wasip1/release/pattern-source.wasm", "wasm32-wasip1/release/pattern-sink.wasm"),
    ("c", "c/pattern-source.wasm", "c/pattern-sink.wasm"),
    ("go", "go/source.wasm", "go/sink.wasm"),
    ("assemblyscript", "assemblyscript/source.wasm", "assemblyscript/sink.wasm"),
];

/// The handlers that print what the sinks print.
const HANDLERS: [&str; 2] = ["go/handler.wasm", "assemblyscript/handler.wasm"];

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
    for handler in HANDLERS {
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
    for handler in HANDLERS {
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
    let sinks = LANGUAGES.iter().map(|(_, _, sink)| *sink).chain(HANDLERS);
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
