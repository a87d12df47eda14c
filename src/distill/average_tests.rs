//! A student taught by the average of its own weights.

use std::sync::Arc;

use super::{
    average::{Follow, OwnAverage},
    tests::{data, pictures, settled, weights},
    *,
};
use crate::{
    exec::infer,
    model::Model,
    progress::Silent,
    train::{FitOptions, Hook as _, Objective, Rates, StepContext, Teacher as _, Trainer, loss::Gains},
};

fn student() -> Model {
    settled("yolov8n", 0.0625, 3)
}

fn fit() -> FitOptions {
    FitOptions { epochs: 2, batch: 4, size: 64, validate: false, ..FitOptions::default() }
}

fn bits(values: &crate::exec::Values) -> Vec<Vec<u32>> {
    let bits = |output: &candle_core::Tensor| output.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.outputs.iter().map(|output| bits(output).into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn the_teacher_is_the_average_before_each_step() {
    let (student, images) = (student(), pictures(4));
    let objective = Objective::detection(student.detector(), &Gains::default()).unwrap();
    let mut trainer = Trainer::new(&student, &Default::default(), &fit(), 400).unwrap();
    let teacher = Arc::new(OwnAverage::new(&student, &[]));
    let mut follow = Follow(Arc::clone(&teacher));
    let mut rates = Rates { lr: [0.01; 3], momentum: 0.9 };
    for step in 0..3 {
        let mut context = StepContext { epoch: 0, step, steps: 400, rates: &mut rates, trainer: &mut trainer };
        follow.before_step(&mut context).unwrap();
        let found = bits(&teacher.values(&images).unwrap());
        assert_eq!(found, bits(&infer(&trainer.averaged().unwrap(), &images, &[]).unwrap()), "step {step}");
        // The average is the student at first, and then neither that nor what the student has become.
        for model in [&student, trainer.model()] {
            assert_eq!(found == bits(&infer(model, &images, &[]).unwrap()), step == 0, "step {step}");
        }
        trainer.step(&images, &[], &objective, &Rates { lr: [0.01; 3], momentum: 0.9 }, 0.0).unwrap();
    }
}

#[test]
fn features_of_equal_width_are_compared_without_adapters() {
    let distiller = Distiller::of_own_average(&student(), weights(&[("logits", 1.0), ("hint", 1.0)])).unwrap();
    assert!(distiller.teachers().is_empty());
    let run = distiller.fit(&data(), &fit(), &Silent).unwrap();
    assert_eq!(run.parts[3..], ["distill_logits", "distill_hint"]);
    // Batch statistics and running ones tell them apart even before the first step.
    assert!(run.history.iter().all(|row| row.losses[3..].iter().all(|&loss| loss > 0.0)), "{:?}", run.history);
    assert!(run.setup.teachers.is_empty());
}

#[test]
fn what_needs_another_teacher_is_refused() {
    let own = |options: DistillOptions| Distiller::of_own_average(&student(), options);
    let says = |error: DistillError, words: &str| assert!(error.to_string().contains(words), "{error}");
    says(own(weights(&[("crosskd", 1.0)])).unwrap_err(), "`crosskd` goes through the head of a teacher that stays");
    let cache = DistillOptions { cache: Some("kept".into()), ..weights(&[("logits", 1.0)]) };
    says(own(cache).unwrap_err(), "`cache` keeps what a teacher gives");
    let without = FitOptions { ema: false, ..fit() };
    says(own(weights(&[("logits", 1.0)])).unwrap().fit(&data(), &without, &Silent).unwrap_err(), "`ema: false`");
}
