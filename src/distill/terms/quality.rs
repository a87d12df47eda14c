//! Scores by a cross-entropy that counts by how far they are apart (Yang et al. 2023,
//! <https://arxiv.org/abs/2308.14286>): made for scores that are sigmoids.

use super::super::{
    comparison::{Compared, Divergence, Where},
    features::FeaturePair,
    outputs::Outputs,
    pair::Pair,
    recipe::{Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Objectness and class scores, the more the further they are apart.
    pub(in super::super) struct Quality {
        /// Power of the distance by which a place counts.
        pub beta: f32 = 1.0, 0.0..=4.0;
        /// Places that count.
        pub r#where: Where = Where::Everywhere;
    }
}

impl Recipe for Quality {
    fn needs_boxes(&self) -> bool {
        self.r#where == Where::Positives
    }

    fn make(&self, pair: &Pair<'_>, _: &[FeaturePair], weight: f32) -> Outcome {
        let by = Divergence::Quality { beta: self.beta };
        Outputs::make(pair, "quality", Compared::scores(pair.gains, weight, by), self.r#where)
    }
}
