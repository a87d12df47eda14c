//! Which detections are right: each claims at most one labelled box of its class, and each box is claimed once, apart
//! for every IoU threshold.

use super::detection::ImageResult;
use crate::boxes::iou;

/// IoU thresholds of mean average precision: 0.5, 0.55, …, 0.95.
pub(super) const THRESHOLDS: usize = 10;

/// For a detection, bit `t` says whether it is right at threshold `t`.
pub(super) type Hits = u16;

/// The thresholds in fp32, counted from the nearer end.
fn thresholds() -> [f32; THRESHOLDS] {
    std::array::from_fn(|t| if t < THRESHOLDS / 2 { 0.5 + 0.05 * t as f32 } else { 0.95 - 0.05 * (9 - t) as f32 })
}

/// The rule of Ultralytics (8.4.190): the most confident detection first, each claims the box that it overlaps most
/// among those still free.
pub(super) fn ultralytics(image: &ImageResult) -> Vec<Hits> {
    let thresholds = thresholds();
    let mut claimed: Vec<Hits> = vec![0; image.truths().len()];
    let mut overlaps = Vec::new();
    let hits = image.detections().iter().map(|detection| {
        overlaps.clear();
        overlaps.extend(image.truths().iter().map(|truth| match truth.class == detection.class {
            true => iou(truth.bounds, detection.corners),
            false => 0.0,
        }));
        let most = overlaps.iter().copied().fold(0.0, f32::max);
        let mut hits = 0;
        for (t, &threshold) in thresholds.iter().enumerate().take_while(|&(_, &threshold)| most >= threshold) {
            let mut best = (0.0, 0);
            for (label, &overlap) in overlaps.iter().enumerate() {
                if overlap > best.0 && claimed[label] >> t & 1 == 0 {
                    best = (overlap, label);
                }
            }
            if best.0 >= threshold {
                hits |= 1 << t;
                claimed[best.1] |= 1 << t;
            }
        }
        hits
    });
    hits.collect()
}

/// The rule of YOLOv5 (7.0): each detection stands for the box that it overlaps most, free or not; of the detections
/// that stand for a box, the most confident is right.
pub(super) fn yolov5(image: &ImageResult) -> Vec<Hits> {
    let thresholds = thresholds();
    let mut claimed: Vec<Hits> = vec![0; image.truths().len()];
    let hits = image.detections().iter().map(|detection| {
        let mut best = (0.0, None);
        for (label, truth) in image.truths().iter().enumerate() {
            if truth.class == detection.class {
                let overlap = iou(truth.bounds, detection.corners);
                if overlap > best.0 {
                    best = (overlap, Some(label));
                }
            }
        }
        let (overlap, Some(label)) = best else { return 0 };
        let reached = thresholds.iter().filter(|&&threshold| overlap >= threshold).count();
        let hits = ((1 << reached) - 1) & !claimed[label];
        claimed[label] |= hits;
        hits
    });
    hits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{boxes::Truth, eval::Detection};

    fn row(left: f32, confidence: f32) -> Detection {
        Detection { corners: [left, 0.0, left + 10.0, 10.0], confidence, class: 0 }
    }

    fn label(left: f32, class: usize) -> Truth {
        Truth { bounds: [left, 0.0, left + 10.0, 10.0], class }
    }

    /// Two boxes, and two detections that overlap the first one more: YOLOv5 counts the second as wrong, Ultralytics
    /// gives it the box that is left.
    #[test]
    fn the_rules_differ_where_a_box_is_claimed_twice() {
        let image = ImageResult::new(vec![row(0.5, 0.9), row(1.0, 0.8)], vec![label(0.0, 0), label(3.0, 0)]);
        let [first, second] = ultralytics(&image)[..] else { panic!("two detections") };
        assert_eq!(first, 0b1_1111_1111, "9.5 of 10.5 is 0.905");
        assert_eq!(second, 0b1111, "8 of 12 is 0.667 with the box that is left");
        assert_eq!(yolov5(&image)[1], 0);
    }

    #[test]
    fn classes_are_kept_apart_and_every_box_is_claimed_once() {
        let image = ImageResult::new(vec![row(0.0, 0.9), row(0.0, 0.9)], vec![label(0.0, 0), label(0.0, 1)]);
        for rule in [ultralytics, yolov5] {
            assert_eq!(rule(&image), [0b11_1111_1111, 0]);
        }
    }

    #[test]
    fn nothing_found_or_nothing_there() {
        for rule in [ultralytics, yolov5] {
            assert!(rule(&ImageResult::new(vec![], vec![label(0.0, 0)])).is_empty());
            assert_eq!(rule(&ImageResult::new(vec![row(0.0, 0.9)], vec![])), [0]);
        }
    }
}
