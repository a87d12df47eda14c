//! What trains a model between the steps of gradual pruning.

use crate::{
    data::Dataset,
    model::Model,
    progress::Progress,
    train::{FitOptions, Run, fit},
};

/// Why a model could not be trained.
pub type TuneError = Box<dyn std::error::Error + Send + Sync>;

/// Trains a model between the steps of gradual pruning.
pub trait Tuner {
    /// What it trains by, for the run's file: it must be the same when a run is resumed.
    fn name(&self) -> String;

    /// Trains the model, and resumes a run where the options say so; `None` where it was stopped before it began to train.
    ///
    /// # Errors
    /// Those of the training.
    fn tune(
        &self,
        model: &Model,
        data: &Dataset,
        options: &FitOptions,
        progress: &dyn Progress,
    ) -> Result<Option<Run>, TuneError>;
}

/// Trains with the detection loss alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct FineTune;

impl Tuner for FineTune {
    fn name(&self) -> String {
        "detection loss".into()
    }

    fn tune(
        &self,
        model: &Model,
        data: &Dataset,
        options: &FitOptions,
        progress: &dyn Progress,
    ) -> Result<Option<Run>, TuneError> {
        Ok(Some(fit(model, data, options, progress)?))
    }
}
