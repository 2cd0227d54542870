//! Links libgcc into the binary, where gcc has an archive of it: every command finds one library less, whose constructor asks the processor what it can do,
//! for which a virtual machine leaves the guest.
//!
//! The standard library asks for `libgcc_s` by name. What it finds first is a linker script.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

/// The part that unwinds. Where there is none, gcc repeats the name.
const ARCHIVE: &str = "libgcc_eh.a";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(linker).arg(format!("-print-file-name={ARCHIVE}")).output();
    let has_it = output.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        path != ARCHIVE && Path::new(&path).is_file()
    });
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    if has_it {
        fs::write(Path::new(&folder).join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
        println!("cargo::rustc-link-search=native={}", Path::new(&folder).display());
    }
    Ok(())
}
