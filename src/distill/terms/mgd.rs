//! Masked features, from which a generator must make the teacher's (Yang et al. 2022, masked generative distillation,
//! <https://arxiv.org/abs/2205.01529>).

use candle_core::{Result, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{
    adapters::{Adapters, initial},
    by_level::sum_over,
    convolve::convolve,
    features::{FeaturePair, Taps},
    pair::Pair,
    recipe::{Features, Outcome, Recipe},
};
use crate::options::options;

options! {
    /// Masked features.
    pub(in super::super) struct Generated {
        /// What is compared.
        pub features: Features = Features::default();
        /// Share of the places that are masked.
        pub masked: f32 = 0.65, 0.0..=0.95;
    }
}

impl Recipe for Generated {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let (seed, share) = (pair.options.seed, self.masked);
        let adapters = Adapters::new("mgd", self.features.adapter, pair, levels)?;
        let mut own = adapters.tensors(seed)?;
        for index in 0..levels.len() {
            for step in 0..2 {
                let seed = seed.wrapping_add(1000 * index as u64 + 100 + step as u64);
                let width = adapters.width(index);
                own.insert(weight_of(index, step), initial([width; 2], 3, seed).map_err(crate::exec::ExecError::from)?);
                let bias = Tensor::zeros(width, candle_core::DType::F32, &candle_core::Device::Cpu);
                own.insert(bias_of(index, step), bias.map_err(crate::exec::ExecError::from)?);
            }
        }
        Ok(sum_over(pair, "mgd", levels, weight, own, move |leaves, wanted, index| {
            let [found, wanted] = adapters.pair(leaves, wanted, index)?;
            // A step draws the same places again when a run is resumed.
            let draw = leaves.input().progress.to_bits() ^ seed.rotate_left(32) ^ index as u64;
            let mut features = found.broadcast_mul(&mask(&found, share, draw)?)?;
            for step in 0..2 {
                if step > 0 {
                    features = features.relu()?;
                }
                let bias = leaves.tensor(&bias_of(index, step))?.reshape((1, (), 1, 1))?;
                features = convolve(&features, &leaves.tensor(&weight_of(index, step))?)?.broadcast_add(&bias)?;
            }
            let images = features.dim(0)? as f64;
            Ok(((features - wanted)?.sqr()?.sum_all()? / images)?)
        }))
    }
}

fn weight_of(level: usize, step: usize) -> String {
    format!("distill.mgd.generator.{level}.{step}.weight")
}

fn bias_of(level: usize, step: usize) -> String {
    format!("distill.mgd.generator.{level}.{step}.bias")
}

/// Ones, and zeros at a share of the places of each image, drawn for all channels together: (n, 1, h, w).
fn mask(features: &Tensor, share: f32, seed: u64) -> Result<Tensor> {
    let (batch, _, height, width) = features.dims4()?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let kept = |_| if random.random::<f32>() < share { 0.0f32 } else { 1.0 };
    let places: Vec<f32> = (0..batch * height * width).map(kept).collect();
    Tensor::from_vec(places, (batch, 1, height, width), features.device())
}
