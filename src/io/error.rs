//! What can go wrong between a file and a model.

use std::path::PathBuf;

use safetensors::Dtype;
use thiserror::Error;

use super::onnx_error::OnnxError;
use crate::{model::ModelError, zoo::ZooError};

/// What can go wrong between a file and a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IoError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is of no known format.
    #[error("{} cannot be opened: {found}; expected a PyTorch checkpoint (.pt), a .safetensors or an ONNX file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// A PyTorch checkpoint that cannot be opened.
    #[error("{} cannot be opened: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Where in it, and why.
        source: Box<CheckpointError>,
    },
    /// A `.safetensors` file that cannot be opened.
    #[error("{} cannot be opened: {source}", path.display())]
    Native {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<NativeError>,
    },
    /// An ONNX file that cannot be opened or run.
    #[error("{} cannot be used: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<OnnxError>,
    },
    /// A model cannot be exported; what was there before is as it was.
    #[error("{} cannot be exported: {source}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<OnnxError>,
    },
    /// A file of JSON that cannot be read, or that is not what it should be.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The file cannot be written; what was there before is as it was.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// What can be wrong inside a PyTorch checkpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The zip archive is broken or not PyTorch's.
    #[error("{0}")]
    Archive(String),
    /// The pickle in it is broken.
    #[error("{0}")]
    Pickle(String),
    /// The pickle names something that no detector needs.
    #[error("its pickle asks for `{name}`, which no detector needs; nothing was run, but do not trust this file")]
    Foreign {
        /// The Python name.
        name: String,
    },
    /// What it holds is no detector.
    #[error("{0}")]
    Network(String),
    /// A module that is not understood.
    #[error("module `{path}` ({kind}): {reason}")]
    Module {
        /// Path of the module.
        path: String,
        /// Its class.
        kind: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A tensor that is missing or not what it claims to be.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name in the state dict.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Its modules do not fit together.
    #[error(transparent)]
    Zoo(#[from] ZooError),
    /// Its tensors do not fit its modules.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// What can be wrong with a `.safetensors` file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NativeError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Its layout is broken.
    #[error("its safetensors header or data is broken ({0}); copy or save it again")]
    Layout(#[from] safetensors::SafeTensorError),
    /// Another program wrote it.
    #[error("it holds tensors, but not the network they belong to: it was not saved by Espalier")]
    NotOurs,
    /// A newer program wrote it.
    #[error("it has format version {found}, and this program reads versions up to {known}; use a newer Espalier")]
    Newer {
        /// The version it has.
        found: u32,
        /// The newest version that is known.
        known: u32,
    },
    /// Its description of the network is not one.
    #[error("its description of the network is broken: {0}")]
    Description(String),
    /// A tensor of a type that weights do not have.
    #[error("tensor `{name}` has type {found:?}; F32, F16 and BF16 are supported")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// A tensor without numbers.
    #[error("tensor `{name}` has shape {shape:?}, which holds no numbers")]
    Empty {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Its parts do not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
}
