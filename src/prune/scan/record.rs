//! What is kept of a run: the loss of a batch, or what was found in its images.

use serde::{Deserialize, Serialize};

use super::{
    super::error::PruneError,
    options::{ScanMetric, ScanOptions},
};
use crate::{
    boxes::Truth,
    data::{Batch, Dataset},
    eval::{Detection, EvalError, EvaluateOptions, ImageResult, average_precision, check_evaluation, image_results},
    model::Model,
    train::loss::{DetectionLoss, Gains, LossError},
};

/// What is kept of a run on a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Record {
    /// The loss summed over the images.
    Loss(f32),
    /// What was found, image by image: corners, confidence, class.
    Found(Vec<Vec<([f32; 4], f32, usize)>>),
}

/// Turns raw outputs into records, and records into a score.
pub(super) struct Judge<'a> {
    model: &'a Model,
    dataset: &'a Dataset,
    evaluation: EvaluateOptions,
    /// The loss where it is the metric.
    loss: Option<DetectionLoss>,
    /// The labels of all images seen, in order, where mAP is the metric.
    truths: Vec<Vec<Truth>>,
    images: usize,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// Classes that differ, a split that is not there or has no labels, a size that does not fit.
    pub(super) fn new(model: &'a Model, dataset: &'a Dataset, options: &ScanOptions) -> Result<Self, PruneError> {
        let ScanOptions { size, split, batch, .. } = options;
        let evaluation =
            EvaluateOptions { size: *size, split: split.clone(), batch: *batch, ..EvaluateOptions::default() };
        check_evaluation(model, dataset, &evaluation)?;
        let loss = match options.metric {
            ScanMetric::Loss => {
                let gains = Gains::default().for_training(model.detector(), *size);
                Some(DetectionLoss::new(model.detector(), &gains).map_err(failed)?)
            }
            ScanMetric::Map => None,
        };
        Ok(Self { model, dataset, evaluation, loss, truths: Vec::new(), images: 0 })
    }

    /// Takes note of the next batch.
    ///
    /// # Errors
    /// A split that is not there.
    pub(super) fn begin(&mut self, batch: &Batch) -> Result<(), PruneError> {
        self.images += batch.origins.len();
        if self.loss.is_none() {
            let samples = &self.dataset.split(&self.evaluation.split)?.samples;
            let truths = batch.origins.iter().map(|origin| {
                let [width, height] = [origin.width as f32, origin.height as f32];
                samples[origin.sample].boxes.iter().map(|label| label.in_pixels(width, height)).collect()
            });
            self.truths.extend(truths);
        }
        Ok(())
    }

    /// What is kept of the outputs for a batch.
    ///
    /// # Errors
    /// Outputs that are not those of the detector.
    pub(super) fn see(&self, batch: &Batch, outputs: &[candle_core::Tensor]) -> Result<Record, PruneError> {
        if let Some(loss) = &self.loss {
            return Ok(Record::Loss(loss.compute(outputs, &batch.targets).map_err(failed)?.total));
        }
        let split = self.dataset.split(&self.evaluation.split)?;
        let results = image_results(self.model, outputs, batch, split, &self.evaluation)?;
        let plain = |found: &Detection| (found.corners, found.confidence, found.class);
        Ok(Record::Found(results.iter().map(|image| image.detections().iter().map(plain).collect()).collect()))
    }

    /// The mean loss of an image, or mAP50-95, of the records of all batches in order.
    pub(super) fn score<'r>(&self, records: impl Iterator<Item = &'r Record>) -> f64 {
        let (mut loss, mut found) = (0.0, Vec::new());
        for record in records {
            match record {
                Record::Loss(total) => loss += f64::from(*total),
                Record::Found(images) => found.extend(images),
            }
        }
        if self.loss.is_some() {
            return loss / self.images.max(1) as f64;
        }
        let detection =
            |&(corners, confidence, class): &([f32; 4], f32, usize)| Detection { corners, confidence, class };
        let results = found
            .into_iter()
            .zip(&self.truths)
            .map(|(found, truths)| ImageResult::new(found.iter().map(detection).collect(), truths.clone()));
        average_precision(&results.collect::<Vec<_>>(), self.evaluation.metric).overall.map
    }

    /// How many images were seen.
    pub(super) fn images(&self) -> usize {
        self.images
    }
}

fn failed(error: LossError) -> PruneError {
    EvalError::Loss(error.into()).into()
}
