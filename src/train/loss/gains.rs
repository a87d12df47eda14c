//! How much the parts of a loss count.

use crate::model::{Detector, Head};

/// Weights of a loss's parts; `None` takes the published default of the model's own loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gains {
    /// Weight of the box overlap; 0.05 for YOLOv5, 7.5 for YOLOv8.
    pub bbox: Option<f32>,
    /// Weight of the class scores; 0.5 for both.
    pub class: Option<f32>,
    /// Weight of the objectness; 1 for YOLOv5, which alone has one.
    pub objectness: Option<f32>,
    /// Weight of the distribution focal loss; 1.5 for YOLOv8, which alone has one.
    pub distribution: Option<f32>,
}

impl Gains {
    /// The weights that a detector is trained with for images of `size` pixels: what is `None` here is the default
    /// scaled as YOLOv5's trainer does it, so that many classes, large images and more levels do not outweigh the boxes:
    /// all by 3 / levels, the class loss by classes / 80, the objectness by (size / 640)². YOLOv8 scales nothing.
    pub fn for_training(&self, detector: &Detector, size: usize) -> Self {
        match &detector.head {
            Head::Anchors { anchors } => {
                let levels = 3.0 / anchors.len().max(1) as f32;
                let image = (size as f32 / 640.0).powi(2);
                Self {
                    bbox: self.bbox.or(Some(0.05 * levels)),
                    class: self.class.or(Some(0.5 * levels * detector.classes.len() as f32 / 80.0)),
                    objectness: self.objectness.or(Some(levels * image)),
                    distribution: self.distribution,
                }
            }
            Head::Distribution { .. } => *self,
        }
    }
}
