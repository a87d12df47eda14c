//! Distillation of a detector's outputs: objectness, class scores and boxes.

use espalier_kernels::{
    elementwise::{self, Activation},
    logistic::sigmoid_of,
};
use rayon::prelude::*;

use super::divergence::{bernoulli, over_planes};
use crate::model::{Detector, Head};

/// Weight of each level's objectness in the YOLOv5 loss, finest first; the finest has most places and fewest objects.
const OBJECTNESS_BALANCE: [f32; 3] = [4.0, 1.0, 0.4];

/// One output map: numbers of all images, and places (height × width).
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    pub(super) numbers: &'a [f32],
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

/// A teacher's outputs, for a student's to be compared with, map by map.
///
/// Every term is normalised and weighted as the term of the detection loss that it resembles, so a weight of 1 makes the
/// teacher count as much as the labels. Class scores and boxes count where the teacher sees an object (Mehta and Ozturk
/// 2018, <https://arxiv.org/abs/1805.06361>); boxes of YOLOv8 are compared as distributions (Zheng et al. 2022,
/// localization distillation, <https://arxiv.org/abs/2102.12252>).
pub(super) struct Comparison<'a> {
    head: &'a Head,
    classes: usize,
    batch: usize,
    teacher: &'a [Map<'a>],
    /// For each level, how sure the teacher is that there is an object, at every place (and anchor) of every image.
    objects: Vec<Vec<f32>>,
    /// Their sum.
    seen: f32,
    weights: Weights,
}

impl<'a> Comparison<'a> {
    /// Looks for the objects that the teacher sees.
    pub(super) fn new(detector: &'a Detector, batch: usize, teacher: &'a [Map<'a>], weights: Weights) -> Self {
        let classes = detector.classes.len();
        let objects: Vec<Vec<f32>> = match &detector.head {
            Head::Anchors { .. } => teacher.iter().map(|map| objectness(map, classes)).collect(),
            Head::Distribution { .. } => teacher.chunks_exact(2).map(|level| best_scores(&level[1], batch)).collect(),
        };
        let seen = objects.iter().flatten().map(|&object| f64::from(object)).sum::<f64>().max(1.0) as f32;
        Self { head: &detector.head, classes, batch, teacher, objects, seen, weights }
    }

    /// Divergence of the student's map from the teacher's; the gradient of the parts' sum times the batch is added to
    /// `gradient`.
    pub(super) fn add(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> Parts {
        let parts = match (self.head, map % 2) {
            (Head::Anchors { .. }, _) => self.anchors(map, student, gradient),
            (Head::Distribution { .. }, 0) => Parts { boxes: self.distances(map, student, gradient), logits: 0.0 },
            (Head::Distribution { .. }, _) => Parts { logits: self.scores(map, student, gradient), boxes: 0.0 },
        };
        Parts { logits: parts.logits / self.batch as f64, boxes: parts.boxes / self.batch as f64 }
    }

    /// YOLOv5: planes x, y, w, h, objectness and the classes of every anchor. All are logits of numbers between 0 and 1,
    /// so one divergence serves them all.
    fn anchors(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> Parts {
        let Map { numbers: teacher, places } = self.teacher[map];
        let (weights, objects, planes) = (self.weights, &self.objects[map], 5 + self.classes);
        let balance = OBJECTNESS_BALANCE[map.min(OBJECTNESS_BALANCE.len() - 1)];
        let batch = self.batch as f32;
        let objectness_scale = weights.objectness * balance * batch / objects.len() as f32;
        let class_scale = weights.classes * batch / (self.seen * self.classes as f32);
        let box_scale = weights.boxes * 0.5 * batch / (self.seen * 4.0);
        let anchors = teacher.par_chunks_exact(planes * places).zip(student.par_chunks_exact(planes * places));
        let anchors = anchors.zip(gradient.par_chunks_exact_mut(planes * places)).zip(objects.par_chunks(places));
        let everywhere = vec![1.0; places];
        let parts: Vec<Parts> = anchors
            .map(|(((teacher, student), gradient), objects)| {
                let mut parts = Parts::default();
                for plane in 0..planes {
                    let range = plane * places..(plane + 1) * places;
                    let (t, s, g) = (&teacher[range.clone()], &student[range.clone()], &mut gradient[range]);
                    match plane {
                        0..4 => parts.boxes += bernoulli(t, s, objects, 1.0, box_scale, g),
                        4 => parts.logits += bernoulli(t, s, &everywhere, weights.temperature, objectness_scale, g),
                        _ => parts.logits += bernoulli(t, s, objects, weights.temperature, class_scale, g),
                    }
                }
                parts
            })
            .collect();
        parts.into_iter().sum()
    }

    /// YOLOv8's distances of the four sides, `reg_max` planes each.
    fn distances(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> f64 {
        let Map { numbers: teacher, places } = self.teacher[map];
        let scale = self.weights.boxes * 1.5 * self.batch as f32 / (self.seen * 4.0);
        let side = teacher.len() / (4 * self.batch);
        let sides = teacher.par_chunks_exact(side).zip(student.par_chunks_exact(side));
        let sides = sides.zip(gradient.par_chunks_exact_mut(side)).enumerate();
        let parts: Vec<f64> = sides
            .map(|(index, ((teacher, student), gradient))| {
                let objects = &self.objects[map / 2][index / 4 * places..][..places];
                over_planes(teacher, student, objects, 1.0, scale, gradient)
            })
            .collect();
        parts.iter().sum()
    }

    /// YOLOv8's class scores.
    fn scores(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> f64 {
        let Map { numbers: teacher, places } = self.teacher[map];
        let scale = self.weights.classes * self.batch as f32 / self.seen;
        let everywhere = vec![1.0; places];
        let planes = teacher.par_chunks_exact(places).zip(student.par_chunks_exact(places));
        let parts: Vec<f64> = planes
            .zip(gradient.par_chunks_exact_mut(places))
            .map(|((t, s), g)| bernoulli(t, s, &everywhere, self.weights.temperature, scale, g))
            .collect();
        parts.iter().sum()
    }
}

/// YOLOv5's objectness at every anchor and place.
fn objectness(map: &Map, classes: usize) -> Vec<f32> {
    let anchor = (5 + classes) * map.places;
    let mut objects = vec![0.0; map.numbers.len() / (5 + classes)];
    let anchors = map.numbers.par_chunks_exact(anchor).zip(objects.par_chunks_exact_mut(map.places));
    anchors.for_each(|(anchor, objects)| {
        elementwise::activate(Activation::Sigmoid, &anchor[4 * map.places..5 * map.places], objects);
    });
    objects
}

/// YOLOv8's highest class score at every place.
fn best_scores(map: &Map, batch: usize) -> Vec<f32> {
    let image = |scores: &[f32]| {
        let mut best = vec![f32::MIN; map.places];
        for plane in scores.chunks_exact(map.places) {
            best.iter_mut().zip(plane).for_each(|(best, score)| *best = best.max(*score));
        }
        best.into_iter().map(sigmoid_of)
    };
    map.numbers.par_chunks_exact(map.numbers.len() / batch).flat_map_iter(image).collect()
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
        let maps = teacher.iter().zip(sizes).map(|(numbers, &(_, places))| Map { numbers, places });
        let maps: Vec<Map> = maps.collect();
        let comparison = Comparison::new(detector, 2, &maps, WEIGHTS);
        let mut gradients: Vec<Vec<f32>> = student.iter().map(|map| vec![0.0; map.len()]).collect();
        let add =
            |(map, (student, gradient)): (usize, (&Vec<f32>, &mut Vec<f32>))| comparison.add(map, student, gradient);
        let parts = student.iter().zip(&mut gradients).enumerate().map(add).sum();
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
