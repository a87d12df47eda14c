//! Training detectors: losses, optimisers, schedules, checkpoints and the fit loop.
//!
//! [`fit`] trains with the detection loss; [`fit_with`] towards any [`Objective`], a sum of [`Term`]s, which is how
//! distillation trains, with [`Hook`]s that act between steps and epochs. Both give a [`Run`]. [`with_classes`] prepares a detector for other classes.

pub mod loss;

mod autograd;
mod bench;
mod cause;
mod checkpoint;
mod checkpoint_error;
mod classes;
mod detection;
mod error;
mod fit;
mod flat;
mod folder;
mod hook;
mod hooks;
mod layout;
mod objective;
mod optimizer;
mod options;
mod parameters;
mod resident;
mod resume;
mod run;
mod schedule;
mod shrink;
mod sparse;
mod sparsity;
mod state;
mod term;
mod times;
mod trainer;
mod validate;

pub use autograd::{Autograd, Leaves};
pub use bench::{BOXES, bench};
pub use checkpoint_error::CheckpointError;
pub use classes::with_classes;
pub use detection::DetectionTerm;
pub use error::TrainError;
pub use fit::{fit, fit_with};
pub use hook::{EpochContext, Flow, Hook, HookError, HookState, StepContext};
pub use objective::{Objective, ObjectiveValue};
pub use optimizer::{OptimizerKind, Rates};
pub use options::{FitOptions, Schedule};
pub use resume::effective_options;
pub use run::{Epoch, Run, Setting, Setup, Validation};
pub use sparsity::{RowSets, Sparsity};
pub use term::{LossGradients, Teacher, Term, TermError, TermInput};
pub use times::RunTimes;
pub use trainer::{StepReport, Trainer};

#[cfg(test)]
mod resident_tests;
#[cfg(test)]
mod tests;
