//! How much the parts of a loss count.

use crate::model::{Detector, Head};
use crate::options::options;

options! {
    /// Weights of a loss's parts; without one, the published default of the model's own loss.
    #[derive(Copy)]
    #[serde(default)]
    pub struct Gains {
        /// Weight of the box overlap; 0.05 for YOLOv5, 7.5 for YOLOv8 by default.
        #[serde(alias = "bbox")]
        pub box_gain: Option<f32> = None, 0.0..=1000.0;
        /// Weight of the class scores; 0.5 for both by default.
        #[serde(alias = "class")]
        pub class_gain: Option<f32> = None, 0.0..=1000.0;
        /// Weight of the objectness; 1 for YOLOv5, which alone has one.
        #[serde(alias = "objectness")]
        pub objectness_gain: Option<f32> = None, 0.0..=1000.0;
        /// Weight of the distribution focal loss; 1.5 for YOLOv8, which alone has one.
        #[serde(alias = "distribution")]
        pub dfl_gain: Option<f32> = None, 0.0..=1000.0;
    }
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
                    box_gain: self.box_gain.or(Some(0.05 * levels)),
                    class_gain: self.class_gain.or(Some(0.5 * levels * detector.classes.len() as f32 / 80.0)),
                    objectness_gain: self.objectness_gain.or(Some(levels * image)),
                    dfl_gain: self.dfl_gain,
                }
            }
            Head::Distribution { .. } => *self,
        }
    }
}
