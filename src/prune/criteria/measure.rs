//! What criteria need of real images: one pass over them, one batch in memory.

use std::collections::BTreeMap;

use super::{
    super::error::PruneError,
    activations::{ChannelActivations, Counter},
    needs::Needs,
};
use crate::{
    data::Dataset,
    eval::{ActivationOptions, EvalError, over_batches},
    exec::{Backend, Inference, InferenceOptions, NormStatistics, TrainOptions, ValueGradients, train_observed},
    graph::NodeId,
    model::{Model, Tensors},
    progress::Progress,
    train::loss::{DetectionLoss, Gains, LossError},
};

/// The images that a criterion looks at.
#[derive(Clone, Debug)]
pub struct PruneData {
    /// Where they are from.
    pub dataset: Dataset,
    /// Which, how many, how large, and how many at once.
    pub options: ActivationOptions,
}

/// What was measured on images.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By node, what its output was like, channel by channel.
    pub activations: BTreeMap<NodeId, Vec<ChannelActivations>>,
    /// Gradients of the detection loss with respect to the trained tensors, by name: the mean over images. Normalisations
    /// use their running averages; behind those of a batch, Σ w·g of a filter is exactly 0. Tensors that no gradient
    /// reaches are absent.
    pub gradients: Tensors,
}

/// Measures what is needed, with the running averages of the normalisations, as in inference.
///
/// # Errors
/// Options out of range, a split that is not there, cannot be read or, where labels are needed, has none or other classes;
/// a network that does not run or gives numbers that are not finite; a listener that asks to stop.
pub fn measure(
    model: &Model,
    needs: &Needs,
    data: &PruneData,
    progress: &dyn Progress,
) -> Result<Measured, PruneError> {
    let mut counter = Counter::new(model.graph(), &needs.activations)?;
    let gradients = match needs.gradients {
        true => forwards_and_backwards(model, data, &mut counter, progress)?,
        false => forwards(model, &needs.activations, data, &mut counter, progress)?,
    };
    Ok(Measured { activations: counter.channels, gradients })
}

fn forwards(
    model: &Model,
    nodes: &[NodeId],
    data: &PruneData,
    counter: &mut Counter,
    progress: &dyn Progress,
) -> Result<Tensors, PruneError> {
    let options = InferenceOptions { observed: nodes.to_vec(), ..InferenceOptions::default() };
    let network = Inference::with_options(Backend::for_device(&model.device()), model, options)?;
    over_batches(model, &data.dataset, &data.options, progress, "activations", |batch| {
        network.run_observed(&batch.images, counter)?;
        Ok(())
    })?;
    Ok(Tensors::new())
}

fn forwards_and_backwards(
    model: &Model,
    data: &PruneData,
    counter: &mut Counter,
    progress: &dyn Progress,
) -> Result<Tensors, PruneError> {
    let PruneData { dataset, options } = data;
    let [known, labelled] = [model.detector().classes.len(), dataset.names.len()];
    if known != labelled {
        let (model, dataset) = (model.provenance().name.clone(), dataset.name.clone());
        return Err(EvalError::Classes { model, known, dataset, labelled }.into());
    }
    let failed = |error: LossError| EvalError::Loss(error.into());
    let gains = Gains::default().for_training(model.detector(), options.size);
    let loss = DetectionLoss::new(model.detector(), &gains).map_err(failed)?;
    let backend = Backend::for_device(&model.device());
    let running = TrainOptions { statistics: NormStatistics::Running, ..TrainOptions::default() };
    let (mut sums, mut images, mut labels) = (Tensors::new(), 0, 0);
    over_batches(model, dataset, options, progress, "gradients", |batch| {
        let tape = train_observed(backend, model, &batch.images, &running, counter)?;
        let found = loss.compute(&tape.values.outputs, &batch.targets).map_err(failed)?;
        let outputs = found.gradients.into_iter().map(Some).collect();
        for (name, gradient) in tape.backward(&ValueGradients { outputs, ..ValueGradients::default() })?.tensors {
            let sum = match sums.remove(&name) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            sums.insert(name, sum);
        }
        images += batch.origins.len();
        labels += batch.targets.len();
        Ok(())
    })?;
    if labels == 0 {
        return Err(EvalError::NoLabels { dataset: dataset.name.clone(), split: options.split.clone() }.into());
    }
    // The loss of a batch is that of a mean image times the batch.
    let mean = |(name, sum): (String, candle_core::Tensor)| Ok((name, (sum / images as f64)?));
    sums.into_iter().map(mean).collect()
}
