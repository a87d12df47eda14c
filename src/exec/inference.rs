//! Inference: a model made ready once, to run many times.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    backend::Backend,
    error::ExecError,
    fast,
    observer::{Observer, Unobserved},
    options::InferenceOptions,
    reference,
    shapes::{self, Shapes},
    threads::on_the_pool,
    times::StepTimes,
    values::Values,
    ways::ConvolutionWays,
};
use crate::{graph::NodeId, model::Model};

/// A model made ready for inference, to run many times: its normalisations are folded into its convolutions.
pub struct Inference {
    model: Model,
    options: InferenceOptions,
    prepared: Prepared,
}

enum Prepared {
    Reference(reference::Prepared),
    Fast(fast::Prepared),
}

impl Inference {
    /// Prepares a model on the fastest backend of its device; the values of `taps` will be kept.
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
        Self::with_options(backend, model, InferenceOptions { taps: taps.to_vec(), ..InferenceOptions::default() })
    }

    /// [`Inference::new`] on a chosen backend, with options.
    ///
    /// # Errors
    /// As [`Inference::new`], and for nodes that the graph does not have.
    pub fn with_options(backend: Backend, model: &Model, options: InferenceOptions) -> Result<Self, ExecError> {
        for nodes in [&options.taps, &options.observed, &options.starts] {
            shapes::check_nodes(model.graph(), nodes)?;
        }
        let prepared = match backend {
            Backend::Fast(dtype) => Prepared::Fast(fast::Prepared::new(model, &options, dtype)?),
            Backend::Reference => Prepared::Reference(reference::Prepared::new(model, &options)?),
        };
        Ok(Self { model: model.clone(), options, prepared })
    }

    /// Runs on images (n, channels, h, w) with values in [0, 1], with the running averages of the normalisations.
    ///
    /// # Errors
    /// Where the image size does not fit the network, the run begins elsewhere, or an operation fails.
    pub fn run(&self, images: &Tensor) -> Result<Values, ExecError> {
        Ok(self.run_timed(images)?.0)
    }

    /// [`Inference::run`], with how long each step took.
    ///
    /// # Errors
    /// As [`Inference::run`].
    pub fn run_timed(&self, images: &Tensor) -> Result<(Values, StepTimes), ExecError> {
        self.run_all(images, &BTreeMap::new(), &mut Unobserved)
    }

    /// [`Inference::run`], shown to an observer.
    ///
    /// # Errors
    /// As [`Inference::run`], and the observer's.
    pub fn run_observed(&self, images: &Tensor, observer: &mut dyn Observer) -> Result<Values, ExecError> {
        Ok(self.run_all(images, &BTreeMap::new(), observer)?.0)
    }

    /// Runs from the values that the nodes of [`InferenceOptions::starts`] have for these images.
    ///
    /// # Errors
    /// As [`Inference::run`], and where such a value is missing or of another shape.
    pub fn run_from(&self, images: &Tensor, starts: &BTreeMap<NodeId, Tensor>) -> Result<Values, ExecError> {
        Ok(self.run_all(images, starts, &mut Unobserved)?.0)
    }

    fn run_all(
        &self,
        images: &Tensor,
        starts: &BTreeMap<NodeId, Tensor>,
        observer: &mut dyn Observer,
    ) -> Result<(Values, StepTimes), ExecError> {
        let shapes = Shapes::new(self.model.graph(), images)?;
        shapes.check_starts(self.model.graph(), &self.options.starts, starts)?;
        let graph = self.model.graph();
        match &self.prepared {
            Prepared::Fast(prepared) => on_the_pool(|| prepared.run(graph, &shapes, images, starts, observer)),
            Prepared::Reference(prepared) => {
                Ok((prepared.run(graph, &shapes, images, starts, observer)?, StepTimes::default()))
            }
        }
    }

    /// How many convolutions run in which way.
    pub fn ways(&self) -> ConvolutionWays {
        match &self.prepared {
            Prepared::Fast(prepared) => prepared.ways(),
            Prepared::Reference(prepared) => prepared.ways(),
        }
    }
}

/// Runs a model once on images (n, channels, h, w) with values in [0, 1], in little memory; [`Inference`] runs it often.
///
/// # Errors
/// Where the image size does not fit the network, or an operation fails.
pub fn infer(model: &Model, images: &Tensor, taps: &[NodeId]) -> Result<Values, ExecError> {
    let options = InferenceOptions { taps: taps.to_vec(), ..InferenceOptions::default() };
    match Backend::for_device(&model.device()) {
        Backend::Fast(dtype) => {
            shapes::check_nodes(model.graph(), taps)?;
            let shapes = Shapes::new(model.graph(), images)?;
            on_the_pool(|| fast::run_once(model, &options, dtype, &shapes, images))
        }
        backend @ Backend::Reference => Inference::with_options(backend, model, options)?.run(images),
    }
}
