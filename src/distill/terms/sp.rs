//! Which images of a batch are alike (Tung and Mori 2019, similarity-preserving distillation,
//! <https://arxiv.org/abs/1907.09682>).

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
    /// Similarities between the images of a batch.
    pub(in super::super) struct Similarity {
        /// What is compared.
        pub features: Places = Places::default();
    }
}

impl Recipe for Similarity {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        Ok(sum_over_features(pair, "sp", levels, weight, |[found, wanted]| {
            let apart = (similarities(found)? - similarities(wanted)?)?;
            // The mean over b² pairs.
            Ok(apart.sqr()?.mean_all()?)
        }))
    }
}

/// Products of every two images' features (n, c, h, w), each image's row of them of length 1.
fn similarities(features: &Tensor) -> Result<Tensor> {
    let rows = features.flatten_from(1)?;
    unit_rows(&rows.matmul(&rows.t()?)?)
}
