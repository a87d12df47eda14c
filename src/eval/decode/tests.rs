//! Decoded boxes against the reference.

use candle_core::{Device, safetensors::load};

use super::*;
use crate::{
    eval::nms::{NmsOptions, suppress},
    testing::shared,
};

const EVERYTHING: DecodeOptions = DecodeOptions { confidence: -1.0, multi_label: true };

fn golden(model: &str) -> Option<(serde_json::Value, std::collections::HashMap<String, Tensor>)> {
    let facts = std::fs::read(shared(&format!("goldens/{model}.json"))?).unwrap();
    let tensors = load(shared(&format!("goldens/{model}.safetensors"))?, &Device::Cpu).unwrap();
    Some((serde_json::from_slice(&facts).unwrap(), tensors))
}

fn detector(facts: &serde_json::Value) -> Detector {
    let list = |key: &str| facts[key].as_array().unwrap().clone();
    let head = match facts.get("reg_max") {
        Some(reg_max) => Head::Distribution { reg_max: reg_max.as_u64().unwrap() as usize },
        None => Head::Anchors { anchors: serde_json::from_value(facts["anchors"].clone()).unwrap() },
    };
    let classes = list("names").iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let strides = list("stride").iter().map(|stride| stride.as_f64().unwrap() as usize).collect();
    Detector::new(classes, strides, head)
}

/// The golden heads as the graph's outputs have them.
fn outputs(detector: &Detector, tensors: &std::collections::HashMap<String, Tensor>) -> Vec<Tensor> {
    let head = |index: usize| tensors[&format!("head.{index}")].clone();
    match &detector.head {
        Head::Anchors { .. } => (0..detector.strides.len())
            .map(|level| {
                let (n, anchors, h, w, values) = head(level).dims5().unwrap();
                head(level).permute((0, 1, 4, 2, 3)).unwrap().reshape((n, anchors * values, h, w)).unwrap()
            })
            .collect(),
        Head::Distribution { .. } => {
            let mut start = 0;
            let mut maps = Vec::new();
            for stride in &detector.strides {
                let side = 320 / stride;
                for index in [0, 1] {
                    let part = head(index).narrow(2, start, side * side).unwrap();
                    let channels = part.dim(1).unwrap();
                    maps.push(part.reshape((1, channels, side, side)).unwrap());
                }
                start += side * side;
            }
            maps
        }
    }
}

/// Rows x, y, w, h, then confidences of the classes.
fn decoded_rows(detector: &Detector, decoded: &Tensor) -> Vec<Vec<f32>> {
    match detector.head {
        Head::Anchors { .. } => {
            let rows: Vec<Vec<f32>> = decoded.squeeze(0).unwrap().to_vec2().unwrap();
            let with_objectness =
                |row: Vec<f32>| row[..4].iter().copied().chain(row[5..].iter().map(|class| class * row[4])).collect();
            rows.into_iter().map(with_objectness).collect()
        }
        Head::Distribution { .. } => decoded.squeeze(0).unwrap().t().unwrap().to_vec2().unwrap(),
    }
}

#[test]
fn decoded_maps_equal_the_goldens() {
    for model in ["yolov5n-coco", "yolov5n-bccd", "yolov8n-bccd"] {
        let Some((facts, tensors)) = golden(model) else { return };
        let detector = detector(&facts);
        let found = decode(&detector, &outputs(&detector, &tensors), EVERYTHING).unwrap().remove(0);
        let expected = decoded_rows(&detector, &tensors["decoded"]);
        let classes = detector.classes.len();
        assert_eq!(found.len(), expected.len() * classes, "{model}");
        for (place, row) in found.chunks_exact(classes).zip(&expected) {
            let [left, top, right, bottom] = place[0].corners;
            let box_found = [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top];
            for (found, expected) in box_found.iter().zip(row) {
                assert!((found - expected).abs() < 2e-3, "{model}: {box_found:?} against {row:?}");
            }
            for (detection, expected) in place.iter().zip(&row[4..]) {
                assert!((detection.confidence - expected).abs() < 1e-5, "{model}: {detection:?} against {row:?}");
            }
        }
    }
}

#[test]
fn suppressed_boxes_equal_the_goldens() {
    for model in ["yolov5n-coco", "yolov5n-bccd"] {
        let Some((facts, tensors)) = golden(model) else { return };
        let detector = detector(&facts);
        let options = DecodeOptions { confidence: 0.25, multi_label: false };
        let candidates = decode(&detector, &outputs(&detector, &tensors), options).unwrap().remove(0);
        let found = suppress(candidates, NmsOptions { iou: 0.45, ..NmsOptions::default() });
        let expected: Vec<[f32; 6]> = serde_json::from_value(facts["nms_conf25_iou45"].clone()).unwrap();
        assert_eq!(found.len(), expected.len(), "{model}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.class, expected[5] as usize, "{model}");
            assert!((found.confidence - expected[4]).abs() < 1e-5, "{model}: {found:?} against {expected:?}");
            for (found, expected) in found.corners.iter().zip(&expected) {
                assert!((found - expected).abs() < 2e-3, "{model}: {found:?} against {expected:?}");
            }
        }
    }
}

#[test]
fn the_threshold_only_drops() {
    for model in ["yolov5n-bccd", "yolov8n-bccd"] {
        let Some((facts, tensors)) = golden(model) else { return };
        let detector = detector(&facts);
        let outputs = outputs(&detector, &tensors);
        let all = decode(&detector, &outputs, EVERYTHING).unwrap().remove(0);
        for confidence in [0.0, 1e-3, 0.25, 0.5, 1.0] {
            let options = DecodeOptions { confidence, multi_label: true };
            let some = decode(&detector, &outputs, options).unwrap().remove(0);
            let expected: Vec<Detection> = all.iter().copied().filter(|one| one.confidence > confidence).collect();
            assert_eq!(some, expected, "{model} at {confidence}");
            let best = decode(&detector, &outputs, DecodeOptions { confidence, multi_label: false }).unwrap().remove(0);
            assert!(best.len() <= some.len() && best.iter().all(|one| some.contains(one)), "{model} at {confidence}");
        }
        let twice: Vec<Tensor> = outputs.iter().map(|map| Tensor::cat(&[map, map], 0).unwrap()).collect();
        let both = decode(&detector, &twice, EVERYTHING).unwrap();
        assert!(both.len() == 2 && both[0] == all && both[1] == all);
    }
}

/// What is found does not depend on the order of the outputs.
#[test]
fn outputs_are_read_by_level_and_kind() {
    for model in ["yolov5n-bccd", "yolov8n-bccd"] {
        let Some((facts, tensors)) = golden(model) else { return };
        let mut detector = detector(&facts);
        let mut outputs = outputs(&detector, &tensors);
        let expected = decode(&detector, &outputs, EVERYTHING).unwrap();
        outputs.rotate_left(1);
        detector.outputs.rotate_left(1);
        outputs.swap(0, 1);
        detector.outputs.swap(0, 1);
        assert!(decode(&detector, &outputs, EVERYTHING).unwrap() == expected, "{model}");
    }
}

fn one_class() -> Detector {
    Detector::new(vec!["cell".into()], vec![8], Head::Anchors { anchors: vec![vec![[4.0, 4.0]]] })
}

#[test]
fn what_is_not_a_number_is_no_box() {
    let map = Tensor::full(f32::NAN, (1, 6, 2, 2), &Device::Cpu).unwrap();
    assert_eq!(decode(&one_class(), &[map], EVERYTHING).unwrap(), [vec![]]);
    let mut values = vec![9.0; 6];
    values[0] = f32::NAN;
    let map = Tensor::from_vec(values, (1, 6, 1, 1), &Device::Cpu).unwrap();
    assert_eq!(decode(&one_class(), &[map], EVERYTHING).unwrap(), [vec![]]);
}

#[test]
fn outputs_that_do_not_fit_are_errors() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let message = |outputs: &[Tensor]| decode(&one_class(), outputs, EVERYTHING).unwrap_err().to_string();
    assert!(message(&[zeros(&[1, 7, 2, 2])]).contains("[6]"));
    assert!(message(&[zeros(&[1, 6, 4])]).contains("[1, 6, 4]"));
    assert!(message(&[]).contains("[6]"));
    let two_levels = Detector::new(vec!["cell".into()], vec![8], Head::Distribution { reg_max: 2 });
    let pair = [zeros(&[1, 8, 2, 2]), zeros(&[1, 1, 3, 2])];
    assert!(decode(&two_levels, &pair, EVERYTHING).is_err());
}
