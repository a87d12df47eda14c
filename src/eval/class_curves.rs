//! Precision and recall of each class as curves.

use super::{
    average_precision::{Rule, by_class},
    curves::{POINTS, RECALLS, confidence_at},
    detection::ImageResult,
};

/// How precision and recall of a class depend on what counts as found, at IoU 0.5.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCurves {
    /// Class index.
    pub class: usize,
    /// Its labelled boxes.
    pub labels: usize,
    /// The precision reached at recalls of 0, 0.01, …, 1: the best at that recall or any higher one.
    pub over_recall: Vec<f64>,
    /// Precision at 1000 confidences from 0 to 1.
    pub precision: Vec<f64>,
    /// Recall at the same.
    pub recall: Vec<f64>,
}

impl ClassCurves {
    /// Points (recall, precision).
    pub fn precision_over_recall(&self) -> Vec<(f64, f64)> {
        self.over_recall.iter().enumerate().map(|(at, &value)| (at as f64 / (RECALLS - 1) as f64, value)).collect()
    }

    /// Points (confidence, F1): the harmonic mean of precision and recall, 2·P·R / (P + R).
    pub fn f1_over_confidence(&self) -> Vec<(f64, f64)> {
        let f1 = |(precision, recall): (f64, f64)| 2.0 * precision * recall / (precision + recall + 1e-16);
        let pairs = self.precision.iter().copied().zip(self.recall.iter().copied());
        pairs.enumerate().map(|(at, pair)| (confidence_at(at), f1(pair))).collect()
    }

    /// The mean of several classes' curves, as an evaluation over all of them is one.
    pub fn mean(all: &[Self]) -> Self {
        let mean = |of: &dyn Fn(&Self) -> &Vec<f64>, points: usize| {
            let at = |point: usize| all.iter().map(|class| of(class)[point]).sum::<f64>() / all.len().max(1) as f64;
            (0..points).map(at).collect()
        };
        Self {
            class: 0,
            labels: all.iter().map(|class| class.labels).sum(),
            over_recall: mean(&|class| &class.over_recall, RECALLS),
            precision: mean(&|class| &class.precision, POINTS),
            recall: mean(&|class| &class.recall, POINTS),
        }
    }
}

/// The curves of the classes that have labels, by class, by the rule that decides which detections are right.
pub fn class_curves(images: &[ImageResult], rule: Rule) -> Vec<ClassCurves> {
    let (labels, curves, _) = by_class(images, rule);
    let shown = labels.into_iter().zip(curves).map(|((class, (_, labels)), curves)| {
        let [precision, recall] = curves.over_confidence;
        ClassCurves { class, labels, over_recall: curves.over_recall, precision, recall }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{boxes::Truth, eval::Detection};

    /// Two labels; one is found with confidence 0.8, a wrong box with 0.4.
    fn image() -> ImageResult {
        let at = |left: f32| [left, 0.0, left + 10.0, 10.0];
        let found = |left, confidence| Detection { corners: at(left), confidence, class: 0 };
        let truths = [0.0, 50.0].map(|left| Truth { class: 0, bounds: at(left) });
        ImageResult::new(vec![found(0.0, 0.8), found(100.0, 0.4)], truths.to_vec())
    }

    #[test]
    fn they_are_those_that_average_precision_is_the_area_of() {
        for rule in [Rule::Ultralytics, Rule::Yolov5, Rule::Coco] {
            let curves = class_curves(&[image()], rule);
            let [class] = curves.as_slice() else { panic!("one class") };
            assert_eq!((class.class, class.labels), (0, 2));
            let points = class.precision_over_recall();
            assert_eq!((points[0], points[49].1, points[100].0), ((0.0, 1.0), 1.0, 1.0), "{rule:?}");
            assert!(points[60].1 <= 0.8, "beyond half the labels nothing is found: {rule:?} {:?}", points[60]);
            let f1 = class.f1_over_confidence();
            // At 0.9 nothing is counted yet; at 0.6 one of one is right and one of two found; at 0.1 one of two is right.
            let at = |confidence: f64| f1[(confidence * 999.0) as usize].1;
            assert!(at(0.9).abs() < 1e-9 || at(0.9) <= 2.0 / 3.0);
            assert!((at(0.6) - 2.0 / 3.0).abs() < 0.1 && (at(0.1) - 0.5).abs() < 1e-6, "{} {}", at(0.6), at(0.1));
        }
    }

    #[test]
    fn the_mean_is_taken_point_by_point() {
        let class = |value: f64| ClassCurves {
            class: 0,
            labels: 1,
            over_recall: vec![value; RECALLS],
            precision: vec![value; POINTS],
            recall: vec![value; POINTS],
        };
        let mean = ClassCurves::mean(&[class(0.2), class(0.6)]);
        assert!((mean.over_recall[7] - 0.4).abs() < 1e-12 && (mean.recall[999] - 0.4).abs() < 1e-12);
        assert_eq!(mean.labels, 2);
    }
}
