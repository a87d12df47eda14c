use super::*;
use crate::{
    data::{ShapesOptions, shapes},
    eval::{PredictOptions, predict_image},
    model::fixtures::tiny_detector,
    progress::Silent,
};

fn drawn() -> Dataset {
    shapes(&ShapesOptions { train: 1, val: 5, size: 64, ..ShapesOptions::default() }).unwrap()
}

fn small() -> EvaluateOptions {
    EvaluateOptions { size: 64, batch: 2, ..EvaluateOptions::default() }
}

#[test]
fn batches_and_observers_change_nothing() {
    let (model, data) = (tiny_detector(6), drawn());
    let mut seen = 0;
    let metrics = evaluate_with(&model, &data, &small(), &Silent, &mut |batch, outputs| {
        assert_eq!(outputs[0].dim(0)?, batch.origins.len());
        seen += batch.origins.len();
        Ok(())
    })
    .unwrap();
    assert_eq!((metrics.images, seen), (5, 5));
    assert_eq!(
        metrics.labels,
        data.split("val").unwrap().samples.iter().map(|sample| sample.boxes.len()).sum::<usize>()
    );
    assert!(metrics.detections > 0 && metrics.scores.classes.len() <= 6);
    for batch in [1, 5, 16] {
        let other = evaluate(&model, &data, &EvaluateOptions { batch, ..small() }, &Silent).unwrap();
        assert_eq!(other.detections, metrics.detections);
        assert!((other.scores.overall.map50 - metrics.scores.overall.map50).abs() < 1e-6);
    }
    let few = evaluate(&model, &data, &EvaluateOptions { max_detections: 3, ..small() }, &Silent).unwrap();
    assert!(few.detections <= 15);
    let none = evaluate(&model, &data, &EvaluateOptions { confidence: 1.0, ..small() }, &Silent).unwrap();
    assert_eq!((none.detections, none.scores.overall.map), (0, 0.0));
}

#[test]
fn a_prediction_is_what_evaluation_sees() {
    let (model, data) = (tiny_detector(6), drawn());
    let image = data.split("val").unwrap().image(0).unwrap();
    let options = PredictOptions { size: 64, confidence: 0.1, ..PredictOptions::default() };
    let found = predict_image(&model, &image, &options).unwrap();
    assert!(!found.is_empty() && found.is_sorted_by(|a, b| a.confidence >= b.confidence));
    assert!(found.iter().all(|one| one.confidence > 0.1 && one.corners.iter().all(|side| (0.0..=64.0).contains(side))));
    let doubled = image::imageops::resize(&image, 128, 128, image::imageops::FilterType::Nearest);
    let also = predict_image(&model, &doubled, &options).unwrap();
    assert!(also.iter().all(|one| one.corners.iter().all(|side| (0.0..=128.0).contains(side))));
    assert!(also.iter().any(|one| one.corners.iter().any(|&side| side > 64.0)));
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    let (model, data) = (tiny_detector(6), drawn());
    let message = |model: &Model, data: &Dataset, options: EvaluateOptions| {
        evaluate(model, data, &options, &Silent).unwrap_err().to_string()
    };
    let expected = "size = 60: expected a multiple of the model's largest stride, 8, such as 56 or 64";
    assert_eq!(message(&model, &data, EvaluateOptions { size: 60, ..small() }), expected);
    assert!(message(&model, &data, EvaluateOptions { size: 0, ..small() }).contains("from 1 to 8192"));
    assert!(message(&model, &data, EvaluateOptions { batch: 0, ..small() }).starts_with("batch = 0"));
    assert!(message(&model, &data, EvaluateOptions { confidence: f32::NAN, ..small() }).starts_with("conf = NaN"));
    assert!(message(&model, &data, EvaluateOptions { iou: Some(1.5), ..small() }).starts_with("iou = 1.5"));
    assert!(message(&model, &data, EvaluateOptions { split: "test".into(), ..small() }).contains("train, val"));
    let other = message(&tiny_detector(2), &data, small());
    assert!(other.contains("tiny knows 2 classes") && other.contains("has 6"), "{other}");
    let failing =
        evaluate_with(&model, &data, &small(), &Silent, &mut |_, _| Err(EvalError::Outputs("observed".into())));
    assert!(failing.unwrap_err().to_string().contains("observed"));
}

/// Asks to stop at once.
struct Impatient;

impl Progress for Impatient {
    fn start(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64, _message: &str) {}
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
    fn stop_requested(&self) -> bool {
        true
    }
}

#[test]
fn stops_after_a_batch() {
    let stopped = evaluate(&tiny_detector(6), &drawn(), &small(), &Impatient);
    assert!(matches!(stopped, Err(EvalError::Stopped { done: 2, total: 5, .. })));
}
