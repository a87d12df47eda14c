//! How far the images of a batch are apart, and the angles between them (Park et al. 2019, relational knowledge
//! distillation, <https://arxiv.org/abs/1904.05068>).

use candle_core::{Result, Tensor};

use super::super::{
    by_level::sum_over_features,
    features::{FeaturePair, Taps},
    pair::Pair,
    recipe::{Outcome, Places, Recipe},
};
use crate::options::options;

options! {
    /// Distances and angles between the images of a batch.
    pub(in super::super) struct Relations {
        /// What is compared: the means of its channels over the places.
        pub features: Places = Places::default();
        /// How much angles count against distances.
        pub angles: f64 = 2.0, 0.0..=1000.0;
    }
}

impl Recipe for Relations {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let share = self.angles;
        Ok(sum_over_features(pair, "rkd", levels, weight, move |both| {
            let [found, wanted] = both.map(|features| features.mean((2, 3)));
            let (found, wanted) = (differences(&found?)?, differences(&wanted?)?);
            let distances = smooth_l1(&(relative(&found)? - relative(&wanted)?)?)?.mean_all()?;
            let angles = smooth_l1(&(angles(&found)? - angles(&wanted)?)?)?.mean_all()?;
            Ok((distances + (angles * share)?)?)
        }))
    }
}

/// Keeps roots of zero, which lie on the diagonals, from endless slopes.
const EPS: f64 = 1e-12;

/// From every image's vector to every other's: (n, n, d) of vectors (n, d).
fn differences(vectors: &Tensor) -> Result<Tensor> {
    vectors.unsqueeze(0)?.broadcast_sub(&vectors.unsqueeze(1)?)
}

/// Lengths (n, n), in units of the mean of those between different images.
fn relative(differences: &Tensor) -> Result<Tensor> {
    let lengths = (differences.sqr()?.sum(2)? + EPS)?.sqrt()?;
    let count = lengths.dim(0)?;
    let pairs = (count * count.saturating_sub(1)).max(1) as f64;
    lengths.broadcast_div(&((lengths.sum_all()? / pairs)? + EPS)?)
}

/// The cosine of the angle at image i between the ways to j and k: (n, n, n).
fn angles(differences: &Tensor) -> Result<Tensor> {
    let units = differences.broadcast_div(&(differences.sqr()?.sum_keepdim(2)? + EPS)?.sqrt()?)?;
    units.matmul(&units.transpose(1, 2)?.contiguous()?)
}

/// x²/2 near 0, |x| − 1/2 beyond 1.
fn smooth_l1(apart: &Tensor) -> Result<Tensor> {
    let size = apart.abs()?;
    let near = size.minimum(&size.ones_like()?)?;
    (near.sqr()? * 0.5)? + (size - near)?
}
