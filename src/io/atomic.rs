//! Writing a file whole or not at all.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::error::IoError;

/// Writes a file so that whoever opens `path` finds the old content or the new one, never a part: `write` fills a
/// temporary file in the same folder, which is flushed to the disk and renamed. Folders that are missing are made: what
/// took hours is not lost for want of one.
///
/// # Errors
/// Where the folder is read-only or cannot be made, the disk is full, or `write` fails; what was there before is then untouched.
pub fn atomic_write(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), IoError> {
    Pending::write(path.as_ref(), write)?.commit()
}

/// A file that is complete and on the disk, but not in its place yet; it goes when it is dropped.
pub(super) struct Pending {
    /// As it was named.
    path: PathBuf,
    target: PathBuf,
    temporary: NamedTempFile,
}

impl Pending {
    /// Writes what is to be at `path`.
    ///
    /// # Errors
    /// As [`atomic_write`].
    pub fn write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Self, IoError> {
        let written = temporary(path, write);
        let (target, temporary) = written.map_err(|source| IoError::Write { path: path.into(), source })?;
        Ok(Self { path: path.into(), target, temporary })
    }

    /// Where it is meanwhile.
    pub fn place(&self) -> &Path {
        self.temporary.path()
    }

    /// Puts it in its place at once.
    ///
    /// # Errors
    /// Where it cannot be renamed.
    pub fn commit(self) -> Result<(), IoError> {
        let renamed = self.temporary.persist(&self.target);
        renamed.map_err(|error| IoError::Write { path: self.path, source: error.error })?;
        sync_folder(&folder_of(&self.target));
        Ok(())
    }
}

/// The file to be replaced, and what shall replace it.
fn temporary(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(PathBuf, NamedTempFile)> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if target.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder; name a file in it"));
    }
    let folder = folder_of(&target);
    fs::create_dir_all(&folder).map_err(|error| {
        io::Error::new(error.kind(), format!("no folder {} can be made: {error}", folder.display()))
    })?;
    let mut temporary = builder(&target)?.tempfile_in(&folder)?;
    let mut buffered = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    Ok((target, temporary))
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

/// Makes the rename itself survive a power cut, where system and file system can. Where they cannot, the new file is in
/// place and complete all the same, so that is no error.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = fs::File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_text(path: &Path, text: &str) -> Result<(), IoError> {
        atomic_write(path, |writer| writer.write_all(text.as_bytes()))
    }

    #[test]
    fn what_was_there_stays_when_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write_text(&path, "old").unwrap();
        let full = atomic_write(&path, |writer| {
            writer.write_all(&[b'x'; 100_000])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let message = full.unwrap_err().to_string();
        assert!(message.contains("results.csv") && message.contains("cannot be written"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_text(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn folders_that_cannot_take_a_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| write_text(path, "text").unwrap_err().to_string();
        let file = folder.path().join("new").join("deep").join("model.safetensors");
        write_text(&file, "text").unwrap();
        let inside = message(&file.join("model.safetensors"));
        assert!(inside.contains(&format!("no folder {} can be made", file.display())), "{inside}");
        assert!(message(folder.path()).contains("it is a folder"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_read_only_folder_is_an_error() {
        // Read-only even for root, whom permissions do not stop.
        let message = write_text(Path::new("/proc/model.safetensors"), "text").unwrap_err().to_string();
        assert!(message.contains("/proc/model.safetensors cannot be written"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        write_text(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_text(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    /// Where the process below saves without end, until it is killed.
    #[cfg(unix)]
    const TARGET: &str = "ESPALIER_TEST_SAVE_TO";

    #[cfg(unix)]
    #[test]
    fn a_killed_save_leaves_a_whole_file() {
        use std::{
            os::unix::fs::MetadataExt,
            process::{Command, Stdio},
            time::Duration,
        };

        use crate::{
            io::{Precision, load, save},
            zoo,
        };

        let fresh = |seed| zoo::Fresh { width: Some(0.125), seed, ..zoo::Fresh::numbered(2) };
        let models = [0, 1].map(|seed| zoo::yolo("yolov5n", &fresh(seed)).unwrap());
        if let Some(target) = std::env::var_os(TARGET) {
            loop {
                models.iter().for_each(|model| save(model, &target, Precision::Fp32).unwrap());
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(&models[0], &path, Precision::Fp32).unwrap();
        for round in 0..4 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "io::atomic::tests::a_killed_save_leaves_a_whole_file"])
                .env(TARGET, &path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Once it is seen to have saved, it is killed at some moment of its later saves.
            let before = fs::metadata(&path).unwrap().ino();
            while fs::metadata(&path).unwrap().ino() == before {
                assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(37 * round));
            child.kill().unwrap();
            child.wait().unwrap();
            load(&path).unwrap();
        }
    }
}
