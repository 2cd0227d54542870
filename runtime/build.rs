//! Says to the compiler which interface libcontainer has: `.cargo/config.toml` names the patches that were applied.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RR_LIBCONTAINER_PATCHES");
    let patches = std::env::var("RR_LIBCONTAINER_PATCHES").unwrap_or_default();
    for (patch, cfg) in [
        ("0001-builders-accept-a-spec", "libcontainer_takes_a_spec"),
        ("0005-the-executor-sees-the-root-first", "libcontainer_asks_the_executor"),
        ("0015-bind-what-the-caller-has-opened", "libcontainer_binds_trees"),
        ("0029-ask-for-a-source", "libcontainer_asks_for_trees"),
        ("0035-root-propagation-of-all-mounts", "libcontainer_propagates_below"),
        ("0018-begin-in-a-cgroup", "libcontainer_begins_in_a_cgroup"),
    ] {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
        if patches.split(',').any(|name| name == patch) {
            println!("cargo:rustc-cfg={cfg}");
        }
    }
}
