//! Normalisation statistics measured anew.
//!
//! Once channels are gone, what the following layers see has another mean and variance than their normalisations
//! remember. Measuring both again on a few hundred images, without training anything, gives back much of the accuracy
//! that a plan costs (Li et al. 2020, EagleEye: adaptive batch normalisation).

use candle_core::Tensor;

use super::error::PruneError;
use crate::{
    data::{Augment, BatchOptions, Batches, Dataset},
    exec::{self, transfer},
    graph::Op,
    model::{Model, Tensors},
    options::{Options, SPLITS, options},
    progress::Progress,
};

options! {
    /// On which images statistics are measured.
    #[derive(Eq)]
    #[serde(default)]
    pub struct RecalibrateOptions {
        /// The split they are from.
        pub split: String = "train".into(), SPLITS;
        /// How many, from a shuffled order; all if there are fewer.
        pub images: usize = 256, 1..=1_000_000;
        /// Side of the square images in pixels.
        pub size: usize = 640, 32..=8192;
        /// Images a batch. Statistics are those of batches, as in training.
        pub batch: usize = 16, 1..=4096;
        /// Seed of the order.
        pub seed: u64 = 0;
    }
}

/// The same model with running means and variances that are the averages over batches of a dataset's images, letterboxed
/// and not augmented. Where the listener asks to stop, what was seen so far counts.
///
/// # Errors
/// Options out of range, a split that is not there or cannot be read, a network that does not run.
pub fn recalibrate(
    model: &Model,
    dataset: &Dataset,
    options: &RecalibrateOptions,
    progress: &dyn Progress,
) -> Result<Model, PruneError> {
    options.check()?;
    let split = dataset.split(&options.split)?;
    let count = options.images.div_ceil(options.batch).min(split.samples.len().div_ceil(options.batch));
    let batches = BatchOptions {
        size: options.size,
        batch: options.batch,
        seed: options.seed,
        augment: Augment::none(),
        ..BatchOptions::default()
    };
    progress.start("recalibrate", Some(count as u64));
    let mut done = 0;
    let images = Batches::train(split, &batches)?.take(count).map_while(|batch| {
        let stop = done > 0 && progress.stop_requested();
        done += 1;
        progress.advance(done, "");
        (!stop).then(|| batch.map(|batch| batch.images).map_err(PruneError::from))
    });
    let result = recalibrate_on(model, images);
    progress.finish();
    Ok(result?.with_step(format!("normalisation statistics measured anew on {} of {}", options.split, dataset.name)))
}

/// [`recalibrate`] on image batches (n, 3, h, w) of any source. Without any batch the model stays as it is.
///
/// # Errors
/// The first error of the source, or of a run.
pub fn recalibrate_on(
    model: &Model,
    batches: impl IntoIterator<Item = Result<Tensor, PruneError>>,
) -> Result<Model, PruneError> {
    // With a momentum of 1 the running averages after a batch are those of the batch alone.
    let mut graph = model.graph().clone();
    for id in 0..graph.nodes().len() {
        if let Op::BatchNorm(norm) = graph.op_mut(id) {
            norm.momentum = 1.0;
        }
    }
    let probe = Model::new(graph, model.tensors().clone(), model.detector().clone(), model.provenance().clone())?;
    let device = model.device();
    let mut sum = Tensors::new();
    let mut count = 0.0;
    for images in batches {
        let running = exec::train(&probe, &transfer::up_one(&images?, &device)?, &[])?.running;
        count += 1.0;
        for (name, batch) in running {
            let total = match sum.get(&name) {
                Some(total) => (total + batch)?,
                None => batch,
            };
            sum.insert(name, total);
        }
    }
    let mut tensors = model.tensors().clone();
    for (name, total) in sum {
        tensors.insert(name, (total / count)?);
    }
    Ok(model.with_tensors(tensors)?)
}
