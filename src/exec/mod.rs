//! Runs a graph on tensors, forwards and backwards.
//!
//! Two paths give the same numbers: [`reference`], candle's own operations with its autograd, which runs on every
//! device, and the CPU path of our own kernels. [`Path::for_device`] chooses.

mod reference;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use thiserror::Error;

use crate::{
    graph::{Graph, NodeId},
    model::{Model, Tensors},
};

/// Which implementation of the operations runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Candle's own operations, on any device.
    Reference,
}

impl Path {
    /// The fastest path for a device.
    pub fn for_device(_device: &Device) -> Self {
        Path::Reference
    }
}

/// What can go wrong while a graph runs.
#[derive(Debug, Error)]
pub enum ExecError {
    /// An operation failed; the layer says where.
    #[error("layer `{layer}` ({kind}) with input {input:?}: {source}")]
    Layer {
        /// Name of the node.
        layer: String,
        /// Kind of its operation.
        kind: &'static str,
        /// Shape of its first input.
        input: Vec<usize>,
        /// What failed.
        source: candle_core::Error,
    },
    /// The images do not fit the network.
    #[error("images of shape {found:?} do not fit: {reason}")]
    Images {
        /// The shape given.
        found: Vec<usize>,
        /// Why it does not fit, and what would.
        reason: String,
    },
    /// A gradient does not fit the output that it is for.
    #[error("a gradient of shape {found:?} was given for `{layer}`, whose output is {expected:?}")]
    Gradient {
        /// Name of the node.
        layer: String,
        /// The output's shape.
        expected: Vec<usize>,
        /// The gradient's shape.
        found: Vec<usize>,
    },
    /// Tensors could not be made or moved.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The results of one run.
#[derive(Clone, Debug)]
pub struct Values {
    /// The graph's outputs in order, each (n, channels, h, w).
    pub outputs: Vec<Tensor>,
    /// The outputs of the tapped nodes.
    pub taps: BTreeMap<NodeId, Tensor>,
}

/// Gradients of a loss with respect to what a run gave.
#[derive(Clone, Debug, Default)]
pub struct ValueGradients {
    /// For each of the graph's outputs, or `None` where the loss does not depend on it.
    pub outputs: Vec<Option<Tensor>>,
    /// For tapped nodes.
    pub taps: BTreeMap<NodeId, Tensor>,
}

/// A training run that can be gone through backwards.
pub struct Tape {
    /// What the run gave, detached from any autograd.
    pub values: Values,
    /// The running averages after this batch, by tensor name.
    pub running: Tensors,
    backward: Backward,
}

enum Backward {
    Reference(reference::Recorded),
}

impl Tape {
    /// The gradient of every trained tensor, by name, given those of the run's values. Tensors that no gradient reaches
    /// are absent.
    ///
    /// # Errors
    /// Where a gradient's shape does not fit, or an operation fails.
    pub fn backward(self, gradients: &ValueGradients) -> Result<Tensors, ExecError> {
        match self.backward {
            Backward::Reference(recorded) => recorded.backward(gradients),
        }
    }
}

/// Runs a model on images (n, channels, h, w) with values in [0, 1], with the running averages of its normalisations.
///
/// # Errors
/// Where the image size does not fit the network, or an operation fails.
pub fn infer(model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Values, ExecError> {
    infer_with(Path::for_device(images.device()), model, images, taps)
}

/// [`infer`] on a chosen path.
///
/// # Errors
/// As [`infer`].
pub fn infer_with(path: Path, model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Values, ExecError> {
    check_images(&model.graph, images)?;
    match path {
        Path::Reference => reference::infer(&model.graph, &model.tensors, images, taps),
    }
}

/// Runs a model with batch statistics and keeps what the way back needs. The model's running averages are not changed;
/// the new ones are in [`Tape::running`].
///
/// # Errors
/// As [`infer`].
pub fn train(model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Tape, ExecError> {
    train_with(Path::for_device(images.device()), model, images, taps)
}

/// [`train`] on a chosen path.
///
/// # Errors
/// As [`infer`].
pub fn train_with(path: Path, model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Tape, ExecError> {
    check_images(&model.graph, images)?;
    match path {
        Path::Reference => reference::train(&model.graph, &model.tensors, images, taps),
    }
}

fn check_images(graph: &Graph, images: &Tensor) -> Result<(), ExecError> {
    let found = images.dims().to_vec();
    let fail = |reason: String| Err(ExecError::Images { found: found.clone(), reason });
    match *images.dims() {
        [0, ..] => fail("the batch is empty".into()),
        [_, _, height, width] => match graph.shapes([height, width]) {
            Ok(_) => Ok(()),
            Err(error) => fail(error.to_string()),
        },
        _ => fail("expected (batch, channels, height, width)".into()),
    }
}

#[cfg(test)]
mod tests;
