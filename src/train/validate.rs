//! Validation between epochs.

use super::{
    FitOptions, TrainError, Validation,
    loss::{DetectionLoss, LossError},
};
use crate::{
    data::Dataset,
    eval::{EvaluateOptions, evaluate_with},
    model::Model,
    progress::Silent,
};

/// Scores a model on the `val` split, with its mean detection losses there.
pub(super) fn validate(
    model: &Model,
    data: &Dataset,
    options: &FitOptions,
    loss: &DetectionLoss,
) -> Result<Validation, TrainError> {
    let evaluation = EvaluateOptions { size: options.size, batch: options.batch, ..EvaluateOptions::default() };
    let mut sums = vec![0.0; loss.part_names().len()];
    let mut images = 0;
    let mut failed: Option<LossError> = None;
    let metrics = evaluate_with(model, data, &evaluation, &Silent, &mut |batch, outputs| {
        match loss.compute(outputs, &batch.targets) {
            Ok(found) => {
                let count = batch.origins.len();
                images += count;
                for (sum, (_, part)) in sums.iter_mut().zip(found.parts) {
                    *sum += f64::from(part) * count as f64;
                }
            }
            Err(error) => failed = Some(error),
        }
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let score = metrics.scores.overall;
    Ok(Validation {
        precision: score.precision,
        recall: score.recall,
        map50: score.map50,
        map: score.map,
        losses: sums.into_iter().map(|sum| sum / images.max(1) as f64).collect(),
    })
}
