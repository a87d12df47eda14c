//! A detector against the labels of a split.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use candle_core::Tensor;
use espalier_kernels::allocator::Borrowing;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    average_precision::{Scores, average_precision},
    candidates::{Candidates, UsualIou},
    decode::DecodeOptions,
    detection::{Detection, ImageResult},
    error::EvalError,
    network::Network,
    options::{self, EvaluateOptions},
    subject::Subject,
};
use crate::{
    data::{Batch, Batches, Dataset, Origin, Sample, Split},
    model::Model,
    progress::Progress,
};

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Precision, recall and average precision, class by class and overall.
    pub scores: Scores,
    /// Names of all the model's classes; [`ClassScore::class`](super::ClassScore::class) is an index into them.
    pub class_names: Vec<String>,
    /// The split that was used.
    pub split: String,
    /// Side of the square images in pixels.
    pub size: usize,
    /// Images that were looked at.
    pub images: usize,
    /// Images that have no label.
    pub backgrounds: usize,
    /// Labelled boxes.
    pub labels: usize,
    /// Boxes found, of any confidence above the threshold.
    pub detections: usize,
    /// Where the time went.
    pub seconds: Seconds,
    /// What was found in each image, beside its labels. Not kept in files.
    #[serde(skip)]
    pub results: Arc<[ImageResult]>,
    /// Which sample of the split each of the results is of; likewise.
    #[serde(skip)]
    pub samples: Arc<[usize]>,
}

/// Seconds of an evaluation, by part. Images are read in the background, so only the waiting for them counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// From start to end.
    pub total: f64,
    /// Waiting for images.
    pub data: f64,
    /// Running the network.
    pub inference: f64,
    /// Decoding boxes and suppressing those that overlap.
    pub nms: f64,
    /// Computing average precision.
    pub metric: f64,
}

/// Sees every batch and the network's raw outputs for it.
pub type EachBatch<'a> = &'a mut dyn FnMut(&Batch, &[Tensor]) -> Result<(), EvalError>;

/// Evaluates a detector, a model of ours or an ONNX file, on a split: every image letterboxed to a square, every class of every box that passes the
/// confidence threshold, class-aware suppression, boxes compared in pixels of the original images.
///
/// ```
/// use espalier::{
///     data::{ShapesOptions, shapes},
///     eval::{EvaluateOptions, evaluate},
///     progress::Silent,
/// };
///
/// let mut drawn = ShapesOptions::default();
/// drawn.val = 16;
/// let mut options = EvaluateOptions::default();
/// options.size = 160;
/// let metrics = evaluate(&espalier::io::teacher()?, &shapes(&drawn)?, &options, &Silent)?;
/// assert!(metrics.scores.overall.map50 > 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Options out of range, a split that is not there, cannot be read or has no labels, classes that differ, a network
/// that does not run, or a listener that asks to stop.
pub fn evaluate<'a>(
    model: impl Into<Subject<'a>>,
    dataset: &Dataset,
    options: &EvaluateOptions,
    progress: &dyn Progress,
) -> Result<Metrics, EvalError> {
    measured(model.into(), dataset, options, progress, &mut |_, _| Ok(()))
}

/// [`evaluate`], showing every batch and the network's raw outputs for it to `each` (for a validation loss).
///
/// # Errors
/// As [`evaluate`], and those of `each`.
pub fn evaluate_with(
    model: &Model,
    dataset: &Dataset,
    options: &EvaluateOptions,
    progress: &dyn Progress,
    each: EachBatch,
) -> Result<Metrics, EvalError> {
    measured(model.into(), dataset, options, progress, each)
}

fn measured(
    model: Subject,
    dataset: &Dataset,
    options: &EvaluateOptions,
    progress: &dyn Progress,
    each: EachBatch,
) -> Result<Metrics, EvalError> {
    let _memory = Borrowing::begin();
    let start = Instant::now();
    let split = check_evaluation(model, dataset, options)?;
    progress.start("evaluate", Some(split.samples.len() as u64));
    let result = run(model, split, options, progress, each);
    progress.finish();
    let (results, samples, mut seconds) = result?;
    let scoring = Instant::now();
    let scores = average_precision(&results, options.metric);
    seconds.metric = scoring.elapsed().as_secs_f64();
    seconds.total = start.elapsed().as_secs_f64();
    Ok(Metrics {
        scores,
        class_names: model.classes().to_vec(),
        split: options.split.clone(),
        size: options.size,
        images: results.len(),
        backgrounds: results.iter().filter(|image| image.truths().is_empty()).count(),
        labels: results.iter().map(|image| image.truths().len()).sum(),
        detections: results.iter().map(|image| image.detections().len()).sum(),
        seconds,
        results: results.into(),
        samples: samples.into(),
    })
}

/// Checks options, classes and labels; gives the split.
///
/// # Errors
/// Options out of range, classes that differ, a split that is not there or has no labels.
pub(crate) fn check_evaluation<'d, 'm>(
    model: impl Into<Subject<'m>>,
    dataset: &'d Dataset,
    options: &EvaluateOptions,
) -> Result<&'d Arc<Split>, EvalError> {
    let model = model.into();
    options::check(model, options, options.size)?;
    check_classes(model, dataset)?;
    let split = dataset.split(&options.split)?;
    if split.samples.iter().all(|sample| sample.boxes.is_empty()) {
        return Err(EvalError::NoLabels { dataset: dataset.name.clone(), split: split.name.clone() });
    }
    Ok(split)
}

/// Checks that a model and a dataset have as many classes.
///
/// # Errors
/// Names both, and how many each has.
pub(crate) fn check_classes<'a>(model: impl Into<Subject<'a>>, dataset: &Dataset) -> Result<(), EvalError> {
    let model = model.into();
    let [known, labelled] = [model.classes().len(), dataset.names.len()];
    if known != labelled {
        let (model, dataset) = (model.name().to_owned(), dataset.name.clone());
        return Err(EvalError::Classes { model, known, dataset, labelled });
    }
    Ok(())
}

fn run(
    model: Subject,
    split: &Arc<Split>,
    options: &EvaluateOptions,
    progress: &dyn Progress,
    each: EachBatch,
) -> Result<(Vec<ImageResult>, Vec<usize>, Seconds), EvalError> {
    let network = Network::new(model, options.precision, None)?;
    let [mut waited, mut inferred, mut suppressed] = [Duration::ZERO; 3];
    let mut results = Vec::with_capacity(split.samples.len());
    let mut samples = Vec::with_capacity(split.samples.len());
    let mut batches = Batches::eval(split, options.size, options.batch)?;
    loop {
        let before = Instant::now();
        let Some(batch) = batches.next().transpose()? else { break };
        let arrived = Instant::now();
        let outputs = network.run(&batch.images)?;
        let run = Instant::now();
        let candidates = network.candidates(&outputs, decoding(options))?;
        results.extend(against_labels(candidates, &batch, split, options));
        samples.extend(batch.origins.iter().map(|origin| origin.sample));
        waited += arrived - before;
        inferred += run - arrived;
        suppressed += run.elapsed();
        each(&batch, outputs.maps())?;
        progress.advance(results.len() as u64, "");
        let [done, total] = [results.len(), split.samples.len()];
        if done < total && progress.stop_requested() {
            return Err(EvalError::Stopped { what: "images", done, total });
        }
    }
    let seconds = Seconds {
        data: waited.as_secs_f64(),
        inference: inferred.as_secs_f64(),
        nms: suppressed.as_secs_f64(),
        ..Seconds::default()
    };
    Ok((results, samples, seconds))
}

/// What raw outputs for a batch say of each of its images, beside the labels.
///
/// # Errors
/// Outputs that are not those of the detector.
pub(crate) fn image_results(
    model: &Model,
    outputs: &[Tensor],
    batch: &Batch,
    split: &Split,
    options: &EvaluateOptions,
) -> Result<Vec<ImageResult>, EvalError> {
    let candidates = Candidates::of_maps(model.detector(), outputs, decoding(options))?;
    Ok(against_labels(candidates, batch, split, options))
}

fn decoding(options: &EvaluateOptions) -> DecodeOptions {
    DecodeOptions { confidence: options.conf, multi_label: true }
}

/// What stays of the candidates, beside the labels.
fn against_labels(
    Candidates { images, suppression }: Candidates,
    batch: &Batch,
    split: &Split,
    options: &EvaluateOptions,
) -> Vec<ImageResult> {
    let usual = UsualIou { anchors: 0.6, distribution: 0.7 };
    let images = images.into_par_iter().zip(batch.origins.par_iter()).map(|(found, origin)| {
        let kept = suppression.kept(found, options.iou, usual, options.max_det);
        image_result(kept, origin, &split.samples[origin.sample])
    });
    images.collect()
}

/// Detections and labels of an image in its own pixels.
fn image_result(detections: Vec<Detection>, origin: &Origin, sample: &Sample) -> ImageResult {
    let to_image = |found: Detection| Detection { corners: origin.to_image(found.corners), ..found };
    let [width, height] = [origin.width as f32, origin.height as f32];
    let truths = sample.boxes.iter().map(|label| label.in_pixels(width, height));
    ImageResult::new(detections.into_iter().map(to_image).collect(), truths.collect())
}

#[cfg(test)]
mod tests;
