//! Writing a file whole or not at all.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::IoError;

/// Writes a file so that whoever opens `path` finds the old content or the new one, never a part: `write` fills a
/// temporary file in the same folder, which is flushed to the disk and renamed.
///
/// # Errors
/// Where the folder is missing or read-only, the disk is full, or `write` fails; what was there before is then untouched.
pub fn atomic_write(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), IoError> {
    let path = path.as_ref();
    replace(path, write).map_err(|source| IoError::Write { path: path.into(), source })
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if target.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder; name a file in it"));
    }
    let folder = folder_of(&target);
    if !folder.is_dir() {
        let reason = format!("there is no folder {}; create it first", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    let mut temporary = builder(&target)?.tempfile_in(&folder)?;
    let mut buffered = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    sync_folder(&folder)
}

fn folder_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => PathBuf::from("."),
    }
}

#[cfg(unix)]
fn builder(target: &Path) -> io::Result<tempfile::Builder<'static, 'static>> {
    use std::os::unix::fs::PermissionsExt;
    // Those of the file that is replaced, or what the umask leaves of rw-rw-rw-.
    let permissions = match fs::metadata(target) {
        Ok(known) => known.permissions(),
        Err(_) => fs::Permissions::from_mode(0o666),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".espalier-").suffix(".part").permissions(permissions);
    Ok(builder)
}

#[cfg(not(unix))]
fn builder(_target: &Path) -> io::Result<tempfile::Builder<'static, 'static>> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".espalier-").suffix(".part");
    Ok(builder)
}

/// Makes the rename itself last. Only some systems can, or need to.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            // Some file systems do not know how; the file itself is complete all the same.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            done => return done,
        }
    }
    Ok(())
}
