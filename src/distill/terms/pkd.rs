//! Features by their pattern alone: both are normalised first (Cao et al. 2022, PKD,
//! <https://arxiv.org/abs/2207.02039>).

use super::super::{
    by_level::sum_over_adapted,
    features::{FeaturePair, Taps},
    normalise::standardise,
    pair::Pair,
    recipe::{Features, Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Normalised features.
    pub(in super::super) struct Pkd {
        /// What is compared.
        pub features: Features = Features::default();
    }
}

impl Recipe for Pkd {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        sum_over_adapted(pair, "pkd", (&self.features, levels), weight, |[found, wanted], _, _, _| {
            let apart = (standardise(&found)? - standardise(&wanted)?)?;
            Ok((apart.sqr()?.mean_all()? * 0.5)?)
        })
    }
}
