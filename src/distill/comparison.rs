//! A teacher's outputs, for a student's to be compared with, map by map.

use candle_core::Tensor;
use espalier_kernels::{
    elementwise::{self, Activation},
    logistic::sigmoid_of,
};
use rayon::prelude::*;

use super::{
    divergence::{bernoulli, over_planes},
    pointwise::{distances, quality},
};
use crate::{
    data::Target,
    model::{Detector, Head, OutputKind},
    options::option_names,
    train::loss::{Gains, objectness_balance},
};

/// What of the outputs is compared, and how much it counts.
#[derive(Clone, Copy)]
pub(super) enum Compared {
    Scores { objectness: f32, classes: f32, by: Divergence },
    Boxes { weight: f32, temperature: f32 },
}

impl Compared {
    /// Scores, each kind with the weight that it has in the detection loss.
    pub fn scores(gains: &Gains, weight: f32, by: Divergence) -> Self {
        let (objectness, classes) = (gains.objectness_gain.unwrap_or(1.0), gains.class_gain.unwrap_or(0.5));
        Compared::Scores { objectness: weight * objectness, classes: weight * classes, by }
    }
}

/// How scores are compared.
#[derive(Clone, Copy)]
pub(super) enum Divergence {
    /// Kullback–Leibler, softened.
    Softened { temperature: f32 },
    /// Cross-entropy times the distance to the power of beta.
    Quality { beta: f32 },
}

impl Divergence {
    fn add(self, teacher: &[f32], student: &[f32], weights: &[f32], scale: f32, gradient: &mut [f32]) -> f64 {
        match self {
            Divergence::Softened { temperature } => bernoulli(teacher, student, weights, temperature, scale, gradient),
            Divergence::Quality { beta } => quality(teacher, student, weights, beta, scale, gradient),
        }
    }
}

/// Which places of the outputs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// By the teacher's confidence that there is an object.
    Confident,
    /// Those whose centre is in a labelled box, and those in which such a box has its own centre.
    Positives,
    /// All alike.
    Everywhere,
}
option_names!(Where, "where": Confident = "confident", Positives = "positives", Everywhere = "everywhere");

/// One output map: numbers of all images, and its size.
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    pub numbers: &'a [f32],
    pub size: [usize; 2],
}

impl<'a> Map<'a> {
    /// The numbers of a tensor (n, channels, h, w).
    ///
    /// # Errors
    /// For any other shape.
    pub fn new(numbers: &'a [f32], tensor: &Tensor) -> candle_core::Result<Self> {
        let (_, _, height, width) = tensor.dims4()?;
        Ok(Self { numbers, size: [height, width] })
    }

    fn places(&self) -> usize {
        self.size[0] * self.size[1]
    }
}

/// What comparisons of a pair of heads have in common.
#[derive(Clone)]
pub(super) struct Heads {
    /// The student's.
    pub detector: Detector,
    /// Classes of the teacher's.
    pub teacher_classes: usize,
    /// For each of the student's classes, that of the teacher's of the same name.
    pub classes: Vec<Option<usize>>,
    pub compared: Compared,
    pub places: Where,
}

/// A teacher's outputs in the student's order, for those to be compared with, map by map.
///
/// Both kinds are normalised and weighted as the part of the detection loss that they resemble, so a weight of 1 makes
/// the teacher count as much as the labels. Where the teacher's confidence counts, it is as by Mehta and
/// Ozturk 2018, <https://arxiv.org/abs/1805.06361>; boxes of YOLOv8 are compared as distributions (Zheng et al. 2022,
/// localization distillation, <https://arxiv.org/abs/2102.12252>).
pub(super) struct Comparison<'a> {
    heads: &'a Heads,
    batch: usize,
    teacher: &'a [Map<'a>],
    /// For each level, how much each place (and anchor) of every image counts.
    counts: Vec<Vec<f32>>,
    /// Their sum.
    total: f32,
}

impl<'a> Comparison<'a> {
    /// Looks for the places that count.
    pub fn new(heads: &'a Heads, batch: usize, teacher: &'a [Map<'a>], targets: &[Target]) -> Self {
        let classes = heads.teacher_classes;
        let (kind, anchors): (_, Vec<usize>) = match &heads.detector.head {
            Head::Anchors { anchors } => (OutputKind::Anchors, anchors.iter().map(Vec::len).collect()),
            Head::Distribution { .. } => (OutputKind::Classes, vec![1; heads.detector.strides.len()]),
        };
        let level = |(map, anchors): (&Map, usize)| match (heads.places, kind) {
            (Where::Everywhere, _) => vec![1.0; batch * anchors * map.places()],
            (Where::Positives, _) => positives(map.size, anchors, batch, targets),
            (Where::Confident, OutputKind::Anchors) => objectness(map, classes),
            (Where::Confident, OutputKind::Boxes | OutputKind::Classes) => best_scores(map, batch),
        };
        let maps = heads.detector.by_level(kind, teacher);
        let counts: Vec<Vec<f32>> = maps.into_iter().zip(anchors).map(level).collect();
        let total = counts.iter().flatten().map(|&count| f64::from(count)).sum::<f64>().max(1.0) as f32;
        Self { heads, batch, teacher, counts, total }
    }

    /// Whether a map has anything of what is compared.
    pub fn concerns(&self, map: usize) -> bool {
        match (self.heads.detector.outputs[map].kind, self.heads.compared) {
            (OutputKind::Anchors, _)
            | (OutputKind::Boxes, Compared::Boxes { .. })
            | (OutputKind::Classes, Compared::Scores { .. }) => true,
            (OutputKind::Boxes, Compared::Scores { .. }) | (OutputKind::Classes, Compared::Boxes { .. }) => false,
        }
    }

    /// Divergence of the student's map from the teacher's, for a mean image; the gradient of it times the batch is added
    /// to `gradient`.
    pub fn add(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> f64 {
        let sum = match (self.heads.detector.outputs[map].kind, self.heads.compared) {
            (OutputKind::Anchors, _) => self.anchors(map, student, gradient),
            (OutputKind::Boxes, Compared::Boxes { weight, temperature }) => {
                self.sides(map, weight, temperature, student, gradient)
            }
            (OutputKind::Classes, Compared::Scores { classes, by, .. }) => {
                self.classes(map, classes, by, student, gradient)
            }
            (OutputKind::Boxes, Compared::Scores { .. }) | (OutputKind::Classes, Compared::Boxes { .. }) => 0.0,
        };
        sum / self.batch as f64
    }

    /// YOLOv5: planes x, y, w, h, objectness and the classes of every anchor. All are logits of numbers between 0 and 1,
    /// so one divergence serves them all.
    fn anchors(&self, map: usize, student: &[f32], gradient: &mut [f32]) -> f64 {
        let (teacher, places) = (self.teacher[map].numbers, self.teacher[map].places());
        let level = self.heads.detector.outputs[map].level;
        let (counts, batch) = (&self.counts[level], self.batch as f32);
        let [of_teacher, of_student] =
            [self.heads.teacher_classes, self.heads.classes.len()].map(|classes| (5 + classes) * places);
        let balance = objectness_balance(self.counts.len())[level];
        let in_level = counts.iter().sum::<f32>().max(1.0);
        let anchors = teacher.par_chunks_exact(of_teacher).zip(student.par_chunks_exact(of_student));
        let anchors = anchors.zip(gradient.par_chunks_exact_mut(of_student)).zip(counts.par_chunks(places));
        let sums: Vec<f64> = anchors
            .map(|(((teacher, student), gradient), counts)| {
                let mut compare = |[from, to]: [usize; 2], counts: &[f32], by: Divergence, scale: f32| {
                    let range = |plane: usize| plane * places..(plane + 1) * places;
                    by.add(&teacher[range(from)], &student[range(to)], counts, scale, &mut gradient[range(to)])
                };
                match self.heads.compared {
                    Compared::Boxes { weight, temperature } => {
                        let scale = weight * 0.5 * batch / (self.total * 4.0);
                        let by = Divergence::Softened { temperature };
                        (0..4).map(|plane| compare([plane; 2], counts, by, scale)).sum()
                    }
                    Compared::Scores { objectness, classes: weight, by } => {
                        let scale = objectness * balance * batch / in_level;
                        let first = compare([4; 2], counts, by, scale);
                        let scale = weight * batch / (self.total * self.heads.classes.len() as f32);
                        self.common()
                            .fold(first, |sum, [from, to]| sum + compare([5 + from, 5 + to], counts, by, scale))
                    }
                }
            })
            .collect();
        sums.iter().sum()
    }

    /// The teacher's and the student's index of each class that both have.
    fn common(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        self.heads.classes.iter().enumerate().filter_map(|(own, other)| Some([(*other)?, own]))
    }

    /// YOLOv8's distances of the four sides, `reg_max` planes each; where there is one plane, it is the distance itself.
    fn sides(&self, map: usize, weight: f32, temperature: f32, student: &[f32], gradient: &mut [f32]) -> f64 {
        let (teacher, places) = (self.teacher[map].numbers, self.teacher[map].places());
        let level = self.heads.detector.outputs[map].level;
        let scale = weight * 1.5 * self.batch as f32 / (self.total * 4.0);
        let side = teacher.len() / (4 * self.batch);
        let sides = teacher.par_chunks_exact(side).zip(student.par_chunks_exact(side));
        let sides = sides.zip(gradient.par_chunks_exact_mut(side)).enumerate();
        let sums: Vec<f64> = sides
            .map(|(index, ((teacher, student), gradient))| {
                let counts = &self.counts[level][index / 4 * places..][..places];
                match side == places {
                    true => distances(teacher, student, counts, scale, gradient),
                    false => over_planes(teacher, student, counts, temperature, scale, gradient),
                }
            })
            .collect();
        sums.iter().sum()
    }

    /// YOLOv8's class scores.
    fn classes(&self, map: usize, weight: f32, by: Divergence, student: &[f32], gradient: &mut [f32]) -> f64 {
        let (teacher, places) = (self.teacher[map].numbers, self.teacher[map].places());
        let counts = &self.counts[self.heads.detector.outputs[map].level];
        let scale = weight * self.batch as f32 / self.total;
        let classes = self.heads.classes.len();
        let planes = student.par_chunks_exact(places).zip(gradient.par_chunks_exact_mut(places)).enumerate();
        let sums: Vec<f64> = planes
            .filter_map(|(index, (student, gradient))| {
                let (image, class) = (index / classes, self.heads.classes[index % classes]?);
                let plane = image * self.heads.teacher_classes + class;
                let counts = &counts[image * places..][..places];
                Some(by.add(&teacher[plane * places..][..places], student, counts, scale, gradient))
            })
            .collect();
        sums.iter().sum()
    }
}

/// YOLOv5's objectness at every anchor and place.
fn objectness(map: &Map, classes: usize) -> Vec<f32> {
    let places = map.places();
    let anchor = (5 + classes) * places;
    let mut objects = vec![0.0; map.numbers.len() / (5 + classes)];
    let anchors = map.numbers.par_chunks_exact(anchor).zip(objects.par_chunks_exact_mut(places));
    anchors.for_each(|(anchor, objects)| {
        elementwise::activate(Activation::Sigmoid, &anchor[4 * places..5 * places], objects);
    });
    objects
}

/// YOLOv8's highest class score at every place.
fn best_scores(map: &Map, batch: usize) -> Vec<f32> {
    let image = |scores: &[f32]| {
        let mut best = vec![f32::MIN; map.places()];
        for plane in scores.chunks_exact(map.places()) {
            best.iter_mut().zip(plane).for_each(|(best, score)| *best = best.max(*score));
        }
        best.into_iter().map(sigmoid_of)
    };
    map.numbers.par_chunks_exact(map.numbers.len() / batch).flat_map_iter(image).collect()
}

/// 1 at the places of all anchors that answer for a labelled box, 0 elsewhere.
fn positives([height, width]: [usize; 2], anchors: usize, batch: usize, targets: &[Target]) -> Vec<f32> {
    let places = height * width;
    let mut found = vec![0.0; batch * anchors * places];
    for target in targets {
        let [left, top, right, bottom] = target.truth.bounds.scaled(width as f32, height as f32).corners();
        let inside = |low: f32, high: f32, extent: usize| {
            // Places whose centre (index + 0.5) is within, or the one that has the middle.
            let middle = ((low + high) / 2.0).clamp(0.0, extent as f32 - 1.0) as usize;
            (0..extent).filter(move |&at| (low..high).contains(&(at as f32 + 0.5)) || at == middle)
        };
        for row in inside(top, bottom, height) {
            for column in inside(left, right, width) {
                for anchor in 0..anchors {
                    found[(target.image * anchors + anchor) * places + row * width + column] = 1.0;
                }
            }
        }
    }
    found
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
