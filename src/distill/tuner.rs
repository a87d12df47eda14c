//! Distillation between the steps of gradual pruning.

use super::{distiller::Distiller, error::DistillError, options::DistillOptions};
use crate::{
    data::Dataset,
    eval::EvalError,
    model::Model,
    progress::Progress,
    prune::{TuneError, Tuner},
    train::{FitOptions, Run},
};

/// Trains the models of gradual pruning to imitate teachers, for one the model that is pruned.
#[derive(Clone, Debug)]
pub struct Imitation {
    teachers: Vec<Model>,
    options: DistillOptions,
}

impl Imitation {
    /// Of these teachers, which the model that is pruned must be able to imitate.
    ///
    /// # Errors
    /// As [`Distiller::of_several`].
    pub fn new(teachers: &[Model], pruned: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        Distiller::of_several(teachers, pruned, options.clone())?;
        Ok(Self { teachers: teachers.to_vec(), options })
    }
}

impl Tuner for Imitation {
    fn name(&self) -> String {
        let names: Vec<&str> = self.teachers.iter().map(|teacher| teacher.provenance().name.as_str()).collect();
        format!("distillation of {}: {}", names.join(" and "), self.options.shown().join(", "))
    }

    fn tune(
        &self,
        model: &Model,
        data: &Dataset,
        options: &FitOptions,
        progress: &dyn Progress,
    ) -> Result<Option<Run>, TuneError> {
        match Distiller::of_several(&self.teachers, model, self.options.clone())?.fit(data, options, progress) {
            Err(DistillError::Labels(EvalError::Stopped { .. })) => Ok(None),
            run => Ok(Some(run?)),
        }
    }
}
