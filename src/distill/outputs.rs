//! Distillation of a detector's outputs: objectness, class scores and boxes.

use std::sync::Arc;

use candle_core::Tensor;
use espalier_kernels::{
    elementwise::{self, Activation},
    logistic::sigmoid_of,
};
use rayon::prelude::*;
use serde_json::Value;

use super::{
    divergence::{bernoulli, over_planes},
    error::DistillError,
    pair::Pair,
};
use crate::{
    exec::{Inference, numbers::Numbers},
    model::{Detector, Head, OutputKind},
    train::{LossGradients, Term, TermError, TermInput, loss::objectness_balance},
};

/// Distillation of objectness and class scores.
pub(super) fn scores(pair: &Pair<'_>, weight: f32) -> Result<Arc<dyn Term>, DistillError> {
    let temperature = pair.options.temperature;
    let compared = Compared::Scores {
        objectness: weight * pair.gains.objectness_gain.unwrap_or(1.0),
        classes: weight * pair.gains.class_gain.unwrap_or(0.5),
        temperature,
    };
    let settings = pair.settings(weight, Some(temperature));
    Ok(Arc::new(Outputs::new(pair, "distill_logits", compared, settings)))
}

/// Distillation of boxes.
pub(super) fn boxes(pair: &Pair<'_>, weight: f32) -> Result<Arc<dyn Term>, DistillError> {
    let settings = pair.settings(weight, None);
    Ok(Arc::new(Outputs::new(pair, "distill_boxes", Compared::Boxes { weight }, settings)))
}

/// A term that compares a kind of outputs.
struct Outputs {
    part: &'static str,
    teacher: Arc<Inference>,
    /// For each of the student's outputs, which of the teacher's is the same.
    same: Vec<usize>,
    detector: Detector,
    compared: Compared,
    settings: Value,
}

/// What of the outputs is compared, and how much it counts.
#[derive(Clone, Copy)]
enum Compared {
    Scores { objectness: f32, classes: f32, temperature: f32 },
    Boxes { weight: f32 },
}

impl Outputs {
    fn new(pair: &Pair<'_>, part: &'static str, compared: Compared, settings: Value) -> Self {
        let (teacher, same, detector) = (Arc::clone(&pair.teacher), pair.outputs.clone(), pair.detector.clone());
        Self { part, teacher, same, detector, compared, settings }
    }
}

impl Term for Outputs {
    fn part_names(&self) -> Vec<String> {
        vec![self.part.into()]
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        let teacher = input.run_on_cpu(&self.teacher)?;
        let teacher: Vec<&Tensor> = self.same.iter().map(|&output| &teacher.outputs[output]).collect();
        let numbers = teacher.iter().map(|map| Numbers::of(map)).collect::<candle_core::Result<Vec<_>>>()?;
        let maps = numbers.iter().zip(&teacher).map(|(numbers, map)| {
            let places = map.dim(2)? * map.dim(3)?;
            Ok(Map { numbers, places })
        });
        let maps = maps.collect::<candle_core::Result<Vec<_>>>()?;
        let comparison = Comparison::new(&self.detector, input.batch(), &maps, self.compared);
        let mut sum = 0.0;
        for (index, output) in input.outputs_on_cpu()?.iter().enumerate() {
            if comparison.concerns(index) {
                let student = Numbers::of(output)?;
                sum += gradients.change_output(index, output, |gradient| comparison.add(index, &student, gradient))?;
            }
        }
        Ok(vec![sum])
    }
}

/// One output map: numbers of all images, and places (height × width).
#[derive(Clone, Copy)]
struct Map<'a> {
    numbers: &'a [f32],
    places: usize,
}

/// A teacher's outputs in the student's order, for those to be compared with, map by map.
///
/// Both terms are normalised and weighted as the part of the detection loss that they resemble, so a weight of 1 makes
/// the teacher count as much as the labels. Class scores and boxes count where the teacher sees an object (Mehta and
/// Ozturk 2018, <https://arxiv.org/abs/1805.06361>); boxes of YOLOv8 are compared as distributions (Zheng et al. 2022,
/// localization distillation, <https://arxiv.org/abs/2102.12252>).
struct Comparison<'a> {
    detector: &'a Detector,
    batch: usize,
    teacher: &'a [Map<'a>],
    /// For each level, how sure the teacher is that there is an object, at every place (and anchor) of every image.
    objects: Vec<Vec<f32>>,
    /// Their sum.
    seen: f32,
    compared: Compared,
}

impl<'a> Comparison<'a> {
    /// Looks for the objects that the teacher sees.
    fn new(detector: &'a Detector, batch: usize, teacher: &'a [Map<'a>], compared: Compared) -> Self {
        let classes = detector.classes.len();
        let of_kind = |kind| detector.by_level(kind, teacher).into_iter();
        let objects: Vec<Vec<f32>> = match &detector.head {
            Head::Anchors { .. } => of_kind(OutputKind::Anchors).map(|map| objectness(map, classes)).collect(),
            Head::Distribution { .. } => of_kind(OutputKind::Classes).map(|map| best_scores(map, batch)).collect(),
        };
        let seen = objects.iter().flatten().map(|&object| f64::from(object)).sum::<f64>().max(1.0) as f32;
        Self { detector, batch, teacher, objects, seen, compared }
    }

    /// Whether a map has anything of what is compared.
    fn concerns(&self, map: usize) -> bool {
        match (self.detector.outputs[map].kind, self.compared) {
            (OutputKind::Anchors, _)
            | (OutputKind::Boxes, Compared::Boxes { .. })
            | (OutputKind::Classes, Compared::Scores { .. }) => true,
            (OutputKind::Boxes, Compared::Scores { .. }) | (OutputKind::Classes, Compared::Boxes { .. }) => false,
        }
    }

    /// Divergence of the student's map from the teacher's, for a mean image; the gradient of it times the batch is added
    /// to `gradient`.
    fn add(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> f64 {
        let sum = match (self.detector.outputs[map].kind, self.compared) {
            (OutputKind::Anchors, _) => self.anchors(map, student, gradient),
            (OutputKind::Boxes, Compared::Boxes { weight }) => self.distances(map, weight, student, gradient),
            (OutputKind::Classes, Compared::Scores { classes, temperature, .. }) => {
                self.classes(map, classes, temperature, student, gradient)
            }
            (OutputKind::Boxes, Compared::Scores { .. }) | (OutputKind::Classes, Compared::Boxes { .. }) => 0.0,
        };
        sum / self.batch as f64
    }

    /// YOLOv5: planes x, y, w, h, objectness and the classes of every anchor. All are logits of numbers between 0 and 1,
    /// so one divergence serves them all.
    fn anchors(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> f64 {
        let Map { numbers: teacher, places } = self.teacher[map];
        let classes = self.detector.classes.len();
        let level = self.detector.outputs[map].level;
        let (objects, planes, batch) = (&self.objects[level], 5 + classes, self.batch as f32);
        let balance = objectness_balance(self.objects.len())[level];
        let everywhere = vec![1.0; places];
        let anchors = teacher.par_chunks_exact(planes * places).zip(student.par_chunks_exact(planes * places));
        let anchors = anchors.zip(gradient.par_chunks_exact_mut(planes * places)).zip(objects.par_chunks(places));
        let sums: Vec<f64> = anchors
            .map(|(((teacher, student), gradient), objects)| {
                let mut compare = |plane: usize, weights: &[f32], temperature: f32, scale: f32| {
                    let range = plane * places..(plane + 1) * places;
                    let (t, s, g) = (&teacher[range.clone()], &student[range.clone()], &mut gradient[range]);
                    bernoulli(t, s, weights, temperature, scale, g)
                };
                match self.compared {
                    Compared::Boxes { weight } => {
                        let scale = weight * 0.5 * batch / (self.seen * 4.0);
                        (0..4).map(|plane| compare(plane, objects, 1.0, scale)).sum()
                    }
                    Compared::Scores { objectness, classes: weight, temperature } => {
                        let scale = objectness * balance * batch / self.objects[level].len() as f32;
                        let of_objectness = compare(4, &everywhere, temperature, scale);
                        let scale = weight * batch / (self.seen * classes as f32);
                        (5..planes).fold(of_objectness, |sum, plane| sum + compare(plane, objects, temperature, scale))
                    }
                }
            })
            .collect();
        sums.iter().sum()
    }

    /// YOLOv8's distances of the four sides, `reg_max` planes each.
    fn distances(&self, map: usize, weight: f32, student: &[f32], gradient: &mut [f32]) -> f64 {
        let Map { numbers: teacher, places } = self.teacher[map];
        let level = self.detector.outputs[map].level;
        let scale = weight * 1.5 * self.batch as f32 / (self.seen * 4.0);
        let side = teacher.len() / (4 * self.batch);
        let sides = teacher.par_chunks_exact(side).zip(student.par_chunks_exact(side));
        let sides = sides.zip(gradient.par_chunks_exact_mut(side)).enumerate();
        let sums: Vec<f64> = sides
            .map(|(index, ((teacher, student), gradient))| {
                let objects = &self.objects[level][index / 4 * places..][..places];
                over_planes(teacher, student, objects, 1.0, scale, gradient)
            })
            .collect();
        sums.iter().sum()
    }

    /// YOLOv8's class scores.
    fn classes(&self, map: usize, weight: f32, temperature: f32, student: &[f32], gradient: &mut [f32]) -> f64 {
        let Map { numbers: teacher, places } = self.teacher[map];
        let scale = weight * self.batch as f32 / self.seen;
        let everywhere = vec![1.0; places];
        let planes = teacher.par_chunks_exact(places).zip(student.par_chunks_exact(places));
        let sums: Vec<f64> = planes
            .zip(gradient.par_chunks_exact_mut(places))
            .map(|((t, s), g)| bernoulli(t, s, &everywhere, temperature, scale, g))
            .collect();
        sums.iter().sum()
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

    const COMPARED: [Compared; 2] =
        [Compared::Scores { objectness: 0.7, classes: 0.4, temperature: 2.0 }, Compared::Boxes { weight: 1.3 }];

    fn wave(len: usize, phase: f32) -> Vec<f32> {
        (0..len).map(|i| 2.0 * (i as f32 * 0.7 + phase).sin()).collect()
    }

    /// The value and its gradient, for maps of these planes and places in a batch of two.
    fn run(
        detector: &Detector,
        sizes: &[(usize, usize)],
        compared: Compared,
        student: &[Vec<f32>],
    ) -> (f64, Vec<Vec<f32>>) {
        let teacher: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 0.2)).collect();
        let maps = teacher.iter().zip(sizes).map(|(numbers, &(_, places))| Map { numbers, places });
        let maps: Vec<Map> = maps.collect();
        let comparison = Comparison::new(detector, 2, &maps, compared);
        let mut gradients: Vec<Vec<f32>> = student.iter().map(|map| vec![0.0; map.len()]).collect();
        let concerned = (0..student.len()).filter(|&map| comparison.concerns(map));
        let value = concerned.map(|map| comparison.add(map, &student[map], &mut gradients[map])).sum();
        (value, gradients)
    }

    fn check(detector: &Detector, sizes: &[(usize, usize)], compared: Compared) {
        let student: Vec<Vec<f32>> = sizes.iter().map(|(planes, places)| wave(2 * planes * places, 1.1)).collect();
        let (value, gradients) = run(detector, sizes, compared, &student);
        assert!(value > 0.0);
        for map in 0..student.len() {
            for index in (0..student[map].len()).step_by(7) {
                let shifted = |delta: f32| {
                    let mut student = student.clone();
                    student[map][index] += delta;
                    2.0 * run(detector, sizes, compared, &student).0
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
        let (value, gradients) = run(detector, sizes, compared, &teacher);
        assert!(value.abs() < 1e-5, "{value}");
        assert!(gradients.iter().flatten().all(|number| number.abs() < 1e-5));
    }

    #[test]
    fn gradients_of_both_heads_match_finite_differences() {
        for compared in COMPARED {
            check(&anchors(2), &[(14, 6), (14, 2)], compared);
            let detector = Detector::new(anchors(2).classes, vec![8, 16], Head::Distribution { reg_max: 4 });
            check(&detector, &[(16, 6), (2, 6), (16, 3), (2, 3)], compared);
        }
    }

    fn anchors(levels: usize) -> Detector {
        let head = Head::Anchors { anchors: vec![vec![[1.0, 1.0]; 2]; levels] };
        let strides = (0..levels).map(|level| 8 << level).collect();
        Detector::new(["a", "b"].map(String::from).to_vec(), strides, head)
    }

    /// The levels' objectness counts as in the detection loss, however many there are.
    #[test]
    fn levels_count_as_in_the_detection_loss() {
        let compared = Compared::Scores { objectness: 1.0, classes: 0.0, temperature: 1.0 };
        for (levels, expected) in [(2, vec![4.0, 1.0]), (3, vec![4.0, 1.0, 0.4]), (4, vec![4.0, 1.0, 0.25, 0.06])] {
            // All levels have the same numbers, so only their weights tell them apart.
            let (sizes, student) = (vec![(14, 2); levels], vec![wave(2 * 14 * 2, 1.1); levels]);
            let (_, gradients) = run(&anchors(levels), &sizes, compared, &student);
            let size = |gradient: &Vec<f32>| gradient.iter().map(|number| number.abs()).sum::<f32>();
            let found: Vec<f32> = gradients.iter().map(|gradient| 4.0 * size(gradient) / size(&gradients[0])).collect();
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            assert!(found.iter().zip(&expected).all(near), "{found:?} against {expected:?}");
        }
    }
}
