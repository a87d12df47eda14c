//! Several teachers: means by hand, classes by name, what is refused, and resumption.

use candle_core::Device;

use super::{
    super::{
        DistillOptions, Distiller, Terms,
        tests::{data, images, settled as model, unscaled, weights},
    },
    *,
};
use crate::{
    progress::Silent,
    train::{FitOptions, OptimizerKind, loss::Gains, with_classes},
};

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found} against {expected}");
    }
}

fn tensor(numbers: &[f32], dims: &[usize]) -> Tensor {
    Tensor::from_slice(numbers, dims, &Device::Cpu).unwrap()
}

#[test]
fn probabilities_and_distributions_are_averaged() {
    let logit = |share: f32| (share / (1.0 - share)).ln();
    let pair = [[0.2f32, 0.9], [0.6, 0.5]].map(|shares| tensor(&shares.map(logit), &[2]));
    near(&numbers(&mean_logit(&pair).unwrap()), &[logit(0.4), logit(0.7)]);
    // Far out, where a sigmoid is rounded to 0 or 1, the digits stay.
    let far = tensor(&[-140.0, 140.0, 12.5], &[3]);
    near(&numbers(&mean_logit(&[far.clone(), far.clone()]).unwrap()), &numbers(&far));

    // One place, one side that differs: shares 1/4, 3/4 and 3/4, 1/4 of two bins come to halves.
    let bins = |first: f32| tensor(&[first.ln(), (1.0 - first).ln()].repeat(4), &[1, 4, 2, 1, 1]);
    let mean = mean_distribution(&[bins(0.25), bins(0.75)]).unwrap();
    near(&numbers(&mean), &[0.5f32.ln(); 8]);
    let lopsided = mean_distribution(&[bins(0.1), bins(0.3)]).unwrap();
    near(&numbers(&lopsided), &[0.2f32.ln(), 0.8f32.ln()].repeat(4));
    let distance = |side: f32| tensor(&[side; 4], &[1, 4, 1, 1, 1]);
    near(&numbers(&mean_distribution(&[distance(1.0), distance(4.0)]).unwrap()), &[2.5; 4]);
}

#[test]
fn twins_say_what_one_says() {
    for variant in ["yolov5n", "yolov8n"] {
        let one = model(variant, 0.0625, 1);
        let ensemble = Ensemble::new(&[one.clone(), one.clone()], &[3]).unwrap();
        let (found, expected) =
            (ensemble.values(&images()).unwrap(), crate::exec::infer(&one, &images(), &[3]).unwrap());
        assert_eq!(ensemble.detector(), one.detector());
        for (found, expected) in found.outputs.iter().zip(&expected.outputs) {
            assert_eq!(found.dims(), expected.dims());
            if variant == "yolov5n" || found.dims()[1] == 2 {
                near(&numbers(found), &numbers(expected));
            } else {
                // Bins are told up to what a softmax does not see.
                let shares = |map: &Tensor| {
                    let (n, _, h, w) = map.dims4().unwrap();
                    numbers(&candle_nn::ops::softmax(&map.reshape((n, 4, 16, h * w)).unwrap(), 2).unwrap())
                };
                near(&shares(found), &shares(expected));
            }
        }
        assert_eq!(numbers(&found.taps[&3]), numbers(&expected.taps[&3]));
    }
}

/// A class counts by those who know it, whatever its place among their classes.
#[test]
fn classes_are_matched_by_name_teacher_by_teacher() {
    for variant in ["yolov5n", "yolov8n"] {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let first = model(variant, 0.0625, 1);
        let second = with_classes(&model(variant, 0.0625, 2), &names(&["star", "circle"]), 5).unwrap();
        let ensemble = Ensemble::new(&[first.clone(), second.clone()], &[]).unwrap();
        assert_eq!(ensemble.detector().classes, names(&["circle", "square", "star"]));
        let all = ensemble.values(&images()).unwrap().outputs;
        let of = |model: &Model| crate::exec::infer(model, &images(), &[]).unwrap().outputs;
        let (first, second) = (of(&first), of(&second));
        // The maps with classes of the finest level, the classes of their first anchor.
        let map = ensemble.detector().outputs.iter().position(|output| output.kind != OutputKind::Boxes).unwrap();
        let skip = if variant == "yolov5n" { 5 } else { 0 };
        let class = |outputs: &[Tensor], class: usize| outputs[map].narrow(1, skip + class, 1).unwrap();
        let both = mean_logit(&[class(&first, 0), class(&second, 1)]).unwrap();
        near(&numbers(&class(&all, 0)), &numbers(&both));
        near(&numbers(&class(&all, 1)), &numbers(&class(&first, 1)));
        near(&numbers(&class(&all, 2)), &numbers(&class(&second, 0)));
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (first, student) = (model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2));
    let says = |teachers: &[Model], options: DistillOptions, words: &[&str]| {
        let text = Distiller::of_several(teachers, &student, options).unwrap_err().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let usual = DistillOptions::default;
    says(&[], usual(), &["needs a teacher"]);
    says(&[first.clone(), model("yolov8n", 0.125, 1)], usual(), &["teacher 2", "anchors", "bins a side"]);
    says(&[first.clone(), first.clone()], weights(&[("crosskd", 1.0)]), &["`crosskd`", "there are 2"]);
    let foreign = with_classes(&first, &["ring", "star"].map(String::from), 0).unwrap();
    says(&[first, foreign], usual(), &["ring", "no class of the same name"]);
}

#[test]
fn a_student_learns_from_two_and_resumes_with_both_alone() {
    let student = model("yolov5n", 0.0625, 3);
    let teachers = [model("yolov5n", 0.125, 1), model("yolov5n", 0.0625, 2)];
    let terms = Terms::none().with("logits", 300.0).with("box_iou", 1.0).with("score_l2", 1e-3);
    let options = unscaled(terms);
    let distiller = |teachers: &[Model]| Distiller::of_several(teachers, &student, options.clone()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    let fit = FitOptions { epochs: 8, batch: 4, size: 64, lr: 5e-3, validate: false, ..FitOptions::default() };
    // With next to no weight on the labels, all there is to learn is the teachers.
    let gains = Gains { box_gain: Some(0.0), objectness_gain: Some(0.01), class_gain: Some(0.01), ..Gains::default() };
    let (augment, folder) = (crate::data::Augment::none(), Some(run.clone()));
    let fit = FitOptions { optimizer: OptimizerKind::AdamW, momentum: 0.9, gains, augment, folder, ..fit };
    let found = distiller(&teachers).fit(&data(), &fit, &Silent).unwrap();
    let losses: Vec<f64> = found.history.iter().map(|epoch| epoch.losses[3]).collect();
    assert!(losses[7] < 0.9 * losses[0], "{losses:?}");
    // One of them alone is another run.
    let resume = FitOptions { resume: Some(run), ..FitOptions::default() };
    let error = distiller(&teachers[..1]).fit(&data(), &resume, &Silent).unwrap_err().to_string();
    assert!(error.contains("distill_logits") && error.contains("teacher"), "{error}");
}
