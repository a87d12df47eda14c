//! What a distillation refuses, and what is left when a term goes astray.

use candle_core::Tensor;

use super::{
    tests::{data, settled, unscaled, weights},
    *,
};
use crate::{
    data::Dataset,
    options::Value,
    progress::Silent,
    train::{FitOptions, TrainError},
};

fn pair(options: DistillOptions) -> Result<Distiller, DistillError> {
    Distiller::new(&settled("yolov5n", 0.125, 1), &settled("yolov5n", 0.0625, 2), options)
}

fn quick() -> FitOptions {
    FitOptions { epochs: 2, batch: 4, size: 64, validate: false, ..FitOptions::default() }
}

/// The data without its boxes.
fn without_boxes() -> Dataset {
    let data = data();
    let mut samples = data.split("train").unwrap().samples.clone();
    samples.iter_mut().for_each(|sample| sample.boxes.clear());
    data.with_train("bare".into(), samples, Vec::new(), Vec::new())
}

fn says(error: DistillError, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn terms_that_look_at_labelled_boxes_need_some() {
    let bare = without_boxes();
    let with = |name: &str, key: &str, value: Value| {
        let terms = Terms::none().with(name, 1e-3).with_option(name, key, value);
        pair(unscaled(terms)).unwrap()
    };
    let refused = |distiller: &Distiller, name: &str| {
        says(distiller.fit(&bare, &quick(), &Silent).unwrap_err(), &[name, "train of bare has none", "labels"]);
    };
    refused(&pair(weights(&[("hint", 1e-3), ("fgd", 1e-3)])).unwrap(), "`fgd`");
    for name in ["logits", "quality", "boxes"] {
        refused(&with(name, "where", Value::Text("positives".into())), name);
    }
    // Without a foreground there is nothing that a box would change but what is outside of it.
    with("fgd", "foreground", Value::Number(0.0)).fit(&bare, &quick(), &Silent).unwrap();
    pair(weights(&[("hint", 1e-3)])).unwrap().fit(&bare, &quick(), &Silent).unwrap();
}

#[test]
fn a_teacher_that_is_asked_for_nothing_is_refused() {
    says(pair(weights(&[])).unwrap_err(), &["no term has a weight above 0", "logits, quality", "`fit`"]);
    says(pair(weights(&[("cwd", 0.0), ("hint", 0.0)])).unwrap_err(), &["no term has a weight above 0"]);
    // Its labels are something.
    pair(DistillOptions { labels: Labels::Teacher, ..weights(&[]) }).unwrap();
}

#[test]
fn options_that_leave_a_term_nothing_are_refused() {
    let with = |key: &str, value: Value| {
        let terms = Terms::none().with("hint", 1.0).with_option("hint", key, value);
        pair(unscaled(terms)).unwrap_err()
    };
    says(with("until", Value::Number(0.0)), &["\"until\" of hint", "above `from`"]);
    says(with("from", Value::Number(1.0)), &["of hint", "above `from`"]);
    says(with("taps", Value::Text("model.99".into())), &["no layer or module `model.99`"]);
    says(with("taps", Value::Text("nothing*".into())), &["nothing*"]);
}

/// Of a loss (a teacher with a weight that is no number) and of gradients (a weight beyond reason) from the second epoch on.
#[test]
fn a_term_that_is_no_longer_finite_is_named_and_the_run_before_it_is_kept() {
    let teacher = settled("yolov5n", 0.125, 1);
    let broken = |(name, tensor): (&String, &Tensor)| match name.starts_with("model.17.cv3") && name.ends_with("weight")
    {
        true => (name.clone(), (tensor * f64::NAN).unwrap()),
        false => (name.clone(), tensor.clone()),
    };
    let broken = teacher.with_tensors(teacher.tensors().iter().map(broken).collect()).unwrap();
    for (teacher, weight, what) in [(broken, 0.01, "the loss"), (teacher, 3e38, "the gradient")] {
        let terms = Terms::none().with("hint", weight).with_option("hint", "from", Value::Number(0.5));
        let options = unscaled(terms);
        let distiller = Distiller::new(&teacher, &settled("yolov5n", 0.0625, 2), options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let fit = FitOptions { folder: Some(folder.path().join("run")), ..quick() };
        let error = distiller.fit(&data(), &fit, &Silent).unwrap_err();
        let text = error.to_string();
        for words in [what, "epoch 2, batch 1", "distill_hint", "`model.17", "weights before that batch are kept, in"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let DistillError::Train(error) = error else { panic!("{text}") };
        let TrainError::Diverged { run, .. } = *error else { panic!("{text}") };
        assert_eq!(run.history.len(), 1);
        let kept = crate::io::load(folder.path().join("run/weights/last.safetensors")).unwrap();
        assert_eq!(kept.tensors().len(), run.last.tensors().len());
    }
}
