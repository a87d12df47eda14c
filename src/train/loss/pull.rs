//! How strongly the detection loss pulls at each convolution.

use candle_core::Tensor;

use super::{detection::DetectionLoss, gains::Gains};
use crate::{
    data::{Batch, Dataset},
    eval::{ActivationOptions, EvalError, gradients},
    model::Model,
    progress::Progress,
};

/// Mean magnitude of the detection loss's gradient with respect to the weights of every convolution, by its name, with the
/// weights of the loss's parts that training at that size has ([`Gains::for_training`]); see [`gradients`].
///
/// # Errors
/// As [`gradients`].
pub fn loss_gradients(
    model: &Model,
    dataset: &Dataset,
    options: &ActivationOptions,
    progress: &dyn Progress,
) -> Result<Vec<(String, f64)>, EvalError> {
    let gains = Gains::default().for_training(model.detector(), options.size);
    let loss = DetectionLoss::new(model.detector(), &gains).map_err(|error| EvalError::Loss(error.into()))?;
    let of_outputs = |batch: &Batch, outputs: &[Tensor]| Ok(loss.compute(outputs, &batch.targets)?.gradients);
    gradients(model, dataset, options, &of_outputs, progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{ShapesOptions, shapes},
        model::fixtures::tiny_detector,
        progress::Silent,
    };

    #[test]
    fn the_loss_counts_as_in_training() {
        let model = tiny_detector(6);
        let data = shapes(&ShapesOptions { train: 4, val: 1, size: 32, ..ShapesOptions::default() }).unwrap();
        let options = ActivationOptions { images: 4, batch: 4, size: 32, ..ActivationOptions::default() };
        let with = |gains: &Gains| {
            let loss = DetectionLoss::new(model.detector(), gains).unwrap();
            let of_outputs = |batch: &Batch, outputs: &[Tensor]| Ok(loss.compute(outputs, &batch.targets)?.gradients);
            gradients(&model, &data, &options, &of_outputs, &Silent).unwrap()
        };
        let found = loss_gradients(&model, &data, &options, &Silent).unwrap();
        assert_eq!(found, with(&Gains::default().for_training(model.detector(), 32)));
        assert_ne!(found, with(&Gains::default()));
    }
}
