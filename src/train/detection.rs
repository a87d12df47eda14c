//! The detection loss as a term.

use serde_json::{Value, json};

use super::{
    loss::{DetectionLoss, Gains, LossError},
    term::{LossGradients, Term, TermError, TermInput},
};
use crate::model::Detector;

/// The detection loss of a model's family.
#[derive(Clone, Debug)]
pub struct DetectionTerm {
    loss: DetectionLoss,
    gains: Gains,
}

impl DetectionTerm {
    /// The loss of a detector with these weights.
    ///
    /// # Errors
    /// As [`DetectionLoss::new`].
    pub fn new(detector: &Detector, gains: &Gains) -> Result<Self, LossError> {
        Ok(Self { loss: DetectionLoss::new(detector, gains)?, gains: *gains })
    }
}

impl Term for DetectionTerm {
    fn part_names(&self) -> Vec<String> {
        self.loss.part_names().map(String::from).to_vec()
    }

    fn settings(&self) -> Value {
        json!({ "gains": self.gains })
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let loss = self.loss.compute(input.outputs_on_cpu()?, input.targets)?;
        for (index, gradient) in loss.gradients.into_iter().enumerate() {
            gradients.add_output(index, gradient)?;
        }
        Ok(loss.parts.iter().map(|&(_, part)| f64::from(part)).collect())
    }
}
