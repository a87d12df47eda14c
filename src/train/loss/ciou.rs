//! Complete IoU of two boxes and its gradient.

use std::f32::consts::PI;

use crate::boxes::{Corners, intersection};

/// Keeps divisions finite, as in the YOLO sources.
const EPS: f32 = 1e-7;

fn width([left, _, right, _]: Corners) -> f32 {
    right - left
}

fn height([_, top, _, bottom]: Corners) -> f32 {
    (bottom - top).max(EPS)
}

fn aspect_angle(corners: Corners) -> f32 {
    (width(corners) / height(corners)).atan()
}

/// Complete IoU (Zheng et al. 2020, "Distance-IoU Loss"): IoU − ρ²/c² − αv, clamped at zero. Boxes that do not overlap
/// cost no arctangent.
pub(super) fn clamped_ciou(a: Corners, b: Corners) -> f32 {
    if intersection(a, b) <= 0.0 { 0.0 } else { ciou(a, b).0.max(0.0) }
}

/// Complete IoU of a predicted box with its target, and the gradient with respect to the prediction's x1, y1, x2, y2.
/// The trade-off α is held constant in the gradient, as the paper says.
pub(super) fn ciou(prediction: Corners, target: Corners) -> (f32, [f32; 4]) {
    let ([px1, py1, px2, py2], [tx1, ty1, tx2, ty2]) = (prediction, target);
    let (pw, ph, tw, th) = (width(prediction), height(prediction), width(target), height(target));
    let (inner_w, inner_h) = (px2.min(tx2) - px1.max(tx1), py2.min(ty2) - py1.max(ty1));
    let overlaps = inner_w > 0.0 && inner_h > 0.0;
    let inter = if overlaps { inner_w * inner_h } else { 0.0 };
    let union = pw * ph + tw * th - inter + EPS;
    let iou = inter / union;
    let (outer_w, outer_h) = (px2.max(tx2) - px1.min(tx1), py2.max(ty2) - py1.min(ty1));
    let diagonal = outer_w * outer_w + outer_h * outer_h + EPS;
    let (dx, dy) = (tx1 + tx2 - px1 - px2, ty1 + ty2 - py1 - py2);
    let distance = (dx * dx + dy * dy) / 4.0;
    let turn = aspect_angle(target) - aspect_angle(prediction);
    let v = 4.0 / (PI * PI) * turn * turn;
    let alpha = v / (v - iou + 1.0 + EPS);
    let value = iou - (distance / diagonal + v * alpha);

    // IoU = I / U with dU = dA − dI, so dIoU = dI (U + I) / U² − dA I / U².
    let by_inter = if overlaps { (union + inter) / (union * union) } else { 0.0 };
    let by_area = inter / (union * union);
    // The penalty ρ²/c².
    let by_distance = 1.0 / diagonal;
    let by_diagonal = distance / (diagonal * diagonal);
    // αv with α constant: v's derivative through atan(w / h).
    let by_angle = alpha * 8.0 / (PI * PI) * turn / (pw * pw + ph * ph + EPS);
    let (by_width, by_height) = (by_angle * ph, -by_angle * pw);
    let flag = |condition: bool| if condition { 1.0 } else { 0.0 };
    let gradient = [
        -flag(px1 > tx1) * inner_h * by_inter + ph * by_area + dx / 2.0 * by_distance
            - 2.0 * outer_w * flag(px1 < tx1) * by_diagonal
            - by_width,
        -flag(py1 > ty1) * inner_w * by_inter + pw * by_area + dy / 2.0 * by_distance
            - 2.0 * outer_h * flag(py1 < ty1) * by_diagonal
            - by_height,
        flag(px2 < tx2) * inner_h * by_inter - ph * by_area
            + dx / 2.0 * by_distance
            + 2.0 * outer_w * flag(px2 > tx2) * by_diagonal
            + by_width,
        flag(py2 < ty2) * inner_w * by_inter - pw * by_area
            + dy / 2.0 * by_distance
            + 2.0 * outer_h * flag(py2 > ty2) * by_diagonal
            + by_height,
    ];
    (value, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in f64 with a given α, or its own.
    fn definition(p: [f64; 4], t: [f64; 4], alpha: Option<f64>) -> (f64, f64) {
        let inter = (p[2].min(t[2]) - p[0].max(t[0])).max(0.0) * (p[3].min(t[3]) - p[1].max(t[1])).max(0.0);
        let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
        let iou = inter / (area(p) + area(t) - inter);
        let (w, h) = (p[2].max(t[2]) - p[0].min(t[0]), p[3].max(t[3]) - p[1].min(t[1]));
        let centre = |b: [f64; 4]| [(b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0];
        let (a, b) = (centre(p), centre(t));
        let rho = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let angle = |b: [f64; 4]| ((b[2] - b[0]) / (b[3] - b[1])).atan();
        let v = 4.0 / std::f64::consts::PI.powi(2) * (angle(t) - angle(p)).powi(2);
        let alpha = alpha.unwrap_or(v / (1.0 - iou + v));
        (iou - rho / (w * w + h * h) - alpha * v, alpha)
    }

    #[test]
    fn value_and_gradient_match_the_definition() {
        let target = [2.0, 1.0, 7.0, 4.0];
        let cases = [
            [1.5, 0.2, 6.0, 5.1],
            [3.0, 2.0, 5.0, 3.0],
            [0.0, 0.0, 9.0, 9.0],
            [8.0, 5.0, 11.0, 6.0],
            [2.5, 0.5, 7.5, 2.5],
            [3.0, 3.5, 4.0, 12.0],
        ];
        for p in cases {
            let corners = |b: [f64; 4]| b.map(|side| side as f32);
            let (value, gradient) = ciou(corners(p), corners(target));
            let (expected, alpha) = definition(p, target, None);
            assert!((f64::from(value) - expected).abs() < 1e-5, "{p:?}: {value} against {expected}");
            assert!((f64::from(clamped_ciou(corners(p), corners(target))) - expected.max(0.0)).abs() < 1e-5);
            for side in 0..4 {
                let at = |delta: f64| {
                    let mut moved = p;
                    moved[side] += delta;
                    definition(moved, target, Some(alpha)).0
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                let found = f64::from(gradient[side]);
                assert!((numeric - found).abs() < 1e-4, "{p:?} side {side}: {found} against {numeric}");
            }
        }
    }
}
