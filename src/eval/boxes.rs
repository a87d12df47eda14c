//! Boxes found and boxes labelled.

use serde::{Deserialize, Serialize};

/// Left, top, right, bottom in pixels.
pub type Corners = [f32; 4];

/// A box that a detector found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Left, top, right, bottom in pixels.
    pub corners: Corners,
    /// The detector's confidence, in [0, 1].
    pub confidence: f32,
    /// Class index.
    pub class: usize,
}

/// A box that somebody labelled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Left, top, right, bottom in pixels.
    pub corners: Corners,
    /// Class index.
    pub class: usize,
}

/// What one image shows and what was found in it, both in pixels of that image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    detections: Vec<Detection>,
    truths: Vec<Truth>,
}

impl Judged {
    /// Puts both together, the detections most confident first; those whose confidence is not a number are dropped.
    pub fn new(mut detections: Vec<Detection>, truths: Vec<Truth>) -> Self {
        detections.retain(|detection| !detection.confidence.is_nan());
        detections.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        Self { detections, truths }
    }

    /// What was found, most confident first.
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// What was labelled.
    pub fn truths(&self) -> &[Truth] {
        &self.truths
    }
}

/// Area in square pixels.
pub fn area([left, top, right, bottom]: Corners) -> f32 {
    (right - left) * (bottom - top)
}

/// Area that both boxes cover, in square pixels.
pub fn intersection(a: Corners, b: Corners) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    width * height
}

/// Intersection over union (Jaccard index), 0 for boxes without area.
pub fn iou(a: Corners, b: Corners) -> f32 {
    let both = intersection(a, b);
    both / (area(a) + area(b) - both + 1e-7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps() {
        let unit = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(iou(unit, [1.0, 0.0, 3.0, 2.0]), 2.0 / (6.0 + 1e-7));
        assert!((iou(unit, unit) - 1.0).abs() < 1e-6);
        assert_eq!(iou(unit, [2.0, 2.0, 3.0, 3.0]), 0.0);
        assert_eq!(iou([1.0; 4], [1.0; 4]), 0.0);
    }
}
