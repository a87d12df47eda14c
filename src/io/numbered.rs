//! Folders that never hold what was there before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::error::IoError;

/// Makes a new folder, and those above it where they are missing: `wanted`, or `wanted2`, `wanted3` and so on where that
/// exists. Gives its path.
///
/// # Errors
/// Where a folder cannot be made.
pub fn new_folder(wanted: &Path) -> Result<PathBuf, IoError> {
    let failed = |path: &Path, source| IoError::Write { path: path.into(), source };
    if let Some(parent) = wanted.parent() {
        fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
    }
    let mut number = 1;
    loop {
        let mut name = wanted.as_os_str().to_os_string();
        if number > 1 {
            name.push(number.to_string());
        }
        let path = PathBuf::from(name);
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(failed(&path, source)),
        }
    }
}
