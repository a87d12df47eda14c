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
    /// Of these teachers, which the model that is pruned must be able to imitate; of its own average where there are none.
    ///
    /// # Errors
    /// As [`Distiller::of_several`] and [`Distiller::of_own_average`].
    pub fn new(teachers: &[Model], pruned: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        Distiller::of(teachers, pruned, options.clone())?;
        Ok(Self { teachers: teachers.to_vec(), options })
    }
}

impl Tuner for Imitation {
    fn name(&self) -> String {
        let names = match self.teachers.as_slice() {
            [] => "its own average".to_owned(),
            teachers => teachers.iter().map(|teacher| &*teacher.provenance().name).collect::<Vec<_>>().join(" and "),
        };
        format!("distillation of {names}: {}", self.options.shown().join(", "))
    }

    fn tune(
        &self,
        model: &Model,
        data: &Dataset,
        options: &FitOptions,
        progress: &dyn Progress,
    ) -> Result<Option<Run>, TuneError> {
        match Distiller::of(&self.teachers, model, self.options.clone())?.fit(data, options, progress) {
            Err(DistillError::Labels(EvalError::Stopped { .. })) => Ok(None),
            run => Ok(Some(run?)),
        }
    }
}
