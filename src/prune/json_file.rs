//! What pruning keeps in JSON: plans, scans, how far a gradual pruning is.

use std::{fs, io::Write, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use super::error::PruneError;
use crate::io::atomic_write;

/// Writes a value; what was there before is replaced only once the new file is complete.
///
/// # Errors
/// Where the file cannot be written.
pub(super) fn save(path: &Path, value: &impl Serialize) -> Result<(), PruneError> {
    let write = |writer: &mut dyn Write| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    };
    Ok(atomic_write(path, write)?)
}

/// Reads what [`save`] wrote; `what` says what is expected, such as "plan".
///
/// # Errors
/// Where the file cannot be read or holds something else; says where.
pub(super) fn load<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, PruneError> {
    let fail = |reason: String| PruneError::File { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| fail(format!("it cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| fail(format!("it is no {what}: {error}")))
}
