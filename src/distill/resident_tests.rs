//! Distillation on the reference backend, whose parameters stay on the device, against the fast path; run on the CPU.

use super::{
    tests::{data, model, weights},
    *,
};
use crate::{
    data::{Augment, BatchOptions, Batches},
    exec::{Backend, ComputeDtype, transfers},
    progress::Silent,
    train::{FitOptions, Rates, Trainer, loss::Gains},
    zoo,
};

/// Every term; the widths differ, so that there are adapters. The student is as it is made, since one with larger scales
/// is chaotic: rounding grows into another course within a few steps.
fn pair(variant: &str) -> Distiller {
    let options = weights(&[("logits", 0.3), ("boxes", 0.5), ("cwd", 0.03), ("at", 1.0)]);
    let teacher = model(variant, 0.125, 1);
    let (classes, width, depth) = (teacher.detector().classes.clone(), Some(0.0625), Some(0.1));
    let student = zoo::yolo(variant, &zoo::Fresh { classes, width, depth, seed: 2 }).unwrap();
    Distiller::new(&teacher, &student, options).unwrap()
}

fn steps(count: usize, backend: Backend) -> FitOptions {
    let options = FitOptions { epochs: count, batch: 8, size: 64, validate: false, ..FitOptions::default() };
    let options = FitOptions { lr: 5e-5, warmup_epochs: 0.0, augment: Augment::none(), ..options };
    FitOptions { backend: Some(backend), ..options }
}

#[test]
fn twenty_steps_have_the_losses_of_the_fast_path() {
    for variant in ["yolov5n", "yolov8n"] {
        let run = |backend| {
            let run = pair(variant).fit(&data(), &steps(20, backend), &Silent).unwrap();
            run.history.iter().map(|epoch| epoch.losses.iter().sum()).collect::<Vec<f64>>()
        };
        let (fast, reference) = (run(Backend::Fast(ComputeDtype::Fp32)), run(Backend::Reference));
        assert_eq!(reference.len(), 20);
        assert!(fast[19] < 0.99 * fast[0], "nothing is learnt: {fast:?}");
        for (step, (found, expected)) in reference.iter().zip(&fast).enumerate() {
            assert!((found - expected).abs() <= 1e-3 * expected, "{variant} step {step}: {found} against {expected}");
        }
    }
}

#[test]
fn few_tensors_cross_in_a_step() {
    for variant in ["yolov5n", "yolov8n"] {
        let (pair, data, options) = (pair(variant), data(), steps(1, Backend::Reference));
        let objective = objective(&pair.teachers()[0], pair.student(), pair.options(), &Gains::default()).unwrap();
        let mut trainer = Trainer::new(pair.student(), &objective.tensors().unwrap(), &options, 1).unwrap();
        let batches = BatchOptions { size: 64, batch: 4, augment: Augment::none(), ..BatchOptions::default() };
        let batch = Batches::train(data.split("train").unwrap(), &batches).unwrap().next().unwrap().unwrap();
        let (before, rates) = (transfers(), Rates { lr: [1e-3; 3], momentum: 0.9 });
        assert!(trainer.step(&batch.images, &batch.targets, &objective, &rates, 0.0).unwrap().cause.is_none());
        // Up: the images, all gradients. Down: outputs, taps, the teacher's, the adapters; the value of the term in
        // candle's operations, the gradient's norm.
        assert_eq!(transfers() - before, 8, "{variant}");
        assert!(8 <= 3 + 2 * pair.student().graph().outputs().len() + 2 * objective.taps().len());
    }
}
