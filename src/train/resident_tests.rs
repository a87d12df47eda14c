//! The reference backend, whose parameters stay on the device, against the fast path; run on the CPU.

use candle_core::{DType, Device, Tensor};

use super::{loss::Gains, parameters::Update, schedule::Decay, trainer::parameters, *};
use crate::{
    data::{Augment, BatchOptions, Batches, Dataset, ShapesOptions, shapes},
    exec::{Backend, ComputeDtype, transfers},
    model::{Model, Tensors},
    progress::Silent,
    zoo,
};

const FAST: Backend = Backend::Fast(ComputeDtype::Fp32);

fn classes() -> Vec<String> {
    ["circle", "square"].map(String::from).to_vec()
}

fn dataset(train: usize) -> Dataset {
    shapes(&ShapesOptions { train, val: 2, size: 64, seed: 3, classes: classes() }).unwrap()
}

fn tiny(variant: &str) -> Model {
    zoo::yolo(variant, &zoo::Fresh { classes: classes(), width: Some(0.0625), depth: Some(0.1), seed: 1 }).unwrap()
}

/// Epochs of one step each, on the same four images.
fn steps(count: usize, backend: Backend) -> FitOptions {
    let options = FitOptions { epochs: count, batch: 4, size: 64, validate: false, ..FitOptions::default() };
    FitOptions { augment: Augment::none(), backend: Some(backend), ..options }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Fresh networks this small are chaotic: at a higher learning rate rounding grows into another course within 20 steps.
/// `both_paths_give_the_same_loss_curve` has trained ones.
#[test]
fn twenty_steps_have_the_losses_of_the_fast_path() {
    let data = dataset(4);
    for variant in ["yolov5n", "yolov8n"] {
        let run = |backend| {
            let options = FitOptions { lr: 2e-4, warmup_epochs: 0.0, ..steps(20, backend) };
            let run = fit(&tiny(variant), &data, &options, &Silent).unwrap();
            run.history.iter().map(|epoch| epoch.losses.iter().sum()).collect::<Vec<f64>>()
        };
        let (fast, reference) = (run(FAST), run(Backend::Reference));
        assert_eq!(reference.len(), 20);
        assert!(fast[19] < 0.98 * fast[0], "nothing is learnt: {fast:?}");
        for (step, (found, expected)) in reference.iter().zip(&fast).enumerate() {
            assert!((found - expected).abs() <= 1e-3 * expected, "{variant} step {step}: {found} against {expected}");
        }
    }
}

/// Weight decay, moments, clipping, masks, averages and running statistics, number by number.
#[test]
fn both_backends_move_the_parameters_alike() {
    let model = tiny("yolov8n");
    let wave = |like: &Tensor, phase: f32| {
        let wave = (0..like.elem_count()).map(|index| 0.5 + (index as f32 * 0.7 + phase).sin()).collect();
        Tensor::from_vec(wave, like.dims(), &Device::Cpu).unwrap()
    };
    let of = |suffixes: &[&str], phase: f32| -> Tensors {
        let chosen = model.tensors().iter().filter(|(name, _)| suffixes.iter().any(|suffix| name.ends_with(suffix)));
        chosen.map(|(name, tensor)| (name.clone(), wave(tensor, phase))).collect()
    };
    let extra =
        Tensors::from([("adapter".to_string(), wave(&Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap(), 0.1))]);
    let held = |(name, tensor): (String, Tensor)| (name, tensor.ge(0.7).unwrap().to_dtype(DType::F32).unwrap());
    let masks: Tensors = of(&["conv.weight"], 2.0).into_iter().map(held).collect();
    let masked = model.with_masks(masks.clone()).unwrap();
    for optimizer in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
        let options = FitOptions { optimizer, weight_decay: 0.1, ..FitOptions::default() };
        let run = |backend| {
            let mut parameters = parameters(backend, &masked, &extra, &options).unwrap();
            let mut norms = Vec::new();
            for step in 0..3 {
                // Normalisation scales have no gradient; that of the adapter is a term's, as is a part of the biases'.
                let reached = of(&["conv.weight", "bias"], step as f32);
                let mut own = of(&["bias"], 1.0);
                own.insert("adapter".into(), wave(&extra["adapter"], step as f32));
                let running = of(&["running_mean", "running_var"], step as f32);
                let update = Update {
                    gradients: [&reached, &own],
                    running: &running,
                    clip: if step == 1 { 3.0 } else { 0.0 },
                    rates: &Rates { lr: [0.1, 0.01, 0.02], momentum: 0.9 },
                    decay: Decay::new(50),
                };
                norms.push(parameters.update(&update).unwrap());
            }
            let bad = of(&["bias"], f32::NAN);
            let rates = Rates { lr: [0.1; 3], momentum: 0.9 };
            let none = Tensors::new();
            let update =
                Update { gradients: [&bad, &none], running: &none, clip: 0.0, rates: &rates, decay: Decay::new(50) };
            assert!(!parameters.update(&update).unwrap().is_finite());
            (norms, parameters)
        };
        let (fast, reference) = (run(FAST), run(Backend::Reference));
        for (found, expected) in reference.0.iter().zip(&fast.0) {
            assert!((found - expected).abs() < 1e-5 * expected, "{found} against {expected}");
        }
        let (expected, found) = (fast.1.arrays().unwrap(), reference.1.arrays().unwrap());
        assert_eq!((found.lengths(), found.steps), (expected.lengths(), 3));
        let pairs =
            [(&found.values, &expected.values), (found.average.as_ref().unwrap(), expected.average.as_ref().unwrap())];
        for (index, (found, expected)) in pairs.into_iter().chain(found.state.iter().zip(&expected.state)).enumerate() {
            for (place, (a, b)) in found.iter().zip(expected.iter()).enumerate() {
                assert!(
                    (a - b).abs() < 1e-5 * b.abs().max(0.1),
                    "{optimizer:?} array {index}[{place}]: {a} against {b}"
                );
            }
        }
        let (tensors, _) = reference.1.tensors().unwrap();
        let zero = |name: &String| {
            numbers(&tensors[name]).iter().zip(numbers(&masks[name])).all(|(a, m)| m == 1.0 || *a == 0.0)
        };
        assert!(masks.keys().all(zero));
    }
}

#[test]
fn few_tensors_cross_in_a_step() {
    let data = dataset(4);
    for variant in ["yolov5n", "yolov8n"] {
        let model = tiny(variant);
        let options = steps(1, Backend::Reference);
        let batches = BatchOptions { size: 64, batch: 4, augment: Augment::none(), ..BatchOptions::default() };
        let batch = Batches::train(data.split("train").unwrap(), &batches).unwrap().next().unwrap().unwrap();
        let objective = Objective::detection(model.detector(), &Gains::default()).unwrap();
        let mut trainer = Trainer::new(&model, &Tensors::new(), &options, 1).unwrap();
        let before = transfers();
        let rates = Rates { lr: [1e-3; 3], momentum: 0.9 };
        assert!(trainer.step(&batch.images, &batch.targets, &objective, &rates, 0.0).unwrap().cause.is_none());
        // Up: the images, the outputs' gradients. Down: the outputs, the gradient's norm.
        assert_eq!(transfers() - before, 4, "{variant}");
        assert!(4 <= 3 + 2 * model.graph().outputs().len());
    }
}

#[test]
fn a_run_resumes_bit_for_bit_and_on_the_other_backend() {
    let (model, data) = (tiny("yolov5n"), dataset(8));
    let folder = tempfile::tempdir().unwrap();
    let options = |name: &str, epochs| FitOptions {
        folder: Some(folder.path().join(name)),
        augment: Augment::default(),
        ..steps(epochs, Backend::Reference)
    };
    let whole = fit(&model, &data, &options("whole", 3), &Silent).unwrap();
    let stopped = fit(&model, &data, &options("stopped", 3), &super::tests::StopAfter::steps(3)).unwrap();
    assert!(stopped.stopped);
    // A resumed run writes on into its folder, so the other backend goes on from a copy.
    let (stopped, copy) = (stopped.folder.unwrap(), folder.path().join("copy"));
    std::fs::create_dir_all(copy.join("weights")).unwrap();
    for entry in std::fs::read_dir(&stopped).unwrap().chain(std::fs::read_dir(stopped.join("weights")).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.join(path.strip_prefix(&stopped).unwrap())).unwrap();
        }
    }
    let resume = |resume: &std::path::Path, backend| {
        let options = FitOptions { resume: Some(resume.into()), backend: Some(backend), ..FitOptions::default() };
        fit(&model, &data, &options, &Silent).unwrap()
    };
    let resumed = resume(&stopped, Backend::Reference);
    let moved = resume(&copy, FAST);
    assert_eq!(resumed.history.len(), 3);
    for (name, expected) in whole.last.tensors() {
        let expected = numbers(expected);
        assert_eq!(numbers(&resumed.last.tensors()[name]), expected, "{name}");
        let moved = numbers(&moved.last.tensors()[name]);
        assert!(moved.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-2 * b.abs() + 1e-3), "{name}");
    }
}
