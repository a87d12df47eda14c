//! What is exported, what is refused, and what stays on the disk.

use std::path::Path;

use prost::Message;

use super::*;
use crate::io::{IoError, load, teacher};
use crate::model::{Model, fixtures::tiny_detector};
use crate::progress::Silent;
use crate::testing::shared;

fn small() -> ExportOptions {
    ExportOptions { size: 64, ..ExportOptions::default() }
}

fn write(model: &Model, options: &ExportOptions) -> (Exported, proto::ModelProto) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let exported = export(model, &path, options, &Silent).unwrap_or_else(|error| panic!("{options:?}: {error:?}"));
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), exported.bytes);
    (exported, proto::ModelProto::decode(&bytes[..]).unwrap())
}

fn refused(model: &Model, options: ExportOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = export(model, folder.path().join("net.onnx"), &options, &Silent).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half written");
    error.to_string()
}

#[test]
fn another_engine_gives_what_the_model_gives() {
    // What a fresh network says is so faint that its outputs are the last biases alone: all classes are alike.
    let fresh = crate::zoo::yolo("yolov8n", &crate::zoo::Fresh::numbered(3)).unwrap();
    for (model, says_something) in [(teacher().unwrap(), true), (tiny_detector(2), true), (fresh, false)] {
        for (half, nms, raw, batch) in [
            (false, false, false, Batch::Fixed(1)),
            (false, false, false, Batch::Dynamic),
            (true, false, false, Batch::Fixed(2)),
            (false, true, false, Batch::Fixed(1)),
            (true, true, false, Batch::Fixed(1)),
            (false, false, true, Batch::Dynamic),
        ] {
            let options = ExportOptions { half, nms, raw, batch, ..small() };
            let (exported, file) = write(&model, &options);
            assert!(exported.difference <= 1e-3, "{options:?}: {exported:?}");
            assert!(exported.difference > 0.0 || !says_something, "{options:?}: {exported:?}");
            assert_eq!(file.opset_import[0].version, 17);
            assert_eq!(file.graph.unwrap().output.len(), exported.outputs.len());
        }
    }
}

#[test]
fn checkpoints_are_exported_whole_and_folded() {
    let Some(path) = shared("models/yolov8n-bccd.pt") else { return };
    let model = load(path).unwrap();
    let (exported, file) = write(&model, &ExportOptions { size: 320, ..ExportOptions::default() });
    assert_eq!(exported.outputs, [("output0".to_owned(), vec![7, 2100])]);
    let graph = file.graph.unwrap();
    assert!(graph.node.iter().all(|node| node.op_type != "BatchNormalization"));
    assert!(graph.node.iter().any(|node| node.name == "model.2.m.0.cv1.conv"));
    let entry = |key: &str| file.metadata_props.iter().find(|entry| entry.key == key).unwrap().value.as_str();
    assert_eq!(
        [entry("names"), entry("stride"), entry("imgsz"), entry("task")],
        ["{0: 'RBC', 1: 'WBC', 2: 'Platelets'}", "32", "[320, 320]", "detect"]
    );
    // One copy of each constant.
    let mut constants: Vec<_> =
        graph.initializer.iter().map(|tensor| (&tensor.dims, tensor.data_type, &tensor.raw_data)).collect();
    let count = constants.len();
    constants.sort();
    constants.dedup();
    assert_eq!(constants.len(), count);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let model = tiny_detector(2);
    let text = refused(&model, ExportOptions { opset: 9, ..small() });
    assert!(text.contains("\"opset\" takes a whole number from 13 to 22, not 9"), "{text}");
    let text = refused(&model, ExportOptions { size: 60, ..small() });
    assert!(text.contains("multiple of the model's largest stride, 8, such as 56 or 64, not 60"), "{text}");
    let text = refused(&model, ExportOptions { nms: true, batch: Batch::Dynamic, ..small() });
    assert!(text.contains("\"batch\" takes 1 with nms"), "{text}");
    let text = refused(&model, ExportOptions { nms: true, raw: true, ..small() });
    assert!(text.contains("\"raw\" takes false with nms"), "{text}");
    let huge = model.tensors().iter().map(|(name, tensor)| (name.clone(), (tensor * 1e6).unwrap())).collect();
    let text = refused(&model.with_tensors(huge).unwrap(), ExportOptions { half: true, ..small() });
    assert!(text.contains("export without half"), "{text}");
}

#[test]
fn a_file_that_is_there_stays_where_a_new_one_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_detector(2);
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let inside = export(&model, file.join("net.onnx"), &small(), &Silent).unwrap_err();
    assert!(matches!(inside, IoError::Write { .. }) && inside.to_string().contains("no folder"), "{inside}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    std::fs::remove_file(&file).unwrap();
    if cfg!(target_os = "linux") {
        // Read-only even for root; and a device that is always full.
        let wrong = export(&model, Path::new("/proc/net.onnx"), &small(), &Silent).unwrap_err();
        assert!(wrong.to_string().contains("/proc/net.onnx cannot be written"), "{wrong}");
    }
    let path = folder.path().join("net.onnx");
    export(&model, &path, &small(), &Silent).unwrap();
    let before = std::fs::read(&path).unwrap();
    export(&model, &path, &ExportOptions { opset: 99, ..small() }, &Silent).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
