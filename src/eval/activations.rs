//! What the layers do on real images: statistics of their activations, and how strongly a loss pulls at their weights.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use espalier_kernels::allocator::Borrowing;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    error::EvalError,
    options::{self, ActivationOptions},
};
use crate::{
    data::{Batch, Batches, Dataset},
    exec::{self, Inference, Observer, ObserverError, ValueGradients, numbers::Numbers, transfer},
    graph::NodeId,
    model::{Accumulator, Model, Statistics},
    progress::Progress,
};

/// What a layer gives: the output of a convolution after its normalisation and activation function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationStatistics {
    /// Name of the convolution's node, as in the layers' table.
    pub name: String,
    /// What its activations are like, over all images, channels and places.
    pub activation: Statistics,
}

/// Gives the gradient of a loss with respect to each of the network's outputs, for a batch.
pub type LossGradients<'a> =
    &'a dyn Fn(&Batch, &[Tensor]) -> Result<Vec<Tensor>, Box<dyn std::error::Error + Send + Sync>>;

/// Activation statistics of every convolution, in the order in which they run, with running averages (as in inference).
///
/// # Errors
/// Options out of range, a split that is not there or cannot be read, a network that does not run, or a listener that
/// asks to stop.
pub fn activations(
    model: &Model,
    dataset: &Dataset,
    options: &ActivationOptions,
    progress: &dyn Progress,
) -> Result<Vec<ActivationStatistics>, EvalError> {
    let layers: Vec<(NodeId, NodeId)> = model.convolutions().map(|(id, _)| (id, model.unit_output(id))).collect();
    let mut seen = SeenValues(layers.iter().map(|&(_, output)| (output, Accumulator::default())).collect());
    let network = Inference::new(model, &[])?;
    over_batches(model, dataset, options, progress, "activations", |batch| {
        network.run_observed(&batch.images, &mut seen)?;
        Ok(())
    })?;
    let row = |(id, output): (NodeId, NodeId)| ActivationStatistics {
        name: model.graph().node(id).name.clone(),
        activation: seen.0[&output].statistics(),
    };
    Ok(layers.into_iter().map(row).collect())
}

/// Mean magnitude of a loss's gradient with respect to every weight of a convolution, by the convolution's name: the
/// mean over weights and batches. Normalisations use batch statistics, as in training: it is how strongly training pulls,
/// and no score of importance, for which running statistics are needed.
///
/// # Errors
/// As [`activations`], and those of `loss`.
pub fn gradients(
    model: &Model,
    dataset: &Dataset,
    options: &ActivationOptions,
    loss: LossGradients,
    progress: &dyn Progress,
) -> Result<Vec<(String, f64)>, EvalError> {
    let names: Vec<String> = model.convolutions().map(|(id, _)| model.graph().node(id).name.clone()).collect();
    let mut sums = vec![Accumulator::default(); names.len()];
    over_batches(model, dataset, options, progress, "gradients", |batch| {
        let tape = exec::train(model, &batch.images, &[])?;
        let of_outputs = loss(batch, &tape.values.outputs).map_err(EvalError::Loss)?;
        let of_outputs = ValueGradients { outputs: of_outputs.into_iter().map(Some).collect(), ..Default::default() };
        let found = tape.backward(&of_outputs)?.tensors;
        for (name, sum) in names.iter().zip(&mut sums) {
            if let Some(gradient) = found.get(&format!("{name}.weight")) {
                sum.merge(&accumulate(gradient)?);
            }
        }
        Ok(())
    })?;
    Ok(names.into_iter().zip(&sums).map(|(name, sum)| (name, sum.statistics().abs_mean)).collect())
}

/// Statistics of values as they pass, by node: none is kept.
struct SeenValues(BTreeMap<NodeId, Accumulator>);

impl Observer for SeenValues {
    fn wants(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    fn value(&mut self, node: NodeId, value: &Tensor) -> Result<(), ObserverError> {
        if let Some(sum) = self.0.get_mut(&node) {
            sum.merge(&accumulate(value)?);
        }
        Ok(())
    }
}

fn accumulate(value: &Tensor) -> candle_core::Result<Accumulator> {
    const PART: usize = 1 << 16;
    let value = transfer::down([value])?;
    let numbers = Numbers::of(&value[0])?;
    let part = |numbers: &[f32]| {
        let mut sums = Accumulator::default();
        sums.add(numbers);
        sums
    };
    let parts: Vec<Accumulator> = numbers.par_chunks(PART).map(part).collect();
    let mut whole = Accumulator::default();
    parts.iter().for_each(|part| whole.merge(part));
    Ok(whole)
}

/// Hands the batches of the first images to `each`, on the model's device; `what` names the work for a listener.
///
/// # Errors
/// As [`activations`], and those of `each`.
pub fn over_batches(
    model: &Model,
    dataset: &Dataset,
    options: &ActivationOptions,
    progress: &dyn Progress,
    what: &str,
    mut each: impl FnMut(&Batch) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let _memory = Borrowing::begin();
    options::check(model.into(), options, options.size)?;
    let split = dataset.split(&options.split)?;
    let total = options.images.min(split.samples.len());
    progress.start(what, Some(total as u64));
    let mut done = 0;
    let mut run = || {
        for batch in Batches::eval(split, options.size, options.batch)? {
            let batch = first_images(batch?, total - done, &model.device())?;
            each(&batch)?;
            done += batch.origins.len();
            progress.advance(done as u64, "");
            if done == total {
                break;
            }
            if progress.stop_requested() {
                return Err(EvalError::Stopped { what: "images", done, total });
            }
        }
        Ok(())
    };
    let result = run();
    progress.finish();
    result
}

/// At most `count` images of a batch, on the device.
fn first_images(mut batch: Batch, count: usize, device: &Device) -> Result<Batch, EvalError> {
    let count = count.min(batch.origins.len());
    batch.origins.truncate(count);
    batch.targets.retain(|target| target.image < count);
    batch.images = transfer::up_one(&batch.images.narrow(0, 0, count)?.contiguous()?, device)?;
    Ok(batch)
}

#[cfg(test)]
mod tests;
