use super::*;
use crate::model::Head;
use candle_core::Device;

fn detector(head: Head, strides: &[usize], classes: usize) -> Detector {
    let classes = (0..classes).map(|index| format!("class {index}")).collect();
    Detector { classes, strides: strides.to_vec(), head }
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

const TARGETS: [Target; 4] = [
    Target { image: 0, class: 1, cx: 0.4, cy: 0.53, w: 0.6, h: 0.5 },
    Target { image: 0, class: 0, cx: 0.8, cy: 0.3, w: 0.3, h: 0.3 },
    Target { image: 1, class: 2, cx: 0.47, cy: 0.51, w: 0.4, h: 0.4 },
    Target { image: 1, class: 0, cx: 0.98, cy: 0.02, w: 0.2, h: 0.2 },
];

/// Objectness and class gradients are exact derivatives; the box gradient is checked without the objectness, whose
/// target follows the overlap but counts as constant, and roughly, since CIoU holds its α constant (the exact check is in `ciou`).
#[test]
fn anchor_gradients_are_the_derivatives() {
    let shapes = [[2, 16, 8, 8], [2, 16, 4, 4]];
    let maps = maps(&shapes);
    let head = Head::Anchors { anchors: anchors() };
    for (gains, tolerance) in [
        (Gains { bbox: Some(0.0), ..Gains::default() }, 2e-3),
        (Gains { bbox: Some(2.0), objectness: Some(0.0), class: Some(0.0), ..Gains::default() }, 0.15),
    ] {
        let loss = DetectionLoss::new(&detector(head.clone(), &[8, 16], 3), &gains).unwrap();
        let run = |maps: &[Vec<f32>]| loss.compute(&tensors(maps, &shapes), &TARGETS).unwrap();
        let gradients: Vec<Vec<f32>> =
            run(&maps).gradients.iter().map(|g| g.flatten_all().unwrap().to_vec1().unwrap()).collect();
        let mut checked = 0;
        for map in 0..maps.len() {
            for index in 0..maps[map].len() {
                let channel = index / (shapes[map][2] * shapes[map][3]) % 8;
                let found = f64::from(gradients[map][index]);
                // The derivative of objectness with respect to the box is left out on purpose.
                if channel < 4 && gains.bbox == Some(0.0) {
                    assert_eq!(found, 0.0);
                    continue;
                }
                if found == 0.0 || (channel == 4 && index % 5 != 0) {
                    continue;
                }
                let at = |delta: f32| {
                    let mut moved = maps.clone();
                    moved[map][index] += delta;
                    f64::from(run(&moved).total)
                };
                let numeric = (at(2e-2) - at(-2e-2)) / 4e-2;
                let allowed = tolerance * numeric.abs().max(0.02);
                assert!((numeric - found).abs() < allowed, "{gains:?} {map} {index}: {found} against {numeric}");
                checked += 1;
            }
        }
        assert!(checked > 50, "{checked}");
    }
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
    let gains = Gains { distribution: Some(1.0), ..Gains::default() };
    assert!(DetectionLoss::new(&detector(Head::Anchors { anchors: anchors() }, &[8, 16], 3), &gains).is_err());
    let gains = Gains { bbox: Some(f32::NAN), ..Gains::default() };
    assert!(DetectionLoss::new(&detector(Head::Distribution { reg_max: 4 }, &[8, 16], 3), &gains).is_err());
}
