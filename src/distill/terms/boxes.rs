//! Boxes as the head encodes them: anchors' offsets as probabilities, sides as distributions (Zheng et al. 2022,
//! localization distillation, <https://arxiv.org/abs/2102.12252>) or as distances.

use super::super::{
    comparison::{Compared, Where},
    features::FeaturePair,
    outputs::Outputs,
    pair::Pair,
    recipe::{Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Boxes as the head encodes them.
    pub(in super::super) struct Boxes {
        /// Softens the distributions.
        pub temperature: f32 = 1.0, 0.1..=100.0;
        /// Places that count.
        pub r#where: Where = Where::Confident;
    }
}

impl Recipe for Boxes {
    fn needs_boxes(&self) -> bool {
        self.r#where == Where::Positives
    }

    fn make(&self, pair: &Pair<'_>, _: &[FeaturePair], weight: f32) -> Outcome {
        let compared = Compared::Boxes { weight, temperature: self.temperature };
        Outputs::make(pair, "boxes", compared, self.r#where)
    }
}
