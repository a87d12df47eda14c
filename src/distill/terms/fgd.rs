//! Foreground and background apart, by attention, and the relations between places (Yang et al. 2022, focal and global
//! distillation, <https://arxiv.org/abs/2111.11837>).

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax;

use super::super::{
    adapters::{Adapters, initial},
    by_level::sum_over,
    convolve::convolve,
    features::{FeaturePair, Taps},
    pair::Pair,
    recipe::{Features, Outcome, Recipe},
};
use crate::{
    data::Target,
    exec::ExecError,
    model::Tensors,
    options::options,
    train::{Leaves, TermError},
};

options! {
    /// Foreground, background, attention and relations.
    pub(in super::super) struct Focal {
        /// What is compared.
        pub features: Features = Features::default();
        /// Softens attention.
        pub temperature: f64 = 0.5, 0.05..=100.0;
        /// Weight of the features in labelled boxes.
        pub foreground: f64 = 1e-3, 0.0..=1000.0;
        /// Weight of the features outside them.
        pub background: f64 = 5e-4, 0.0..=1000.0;
        /// Weight of the attention's own distance.
        pub attention: f64 = 1e-3, 0.0..=1000.0;
        /// Weight of the relations between places.
        pub relations: f64 = 5e-6, 0.0..=1000.0;
    }
}

impl Recipe for Focal {
    fn taps(&self) -> Option<&Taps> {
        Some(&self.features.taps)
    }

    fn needs_boxes(&self) -> bool {
        self.foreground > 0.0
    }

    fn make(&self, pair: &Pair<'_>, levels: &[FeaturePair], weight: f32) -> Outcome {
        let (adapters, options) = (Adapters::new("fgd", self.features.adapter, pair, levels)?, self.clone());
        let mut own = adapters.tensors(pair.options.seed)?;
        for index in 0..levels.len() {
            for (side, seed) in [(STUDENT, 200), (TEACHER, 300)] {
                let seed = pair.options.seed.wrapping_add(1000 * index as u64 + seed);
                own.extend(context_tensors(side, index, adapters.width(index), seed).map_err(ExecError::from)?);
            }
        }
        Ok(sum_over(pair, "fgd", levels, weight, own, move |leaves, wanted, index| {
            let [found, wanted] = adapters.pair(leaves, wanted, index)?;
            let images = found.dim(0)? as f64;
            let (places, channels) = attention(&found, options.temperature)?;
            let (wanted_places, wanted_channels) = attention(&wanted, options.temperature)?;
            let [inside, outside] = masks(leaves.input().targets, &found)?;
            let apart = (&found - &wanted)?.sqr()?.broadcast_mul(&wanted_channels)?.sum_keepdim(1)?;
            let apart = apart.mul(&wanted_places)?;
            let focal = ((apart.mul(&inside)? * options.foreground)? + (apart.mul(&outside)? * options.background)?)?;
            let places = (places - wanted_places)?.abs()?.sum_all()?;
            let attention = ((channels - wanted_channels)?.abs()?.sum_all()? + places)?;
            let context = |side, features: &Tensor| context(leaves, side, index, features);
            let relations = (context(STUDENT, &found)? - context(TEACHER, &wanted)?)?.sqr()?.sum_all()?;
            let all = ((focal.sum_all()? + (attention * options.attention)?)? + (relations * options.relations)?)?;
            Ok((all / images)?)
        }))
    }
}

/// Where features (n, c, h, w) are large: over places (n, 1, h, w), with mean 1, and over channels (n, c, 1, 1), with
/// mean 1.
fn attention(features: &Tensor, temperature: f64) -> Result<(Tensor, Tensor)> {
    let (batch, channels, height, width) = features.dims4()?;
    let sizes = features.abs()?;
    let share = |sizes: Tensor, count: usize| softmax(&(sizes / temperature)?, D::Minus1)? * count as f64;
    let places = share(sizes.mean(1)?.flatten_from(1)?, height * width)?.reshape((batch, 1, height, width))?;
    let of_channels = share(sizes.mean((2, 3))?, channels)?.reshape((batch, channels, 1, 1))?;
    Ok((places, of_channels))
}

/// How much each place counts as foreground, 1 over the area of the smallest box that covers it, and as background, 1 over
/// the places that no box covers: (n, 1, h, w) each.
fn masks(targets: &[Target], like: &Tensor) -> Result<[Tensor; 2]> {
    let (batch, _, height, width) = like.dims4()?;
    let mut inside = vec![0f32; batch * height * width];
    for target in targets {
        let [left, top, right, bottom] = target.truth.bounds.scaled(width as f32, height as f32).corners();
        let reach = |low: f32, high: f32, extent: usize| {
            let low = low.floor().clamp(0.0, extent as f32 - 1.0) as usize;
            low..(high.ceil().clamp(0.0, extent as f32) as usize).max(low + 1)
        };
        let (rows, columns) = (reach(top, bottom, height), reach(left, right, width));
        let count = 1.0 / (rows.len() * columns.len()) as f32;
        for row in rows {
            for place in &mut inside[(target.image * height + row) * width..][columns.clone()] {
                *place = place.max(count);
            }
        }
    }
    let image = |inside: &[f32]| {
        let free = inside.iter().filter(|&&place| place == 0.0).count().max(1) as f32;
        inside.iter().map(|&place| if place == 0.0 { 1.0 / free } else { 0.0 }).collect::<Vec<_>>()
    };
    let outside: Vec<f32> = inside.chunks_exact(height * width).flat_map(image).collect();
    let tensor = |numbers: Vec<f32>| Tensor::from_vec(numbers, (batch, 1, height, width), like.device());
    Ok([tensor(inside)?, tensor(outside)?])
}

const STUDENT: &str = "student";
const TEACHER: &str = "teacher";

fn name(side: &str, level: usize, of: &str) -> String {
    format!("distill.fgd.{side}.{level}.{of}")
}

/// The tensors of a global context block (Cao et al. 2019, GCNet) that at first changes nothing.
fn context_tensors(side: &str, level: usize, width: usize, seed: u64) -> Result<Tensors> {
    let inner = (width / 2).max(1);
    let number = |number: f32, count: usize| Tensor::full(number, count, &Device::Cpu);
    Ok(Tensors::from([
        (name(side, level, "attention.weight"), initial([width, 1], 1, seed)?),
        (name(side, level, "narrow.weight"), initial([width, inner], 1, seed.wrapping_add(1))?),
        (name(side, level, "narrow.bias"), number(0.0, inner)?),
        (name(side, level, "norm.weight"), number(1.0, inner)?),
        (name(side, level, "norm.bias"), number(0.0, inner)?),
        (name(side, level, "widen.weight"), Tensor::zeros((width, inner, 1, 1), DType::F32, &Device::Cpu)?),
        (name(side, level, "widen.bias"), number(0.0, width)?),
    ]))
}

/// Features and what a global context block adds to every place of them.
fn context(leaves: &Leaves<'_>, side: &str, level: usize, features: &Tensor) -> std::result::Result<Tensor, TermError> {
    let own = |of: &str| leaves.tensor(&name(side, level, of));
    let channel = |of: &str| Ok::<_, TermError>(own(of)?.reshape((1, (), 1, 1))?);
    let (batch, channels, height, width) = features.dims4()?;
    let looks = convolve(features, &own("attention.weight")?)?.reshape((batch, height * width, 1))?;
    let looks = softmax(&looks.squeeze(2)?, D::Minus1)?.unsqueeze(2)?;
    let seen = features.reshape((batch, channels, height * width))?.matmul(&looks)?;
    let narrow = convolve(&seen.reshape((batch, channels, 1, 1))?, &own("narrow.weight")?)?;
    let narrow = narrow.broadcast_add(&channel("narrow.bias")?)?;
    let centred = narrow.broadcast_sub(&narrow.mean_keepdim(1)?)?;
    let normed = centred.broadcast_div(&(centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?)?;
    let normed = normed.broadcast_mul(&channel("norm.weight")?)?.broadcast_add(&channel("norm.bias")?)?;
    let added = convolve(&normed.relu()?, &own("widen.weight")?)?.broadcast_add(&channel("widen.bias")?)?;
    Ok(features.broadcast_add(&added)?)
}
