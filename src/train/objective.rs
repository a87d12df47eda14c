//! What a step minimises.

use candle_core::Tensor;

use super::loss::{DetectionLoss, Gains, LossError};
use crate::{
    data::Target,
    exec::{ValueGradients, Values},
    graph::NodeId,
    model::{Detector, Tensors},
};

/// Any error of an objective.
pub type ObjectiveError = Box<dyn std::error::Error + Send + Sync>;

/// What a step minimises: the detection loss alone, or with terms of its own such as those of distillation.
///
/// An objective may have tensors of its own that are trained along (adapters). The training loop keeps them, so that
/// they are in the checkpoints; an objective itself holds nothing that changes over a run.
pub trait Objective: Send + Sync {
    /// Names of the parts, in the order that [`Judgement::parts`] has them; columns of `results.csv`.
    fn part_names(&self) -> Vec<String>;

    /// The student's nodes whose outputs it wants to see.
    fn taps(&self) -> &[NodeId] {
        &[]
    }

    /// Its own tensors at the start, by names that are none of the model's.
    fn tensors(&self) -> Tensors {
        Tensors::new()
    }

    /// Judges one batch.
    ///
    /// # Errors
    /// Any; the loop passes it on.
    fn judge(&self, step: &Step<'_>) -> Result<Judgement, ObjectiveError>;
}

/// One batch as an objective sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The images (n, 3, size, size) in [0, 1], on the model's device.
    pub images: &'a Tensor,
    /// The boxes in them.
    pub targets: &'a [Target],
    /// What the student gave for them: outputs, and the taps asked for.
    pub values: &'a Values,
    /// The objective's own tensors as they are now.
    pub tensors: &'a Tensors,
    /// The share of the run that is done, from 0 to below 1.
    pub progress: f64,
}

/// An objective's value and its gradients.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// What is minimised. The loop asks only whether it is finite.
    pub total: f64,
    /// The weighted parts, as [`Objective::part_names`] names them.
    pub parts: Vec<f32>,
    /// Gradients of the total with respect to the student's values.
    pub gradients: ValueGradients,
    /// Gradients of the total with respect to the objective's own tensors, by name. Names of the student's trained
    /// tensors are allowed too (penalties on weights); those gradients are added to what comes from the values.
    pub tensors: Tensors,
}

/// The detection loss alone.
#[derive(Clone, Debug)]
pub struct Detection {
    loss: DetectionLoss,
}

impl Detection {
    /// The loss of a detector with these weights.
    ///
    /// # Errors
    /// As [`DetectionLoss::new`].
    pub fn new(detector: &Detector, gains: &Gains) -> Result<Self, LossError> {
        Ok(Self { loss: DetectionLoss::new(detector, gains)? })
    }
}

impl Objective for Detection {
    fn part_names(&self) -> Vec<String> {
        self.loss.part_names().map(String::from).to_vec()
    }

    fn judge(&self, step: &Step<'_>) -> Result<Judgement, ObjectiveError> {
        let loss = self.loss.compute(&step.values.outputs, step.targets)?;
        Ok(Judgement {
            total: f64::from(loss.total),
            parts: loss.parts.iter().map(|&(_, part)| part).collect(),
            gradients: ValueGradients {
                outputs: loss.gradients.into_iter().map(Some).collect(),
                taps: Default::default(),
            },
            tensors: Tensors::new(),
        })
    }
}
