//! A teacher and a student that can be compared.

use std::sync::Arc;

use super::{error::DistillError, options::DistillOptions};
use crate::{
    exec::{ExecError, Inference},
    graph::NodeId,
    model::{Detector, Head, Model, digest},
    train::loss::Gains,
};

/// What terms are made from.
pub(super) struct Pair<'a> {
    /// The teacher, ready to run; it keeps its side of all features that are compared.
    pub teacher: Arc<Inference>,
    /// The model that is imitated.
    pub original: &'a Model,
    /// The model that is trained.
    pub student: &'a Model,
    /// For each of the student's classes, that of the teacher's of the same name.
    pub classes: Vec<Option<usize>>,
    /// Weights of the student's detection loss.
    pub gains: &'a Gains,
    pub options: &'a DistillOptions,
    /// Digest of the teacher's tensors.
    pub digest: String,
}

impl<'a> Pair<'a> {
    /// Makes a teacher ready that keeps the values of `taps`.
    ///
    /// # Errors
    /// Where the teacher's tensors cannot be read.
    pub fn new(
        teacher: &'a Model,
        student: &'a Model,
        options: &'a DistillOptions,
        gains: &'a Gains,
        taps: &[NodeId],
    ) -> Result<Self, DistillError> {
        let classes = match_classes(teacher.detector(), student.detector());
        let digest = digest(teacher.tensors()).map_err(ExecError::from)?;
        let original = teacher;
        let teacher = Arc::new(Inference::new(teacher, taps)?);
        Ok(Self { teacher, original, student, classes, gains, options, digest })
    }

    /// For each of the student's outputs, which of the teacher's is of the same level and kind, where both heads encode boxes
    /// and scores alike.
    ///
    /// # Errors
    /// Where they do not; `term` can't compare them.
    pub fn same_outputs(&self, term: &'static str) -> Result<Vec<usize>, DistillError> {
        let [teacher, student] = [self.original, self.student].map(Model::detector);
        if teacher.head != student.head || teacher.strides != student.strides {
            return Err(self.heads(term));
        }
        let same = |output| teacher.outputs.iter().position(|other| other == output);
        student.outputs.iter().map(same).collect::<Option<_>>().ok_or_else(|| self.heads(term))
    }

    /// The error that a term can't compare the two heads.
    pub fn heads(&self, term: &'static str) -> DistillError {
        let describe = |model: &Model| {
            let head = match &model.detector().head {
                Head::Anchors { anchors } => format!("one with anchors {anchors:?}"),
                Head::Distribution { reg_max } => format!("one with {reg_max} bins a side"),
            };
            format!("{head} and strides {:?}", model.detector().strides)
        };
        DistillError::Heads { term, teacher: describe(self.original), student: describe(self.student) }
    }
}

fn match_classes(teacher: &Detector, student: &Detector) -> Vec<Option<usize>> {
    let of_teacher = |class: &String| teacher.classes.iter().position(|other| other == class);
    student.classes.iter().map(of_teacher).collect()
}

/// Checks that two models have something in common to detect, and are on one device.
pub(super) fn check(teacher: &Model, student: &Model) -> Result<(), DistillError> {
    if match_classes(teacher.detector(), student.detector()).iter().all(Option::is_none) {
        let (teacher, student) = (teacher.detector().classes.clone(), student.detector().classes.clone());
        return Err(DistillError::Classes { teacher, student });
    }
    let (here, there) = (teacher.device(), student.device());
    if !here.same_device(&there) {
        return Err(DistillError::Devices { teacher: format!("{here:?}"), student: format!("{there:?}") });
    }
    Ok(())
}
