//! Features themselves (Romero et al. 2015, FitNets, <https://arxiv.org/abs/1412.6550>).

use super::super::{
    by_level::sum_over_adapted,
    features::{FeaturePair, Taps},
    pair::Pair,
    recipe::{Features, Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Features themselves.
    pub(in super::super) struct Hint {
        /// What is compared.
        pub features: Features = Features::default();
    }
}

impl Recipe for Hint {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        sum_over_adapted(pair, "hint", (&self.features, levels), weight, |[found, wanted], _, _, _| {
            Ok(((found - wanted)?.sqr()?.mean_all()? * 0.5)?)
        })
    }
}
