//! How long a step of training takes.

use candle_core::Tensor;
use espalier_kernels::allocator::Borrowing;

use super::{error::TrainError, objective::Objective, optimizer::Rates, options::FitOptions, trainer::Trainer};
use crate::{
    boxes::{Centred, Truth},
    data::Target,
    eval::{BenchOptions, BenchReport, EvalError, Measured, measure, noise},
    exec::{self, ComputeDtype, StepTimes, TrainOptions, ValueGradients},
    model::Model,
    progress::Progress,
};

/// Times steps of training towards an objective: forward, loss, backward, clipping, optimiser, averaging. The images
/// are noise with [`BOXES`] boxes each; loading and augmentation are not in it.
///
/// # Errors
/// Options out of range, a precision that is not available, a step that fails, or a listener that asks to stop.
pub fn bench(
    model: &Model,
    objective: &Objective,
    options: &BenchOptions,
    progress: &dyn Progress,
) -> Result<BenchReport, TrainError> {
    let _memory = Borrowing::begin();
    options.validate(model)?;
    let (images, targets) = (noise(model, options)?, targets(options.batch, model.detector().classes.len()));
    let (device, training) = (model.device(), FitOptions { precision: options.precision, ..FitOptions::default() });
    let rates = Rates { lr: [1e-6; 3], momentum: training.momentum };
    let mut trainer = Trainer::new(model, &objective.tensors()?, &training, options.warm_up + options.runs)?;
    let mut step = || {
        trainer.step(&images, &targets, objective, &rates, 0.0).map_err(|error| EvalError::Loss(error.into()))?;
        Ok(device.synchronize()?)
    };
    let what = Measured { passes: 3, step: &mut step, profile: &mut || profile(model, &images, options.precision) };
    Ok(measure(model, options, what, progress)?)
}

/// Boxes an image.
pub const BOXES: usize = 12;

/// A forward and a backward pass, with gradients of one everywhere.
fn profile(model: &Model, images: &Tensor, precision: ComputeDtype) -> Result<StepTimes, EvalError> {
    let path = exec::Backend::in_dtype(images.device(), precision)?;
    let tape = exec::train_with(path, model, images, &TrainOptions::default())?;
    let ones = tape.values.outputs.iter().map(Tensor::ones_like).collect::<candle_core::Result<Vec<_>>>()?;
    let gradients = ValueGradients { outputs: ones.into_iter().map(Some).collect(), ..ValueGradients::default() };
    Ok(tape.backward_timed(&gradients)?.1)
}

/// Boxes of all sizes from a twentieth to three tenths of the image, spread over it.
fn targets(batch: usize, classes: usize) -> Vec<Target> {
    let along = |place: usize, step: usize, count: usize| (place * step % count) as f32 / count as f32;
    let target = |place: usize| {
        let bounds = Centred {
            cx: 0.2 + 0.6 * along(place, 37, 101),
            cy: 0.2 + 0.6 * along(place, 53, 103),
            w: 0.05 + 0.25 * along(place, 29, 107),
            h: 0.05 + 0.25 * along(place, 61, 109),
        };
        Target { image: place / BOXES, truth: Truth { class: place % classes.max(1), bounds } }
    };
    (0..batch * BOXES).map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::fixtures::tiny_detector, progress::Silent, train::loss::Gains};

    #[test]
    fn a_step_is_timed_layer_by_layer() {
        let model = tiny_detector(2);
        let objective = Objective::detection(model.detector(), &Gains::default()).unwrap();
        let options =
            BenchOptions { size: 64, batch: 2, runs: 3, warm_up: 1, threads: Some(2), ..BenchOptions::default() };
        let report = bench(&model, &objective, &options, &Silent).unwrap();
        assert_eq!((report.timing.runs(), report.threads), (3, 2));
        let forward = model.cost(64).unwrap().macs as f64;
        assert!((report.macs_per_second / (3.0 * forward * report.images_per_second) - 1.0).abs() < 1e-9);
        let macs: u64 = report.layers.iter().map(|layer| layer.macs).sum();
        assert_eq!(macs as f64, 2.0 * forward);
        assert!(report.layers.iter().filter(|layer| layer.kind == "Conv").all(|layer| layer.backward.is_some()));
    }

    #[test]
    fn boxes_lie_in_their_images() {
        let boxes = targets(3, 2);
        assert_eq!(boxes.len(), 3 * BOXES);
        for found in boxes {
            assert!(found.image < 3 && found.truth.class < 2);
            assert!(found.truth.bounds.corners().iter().all(|side| (0.0..=1.0).contains(side)));
        }
    }
}
