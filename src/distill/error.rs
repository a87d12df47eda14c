//! What can go wrong in distillation.

use thiserror::Error;

use crate::{
    eval::EvalError,
    exec::ExecError,
    graph::GraphError,
    model::ModelError,
    options::OptionError,
    train::{TrainError, loss::LossError},
};

/// What can go wrong in distillation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DistillError {
    /// Teacher and student have no class in common.
    #[error(
        "the teacher detects {teacher:?}, the student {student:?}: no class of the same name, so nothing to be taught"
    )]
    Classes {
        /// The teacher's.
        teacher: Vec<String>,
        /// The student's.
        student: Vec<String>,
    },
    /// Teacher and student encode boxes in other ways.
    #[error(
        "the teacher's head is {teacher}, the student's {student}; `{term}` can't compare them: give it the weight 0, and use \
         terms that compare features, or `box_iou`"
    )]
    Heads {
        /// The term.
        term: &'static str,
        /// The teacher's.
        teacher: String,
        /// The student's.
        student: String,
    },
    /// No teacher where one is needed.
    #[error("a distiller needs a teacher, or an array of at least one")]
    NoTeacher,
    /// Teachers whose outputs cannot be averaged.
    #[error(
        "teachers whose outputs are averaged need heads that differ in their classes at most: the first's is {first}, that of \
         teacher {place} is {other}; take teachers of one family, or one at a time"
    )]
    Ensemble {
        /// The first's head.
        first: String,
        /// The other's place among the teachers, from 1.
        place: usize,
        /// The other's head.
        other: String,
    },
    /// A term that can ask one teacher only.
    #[error(
        "`{term}` goes through the head of one teacher, and there are {teachers}: give it the weight 0, or one teacher"
    )]
    OneTeacher {
        /// The term.
        term: &'static str,
        /// How many there are.
        teachers: usize,
    },
    /// A term that cannot follow a teacher that changes.
    #[error(
        "`{term}` goes through the head of a teacher that stays as it is, and the student's own average does not: give it the \
         weight 0, or a teacher"
    )]
    Moving {
        /// The term.
        term: &'static str,
    },
    /// A training without the average that is to teach.
    #[error("the student's own average is to teach it, and `ema: false` keeps none: leave that out, or give a teacher")]
    NoAverage,
    /// Outputs kept of images that change.
    #[error(
        "`cache` keeps what the teacher gives for an image, and augmentation makes another image of it in each epoch: train \
         with `augment: false`, or leave `cache` out"
    )]
    CacheAugmented,
    /// Outputs kept of a teacher that changes.
    #[error(
        "`cache` keeps what a teacher gives, and the student's own average gives something else after each step: leave one out"
    )]
    CacheMoving,
    /// Teacher and student are on different devices.
    #[error("the teacher is on {teacher}, the student on {student}; move one to the other's device")]
    Devices {
        /// The teacher's.
        teacher: String,
        /// The student's.
        student: String,
    },
    /// Necks or backbones give another number of features.
    #[error(
        "the teacher's {what} gives {teacher} features, the student's {student}; name those to compare: `taps`, a map of the \
         teacher's layers to the student's"
    )]
    Necks {
        /// Neck or backbone.
        what: &'static str,
        /// The teacher's.
        teacher: usize,
        /// The student's.
        student: usize,
    },
    /// No features at all.
    #[error("taps {taps} gives no features to compare in these networks; name layers")]
    NoTaps {
        /// What was asked for.
        taps: String,
    },
    /// A pattern that cannot be read.
    #[error("the pattern `{pattern}` can't be read: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A name that no layer or module has.
    #[error("the {of} has no layer or module `{name}`{hint}")]
    NoSuchLayer {
        /// Teacher or student.
        of: &'static str,
        /// As given.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// Features of different sizes.
    #[error(
        "`{teacher}` of the teacher has a place for every {} pixels, `{student}` of the student for every {}; of the \
         student's modules {fitting}", strides[0], strides[1]
    )]
    Sizes {
        /// The teacher's layer.
        teacher: String,
        /// The student's layer.
        student: String,
        /// Pixels a place, of both.
        strides: [usize; 2],
        /// What would fit.
        fitting: String,
    },
    /// Features of places for which the teacher has no scores.
    #[error(
        "`score_l2` weighs places by the teacher's scores, which it has for every {strides:?} pixels; `{layer}` has a place \
         for every {stride}"
    )]
    NoScores {
        /// The student's layer.
        layer: String,
        /// Pixels a place.
        stride: usize,
        /// Those of the teacher's levels.
        strides: Vec<usize>,
    },
    /// A loss that cannot be computed.
    #[error("the loss `{text}`: {reason}")]
    Expression {
        /// The operation.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A student of which it is not known which of the teacher's channels it kept.
    #[error(
        "`adapter: \"kept\"` compares the channels that a student pruned from its teacher has kept; of `{layer}` they are not \
         known: {reason}"
    )]
    NotPruned {
        /// The student's layer.
        layer: String,
        /// Why.
        reason: String,
    },
    /// Features that no single level of the head reads.
    #[error("`{layer}` of the teacher does not feed one level of its head alone, which `crosskd` needs")]
    NoLevel {
        /// The teacher's layer.
        layer: String,
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
    /// A part of the teacher that is no model.
    #[error("the teacher's head: {0}")]
    Head(#[from] ModelError),
    /// The teacher could not be run.
    #[error("the teacher: {0}")]
    Teacher(#[from] ExecError),
    /// The teacher could not label images, or was asked to stop.
    #[error("labels from the teacher: {0}")]
    Labels(#[from] EvalError),
    /// No labels at all.
    #[error(
        "the teacher is sure of nothing by more than {conf} in the {images} images that it is to label, and there are no \
         other boxes: lower `label_conf`, or see by its evaluation whether it is a teacher for these images"
    )]
    NoLabels {
        /// How many images it looked at.
        images: usize,
        /// The confidence asked for.
        conf: f32,
    },
    /// A term that looks at labelled boxes, of which there are none.
    #[error(
        "`{term}` compares what is in labelled boxes, and train of {data} has none: give `{term}` the weight 0 or other options, \
         or take the teacher's boxes as labels with `labels: \"teacher\"`"
    )]
    NoBoxes {
        /// The term.
        term: &'static str,
        /// The dataset's name.
        data: String,
    },
    /// A teacher that is asked for nothing.
    #[error(
        "no term has a weight above 0, so nothing is asked of the teacher: give one of {known} a weight, take the teacher's \
         boxes with `labels`, or train with `fit` of the model itself"
    )]
    NoTerms {
        /// The names of all terms.
        known: String,
    },
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
