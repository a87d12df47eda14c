//! ONNX files beside the models that they were exported from: evaluated, predicted with, timed, compared.

use std::path::Path;

use super::*;
use crate::boxes::iou;
use crate::data::{Dataset, ShapesOptions, dataset, shapes};
use crate::eval::{BenchOptions, Compare, EvaluateOptions, PredictOptions, Predictor, bench, compare, evaluate};
use crate::io::onnx::{Batch, ExportOptions, export};
use crate::io::{load, teacher};
use crate::progress::Silent;
use crate::testing::shared;

fn opened(model: &Model, folder: &Path, options: &ExportOptions) -> OnnxModel {
    let path = folder.join("net.onnx");
    export(model, &path, options, &Silent).unwrap();
    OnnxModel::open(path).unwrap()
}

fn drawn() -> Dataset {
    shapes(&ShapesOptions { train: 1, val: 7, size: 96, ..ShapesOptions::default() }).unwrap()
}

fn small() -> ExportOptions {
    ExportOptions { size: 96, ..ExportOptions::default() }
}

#[test]
fn a_file_is_as_good_as_its_model() {
    let (model, data, folder) = (teacher().unwrap(), drawn(), tempfile::tempdir().unwrap());
    let options = EvaluateOptions { size: 96, batch: 4, ..EvaluateOptions::default() };
    let own = evaluate(&model, &data, &options, &Silent).unwrap();
    assert!(own.scores.overall.map > 0.3, "{own:?}");
    for batch in [Batch::Fixed(1), Batch::Fixed(3), Batch::Dynamic] {
        let file = opened(&model, folder.path(), &ExportOptions { batch, ..small() });
        let found = evaluate(&file, &data, &options, &Silent).unwrap();
        assert_eq!((found.images, found.labels, &found.class_names), (own.images, own.labels, &own.class_names));
        assert!((found.scores.overall.map - own.scores.overall.map).abs() < 1e-3, "{batch:?}: {found:?}");
        assert!((found.scores.overall.map50 - own.scores.overall.map50).abs() < 1e-3, "{batch:?}: {found:?}");
    }
    let file = opened(&model, folder.path(), &small());
    let wrong = evaluate(&file, &data, &EvaluateOptions { size: 64, ..options.clone() }, &Silent).unwrap_err();
    assert!(wrong.to_string().contains("takes 96, the only size that net.onnx was exported for, not 64"), "{wrong}");
    let other = shapes(&ShapesOptions { classes: vec!["circle".into()], train: 1, val: 1, ..ShapesOptions::default() });
    let wrong = evaluate(&file, &other.unwrap(), &options, &Silent).unwrap_err();
    assert!(wrong.to_string().contains("net.onnx knows"), "{wrong}");
}

#[test]
fn a_file_finds_the_boxes_of_its_model() {
    let (model, data, folder) = (teacher().unwrap(), drawn(), tempfile::tempdir().unwrap());
    let options = PredictOptions { size: 96, ..PredictOptions::default() };
    let predictors = [
        Predictor::new(&model, options).unwrap(),
        Predictor::new(&opened(&model, folder.path(), &small()), options).unwrap(),
        Predictor::new(&opened(&model, folder.path(), &ExportOptions { nms: true, ..small() }), options).unwrap(),
    ];
    let mut boxes = 0;
    for image in 0..7 {
        let image = data.split("val").unwrap().image(image).unwrap();
        let [own, file, suppressed] = predictors.each_ref().map(|predictor| predictor.predict(&image).unwrap());
        boxes += own.len();
        for other in [file, suppressed] {
            assert_eq!(other.len(), own.len());
            for (a, b) in own.iter().zip(&other) {
                assert_eq!(a.class, b.class);
                assert!((a.confidence - b.confidence).abs() < 1e-4 && iou(a.corners, b.corners) > 0.999, "{a:?} {b:?}");
            }
        }
    }
    assert!(boxes > 7, "{boxes}");
}

#[test]
fn files_are_timed_and_stand_in_a_table() {
    let (model, data, folder) = (teacher().unwrap(), drawn(), tempfile::tempdir().unwrap());
    let file = opened(&model, folder.path(), &small());
    let options = BenchOptions { size: 96, runs: 3, threads: Some(1), ..BenchOptions::default() };
    let report = bench(&file, &options, &Silent).unwrap();
    assert_eq!((report.timing.runs(), report.threads, report.layers.len()), (3, 1, 0));
    let macs = report.macs_per_second * report.timing.median();
    assert!((macs / model.cost(96).unwrap().macs as f64 - 1.0).abs() < 1e-9, "{macs}");
    let wrong = bench(&file, &BenchOptions { batch: 2, ..options }, &Silent).unwrap_err();
    assert!(wrong.to_string().contains("\"batch\" takes 1, the only number of images"), "{wrong}");

    let evaluation = EvaluateOptions { size: 96, ..EvaluateOptions::default() };
    let what = Compare { size: 96, bench: Some(&options), quality: Some((&data, &evaluation)) };
    let rows = compare(&[Subject::from(&model), Subject::from(&file)], what, &Silent).unwrap();
    let [own, other] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((own.macs, other.name.as_str(), other.bytes), (other.macs, "net.onnx", file.bytes()));
    // A normalisation has two numbers a channel, a bias one.
    assert!(other.params < own.params && other.params > own.params * 9 / 10, "{rows:?}");
    assert!((own.score.unwrap().map - other.score.unwrap().map).abs() < 1e-3 && other.latency.is_some());
    assert!(compare(&[&file], Compare::cost(64), &Silent).is_err());
}

#[test]
fn files_of_trained_detectors_are_as_good_as_these() {
    for name in ["yolov5n-bccd", "yolov8n-bccd"] {
        let (Some(path), Some(yaml)) = (shared(&format!("models/{name}.pt")), shared("data/bccd/data.yaml")) else {
            return;
        };
        let (model, folder) = (load(path).unwrap(), tempfile::tempdir().unwrap());
        let (data, size) = (dataset(yaml).unwrap(), 160);
        let file = opened(&model, folder.path(), &ExportOptions { size, batch: Batch::Fixed(8), ..small() });
        let options = EvaluateOptions { size, ..EvaluateOptions::default() };
        let [own, found] = [Subject::from(&model), Subject::from(&file)]
            .map(|subject| evaluate(subject, &data, &options, &Silent).unwrap().scores.overall);
        assert!(own.map > 0.2 && (own.map - found.map).abs() < 1e-3, "{name}: {own:?} {found:?}");
        assert!((own.map50 - found.map50).abs() < 1e-3, "{name}: {own:?} {found:?}");
    }
}
