//! Distillation between the steps of gradual pruning.

use super::{distiller::Distiller, error::DistillError, options::DistillOptions};
use crate::{
    data::Dataset,
    model::Model,
    progress::Progress,
    prune::{TuneError, Tuner},
    train::{FitOptions, Run},
};

/// Trains the models of gradual pruning to imitate a teacher, for one the model that is pruned.
#[derive(Clone, Debug)]
pub struct Imitation {
    teacher: Model,
    options: DistillOptions,
}

impl Imitation {
    /// Of this teacher, which the model that is pruned must be able to imitate.
    ///
    /// # Errors
    /// As [`Distiller::new`].
    pub fn new(teacher: &Model, pruned: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        Distiller::new(teacher, pruned, options.clone())?;
        Ok(Self { teacher: teacher.clone(), options })
    }
}

impl Tuner for Imitation {
    fn name(&self) -> String {
        format!("distillation of {}: {}", self.teacher.provenance().name, self.options.shown().join(", "))
    }

    fn tune(
        &self,
        model: &Model,
        data: &Dataset,
        options: &FitOptions,
        progress: &dyn Progress,
    ) -> Result<Run, TuneError> {
        Ok(Distiller::new(&self.teacher, model, self.options.clone())?.fit(data, options, progress)?)
    }
}
