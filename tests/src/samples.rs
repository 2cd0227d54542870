//! Modules and data from registries that nobody here wrote (`samples.txt`), fetched by name and digest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Folder of the samples, or why there is none.
///
/// # Errors
/// What `scripts/fetch-samples` says.
pub fn samples() -> Result<&'static Path, &'static str> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch-samples");
            let output = Command::new(script).output().map_err(|error| format!("fetch-samples: {error}"))?;
            if !output.status.success() {
                return Err(format!("fetch-samples: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
            Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        })
        .as_ref()
        .map(PathBuf::as_path)
        .map_err(String::as_str)
}

/// The folder of the samples, or the end of the test, with its reason printed.
#[macro_export]
macro_rules! samples_or_skip {
    () => {
        match $crate::samples::samples() {
            Ok(folder) => folder,
            Err(reason) => $crate::skip!("{reason}"),
        }
    };
}
