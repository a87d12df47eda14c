//! Training runs: forwards, recorded, and then backwards.

use candle_core::Tensor;

use super::{
    backend::Backend,
    error::ExecError,
    fast,
    observer::{Observer, Unobserved},
    options::TrainOptions,
    reference,
    shapes::{self, Shapes},
    threads::on_the_pool,
    times::StepTimes,
    values::{Gradients, ValueGradients, Values},
};
use crate::{
    graph::{Graph, NodeId},
    model::{Model, Tensors},
};

/// A training run that can be gone through backwards.
pub struct Tape {
    /// What the run gave, detached from any autograd.
    pub values: Values,
    /// The running averages after this batch, by tensor name; empty where the run used them instead of moving them.
    pub running: Tensors,
    recorded: Recorded,
}

/// What each backend keeps for the backward pass.
enum Recorded {
    Reference(Box<reference::Recorded>),
    Fast(Box<fast::Recorded>),
}

impl Tape {
    /// The gradient of every trained tensor, and of the values asked for, given those of the run's values.
    ///
    /// # Errors
    /// Where the gradients are not as many as the outputs, a shape does not fit, a node was not tapped, or an operation
    /// fails.
    pub fn backward(self, gradients: &ValueGradients) -> Result<Gradients, ExecError> {
        self.backward_observed(gradients, &mut Unobserved)
    }

    /// [`Tape::backward`], shown to an observer, who may see the nodes that one wanted when the run was recorded (see
    /// [`train_observed`]) and those of [`TrainOptions::gradient_taps`].
    ///
    /// # Errors
    /// As [`Tape::backward`], and the observer's.
    pub fn backward_observed(
        self,
        gradients: &ValueGradients,
        observer: &mut dyn Observer,
    ) -> Result<Gradients, ExecError> {
        Ok(self.run_backward(gradients, observer)?.0)
    }

    /// [`Tape::backward`], with how long each step of the run took, both ways.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_timed(self, gradients: &ValueGradients) -> Result<(Gradients, StepTimes), ExecError> {
        self.run_backward(gradients, &mut Unobserved)
    }

    fn run_backward(
        self,
        gradients: &ValueGradients,
        observer: &mut dyn Observer,
    ) -> Result<(Gradients, StepTimes), ExecError> {
        shapes::check_gradients(self.graph(), &self.values, gradients)?;
        match self.recorded {
            Recorded::Reference(recorded) => Ok((recorded.backward(gradients, observer)?, StepTimes::default())),
            Recorded::Fast(recorded) => on_the_pool(|| recorded.backward(gradients, observer)),
        }
    }

    fn graph(&self) -> &Graph {
        match &self.recorded {
            Recorded::Reference(recorded) => recorded.graph(),
            Recorded::Fast(recorded) => recorded.graph(),
        }
    }
}

/// Runs a model on images (n, channels, h, w) with batch statistics, on the fastest backend of their device, and keeps
/// what the backward pass needs. The model's running averages are not changed; the new ones are in [`Tape::running`].
///
/// # Errors
/// Where the image size does not fit the network, or an operation fails.
pub fn train(model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Tape, ExecError> {
    let options = TrainOptions { taps, ..TrainOptions::default() };
    train_with(Backend::for_device(images.device()), model, images, &options)
}

/// [`train`] on a chosen backend, with options.
///
/// # Errors
/// As [`train`].
pub fn train_with(
    backend: Backend,
    model: &Model,
    images: &Tensor,
    options: &TrainOptions<'_>,
) -> Result<Tape, ExecError> {
    train_observed(backend, model, images, options, &mut Unobserved)
}

/// [`train_with`], shown to an observer, who may see any node; [`Tape::backward_observed`] shows it the gradients.
///
/// # Errors
/// As [`train`], and the observer's.
pub fn train_observed(
    backend: Backend,
    model: &Model,
    images: &Tensor,
    options: &TrainOptions<'_>,
    observer: &mut dyn Observer,
) -> Result<Tape, ExecError> {
    shapes::check_nodes(model.graph(), options.taps)?;
    shapes::check_nodes(model.graph(), options.gradient_taps)?;
    let shapes = Shapes::new(model.graph(), images)?;
    let (values, running, recorded) = match backend {
        Backend::Reference => {
            let (values, running, recorded) = reference::train(model, shapes, images, options, observer)?;
            (values, running, Recorded::Reference(Box::new(recorded)))
        }
        Backend::Fast(dtype) => {
            let train = || fast::train(model, shapes, images, options, dtype, observer);
            let (values, running, recorded) = on_the_pool(train)?;
            (values, running, Recorded::Fast(Box::new(recorded)))
        }
    };
    Ok(Tape { values, running, recorded })
}
