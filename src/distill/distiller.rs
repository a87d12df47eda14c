//! A teacher and a student, and the student's training.

use std::sync::Arc;

use super::{
    error::DistillError,
    options::DistillOptions,
    pair::{Pair, check},
    terms::{self, Compares, TERMS},
};
use crate::{
    data::Dataset,
    eval::{BenchOptions, BenchReport},
    exec::ComputeDtype,
    model::Model,
    progress::Progress,
    train::{DetectionTerm, FitOptions, Objective, Run, Term, bench, effective_options, fit_with, loss::Gains},
};

/// What a distillation step minimises: the detection loss with these weights, and every term of [`TERMS`] whose weight
/// is above 0. The teacher is run once a batch for all of them.
///
/// # Errors
/// Where the two do not detect the same things in the same way, or an option is out of its range.
pub fn objective(
    teacher: &Model,
    student: &Model,
    options: &DistillOptions,
    gains: &Gains,
) -> Result<Objective, DistillError> {
    validate(teacher, student, options)?;
    let wanted = || TERMS.iter().filter(|term| options.weights.of(term.name) > 0.0);
    let features = wanted().any(|term| term.compares == Compares::Features);
    let pair = Pair::new(teacher, student, options, gains, features)?;
    let mut terms: Vec<Arc<dyn Term>> = vec![Arc::new(DetectionTerm::new(student.detector(), gains)?)];
    for term in wanted() {
        terms.push((term.make)(&pair, options.weights.of(term.name))?);
    }
    Ok(Objective::new(terms))
}

fn validate(teacher: &Model, student: &Model, options: &DistillOptions) -> Result<(), DistillError> {
    terms::validate(options)?;
    check(teacher, student)
}

/// A teacher and a student.
#[derive(Clone, Debug)]
pub struct Distiller {
    teacher: Model,
    student: Model,
    options: DistillOptions,
}

impl Distiller {
    /// Pairs a teacher with a student.
    ///
    /// # Errors
    /// Where the two do not detect the same things in the same way, or an option is out of its range.
    pub fn new(teacher: &Model, student: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        validate(teacher, student, &options)?;
        Ok(Self { teacher: teacher.clone(), student: student.clone(), options })
    }

    /// The model that is imitated.
    pub fn teacher(&self) -> &Model {
        &self.teacher
    }

    /// The model that is trained.
    pub fn student(&self) -> &Model {
        &self.student
    }

    /// Weights and temperatures.
    pub fn options(&self) -> &DistillOptions {
        &self.options
    }

    /// Trains the student; everything but the objective is as in [`crate::train::fit`].
    ///
    /// # Errors
    /// As [`crate::train::fit`].
    pub fn fit(&self, data: &Dataset, options: &FitOptions, progress: &dyn Progress) -> Result<Run, DistillError> {
        let options = effective_options(options)?;
        let objective = self.objective(&options.gains, options.size)?;
        Ok(fit_with(&self.student, data, &options, &objective, &mut [], progress)?)
    }

    /// Times steps of the training, as [`crate::train::bench`].
    ///
    /// # Errors
    /// As [`crate::train::bench`].
    pub fn bench(
        &self,
        precision: ComputeDtype,
        options: &BenchOptions,
        progress: &dyn Progress,
    ) -> Result<BenchReport, DistillError> {
        let objective = self.objective(&Gains::default(), options.size)?;
        Ok(bench(&self.student, &objective, precision, options, progress)?)
    }

    fn objective(&self, gains: &Gains, size: usize) -> Result<Objective, DistillError> {
        let gains = gains.for_training(self.student.detector(), size);
        objective(&self.teacher, &self.student, &self.options, &gains)
    }
}
