//! How the binary is linked, this one and `rr-runtime-native`.
//!
//! - libgcc is linked in, where gcc has an archive of it: every command finds one library less, whose constructor asks the processor what it can do,
//!   for which a virtual machine leaves the guest. The standard library asks for `libgcc_s` by name; what it finds first is a linker script.
//! - Functions that commands run stand together, and before all others, so that a command reads and maps few pages of the binary
//!   (`scripts/order-functions` finds them out).

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

/// The part that unwinds. Where there is none, gcc repeats the name.
const ARCHIVE: &str = "libgcc_eh.a";
/// A line for each: the pattern of a mangled name, or a member of an archive, as `libc.a:malloc.o`.
const ORDER: &str = "../rr-runtime/orderfile";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=../rr-runtime/build.rs");
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    link_libgcc(Path::new(&folder))?;
    println!("cargo::rerun-if-changed={ORDER}");
    // What is built for looking into has other functions than what is optimised.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        order_functions(Path::new(&folder))?;
    }
    Ok(())
}

fn link_libgcc(folder: &Path) -> io::Result<()> {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(linker).arg(format!("-print-file-name={ARCHIVE}")).output();
    let has_it = output.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        path != ARCHIVE && Path::new(&path).is_file()
    });
    if has_it {
        fs::write(folder.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
        println!("cargo::rustc-link-search=native={}", folder.display());
    }
    Ok(())
}

/// Puts them into a section of their own, which GNU's linker and LLVM's insert into what they do by themselves.
fn order_functions(folder: &Path) -> io::Result<()> {
    let mut script = "SECTIONS\n{\n  .text.ordered :\n  {\n".to_owned();
    for name in fs::read_to_string(ORDER)?.lines() {
        script.push_str(&match name.contains(':') {
            true => format!("    *{name}(.text .text.*)\n"),
            // Where the compiler thinks that it is seldom called, the latter.
            false => format!("    *(.text.{name} .text.unlikely.{name})\n"),
        });
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    let path = folder.join("order.ld");
    fs::write(&path, script)?;
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", path.display());
    Ok(())
}
