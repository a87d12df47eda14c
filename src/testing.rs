//! What tests share.

use std::path::PathBuf;

/// A file of the shared reference data, or `None`, said plainly, where the data is not beside the repository. In
/// continuous integration its absence fails the test.
pub fn shared(path: &str) -> Option<PathBuf> {
    let full = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(path);
    if full.exists() {
        return Some(full);
    }
    assert!(std::env::var_os("CI").is_none(), "{} must be there in continuous integration", full.display());
    eprintln!("skipped: reference data {} is not there", full.display());
    None
}
