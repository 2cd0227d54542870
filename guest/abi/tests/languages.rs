//! `guest/go` and `guest/assemblyscript` say what this crate says. (The header for C: see `header.rs`.)

use guest_abi::{MODULE, Status, exports, imports};

const GO: &str = concat!(
    include_str!("../../go/host.go"),
    include_str!("../../go/memory.go"),
    include_str!("../../go/roadrunner.go")
);
const GO_STATUS: &str = include_str!("../../go/status.go");
const ASSEMBLYSCRIPT: &str = include_str!("../../assemblyscript/host.ts");
const ASSEMBLYSCRIPT_STATUS: &str = include_str!("../../assemblyscript/status.ts");
/// Where AssemblyScript's exports stand.
const CONTRACT: &str = concat!(
    include_str!("../../assemblyscript/contract.ts"),
    include_str!("../../assemblyscript/handler.ts")
);

/// Name in AssemblyScript, which is the constant's; Go's has the same letters.
const STATUSES: [(&str, Status); 18] = [
    ("OK", Status::OK),
    ("INVALID_ARGUMENT", Status::INVALID_ARGUMENT),
    ("INVALID_REGION", Status::INVALID_REGION),
    ("NO_HOSE", Status::NO_HOSE),
    ("NO_TARGET", Status::NO_TARGET),
    ("TOO_LARGE", Status::TOO_LARGE),
    ("TIMEOUT", Status::TIMEOUT),
    ("UNAUTHENTICATED", Status::UNAUTHENTICATED),
    ("PROTOCOL", Status::PROTOCOL),
    ("LOST", Status::LOST),
    ("UNKNOWN", Status::UNKNOWN),
    ("REFUSED", Status::REFUSED),
    ("TRAPPED", Status::TRAPPED),
    ("BUSY", Status::BUSY),
    ("NO_EXPORT", Status::NO_EXPORT),
    ("NO_MEMORY", Status::NO_MEMORY),
    ("HOST", Status::HOST),
    ("CLOSED", Status::CLOSED),
];

const IMPORTS: [&str; 16] = [
    imports::SEND_TO_HOST,
    imports::SEND_TO,
    imports::GIVE_TO_HOST,
    imports::CALL,
    imports::ANSWER,
    imports::PREPARE_MEMORY,
    imports::TARGETS,
    imports::TARGET_NAME,
    imports::TARGET_STATUS,
    imports::RECEIVE,
    imports::COMPLETE,
    imports::SET_STATUS,
    imports::PEER_NAME,
    imports::LAST_ERROR,
    imports::REGISTER_MEMORY,
    imports::UNREGISTER_MEMORY,
];

const EXPORTS: [&str; 4] = [
    exports::ALLOCATE_MEMORY,
    exports::DEALLOCATE_MEMORY,
    exports::READ_MEMORY_WASM,
    exports::LOCATE_MEMORY_REGION,
];

/// Every status that a text declares, by lines of `NAME`, `separator`, `CODE`.
fn statuses(text: &str, separator: &str) -> Vec<(String, i32)> {
    let declarations = text.lines().filter_map(|line| line.split_once(separator));
    let code = |text: &str| text.trim_end_matches(';').parse().expect("a number");
    declarations.map(|(name, text)| (name.trim().replace("export const ", ""), code(text))).collect()
}

#[test]
fn assemblyscript_has_these_statuses_and_no_others() {
    let text = ASSEMBLYSCRIPT_STATUS.split_once("export namespace Status {").expect("the statuses").1;
    let text = text.split_once('}').expect("their end").0;
    assert_eq!(statuses(text, ": i32 = "), STATUSES.map(|(name, status)| (name.to_owned(), status.0)));
}

#[test]
fn go_has_these_statuses_and_no_others() {
    let found = statuses(GO_STATUS, " Status = ");
    let found: Vec<_> = found.into_iter().map(|(name, code)| (name.to_uppercase(), code)).collect();
    assert_eq!(found, STATUSES.map(|(name, status)| (name.replace('_', ""), status.0)));
}

#[test]
fn both_import_every_function_from_the_module_and_export_what_the_host_calls() {
    for name in IMPORTS {
        assert!(GO.contains(&format!("//go:wasmimport {MODULE} {name}\n")), "{name}");
        assert!(ASSEMBLYSCRIPT.contains(&format!("@external(\"{MODULE}\", \"{name}\")\n")), "{name}");
    }
    assert_eq!(GO.matches("//go:wasmimport").count(), IMPORTS.len());
    assert_eq!(ASSEMBLYSCRIPT.matches("@external").count(), IMPORTS.len());
    for name in EXPORTS {
        assert!(GO.contains(&format!("//go:wasmexport {name}\n")), "{name}");
        assert!(CONTRACT.contains(&format!("export function {name}(")), "{name}");
    }
}
