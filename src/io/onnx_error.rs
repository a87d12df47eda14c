//! What can go wrong when a model is written as ONNX, or an ONNX file opened.

use thiserror::Error;

use crate::{exec::ExecError, graph::GraphError, model::ModelError, options::OptionError};

/// What can go wrong when a model is written as ONNX, or an ONNX file opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// An option out of its range, or one that does not go with another.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The engine that runs such files cannot run this one.
    #[error("it cannot be run: {0}")]
    Engine(String),
    /// A file that is broken, or no ONNX file.
    #[error("it is damaged, or no ONNX file: {0}; copy it or export it again")]
    Damaged(String),
    /// A file that holds something else than what can be run here.
    #[error("{0}")]
    Unfit(String),
    /// What the engine gives for the file has another form than the model's outputs.
    #[error("the file gives something else than the model: {0}; nothing was written, please report this")]
    Layout(String),
    /// What the engine computes is not what the model computes.
    #[error(
        "the file gives other numbers than the model: the largest difference is {difference:.2e} in {output}, and at most \
         {allowed:.0e} is allowed; nothing was written, please report this"
    )]
    Differs {
        /// The largest difference.
        difference: f32,
        /// In which output.
        output: String,
        /// What is allowed.
        allowed: f32,
    },
    /// What was written is not what is on the disk.
    #[error("what is in the file is not what was written to it; check the disk")]
    ReadBack,
    /// The file would be larger than such files may be.
    #[error("it would have {bytes} bytes, and an ONNX file has at most {most}", most = i32::MAX)]
    TooLarge {
        /// How many there would be.
        bytes: usize,
    },
    /// The listener asked to stop.
    #[error("stopped before anything was written")]
    Stopped,
    /// The model does not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot run at that size.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model does not run.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// Tensors could not be read or made.
    #[error("tensors could not be read or made: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl From<ExecError> for OnnxError {
    fn from(error: ExecError) -> Self {
        OnnxError::Exec(Box::new(error))
    }
}
