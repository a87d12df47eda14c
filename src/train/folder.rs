//! The folder of a run: checkpoint, weights, `results.csv`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    error::TrainError,
    run::{Epoch, results_csv},
};
use crate::{
    io::{self, Precision, atomic_write, new_folder},
    model::Model,
};

/// Where a run keeps its files.
#[derive(Clone, Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new folder: `wanted`, or `wanted2`, `wanted3` and so on where that exists.
    pub fn create(wanted: &Path) -> Result<Self, TrainError> {
        let path = new_folder(wanted)?;
        let weights = path.join("weights");
        fs::create_dir(&weights).map_err(|source| TrainError::Write { path: weights, source })?;
        Ok(Self { path })
    }

    /// The folder of a run that exists.
    pub fn open(path: &Path) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    pub fn best(&self) -> PathBuf {
        self.path.join("weights").join("best.safetensors")
    }

    pub fn last(&self) -> PathBuf {
        self.path.join("weights").join("last.safetensors")
    }

    pub fn save(&self, model: &Model, path: &Path) -> Result<(), TrainError> {
        Ok(io::save(model, path, Precision::Fp32)?)
    }

    pub fn save_results(&self, parts: &[String], validation: &[String], history: &[Epoch]) -> Result<(), TrainError> {
        let path = self.path.join("results.csv");
        let failed = |error: csv::Error| TrainError::Write { path: path.clone(), source: std::io::Error::other(error) };
        let bytes = results_csv(parts, validation, history).map_err(failed)?;
        Ok(atomic_write(&path, |writer: &mut dyn Write| writer.write_all(&bytes))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_run_is_never_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("runs").join("fit");
        let names: Vec<_> = (0..3).map(|_| RunFolder::create(&wanted).unwrap().path().to_path_buf()).collect();
        let expected = ["fit", "fit2", "fit3"].map(|name| folder.path().join("runs").join(name));
        assert_eq!(names, expected);
    }
}
