//! Runs forwards and backwards, batch by batch: gradients of the trained tensors and pulls at activations.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    super::error::PruneError,
    labelled::{Labelled, check},
    measured::{Measured, PruneData},
    needs::Needs,
    planes::{Mean, by_channel},
};
use crate::{
    eval::over_batches,
    exec::{Backend, NormStatistics, Observer, ObserverError, TrainOptions, train_observed},
    graph::NodeId,
    model::{Model, Tensors},
    progress::Progress,
};

/// Measures gradients and pulls.
pub(super) fn backwards(
    model: &Model,
    (importance, needs): (&'static str, &Needs),
    data: &PruneData,
    progress: &dyn Progress,
    measured: &mut Measured,
) -> Result<(), PruneError> {
    let labelled = Labelled::new(model, importance, data)?;
    let channels = model.graph().channels()?;
    let empty = |&node: &NodeId| (node, vec![Mean::default(); channels[node]]);
    let mut pulls = Pulls { means: needs.pulls.iter().map(empty).collect() };
    let running = TrainOptions { statistics: NormStatistics::Running, ..TrainOptions::default() };
    let backend = Backend::for_device(&model.device());
    let (mut sums, mut images) = (Tensors::new(), 0);
    over_batches(model, &data.dataset, &data.options, progress, "gradients", |batch| {
        let tape = train_observed(backend, model, &batch.images, &running, &mut pulls)?;
        let gradients = labelled.gradients(&tape.values.outputs, &batch.targets)?;
        for (name, gradient) in tape.backward_observed(&gradients, &mut pulls)?.tensors {
            add(&mut sums, name, gradient)?;
        }
        images += batch.origins.len();
        Ok(())
    })?;
    labelled.finish()?;
    check(model, importance, &sums)?;
    // The loss of a batch is that of a mean image times the batch.
    measured.gradients = means(sums, images)?;
    let pull = |(node, means): (NodeId, Vec<Mean>)| (node, means.into_iter().map(Mean::value).collect());
    measured.pulls = pulls.means.into_iter().map(pull).collect();
    Ok(())
}

/// Adds a tensor to the one of its name.
pub(super) fn add(sums: &mut Tensors, name: String, tensor: Tensor) -> candle_core::Result<()> {
    let sum = match sums.remove(&name) {
        Some(sum) => (sum + tensor)?,
        None => tensor,
    };
    sums.insert(name, sum);
    Ok(())
}

/// The tensors divided by the number of images.
pub(super) fn means(sums: Tensors, images: usize) -> candle_core::Result<Tensors> {
    sums.into_iter().map(|(name, sum)| Ok((name, (sum / images as f64)?))).collect()
}

/// Means of |∂L/∂a|.
struct Pulls {
    means: BTreeMap<NodeId, Vec<Mean>>,
}

impl Observer for Pulls {
    fn wants(&self, node: NodeId) -> bool {
        self.means.contains_key(&node)
    }

    fn gradient(&mut self, node: NodeId, gradient: &Tensor) -> Result<(), ObserverError> {
        let Some(means) = self.means.get_mut(&node) else { return Ok(()) };
        let of = |plane: &[f32]| (plane.iter().map(|&g| f64::from(g.abs())).sum(), plane.len() as u64);
        by_channel(gradient, of, |channel, (sum, count): (f64, u64)| means[channel].add(sum, count))?;
        Ok(())
    }
}
