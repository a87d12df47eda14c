//! What a step minimises: a sum of terms.

use std::sync::Arc;

use super::{
    detection::DetectionTerm,
    error::TrainError,
    loss::{Gains, LossError},
    term::{LossGradients, Term, TermError, TermInput},
};
use crate::{
    graph::NodeId,
    model::{Detector, Tensors},
};

/// What a step minimises: the sum of its terms.
#[derive(Clone, Default)]
pub struct Objective {
    terms: Vec<Arc<dyn Term>>,
}

/// An objective's value for a batch, and its gradients.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ObjectiveValue {
    /// What is minimised: the sum of the parts times the batch.
    pub total: f64,
    /// The terms' parts, as [`Objective::part_names`] names them: weighted, for a mean image.
    pub parts: Vec<f32>,
    /// Gradients of the total.
    pub gradients: LossGradients,
}

impl Objective {
    /// The sum of some terms.
    pub fn new(terms: impl IntoIterator<Item = Arc<dyn Term>>) -> Self {
        Self { terms: terms.into_iter().collect() }
    }

    /// The detection loss alone.
    ///
    /// # Errors
    /// As [`DetectionTerm::new`].
    pub fn detection(detector: &Detector, gains: &Gains) -> Result<Self, LossError> {
        Ok(Self::default().with(DetectionTerm::new(detector, gains)?))
    }

    /// The same objective with one more term.
    pub fn with(mut self, term: impl Term + 'static) -> Self {
        self.terms.push(Arc::new(term));
        self
    }

    /// Its terms.
    pub fn terms(&self) -> &[Arc<dyn Term>] {
        &self.terms
    }

    /// Names of all parts, term after term; columns of `results.csv`.
    pub fn part_names(&self) -> Vec<String> {
        self.terms.iter().flat_map(|term| term.part_names()).collect()
    }

    /// The student's nodes whose outputs some term wants to see, each once.
    pub fn taps(&self) -> Vec<NodeId> {
        let mut taps: Vec<NodeId> = self.terms.iter().flat_map(|term| term.taps()).collect();
        taps.sort_unstable();
        taps.dedup();
        taps
    }

    /// The terms' own tensors at the start.
    ///
    /// # Errors
    /// Where a term cannot make one, or two terms use one name.
    pub fn tensors(&self) -> Result<Tensors, TrainError> {
        let mut all = Tensors::new();
        for term in &self.terms {
            for (name, tensor) in term.tensors()? {
                if all.insert(name.clone(), tensor).is_some() {
                    let reason = "belongs to two terms; give each its own name".into();
                    return Err(TrainError::Extra { what: "tensor", name, reason });
                }
            }
        }
        Ok(all)
    }

    /// Value and gradients for one batch.
    ///
    /// # Errors
    /// Those of the terms.
    pub fn compute(&self, input: &TermInput<'_>) -> Result<ObjectiveValue, TermError> {
        let mut gradients = LossGradients::none(input.values.outputs.len());
        let (mut total, mut parts) = (0.0, Vec::new());
        for term in &self.terms {
            let found = term.compute(input, &mut gradients)?;
            total += found.iter().sum::<f64>() * input.batch() as f64;
            parts.extend(found.iter().map(|&part| part as f32));
        }
        gradients.move_to_device(input.images.device())?;
        Ok(ObjectiveValue { total, parts, gradients })
    }
}

impl std::fmt::Debug for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.part_names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::train::Autograd;

    #[test]
    fn two_terms_cannot_share_a_tensor() {
        let term = |name: &str| {
            let tensors = Tensors::from([("own".to_string(), Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap())]);
            Autograd::new(name, |leaves| Ok(leaves.tensor("own")?.sum_all()?)).tensors(tensors)
        };
        let one = Objective::default().with(term("a"));
        assert_eq!(one.tensors().unwrap().len(), 1);
        let error = one.with(term("b")).tensors().unwrap_err().to_string();
        assert!(error.contains("`own`") && error.contains("two terms"), "{error}");
    }

    #[test]
    fn taps_and_parts_of_all_terms_are_asked_for_once() {
        let term =
            |name: &str, taps: &[NodeId]| Autograd::new(name, |leaves| Ok(leaves.output(0)?.sum_all()?)).taps(taps);
        let objective = Objective::default().with(term("a", &[5, 2])).with(term("b", &[2, 7]));
        assert_eq!(objective.taps(), [2, 5, 7]);
        assert_eq!(objective.part_names(), ["a", "b"]);
    }
}
