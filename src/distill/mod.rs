//! Distillation: a student learns from the labels and from a teacher that looks at the same images.
//!
//! Outputs are compared softened by a temperature, boxes where the teacher sees an object, and the features that the
//! neck hands to the head channel by channel, through learned 1×1 adapters where the widths differ.

mod adapter;
mod divergence;
mod objective;
mod outputs;

pub use objective::Distillation;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    data::Dataset,
    eval::{BenchOptions, BenchReport},
    exec::{ComputeDtype, ExecError},
    graph::GraphError,
    model::Model,
    progress::Progress,
    train::{
        FitOptions, Run, TrainError, bench, effective_options, fit_with,
        loss::{Gains, LossError},
    },
};

/// Weights and temperatures of the terms beside the detection loss; a weight of 0 leaves a term out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistillOptions {
    /// Weight of objectness and class scores, times the detection loss's own weights of these.
    pub logits: f32,
    /// Weight of the boxes.
    pub boxes: f32,
    /// Weight of channel-wise distillation of the neck's features.
    pub cwd: f32,
    /// Softens objectness and class scores; at least a tenth.
    pub temperature: f32,
    /// Softens the features' distributions over places; at least a tenth.
    pub cwd_temperature: f32,
    /// Where the adapters start from.
    pub seed: u64,
}

impl Default for DistillOptions {
    fn default() -> Self {
        Self { logits: 0.3, boxes: 0.5, cwd: 0.03, temperature: 2.0, cwd_temperature: 4.0, seed: 0 }
    }
}

impl DistillOptions {
    fn validate(&self) -> Result<(), DistillError> {
        let weights = [("logits", self.logits), ("boxes", self.boxes), ("cwd", self.cwd)];
        for (name, value) in weights {
            if !(value.is_finite() && value >= 0.0) {
                return Err(DistillError::Option { name, value, expected: "a number of at least 0" });
            }
        }
        for (name, value) in [("temperature", self.temperature), ("cwd_temperature", self.cwd_temperature)] {
            if !(value.is_finite() && value >= 0.1) {
                return Err(DistillError::Option { name, value, expected: "a number of at least 0.1" });
            }
        }
        Ok(())
    }
}

/// What can go wrong in distillation.
#[derive(Debug, Error)]
pub enum DistillError {
    /// Teacher and student know other classes.
    #[error(
        "the teacher detects {teacher:?}, the student {student:?}; distillation needs the same classes in the same order"
    )]
    Classes {
        /// The teacher's.
        teacher: Vec<String>,
        /// The student's.
        student: Vec<String>,
    },
    /// Teacher and student encode boxes in other ways.
    #[error("the teacher's head is {teacher}, the student's {student}; their outputs can't be compared")]
    Heads {
        /// The teacher's.
        teacher: String,
        /// The student's.
        student: String,
    },
    /// Teacher and student are on different devices.
    #[error("the teacher is on {teacher}, the student on {student}; move one with `.to(device)`")]
    Devices {
        /// The teacher's.
        teacher: String,
        /// The student's.
        student: String,
    },
    /// The heads read another number of features.
    #[error("the teacher's head reads {teacher} features, the student's {student}; use `cwd: 0`")]
    Necks {
        /// The teacher's.
        teacher: usize,
        /// The student's.
        student: usize,
    },
    /// A weight or temperature that makes no sense.
    #[error("`{name}` is {value}; expected {expected}")]
    Option {
        /// The option.
        name: &'static str,
        /// What was given.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
    /// A graph that does not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The teacher could not be run.
    #[error("the teacher: {0}")]
    Teacher(#[from] ExecError),
    /// The detection loss.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The training.
    #[error(transparent)]
    Train(#[from] TrainError),
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
    /// Where the two do not detect the same things in the same way, or an option makes no sense.
    pub fn new(teacher: &Model, student: &Model, options: DistillOptions) -> Result<Self, DistillError> {
        options.validate()?;
        check_pair(teacher, student)?;
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
        Ok(fit_with(&self.student, data, &options, &objective, progress)?)
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

    fn objective(&self, gains: &Gains, size: usize) -> Result<Distillation, DistillError> {
        let gains = gains.for_training(self.student.detector(), size);
        Distillation::new(&self.teacher, &self.student, &self.options, &gains)
    }
}

fn check_pair(teacher: &Model, student: &Model) -> Result<(), DistillError> {
    if teacher.detector().classes != student.detector().classes {
        let (teacher, student) = (teacher.detector().classes.clone(), student.detector().classes.clone());
        return Err(DistillError::Classes { teacher, student });
    }
    if teacher.detector().head != student.detector().head || teacher.detector().strides != student.detector().strides {
        let describe =
            |model: &Model| format!("{:?} with strides {:?}", model.detector().head, model.detector().strides);
        return Err(DistillError::Heads { teacher: describe(teacher), student: describe(student) });
    }
    let (here, there) = (teacher.device(), student.device());
    if !here.same_device(&there) {
        return Err(DistillError::Devices { teacher: format!("{here:?}"), student: format!("{there:?}") });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
