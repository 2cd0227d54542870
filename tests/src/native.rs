//! Small static programs for a rootfs, from C text, where busybox has none that does it.

use std::path::Path;

use crate::{Invocation, runtime};

/// Compiles `source` to a static program at `target`. Gives false, having said so, without a C compiler.
#[track_caller]
#[must_use]
pub fn compile(source: &str, target: &Path) -> bool {
    if runtime::program("cc").is_none() {
        crate::announce_skip("no C compiler (cc) for a helper program");
        return false;
    }
    std::fs::create_dir_all(target.parent().expect("a file has a folder")).expect("mkdir");
    Invocation::new("cc").args(["-O1", "-static", "-x", "c", "-o"]).arg(target).arg("-").stdin(source).ok();
    true
}
