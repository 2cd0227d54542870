//! `guest/c/roadrunner.h` says what this crate says.

use guest_abi::{MODULE, Status, exports, imports};

const HEADER: &str = include_str!("../../c/roadrunner.h");

const STATUSES: [(&str, Status); 18] = [
    ("RR_OK", Status::OK),
    ("RR_INVALID_ARGUMENT", Status::INVALID_ARGUMENT),
    ("RR_INVALID_REGION", Status::INVALID_REGION),
    ("RR_NO_HOSE", Status::NO_HOSE),
    ("RR_NO_TARGET", Status::NO_TARGET),
    ("RR_TOO_LARGE", Status::TOO_LARGE),
    ("RR_TIMEOUT", Status::TIMEOUT),
    ("RR_UNAUTHENTICATED", Status::UNAUTHENTICATED),
    ("RR_PROTOCOL", Status::PROTOCOL),
    ("RR_LOST", Status::LOST),
    ("RR_UNKNOWN", Status::UNKNOWN),
    ("RR_REFUSED", Status::REFUSED),
    ("RR_TRAPPED", Status::TRAPPED),
    ("RR_BUSY", Status::BUSY),
    ("RR_NO_EXPORT", Status::NO_EXPORT),
    ("RR_NO_MEMORY", Status::NO_MEMORY),
    ("RR_HOST", Status::HOST),
    ("RR_CLOSED", Status::CLOSED),
];

#[test]
fn the_header_has_these_statuses_and_no_others() {
    let found: Vec<(&str, i32)> = HEADER
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .filter(|(name, _)| name.starts_with("RR_"))
        .map(|(name, code)| (name, code.parse().expect("a number")))
        .collect();
    assert_eq!(found, STATUSES.map(|(name, status)| (name, status.0)));
}

#[test]
fn the_header_imports_every_function_from_the_module_and_exports_what_the_host_calls() {
    assert!(HEADER.contains(&format!("import_module(\"{MODULE}\")")));
    let imports = [
        imports::SEND_TO_HOST,
        imports::SEND_TO,
        imports::GIVE_TO_HOST,
        imports::CALL,
        imports::ANSWER,
        imports::TARGETS,
        imports::TARGET_NAME,
        imports::TARGET_STATUS,
        imports::PREPARE_MEMORY,
        imports::RECEIVE,
        imports::COMPLETE,
        imports::SET_STATUS,
        imports::PEER_NAME,
        imports::LAST_ERROR,
        imports::REGISTER_MEMORY,
        imports::UNREGISTER_MEMORY,
    ];
    for name in imports {
        assert!(HEADER.contains(&format!("RR_IMPORT(\"{name}\")")), "{name}");
    }
    assert_eq!(HEADER.matches("RR_IMPORT(\"").count(), imports.len());
    let exports = [
        exports::ALLOCATE_MEMORY,
        exports::DEALLOCATE_MEMORY,
        exports::READ_MEMORY_WASM,
        exports::LOCATE_MEMORY_REGION,
    ];
    for name in exports {
        assert!(HEADER.contains(&format!("RR_EXPORT(\"{name}\")")), "{name}");
    }
}
