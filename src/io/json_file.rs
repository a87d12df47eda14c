//! What is kept in JSON: plans, scans, how far long work is.

use std::{fs, io::Write, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use super::{atomic::atomic_write, error::IoError};

/// Writes a value; what was there before is replaced only once the new file is complete.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn save_json(path: &Path, value: &impl Serialize) -> Result<(), IoError> {
    let write = |writer: &mut dyn Write| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    };
    atomic_write(path, write)
}

/// Reads what [`save_json`] wrote; `what` says what is expected, such as "plan".
///
/// # Errors
/// Where the file cannot be read or holds something else; says where.
pub(crate) fn load_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, IoError> {
    let fail = |reason: String| IoError::Json { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| fail(format!("it cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| fail(format!("it is no {what}: {error}")))
}
