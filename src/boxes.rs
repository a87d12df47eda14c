//! Boxes, wherever they occur: in label files and batches, in detections, in losses.

use serde::{Deserialize, Serialize};

/// A box by its corners: left, top, right, bottom, in any unit.
pub type Corners = [f32; 4];

/// A box by its centre and size, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Centred {
    /// Centre, across.
    pub cx: f32,
    /// Centre, down.
    pub cy: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl Centred {
    /// The box of these corners.
    pub fn of([left, top, right, bottom]: Corners) -> Self {
        Self { cx: (left + right) / 2.0, cy: (top + bottom) / 2.0, w: right - left, h: bottom - top }
    }

    /// Its corners.
    pub fn corners(self) -> Corners {
        let Self { cx, cy, w, h } = self;
        [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0]
    }

    /// In a unit of which there are `width` across and `height` down in the present one.
    pub fn scaled(self, width: f32, height: f32) -> Self {
        Self { cx: self.cx * width, cy: self.cy * height, w: self.w * width, h: self.h * height }
    }
}

/// A box that somebody labelled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth<B = Corners> {
    /// Class index.
    pub class: usize,
    /// Where it is.
    pub bounds: B,
}

impl Truth<Centred> {
    /// The same box, relative to an image's size until now, by its corners in pixels.
    pub fn in_pixels(&self, width: f32, height: f32) -> Truth {
        Truth { class: self.class, bounds: self.bounds.scaled(width, height).corners() }
    }
}

/// Area, in square units.
pub fn area([left, top, right, bottom]: Corners) -> f32 {
    (right - left) * (bottom - top)
}

/// Area that both boxes cover, in square units.
pub fn intersection(a: Corners, b: Corners) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    width * height
}

/// Intersection over union (Jaccard index) as the YOLO sources compute it: in fp32, 0 for boxes without area.
pub fn iou(a: Corners, b: Corners) -> f32 {
    let both = intersection(a, b);
    both / (area(a) + area(b) - both + 1e-7)
}

/// [`area`] in fp64.
pub fn area_f64(corners: Corners) -> f64 {
    let [left, top, right, bottom] = corners.map(f64::from);
    (right - left) * (bottom - top)
}

/// Intersection over union as pycocotools computes it: in fp64.
pub fn iou_f64(a: Corners, b: Corners) -> f64 {
    let along = |low: usize, high: usize| f64::from(a[high].min(b[high])) - f64::from(a[low].max(b[low]));
    let [width, height] = [along(0, 2), along(1, 3)];
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let both = width * height;
    both / (area_f64(a) + area_f64(b) - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps() {
        let unit = [0.0, 0.0, 2.0, 2.0];
        let beside = [1.0, 0.0, 3.0, 2.0];
        assert_eq!(iou(unit, beside), 2.0 / (6.0 + 1e-7));
        assert_eq!(iou_f64(unit, beside), 2.0 / 6.0);
        assert!((iou(unit, unit) - 1.0).abs() < 1e-6 && iou_f64(unit, unit) == 1.0);
        assert_eq!((iou(unit, [2.0, 2.0, 3.0, 3.0]), iou_f64(unit, [2.0, 2.0, 3.0, 3.0])), (0.0, 0.0));
        assert_eq!((iou([1.0; 4], [1.0; 4]), iou_f64([1.0; 4], [1.0; 4])), (0.0, 0.0));
    }

    #[test]
    fn corners_and_centres_say_the_same() {
        let corners = [1.0, 2.0, 5.0, 10.0];
        assert_eq!(Centred::of(corners), Centred { cx: 3.0, cy: 6.0, w: 4.0, h: 8.0 });
        assert_eq!(Centred::of(corners).corners(), corners);
        let truth = Truth { class: 3, bounds: Centred { cx: 0.5, cy: 0.25, w: 0.5, h: 0.25 } };
        assert_eq!(truth.in_pixels(8.0, 16.0), Truth { class: 3, bounds: [2.0, 2.0, 6.0, 6.0] });
    }
}
