//! Evaluation and prediction, against each other and against the reference.

use super::*;
use crate::{
    boxes::iou,
    data::{ShapesOptions, dataset, shapes},
    eval::{average_precision::Rule, options::PredictOptions, predict::Predictor},
    io::load,
    model::fixtures::tiny_detector,
    progress::Silent,
    testing::shared,
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
    let few = evaluate(&model, &data, &EvaluateOptions { max_det: 3, ..small() }, &Silent).unwrap();
    assert!(few.detections <= 15);
    let none = evaluate(&model, &data, &EvaluateOptions { conf: 1.0, ..small() }, &Silent).unwrap();
    assert_eq!((none.detections, none.scores.overall.map), (0, 0.0));
}

#[test]
fn a_prediction_is_what_evaluation_sees() {
    let (model, data) = (tiny_detector(6), drawn());
    let image = data.split("val").unwrap().image(0).unwrap();
    let options = PredictOptions { size: 64, conf: 0.1, ..PredictOptions::default() };
    let predictor = Predictor::new(&model, options).unwrap();
    let found = predictor.predict(&image).unwrap();
    assert_eq!(predictor.predict(&image).unwrap(), found);
    assert!(!found.is_empty() && found.is_sorted_by(|a, b| a.confidence >= b.confidence));
    assert!(found.iter().all(|one| one.confidence > 0.1 && one.corners.iter().all(|side| (0.0..=64.0).contains(side))));
    let doubled = image::imageops::resize(&image, 128, 128, image::imageops::FilterType::Nearest);
    let also = predictor.predict(&doubled).unwrap();
    assert!(also.iter().all(|one| one.corners.iter().all(|side| (0.0..=128.0).contains(side))));
    assert!(also.iter().any(|one| one.corners.iter().any(|&side| side > 64.0)));
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    let (model, data) = (tiny_detector(6), drawn());
    let message = |model: &Model, data: &Dataset, options: EvaluateOptions| {
        evaluate(model, data, &options, &Silent).unwrap_err().to_string()
    };
    let expected = "option \"size\" takes a multiple of the model's largest stride, 8, such as 56 or 64, not 60";
    assert_eq!(message(&model, &data, EvaluateOptions { size: 60, ..small() }), expected);
    assert!(message(&model, &data, EvaluateOptions { size: 0, ..small() }).contains("from 32 to 8192"));
    assert!(message(&model, &data, EvaluateOptions { batch: 0, ..small() }).ends_with("not 0"));
    assert!(message(&model, &data, EvaluateOptions { conf: f32::NAN, ..small() }).ends_with("not NaN"));
    assert!(message(&model, &data, EvaluateOptions { iou: Some(1.5), ..small() }).ends_with("not 1.5"));
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
    fn stop_requested(&self) -> bool {
        true
    }
}

#[test]
fn stops_after_a_batch() {
    let stopped = evaluate(&tiny_detector(6), &drawn(), &small(), &Impatient);
    assert!(matches!(stopped, Err(EvalError::Stopped { done: 2, total: 5, .. })));
}

/// From the checkpoint and the images to the metrics, against what PyTorch's packages make of them.
#[test]
fn blood_cells_score_as_the_goldens_say() {
    let (Some(yaml), Some(_)) = (shared("data/bccd/data.yaml"), shared("goldens")) else { return };
    let data = dataset(yaml).unwrap();
    for name in ["yolov5n-bccd", "yolov8n-bccd"] {
        let model = load(shared(&format!("models/{name}.pt")).unwrap()).unwrap();
        let text = std::fs::read(shared(&format!("goldens/{name}.eval.json")).unwrap()).unwrap();
        let golden: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let options = EvaluateOptions { size: 320, ..EvaluateOptions::default() };
        let split = check_evaluation(&model, &data, &options).unwrap();
        let (images, _, _) = run((&model).into(), split, &options, &Silent, &mut |_, _| Ok(())).unwrap();
        assert_eq!(images.len(), 87);
        for rule in Rule::ALL {
            let scores = average_precision(&images, rule);
            let golden = &golden[rule.name()];
            let close = |found: f64, key: &str| {
                let expected = golden[key].as_f64().unwrap();
                println!("{name}, {}, {key}: {found:.4} beside {expected:.4}", rule.name());
                assert!((found - expected).abs() < 0.005, "{name}, {}, {key}: {found}, not {expected}", rule.name());
            };
            close(scores.overall.map50, "map50");
            close(scores.overall.map, "map");
            if rule == Rule::Coco {
                close(scores.coco.unwrap().ar100.unwrap(), "ar100");
            } else {
                close(scores.overall.precision, "precision");
                close(scores.overall.recall, "recall");
            }
        }
    }
}

#[test]
fn predictions_equal_the_golden_boxes() {
    let Some(image) = shared("data/bccd/images/val/BloodImage_00000.jpg") else { return };
    let Some(golden) = shared("goldens/yolov5n-bccd.json") else { return };
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let expected: Vec<[f32; 6]> = serde_json::from_value(golden["nms_conf25_iou45"].clone()).unwrap();
    let model = load(shared("models/yolov5n-bccd.pt").unwrap()).unwrap();
    let found = Predictor::new(&model, PredictOptions { size: 320, ..PredictOptions::default() }).unwrap();
    let found = found.predict_file(image).unwrap();
    // Another JPEG decoder moves confidences by some hundredths, so boxes near the threshold may come or go.
    assert!(found.len().abs_diff(expected.len()) <= 2, "{found:#?}");
    let sure = |[.., confidence, _]: &[f32; 6]| *confidence > 0.35;
    assert_eq!(expected.iter().filter(|row| sure(row)).count(), 17);
    for [left, top, right, bottom, confidence, class] in expected.into_iter().filter(sure) {
        // 640×480 pixels fill the square's width; 40 rows of grey lie above.
        let corners = [left * 2.0, (top - 40.0) * 2.0, right * 2.0, (bottom - 40.0) * 2.0];
        let corners: [f32; 4] = std::array::from_fn(|i| corners[i].clamp(0.0, [640.0, 480.0][i % 2]));
        let near = |one: &&Detection| one.class == class as usize && iou(one.corners, corners) > 0.9;
        let same = found.iter().find(near).unwrap_or_else(|| panic!("no box like {corners:?} in {found:#?}"));
        assert!((same.confidence - confidence).abs() < 0.05, "{same:?}, not {confidence}");
    }
}
