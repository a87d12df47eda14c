//! What can go wrong in training.

use std::path::PathBuf;

use thiserror::Error;

use super::{checkpoint_error::CheckpointError, loss::LossError, run::Run};
use crate::{eval::EvalError, io::IoError};

/// What can go wrong in training; the message says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option out of its range, data that cannot be used, a network that does not run: what evaluation may meet too.
    #[error(transparent)]
    Eval(EvalError),
    /// Model and dataset have different classes.
    #[error(
        "the model has {} classes ({}), but {dataset} has {} ({}); give the model new class outputs first, with with_classes",
        model.len(), abridged(model), data.len(), abridged(data)
    )]
    Classes {
        /// The model's classes.
        model: Vec<String>,
        /// The dataset's name.
        dataset: String,
        /// The dataset's classes.
        data: Vec<String>,
    },
    /// The loss or the gradient is no longer finite. The run up to there is not lost.
    #[error(
        "the {what} is no longer finite in epoch {epoch}, batch {batch} ({cause}); a lower lr (it was {lr}), a longer warm-up or \
         clip = 10 usually helps. The weights before that batch are kept{}",
        folder(run)
    )]
    Diverged {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The epoch, from 1.
        epoch: usize,
        /// The batch, from 1.
        batch: usize,
        /// Which part of the loss, and where in the model, as far as that can be told.
        cause: String,
        /// The learning rate of the weights in that step.
        lr: f32,
        /// The run up to the last good step.
        run: Box<Run>,
    },
    /// A term of the objective failed.
    #[error(transparent)]
    Term(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// A hook failed.
    #[error("hook `{hook}`: {source}")]
    Hook {
        /// Its name.
        hook: String,
        /// Its own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tensor of a term's own, a gradient that a term gives, or a value that a hook sets, does not fit.
    #[error("{what} `{name}` {reason}")]
    Extra {
        /// `tensor`, `gradient` or `value`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A run cannot be resumed.
    #[error("{}: {source}", path.display())]
    Checkpoint {
        /// The checkpoint or folder.
        path: PathBuf,
        /// Why, and what to do.
        source: CheckpointError,
    },
    /// A file of the run could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The detection loss.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// A model file or checkpoint.
    #[error(transparent)]
    Io(Box<IoError>),
}

impl<E> From<E> for TrainError
where
    EvalError: From<E>,
{
    fn from(error: E) -> Self {
        TrainError::Eval(error.into())
    }
}

impl From<IoError> for TrainError {
    fn from(error: IoError) -> Self {
        TrainError::Io(Box::new(error))
    }
}

fn abridged(names: &[String]) -> String {
    let shown = names.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 4 { format!("{shown}, …") } else { shown }
}

fn folder(run: &Run) -> String {
    run.folder.as_ref().map(|folder| format!(", in {}", folder.display())).unwrap_or_default()
}
