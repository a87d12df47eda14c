//! Average precision from detections and labels, by the rule of Ultralytics, YOLOv5 or COCO.
//!
//! The rules differ in how detections claim labelled boxes and in how the area under the curve is taken:
//!
//! | rule | a detection claims | the curve |
//! | --- | --- | --- |
//! | `ultralytics` | the free box that it overlaps most | envelope, 101 recalls, trapezoids; zero after the last recall |
//! | `yolov5` | the box that it overlaps most, if free | the same, straight to zero at recall 1 |
//! | `coco` | the free box that it overlaps most | envelope at 101 recalls, no interpolation; 100 detections an image |
//!
//! All have ten IoU thresholds from 0.5 to 0.95 and average over the classes that have labels. Precision and recall are
//! those at IoU 0.5 and at the one confidence that maximises the smoothed mean F1 of the classes, as YOLOv5 and
//! Ultralytics report them; COCO defines none, so its rule reports them the same way from its own matches.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    coco::{self, CocoScore},
    curves::{Counted, Curves, Labels, Tail, area_101, best_point, confidence_at, envelope_101, over_confidence},
    detection::ImageResult,
    matching::{self, Hits, THRESHOLDS},
};
use crate::options::option_names;

/// How average precision is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// As Ultralytics 8.4.190 does.
    #[default]
    Ultralytics,
    /// As YOLOv5 7.0 does.
    Yolov5,
    /// As pycocotools 2.0.11 does.
    Coco,
}

option_names!(Rule, "metric": Ultralytics = "ultralytics", Yolov5 = "yolov5", Coco = "coco");

/// How good detections are, all in [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of the detections that are right, at the confidence of the best F1 and IoU 0.5.
    pub precision: f64,
    /// Share of the labelled boxes that are found, likewise.
    pub recall: f64,
    /// Average precision at IoU 0.5.
    pub map50: f64,
    /// Average precision at IoU 0.75.
    pub map75: f64,
    /// Average precision, mean over the IoU thresholds 0.5, 0.55, …, 0.95.
    pub map: f64,
}

/// The score of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Class index.
    pub class: usize,
    /// Images that have a labelled box of it.
    pub images: usize,
    /// Labelled boxes of it.
    pub labels: usize,
    /// How good its detections are.
    pub score: Score,
}

/// How good detections are, class by class and overall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// How it was computed.
    pub rule: Rule,
    /// Mean over the classes that have labels; zeros if none has.
    pub overall: Score,
    /// The classes that have labels, by index.
    pub classes: Vec<ClassScore>,
    /// The confidence at which precision and recall are reported.
    pub confidence: f64,
    /// What only the COCO rule gives.
    pub coco: Option<CocoScore>,
}

/// Scores the detections of many images.
pub fn average_precision(images: &[ImageResult], rule: Rule) -> Scores {
    let (labels, classes, coco) = by_class(images, rule);
    summarise(rule, labels, classes, coco)
}

/// The classes that have labels, each one's curves in the same order, and what only the COCO rule gives.
pub(super) fn by_class(images: &[ImageResult], rule: Rule) -> (Labels, Vec<Curves>, Option<CocoScore>) {
    let labels = count_labels(images);
    let (classes, coco) = match rule {
        Rule::Ultralytics => (claimed(images, &labels, matching::ultralytics, Tail::Drops), None),
        Rule::Yolov5 => (claimed(images, &labels, matching::yolov5, Tail::Extends), None),
        Rule::Coco => {
            let (classes, score) = coco::evaluate(images, &labels);
            (classes, Some(score))
        }
    };
    (labels, classes, coco)
}

fn count_labels(images: &[ImageResult]) -> Labels {
    let mut labels = Labels::new();
    for image in images {
        let mut classes: Vec<usize> = image.truths().iter().map(|truth| truth.class).collect();
        classes.sort_unstable();
        for same in classes.chunk_by(|a, b| a == b) {
            let (images, boxes) = labels.entry(same[0]).or_default();
            (*images, *boxes) = (*images + 1, *boxes + same.len());
        }
    }
    labels
}

/// The curves of the classes that have labels, in their order, from matches that are independent of size.
fn claimed(images: &[ImageResult], labels: &Labels, matches: fn(&ImageResult) -> Vec<Hits>, tail: Tail) -> Vec<Curves> {
    let hits: Vec<Vec<Hits>> = images.par_iter().map(matches).collect();
    let of_class = |(&class, &(_, boxes)): (&usize, &(usize, usize))| {
        let mut ranked: Vec<(f32, Hits)> = Vec::new();
        for (image, hits) in images.iter().zip(&hits) {
            let detections = image.detections().iter().zip(hits);
            let own = detections.filter(|(detection, _)| detection.class == class);
            ranked.extend(own.map(|(detection, &hits)| (detection.confidence, hits)));
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        if ranked.is_empty() {
            return Curves::nothing_found();
        }
        let counted = |t: usize| Counted::new(ranked.iter().map(move |&(_, hits)| hits >> t & 1 == 1), boxes);
        let confidences: Vec<f32> = ranked.iter().map(|&(confidence, _)| confidence).collect();
        Curves {
            average_precision: std::array::from_fn(|t| area_101(&counted(t), tail)),
            over_confidence: over_confidence(&counted(0), &confidences),
            over_recall: envelope_101(&counted(0), tail),
        }
    };
    labels.iter().collect::<Vec<_>>().into_par_iter().map(of_class).collect()
}

fn summarise(rule: Rule, labels: Labels, curves: Vec<Curves>, coco: Option<CocoScore>) -> Scores {
    let (areas, over_confidence): (Vec<_>, Vec<_>) =
        curves.into_iter().map(|curves| (curves.average_precision, curves.over_confidence)).unzip();
    let point = best_point(&over_confidence);
    let scored = labels.into_iter().zip(areas).zip(&over_confidence);
    let classes: Vec<ClassScore> = scored
        .map(|(((class, (images, labels)), areas), [precision, recall])| {
            let map = areas.iter().sum::<f64>() / THRESHOLDS as f64;
            let score =
                Score { precision: precision[point], recall: recall[point], map50: areas[0], map75: areas[5], map };
            ClassScore { class, images, labels, score }
        })
        .collect();
    let mean =
        |of: fn(&Score) -> f64| classes.iter().map(|class| of(&class.score)).sum::<f64>() / classes.len().max(1) as f64;
    let overall = Score {
        precision: mean(|score| score.precision),
        recall: mean(|score| score.recall),
        map50: mean(|score| score.map50),
        map75: mean(|score| score.map75),
        map: mean(|score| score.map),
    };
    Scores { rule, overall, classes, confidence: confidence_at(point), coco }
}

#[cfg(test)]
mod tests;
