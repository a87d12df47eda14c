//! Runs a graph on tensors, forwards and backwards.
//!
//! Two paths give the same numbers: the reference path, candle's own operations with its autograd, which runs on every
//! device, and the fast path, our own kernels with a backward of their own, on the CPU. [`Backend::for_device`] chooses.

mod fast;
pub(crate) mod numbers;
mod reference;
mod threads;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use thiserror::Error;

pub use espalier_kernels::dtype::ComputeDtype;

use threads::on_the_pool;

use crate::{
    graph::{Graph, NodeId, Op},
    model::{Model, Tensors},
};

/// Which implementation of the operations runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Candle's own operations, on any device.
    Reference,
    /// Our own kernels, on the CPU, whose convolutions multiply such numbers.
    Fast(ComputeDtype),
}

impl Backend {
    /// The fastest path for a device, in fp32.
    pub fn for_device(device: &Device) -> Self {
        match device {
            Device::Cpu => Backend::Fast(ComputeDtype::Fp32),
            Device::Cuda(_) | Device::Metal(_) => Backend::Reference,
        }
    }

    /// The fastest path for training on a device with such dtype.
    ///
    /// # Errors
    /// For bf16, without a CPU that has instructions for it.
    pub fn for_training(device: &Device, dtype: ComputeDtype) -> Result<Self, ExecError> {
        match (dtype, device) {
            (ComputeDtype::Fp32, _) => Ok(Self::for_device(device)),
            (ComputeDtype::Bf16, Device::Cpu) if dtype.is_native() => Ok(Backend::Fast(dtype)),
            (ComputeDtype::Bf16, Device::Cpu) => Err(ExecError::Precision { lacking: "this processor has none" }),
            (ComputeDtype::Bf16, _) => Err(ExecError::Precision { lacking: "the model is on another device" }),
        }
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
        source: Box<candle_core::Error>,
    },
    /// The numbers cannot be multiplied in that precision.
    #[error("precision \"bf16\" needs a CPU with AVX-512 BF16 instructions, and {lacking}; use precision \"fp32\"")]
    Precision {
        /// What stands in the way.
        lacking: &'static str,
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

/// Seconds that each step of a run took, by the node it begins with; a step is a node or several that run as one.
/// Empty on the reference path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// Forwards, in the order of the run.
    pub forward: Vec<(NodeId, f64)>,
    /// Backwards, in the order of the run; steps that no gradient reaches are absent.
    pub backward: Vec<(NodeId, f64)>,
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
    Fast(Box<fast::Recorded>),
}

impl Tape {
    /// The gradient of every trained tensor, by name, given those of the run's values. Tensors that no gradient reaches
    /// are absent.
    ///
    /// # Errors
    /// Where a gradient's shape does not fit, or an operation fails.
    pub fn backward(self, gradients: &ValueGradients) -> Result<Tensors, ExecError> {
        Ok(self.backward_timed(gradients)?.0)
    }

    /// [`Tape::backward`], with how long each step of the run took, both ways.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_timed(self, gradients: &ValueGradients) -> Result<(Tensors, StepTimes), ExecError> {
        match self.backward {
            Backward::Reference(recorded) => Ok((recorded.backward(gradients)?, StepTimes::default())),
            Backward::Fast(recorded) => on_the_pool(|| recorded.backward(gradients)),
        }
    }
}

/// A model made ready for inference, to run many times: on the CPU its normalisations are folded into its convolutions.
pub struct Inference {
    model: Model,
    taps: Vec<NodeId>,
    /// The fast path, where that is the one.
    prepared: Option<fast::Prepared>,
}

impl Inference {
    /// Prepares a model on the fastest path of its device; the values of `taps` will be kept.
    ///
    /// # Errors
    /// Where tensors cannot be read.
    pub fn new(model: &Model, taps: &[NodeId]) -> Result<Self, ExecError> {
        Self::with_backend(Backend::for_device(&model.device()), model, taps)
    }

    /// [`Inference::new`] on a chosen backend.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn with_backend(backend: Backend, model: &Model, taps: &[NodeId]) -> Result<Self, ExecError> {
        let prepared = match backend {
            Backend::Fast(dtype) => Some(fast::Prepared::new(model, taps, dtype)?),
            Backend::Reference => None,
        };
        Ok(Self { model: model.clone(), taps: taps.to_vec(), prepared })
    }

    /// Runs on images (n, channels, h, w) with values in [0, 1], with the running averages of the normalisations.
    ///
    /// # Errors
    /// Where the image size does not fit the network, or an operation fails.
    pub fn run(&self, images: &Tensor) -> Result<Values, ExecError> {
        Ok(self.run_timed(images)?.0)
    }

    /// [`Inference::run`], with how long each step took.
    ///
    /// # Errors
    /// As [`Inference::run`].
    pub fn run_timed(&self, images: &Tensor) -> Result<(Values, StepTimes), ExecError> {
        check_images(self.model.graph(), images)?;
        match &self.prepared {
            Some(prepared) => on_the_pool(|| prepared.run(self.model.graph(), images)),
            None => {
                let values = reference::infer(self.model.graph(), self.model.tensors(), images, &self.taps)?;
                Ok((values, StepTimes::default()))
            }
        }
    }

    /// How many convolutions run in which way; none do on the reference path.
    pub fn ways(&self) -> ConvolutionWays {
        self.prepared.as_ref().map(fast::Prepared::ways).unwrap_or_default()
    }
}

/// How many convolutions run in the ways that are faster than the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvolutionWays {
    /// In one pass with their normalisation and activation.
    pub fused: usize,
    /// By Winograd's minimal filtering.
    pub winograd: usize,
}

/// Runs a model once on images (n, channels, h, w) with values in [0, 1]; [`Inference`] runs it often.
///
/// # Errors
/// Where the image size does not fit the network, or an operation fails.
pub fn infer(model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Values, ExecError> {
    Inference::new(model, taps)?.run(images)
}

/// Runs a model with batch statistics and keeps what the way back needs. The model's running averages are not changed;
/// the new ones are in [`Tape::running`].
///
/// # Errors
/// As [`infer`].
pub fn train(model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Tape, ExecError> {
    train_with(Backend::for_device(images.device()), model, images, taps)
}

/// [`train`] on a chosen backend.
///
/// # Errors
/// As [`infer`].
pub fn train_with(backend: Backend, model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Tape, ExecError> {
    check_images(model.graph(), images)?;
    match backend {
        Backend::Reference => reference::train(model.graph(), model.tensors(), images, taps),
        Backend::Fast(dtype) => on_the_pool(|| fast::train(model, images, taps, dtype)),
    }
}

fn check_images(graph: &Graph, images: &Tensor) -> Result<(), ExecError> {
    let found = images.dims().to_vec();
    let fail = |reason: String| Err(ExecError::Images { found: found.clone(), reason });
    match *images.dims() {
        [0, ..] => fail("the batch is empty".into()),
        [_, channels, height, width] => {
            let expected = graph.nodes().iter().find_map(|node| match node.op {
                Op::Input { channels: expected } if expected != channels => Some(expected),
                _ => None,
            });
            match (expected, graph.shapes([height, width])) {
                (Some(expected), _) => fail(format!("the network reads {expected} channels")),
                (None, Err(error)) => fail(error.to_string()),
                (None, Ok(_)) => Ok(()),
            }
        }
        _ => fail("expected (batch, channels, height, width)".into()),
    }
}

#[cfg(test)]
mod tests;
