//! Overlap of the decoded boxes where the teacher is sure (the localisation part of Yang et al. 2023, BCKD,
//! <https://arxiv.org/abs/2308.14286>): between any two heads that have the same places.

use std::sync::Arc;

use super::super::{
    features::FeaturePair,
    pair::Pair,
    places::{boxes, overlap},
    recipe::{Outcome, Recipe},
};
use crate::{options::options, train::Autograd};

options! {
    /// Overlap of the decoded boxes.
    pub(in super::super) struct BoxIou {
        /// Power of the teacher's confidence by which a place counts.
        pub focus: f64 = 1.0, 0.0..=8.0;
    }
}

impl Recipe for BoxIou {
    fn make(&self, pair: &Pair<'_>, _: &[FeaturePair], weight: f32) -> Outcome {
        let (teacher, student) = (pair.detector.clone(), pair.student.detector().clone());
        if teacher.strides != student.strides {
            return Err(pair.heads("box_iou"));
        }
        let (inference, focus) = (Arc::clone(&pair.teacher), self.focus);
        Ok(Arc::new(Autograd::new("distill_box_iou", move |leaves| {
            let wanted = boxes(&teacher, &leaves.input().run(&inference)?.outputs)?;
            let outputs =
                (0..student.outputs.len()).map(|index| leaves.output(index)).collect::<Result<Vec<_>, _>>()?;
            let found = boxes(&student, &outputs)?;
            let (mut apart, mut counts) = (Vec::new(), Vec::new());
            for (wanted, found) in wanted.into_iter().zip(found) {
                // Where one has several boxes at a place and the other not as many, the surest of each is compared.
                let (wanted, found) = match wanted.anchors()? == found.anchors()? {
                    true => (wanted, found),
                    false => (wanted.only(&wanted.surest()?)?, found.only(&found.surest()?)?),
                };
                let count = wanted.confidence.powf(focus)?;
                apart.push(overlap(&wanted, &found)?.affine(-1.0, 1.0)?.mul(&count)?.sum_all()?);
                counts.push(count.sum_all()?);
            }
            let sum = |numbers: Vec<candle_core::Tensor>| candle_core::Tensor::stack(&numbers, 0)?.sum_all();
            Ok((sum(apart)?.div(&(sum(counts)? + 1e-6)?)? * f64::from(weight))?)
        })))
    }
}
