//! What can go wrong in evaluation.

use thiserror::Error;

/// What can go wrong in evaluation.
#[derive(Debug, Error)]
pub enum EvalError {
    /// Outputs that are not those of the detector.
    #[error("the outputs do not fit the detector: {0}")]
    Outputs(String),
    /// Tensors could not be made or moved.
    #[error("tensors could not be made or moved: {0}")]
    Tensor(#[from] candle_core::Error),
}
