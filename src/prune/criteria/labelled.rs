//! The detection loss of labelled images, for gradients.

use std::cell::Cell;

use candle_core::Tensor;

use super::{super::error::PruneError, measured::PruneData};
use crate::{
    data::Target,
    eval::{EvalError, check_classes},
    exec::ValueGradients,
    model::{Model, Tensors},
    train::loss::{DetectionLoss, Gains, LossError},
};

/// The loss of a model on images that have labels, and how many labels there were.
pub(super) struct Labelled<'a> {
    data: &'a PruneData,
    loss: DetectionLoss,
    labels: Cell<usize>,
}

impl<'a> Labelled<'a> {
    /// # Errors
    /// Data of other classes than the model's, a model with weights that are not finite.
    pub(super) fn new(model: &Model, importance: &'static str, data: &'a PruneData) -> Result<Self, PruneError> {
        let PruneData { dataset, options } = data;
        check_classes(model, dataset)?;
        check(model, importance, model.tensors())?;
        let gains = Gains::default().for_training(model.detector(), options.size);
        let loss = DetectionLoss::new(model.detector(), &gains).map_err(failed)?;
        Ok(Self { data, loss, labels: Cell::new(0) })
    }

    /// The gradients of the loss with respect to the outputs.
    pub(super) fn gradients(&self, outputs: &[Tensor], targets: &[Target]) -> Result<ValueGradients, EvalError> {
        self.labels.set(self.labels.get() + targets.len());
        let found = self.loss.compute(outputs, targets).map_err(failed)?;
        let outputs = found.gradients.into_iter().map(Some).collect();
        Ok(ValueGradients { outputs, ..ValueGradients::default() })
    }

    /// # Errors
    /// Where there was no label at all.
    pub(super) fn finish(self) -> Result<(), PruneError> {
        match self.labels.get() {
            0 => {
                let (dataset, split) = (self.data.dataset.name.clone(), self.data.options.split.clone());
                Err(EvalError::NoLabels { dataset, split }.into())
            }
            _ => Ok(()),
        }
    }
}

fn failed(error: LossError) -> EvalError {
    EvalError::Loss(error.into())
}

/// Names the first layer that a number of some tensor, by the name of the model's own, is not finite for.
pub(super) fn check(model: &Model, importance: &'static str, tensors: &Tensors) -> Result<(), PruneError> {
    for (node, name, _) in model.graph().parameters() {
        let Some(tensor) = tensors.get(&name) else { continue };
        // A sum is finite only where all its numbers are, or where they are too large for gradients to mean anything.
        if !tensor.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            let layer = model.graph().node(node).name.clone();
            return Err(PruneError::NotFinite { layer, importance });
        }
    }
    Ok(())
}
