//! The program begins at its own `_start`, at a fixed address, so that nothing has to be linked, moved or set up when it runs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--no-dynamic-linker"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
