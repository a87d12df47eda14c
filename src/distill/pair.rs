//! A teacher and a student that can be compared.

use std::sync::Arc;

use super::{
    average::OwnAverage,
    cache::Cache,
    classes::match_classes,
    ensemble::{Ensemble, described},
    error::DistillError,
    options::DistillOptions,
};
use crate::{
    exec::{ExecError, Inference},
    graph::NodeId,
    model::{Detector, Model, digest},
    train::{Teacher, loss::Gains},
};

/// What terms are made from.
pub(super) struct Pair<'a> {
    /// The teacher, or several as one, ready to run; it keeps its side of all features that are compared.
    pub teacher: Arc<dyn Teacher>,
    /// The same where it is the student's own average, which has to be told of each step.
    pub average: Option<Arc<OwnAverage>>,
    /// The same where its outputs are kept in a folder.
    pub cache: Option<Arc<Cache>>,
    /// What the teacher's outputs are.
    pub detector: Detector,
    /// The models that are imitated; none where it is the student's own average.
    pub teachers: &'a [Model],
    /// The first of them, whose features are compared, or the student.
    pub original: &'a Model,
    /// The model that is trained.
    pub student: &'a Model,
    /// For each of the student's classes, that of the teacher's of the same name.
    pub classes: Vec<Option<usize>>,
    /// Weights of the student's detection loss.
    pub gains: &'a Gains,
    pub options: &'a DistillOptions,
    /// Digests of the teachers' tensors; nothing for the student's own average.
    pub digest: String,
}

impl<'a> Pair<'a> {
    /// Makes a teacher ready that keeps the values of `taps`.
    ///
    /// # Errors
    /// Where a teacher's tensors cannot be read, there is no teacher, or several do not go together.
    pub fn new(
        teachers: &'a [Model],
        student: &'a Model,
        options: &'a DistillOptions,
        gains: &'a Gains,
        taps: &[NodeId],
    ) -> Result<Self, DistillError> {
        let original = teachers.first().unwrap_or(student);
        let digests = teachers.iter().map(|teacher| digest(teacher.tensors())).collect::<candle_core::Result<Vec<_>>>();
        let digest = digests.map_err(ExecError::from)?.join(", ");
        let average = teachers.is_empty().then(|| Arc::new(OwnAverage::new(student, taps)));
        let (teacher, detector): (Arc<dyn Teacher>, _) = match (&average, teachers) {
            (Some(average), _) => (Arc::clone(average) as _, student.detector().clone()),
            (None, [one]) => (Arc::new(Inference::new(one, taps)?), one.detector().clone()),
            (None, several) => {
                let ensemble = Ensemble::new(several, taps)?;
                let detector = ensemble.detector().clone();
                (Arc::new(ensemble), detector)
            }
        };
        let classes = match_classes(&detector, student.detector());
        let cache = options.cache.as_deref().map(|folder| {
            let key = format!("{digest} {taps:?}");
            Arc::new(Cache::new(Arc::clone(&teacher), key, folder, options.cache_gib.unwrap_or(8.0)))
        });
        let teacher = cache.clone().map_or(teacher, |cache| cache);
        Ok(Self { teacher, average, cache, detector, teachers, original, student, classes, gains, options, digest })
    }

    /// For each of the student's outputs, which of the teacher's is of the same level and kind, where both heads encode boxes
    /// and scores alike.
    ///
    /// # Errors
    /// Where they do not; `term` can't compare them.
    pub fn same_outputs(&self, term: &'static str) -> Result<Vec<usize>, DistillError> {
        let (teacher, student) = (&self.detector, self.student.detector());
        if teacher.head != student.head || teacher.strides != student.strides {
            return Err(self.heads(term));
        }
        let same = |output| teacher.outputs.iter().position(|other| other == output);
        student.outputs.iter().map(same).collect::<Option<_>>().ok_or_else(|| self.heads(term))
    }

    /// The error that a term can't compare the two heads.
    pub fn heads(&self, term: &'static str) -> DistillError {
        DistillError::Heads { term, teacher: described(&self.detector), student: described(self.student.detector()) }
    }
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
