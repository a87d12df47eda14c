//! What can go wrong in distillation.

use thiserror::Error;

use crate::{
    exec::ExecError,
    graph::GraphError,
    options::OptionError,
    train::{TrainError, loss::LossError},
};

/// What can go wrong in distillation.
#[derive(Debug, Error)]
#[non_exhaustive]
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
    #[error("the teacher is on {teacher}, the student on {student}; move one to the other's device")]
    Devices {
        /// The teacher's.
        teacher: String,
        /// The student's.
        student: String,
    },
    /// The heads read another number of features.
    #[error(
        "the teacher's head reads {teacher} features, the student's {student}, so features can't be compared; use terms \
         that compare outputs only"
    )]
    Necks {
        /// The teacher's.
        teacher: usize,
        /// The student's.
        student: usize,
    },
    /// A weight for a term that there is not.
    #[error("there is no term `{name}`; the terms are {known}")]
    NoSuchTerm {
        /// The name given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// An option out of its range.
    #[error("{0}")]
    Option(#[from] OptionError),
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
    Train(Box<TrainError>),
}

impl From<TrainError> for DistillError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}
