//! Distillation of a detector's outputs: objectness, class scores and boxes.

use rayon::prelude::*;

use super::divergence::{bernoulli, over_planes, sigmoid};
use crate::model::{Detector, Head};

/// Weight of each level's objectness in the YOLOv5 loss, finest first; the finest has most places and fewest objects.
const OBJECTNESS_BALANCE: [f32; 3] = [4.0, 1.0, 0.4];

/// One output map of teacher and student: numbers of all images, and places (height × width).
pub(super) struct Map<'a> {
    pub(super) teacher: &'a [f32],
    pub(super) student: &'a [f32],
    pub(super) gradient: &'a mut [f32],
    pub(super) places: usize,
}

/// How much each kind of output counts, and the temperature of scores.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) objectness: f32,
    pub(super) classes: f32,
    pub(super) boxes: f32,
    pub(super) temperature: f32,
}

/// What the outputs' distillation comes to: weighted, for a mean image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) logits: f64,
    pub(super) boxes: f64,
}

impl std::iter::Sum for Parts {
    fn sum<I: Iterator<Item = Parts>>(parts: I) -> Parts {
        parts.fold(Parts::default(), |a, b| Parts { logits: a.logits + b.logits, boxes: a.boxes + b.boxes })
    }
}

/// Divergence of the student's outputs from the teacher's. Every term is normalised and weighted as the term of the
/// detection loss that it resembles, so a weight of 1 makes the teacher count as much as the labels. Class scores and
/// boxes count where the teacher sees an object (Mehta and Ozturk 2018, <https://arxiv.org/abs/1805.06361>); boxes of
/// YOLOv8 are compared as distributions (Zheng et al. 2022, localization distillation,
/// <https://arxiv.org/abs/2102.12252>). The gradient of the parts' sum times the batch is added to the maps' gradients.
pub(super) fn compare(detector: &Detector, batch: usize, maps: &mut [Map], weights: Weights) -> Parts {
    let classes = detector.classes.len();
    match &detector.head {
        Head::Anchors { .. } => anchors(classes, batch, maps, weights),
        Head::Distribution { .. } => distributions(batch, maps, weights),
    }
}

/// YOLOv5: planes x, y, w, h, objectness and the classes of every anchor. All are logits of numbers between 0 and 1, so
/// one divergence serves them all.
fn anchors(classes: usize, batch: usize, maps: &mut [Map], weights: Weights) -> Parts {
    let planes = 5 + classes;
    let objects: Vec<Vec<f32>> = maps
        .iter()
        .map(|map| {
            let anchors = map.teacher.chunks_exact(planes * map.places);
            let objectness = anchors.flat_map(|anchor| &anchor[4 * map.places..5 * map.places]);
            objectness.map(|&logit| sigmoid(logit)).collect()
        })
        .collect();
    let seen = objects.iter().flatten().map(|&object| f64::from(object)).sum::<f64>().max(1.0) as f32;
    let level = |(index, (map, objects)): (usize, (&mut Map, &Vec<f32>))| {
        let places = map.places;
        let balance = OBJECTNESS_BALANCE[index.min(OBJECTNESS_BALANCE.len() - 1)];
        let per_image = batch as f32;
        let objectness_scale = weights.objectness * balance * per_image / objects.len() as f32;
        let class_scale = weights.classes * per_image / (seen * classes as f32);
        let box_scale = weights.boxes * 0.5 * per_image / (seen * 4.0);
        let anchors = map.teacher.par_chunks_exact(planes * places).zip(map.student.par_chunks_exact(planes * places));
        let anchors = anchors.zip(map.gradient.par_chunks_exact_mut(planes * places)).zip(objects.par_chunks(places));
        let parts: Vec<Parts> = anchors
            .map(|(((teacher, student), gradient), objects)| {
                let mut parts = Parts::default();
                for plane in 0..planes {
                    let range = plane * places..(plane + 1) * places;
                    let (t, s, g) = (&teacher[range.clone()], &student[range.clone()], &mut gradient[range]);
                    match plane {
                        0..4 => parts.boxes += bernoulli(t, s, Some(objects), 1.0, box_scale, g),
                        4 => parts.logits += bernoulli(t, s, None, weights.temperature, objectness_scale, g),
                        _ => parts.logits += bernoulli(t, s, Some(objects), weights.temperature, class_scale, g),
                    }
                }
                parts
            })
            .collect();
        parts.into_iter().sum::<Parts>()
    };
    per_image(maps.iter_mut().zip(&objects).enumerate().map(level).sum(), batch)
}

/// YOLOv8: a map of 4·`reg_max` planes of distances, then one of class scores, for every level.
fn distributions(batch: usize, maps: &mut [Map], weights: Weights) -> Parts {
    let objects: Vec<Vec<f32>> = maps
        .chunks_exact(2)
        .map(|level| {
            let scores = &level[1];
            let classes = scores.teacher.len() / (batch * scores.places).max(1);
            let image = |scores_of_image: &[f32]| -> Vec<f32> {
                let best =
                    |place| (0..classes).map(|c| scores_of_image[c * scores.places + place]).fold(f32::MIN, f32::max);
                (0..scores.places).map(|place| sigmoid(best(place))).collect()
            };
            scores.teacher.chunks_exact(classes * scores.places).flat_map(image).collect()
        })
        .collect();
    let seen = objects.iter().flatten().map(|&object| f64::from(object)).sum::<f64>().max(1.0) as f32;
    let class_scale = weights.classes * batch as f32 / seen;
    let box_scale = weights.boxes * 1.5 * batch as f32 / (seen * 4.0);
    let level = |(level, objects): (&mut [Map], &Vec<f32>)| {
        let [boxes, scores] = level else { return Parts::default() };
        let (box_len, score_len) = (boxes.teacher.len() / batch, scores.teacher.len() / batch);
        let images = boxes.teacher.par_chunks_exact(box_len).zip(boxes.student.par_chunks_exact(box_len));
        let images =
            images.zip(boxes.gradient.par_chunks_exact_mut(box_len)).zip(objects.par_chunks_exact(boxes.places));
        let box_parts: Vec<f64> = images
            .map(|(((teacher, student), gradient), objects)| {
                let side = box_len / 4;
                let sides =
                    teacher.chunks_exact(side).zip(student.chunks_exact(side)).zip(gradient.chunks_exact_mut(side));
                sides.map(|((t, s), g)| over_planes(t, s, objects, 1.0, box_scale, g)).sum::<f64>()
            })
            .collect();
        let images = scores.teacher.par_chunks_exact(score_len).zip(scores.student.par_chunks_exact(score_len));
        let score_parts: Vec<f64> = images
            .zip(scores.gradient.par_chunks_exact_mut(score_len))
            .map(|((t, s), g)| bernoulli(t, s, None, weights.temperature, class_scale, g))
            .collect();
        Parts { logits: score_parts.iter().sum(), boxes: box_parts.iter().sum() }
    };
    per_image(maps.chunks_exact_mut(2).zip(&objects).map(level).sum(), batch)
}

fn per_image(parts: Parts, batch: usize) -> Parts {
    Parts { logits: parts.logits / batch as f64, boxes: parts.boxes / batch as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: Weights = Weights { objectness: 0.7, classes: 0.4, boxes: 1.3, temperature: 2.0 };

    fn wave(len: usize, phase: f32) -> Vec<f32> {
        (0..len).map(|i| 2.0 * (i as f32 * 0.7 + phase).sin()).collect()
    }

    /// Value of the parts and their gradient, for maps of these planes and places in a batch of two.
    fn run(detector: &Detector, sizes: &[(usize, usize)], student: &[Vec<f32>]) -> (Parts, Vec<Vec<f32>>) {
        let teacher: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 0.2)).collect();
        let mut gradients: Vec<Vec<f32>> = student.iter().map(|map| vec![0.0; map.len()]).collect();
        let mut maps: Vec<Map> = Vec::new();
        for (((teacher, student), gradient), (_, places)) in teacher.iter().zip(student).zip(&mut gradients).zip(sizes)
        {
            maps.push(Map { teacher, student, gradient, places: *places });
        }
        let parts = compare(detector, 2, &mut maps, WEIGHTS);
        (parts, gradients)
    }

    fn check(detector: &Detector, sizes: &[(usize, usize)]) {
        let student: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 1.1)).collect();
        let (parts, gradients) = run(detector, sizes, &student);
        assert!(parts.logits > 0.0 && parts.boxes > 0.0, "{parts:?}");
        for map in 0..student.len() {
            for index in (0..student[map].len()).step_by(7) {
                let shifted = |delta: f32| {
                    let mut student = student.clone();
                    student[map][index] += delta;
                    let (parts, _) = run(detector, sizes, &student);
                    2.0 * (parts.logits + parts.boxes)
                };
                let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                let analytic = f64::from(gradients[map][index]);
                assert!(
                    (numeric - analytic).abs() < 2e-3 * numeric.abs().max(0.05),
                    "{map} {index}: {numeric} {analytic}"
                );
            }
        }
        let teacher: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 0.2)).collect();
        let (parts, gradients) = run(detector, sizes, &teacher);
        assert!(parts.logits.abs() < 1e-5 && parts.boxes.abs() < 1e-5, "{parts:?}");
        assert!(gradients.iter().flatten().all(|number| number.abs() < 1e-5));
    }

    #[test]
    fn gradients_of_both_heads_match_finite_differences() {
        let classes = vec!["a".to_string(), "b".to_string()];
        let anchors = Head::Anchors { anchors: vec![vec![[1.0, 1.0]; 2]; 2] };
        let detector = Detector { classes, strides: vec![8, 16], head: anchors };
        check(&detector, &[(14, 6), (14, 2)]);
        let detector = Detector { head: Head::Distribution { reg_max: 4 }, ..detector };
        check(&detector, &[(16, 6), (2, 6), (16, 3), (2, 3)]);
    }
}
