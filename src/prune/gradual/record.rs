//! What a gradual pruning keeps in its folder: which steps are done, and the models after them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    super::{error::PruneError, options::PruneOptions},
    options::GradualOptions,
};
use crate::{
    io::{self, Precision, load_json, new_folder, save_json},
    model::Model,
    train::FitOptions,
};

/// One step. Accuracies are mAP50-95 on the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradualStep {
    /// Counted from 1; `None` for the training at the end.
    pub step: Option<usize>,
    /// Share of the unpruned model's MACs that stays.
    pub macs: f64,
    /// Share of its parameters that stays.
    pub params: f64,
    /// Share of the convolutions' weights that is zero.
    pub zeros: f64,
    /// Accuracy as soon as units are gone.
    pub pruned: f64,
    /// Accuracy once statistics were measured anew, where they were.
    pub recalibrated: Option<f64>,
    /// Accuracy after training, where there was some.
    pub tuned: Option<f64>,
    /// Seconds that it took, evaluations included.
    pub seconds: f64,
}

impl GradualStep {
    /// The accuracy that it ends with.
    pub fn accuracy(&self) -> f64 {
        self.tuned.or(self.recalibrated).unwrap_or(self.pruned)
    }
}

/// What decides a gradual pruning, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of the unpruned model's tensors.
    pub model: String,
    pub dataset: String,
    pub pruner: PruneOptions,
    pub tuner: String,
    pub options: GradualOptions,
    pub fit: FitOptions,
    /// Accuracy of the unpruned model, once measured.
    pub base: Option<f64>,
    /// How many coupled channels each group will keep, where groups are pruned one after another.
    pub counts: Option<Vec<usize>>,
    /// Complete steps.
    pub steps: Vec<GradualStep>,
    /// The step that is being trained.
    pub pending: Option<GradualStep>,
    /// Whether the last complete step fell too deep.
    pub fell: bool,
}

/// The folder, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub Option<PathBuf>);

impl Folder {
    /// A new folder, or none where none is wanted.
    pub fn create(wanted: Option<&Path>) -> Result<Self, PruneError> {
        Ok(Self(wanted.map(new_folder).transpose()?))
    }

    /// What was recorded in a folder.
    pub fn open(path: &Path) -> Result<(Self, Record), PruneError> {
        Ok((Self(Some(path.to_owned())), load_json(&record(path), "record of a gradual pruning")?))
    }

    pub fn keep(&self, kept: &Record) -> Result<(), PruneError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        Ok(save_json(&record(folder), kept)?)
    }

    pub fn save(&self, name: &str, model: &Model) -> Result<(), PruneError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        Ok(io::save(model, file(folder, name), Precision::Fp32)?)
    }

    pub fn load(&self, name: &str, like: &Model) -> Result<Option<Model>, PruneError> {
        let Some(folder) = &self.0 else { return Ok(None) };
        Ok(Some(io::load(file(folder, name))?.to_device(&like.device())?))
    }

    /// Whether there is a training that can be resumed.
    pub fn has_training(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|folder| folder.join(name).join("checkpoint.safetensors").exists())
    }

    /// The training of a step: where it is kept, and whether to go on with one that is there. A folder without a checkpoint
    /// is of a run that had hardly begun.
    pub fn training(&self, name: &str, options: &FitOptions) -> Result<FitOptions, PruneError> {
        let Some(folder) = self.0.as_ref().map(|folder| folder.join(name)) else { return Ok(options.clone()) };
        if self.has_training(name) {
            return Ok(FitOptions { resume: Some(folder), ..FitOptions::default() });
        }
        if folder.exists() {
            let failed = |error: std::io::Error| PruneError::File { path: folder.clone(), reason: error.to_string() };
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        Ok(FitOptions { folder: Some(folder), ..options.clone() })
    }
}

fn record(folder: &Path) -> PathBuf {
    folder.join("gradual.json")
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.safetensors"))
}
