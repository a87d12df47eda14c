//! The losses against their derivatives and against PyTorch.

use super::*;
use crate::{
    boxes::{Centred, Truth},
    data::Target,
    model::{Detector, Head},
};
use candle_core::{Device, Tensor};

fn detector(head: Head, strides: &[usize], classes: usize) -> Detector {
    let classes = (0..classes).map(|index| format!("class {index}")).collect();
    Detector::new(classes, strides.to_vec(), head)
}

fn anchors() -> Vec<Vec<[f32; 2]>> {
    vec![vec![[10.0, 13.0], [16.0, 30.0]], vec![[30.0, 61.0], [62.0, 45.0]]]
}

fn maps(shapes: &[[usize; 4]]) -> Vec<Vec<f32>> {
    let number = |index: usize| ((index * 7919 % 1009) as f32 / 1009.0 - 0.5) * 3.0;
    shapes.iter().map(|shape| (0..shape.iter().product()).map(number).collect()).collect()
}

fn tensors(maps: &[Vec<f32>], shapes: &[[usize; 4]]) -> Vec<Tensor> {
    let tensor = |(map, shape): (&Vec<f32>, &[usize; 4])| Tensor::from_slice(map, shape, &Device::Cpu).unwrap();
    maps.iter().zip(shapes).map(tensor).collect()
}

const fn target(image: usize, class: usize, [cx, cy, w, h]: [f32; 4]) -> Target {
    Target { image, truth: Truth { class, bounds: Centred { cx, cy, w, h } } }
}

const TARGETS: [Target; 4] = [
    target(0, 1, [0.4, 0.53, 0.6, 0.5]),
    target(0, 0, [0.8, 0.3, 0.3, 0.3]),
    target(1, 2, [0.47, 0.51, 0.4, 0.4]),
    target(1, 0, [0.98, 0.02, 0.2, 0.2]),
];

/// Objectness and class gradients are the exact derivatives; none of theirs reaches the box, since the overlap that
/// objectness learns counts as constant.
#[test]
fn anchor_gradients_are_the_derivatives() {
    let shapes = [[2, 16, 8, 8], [2, 16, 4, 4]];
    let maps = maps(&shapes);
    let gains = Gains { box_gain: Some(0.0), ..Gains::default() };
    let loss = DetectionLoss::new(&detector(Head::Anchors { anchors: anchors() }, &[8, 16], 3), &gains).unwrap();
    let run = |maps: &[Vec<f32>]| loss.compute(&tensors(maps, &shapes), &TARGETS).unwrap();
    let gradients = run(&maps).gradients;
    let mut checked = 0;
    for (map, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for index in 0..maps[map].len() {
            let channel = index / (shapes[map][2] * shapes[map][3]) % 8;
            let found = f64::from(gradient[index]);
            if channel < 4 || found == 0.0 {
                assert_eq!(found, 0.0);
                continue;
            }
            if channel == 4 && index % 5 != 0 {
                continue;
            }
            let at = |delta: f32| {
                let mut moved = maps.clone();
                moved[map][index] += delta;
                f64::from(run(&moved).total)
            };
            let numeric = (at(2e-2) - at(-2e-2)) / 4e-2;
            assert!((numeric - found).abs() < 2e-3 * numeric.abs().max(0.02), "{map} {index}: {found} {numeric}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

/// Box loss and gradient as PyTorch's autograd gives them for the same maps and targets (YOLOv5 7.0).
#[test]
fn anchor_box_gradients_match_pytorch() {
    let shapes = [[2, 16, 8, 8], [2, 16, 4, 4]];
    let gains = Gains { box_gain: Some(2.0), objectness_gain: Some(0.0), ..Gains::default() };
    let loss = DetectionLoss::new(&detector(Head::Anchors { anchors: anchors() }, &[8, 16], 3), &gains).unwrap();
    let found = loss.compute(&tensors(&maps(&shapes), &shapes), &TARGETS).unwrap();
    let close = |found: f32, expected: f32| (found - expected).abs() < 1e-4 * expected.abs().max(1e-2);
    assert!(close(found.total, 8.486409), "{}", found.total);
    assert!(close(found.parts[0].1, 3.464_535_2) && close(found.parts[2].1, 0.778_669_36), "{:?}", found.parts);
    let expected: [&[(usize, f32)]; 2] = [
        &[
            (14, 0.004_012_858),
            (149, -0.068_141_58),
            (534, -0.007_691_517_5),
            (667, -0.023_354_288),
            (1095, 0.021_417_05),
            (1563, 0.011_147_707),
            (1763, 0.027_966_54),
        ],
        &[
            (3, 0.004_918_351_3),
            (35, -0.011_881_438),
            (131, -0.000_781_440_5),
            (163, 0.033_371_236),
            (261, -0.056_902_282),
            (389, -0.019_523_58),
        ],
    ];
    for ((gradient, shape), expected) in found.gradients.iter().zip(shapes).zip(expected) {
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for &(index, expected) in expected {
            assert!(close(gradient[index], expected), "{index}: {} against {expected}", gradient[index]);
        }
        let boxes = |&index: &usize| index / (shape[2] * shape[3]) % 8 < 4 && gradient[index] != 0.0;
        let reached = (0..gradient.len()).filter(boxes).count();
        assert_eq!(reached, if shape[2] == 8 { 80 } else { 72 });
    }
}

/// Loss and gradients do not depend on the order of the outputs.
#[test]
fn outputs_are_found_by_level_and_kind() {
    let heads = [
        (Head::Anchors { anchors: anchors() }, vec![[2, 16, 8, 8], [2, 16, 4, 4]]),
        (Head::Distribution { reg_max: 4 }, vec![[2, 16, 8, 8], [2, 3, 8, 8], [2, 16, 4, 4], [2, 3, 4, 4]]),
    ];
    for (head, shapes) in heads {
        let mut detector = detector(head, &[8, 16], 3);
        let mut outputs = tensors(&maps(&shapes), &shapes);
        let run = |detector: &Detector, outputs: &[Tensor]| {
            DetectionLoss::new(detector, &Gains::default()).unwrap().compute(outputs, &TARGETS).unwrap()
        };
        let mut expected = run(&detector, &outputs);
        detector.outputs.reverse();
        outputs.reverse();
        let found = run(&detector, &outputs);
        expected.gradients.reverse();
        assert!((found.total - expected.total).abs() < 1e-5 * expected.total);
        for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
            let [found, expected] = [found, expected].map(|map| map.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn sides_of_one_bin_have_no_loss() {
    let detector = detector(Head::Distribution { reg_max: 1 }, &[8, 16], 3);
    let error = DetectionLoss::new(&detector, &Gains::default()).unwrap_err().to_string();
    assert!(error.contains("reg_max 1") && error.contains("not supported yet"), "{error}");
}

#[test]
fn misfits_are_named() {
    let loss = DetectionLoss::new(&detector(Head::Anchors { anchors: anchors() }, &[8, 16], 3), &Gains::default());
    let loss = loss.unwrap();
    let shapes = [[2, 16, 8, 8], [2, 15, 4, 4]];
    let error = loss.compute(&tensors(&maps(&shapes), &shapes), &[]).unwrap_err().to_string();
    assert!(error.contains("[16, 16]") && error.contains("[2, 15, 4, 4]"), "{error}");
    let shapes = [[1, 16, 8, 8], [1, 16, 4, 4]];
    let error = loss.compute(&tensors(&maps(&shapes), &shapes), &TARGETS).unwrap_err().to_string();
    assert!(error.contains("image 1") && error.contains("1 images"), "{error}");
    let gains = Gains { dfl_gain: Some(1.0), ..Gains::default() };
    assert!(DetectionLoss::new(&detector(Head::Anchors { anchors: anchors() }, &[8, 16], 3), &gains).is_err());
    let gains = Gains { box_gain: Some(f32::NAN), ..Gains::default() };
    assert!(DetectionLoss::new(&detector(Head::Distribution { reg_max: 4 }, &[8, 16], 3), &gains).is_err());
}

#[test]
fn training_scales_the_weights_of_yolov5_that_nobody_gave() {
    let given = Gains { box_gain: Some(0.1), ..Gains::default() };
    let found = given.for_training(&detector(Head::Anchors { anchors: anchors() }, &[8, 16], 8), 320);
    let expected = Gains { box_gain: Some(0.1), class_gain: Some(0.075), objectness_gain: Some(0.375), dfl_gain: None };
    let close = |a: Option<f32>, b: Option<f32>| a.zip(b).is_some_and(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close(found.box_gain, expected.box_gain) && close(found.class_gain, expected.class_gain), "{found:?}");
    assert!(close(found.objectness_gain, expected.objectness_gain) && found.dfl_gain.is_none(), "{found:?}");
    assert_eq!(given.for_training(&detector(Head::Distribution { reg_max: 4 }, &[8, 16], 8), 320), given);
}
