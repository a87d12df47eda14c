//! Features by their pattern alone: both are normalised first (Cao et al. 2022, PKD,
//! <https://arxiv.org/abs/2207.02039>).

use std::sync::Arc;

use super::super::{
    by_level::sum_over_adapted,
    error::DistillError,
    features::{FeaturePair, Taps},
    normalise::standardise,
    pair::Pair,
    recipe::{Features, Recipe},
};
use crate::{options::options, train::Term};

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

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Result<Arc<dyn Term>, DistillError> {
        sum_over_adapted(pair, "pkd", (&self.features, levels), weight, |[found, wanted], _, _, _| {
            let apart = (standardise(&found)? - standardise(&wanted)?)?;
            Ok((apart.sqr()?.mean_all()? * 0.5)?)
        })
    }
}
