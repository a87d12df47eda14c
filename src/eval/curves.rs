//! Curves of precision and recall over confidence, and the area under precision over recall.

use std::collections::BTreeMap;

use super::matching::THRESHOLDS;

/// Points of the confidence axis on which the best F1 is searched.
pub(super) const POINTS: usize = 1000;

/// Points of the recall axis: 0, 0.01, …, 1.
pub(super) const RECALLS: usize = 101;

/// Right and wrong detections of a class counted on, most confident first.
pub(super) struct Counted {
    pub(super) recall: Vec<f64>,
    pub(super) precision: Vec<f64>,
}

impl Counted {
    /// `right`, most confident first, of `labels` boxes there are.
    pub(super) fn new(right: impl Iterator<Item = bool>, labels: usize) -> Self {
        let (mut found, mut counted) = (0.0, Self { recall: Vec::new(), precision: Vec::new() });
        for (index, right) in right.enumerate() {
            found += f64::from(right);
            counted.recall.push(found / labels as f64);
            counted.precision.push(found / (index + 1) as f64);
        }
        counted
    }
}

/// Labels of a class: (images that have some, boxes).
pub(super) type Labels = BTreeMap<usize, (usize, usize)>;

/// What the rules give for a class: the area under the curve at each threshold, precision and recall at IoU 0.5 over
/// confidence, and the precision at [`RECALLS`] recalls.
pub(super) struct Curves {
    pub(super) average_precision: [f64; THRESHOLDS],
    pub(super) over_confidence: [Vec<f64>; 2],
    pub(super) over_recall: Vec<f64>,
}

impl Curves {
    /// Of a class of which no detection was made.
    pub(super) fn nothing_found() -> Self {
        let zeros = || vec![0.0; POINTS];
        Self {
            average_precision: [0.0; THRESHOLDS],
            over_confidence: [zeros(), zeros()],
            over_recall: vec![0.0; RECALLS],
        }
    }
}

/// What happens to the precision after the last recall that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// It falls to zero there (Ultralytics).
    Drops,
    /// It goes straight to zero at a recall of 1 (YOLOv5).
    Extends,
}

/// The area under the envelope of precision over recall by trapezoids between its samples.
pub(super) fn area_101(counted: &Counted, tail: Tail) -> f64 {
    envelope_101(counted, tail).windows(2).map(|pair| (pair[0] + pair[1]) / 200.0).sum()
}

/// The envelope of precision over recall: linear between points, sampled at [`RECALLS`] recalls.
pub(super) fn envelope_101(counted: &Counted, tail: Tail) -> Vec<f64> {
    let mut recall = vec![0.0];
    recall.extend(&counted.recall);
    let mut precision = vec![1.0];
    precision.extend(&counted.precision);
    if tail == Tail::Drops {
        recall.push(counted.recall.last().copied().unwrap_or(1.0));
        precision.push(0.0);
    }
    recall.push(1.0);
    precision.push(0.0);
    for index in (1..precision.len()).rev() {
        precision[index - 1] = precision[index - 1].max(precision[index]);
    }
    (0..RECALLS).map(|step| interpolate(step as f64 / 100.0, &recall, &precision, 1.0)).collect()
}

/// Precision and recall of a class at [`POINTS`] confidences from 0 to 1. `confidences` fall.
pub(super) fn over_confidence(counted: &Counted, confidences: &[f32]) -> [Vec<f64>; 2] {
    let rising: Vec<f64> = confidences.iter().map(|&confidence| -f64::from(confidence)).collect();
    let curve = |values: &[f64], left: f64| {
        (0..POINTS).map(|point| interpolate(-confidence_at(point), &rising, values, left)).collect()
    };
    [curve(&counted.precision, 1.0), curve(&counted.recall, 0.0)]
}

/// The confidence of a point of the axis.
pub(super) fn confidence_at(point: usize) -> f64 {
    point as f64 / (POINTS - 1) as f64
}

/// The point of the highest F1, averaged over the classes and smoothed by a box of a tenth of the axis. `curves` holds
/// precision and recall of each class.
pub(super) fn best_point(curves: &[[Vec<f64>; 2]]) -> usize {
    let f1_at = |point: usize| -> f64 {
        let f1 = |[precision, recall]: &[Vec<f64>; 2]| {
            let [p, r] = [precision[point], recall[point]];
            2.0 * p * r / (p + r + 1e-16)
        };
        curves.iter().map(f1).sum::<f64>() / curves.len().max(1) as f64
    };
    let f1: Vec<f64> = (0..POINTS).map(f1_at).collect();
    let half = (POINTS / 10) as isize / 2;
    let smoothed = |point: usize| -> f64 {
        let clamped = |offset: isize| f1[(point as isize + offset).clamp(0, POINTS as isize - 1) as usize];
        (-half..=half).map(clamped).sum()
    };
    let mut best = (0, f64::NEG_INFINITY);
    for point in 0..POINTS {
        let value = smoothed(point);
        if value > best.1 {
            best = (point, value);
        }
    }
    best.0
}

/// Linear between the points (`xs`, `ys`), whose `xs` never fall; `left` before them, the last of `ys` after them. Where
/// several points share an x, the last one counts.
fn interpolate(x: f64, xs: &[f64], ys: &[f64], left: f64) -> f64 {
    let after = xs.partition_point(|&other| other <= x);
    match (after.checked_sub(1), xs.get(after)) {
        (None, _) => left,
        (Some(before), None) => ys[before],
        (Some(before), Some(next)) => {
            let slope = (ys[after] - ys[before]) / (next - xs[before]);
            slope * (x - xs[before]) + ys[before]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_of_known_curves() {
        let perfect = Counted::new([true, true].into_iter(), 2);
        let half = Counted::new([true].into_iter(), 2);
        for tail in [Tail::Drops, Tail::Extends] {
            assert!((area_101(&perfect, tail) - 0.995).abs() < 1e-12, "the last sample, at recall 1, is 0");
            assert!(area_101(&Counted::new([false].into_iter(), 2), tail) <= 0.01);
        }
        assert!((area_101(&half, Tail::Drops) - 0.495).abs() < 0.011);
        assert!((area_101(&half, Tail::Extends) - 0.75).abs() < 0.011);
    }

    #[test]
    fn interpolation() {
        let (xs, ys) = ([0.0, 1.0, 1.0, 3.0], [0.0, 1.0, 5.0, 7.0]);
        let at = |x: f64| interpolate(x, &xs, &ys, -1.0);
        assert_eq!(
            [at(-0.1), at(0.0), at(0.5), at(1.0), at(2.0), at(3.0), at(4.0)],
            [-1.0, 0.0, 0.5, 5.0, 6.0, 7.0, 7.0]
        );
    }

    #[test]
    fn the_best_point_lies_where_f1_peaks() {
        let counted = Counted::new([true, true, false, false].into_iter(), 2);
        let curves = over_confidence(&counted, &[0.9, 0.6, 0.4, 0.2]);
        let confidence = confidence_at(best_point(&[curves]));
        assert!((0.4..0.65).contains(&confidence), "{confidence}");
    }
}
