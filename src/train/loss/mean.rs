//! The detection loss of a model on a split.

use super::{detection::DetectionLoss, error::LossError, gains::Gains};
use crate::{
    data::Dataset,
    eval::{ActivationOptions, EvalError, check_classes, over_batches},
    exec::Inference,
    model::Model,
    progress::Progress,
};

/// The detection loss of a mean image, without augmentation and with running statistics, as validation counts it: the sum
/// of the parts with the weights of training at that size ([`Gains::for_training`]).
///
/// # Errors
/// Options out of range, a split that is not there, cannot be read or has other classes, a network that does not run, or a
/// listener that asks to stop.
pub fn mean_loss(
    model: &Model,
    dataset: &Dataset,
    options: &ActivationOptions,
    progress: &dyn Progress,
) -> Result<f64, EvalError> {
    check_classes(model, dataset)?;
    let failed = |error: LossError| EvalError::Loss(error.into());
    let gains = Gains::default().for_training(model.detector(), options.size);
    let loss = DetectionLoss::new(model.detector(), &gains).map_err(failed)?;
    let network = Inference::new(model, &[])?;
    let (mut sum, mut images) = (0.0, 0);
    over_batches(model, dataset, options, progress, "loss", |batch| {
        let outputs = network.run(&batch.images)?.outputs;
        sum += f64::from(loss.compute(&outputs, &batch.targets).map_err(failed)?.total);
        images += batch.origins.len();
        Ok(())
    })?;
    Ok(sum / images.max(1) as f64)
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
    fn it_is_the_mean_of_its_batches_and_of_training_gains() {
        let data = shapes(&ShapesOptions { train: 4, val: 1, size: 32, ..ShapesOptions::default() }).unwrap();
        let model = tiny_detector(6);
        let of = |batch, images| {
            let options = ActivationOptions { images, batch, size: 32, ..ActivationOptions::default() };
            mean_loss(&model, &data, &options, &Silent).unwrap()
        };
        let batch = crate::data::Batches::eval(data.split("train").unwrap(), 32, 4).unwrap().next().unwrap().unwrap();
        let gains = Gains::default().for_training(model.detector(), 32);
        let outputs = Inference::new(&model, &[]).unwrap().run(&batch.images).unwrap().outputs;
        let loss = DetectionLoss::new(model.detector(), &gains).unwrap().compute(&outputs, &batch.targets).unwrap();
        assert!((of(4, 4) - f64::from(loss.total) / 4.0).abs() < 1e-6 * of(4, 4));
        assert!(of(1, 1) != of(1, 4));
        let others = mean_loss(&tiny_detector(2), &data, &ActivationOptions::default(), &Silent).unwrap_err();
        assert!(others.to_string().contains("classes"), "{others}");
    }
}
