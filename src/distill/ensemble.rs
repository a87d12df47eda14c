//! Several teachers as one: the means of what they say.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::log_softmax;

use super::{classes::match_classes, error::DistillError};
use crate::{
    exec::{Inference, Values},
    graph::NodeId,
    model::{Detector, Head, Model, Output, OutputKind},
    train::{Teacher, TermError},
};

/// Several teachers with heads of one kind. Probabilities (objectness, class scores, an anchor's offsets) and
/// distributions over bins are averaged, then written as the head would have; features are those of the first.
pub(super) struct Ensemble {
    members: Vec<Member>,
    /// What it gives: the first teacher's outputs, for the classes of all.
    detector: Detector,
    /// How many classes the first teacher has.
    of_first: usize,
}

struct Member {
    inference: Inference,
    /// For each output of the ensemble, the teacher's own.
    outputs: Vec<usize>,
    /// For each class of the ensemble, the teacher's own of the same name.
    classes: Vec<Option<usize>>,
}

impl Ensemble {
    /// Of these teachers; the first keeps the values of `taps`.
    ///
    /// # Errors
    /// Where their heads differ in more than their classes, or tensors cannot be read.
    pub fn new(teachers: &[Model], taps: &[NodeId]) -> std::result::Result<Self, DistillError> {
        let mut detector = teachers.first().ok_or(DistillError::NoTeacher)?.detector().clone();
        for class in teachers.iter().flat_map(|teacher| &teacher.detector().classes) {
            if !detector.classes.contains(class) {
                detector.classes.push(class.clone());
            }
        }
        let member = |(index, teacher): (usize, &Model)| {
            let own = teacher.detector();
            let foreign =
                || DistillError::Ensemble { first: described(&detector), place: index + 1, other: described(own) };
            if own.head != detector.head || own.strides != detector.strides {
                return Err(foreign());
            }
            let same = |output: &Output| own.outputs.iter().position(|other| other == output);
            let outputs = detector.outputs.iter().map(same).collect::<Option<_>>().ok_or_else(foreign)?;
            let classes = match_classes(own, &detector);
            Ok(Member { inference: Inference::new(teacher, if index == 0 { taps } else { &[] })?, outputs, classes })
        };
        let members = teachers.iter().enumerate().map(member).collect::<std::result::Result<_, DistillError>>()?;
        Ok(Self { members, detector, of_first: teachers[0].detector().classes.len() })
    }

    /// What its outputs are.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Scores (n, a, classes, h, w) of all its classes, each the mean over those who know it.
    fn classes(&self, maps: &[Tensor]) -> Result<Tensor> {
        let alike = |member: &Member| member.classes.iter().enumerate().all(|(class, own)| *own == Some(class));
        if self.members.iter().all(alike) {
            return mean_logit(maps);
        }
        let class = |class: usize| {
            let known = self.members.iter().zip(maps).filter_map(|(member, map)| Some((member.classes[class]?, map)));
            mean_logit(&known.map(|(own, map)| map.narrow(2, own, 1)).collect::<Result<Vec<_>>>()?)
        };
        Tensor::cat(&(0..self.detector.classes.len()).map(class).collect::<Result<Vec<_>>>()?, 2)
    }

    /// The mean of all members' maps for one output.
    fn mean(&self, kind: OutputKind, maps: &[Tensor]) -> Result<Tensor> {
        let (n, _, h, w) = maps[0].dims4()?;
        let parted =
            |parts: usize| maps.iter().map(|map| map.reshape((n, parts, (), h, w))).collect::<Result<Vec<_>>>();
        let mean = match kind {
            OutputKind::Anchors => {
                let anchors = maps[0].dim(1)? / (5 + self.of_first);
                let maps = parted(anchors)?;
                let part = |from: usize, count: Option<usize>| {
                    let narrow = |map: &Tensor| map.narrow(2, from, count.unwrap_or(map.dim(2)? - from));
                    maps.iter().map(narrow).collect::<Result<Vec<_>>>()
                };
                Tensor::cat(&[mean_logit(&part(0, Some(5))?)?, self.classes(&part(5, None)?)?], 2)?
            }
            OutputKind::Classes => self.classes(&parted(1)?)?,
            OutputKind::Boxes => mean_distribution(&parted(4)?)?,
        };
        mean.reshape((n, (), h, w))?.contiguous()
    }
}

impl Teacher for Ensemble {
    fn values(&self, images: &Tensor) -> std::result::Result<Values, TermError> {
        let run = |member: &Member| member.inference.run(images);
        let mut all = self.members.iter().map(run).collect::<std::result::Result<Vec<_>, _>>()?;
        let mean = |(index, output): (usize, &Output)| {
            let maps =
                self.members.iter().zip(&all).map(|(member, values)| values.outputs[member.outputs[index]].clone());
            self.mean(output.kind, &maps.collect::<Vec<_>>())
        };
        let outputs = self.detector.outputs.iter().enumerate().map(mean).collect::<Result<_>>()?;
        Ok(Values { outputs, taps: std::mem::take(&mut all[0].taps) })
    }
}

/// The logit of the mean of probabilities, from their logits. Both tails keep their digits.
fn mean_logit(logits: &[Tensor]) -> Result<Tensor> {
    let mean =
        |sign: f64| log_mean(&logits.iter().map(|logits| log_sigmoid(&(logits * sign)?)).collect::<Result<Vec<_>>>()?);
    mean(1.0)? - mean(-1.0)?
}

/// The logarithm of the sigmoid: min(x, 0) − log(1 + exp(−|x|)).
fn log_sigmoid(logits: &Tensor) -> Result<Tensor> {
    logits.minimum(0.0)? - (logits.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// The logarithm of the mean of distributions over bins (n, 4, bins, h, w), from their logits; of a single bin, which is
/// the distance itself, the mean.
fn mean_distribution(logits: &[Tensor]) -> Result<Tensor> {
    if logits[0].dim(2)? == 1 {
        let sum = logits.iter().skip(1).try_fold(logits[0].clone(), |sum, one| sum + one)?;
        return sum / logits.len() as f64;
    }
    let shares = |logits: &Tensor| log_softmax(&logits.transpose(2, D::Minus1)?.contiguous()?, D::Minus1);
    log_mean(&logits.iter().map(shares).collect::<Result<Vec<_>>>()?)?.transpose(2, D::Minus1)
}

/// The logarithm of the mean, from logarithms.
fn log_mean(logarithms: &[Tensor]) -> Result<Tensor> {
    let top = logarithms.iter().skip(1).try_fold(logarithms[0].clone(), |top, one| top.maximum(one))?;
    let shares = logarithms.iter().map(|one| (one - &top)?.exp()).collect::<Result<Vec<_>>>()?;
    let sum = shares.iter().skip(1).try_fold(shares[0].clone(), |sum, one| sum + one)?;
    top + (sum / logarithms.len() as f64)?.log()?
}

/// A head in words.
pub(super) fn described(detector: &Detector) -> String {
    let head = match &detector.head {
        Head::Anchors { anchors } => format!("one with anchors {anchors:?}"),
        Head::Distribution { reg_max } => format!("one with {reg_max} bins a side"),
    };
    format!("{head} and strides {:?}", detector.strides)
}

#[cfg(test)]
#[path = "ensemble_tests.rs"]
mod tests;
