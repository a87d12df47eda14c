//! Average precision by COCO's rule (Lin et al. 2014; pycocotools): apart for each range of box areas, where boxes of
//! other areas neither help nor hurt.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    curves::{Counted, Curves, Labels, RECALLS, over_confidence},
    detection::{Detection, ImageResult},
    matching::{Hits, THRESHOLDS},
};
use crate::boxes::{Truth, area_f64, iou_f64};

/// What only the COCO rule gives; `None` where no labelled box is of that size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CocoScore {
    /// Average precision of boxes below 32² square pixels.
    pub small: Option<f64>,
    /// Average precision of boxes between 32² and 96² square pixels.
    pub medium: Option<f64>,
    /// Average precision of boxes above 96² square pixels.
    pub large: Option<f64>,
    /// Highest recall with 100 detections an image, mean over classes and IoU thresholds.
    pub ar100: Option<f64>,
}

/// Detections of a class that count in one image.
const MAX_DETECTIONS: usize = 100;

/// Ranges of box areas in square pixels: all, small, medium, large.
const AREAS: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];

/// Curves of the classes that have labels, in their order, and the scores by size.
pub(super) fn evaluate(images: &[ImageResult], labels: &Labels) -> (Vec<Curves>, CocoScore) {
    let classes: Vec<usize> = labels.keys().copied().collect();
    let results: Vec<[Option<Ranked>; 4]> = classes.par_iter().map(|&class| rank(images, class)).collect();
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let of_size = |size: usize| {
        let ranked = results.iter().filter_map(|sizes| sizes[size].as_ref());
        mean(ranked.map(|ranked| ranked.average_precision().iter().sum::<f64>() / THRESHOLDS as f64).collect())
    };
    let best_recalls = results.iter().filter_map(|sizes| sizes[0].as_ref()).map(Ranked::best_recall);
    let score =
        CocoScore { small: of_size(1), medium: of_size(2), large: of_size(3), ar100: mean(best_recalls.collect()) };
    let curves = results.iter().map(|sizes| sizes[0].as_ref().map_or_else(Curves::nothing_found, Ranked::curves));
    (curves.collect(), score)
}

/// What becomes of a detection, at each threshold.
#[derive(Clone, Copy, Default)]
struct Outcome {
    confidence: f32,
    matched: Hits,
    ignored: Hits,
}

/// All detections of a class and a size, most confident first, and how many boxes there are to find.
struct Ranked {
    outcomes: Vec<Outcome>,
    labels: usize,
}

/// For each range of areas; `None` where the class has no box of that size.
fn rank(images: &[ImageResult], class: usize) -> [Option<Ranked>; 4] {
    let mut ranked = AREAS.map(|_| Ranked { outcomes: Vec::new(), labels: 0 });
    for image in images {
        let own = |detection: &&Detection| detection.class == class;
        let detections: Vec<&Detection> = image.detections().iter().filter(own).take(MAX_DETECTIONS).collect();
        let truths: Vec<&Truth> = image.truths().iter().filter(|truth| truth.class == class).collect();
        let overlaps: Vec<Vec<f64>> = detections
            .iter()
            .map(|detection| truths.iter().map(|truth| iou_f64(detection.corners, truth.bounds)).collect())
            .collect();
        for (ranked, range) in ranked.iter_mut().zip(AREAS) {
            let outside = |corners| !(range[0]..=range[1]).contains(&area_f64(corners));
            let ignored: Vec<bool> = truths.iter().map(|truth| outside(truth.bounds)).collect();
            ranked.labels += ignored.iter().filter(|&&ignored| !ignored).count();
            let outcomes = match_boxes(&overlaps, &ignored);
            ranked.outcomes.extend(detections.iter().zip(outcomes).map(|(detection, outcome)| {
                let unmatched = if outside(detection.corners) { !outcome.matched } else { 0 };
                Outcome { confidence: detection.confidence, ignored: outcome.ignored | unmatched, ..outcome }
            }));
        }
    }
    ranked.map(|mut ranked| {
        ranked.outcomes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        (ranked.labels > 0).then_some(ranked)
    })
}

/// Each detection, most confident first, takes the free box that it overlaps most; an ignored box only if no other will
/// do, and then it is ignored itself.
fn match_boxes(overlaps: &[Vec<f64>], ignored: &[bool]) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::default(); overlaps.len()];
    for t in 0..THRESHOLDS {
        let threshold = 0.5 + 0.45 * t as f64 / 9.0;
        let mut taken = vec![false; ignored.len()];
        for (outcome, overlaps) in outcomes.iter_mut().zip(overlaps) {
            let best = |wanted: bool| {
                let mut best: Option<usize> = None;
                for label in 0..ignored.len() {
                    let least = best.map_or(threshold, |best| overlaps[best]);
                    if ignored[label] == wanted && !taken[label] && overlaps[label] >= least {
                        best = Some(label);
                    }
                }
                best
            };
            if let Some(label) = best(false).or_else(|| best(true)) {
                taken[label] = true;
                outcome.matched |= 1 << t;
                outcome.ignored |= Hits::from(ignored[label]) << t;
            }
        }
    }
    outcomes
}

impl Ranked {
    /// Confidences, and precision and recall counted on, of the detections that are not ignored.
    fn counted(&self, t: usize) -> (Vec<f32>, Counted) {
        let counting = || self.outcomes.iter().filter(move |outcome| outcome.ignored >> t & 1 == 0);
        let right = counting().map(move |outcome| outcome.matched >> t & 1 == 1);
        (counting().map(|outcome| outcome.confidence).collect(), Counted::new(right, self.labels))
    }

    /// Mean of the precision's envelope at the 101 recalls, at each threshold.
    fn average_precision(&self) -> [f64; THRESHOLDS] {
        std::array::from_fn(|t| self.envelope(t).iter().sum::<f64>() / RECALLS as f64)
    }

    /// The precision's envelope at the 101 recalls.
    fn envelope(&self, t: usize) -> Vec<f64> {
        let (_, Counted { recall, mut precision }) = self.counted(t);
        for index in (1..precision.len()).rev() {
            precision[index - 1] = precision[index - 1].max(precision[index]);
        }
        let at = |step: usize| {
            let place = recall.partition_point(|&recall| recall < step as f64 / 100.0);
            precision.get(place).copied().unwrap_or(0.0)
        };
        (0..RECALLS).map(at).collect()
    }

    fn best_recall(&self) -> f64 {
        let last = |t: usize| self.counted(t).1.recall.last().copied().unwrap_or(0.0);
        (0..THRESHOLDS).map(last).sum::<f64>() / THRESHOLDS as f64
    }

    fn curves(&self) -> Curves {
        let (confidences, counted) = self.counted(0);
        if confidences.is_empty() {
            return Curves::nothing_found();
        }
        let average_precision = self.average_precision();
        let over_confidence = over_confidence(&counted, &confidences);
        Curves { average_precision, over_confidence, over_recall: self.envelope(0) }
    }
}
