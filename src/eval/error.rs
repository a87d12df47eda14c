//! What can go wrong while a detector is run on data: evaluated, measured or trained.

use thiserror::Error;

use crate::{data::DataError, exec::ExecError, io::IoError, model::ModelError, options::OptionError};

/// What can go wrong while a detector is run on data: evaluated, measured or trained.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Outputs that are not those of the detector.
    #[error("the outputs do not fit the detector: {0}")]
    Outputs(String),
    /// An option out of its range.
    #[error("{0}")]
    Option(#[from] OptionError),
    /// Model and dataset have different classes.
    #[error(
        "{model} knows {known} classes, {dataset} has {labelled}; use a dataset with the model's classes, or a model \
         trained for the dataset's"
    )]
    Classes {
        /// The model's name.
        model: String,
        /// Its classes.
        known: usize,
        /// The dataset's name.
        dataset: String,
        /// Its classes.
        labelled: usize,
    },
    /// A split without a single labelled box.
    #[error(
        "split '{split}' of {dataset} has no labelled boxes, so there is nothing to measure against; take a split or a dataset with labels"
    )]
    NoLabels {
        /// The dataset's name.
        dataset: String,
        /// The split's name.
        split: String,
    },
    /// The user asked to stop.
    #[error("stopped after {done} of {total} {what}")]
    Stopped {
        /// What was counted.
        what: &'static str,
        /// How many were done.
        done: usize,
        /// How many there would have been.
        total: usize,
    },
    /// The closure that gives a loss's gradients failed.
    #[error("the loss could not be computed: {0}")]
    Loss(Box<dyn std::error::Error + Send + Sync>),
    /// The threads asked for could not be started.
    #[error("{threads} threads could not be started: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        reason: String,
    },
    /// Images or labels cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network did not run.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// A file in another engine did not run.
    #[error(transparent)]
    File(Box<IoError>),
    /// The model does not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Tensors could not be made or moved.
    #[error("tensors could not be made or moved: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl From<ExecError> for EvalError {
    fn from(error: ExecError) -> Self {
        EvalError::Exec(Box::new(error))
    }
}

impl EvalError {
    /// Of a file that did not run.
    pub(super) fn file(error: IoError) -> Self {
        Self::File(Box::new(error))
    }
}
