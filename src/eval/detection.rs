//! What a detector found.

use serde::{Deserialize, Serialize};

use crate::boxes::{Corners, Truth};

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

/// What one image shows and what was found in it, both in pixels of that image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageResult {
    detections: Vec<Detection>,
    truths: Vec<Truth>,
}

impl ImageResult {
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
