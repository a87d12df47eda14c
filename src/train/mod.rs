//! Training detectors: losses, optimisers, schedules, checkpoints and the fit loop.
//!
//! [`fit`] trains with the detection loss; [`fit_with`] towards any [`Objective`], a sum of [`Term`]s, which is how
//! distillation trains. Both give a [`Run`]. [`with_classes`] prepares a detector for other classes.

pub mod loss;

mod autograd;
mod bench;
mod checkpoint;
mod classes;
mod detection;
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
mod term;
mod trainer;
mod validate;

pub use autograd::{Autograd, Leaves};
pub use bench::{BOXES, bench};
pub use classes::with_classes;
pub use detection::Detection;
pub use error::TrainError;
pub use fit::{fit, fit_with};
pub use objective::{Objective, ObjectiveValue};
pub use optimizer::{OptimizerKind, Rates};
pub use options::FitOptions;
pub use resume::effective_options;
pub use run::{Epoch, Run, Validation};
pub use schedule::Schedule;
pub use term::{Gradients, Term, TermError, TermInput};
pub use trainer::{StepReport, Trainer};

#[cfg(test)]
mod tests;
