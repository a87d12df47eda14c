//! Features where the teacher scores high (score-weighted feature distillation, as Ultralytics trains its YOLO26).

use super::super::{
    by_level::sum_over_adapted,
    confidence::best_scores,
    error::DistillError,
    features::{FeaturePair, Taps},
    pair::Pair,
    recipe::{Features, Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Features where the teacher scores high.
    pub(in super::super) struct ScoreL2 {
        /// What is compared.
        pub features: Features = Features::default();
    }
}

impl Recipe for ScoreL2 {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let detector = pair.detector.clone();
        // The scores are there at the strides of the head alone.
        let level = |features: &FeaturePair| {
            let place = detector.strides.iter().position(|stride| *stride == features.stride);
            place.ok_or_else(|| DistillError::NoScores {
                layer: pair.student.graph().node(features.student).name.clone(),
                stride: features.stride,
                strides: detector.strides.clone(),
            })
        };
        let at = levels.iter().map(level).collect::<Result<Vec<_>, _>>()?;
        sum_over_adapted(
            pair,
            "score_l2",
            (&self.features, levels),
            weight,
            move |[found, wanted], level, _, teacher| {
                // Of several anchors the surest.
                let scores = best_scores(&detector, &teacher.outputs)?[at[level]].max_keepdim(1)?;
                let channels = found.dim(1)? as f64;
                let apart = (found - wanted)?.sqr()?.sum_keepdim(1)?.mul(&scores)?.sum_all()?;
                Ok(apart.div(&((scores.sum_all()? + 1e-6)? * channels)?)?)
            },
        )
    }
}
