//! Distillation as a whole: what falls, what is refused, what is shown.

use candle_core::Tensor;

use super::*;
use crate::{
    data::{Augment, BatchOptions, Batches, Dataset, ShapesOptions, shapes},
    exec,
    model::Model,
    progress::Silent,
    train::{FitOptions, Objective, ObjectiveValue, OptimizerKind, TermInput, loss::Gains},
    zoo,
};

pub(super) fn model(variant: &str, width: f64, seed: u64) -> Model {
    let classes = ["circle", "square"].map(String::from).to_vec();
    let fresh = zoo::yolo(variant, &zoo::Fresh { classes, width: Some(width), depth: Some(0.1), seed }).unwrap();
    // Untrained networks hardly react to their images; larger scales make them.
    let louder = |(name, tensor): (&String, &Tensor)| {
        let factor = if name.ends_with("bn.weight") { 4.0 } else { 1.0 };
        (name.clone(), (tensor * factor).unwrap())
    };
    fresh.with_tensors(fresh.tensors().iter().map(louder).collect()).unwrap()
}

/// A fresh network whose normalisations know their inputs, so that its features are of the size that training gives them.
pub(super) fn settled(variant: &str, width: f64, seed: u64) -> Model {
    let classes = ["circle", "square"].map(String::from).to_vec();
    let fresh = zoo::yolo(variant, &zoo::Fresh { classes, width: Some(width), depth: Some(0.1), seed }).unwrap();
    let moved = exec::train(&fresh, &pictures(8), &[]).unwrap().running;
    let momentum = 0.03;
    let graph = fresh.graph();
    let last: Vec<String> = graph.outputs().iter().map(|&id| graph.node(id).tensor_name("weight")).collect();
    let statistic = |(name, tensor): (&String, &Tensor)| match moved.get(name) {
        // What the batch had, from the average before and after it.
        Some(after) => (name.clone(), ((after - (tensor * (1.0 - momentum)).unwrap()).unwrap() / momentum).unwrap()),
        // A fresh head says the same everywhere.
        None if last.contains(name) => (name.clone(), (tensor * 3.0).unwrap()),
        None => (name.clone(), tensor.clone()),
    };
    fresh.with_tensors(fresh.tensors().iter().map(statistic).collect()).unwrap()
}

/// The first pictures of the data.
pub(super) fn pictures(count: usize) -> Tensor {
    let options = BatchOptions { size: 64, batch: count, augment: Augment::none(), ..BatchOptions::default() };
    Batches::train(data().split("train").unwrap(), &options).unwrap().next().unwrap().unwrap().images
}

pub(super) fn data() -> Dataset {
    let classes = ["circle", "square"].map(String::from).to_vec();
    shapes(&ShapesOptions { train: 8, val: 2, size: 64, seed: 3, classes }).unwrap()
}

pub(super) fn images() -> Tensor {
    let pixels = (0..2 * 3 * 64 * 64).map(|index| 0.5 + 0.5 * (index as f32 * 0.37).sin()).collect();
    Tensor::from_vec(pixels, (2, 3, 64, 64), &candle_core::Device::Cpu).unwrap()
}

pub(super) fn weights(weights: &[(&str, f32)]) -> DistillOptions {
    unscaled(weights.iter().fold(Terms::none(), |all, (term, weight)| all.with(term, *weight)))
}

/// Terms whose weights multiply their losses.
pub(super) fn unscaled(terms: Terms) -> DistillOptions {
    DistillOptions { terms, balance: 0.0, ..DistillOptions::default() }
}

/// The parts of the distillation terms, after the three of the detection loss.
fn distances(objective: &Objective, student: &Model, images: &Tensor) -> (Vec<f32>, ObjectiveValue) {
    // A student that is run as the teacher is: without batch statistics.
    let values = exec::infer(student, images, &objective.taps()).unwrap();
    let tensors = objective.tensors().unwrap();
    let value = objective.compute(&TermInput::new(images, &[], student, &values, &tensors, 0.0)).unwrap();
    assert_eq!(value.parts.len(), objective.part_names().len());
    (value.parts[3..].to_vec(), value)
}

#[test]
fn a_model_is_at_no_distance_from_itself() {
    for variant in ["yolov5n", "yolov8n"] {
        let (teacher, images) = (model(variant, 0.0625, 1), images());
        let options = weights(&[("logits", 0.3), ("boxes", 0.5), ("cwd", 0.03), ("at", 1.0)]);
        let itself = objective(&teacher, &teacher, &options, &Gains::default()).unwrap();
        assert_eq!(itself.part_names()[3..], ["logits", "boxes", "cwd", "at"].map(|name| format!("distill_{name}")));
        assert_eq!(itself.taps().len(), 3, "{variant}: a feature for each level");
        assert!(itself.tensors().unwrap().is_empty(), "{variant}: equal widths need no adapter");
        let (found, value) = distances(&itself, &teacher, &images);
        assert!(found.iter().all(|part| part.abs() < 1e-4), "{variant}: {found:?}");
        let largest = |tensor: &Tensor| tensor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(value.gradients.values().taps.values().all(|gradient| largest(gradient) < 1e-4));

        let other = model(variant, 0.0625, 2);
        let (found, _) = distances(&itself, &other, &images);
        assert!(found.iter().all(|part| *part > 1e-4), "{variant}: {found:?}");
    }
}

#[test]
fn other_widths_get_adapters_that_learn() {
    let (teacher, student) = (model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2));
    let objective = objective(&teacher, &student, &weights(&[("cwd", 20.0)]), &Gains::default()).unwrap();
    let (_, value) = distances(&objective, &student, &images());
    let tensors = objective.tensors().unwrap();
    assert!(!tensors.is_empty());
    for (name, tensor) in &tensors {
        assert_eq!(value.gradients.tensors()[name].dims(), tensor.dims(), "{name}");
    }
    // One step down the adapters' gradients brings the features closer.
    let (images, name) = (images(), tensors.keys().next().unwrap());
    // Batch statistics give an untrained student features that vary.
    let values = exec::train(&student, &images, &objective.taps()).unwrap().values;
    let compute = |tensors: &crate::model::Tensors| {
        objective.compute(&TermInput::new(&images, &[], &student, &values, tensors, 0.0)).unwrap()
    };
    let before = compute(&tensors);
    let mut moved = tensors.clone();
    let down = (&before.gradients.tensors()[name] * 1e-2).unwrap();
    moved.insert(name.clone(), (&tensors[name] - down).unwrap());
    let (before, after) = (before.parts.last().unwrap(), *compute(&moved).parts.last().unwrap());
    assert!(after < *before, "{after} against {before}");
}

#[test]
fn features_of_a_batch_are_compared_as_those_of_each_image() {
    let (teacher, student) = (model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2));
    let objective = objective(&teacher, &student, &weights(&[("cwd", 20.0)]), &Gains::default()).unwrap();
    const COUNT: usize = 13;
    let pixels = (0..COUNT * 3 * 64 * 64).map(|index| 0.5 + 0.5 * (index as f32 * 0.37).sin()).collect();
    let images = Tensor::from_vec(pixels, (COUNT, 3, 64, 64), &candle_core::Device::Cpu).unwrap();
    let (found, all) = distances(&objective, &student, &images);
    let each = (0..COUNT).map(|index| distances(&objective, &student, &images.narrow(0, index, 1).unwrap()));
    let (parts, each): (Vec<Vec<f32>>, Vec<_>) = each.unzip();
    let mean = parts.iter().map(|parts| parts[0]).sum::<f32>() / COUNT as f32;
    assert!((found[0] - mean).abs() < 1e-4 * mean, "{} against {mean}", found[0]);
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let near = |what: &str, found: &Tensor, expected: &Tensor| {
        let (found, expected) = (numbers(found), numbers(expected));
        let scale = expected.iter().fold(0.0f32, |scale, number| scale.max(number.abs()));
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(scale > 0.0 && apart < 1e-4 * scale, "{what}: {apart} apart, largest {scale}");
    };
    for (tap, gradient) in &all.gradients.values().taps {
        let one_by_one: Vec<_> = each.iter().map(|value| &value.gradients.values().taps[tap]).collect();
        near("features", gradient, &Tensor::cat(&one_by_one, 0).unwrap());
    }
    for (name, gradient) in all.gradients.tensors() {
        let one_by_one: Vec<_> = each.iter().map(|value| &value.gradients.tensors()[name]).collect();
        near(name, gradient, &Tensor::stack(&one_by_one, 0).unwrap().sum(0).unwrap());
    }
}

#[test]
fn distances_shrink_and_are_reported() {
    let options = weights(&[("logits", 500.0), ("boxes", 10.0), ("cwd", 10.0), ("at", 10.0)]);
    let distiller = Distiller::new(&model("yolov8n", 0.125, 1), &model("yolov8n", 0.0625, 2), options).unwrap();
    // With next to no weight on the labels, all there is to learn is the teacher.
    let gains = Gains { box_gain: Some(0.0), class_gain: Some(0.01), dfl_gain: Some(0.0), ..Gains::default() };
    let fit = FitOptions {
        epochs: 15,
        batch: 4,
        size: 64,
        lr: 5e-3,
        optimizer: OptimizerKind::AdamW,
        momentum: 0.9,
        augment: Augment::none(),
        gains,
        validate: false,
        ..FitOptions::default()
    };
    let run = distiller.fit(&data(), &fit, &Silent).unwrap();
    for name in ["distill_logits", "distill_boxes", "distill_cwd", "distill_at"] {
        let column = run.parts.iter().position(|part| part == name).unwrap();
        let losses: Vec<f64> = run.history.iter().map(|epoch| epoch.losses[column]).collect();
        assert!(losses[14] < 0.9 * losses[0], "{name}: {losses:?}");
    }
    assert_eq!(run.model.tensors().len(), distiller.student().tensors().len(), "adapters stay out of the model");
}

#[test]
fn pairs_that_do_not_fit_are_refused() {
    let teacher = model("yolov5n", 0.0625, 1);
    let classes = ["ring", "star"].map(String::from);
    let other = crate::train::with_classes(&teacher, &classes, 0).unwrap();
    let error = Distiller::new(&teacher, &other, DistillOptions::default()).unwrap_err().to_string();
    assert!(error.contains("ring") && error.contains("square") && error.contains("no class of the same"), "{error}");
    let other = model("yolov8n", 0.0625, 1);
    let error = Distiller::new(&teacher, &other, DistillOptions::default()).unwrap_err().to_string();
    assert!(error.contains("head") && error.contains("`logits`") && error.contains("`box_iou`"), "{error}");
    Distiller::new(&teacher, &other, weights(&[("cwd", 1.0), ("box_iou", 1.0)])).unwrap();
    let cold = DistillOptions { temperature: 0.0, ..DistillOptions::default() };
    let error = Distiller::new(&teacher, &teacher, cold).unwrap_err().to_string();
    assert!(error.contains("temperature") && error.contains("0.1"), "{error}");
    let unknown = weights(&[("logit", 1.0)]);
    let error = Distiller::new(&teacher, &teacher, unknown).unwrap_err().to_string();
    assert!(error.contains("`logit`") && error.contains("logits, quality, boxes, box_iou, hint"), "{error}");
}

/// Asks to stop after the first step.
struct StopAtOnce(std::sync::atomic::AtomicBool);

impl crate::progress::Progress for StopAtOnce {
    fn start(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64, _message: &str) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
    fn stop_requested(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn a_distillation_is_resumed_only_as_it_began_and_keeps_masks() {
    let (teacher, student) = (model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2));
    let name = "model.0.conv.weight";
    let shape = student.tensors()[name].dims().to_vec();
    let held: Vec<f32> = (0..shape.iter().product()).map(|index| (index % 3 != 0) as u8 as f32).collect();
    let mask = Tensor::from_vec(held.clone(), shape, &candle_core::Device::Cpu).unwrap();
    let student = student.with_masks([(name.to_string(), mask)].into()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = weights(&[("logits", 0.3), ("cwd", 0.03)]);
    let fit = FitOptions { epochs: 1, batch: 4, size: 64, validate: false, ..FitOptions::default() };
    let distiller =
        |teacher: &Model, options: &DistillOptions| Distiller::new(teacher, &student, options.clone()).unwrap();
    let whole = distiller(&teacher, &options).fit(&data(), &fit, &Silent).unwrap();
    let kept = FitOptions { folder: Some(folder.path().join("run")), ..fit };
    let stopped = distiller(&teacher, &options).fit(&data(), &kept, &StopAtOnce(false.into())).unwrap();
    assert!(stopped.stopped);
    let resume = FitOptions { resume: stopped.folder, ..FitOptions::default() };
    let refused = |teacher: &Model, options: DistillOptions, words: &[&str]| {
        let error = distiller(teacher, &options).fit(&data(), &resume, &Silent).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&model("yolov5n", 0.125, 3), options.clone(), &["distill_logits", "teacher"]);
    let other = DistillOptions { temperature: 3.0, ..options.clone() };
    refused(&teacher, other, &["distill_logits", "temperature = 2.0, not 3.0"]);
    let other = DistillOptions { terms: options.terms.clone().with("cwd", 0.5), ..options.clone() };
    refused(&teacher, other, &["distill_cwd", "weight = 0.03, not 0.5"]);
    let other = DistillOptions { terms: options.terms.clone().with("at", 1.0), ..options.clone() };
    refused(&teacher, other, &["distill_cwd, distill_at"]);
    let resumed = distiller(&teacher, &options).fit(&data(), &resume, &Silent).unwrap();
    let numbers = |model: &Model| model.tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(&resumed.last), numbers(&whole.last));
    for (number, held) in numbers(&resumed.last).iter().zip(held) {
        assert_eq!(*number == 0.0, held == 0.0);
    }
    assert!(resumed.last.masks().contains_key(name));
}

/// Each term is its weight times that share of the detection loss, also after a run was interrupted while it was measured.
#[test]
fn balanced_terms_are_shares_of_the_detection_loss() {
    let (teacher, student) = (settled("yolov5n", 0.125, 1), settled("yolov5n", 0.0625, 2));
    let terms = Terms::none().with("hint", 1.0).with("logits", 2.0);
    let options = DistillOptions { terms, balance: 0.3, ..DistillOptions::default() };
    let fit = FitOptions { epochs: 3, batch: 1, size: 64, lr: 1e-4, validate: false, ..FitOptions::default() };
    let distiller = Distiller::new(&teacher, &student, options).unwrap();
    let whole = distiller.fit(&data(), &fit, &Silent).unwrap();
    assert_eq!(whole.parts[3..], ["distill_logits", "distill_hint"]);
    let first = &whole.history[0].losses;
    let detection: f64 = first[..3].iter().sum();
    for (found, share) in first[3..].iter().zip([0.6, 0.3]) {
        // The first epoch is within the steps that are measured; single images differ.
        assert!((found / detection / share - 1.0).abs() < 0.3, "{found} of {detection}");
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = FitOptions { folder: Some(folder.path().join("run")), ..fit };
    let stopped = distiller.fit(&data(), &kept, &StopAtOnce(false.into())).unwrap();
    let resume = FitOptions { resume: stopped.folder, ..FitOptions::default() };
    let resumed = distiller.fit(&data(), &resume, &Silent).unwrap();
    for (name, tensor) in whole.last.tensors() {
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(tensor), numbers(&resumed.last.tensors()[name]), "{name}");
    }
}
