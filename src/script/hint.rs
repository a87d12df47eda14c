//! What to do about errors of the library, in words of the language: the library itself knows nothing of scripts.

use std::error::Error;

use super::fault::{Fault, REPORT};
use crate::distill::DistillError;
use crate::eval::EvalError;
use crate::train::TrainError;

/// Help for an error, where the language has a word for it.
pub fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if error.is::<Fault>() {
        return Some(REPORT);
    }
    let distillation = error.downcast_ref::<DistillError>().and_then(|error| match error {
        DistillError::Devices { .. } => Some("`student.to(teacher.device)` moves the student"),
        DistillError::Necks { .. } => Some("`#{ cwd: 0, at: 0 }` leaves features out"),
        DistillError::Classes { .. } => Some("`student.with_classes(teacher.classes)` gives the student these classes"),
        _ => None,
    });
    let training = error.downcast_ref::<TrainError>().and_then(|error| match error {
        TrainError::Classes { .. } => Some("`model.with_classes(data)` gives the model the dataset's classes"),
        _ => None,
    });
    let evaluation = error.downcast_ref::<EvalError>().and_then(|error| match error {
        EvalError::Classes { .. } => {
            Some("`model.with_classes(data)` gives the model the dataset's classes, to be trained")
        }
        _ => None,
    });
    distillation.or(training).or(evaluation)
}
