//! Complete IoU of two boxes and its gradient.

use std::f32::consts::PI;

/// Keeps divisions finite, as in the YOLO sources.
const EPS: f32 = 1e-7;

/// A box by its corners, in any unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Corners {
    pub x1: f32,
    pub y1: f32,
    pub x2: f32,
    pub y2: f32,
}

impl Corners {
    /// The box of this centre, width and height.
    pub fn around(cx: f32, cy: f32, w: f32, h: f32) -> Self {
        Self { x1: cx - w / 2.0, y1: cy - h / 2.0, x2: cx + w / 2.0, y2: cy + h / 2.0 }
    }

    /// All coordinates times `factor`.
    pub fn scaled(self, factor: f32) -> Self {
        Self { x1: self.x1 * factor, y1: self.y1 * factor, x2: self.x2 * factor, y2: self.y2 * factor }
    }

    fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    fn height(&self) -> f32 {
        (self.y2 - self.y1).max(EPS)
    }

    fn aspect_angle(&self) -> f32 {
        (self.width() / self.height()).atan()
    }
}

/// Complete IoU (Zheng et al. 2020, "Distance-IoU Loss"): IoU − ρ²/c² − αv, clamped at zero. Boxes that do not overlap
/// cost no arctangent.
pub(super) fn clamped_ciou(a: &Corners, b: &Corners) -> f32 {
    let overlap = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0) * (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
    if overlap <= 0.0 { 0.0 } else { ciou(a, b).0.max(0.0) }
}

/// Complete IoU of a predicted box with its target, and the gradient with respect to the prediction's x1, y1, x2, y2.
/// The trade-off α is held constant in the gradient, as the paper says.
pub(super) fn ciou(prediction: &Corners, target: &Corners) -> (f32, [f32; 4]) {
    let (p, t) = (prediction, target);
    let (pw, ph, tw, th) = (p.width(), p.height(), t.width(), t.height());
    let (inner_w, inner_h) = (p.x2.min(t.x2) - p.x1.max(t.x1), p.y2.min(t.y2) - p.y1.max(t.y1));
    let overlaps = inner_w > 0.0 && inner_h > 0.0;
    let inter = if overlaps { inner_w * inner_h } else { 0.0 };
    let union = pw * ph + tw * th - inter + EPS;
    let iou = inter / union;
    let (outer_w, outer_h) = (p.x2.max(t.x2) - p.x1.min(t.x1), p.y2.max(t.y2) - p.y1.min(t.y1));
    let diagonal = outer_w * outer_w + outer_h * outer_h + EPS;
    let (dx, dy) = (t.x1 + t.x2 - p.x1 - p.x2, t.y1 + t.y2 - p.y1 - p.y2);
    let distance = (dx * dx + dy * dy) / 4.0;
    let turn = t.aspect_angle() - p.aspect_angle();
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
        -flag(p.x1 > t.x1) * inner_h * by_inter + ph * by_area + dx / 2.0 * by_distance
            - 2.0 * outer_w * flag(p.x1 < t.x1) * by_diagonal
            - by_width,
        -flag(p.y1 > t.y1) * inner_w * by_inter + pw * by_area + dy / 2.0 * by_distance
            - 2.0 * outer_h * flag(p.y1 < t.y1) * by_diagonal
            - by_height,
        flag(p.x2 < t.x2) * inner_h * by_inter - ph * by_area
            + dx / 2.0 * by_distance
            + 2.0 * outer_w * flag(p.x2 > t.x2) * by_diagonal
            + by_width,
        flag(p.y2 < t.y2) * inner_w * by_inter - pw * by_area
            + dy / 2.0 * by_distance
            + 2.0 * outer_h * flag(p.y2 > t.y2) * by_diagonal
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
            let corners = |b: [f64; 4]| Corners { x1: b[0] as f32, y1: b[1] as f32, x2: b[2] as f32, y2: b[3] as f32 };
            let (value, gradient) = ciou(&corners(p), &corners(target));
            let (expected, alpha) = definition(p, target, None);
            assert!((f64::from(value) - expected).abs() < 1e-5, "{p:?}: {value} against {expected}");
            assert!((f64::from(clamped_ciou(&corners(p), &corners(target))) - expected.max(0.0)).abs() < 1e-5);
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
