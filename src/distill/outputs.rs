//! A term that compares the outputs of two heads of one kind.

use std::sync::Arc;

use candle_core::Tensor;
use serde_json::Value;

use super::{
    comparison::{Compared, Comparison, Heads, Map, Where},
    error::DistillError,
    pair::Pair,
    part::part_name,
};
use crate::{
    exec::numbers::Numbers,
    train::{LossGradients, Teacher, Term, TermError, TermInput},
};

/// Compares a kind of outputs.
pub(super) struct Outputs {
    part: &'static str,
    teacher: Arc<dyn Teacher>,
    /// For each of the student's outputs, which of the teacher's is the same.
    same: Vec<usize>,
    heads: Heads,
}

impl Outputs {
    /// The term `part`.
    ///
    /// # Errors
    /// Where the two heads are not of one kind.
    pub fn make(
        pair: &Pair<'_>,
        part: &'static str,
        compared: Compared,
        places: Where,
    ) -> Result<Arc<dyn Term>, DistillError> {
        let same = pair.same_outputs(part)?;
        let detector = pair.student.detector().clone();
        let (teacher_classes, classes) = (pair.detector.classes.len(), pair.classes.clone());
        let heads = Heads { detector, teacher_classes, classes, compared, places };
        Ok(Arc::new(Self { part, teacher: Arc::clone(&pair.teacher), same, heads }))
    }
}

impl Term for Outputs {
    fn part_names(&self) -> Vec<String> {
        vec![part_name(self.part)]
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let teacher = input.run_on_cpu(&self.teacher)?;
        let teacher: Vec<&Tensor> = self.same.iter().map(|&output| &teacher.outputs[output]).collect();
        let numbers = teacher.iter().map(|map| Numbers::of(map)).collect::<candle_core::Result<Vec<_>>>()?;
        let maps = numbers.iter().zip(&teacher).map(|(numbers, map)| Map::new(numbers, map));
        let maps = maps.collect::<candle_core::Result<Vec<_>>>()?;
        let comparison = Comparison::new(&self.heads, input.batch(), &maps, input.targets);
        let mut sum = 0.0;
        for (index, output) in input.outputs_on_cpu()?.iter().enumerate() {
            if comparison.concerns(index) {
                let student = Numbers::of(output)?;
                sum += gradients.change_output(index, output, |gradient| comparison.add(index, &student, gradient))?;
            }
        }
        Ok(vec![sum])
    }
}
