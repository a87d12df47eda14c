//! Training detectors: losses, optimisers, schedules, checkpoints and the fit loop.
//!
//! [`fit`] trains with the detection loss; [`fit_with`] towards any [`Objective`], which is how distillation trains.
//! Both give a [`Run`]. [`with_classes`] prepares a detector for other classes.

pub mod loss;

mod bench;
mod checkpoint;
mod classes;
mod error;
mod fit;
mod folder;
mod objective;
mod optimizer;
mod options;
mod parameters;
mod resume;
mod run;
mod schedule;
mod trainer;
mod validate;

pub use bench::{BOXES, bench};
pub use classes::with_classes;
pub use error::TrainError;
pub use fit::{fit, fit_with};
pub use objective::{Detection, Judgement, Objective, ObjectiveError, Step};
pub use optimizer::{OptimizerKind, Rates};
pub use options::FitOptions;
pub use resume::effective_options;
pub use run::{Epoch, Run, Validation};
pub use schedule::Schedule;
pub use trainer::{StepReport, Trainer};

#[cfg(test)]
mod tests;
