//! Objectness and class scores, softened (Hinton et al. 2015, <https://arxiv.org/abs/1503.02531>).

use super::super::{
    comparison::{Compared, Divergence, Where},
    features::FeaturePair,
    outputs::Outputs,
    pair::Pair,
    recipe::{Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Objectness and class scores, softened.
    pub(in super::super) struct Logits {
        /// Softens the scores; that of the distiller unless given.
        pub temperature: Option<f32> = None, 0.1..=100.0;
        /// Places that count.
        pub r#where: Where = Where::Everywhere;
    }
}

impl Recipe for Logits {
    fn needs_boxes(&self) -> bool {
        self.r#where == Where::Positives
    }

    fn make(&self, pair: &Pair<'_>, _: &[FeaturePair], weight: f32) -> Outcome {
        let by = Divergence::Softened { temperature: self.temperature.unwrap_or(pair.options.temperature) };
        Outputs::make(pair, "logits", Compared::scores(pair.gains, weight, by), self.r#where)
    }
}
