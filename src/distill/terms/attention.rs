//! Attention transfer (Zagoruyko and Komodakis 2017, <https://arxiv.org/abs/1612.03928>).

use candle_core::{Result, Tensor};

use super::super::{
    by_level::sum_over_features,
    features::{FeaturePair, Taps},
    normalise::unit_rows,
    pair::Pair,
    recipe::{Outcome, Places, Recipe},
};
use crate::options::options;

options! {
    /// Maps of attention.
    pub(in super::super) struct Attention {
        /// What is compared.
        pub features: Places = Places::default();
    }
}

/// Compares where teacher and student have large features, level by level: the squared distance of their maps of
/// attention. Widths may differ, so there are no adapters.
impl Recipe for Attention {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        Ok(sum_over_features(pair, "at", levels, weight, |[found, wanted]| {
            let apart = (attention(found)? - attention(wanted)?)?;
            Ok(apart.sqr()?.sum(1)?.mean(0)?)
        }))
    }
}

/// The mean square over the channels of features (n, c, h, w), as vectors (n, h·w) of length 1.
fn attention(features: &Tensor) -> Result<Tensor> {
    unit_rows(&features.sqr()?.mean(1)?.flatten_from(1)?)
}
