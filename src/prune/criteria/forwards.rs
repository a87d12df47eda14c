//! Runs forwards: statistics of activations, and how noise on the images changes them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    super::error::PruneError,
    activations::Counter,
    measured::{Measured, PruneData},
    needs::Needs,
    planes::{Mean, pairs_by_channel},
};
use crate::{
    eval::over_batches,
    exec::{Backend, Inference, InferenceOptions, Observer, ObserverError, transfer},
    graph::{Graph, GraphError, NodeId},
    model::Model,
    progress::Progress,
};

/// Standard deviation of the noise on pixels, which are in [0, 1].
const NOISE: f64 = 0.02;

/// Measures activations and their changes.
pub(super) fn forwards(
    model: &Model,
    needs: &Needs,
    data: &PruneData,
    seed: u64,
    progress: &dyn Progress,
    measured: &mut Measured,
) -> Result<(), PruneError> {
    let network = |nodes: &[NodeId]| {
        let options = InferenceOptions { observed: nodes.to_vec(), ..InferenceOptions::default() };
        Inference::with_options(Backend::for_device(&model.device()), model, options)
    };
    let (plain, shaken) = (network(&needs.activations)?, network(&needs.changes)?);
    let mut counter = Counter::new(model.graph(), &needs.activations)?;
    let mut changes = Changes::new(model.graph(), &needs.changes)?;
    let (mut noise, mut seen) = (Mean::default(), 0u64);
    over_batches(model, &data.dataset, &data.options, progress, "activations", |batch| {
        if !needs.activations.is_empty() {
            plain.run_observed(&batch.images, &mut counter)?;
        }
        if !needs.changes.is_empty() {
            let drawn = self::noise(&batch.images, seed, seen, &mut noise)?;
            let both = Tensor::cat(&[&batch.images, &(&batch.images + drawn)?], 0)?;
            shaken.run_observed(&both, &mut changes)?;
        }
        seen += batch.origins.len() as u64;
        Ok(())
    })?;
    let rms = noise.value().sqrt().max(f64::MIN_POSITIVE);
    measured.activations = counter.channels;
    let change = |(node, means): (NodeId, Vec<Mean>)| (node, means.iter().map(|mean| mean.value() / rms).collect());
    measured.changes = changes.means.into_iter().map(change).collect();
    Ok(())
}

/// Noise for images of which `seen` came before: every image has its own, whatever the batches. Its squares go to `squares`.
fn noise(images: &Tensor, seed: u64, seen: u64, squares: &mut Mean) -> candle_core::Result<Tensor> {
    let each = images.elem_count() / images.dim(0)?.max(1);
    let mut drawn = Vec::with_capacity(images.elem_count());
    for image in 0..images.dim(0)? as u64 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(seen + image);
        // Box and Muller 1958.
        let mut normal = || {
            let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
            (-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos()
        };
        drawn.extend((0..each).map(|_| (NOISE * normal()) as f32));
    }
    let sum = drawn.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    squares.add(sum, drawn.len() as u64);
    transfer::up_one(&Tensor::from_vec(drawn, images.dims(), &Device::Cpu)?, images.device())
}

/// Sees images and, behind them, the same with noise.
struct Changes {
    means: BTreeMap<NodeId, Vec<Mean>>,
}

impl Changes {
    fn new(graph: &Graph, nodes: &[NodeId]) -> Result<Self, GraphError> {
        let channels = graph.channels()?;
        Ok(Self { means: nodes.iter().map(|&node| (node, vec![Mean::default(); channels[node]])).collect() })
    }
}

impl Observer for Changes {
    fn wants(&self, node: NodeId) -> bool {
        self.means.contains_key(&node)
    }

    fn value(&mut self, node: NodeId, value: &Tensor) -> Result<(), ObserverError> {
        let Some(means) = self.means.get_mut(&node) else { return Ok(()) };
        let (images, _, height, width) = value.dims4()?;
        let half = |start| value.narrow(0, start, images / 2);
        let area = (height * width) as u64;
        pairs_by_channel(
            &half(0)?,
            &half(images / 2)?,
            |a, b| (b - a).abs(),
            |channel, sum| {
                means[channel].add(sum, area);
            },
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_of_the_image_not_of_the_batch() {
        let draw = |count, seen, seed| {
            let mut squares = Mean::default();
            let images = Tensor::zeros((count, 3, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
            let drawn = noise(&images, seed, seen, &mut squares).unwrap();
            (drawn.flatten_all().unwrap().to_vec1::<f32>().unwrap(), squares.value().sqrt())
        };
        let (both, rms) = draw(2, 0, 5);
        assert_eq!(both[192..], draw(1, 1, 5).0);
        assert_ne!(both[..192], both[192..]);
        assert_ne!(both, draw(2, 0, 6).0);
        assert!((rms / NOISE - 1.0).abs() < 0.1, "{rms}");
        let mean = both.iter().sum::<f32>() / both.len() as f32;
        assert!(mean.abs() < 0.004, "{mean}");
    }
}
